"""Damage to every kind of file that the project reads, and what becomes of the numbers.

    python tests/store/damage.py [--seed 0] [--share 1.0] [--kind WORD] [--report FILE]

A small world is made once: phantoms, recordings, a cache, a store, committed results, suites, a bundle. Each case
damages one file in a copy of it and asks, in a process of its own, the verb that reads that file. It must end in one of
three ways: what was damaged is made again, it is refused with an error that names it, or nothing changes. Numbers that
differ without a word, and errors that nobody wrote, fail. Size and time of modification are put back wherever the
damage leaves a file there.

Making a phantom and its card again takes long and is tested elsewhere (`tests/datasets`): here it is stood in for by a
copy of the one that was made first. Prints a Markdown table; exit 1 unless every case ended well.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import huggingface_hub.constants
import numpy as np
import pandas as pd
import torch

import bench
from bench.core.errors import BenchError
from bench.core.job import Run
from bench.core.progress import say
from bench.datasets import catalogue
from bench.datasets.manifest import read_manifest
from bench.datasets.phantom.eeg import card
from bench.doors.bundles import open_bundle, pack_cells
from bench.harness.plan import plan
from bench.harness.run_cell import run_job
from bench.pretrained.judges.observe import VIEWS
from bench.pretrained.mini_build.build import describe_folder
from bench.pretrained.roles import HERE, JUDGES
from bench.pretrained.suite import load_suite
from bench.scoring.stored import read_scores
from bench.scoring.views import Viewer
from bench.store import cache
from bench.store.cells import Store
from leaderboard.results import Committed, publish

NOBODY = 65534
PATIENCE = 180  # seconds of one case
GOOD = ("made again", "refused", "no effect")
SPEECH = ("quarantine", "made again", "made anew", "removed")
METHODS = ("retrieval", "train_mean", "random_clip")
EEG, FMRI = "phantom_eeg:tiny", "phantom_fmri:tiny"
Damage = Callable[[Path, np.random.Generator, Path], None]


@dataclass(frozen=True)
class Kind:
    """Files of one kind, by their names below the world, and the verb that reads them."""

    name: str
    files: tuple[str, ...]
    ask: Callable[[Path, str], Any]  # of the world and the damaged file: numbers
    damages: tuple[str, ...] = ()  # all, unless named
    twice: bool = False  # asked before the damage too, so that the files' states are remembered


@dataclass(frozen=True)
class Case:
    kind: Kind
    file: str
    damage: str


# What is asked


def fingerprint(*parts: Any) -> str:
    """Of arrays, tables and plain values."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, pd.DataFrame):
            part = part.to_csv(index=False)
        if isinstance(part, np.ndarray):
            part = np.ascontiguousarray(part)
            total.update(f"{part.dtype}{part.shape}".encode() + part.tobytes())
        else:
            total.update(repr(part).encode())
    return total.hexdigest()


def describe_data(dataset: Any) -> str:
    trials = dataset.trials.to_pandas()
    clips = np.arange(len(dataset.stimuli))
    return fingerprint(
        dataset.digest,
        trials,
        dataset.stimuli.to_pandas(),
        dataset.signals(trials["trial"].to_numpy()),
        dataset.video(clips),
        dict(dataset.rois),
    )


def ask_phantom(world: Path, file: str) -> str:
    name = EEG if "phantom_eeg" in file else FMRI
    dataset = bench.open_dataset(name)
    folder = dataset.truth.folder
    truth = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return fingerprint(describe_data(dataset), truth, dataset.truth.spec)


def ask_own_phantom(world: Path, file: str) -> str:
    return describe_data(bench.open_dataset(EEG, data_root=world / "own"))


def ask_recordings(world: Path, file: str) -> str:
    return describe_data(catalogue.read_dataset("seed_dv", world / "recordings"))


def ask_observer(world: Path, file: str) -> str:
    dataset = bench.open_dataset(EEG)
    return fingerprint(dataset.truth.concept_posteriors(np.array([60, 61])).round(9), catalogue.info(dataset))


