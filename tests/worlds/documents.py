"""The commands of README.md, CONTRIBUTING.md and docs/, and what a test does in place of those it cannot run so."""

from __future__ import annotations

import ast
import html
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from bench.cli.app import command as bench_command

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
PART = re.compile(r"^#{1,3} (?P<title>[^\n]+)$|^```(?P<language>\w*)\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/]+\.\w+)")
INLINE = re.compile(r"`([^`]+)`")
PAST = ("CHANGELOG.md", "leaderboard/retired/", "leaderboard/site/")
BENCH = (["python", "-m", "bench"], ["bench"])


@dataclass(frozen=True)
class Section:
    """What a heading has below it: files (blocks that begin with `# their/name.py`), commands and plain Python."""

    files: dict[str, str]
    commands: tuple[str, ...]
    python: tuple[str, ...]


def read_sections() -> dict[str, Section]:
    """By `README.md: title`, in their order."""
    return {
        f"{document}: {title}": section
        for document in DOCUMENTS
        for title, section in read_document((ROOT / document).read_text(encoding="utf-8"))
    }


def read_document(text: str) -> Iterator[tuple[str, Section]]:
    blocks: dict[str, list[tuple[str, str]]] = {}
    title = ""
    for part in PART.finditer(text):
        if part["title"]:
            title = part["title"]
        else:
            blocks.setdefault(title, []).append((part["language"], part["content"]))
    for title, found in blocks.items():
        named = [(FILE.fullmatch(content.partition("\n")[0]), language, content) for language, content in found]
        yield (
            title,
            Section(
                files={name[1]: content.partition("\n")[2] for name, _, content in named if name},
                commands=tuple(
                    line
                    for language, content in found
                    if language == "bash"
                    for raw in content.splitlines()
                    if (line := strip_comment(raw))
                ),
                python=tuple(content for name, language, content in named if language == "python" and not name),
            ),
        )


def list_pages() -> list[str]:
    """Every Markdown file of the project that says how something is done: all but what was, and what is generated."""
    found = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.md"))
    return sorted(name for name in found if not name.startswith(PAST) and "/." not in f"/{name}")


def find_quoted(folder: Path) -> list[tuple[str, str]]:
    """The commands that code quotes between backticks, in messages and docstrings, each with its file.

    What is filled in when a message is made stands as X.
    """
    found = []
    for path in sorted(folder.rglob("*.py")):
        for text in read_strings(ast.parse(path.read_text(encoding="utf-8"))):
            quoted = (" ".join(one.split()) for one in INLINE.findall(text))
            found += [(str(path.relative_to(ROOT)), one) for one in quoted if one.startswith("python -m bench ")]
    return found


