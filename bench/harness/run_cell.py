"""The runner: from a command to cells, from a cell to predictions and scores in the store.

A cell is one method variant on one fold with one seed. Its key is the digest of all that determines its predictions,
so a cell that is already in the store is never made again, and a killed run goes on at the next cell.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.contracts import Answers, BrainData, Dataset
from bench.core.errors import BenchError
from bench.core.job import Job
from bench.core.progress import track
from bench.core.seeds import derive_seed
from bench.core.splits import Fold, make_folds
from bench.harness.identity import confirm_sources
from bench.harness.inputs import (
    describe_trials,
    fold_scalings,
    load_once,
    measured_subject,
    open_once,
    read_schedule,
    show_set,
)
from bench.harness.method_process import MethodProcess
from bench.harness.normalise import Scaling, normalised
from bench.scoring.flags import COPIES, flag_cell
from bench.scoring.score_cell import score_cell
from bench.store import provenance
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions

CHUNK = 96  # trials reconstructed at once: bounds memory at the papers' frame size


@dataclass(frozen=True)
class Limits:
    """How a cell may compute: threads, seconds (None: as long as it takes), and where its method prints to."""

    threads: int = 1
    time_limit: float | None = None
    log: Path | None = None


@dataclass(frozen=True)
class Predicted:
    """What a method came to on a fold, and what its process said about itself."""

    video: np.ndarray  # u8 (trial, frame, height, width, 3)
    parameter_count: int
    phases: dict[str, float]  # seconds
    reads: dict[str, str]  # sha256 of data files, by path
    peak_memory_bytes: int | None


def run_job(job: Job, store: Store, limits: Limits = Limits()) -> str:
    """Make the job's cell unless it is there, score what is not scored, and return its key."""
    from bench.pretrained.suite import load_suite

    dataset = open_once(job.spec.dataset, job.data_root)
    suite = load_once(load_suite, job.spec.suite)
    cell = store.find(job.spec.key)
    if cell is None:
        cell = make_cell(job, store, dataset, suite, limits)
    score_cell(cell, store, dataset, suite, protocols=job.protocols)
    if job.role == "method":  # whoever wrote it: its process could read files
        flag_cell(cell, dataset, suite, (COPIES,))
    return job.spec.key


def make_cell(job: Job, store: Store, dataset: Dataset, suite: Any, limits: Limits = Limits()) -> Cell:
    """Fit, adapt and reconstruct one fold, and publish its predictions in one step."""
    spec = job.spec
    (fold,) = [f for f in make_folds(dataset, spec.split, classes=spec.classes) if f.name == spec.fold]
    started = time.time()
    predicted = predict(job, dataset, fold, suite, limits)
    confirm_sources(job.sources, dataset, suite)
    with store.publishing(spec.key) as draft:
        write_predictions(draft, describe_trials(dataset, fold.test, spec), predicted.video)
        draft.manifest.update(
            spec=spec.as_dict(),
            variant=job.variant,
            role=job.role,
            phantom=dataset.truth is not None,
            sources=dict(job.sources),
            reads=predicted.reads,
            parameter_count=predicted.parameter_count,
            started=started,
            phases=predicted.phases,
            provenance=provenance.describe(),
            peak_memory_bytes=predicted.peak_memory_bytes,
        )
    cell = store.find(spec.key)
    if cell is None:
        raise BenchError(f"cell {spec.key} was published and cannot be read back; look into {store.root}/quarantine")
    return cell


def predict(job: Job, dataset: Dataset, fold: Fold, suite: Any, limits: Limits) -> Predicted:
    """Run the method on a fold, in a process of its own. Raises MethodError for whatever it does instead."""
    spec = job.spec
    phases = {}
    scalings = fold_scalings(dataset, fold)
    with MethodProcess(
        spec.method,
        suite=suite,
        seed=spec.seed,
        parameters=spec.parameters,
        threads=limits.threads,
        time_limit=limits.time_limit,
        log=limits.log,
        generators=derive_seed("global generators", spec.seed) % 2**32,
    ) as method:
        clock = time.monotonic()
        method.fit(show_set(dataset, fold.train, scalings), show_set(dataset, fold.validation, scalings))
        phases["fit"] = time.monotonic() - clock
        if len(fold.calibration):
            clock = time.monotonic()
            method.adapt(show_set(dataset, fold.calibration, scalings))
            phases["adapt"] = time.monotonic() - clock
        parameter_count = method.parameter_count
        clock = time.monotonic()
        video = reconstruct(method, job, dataset, fold, scalings)
        phases["reconstruct"] = time.monotonic() - clock
        ending = method.close()
    return Predicted(video, parameter_count, phases, method.reads, ending.peak)


def reconstruct(
    method: MethodProcess, job: Job, dataset: Dataset, fold: Fold, scalings: dict[int, Scaling]
) -> np.ndarray:  # u8 (n, frame, height, width, 3)
    """Reconstruct the test trials in chunks; raises MethodError where the method breaks its contract."""
    trials = describe_trials(dataset, fold.test, job.spec)
    expected = dataset.video(trials["clip"].to_numpy()[:1]).shape[1:]
    videos = []
    starts = range(0, len(trials), CHUNK)
    for start in track(starts, f"{job.spec.method} {job.variant} {fold.name}: reconstructing"):
        part = trials.iloc[start : start + CHUNK]
        rows, subject = part["trial"].to_numpy(), part["subject"].to_numpy()
        measured = measured_subject(dataset, rows)
        brain = BrainData(
            brain=normalised(dataset, rows, measured, scalings),
            subject=subject,
            seed=part["seed"].to_numpy(),
            channels=dataset.channels,
            sampling_rate=dataset.sampling_rate,
        )
        answers = schedule = None  # only the registry gives a role, never what an instance defines
        if job.role == "ceiling":
            answers = Answers(test=show_set(dataset, rows, scalings), trials=rows, truth=dataset.truth)
        if job.role == "control":
            schedule = read_schedule(dataset, fold, part["clip"].to_numpy())
        shape = (len(part), *expected)
        videos.append(method.reconstruct(brain, shape=shape, answers=answers, schedule=schedule))
    return np.concatenate(videos)
