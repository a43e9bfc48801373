"""The pages of docs/: they make a site without a broken link, and say what the code says."""

from __future__ import annotations

import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from documents import bench_words, find_commands, find_quoted, find_shown, list_pages, parse

from bench.api.names import choose_variants
from bench.cli.app import command as bench_command
from bench.core import registry
from bench.core.errors import BenchError
from leaderboard.glossary import explain_metric, write_page
from leaderboard.papers.reported import table_names
from leaderboard.rendering import MARKS
from leaderboard.tables import NO_ROOM
from metrics.protocols import PROTOCOLS

ROOT = Path(__file__).parents[1]
OURS = ("bench", "methods", "baselines", "metrics", "leaderboard")
OPTION = re.compile(r"--[a-z][a-z-]+")
VERBS = dict(bench_command.commands)
READERS = ("my_method", "nearest_concept", "_published")  # ends of names that a reader gives
OPEN = re.compile(r"…|[A-Z:]+")  # what a page leaves open
OF_OTHERS = {"--oracle-trained": "methods.cine_neuron.analysis", "--loss-alone": "methods.cine_neuron.analysis"}
DOCS = ROOT / "docs"


def options_of(command: click.Command) -> set[str]:
    found = {option for parameter in command.params for option in parameter.opts}
    parts = command.commands.values() if isinstance(command, click.Group) else ()
    return found.union(*(options_of(one) for one in parts)) | {"--help"}


OPTIONS = options_of(bench_command)

REMAKE = (
    "from pathlib import Path; from leaderboard.glossary import write_page; from metrics.protocols import PROTOCOLS; "
)
REMAKE += "Path('docs/metrics.md').write_text(write_page({name: one.metrics for name, one in PROTOCOLS.items()}))"


def test_the_page_of_metrics_is_the_glossary_s() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    assert page == write_page({name: one.metrics for name, one in PROTOCOLS.items()}), f'python -c "{REMAKE}"'
    for protocol in PROTOCOLS.values():
        for metric in protocol.metrics:
            if explain_metric(metric.name).measures:
                (row,) = re.findall(rf"^\| [^|]+ \(`{metric.name}`\) \|.*$", page, re.MULTILINE)
                assert re.search(rf"\b{protocol.name}\b", row.rpartition("|")[0].rpartition("|")[2])


def test_every_mark_of_tables_is_explained() -> None:
    page = (DOCS / "statistics.md").read_text(encoding="utf-8")
    for mark in ("n.s.", "below floor", "not above floor", NO_ROOM):
        assert f"{mark}:" in MARKS and f"| {mark} |" in page, mark
    for flag in ("copies", "no generator", "above ceiling", "filled", "renamed", "partial", "one seed"):
        assert re.search(rf"[| ]{flag}[ ,]", page), flag


@pytest.mark.parametrize("page", list_pages())
def test_every_command_of_every_page_can_be_given(page: str) -> None:
    """Where no test runs a page's commands: a verb, an option or a module that was renamed is noticed all the same."""
    for line in find_commands((ROOT / page).read_text(encoding="utf-8")):
        words = split_words(line)
        if (asked := bench_words(line) if words else None) is not None:
            if asked and not asked[0].startswith("-"):
                say_what_is_wrong(page, line, lambda asked=asked: parse(asked))
                say_what_is_wrong(page, line, lambda asked=asked: check_names(asked))
        elif words[:2] == ["python", "-m"] and words[2].partition(".")[0] in OURS:
            assert importlib.util.find_spec(words[2]), f"{page}: {line}"
        elif words[:1] == ["python"] and words[1].endswith(".py") and "/" in words[1]:
            assert (ROOT / words[1]).is_file(), f"{page}: {line}"
        elif words and words[0] in VERBS and len(words) > 1:  # a part of a command, as text quotes it
            named = {word.partition("=")[0] for word in words[1:] if word.startswith("--")}
            assert named <= options_of(VERBS[words[0]]), f"{page}: {line}"
        elif words and OPTION.fullmatch(words[0]):
            assert words[0] in OPTIONS | set(OF_OTHERS), f"{page}: {line}"


def test_every_command_that_the_code_quotes_has_its_verb_and_options() -> None:
    """In an error it is the next step: one that cannot be taken is worse than none."""
    quoted = [one for folder in OURS for one in find_quoted(ROOT / folder)]
    assert len(quoted) > 30
    for where, line in quoted:
        verb, *rest = bench_words(line) or [""]
        if not verb.startswith("-") and not OPEN.fullmatch(verb):
            assert verb in VERBS, f"{where}: {line}"
            named = {word.partition("=")[0] for word in rest if word.startswith("--")}
            assert named <= options_of(VERBS[verb]), f"{where}: {line}"


def test_every_command_that_the_site_shows_can_be_given() -> None:
    site = ROOT / "leaderboard" / "site"
    pages = sorted(site.glob("*.html"))
    shown = [(page.name, line) for page in pages for line in find_shown(page.read_text(encoding="utf-8"))]
    assert {name for name, _ in shown} >= {"submit.html", "method-sam_net.html", "history.html", "index.html"}
    for name, line in dict.fromkeys(shown):
        asked = bench_words(line) or []
        if "--help" not in asked:
            say_what_is_wrong(name, line, lambda asked=asked: parse(asked))
        say_what_is_wrong(name, line, lambda asked=asked: check_names(asked))


def split_words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an apostrophe in what is no command
        return []


def say_what_is_wrong(page: str, line: str, read: Callable[[], object]) -> None:
    try:
        read()
    except click.UsageError as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")
    except BenchError as error:
        pytest.fail(f"{page}: {line}: {error}")


def check_names(words: list[str]) -> None:
    """The methods, variants, ablations, splits and papers' tables that a command names. Raises BenchError."""
    given = {option: value for option, value in itertools.pairwise(words) if not OPEN.fullmatch(value)}
    method = given.get("--method", "")
    if method in registry.names("methods"):
        variants = [given["--variant"]] if "--variant" in given else []
        choose_variants(method, variants, given.get("--ablation"), profile=given.get("--profile", "mini"))
    elif method and ".py:" not in method and words[0] != "submit" and not method.endswith(READERS):
        raise BenchError(f"no method {method}")
    if given.get("--split", "") not in {"", *registry.names("splits")}:
        raise BenchError(f"no split {given['--split']}")
    if given.get("--paper", "all") not in {"all", *table_names()}:
        raise BenchError(f"no table {given['--paper']}")


def test_a_renamed_option_is_noticed(tmp_path: Path) -> None:
    page = "Type `table --refs` or `--refs`, or\n\n```bash\npython -m bench table --no-such \\\n  --wide   # all\n```\n"
    assert find_commands(page) == ["python -m bench table --no-such    --wide", "table --refs", "--refs"]
    with pytest.raises(click.UsageError):
        parse(["table", "--no-such"])
    for wrong in ("--method sam_nett", "--method sam_net --ablation hrtt", "--split known", "--paper sam_net.9"):
        with pytest.raises(BenchError):
            check_names(["run", *wrong.split()])
    assert "--refs" not in OPTIONS and "--references" in options_of(VERBS["table"]) & OPTIONS


def test_the_site_is_built_and_no_link_leads_nowhere(tmp_path) -> None:
    pytest.importorskip("mkdocs")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    pages = {path.parent.name for path in (tmp_path / "site").glob("*/index.html")}
    assert {path.stem for path in DOCS.glob("*.md")} - {"index"} <= pages
