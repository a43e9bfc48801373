"""A small world with a file of every kind that the project reads, for `tests/store/damage.py` to damage.

Each `ask_…` is a verb that reads files of one kind, and gives a digest of the numbers that come out. Making a phantom
and its card again is stood in for by a copy of the one that was made first (`stand_in`), and so are a cell's videos.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pandas as pd

import bench
from bench.core.job import Run
from bench.core.progress import say
from bench.datasets import catalogue
from bench.datasets.manifest import read_manifest
from bench.datasets.phantom.eeg import card
from bench.doors.bundles import open_bundle, pack_cells
from bench.harness import run_cell
from bench.harness.inputs import open_once
from bench.harness.plan import plan
from bench.harness.run_cell import run_job
from bench.pretrained.judges.observe import VIEWS
from bench.pretrained.mini_build.build import describe_folder
from bench.pretrained.roles import HERE, JUDGES
from bench.pretrained.suite import load_suite
from bench.scoring.stored import read_scores
from bench.scoring.views import Viewer
from bench.store import provenance
from bench.store.cells import Store
from leaderboard.results import Committed, publish

METHODS = ("retrieval", "train_mean", "random_clip")


EEG, FMRI = "phantom_eeg:tiny", "phantom_fmri:tiny"


@dataclass(frozen=True)
class Kind:
    """Files of one kind, by their names below the world, and the verb that reads them."""

    name: str
    files: tuple[str, ...]
    ask: Callable[[Path, str], Any]  # of the world and the damaged file: numbers
    damages: tuple[str, ...] = ()  # all, unless named
    twice: bool = False  # asked before the damage too, so that the files' states are remembered


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
    asked: Any = {"dataset": EEG, "suite": "mini", "runs": world / "runs", "references": True}
    return fingerprint(bench.table(**asked), bench.table(**asked, protocol="embedding"))


def ask_run(world: Path, file: str) -> str:
    """The cells made and scored where they are not there, and read."""
    dataset, suite, store = bench.open_dataset(EEG), SUITES["mini"], Store(world / "runs")
    jobs = list_jobs(dataset, suite)
    keys = [run_job(job, store) for job in jobs]
    cells = [store.find(key) for key in keys]
    rows = read_scores(cells, Viewer(suite.judges, dataset.concepts), ("corrected", "embedding"))
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
    if role in ("wan_vae", "wan_transformer"):
        return describe_network(suite.wan_vae if role == "wan_vae" else suite.wan)
    if role.startswith("wan"):
        return [tensor.numpy() for tensor in suite.wan_text(["a cat"])]
    return suite.generate_video(suite.encode_text(["a cat"]), [3], steps=1, keyframes=clip[:, 0])


def describe_network(network: Any) -> str:
    return fingerprint(*(weight.numpy() for weight in network.state_dict().values()))


def ask_bundle(world: Path, file: str) -> str:
    with open_bundle(world / file, bench.open_dataset, lambda name: SUITES[name]) as verified:
        viewer = Viewer(SUITES["mini"].judges, bench.open_dataset(EEG).concepts)
        rows = read_scores(verified.cells, viewer, verified.protocols)
        return fingerprint(rows.drop(columns="dirty"), [one.manifest["prediction_digest"] for one in verified.cells])


SUITES: dict[str, Any] = {}
PREDICTED: dict[str, Any] = {}  # by the cell's key: what its method came to, which comes to the same each time


def list_jobs(dataset: Any, suite: Any) -> list[Any]:
    """A cell of videos of each method, and that of the embeddings which the first leaves beside them."""
    run = Run(method=METHODS[0], split="cross_subject", dataset=EEG, protocols=("corrected",))
    planned = plan(run, dataset, suite)
    said = plan(replace(run, video=False, protocols=("embedding",)), dataset, suite)
    return [*(next(job for job in planned if job.spec.method == method) for method in METHODS), said[0]]


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
    cells = [store.find(key) for key in keys[: len(METHODS)]]
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
        Kind("cache: observers", entries("observer, evoked of subject 1", mine), ask_observer, few),
        Kind("cache: card", entries('"card"', mine), ask_observer, (*few, "flip start", "flip end")),
        *(
            Kind(f"store: {what}, {verb}", files, ask)
            for what, files in (
                ("manifest", below("runs", "*/manifest.json")[:1]),
                ("prediction", below("runs", "*/predictions/*/*.mp4")[:1]),
                ("embeddings", below("runs", "*/predictions/embeddings.safetensors")[:1]),
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


def stand_in(pristine: Path, quick: bool) -> None:
    """Let phantoms and cards that are made again be copies of those that were made first."""

    def write(spec: Any, folder: Path, processes: int) -> None:
        shutil.copytree(pristine / "home" / "phantoms" / folder.name, folder)

    catalogue.write = write
    if not quick:
        table = card.phantom_card(bench.open_dataset(EEG))
        card.measure_card = lambda dataset: table


def live_in(world: Path) -> None:
    """Let this process look for everything in the world."""
    os.environ.update(BENCH_HOME=str(world / "home"), TMPDIR=str(world / "tmp"), HOME=str(world / "tmp"))
    huggingface_hub.constants.HF_HUB_CACHE = str(world / "hub")
    tempfile.tempdir = None


@contextlib.contextmanager
def made_world(phantoms: Path | None = None, *, quick: bool = False) -> Iterator[tuple[Path, Path]]:
    """The world as it was made, and the place where copies of it must lie: its caches know where things are."""
    before, hub = dict(os.environ), huggingface_hub.constants.HF_HUB_CACHE
    functions = catalogue.write, card.measure_card, run_cell.predict, provenance.find_commit
    predict = run_cell.predict

    def predict_once(*given: Any) -> Any:
        job, open_draft = given[0], given[-1]
        key = replace(job.spec, output="").key
        if key not in PREDICTED:
            made = predict(*given)
            files = (
                {} if made.draft is None else {one: (made.draft.path / one).read_bytes() for one in made.draft.files}
            )
            PREDICTED[key] = made, files, {} if made.draft is None else dict(made.draft.manifest)
            return made
        made, files, manifest = PREDICTED[key]
        if job.spec.output:
            return replace(made, draft=None)
        draft = open_draft()
        for name, content in files.items():
            draft.write(name, content)
        draft.manifest.update(manifest)
        return replace(made, draft=draft)

    run_cell.predict = predict_once
    provenance.find_commit = lambda folder: {"commit": "0" * 40, "dirty": False}  # whatever the tree here is
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
        catalogue.write, card.measure_card, run_cell.predict, provenance.find_commit = functions
        shutil.rmtree(base, ignore_errors=True)
        open_once.cache_clear()  # of a phantom that is gone
