"""Small changes of the code, each of which some test must notice: a test that cannot fail tests nothing.

    python tests/mutate.py [NAME …] [--jobs 2]

Each change of `tests/mutations.toml` is made in a copy of the tracked files (never in the checkout), and the tests that
it names are run there: one of them has to fail. Tests that fail without any change, a text to change that is not there
exactly once, and a change after which no test can be collected prove nothing and are errors. Prints a Markdown table;
the exit status is 1 unless every change was noticed.

Importing torch and its like takes longer than most of these tests, so they are imported once, and every run is a fork
of that process, with nothing of the project loaded yet.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, settings

os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_name("mutations.toml")
LEFT_OUT = (  # large, asked for by none
    *("leaderboard/site/", "leaderboard/results/", "leaderboard/retired/", "leaderboard/evaluation-results/"),
)
PATIENCE = 300  # seconds of one run: a change may make a loop endless
HEAVY = (
    *("torch", "torch._dynamo", "torchvision.transforms", "peft", "open_clip", "datasets", "pandas", "pyarrow.parquet"),
    *("scipy.stats", "scipy.optimize", "scipy.ndimage", "skimage.metrics", "cv2", "av", "PIL.Image", "jaxtyping"),
    *(f"transformers.models.{name}" for name in ("clip.modeling_clip", "umt5.modeling_umt5")),
    *(f"diffusers.pipelines.{name}" for name in ("animatediff.pipeline_animatediff", "wan.pipeline_wan")),
)
OPTIONS = "-x -q -p no:cacheprovider -p _hypothesis_pytestplugin --hypothesis-seed=0 --hypothesis-profile=unshrunk"


class Mutation(NamedTuple):
    """A change: `old` stands exactly once in `file`, and `tests` must fail where `new` stands in its place."""

    name: str
    what: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, text: str) -> str:
        """The changed text of the file. Raises ValueError for a change that is not possible."""
        if text.count(self.old) != 1:
            raise ValueError(f"its text stands {text.count(self.old)} times in {self.file}, not once")
        return text.replace(self.old, self.new)


class Outcome(NamedTuple):
    """What became of a run: `said` is the first test that failed, or why the run proves nothing."""

    verdict: str  # "killed", "SURVIVED" or "ERROR"
    said: str
    seconds: float


def read_mutations(path: Path = LIST) -> list[Mutation]:
    """The changes of the file. Raises KeyError or TypeError for an entry without, or with other, keys."""
    made = []
    for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        entry |= {"old": entry.pop("from"), "new": entry.pop("to"), "tests": tuple(entry["tests"])}
        made.append(Mutation(name, **entry))
    return made


def copy_checkout(place: Path) -> None:
    """The tracked files as they lie in the checkout, without what `LEFT_OUT` names."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    for name in listed.stdout.split("\0"):
        if name and not name.startswith(LEFT_OUT) and (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / name)


class Watcher:
    """A plugin of pytest that writes down the first test that fails."""

    def __init__(self, note: Path) -> None:
        self.note = note

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed and not self.note.exists():
            self.note.write_text(report.nodeid, encoding="utf-8")


def run_tests(tests: Sequence[str], folder: Path) -> Outcome:
    """Run the tests of the copy below `folder` in a fork of this process."""
    note, log = folder / "failed", folder / "log"
    note.unlink(missing_ok=True)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        options = f"{OPTIONS} --basetemp={folder / 'tmp'}".split()
        os._exit(int(pytest.main([*options, *tests], plugins=[Watcher(note)])))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seconds = time.monotonic() - started
    if status < 0:  # a crash, or the end of patience
        return Outcome("killed", f"(ended by signal {-status})", seconds)
    if status in (0, 1):
        failed = note.read_text(encoding="utf-8").removeprefix("tests/") if note.exists() else ""
        return Outcome("killed" if failed else "SURVIVED", failed, seconds)
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return Outcome("ERROR", f"pytest: {said[-1] if said else status}", seconds)


def settle_worker(folder: str) -> None:
    """A copy of the checkout for this worker, which its runs import in place of any installed one."""
    own = Path(tempfile.mkdtemp(dir=folder))
    copy_checkout(own / "checkout")
    os.chdir(own / "checkout")
    os.environ |= {"PYTHONPATH": str(own / "checkout"), "BENCH_HOME": str(own / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # all but hypothesis' own are loaded for nothing
    sys.dont_write_bytecode = True  # a changed file of the same size and second would be read from its old bytecode
    sys.path[0] = str(own / "checkout")  # in place of this script's folder


def try_group(mutations: Sequence[Mutation]) -> list[tuple[str, Outcome]]:
    """Changes that name the same tests, after a run of these without any; each is undone before the next."""
    checkout = Path.cwd()
    whole = run_tests(mutations[0].tests, checkout.parent)
    if whole.verdict != "SURVIVED":
        return [(one.name, Outcome("ERROR", f"unchanged, {whole.said}", whole.seconds)) for one in mutations]
    outcomes = []
    for one in mutations:
        path = checkout / one.file
        before = path.read_text(encoding="utf-8")
        try:
            path.write_text(one.apply(before), encoding="utf-8")
            outcome = run_tests(one.tests, checkout.parent)
        except ValueError as error:
            outcome = Outcome("ERROR", str(error), 0.0)
        finally:
            path.write_text(before, encoding="utf-8")
        outcomes.append((one.name, outcome))
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description="Change the code in small ways and see which test notices.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="changes to try; all where none is named")
    parser.add_argument("--jobs", type=int, default=1, help="processes that work side by side")
    asked = parser.parse_args()
    mutations = {one.name: one for one in read_mutations()}
    if unknown := [name for name in asked.names if name not in mutations]:
        parser.error(f"no mutation {', '.join(unknown)}; there are {', '.join(mutations)}")
    chosen = [mutations[name] for name in asked.names or mutations]
    groups: dict[tuple[str, ...], list[Mutation]] = {}
    for one in chosen:
        groups.setdefault(one.tests, []).append(one)
    started = time.monotonic()
    for name in HEAVY:
        importlib.import_module(name)
    phases = (Phase.explicit, Phase.generate)  # a failure is enough: the smallest takes long to find
    settings.register_profile("unshrunk", deadline=None, database=None, phases=phases)
    gc.freeze()  # or each run would walk through all of it, and with that copy it
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        fork = multiprocessing.get_context("fork")
        with fork.Pool(asked.jobs, settle_worker, (folder,)) as pool:
            for made in pool.imap_unordered(try_group, sorted(groups.values(), key=len, reverse=True)):
                outcomes |= dict(made)
                for name, outcome in made:
                    print(f"{name}: {' '.join(map(str, outcome))}", file=sys.stderr, flush=True)
    print("| mutation | what is wrong then | | noticed by | s |\n|---|---|---|---|---:|")
    for one in chosen:
        verdict, said, seconds = outcomes[one.name]
        print(f"| {one.name} | {one.what} | {verdict} | {said} | {seconds:.1f} |")
    count = Counter(outcome.verdict for outcome in outcomes.values())
    verdicts = ", ".join(f"{count[verdict]} {verdict}" for verdict in ("killed", "SURVIVED", "ERROR"))
    print(f"\n{len(chosen)} mutations: {verdicts}; in {time.monotonic() - started:.0f} s, {asked.jobs} at a time")
    return 0 if count["killed"] == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