def ask_judged(world: Path, file: str) -> str:
    """The true clips' views, as scoring asks for them."""
    dataset, suite = bench.open_dataset(EEG), SUITES["mini"]
    views = [view for view in VIEWS if suite.judges.available(view)]
    seen = Viewer(suite.judges, dataset.concepts).look_once(views, dataset.video(np.arange(60, 70)))
    return fingerprint(*(seen[view] for view in sorted(seen)))


def ask_table(world: Path, file: str) -> str:
    return fingerprint(bench.table(dataset=EEG, suite="mini", runs=world / "runs", references=True))


def ask_run(world: Path, file: str) -> str:
    """The cells made and scored where they are not there, and read."""
    dataset, suite, store = bench.open_dataset(EEG), SUITES["mini"], Store(world / "runs")
    jobs = list_jobs(dataset, suite)
    keys = [run_job(job, store) for job in jobs]
    cells = [store.find(key) for key in keys]
    rows = read_scores(cells, Viewer(suite.judges, dataset.concepts), ("corrected",))
    return fingerprint(rows.drop(columns="dirty"), [cell.manifest["prediction_digest"] for cell in cells])


def ask_results(world: Path, file: str) -> str:
    committed = Committed(world / "results")
    rows = committed.read(list(committed.place), ("corrected",))
    return fingerprint(rows, committed.digest, sorted(committed.place))


def ask_suite(world: Path, file: str) -> str:
    """The suite's digest, and what the role of the file makes of a clip or a caption."""
    suite = load_suite(world / "suite")
    return fingerprint(suite.digest, use_role(suite, Path(file).parts[1]))


def ask_hub(world: Path, file: str) -> str:
    suite = load_suite(world / "hub suite")
    return fingerprint(suite.judges.digest("dino"), use_role(suite, "dino"))


def use_role(suite: Any, role: str) -> Any:
    clip = np.random.default_rng(0).integers(0, 256, (1, 6, 64, 64, 3), dtype=np.uint8)
    if role in JUDGES:
        return suite.judges.observe(next(view for view, one in VIEWS.items() if one.role == role), clip)
    if role in ("tokenizer", "text_encoder"):
        return suite.encode_text(["a cat in a meadow"]).numpy()
    if role == "vae":
        return suite.encode_video(clip).numpy()
    if role.startswith("wan"):
        return [tensor.numpy() for tensor in suite.wan_text(["a cat"])] if "t" in role[4:5] else describe_network(suite)
    return suite.generate_video(suite.encode_text(["a cat"]), [3], steps=1, keyframes=clip[:, 0])


def describe_network(suite: Any) -> str:
    return fingerprint(*(weight.numpy() for weight in suite.wan_vae.state_dict().values()))


def ask_bundle(world: Path, file: str) -> str:
    with open_bundle(world / file, bench.open_dataset, lambda name: SUITES[name]) as verified:
        viewer = Viewer(SUITES["mini"].judges, bench.open_dataset(EEG).concepts)
        rows = read_scores(verified.cells, viewer, verified.protocols)
        return fingerprint(rows.drop(columns="dirty"), [one.manifest["prediction_digest"] for one in verified.cells])


SUITES: dict[str, Any] = {}


def list_jobs(dataset: Any, suite: Any) -> list[Any]:
    run = Run(method=METHODS[0], split="cross_subject", dataset=EEG, protocols=("corrected",))
    planned = plan(run, dataset, suite)
    return [next(job for job in planned if job.spec.method == method) for method in METHODS]


# The world


