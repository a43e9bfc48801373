"""The runner: from a command to cells, from a cell to predictions and scores in the store.

A cell is one method variant on one fold with one seed. Its key is the digest of all that determines its predictions,
so a cell that is already in the store is never made again, and a killed run goes on at the next cell.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.core.contracts import Answers, BrainData, Ceiling, Clockwatcher, Dataset, Method
from bench.core.errors import BenchError
from bench.core.job import Job
from bench.core.progress import track
from bench.core.registry import resolve
from bench.core.splits import Fold, make_folds
from bench.harness.inputs import (
    describe_trials,
    fold_scalings,
    load_once,
    measured_subject,
    open_once,
    read_schedule,
    training_set,
)
from bench.harness.normalise import Scaling, normalised
from bench.scoring.flags import COPIES, flag_cell
from bench.scoring.score_cell import score_cell
from bench.store import provenance
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions

CHUNK = 96  # trials reconstructed at once: bounds memory at the papers' frame size


class MethodError(BenchError):
    """A method broke its contract."""


def run_job(job: Job, store: Store) -> str:
    """Make the job's cell unless it is there, score what is not scored, and return its key."""
    from bench.pretrained.suite import load_suite

    dataset = open_once(job.spec.dataset, job.data_root)
    suite = load_once(load_suite, job.spec.suite)
    cell = store.find(job.spec.key)
    if cell is None:
        cell = make_cell(job, store, dataset, suite)
    score_cell(cell, store, dataset, suite, protocols=job.protocols)
    if job.role == "method":  # whoever wrote it: its process could read files
        flag_cell(cell, dataset, suite, (COPIES,))
    return job.spec.key


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
        if job.role == "ceiling" and isinstance(method, Ceiling):  # only the registry gives a role, never the instance
            test = training_set(dataset, rows, scalings)
            method.reveal(Answers(test=test, trials=rows, truth=dataset.truth))
        if job.role == "control" and isinstance(method, Clockwatcher):
            method.see_schedule(read_schedule(dataset, fold, part["clip"].to_numpy()))
        video = np.asarray(method.reconstruct(brain))
        if video.dtype != np.uint8 or video.shape != (len(part), *expected):
            raise MethodError(
                f"{job.spec.method}.reconstruct returned {video.dtype} {video.shape}; "
                f"it must return uint8 {(len(part), *expected)}: one clip a trial, frames of the data set's size"
            )
        videos.append(video)
    return np.concatenate(videos)
