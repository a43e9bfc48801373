"""The runner: from a command to cells, from a cell to predictions and scores in the store.

A cell is one method variant on one fold with one seed. Its key is the digest of all that determines its predictions,
so a cell that is already in the store is never made again, and a killed run goes on at the next cell.

Reconstructions are written into the draft of the cell as they come, some trials at a time: memory does not grow with
their number.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.contracts import Answers, BrainData, Dataset, Schedule, Space
from bench.core.errors import BenchError
from bench.core.hardware import list_devices
from bench.core.job import Job
from bench.core.progress import complain, track
from bench.core.registry import resolve
from bench.core.seeds import derive_seed
from bench.core.spec import EMBEDDING
from bench.core.splits import Fold, make_folds
from bench.harness.identity import confirm_sources
from bench.harness.inputs import (
    describe_trials,
    fold_scalings,
    load_once,
    measured_clip,
    measured_subject,
    open_once,
    read_schedule,
    show_set,
)
from bench.harness.method_process import MethodError, MethodProcess
from bench.harness.normalise import Scaling, normalised
from bench.harness.weights import confirm_weights
from bench.scoring.embeddings import place_clips
from bench.scoring.flags import COPIES, flag_cell
from bench.scoring.score_cell import score_cell
from bench.store import disk, provenance
from bench.store.cells import CHECKPOINTS, Cell, Draft, Store
from bench.store.predictions import write_embeddings, write_predictions
from bench.toolbox.curves import NAME as CURVE
from bench.toolbox.curves import take_curve

CHUNK = 96  # trials reconstructed at once, and fewer where these are more bytes: a method holds some times as much
CHUNK_BYTES = 2**28


@dataclass(frozen=True)
class Limits:
    """How a cell may compute: threads, seconds (None: as long as it takes), and where its method prints to."""

    threads: int = 1
    time_limit: float | None = None
    log: Path | None = None
    checkpoints: Path | None = None  # a folder, which need not be there, for what a killed fit goes on from


@dataclass(frozen=True)
class Predicted:
    """What a method came to on a fold, and what its process said about itself."""

    draft: Draft | None  # of the cell, with the videos; None where none were asked for
    embedding: np.ndarray | None  # f32 (trial, d); None of a method that embeds nothing
    parameter_count: int
    phases: dict[str, float]  # seconds
    reads: dict[str, str]  # sha256 of data files, by path
    peak_memory_bytes: int | None
    failure: MethodError | None = None  # of the embeddings beside videos that are whole


def run_job(job: Job, store: Store, limits: Limits = Limits()) -> str:
    """Make the job's cell unless it is there, score what is not scored, and return its key."""
    from bench.pretrained.suite import load_suite

    dataset = open_once(job.spec.dataset, job.data_root)
    suite = load_once(load_suite, job.spec.suite, list_devices(job.device)[0], job.memory)
    cell = store.find(job.spec.key)
    if cell is None:
        drawing = suite.at(job.spec.settings.get("precision", "fp32"))  # judges are exact whatever draws
        cell = make_cell(job, store, dataset, drawing, limits)
    score_cell(cell, store, dataset, suite, protocols=job.protocols)
    if job.role == "method":  # whoever wrote it: its process could read files
        flag_cell(cell, dataset, suite, (COPIES,))
    return job.spec.key


def make_cell(job: Job, store: Store, dataset: Dataset, suite: Any, limits: Limits = Limits()) -> Cell:
    """Fit, adapt and predict one fold, and publish what was asked for in one step.

    Of a method that embeds, the embeddings are published beside its videos, as the cell that `--no-video` would make.
    """
    spec, checkpoints = job.spec, store.root / CHECKPOINTS / job.spec.key
    limits = replace(limits, checkpoints=checkpoints)
    if job.weights is not None:
        confirm_weights(Path(job.weights))
    (fold,) = [f for f in make_folds(dataset, spec.split, classes=spec.classes) if f.name == spec.fold]
    started = time.time()
    trials = describe_trials(dataset, fold.test, spec)
    alone = replace(spec, output=EMBEDDING)
    with contextlib.ExitStack() as publishing:
        predicted = predict(
            job, dataset, fold, suite, limits, trials, lambda: publishing.enter_context(store.publishing(spec.key))
        )
        curve = take_curve(checkpoints)
        confirm_sources(job.sources, dataset, suite)
        about = {
            "variant": job.variant,
            "role": job.role,
            "phantom": dataset.truth is not None,
            "sources": dict(job.sources),
            "reads": predicted.reads,
            "parameter_count": predicted.parameter_count,
            "started": started,
            "phases": predicted.phases,
            "provenance": {**provenance.describe(), **describe_hardware(job, suite)},
            "peak_memory_bytes": predicted.peak_memory_bytes,
        }
        if job.weights is not None:
            about["weights_of"] = Path(job.weights).parent.name
        if job.role == "control" and (kind := getattr(resolve("methods", spec.method), "answers", "")):
            about["answers"] = kind  # how the answers that it is scored by are chosen (`bench.scoring.answers`)
        if predicted.draft is not None:
            predicted.draft.manifest.update(spec=spec.as_dict(), **about)
            if job.keep_weights:
                predicted.draft.take_weights(checkpoints)
        if predicted.embedding is not None and job.space is not None and store.find(alone.key) is None:
            with store.publishing(alone.key) as beside:
                write_embeddings(beside, trials, predicted.embedding, job.space)
                beside.manifest.update(spec=alone.as_dict(), **about)
                if job.keep_weights and predicted.draft is None:
                    beside.take_weights(checkpoints)
    disk.remove(checkpoints)
    if predicted.failure is not None:
        raise predicted.failure
    cell = store.find(spec.key)
    if cell is None:
        raise BenchError(f"cell {spec.key} was published and cannot be read back; look into {store.root}/quarantine")
    if curve:
        try:
            cell.store_file(cell.path / CURVE, curve)
        except (OSError, BenchError) as error:
            complain(f"warning: the training curve of cell {spec.key} is lost: {error}")
    return cell


