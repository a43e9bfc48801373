"""The runner: from a command to cells, from a cell to predictions and scores in the store.

A cell is one method variant on one fold with one seed. Its key is the digest of all that determines its predictions,
so a cell that is already in the store is never made again, and a killed run goes on at the next cell.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.core.contracts import Answers, BrainData, Ceiling, Clockwatcher, Dataset, Method, Schedule, TrainingSet
from bench.core.errors import BenchError
from bench.core.progress import track
from bench.core.registry import digest_source, resolve
from bench.core.seeds import derive_seed
from bench.core.spec import CellSpec, digest
from bench.core.splits import Fold, make_folds
from bench.datasets.catalogue import open_dataset
from bench.harness.normalise import Scaling, measure_scalings, normalised
from bench.scoring import score_cell
from bench.store import provenance
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions

CONTROLS = ("random_clip", "train_mean", "constant_grey", "label_prior", "position_only", "noise_brain")
BASELINES = ("retrieval",)  # they see the brain: no floor, but what a method should beat
CEILINGS = ("codec", "caption", "ideal_observer")
CHUNK = 96  # trials reconstructed at once: bounds memory at the papers' frame size


class MethodError(BenchError):
    """A method broke its contract."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one command asks for: named variants of one method on one split, with their floors and ceilings."""

    method: str
    split: str
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"base": {}})
    dataset: str = "phantom_eeg"
    suite: str = "mini"
    classes: int = 40
    seeds: int = 1
    data_root: str | None = None
    protocols: tuple[str, ...] = ("corrected", "eeg2video")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell to be made and scored, with what a worker needs to open."""

    spec: CellSpec
    variant: str
    role: str  # "method", "baseline", "control" or "ceiling"
    data_root: str | None
    protocols: tuple[str, ...]


def plan(run: Run, dataset: Dataset, suite_digest: str) -> list[Job]:
    """The cells of a run, the method's first; raises BenchError for names or splits that do not exist."""

    @functools.cache
    def name_folds(split: str) -> list[str]:
        return [fold.name for fold in make_folds(dataset, split, classes=run.classes)]

    def cells(method: str, variant: str, parameters: Mapping[str, Any], role: str, seeds: int) -> list[Job]:
        made = resolve("methods", method)
        split = "clips" if made.modality == "none" else run.split
        if made.modality not in ("none", "any", dataset.modality):
            raise BenchError(f"{method} decodes {made.modality}, {dataset.name} holds {dataset.modality} recordings")
        return [
            Job(
                spec=CellSpec(
                    dataset=run.dataset,
                    data_digest=dataset.digest,
                    split=split,
                    fold=fold,
                    classes=run.classes,
                    method=method,
                    method_version=made.version,
                    parameters=dict(parameters),
                    suite=run.suite,
                    suite_digest=suite_digest,
                    seed=seed,
                    source=identify_source(method, parameters, run.suite),
                ),
                variant=variant,
                role=role,
                data_root=run.data_root,
                protocols=run.protocols,
            )
            for seed in range(seeds)
            for fold in name_folds(split)
        ]

    jobs = [
        job
        for variant, parameters in run.variants.items()
        for job in cells(run.method, variant, parameters, role_of(run.method), run.seeds)
    ]
    planned = {run.method}
    for reference in (*CONTROLS, *BASELINES, *CEILINGS):
        if reference in planned or (reference == "ideal_observer" and dataset.truth is None):
            continue
        jobs += cells(reference, "base", {}, role_of(reference), seeds=1)
    return jobs


def role_of(method: str) -> str:
    """What a method is in the tables; one that is shown the answers is a ceiling, also where no run refers to it."""
    roles = {"control": CONTROLS, "baseline": BASELINES, "ceiling": CEILINGS}
    named = next((role for role, names in roles.items() if method in names), "method")
    return "ceiling" if named == "method" and hasattr(resolve("methods", method), "reveal") else named