def build(world: Path, phantoms: Path | None, quick: bool) -> None:
    """Make everything that will be damaged, or, `quick`, what is made in seconds. `phantoms` are there already."""
    (world / "tmp").mkdir(parents=True)
    live_in(world)
    if phantoms is not None:
        shutil.copytree(phantoms, world / "home" / "phantoms", ignore=shutil.ignore_patterns("quarantine", ".tmp-*"))
    dataset, fmri = bench.open_dataset(EEG), bench.open_dataset(FMRI)
    say("the world: phantoms are there")
    shutil.copytree(dataset.root, world / "own")
    shutil.copytree(dataset.root, world / "recordings")
    (world / "recordings" / "manifest.json").unlink()
    shutil.rmtree(world / "recordings" / "truth")
    suite = SUITES["mini"] = load_suite("mini")
    store = Store(world / "runs")
    keys = [run_job(job, store) for job in list_jobs(dataset, suite)]
    viewer = Viewer(suite.judges, dataset.concepts)
    cells = [store.find(key) for key in keys]
    publish(cells, read_scores(cells, viewer, ("corrected",)), world / "results")
    if not quick:
        pack_cells(cells[:1], viewer, ("corrected",), world / "bundle.zip")
    say("the world: cells are there")
    shutil.copytree(HERE / "mini", world / "suite")
    (world / "suite" / "suite.toml").write_text(describe_folder("mini"))
    build_hub(world)
    for ask in (ask_phantom, ask_judged, ask_own_phantom, ask_recordings, ask_hub, *([] if quick else [ask_observer])):
        ask(world, "phantom_eeg")
    ask_phantom(world, "phantom_fmri")
    describe_data(fmri)
    say("the world is there")


def build_hub(world: Path) -> None:
    """A role in the layout of the Hugging Face cache: files by the digests of their contents, and links to them."""
    revision = "0123456789abcdef0123456789abcdef01234567"
    place = world / "hub" / "models--some--dino"
    snapshot = place / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (place / "blobs").mkdir()
    for path in sorted((HERE / "mini" / "dino").iterdir()):
        content = path.read_bytes()
        small = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        name = hashlib.sha256(content).hexdigest() if path.suffix == ".safetensors" else small
        (place / "blobs" / name).write_bytes(content)
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", name))
    (world / "hub suite").mkdir()
    told = describe_folder("mini").replace('id = "."', f'id = "{world / "suite"}"')
    lines = [line for line in told.splitlines() if not line.startswith("dino =")]
    dino = f'dino = {{ id = "some/dino", revision = "{revision}", licence = "Apache-2.0" }}'
    (world / "hub suite" / "suite.toml").write_text("\n".join([*lines, dino, ""]))