def read_strings(tree: ast.AST) -> Iterator[str]:
    """The texts of a module; parts of an f-string are no texts of their own."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(one.value) if isinstance(one, ast.Constant) else "X" for one in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        else:
            yield from read_strings(node)


def find_shown(page: str) -> list[str]:
    """The commands that a page of the site shows."""
    blocks = re.findall(r"<(?:code|pre)>(.*?)</(?:code|pre)>", page, re.DOTALL)
    lines = [html.unescape(re.sub(r"<[^>]+>", "", one)) for block in blocks for one in block.splitlines()]
    return [line for line in map(strip_comment, lines) if line.startswith("python -m bench ")]


def find_commands(text: str) -> list[str]:
    """What a page tells a reader to type: the lines of its shell blocks, and what stands between backticks in its text.

    Also comments of other blocks that are commands. A line that ends in a backslash goes on in the next; in text a
    command may be broken over two lines.
    """
    blocks = [part["content"] for part in PART.finditer(text) if part["language"] in ("bash", "sh", "console")]
    typed = [strip_comment(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    others = [part["content"] for part in PART.finditer(text) if part["language"] in ("toml", "python")]
    typed += [one for block in others for one in re.findall(r"#\s*(python -m bench [^\n#]*)", block)]
    quoted = INLINE.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line for line in typed if line] + [" ".join(one.split()) for one in quoted]


def strip_comment(line: str) -> str:
    """A command as it is typed, without what is explained behind it."""
    return re.sub(r"(^|\s+)#.*$", "", line).strip()


def bench_words(line: str) -> list[str] | None:
    """The words behind `python -m bench` or `bench`; None for other programs."""
    words = shlex.split(line)
    return next((words[len(start) :] for start in BENCH if words[: len(start)] == start), None)


def parse(words: list[str]) -> str:
    """Read a command as `bench` would, without running it; returns its verb. Raises click.UsageError."""
    context, found = click.Context(bench_command), bench_command
    verbs = []
    while isinstance(found, click.Group):
        name, leaf, words = found.resolve_command(context, words)
        assert leaf is not None
        verbs.append(str(name))
        context, found = click.Context(leaf, parent=context), leaf
    found.make_context(verbs[-1], words)
    return " ".join(verbs)


TINY = "--dataset phantom_eeg:tiny"
SIZE = "at the phantom's full size it takes minutes to hours"
STORE = "reads a store that a long run made"
# a command -> why it is not run as it is written, and what of the same verb is run instead; None: it is only read
INSTEAD: dict[str, tuple[str, str | None]] = {
    line: (SIZE, f"{line} --quick --dry-run")
    for line in (
        "python -m bench run --method sam_net --split cross_subject",
        "python -m bench run --method sam_net --split single_subject",
        "python -m bench run --method sam_net --split single_subject --scheduler local:2",
        "python -m bench run --method sam_net --split single_subject --scheduler tcp://head:8786",
        "python -m bench run --method sam_net --split new_subject --ablation new2source",
        "python -m bench run --method sam_net --split cross_subject --ablation hrt --seeds 3",
        "python -m bench run --method cine_neuron --split single_subject",
        "python -m bench run --method cine_neuron --split single_subject --ablation components",
        "python -m bench run --method cine_neuron --split cross_subject --dataset phantom_cinebrain",
        "python -m bench run --paper sam_net.3 --seeds 3",
    )
}
INSTEAD["python -m bench run --paper sam_net.3 --study"] = (SIZE, None)  # the dry run below says what it makes
INSTEAD["python -m bench table --paper sam_net.3 --study"] = (
    "needs the data set whose cells it looks for",
    "python -m bench table --paper sam_net.3 --study --published",
)
INSTEAD["python -m bench run --paper sam_net.3 --study --dry-run"] = (
    SIZE,
    "python -m bench run --paper sam_net.3 --study --dry-run --quick",
)
INSTEAD["python -m bench run --method sam_net --split single_subject --dry-run --cost"] = (
    SIZE,
    "python -m bench run --method sam_net --split single_subject --quick --cost --dry-run",
)
RETIRED = ROOT / "leaderboard" / "retired" / "2026-11-26"
INSTEAD |= {
    line: ("these ablations are not committed for today's phantoms", f"{line} --results {RETIRED}")
    for line in ("python -m bench table --ablation hrt", "python -m bench table --ablation components")
}
INSTEAD |= {
    "python -m bench run --method nearest_concept --split cross_subject --quick": (
        "that of docs/first_method.md is run",
        "python -m bench run --method nearest_concept --split cross_subject --quick --dry-run",
    ),
    "python -m bench figure clips --method sam_net --method retrieval": (
        STORE,
        f"python -m bench figure clips --method retrieval {TINY}",
    ),
    "python -m bench figure clips --ablation conditions --count 6": (
        STORE,
        f"python -m bench figure clips --method retrieval --count 6 {TINY}",
    ),
    "python -m bench figure subjects": (
        "fits SAM-Net twice",
        f"python -m bench figure subjects {TINY} --set epochs=1",
    ),
    "python -m bench figure electrodes --set epochs=5": (
        "fits SAM-Net",
        f"python -m bench figure electrodes --set epochs=1 {TINY}",
    ),
    "python -m bench figure learning --method sam_net": (
        "fits SAM-Net five times",
        f"python -m bench figure learning --method ridge {TINY}",
    ),
    "python -m bench figure learning --method sam_net --vary epochs=[5,10,20,40]": (
        "fits SAM-Net four times",
        f"python -m bench figure learning --method sam_net --vary epochs=[1,2] --set batch_size=32 {TINY}",
    ),
    "python -m bench figure voxels": ("fits CineNeuron: more than a minute on the tiny phantom", None),
    "python -m bench pack --method sam_net --split cross_subject": (
        STORE,
        f"python -m bench pack --method retrieval --split cross_subject {TINY}",
    ),
    "python -m bench verify sam_net.base.zip": (STORE, "python -m bench verify retrieval.base.zip"),
    "python -m bench publish --dataset phantom_eeg": (
        "writes into the checkout",
        "python -m bench publish --dataset phantom_eeg:tiny --results results",
    ),
    "python -m bench publish --bundle mind_video_published.base.zip --targets gifs --side-by-side truth-left": (
        "writes into the checkout, and the stand-ins are copies",
        "python -m bench publish --bundle mind_video_published.base.zip --targets gifs --side-by-side truth-left "
        "--results submitted --accept-flagged",
    ),
    "python -m bench human build --method sam_net --method retrieval --split cross_subject --output study": (
        STORE,
        f"python -m bench human build --method retrieval --split cross_subject {TINY} --output study",
    ),
    "python -m bench human tally study/key.json answers-*.json": ("needs raters; test_human.py tallies some", None),
    "python -m bench audit --dataset phantom_eeg --runs runs": (SIZE, f"python -m bench audit {TINY} --runs runs"),
    "python -m bench audit --study": ("simulates 200 studies", "python -m bench audit --study --seeds 2"),
    "python -m bench audit --measure": ("makes 50 phantoms; test_audit.py measures on one", None),
    "python -m bench speed scoring --precision bf16": ("judges at the papers' sizes: minutes for one clip", None),
    "python -m bench speed generate": (
        "four rounds",
        "python -m bench speed generate --clips 1 --steps 1",
    ),
    "python -m bench speed fit": ("four rounds", "python -m bench speed fit --steps 2"),
    "python -m bench speed memory": ("scores 2,000 clips: minutes", None),
    "python -m bench speed streams": ("reads and makes 5,000 clips of 34 MB: hours", None),
    "python -m bench speed scale --workers 2": ("says nothing while other tests run: cells beside each other", None),
    "python -m bench speed cost": ("needs trained cells in the store; test_work.py compares some", None),
    "python -m bench run --method cine_neuron --profile paper --dataset cc2017:33x480x720 --data-root DIR"
    " --suite paper": (
        "needs the data, tens of gigabytes of weights and a GPU; test_cc2017_films.py cuts films",
        "python -m bench run --method cine_neuron --profile paper --dataset phantom_fmri:tiny --dry-run",
    ),
    "python -m bench run --method cine_neuron --profile paper --dataset cc2017 --data-root DIR --suite paper"
    " --device cuda:0,cuda:1": (
        "needs the data, tens of gigabytes of weights and two GPUs; test_ranks.py shares cells between processors",
        None,
    ),
    "python -m bench board --push me/brain2video-scores": ("needs a token; test_pushing.py sends to a stand-in", None),
    "python -m bench board --card my_method --push me/my_method --results results": (
        "needs a token; test_pushing.py sends to a stand-in",
        None,
    ),
    "python -m bench suite fetch paper": ("downloads tens of gigabytes", None),
    "python -m bench suite fetch paper --for score": ("downloads gigabytes", None),
    "python -m bench run --method sam_net --split cross_subject --dataset seed_dv --data-root DIR --suite paper": (
        "needs gated data, tens of gigabytes of weights and a GPU",
        None,
    ),
    "python -m bench run --paper cine_neuron.4 --profile paper --dataset cc2017 --data-root DIR --suite paper": (
        "needs the data, tens of gigabytes of weights and a GPU",
        "python -m bench run --paper cine_neuron.4 --profile paper --dataset phantom_fmri:tiny --dry-run",
    ),
    "python -m bench table --paper cine_neuron.4 --profile paper --dataset cc2017 --data-root DIR --suite paper": (
        "needs the data",
        "python -m bench table --paper cine_neuron.4 --profile paper --dataset phantom_fmri:tiny",
    ),
}
# of other programs: why they are not run here
OTHERS = {
    "python3 -m venv .venv && . .venv/bin/activate": "makes an environment; .ci/run and test_wheel.py do",
    'pip install -e ".[dev]"': "five gigabytes; .ci/run does",
    "python -m pytest -n 2 --dist worksteal": "is what runs this test",
    "pre-commit install": "changes the clone's git hooks",
    "python tests/mutate.py --jobs 2": "minutes on two cores; test_mutations.py reads its list",
    ".ci/run": "installs everything and runs all tests",
    "pip wheel . --no-deps": "test_wheel.py does, in a clean copy",
    "python -m methods.cine_neuron.analysis.interpretation --output interpretation": (
        "fits CineNeuron at the phantom's full size; test_cine_neuron.py fits a small one"
    ),
}