def identify_source(method: str, parameters: Mapping[str, Any], suite: str) -> str:
    """What determines a method's output beside its name, version, parameters and the suite's generators; often empty.

    The content of a `path/file.py:Class`; the version and content of the method that it wraps (class attribute
    `wraps`: the default of its parameter `method`); the networks beside the suite's generators that it builds on (class
    attribute `uses`: their roles); and the judges that it asks (class attribute `asks`: their views).
    """
    made = resolve("methods", method)
    parts = [digest_source("methods", method)]
    if hasattr(made, "wraps"):
        inner = parameters.get("method", made.wraps)
        parts.append(f"{inner} {resolve('methods', inner).version} {digest_source('methods', inner)}")
    if hasattr(made, "uses"):
        from bench.pretrained.suite import load_suite

        own = load_once(load_suite, suite)
        parts += [f"{role} {own.digest_role(role) if own.has(role) else 'absent'}" for role in made.uses]
    if hasattr(made, "asks"):
        from bench.pretrained.suite import load_suite

        judges = load_once(load_suite, suite).judges
        parts += [f"{view} {judges.digest(view) if judges.available(view) else 'absent'}" for view in made.asks]
    return parts[0] if len(parts) == 1 else digest(parts)


def run_job(job: Job, store: Store) -> str:
    """Make the job's cell unless it is there, score what is not scored, and return its key."""
    from bench.pretrained.suite import load_suite

    dataset = open_once(job.spec.dataset, job.data_root)
    suite = load_once(load_suite, job.spec.suite)
    cell = store.find(job.spec.key)
    if cell is None:
        cell = make_cell(job, store, dataset, suite)
    score_cell(cell, store, dataset, suite, protocols=job.protocols)
    return job.spec.key


@functools.cache
def open_once(name: str, data_root: str | None) -> Dataset:
    """One data set a process: opening it again for each cell would read its tables again."""
    return open_dataset(name, data_root=data_root)


@functools.cache
def load_once(load: Any, name: str) -> Any:
    return load(name)


def make_cell(job: Job, store: Store, dataset: Dataset, suite: Any) -> Cell:
    """Fit, adapt and reconstruct one fold, and publish its predictions in one step."""
    spec = job.spec
    (fold,) = [f for f in make_folds(dataset, spec.split, classes=spec.classes) if f.name == spec.fold]
    method: Method = resolve("methods", spec.method)(suite=suite, seed=spec.seed, **spec.parameters)
    started = time.time()
    phases = {}

    scalings = fold_scalings(dataset, fold)
    with store.publishing(spec.key) as draft:
        clock = time.monotonic()
        method.fit(training_set(dataset, fold.train, scalings), training_set(dataset, fold.validation, scalings))
        phases["fit"] = time.monotonic() - clock
        if len(fold.calibration):
            clock = time.monotonic()
            method.adapt(training_set(dataset, fold.calibration, scalings))
            phases["adapt"] = time.monotonic() - clock
        clock = time.monotonic()
        video = reconstruct(method, job, dataset, fold, scalings)
        phases["reconstruct"] = time.monotonic() - clock
        write_predictions(draft, describe_trials(dataset, fold.test, spec), video)
        draft.manifest.update(
            spec=spec.as_dict(),
            variant=job.variant,
            role=job.role,
            phantom=dataset.truth is not None,
            parameter_count=method.parameter_count,
            started=started,
            phases=phases,
            provenance=provenance.describe(),
            peak_memory_bytes=provenance.peak_memory(),
        )
    cell = store.find(spec.key)
    if cell is None:
        raise BenchError(f"cell {spec.key} was published and cannot be read back; look into {store.root}/quarantine")
    return cell