def list_kinds(world: Path, *, quick: bool = False) -> list[Kind]:
    """Every kind of file there is, or those that a quick world has and whose reading takes no seconds."""

    def below(folder: str, *patterns: str) -> tuple[str, ...]:
        found = [path for pattern in patterns for path in sorted((world / folder).glob(pattern))]
        return tuple(path.relative_to(world).as_posix() for path in found if path.is_file())

    def entries(*words: str) -> tuple[str, ...]:
        """Entries of the cache whose line says all the words."""
        lines = {
            name: (world / name).read_bytes().split(b"\n", 2)[1].decode() for name in below("home/cache/entries", "*")
        }
        return tuple(name for name, line in lines.items() if all(word in line for word in words))

    mine = read_manifest(next(world.glob("home/phantoms/phantom_eeg-*")))["digest"]
    eeg, fmri, few = "home/phantoms/phantom_eeg-*", "home/phantoms/phantom_fmri-*", ("flip middle", "half", "deleted")
    once = ("flip middle", "flip end", "zero page", "deleted")
    weights = below("suite", "*/*.safetensors")
    kinds = [
        Kind("phantom: EEG", below("", f"{eeg}/EEG/*.npy")[:2], ask_phantom),
        Kind("phantom: EEG, remembered", below("", f"{eeg}/EEG/*.npy")[2:3], ask_phantom, once, twice=True),
        Kind("phantom: block videos", below("", f"{eeg}/Video/*.mp4")[:2], ask_phantom),
        Kind("phantom: captions", below("", f"{eeg}/Video/BLIP-caption/*")[:1], ask_phantom),
        Kind("phantom: meta-info", below("", f"{eeg}/Video/meta-info/*")[:1], ask_phantom),
        Kind("phantom: geometry", below("", f"{eeg}/geometry.json"), ask_phantom),
        Kind("phantom: manifest", below("", f"{eeg}/manifest.json", f"{fmri}/manifest.json"), ask_phantom),
        Kind("phantom: truth", below("", f"{eeg}/truth/*.*")[:4], ask_phantom, (*few, "zero page", "folder")),
        Kind("phantom: eyes", below("", f"{eeg}/truth/eyes/*")[:1], ask_phantom),
        Kind("phantom: fMRI", below("", f"{fmri}/subj*_fmri.pt")[:1], ask_phantom),
        Kind("phantom: fMRI regions", below("", f"{fmri}/*_rois.txt")[:1], ask_phantom),
        Kind("phantom: film tensors", below("", f"{fmri}/GT_*_3fps.pt")[:1], ask_phantom),
        Kind("phantom: fMRI truth", below("", f"{fmri}/truth/*/*")[:2], ask_phantom, few),
        Kind("phantom of a user's", below("own", "EEG/*", "Video/*.mp4", "manifest.json")[::4], ask_own_phantom),
        Kind("recordings", below("", "recordings/EEG/*", "recordings/Video/*.mp4")[::6], ask_recordings),
        Kind("recordings, remembered", below("", "recordings/EEG/*")[1:2], ask_recordings, once, twice=True),
        Kind("recordings: captions", below("", "recordings/Video/BLIP-caption/*")[:1], ask_recordings),
        Kind("cache: tables", (*entries('"stimuli"', mine), *entries('"trials"', mine)), ask_eeg),
        Kind("cache: frames", entries("frames of", mine)[:1], ask_eeg),
        Kind("cache: frames, remembered", entries("frames of", mine)[1:2], ask_eeg, once, twice=True),
        Kind("cache: judged truth", entries("judged ")[:2], ask_judged),
        Kind("cache: digests of files", entries("digests of the files below", "/world/"), ask_all_data),
        Kind("cache: observers", entries("observer, discriminant of subject 1", mine), ask_observer, few),
        Kind("cache: card", entries('"card"', mine), ask_observer, (*few, "flip start", "flip end")),
        *(
            Kind(f"store: {what}, {verb}", files, ask)
            for what, files in (
                ("manifest", below("runs", "*/manifest.json")[:1]),
                ("prediction", below("runs", "*/predictions/*/*.mp4")[:1]),
                ("trials", below("runs", "*/predictions/trials.parquet")[:1]),
                ("scores", below("runs", "*/scores/*.parquet")[:1]),
                ("digest of scores", below("runs", "*/scores/*.sha256")[:1]),
            )
            for verb, ask in (("run", ask_run), ("table", ask_table))
        ),
        Kind("results: manifests", below("results", "*/*/*.json")[:1], ask_results),
        Kind("results: scores", below("results", "*/*/*.parquet")[:1], ask_results),
        Kind("suite: weights", weights, ask_suite, ("flip middle", "another")),
        Kind("suite: a judge's weights", below("suite", "dino/*.safetensors"), ask_suite),
        Kind("suite: configs", below("suite", "dino/*.json", "unet/*.json", "scheduler/*.json"), ask_suite),
        Kind("suite: tokenizer", below("suite", "tokenizer/*")[:2], ask_suite, (*few, "zero page", "folder")),
        Kind("suite: list of digests", below("suite", "SHA256SUMS"), lambda w, f: ask_suite(w, "suite/dino")),
        Kind("hub: weights and configs", below("hub", "*/blobs/*"), ask_hub),
        Kind("bundle", ("bundle.zip",), ask_bundle, (*few, "flip start", "flip end", "zero page", "folder")),
    ]
    if quick:
        slow = (ask_run, ask_table, ask_observer, ask_bundle)
        kinds = [kind for kind in kinds if kind.ask not in slow or kind.name == "store: scores, run"]
    if empty := [kind.name for kind in kinds if not kind.files]:
        raise SystemExit(f"the world has no {', '.join(empty)}")
    return kinds


