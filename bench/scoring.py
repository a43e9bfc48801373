"""Scoring: every metric of a protocol for every clip of a cell, and the same for the cell's own shuffled brain.

`shuffled_brain` is the floor that a method brings itself: its reconstructions, paired with the clips of other trials
of the same subject. A reconstruction depends on its own trial and seed alone, so permuting the brain trials is
permuting the predictions: no second generation is needed, and the score is averaged over several permutations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.data import Dataset
from bench.datasets.catalogue import bench_home
from bench.disk import write_array
from bench.seeds import derive_seed
from bench.spec import ScoreSpec
from bench.store import Cell, Store
from metrics.protocols import PROTOCOLS, Judge, MetricSpec, Scored

if TYPE_CHECKING:
    from bench.runner import Job

PERMUTATIONS = 10


def score_spec(cell: Cell, protocol: str, metric: MetricSpec, suite_digest: str) -> ScoreSpec:
    """What determines a score: the predicted pixels, the metric's version and, where one is asked, the judge."""
    return ScoreSpec(
        prediction_digest=cell.manifest["prediction_digest"],
        protocol=protocol,
        metric=metric.name,
        metric_version=metric.version,
        judge_digest=suite_digest if metric.judge else "",
    )


def score_cell(cell: Cell, store: Store, dataset: Dataset, suite: Any, *, protocols: tuple[str, ...]) -> None:
    """Score what is not scored yet. A missing or broken clip scores the metric's worst value and keeps its row."""
    wanted = [
        (protocol, metric, score_spec(cell, protocol, metric, suite.digest).key)
        for protocol in protocols
        for metric in PROTOCOLS[protocol].metrics
    ]
    wanted = [(protocol, metric, key) for protocol, metric, key in wanted if cell.scores(key) is None]
    if not wanted:
        return
    trials = cell.trials()
    there = np.flatnonzero(trials["status"] == "ok")
    clips, target_of = np.unique(trials["clip"].to_numpy(), return_inverse=True)
    judges = {metric.judge for _, metric, _ in wanted if metric.judge}
    prediction = judge(cell.read(there), suite, judges)
    target = judge_targets(clips, dataset, suite, judges)
    row_of = np.full(len(trials), -1)
    row_of[there] = np.arange(len(there))
    pairings = [np.arange(len(trials)), *permute_within_subjects(trials["subject"].to_numpy(), PERMUTATIONS)]

    for protocol, metric, key in wanted:
        values = []
        for pairing in pairings:
            rows = row_of[pairing]
            value = np.full(len(trials), metric.worst)
            ok = rows >= 0
            if ok.any():
                value[ok] = metric.compute(prediction.take(rows[ok]), target.take(target_of[ok]))
            values.append(value)
        broken = ~np.isfinite(values[0])
        status = np.where(broken & (trials["status"] == "ok"), "invalid", trials["status"])
        scores = trials[["subject", "clip", "concept", "block"]].assign(
            protocol=protocol,
            metric=metric.name,
            value=np.where(broken, metric.worst, values[0]),
            shuffled=np.mean(np.where(np.isfinite(values[1:]), values[1:], metric.worst), axis=0),
            status=status,
        )
        cell.add_scores(key, scores)


def unfinished(jobs: Sequence[Job], store: Store, suite_digest: str) -> list[Job]:
    """The jobs whose cell is not in the store or lacks a score."""
    todo = []
    for job in jobs:
        cell = store.find(job.spec.key)
        if cell is None or not all(
            cell.has_scores(score_spec(cell, protocol, metric, suite_digest).key)
            for protocol in job.protocols
            for metric in PROTOCOLS[protocol].metrics
        ):
            todo.append(job)
    return todo


def permute_within_subjects(subject: np.ndarray, count: int) -> list[np.ndarray]:
    """`count` uniformly random permutations of the trials that move none to another subject.

    Uniform, so a trial may keep its own prediction: the mean is what independence of prediction and clip would give.
    """
    generator = np.random.default_rng(derive_seed("scoring", "permutations"))
    permutations = []
    for _ in range(count):
        permutation = np.arange(len(subject))
        for one in np.unique(subject):
            own = np.flatnonzero(subject == one)
            permutation[own] = generator.permutation(own)
        permutations.append(permutation)
    return permutations


def judge(video: np.ndarray, suite: Any, judges: set[Judge]) -> Scored:
    """The video with the opinion of each judge that some metric asks for."""
    n, frames = video.shape[:2]
    video_logits = suite.video_logits(video) if "video" in judges else None
    frame_logits = None
    if "frame" in judges:
        frame_logits = suite.frame_logits(video.reshape(n * frames, *video.shape[2:])).reshape(n, frames, -1)
    return Scored(video=video, video_logits=video_logits, frame_logits=frame_logits)


def judge_targets(clips: np.ndarray, dataset: Dataset, suite: Any, judges: set[Judge]) -> Scored:
    """The true clips with their judges' logits, which are computed once for a data set and suite and kept."""
    video = dataset.video(clips)
    folder = bench_home() / "cache" / "judged" / f"{dataset.digest[:16]}-{suite.digest[:16]}"
    name = f"{derive_seed(*clips.tolist()):016x}"
    logits: dict[Judge, np.ndarray] = {}
    for one in sorted(judges):
        path = folder / f"{name}-{one}.npy"
        if not path.exists():
            scored = judge(video, suite, {one})
            made = scored.video_logits if one == "video" else scored.frame_logits
            assert made is not None
            write_array(path, made)
        logits[one] = np.load(path, allow_pickle=False)
    return Scored(video=video, video_logits=logits.get("video"), frame_logits=logits.get("frame"))


def read_scores(store: Store, keys: list[str], suite_digest: str, protocols: tuple[str, ...]) -> pd.DataFrame:
    """Score rows of the cells, each with what its manifest says of it; cells or scores that are not there are left out.

    Columns: method, variant, role, dataset, split, fold, classes, suite, seed, parameters, phantom, and those of
    `score_cell`.
    """
    parts = []
    for key in keys:
        cell = store.find(key)
        if cell is None:
            continue
        spec = cell.manifest["spec"]
        about = {
            "cell": key,
            **{name: spec[name] for name in ("method", "dataset", "split", "fold", "classes", "suite", "seed")},
            "variant": cell.manifest["variant"],
            "role": cell.manifest["role"],
            "parameters": cell.manifest["parameter_count"],
            "phantom": cell.manifest["phantom"],
        }
        for protocol in protocols:
            for metric in PROTOCOLS[protocol].metrics:
                scores = cell.scores(score_spec(cell, protocol, metric, suite_digest).key)
                if scores is not None:
                    parts.append(scores.assign(**about))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
