"""Damage to every kind of file that the project reads, and what becomes of the numbers.

    python tests/store/damage.py [--seed 0] [--share 1.0] [--kind EXPRESSION] [--phantoms DIR]

A small world is made once: phantoms, recordings, a cache, a store, committed results, suites, a bundle. Each case
damages one file in a copy of it and asks, in a process of its own, the verb that reads that file. It must end in one of
three ways: what was damaged is made again, it is refused with an error that names it, or nothing changes. Numbers that
differ without a word, and errors that nobody wrote, fail. Size and time of modification are put back wherever the
damage leaves a file there.

Making a phantom, its card or a method's videos again takes long and is tested elsewhere (`tests/datasets`,
`tests/harness`): here it is stood in for by a copy of what was made first. Prints a Markdown table; exit 1 unless every
case ended well.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))

from damaged_world import Kind, list_kinds, live_in, made_world

from bench.core.errors import BenchError
from bench.core.progress import say
from bench.store import cache

PATIENCE = 180  # seconds of one case


GOOD = ("made again", "refused", "no effect")


SPEECH = ("quarantine", "made again", "made anew", "removed")


Damage = Callable[[Path, np.random.Generator, Path], None]


@dataclass(frozen=True)
class Case:
    kind: Kind
    file: str
    damage: str


def overwrite(path: Path, content: bytes) -> None:
    told = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


def flip(share: float) -> Damage:
    def damage(path: Path, rng: np.random.Generator, other: Path) -> None:
        content = bytearray(path.read_bytes())
        place = min(len(content) - 1, max(0, int(share * len(content)) + int(rng.integers(-16, 17))))
        content[place] ^= 1 << int(rng.integers(8))
        overwrite(path, bytes(content))

    return damage


def zero_page(path: Path, rng: np.random.Generator, other: Path) -> None:
    content = path.read_bytes()
    first = len(content) // 2 // 4096 * 4096
    size = min(4096, len(content) - first)
    changed = content[:first] + bytes(size) + content[first + size :]
    overwrite(path, changed if changed != content else content[:-1])


def swap_bytes(path: Path, rng: np.random.Generator, other: Path) -> None:
    content = bytearray(path.read_bytes())
    starts = rng.permutation(len(content) - 1)
    place = next(int(start) for start in starts if content[start] != content[start + 1])
    content[place : place + 2] = content[place : place + 2][::-1]
    overwrite(path, bytes(content))


def put_another(path: Path, rng: np.random.Generator, other: Path) -> None:
    overwrite(path, other.read_bytes())


def put_folder(path: Path, rng: np.random.Generator, other: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Damage] = {
    "flip start": flip(0.0),
    "flip middle": flip(0.5),
    "flip end": flip(1.0),
    "half": lambda path, rng, other: overwrite(path, path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path, rng, other: overwrite(path, b""),
    "zero page": zero_page,
    "bytes swapped": swap_bytes,
    "another": put_another,
    "deleted": lambda path, rng, other: path.unlink(),
    "folder": put_folder,
    "unreadable": lambda path, rng, other: path.chmod(0),
}


def list_cases(kinds: list[Kind], share: float, seed: int) -> list[Case]:
    """All cases, or a share of them drawn from the seed."""
    cases = [Case(k, file, damage) for k in kinds for file in k.files for damage in k.damages or DAMAGES]
    if share >= 1:
        return cases
    chosen = np.random.default_rng(seed).permutation(len(cases))[: max(1, round(share * len(cases)))]
    return [cases[number] for number in sorted(chosen)]


def find_other(world: Path, case: Case) -> Path:
    """Another file of the same kind, whose content is another."""
    own = (world / case.file).read_bytes()
    beside = [path for path in sorted((world / case.file).parent.iterdir()) if path.is_file()]
    alike = [path for path in beside if path.suffix == Path(case.file).suffix]
    cousins = [path for path in sorted(world.glob(f"*/*/{Path(case.file).name}")) if path.is_file()]
    rest = sorted((world / "own" / "EEG").iterdir())
    return next(path for path in (*alike, *cousins, *beside, *rest) if path.read_bytes() != own)


def copy_world(pristine: Path, world: Path, file: str) -> None:
    """Links to all files but the one that will be damaged: whoever writes puts a new file in its place."""
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(pristine, world, copy_function=os.link, symlinks=True)
    (world / file).unlink()
    shutil.copy2(pristine / file, world / file)


def attempt(case: Case, pristine: Path, world: Path, truth: str | None, seed: int) -> tuple[str, str]:
    """What becomes of a case, and what was said. Without damage (`truth` None), the numbers come as what was said."""
    copy_world(pristine, world, case.file)
    rng = np.random.default_rng([seed, *hashlib.sha256(f"{case.file}{case.damage}".encode()).digest()])
    answer, speech = world / "tmp" / "answer", io.StringIO()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        torch.set_num_threads(torch.get_num_threads())  # makes the fork's thread pool: two threads that ask first race
        try:
            with contextlib.redirect_stderr(speech), contextlib.redirect_stdout(speech):
                found = ask_damaged(case, pristine, world, rng, truth is not None)
        except BenchError as error:
            found = {"refused": str(error)}
        except BaseException:  # whatever it is, it is what is looked for
            found = {"bare": traceback.format_exc()}
        answer.write_text(json.dumps({**found, "said": speech.getvalue()}))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status or not answer.is_file():
        return "bare", f"the process ended with status {status}"
    found = json.loads(answer.read_text())
    if truth is None:
        return found.get("numbers", ""), found.get("bare", "") + found.get("refused", "")
    told = found["said"] + found.get("refused", "")
    named = any(name in told for name in list_names(pristine, case.file))
    if "bare" in found:
        return "bare", found["bare"]
    if "refused" in found:
        return ("refused" if named else "refused, not named"), told
    spoken = named and any(word in told for word in SPEECH)
    if found["numbers"] != truth:
        return "silent", told
    return ("made again" if spoken else "no effect"), told


def list_names(world: Path, file: str) -> set[str]:
    """What an error may call a file: its name or that of a link to it, of the cell that it is in, or of its scores."""
    path = world / file
    links = {link.name for link in (world / "hub").rglob("*") if link.is_symlink() and link.resolve() == path.resolve()}
    cell = {path.relative_to(world / "runs").parts[0]} if file.startswith("runs/") else set()
    return {path.name.removesuffix(".sha256"), *links, *cell}


def ask_damaged(case: Case, pristine: Path, world: Path, rng: np.random.Generator, damaged: bool) -> dict[str, str]:
    live_in(world)
    if case.kind.twice:
        cache.RACY = -1  # as if everything had been there for long
        case.kind.ask(world, case.file)
    if damaged:
        DAMAGES[case.damage](world / case.file, rng, find_other(pristine, case))
        if case.damage == "unreadable" and os.geteuid() == 0:
            obey_permissions()
    return {"numbers": str(case.kind.ask(world, case.file))}


def obey_permissions() -> None:
    """Root reads and writes everything, by two capabilities, which this process gives up (capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    for place in (0, 1):  # what is effective, what is permitted
        data[place] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, data) == 0, os.strerror(ctypes.get_errno())