def reconstruct(
    method: Method, job: Job, dataset: Dataset, fold: Fold, scalings: dict[int, Scaling]
) -> np.ndarray:  # u8 (n, frame, height, width, 3)
    """Reconstruct the test trials in chunks; raises MethodError where the method breaks its contract."""
    trials = describe_trials(dataset, fold.test, job.spec)
    expected = dataset.video(trials["clip"].to_numpy()[:1]).shape[1:]
    made = []
    starts = range(0, len(trials), CHUNK)
    for start in track(starts, f"{job.spec.method} {job.variant} {fold.name}: reconstructing"):
        part = trials.iloc[start : start + CHUNK]
        rows, subject = part["trial"].to_numpy(), part["subject"].to_numpy()
        own = measured_subject(dataset, rows)
        brain = BrainData(
            brain=normalised(dataset, rows, own, scalings),
            subject=subject,
            seed=part["seed"].to_numpy(),
            channels=dataset.channels,
            sampling_rate=dataset.sampling_rate,
        )
        if isinstance(method, Ceiling):
            test = training_set(dataset, rows, scalings)
            method.reveal(Answers(test=test, trials=rows, truth=dataset.truth))
        if isinstance(method, Clockwatcher):
            method.see_schedule(read_schedule(dataset, fold, part["clip"].to_numpy()))
        video = np.asarray(method.reconstruct(brain))
        if video.dtype != np.uint8 or video.shape != (len(part), *expected):
            raise MethodError(
                f"{job.spec.method}.reconstruct returned {video.dtype} {video.shape}; "
                f"it must return uint8 {(len(part), *expected)}: one clip a trial, frames of the data set's size"
            )
        made.append(video)
    return np.concatenate(made)


def fold_scalings(dataset: Dataset, fold: Fold) -> dict[int, Scaling]:
    """Scalings from training trials, and from calibration trials for subjects that are new."""
    learned = np.concatenate([fold.train, fold.calibration])
    return measure_scalings(dataset, learned, measured_subject(dataset, learned))


def measured_subject(dataset: Dataset, trials: np.ndarray) -> np.ndarray:
    return np.asarray(dataset.trials["subject"], dtype=np.int64)[trials]


def describe_trials(dataset: Dataset, trials: np.ndarray, spec: CellSpec) -> Any:
    """Table of the trials with the seed of each: trial, subject, clip, block, concept, seed.

    The subject of a brainless cell is 0: it belongs to none.
    """
    import pandas as pd

    table = dataset.trials.to_pandas().set_index("trial").loc[trials].reset_index()
    stimuli = dataset.stimuli.to_pandas().set_index("clip")[["block", "concept"]]
    subject = np.zeros(len(table), np.int64) if spec.split == "clips" else table["subject"].to_numpy(np.int64)
    clip = table["clip"].to_numpy(np.int64)
    return pd.DataFrame(
        {
            "trial": trials,
            "subject": subject,
            "clip": clip,
            "block": stimuli.loc[clip, "block"].to_numpy(np.int64),
            "concept": stimuli.loc[clip, "concept"].to_numpy(np.int64),
            "seed": [derive_seed("trial", spec.seed, int(s), int(c)) for s, c in zip(subject, clip, strict=True)],
        }
    )


def read_schedule(dataset: Dataset, fold: Fold, clips: np.ndarray) -> Schedule:
    """When the clips of the fold's training and validation trials were shown, and these `clips`: no label of any."""
    places = dataset.stimuli.to_pandas().set_index("clip")
    if "block" not in places:
        places["block"] = 0
    if "slot" not in places:  # no slots, as in films: the clips of a block in order of presentation
        places["slot"] = places.sort_index().groupby("block").cumcount()
    shown = np.asarray(dataset.trials["clip"], dtype=np.int64)
    learned = {"train_": np.unique(shown[fold.train]), "validation_": np.unique(shown[fold.validation]), "": clips}
    return Schedule(
        **{
            f"{part}{name}": places.loc[rows, name].to_numpy(np.int64)
            for part, rows in learned.items()
            for name in ("block", "slot")
        }
    )


def training_set(dataset: Dataset, trials: np.ndarray, scalings: dict[int, Scaling]) -> TrainingSet:
    """The trials with the clips that were shown, each clip once."""
    subject = measured_subject(dataset, trials)
    clips, clip = np.unique(np.asarray(dataset.trials["clip"], dtype=np.int64)[trials], return_inverse=True)
    shown = dataset.stimuli.select(clips)
    return TrainingSet(
        brain=normalised(dataset, trials, subject, scalings),
        subject=subject,
        clip=clip.astype(np.int64),
        video=dataset.video(clips),
        captions=tuple(shown["caption"]),
        concepts=np.asarray(shown["concept"], dtype=np.int64),
        channels=dataset.channels,
        sampling_rate=dataset.sampling_rate,
        rois=dataset.rois,
    )