def describe_hardware(job: Job, suite: Any) -> dict[str, Any]:
    """The device that the method computed on, and what it might use: it changes a result by rounding."""
    several = len(list_devices(job.device)) > 1
    device = job.device if several else str(suite.device)
    return {"device": device, "precision": suite.precision, "memory": suite.memory}


def predict(
    job: Job, dataset: Dataset, fold: Fold, suite: Any, limits: Limits, trials: Any, open_draft: Callable[[], Draft]
) -> Predicted:
    """Run the method on a fold, in a process of its own, its videos being written into a draft that is opened for them.

    `trials` is the table of the fold's test trials. Raises MethodError for whatever the method does instead.
    """
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
        checkpoints=limits.checkpoints,
        keep_weights=job.keep_weights,
        weights=None if job.weights is None else Path(job.weights),
        devices=devices if len(devices := list_devices(job.device)) > 1 else (),
    ) as method:
        clock = time.monotonic()
        method.fit(show_set(dataset, fold.train, scalings), show_set(dataset, fold.validation, scalings))
        phases["fit"] = time.monotonic() - clock
        if len(fold.calibration):
            clock = time.monotonic()
            method.adapt(show_set(dataset, fold.calibration, scalings))
            phases["adapt"] = time.monotonic() - clock
        parameter_count = method.parameter_count
        draft = embedding = failure = None
        if spec.output != EMBEDDING:
            clock = time.monotonic()
            draft = open_draft()
            write_predictions(draft, trials, reconstruct(method, job, dataset, fold, scalings))
            phases["reconstruct"] = time.monotonic() - clock
        if job.space is not None:
            clock = time.monotonic()
            try:
                embedding = embed(method, job.space, job, dataset, fold, scalings, suite)
            except MethodError as error:
                if draft is None:
                    raise
                failure = error  # told when the videos, which may have taken days, are in the store
            phases["embed"] = time.monotonic() - clock
        ending = method.close()
    return Predicted(draft, embedding, parameter_count, phases, method.reads, ending.peak, failure)


def reconstruct(
    method: MethodProcess, job: Job, dataset: Dataset, fold: Fold, scalings: dict[int, Scaling]
) -> Iterator[np.ndarray]:  # u8 (frame, height, width, 3)
    """The videos of the test trials, made in chunks; raises MethodError where the method breaks its contract."""
    expected = dataset.video(measured_clip(dataset, fold.test[:1])).shape[1:]
    most = max(1, min(CHUNK, CHUNK_BYTES // math.prod(expected)))
    for brain, answers, schedule in show_test(job, dataset, fold, scalings, "reconstructing", most):
        shape = (len(brain.subject), *expected)
        made = method.reconstruct(brain, shape=shape, answers=answers, schedule=schedule)
        for place in range(len(made)):
            yield made[place].copy()  # whoever still has it does not keep all of the chunk while the next is made
        del made


def embed(
    method: MethodProcess,
    space: Space,
    job: Job,
    dataset: Dataset,
    fold: Fold,
    scalings: dict[int, Scaling],
    suite: Any,
) -> np.ndarray:  # f32 (n, d)
    """Embed the test trials in chunks; raises MethodError where the method breaks its contract."""
    width = place_clips(space, measured_clip(dataset, fold.test[:1]), dataset, suite).shape[1]
    vectors = [
        method.embed(brain, width=width, answers=answers, schedule=schedule)
        for brain, answers, schedule in show_test(job, dataset, fold, scalings, "embedding", CHUNK)
    ]
    return np.concatenate(vectors)


def show_test(
    job: Job, dataset: Dataset, fold: Fold, scalings: dict[int, Scaling], phase: str, most: int
) -> Iterator[tuple[BrainData, Answers | None, Schedule | None]]:
    """The test trials in chunks of `most`, with the answers for a ceiling and the schedule for a control.

    Only the registry gives a role, never what an instance defines.
    """
    trials = describe_trials(dataset, fold.test, job.spec)
    starts = range(0, len(trials), most)
    for start in track(starts, f"{job.spec.method} {job.variant} {fold.name}: {phase}"):
        part = trials.iloc[start : start + most]
        rows = part["trial"].to_numpy()
        brain = BrainData(
            brain=normalised(dataset, rows, measured_subject(dataset, rows), scalings),
            subject=part["subject"].to_numpy(),
            seed=part["seed"].to_numpy(),
            channels=dataset.channels,
            sampling_rate=dataset.sampling_rate,
        )
        answers = schedule = None
        if job.role == "ceiling":
            answers = Answers(test=show_set(dataset, rows, scalings), trials=rows, truth=dataset.truth)
        if job.role == "control":
            schedule = read_schedule(dataset, fold, part["clip"].to_numpy())
        yield brain, answers, schedule