def run_cases(cases: list[Case], pristine: Path, world: Path, seed: int) -> Iterator[tuple[Case, str, str]]:
    """Each case with what becomes of it and what was said."""
    truths: dict[tuple[str, ...], str] = {}
    for number, case in enumerate(cases, start=1):
        parts = Path(case.file).parts
        asked = (case.kind.ask.__name__, *parts[: 3 if parts[0] == "home" else 2])  # a phantom, a suite's role
        if asked not in truths:
            truths[asked], wrong = attempt(case, pristine, world, None, seed)
            if wrong or not truths[asked]:
                raise SystemExit(f"{case.kind.name}: nothing is damaged, and it does not work: {wrong}")
        outcome, told = attempt(case, pristine, world, truths[asked], seed)
        if number % 25 == 0:
            say(f"{number}/{len(cases)}")
        yield case, outcome, told


def report(outcomes: list[tuple[Case, str]], seconds: float) -> str:
    """A row a kind, a column an outcome."""
    columns = [*GOOD, *sorted({outcome for _, outcome in outcomes} - set(GOOD))]
    counted: dict[str, Counter[str]] = {}
    for case, outcome in outcomes:
        counted.setdefault(case.kind.name, Counter())[outcome] += 1
    counted["all"] = sum(counted.values(), Counter())
    lines = [f"| artefact | cases | {' | '.join(columns)} |", "|---|" + "---|" * (len(columns) + 1)]
    lines += [
        f"| {name} | {count.total()} | {' | '.join(str(count[column]) for column in columns)} |"
        for name, count in counted.items()
    ]
    bad = sum(outcome not in GOOD for _, outcome in outcomes)
    return "\n".join([*lines, "", f"{len(outcomes)} cases in {seconds:.0f} s; {bad} did not end well"])


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the cases, drawn from the seed")
    parser.add_argument("--kind", default="", help="only kinds whose names have this expression")
    parser.add_argument("--phantoms", type=Path, help="a folder of phantoms that are made already")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started, outcomes = time.monotonic(), []
    with made_world(options.phantoms) as (pristine, world):
        kinds = [kind for kind in list_kinds(pristine) if re.search(options.kind, kind.name)]
        for case, outcome, told in run_cases(
            list_cases(kinds, options.share, options.seed), pristine, world, options.seed
        ):
            outcomes.append((case, outcome))
            if outcome not in GOOD:
                say(f"{outcome}: {case.damage} of {case.file}\n{told}")
    print(report(outcomes, time.monotonic() - started))
    return int(any(outcome not in GOOD for _, outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