def ask_eeg(world: Path, file: str) -> str:
    return ask_phantom(world, "phantom_eeg")


def ask_all_data(world: Path, file: str) -> str:
    data = (ask_phantom(world, kind) for kind in ("phantom_eeg", "phantom_fmri"))
    return fingerprint(*data, ask_own_phantom(world, ""), ask_recordings(world, ""), ask_hub(world, ""))


# The damages


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
    if os.geteuid() != 0:
        cases = [case for case in cases if case.damage != "unreadable" or not case.kind.name.startswith("hub")]
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


# Running


def copy_world(pristine: Path, world: Path, file: str) -> None:
    """Links to all files but the one that will be damaged: whoever writes puts a new file in its place."""
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(pristine, world, copy_function=os.link, symlinks=True)
    (world / file).unlink()
    shutil.copy2(pristine / file, world / file)


def stand_in(pristine: Path, quick: bool) -> None:
    """Let phantoms and cards that are made again be copies of those that were made first."""

    def write(spec: Any, folder: Path, processes: int) -> None:
        shutil.copytree(pristine / "home" / "phantoms" / folder.name, folder)

    catalogue.write = write
    if not quick:
        table = card.phantom_card(bench.open_dataset(EEG))
        card.measure_card = lambda dataset: table


def attempt(case: Case, pristine: Path, world: Path, truth: str | None, seed: int) -> tuple[str, str]:
    """What becomes of a case, and what was said. Without damage (`truth` None), the numbers come as what was said."""
    copy_world(pristine, world, case.file)
    rng = np.random.default_rng([seed, *hashlib.sha256(f"{case.file}{case.damage}".encode()).digest()])
    answer, speech = world / "tmp" / "answer", io.StringIO()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
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
            become_nobody(world)
    return {"numbers": str(case.kind.ask(world, case.file))}


def live_in(world: Path) -> None:
    """Let this process look for everything in the world."""
    os.environ.update(BENCH_HOME=str(world / "home"), TMPDIR=str(world / "tmp"), HOME=str(world / "tmp"))
    huggingface_hub.constants.HF_HUB_CACHE = str(world / "hub")
    tempfile.tempdir = None


def become_nobody(world: Path) -> None:
    """Root reads everything, so what cannot be read is tried as somebody else, who owns the folders."""
    for place, _, _ in os.walk(world):
        os.chown(place, NOBODY, NOBODY)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


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


@contextlib.contextmanager
def made_world(phantoms: Path | None = None, *, quick: bool = False) -> Iterator[tuple[Path, Path]]:
    """The world as it was made, and the place where copies of it must lie: its caches know where things are."""
    before, hub = dict(os.environ), huggingface_hub.constants.HF_HUB_CACHE
    functions = catalogue.write, card.measure_card
    base = Path(tempfile.mkdtemp(prefix="damage-"))
    base.chmod(0o755)
    try:
        build(base / "world", phantoms, quick)
        stand_in(base / "pristine", quick)
        (base / "world").rename(base / "pristine")
        yield base / "pristine", base / "world"
    finally:
        os.environ.clear()
        os.environ.update(before)
        huggingface_hub.constants.HF_HUB_CACHE, tempfile.tempdir = hub, None
        catalogue.write, card.measure_card = functions
        shutil.rmtree(base, ignore_errors=True)


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
    parser.add_argument("--kind", default="", help="only kinds whose name holds this")
    parser.add_argument("--phantoms", type=Path, help="a folder of phantoms that are made already")
    options = parser.parse_args()
    torch.set_num_threads(1)
    started, outcomes = time.monotonic(), []
    with made_world(options.phantoms) as (pristine, world):
        kinds = [kind for kind in list_kinds(pristine) if options.kind in kind.name]
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
