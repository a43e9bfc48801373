"""Scoring: every metric of a protocol for every clip of a cell, and the same for the cell's own shuffled brain.

`shuffled_brain` is the floor that a method brings itself: its reconstructions, paired with the clips of other trials
of the same subject. A reconstruction depends on its own trial and seed alone, so permuting the brain trials is
permuting the predictions: no second generation is needed, and the score is averaged over several permutations.

One subject is in memory at a time: its predictions, the true clips, and what the judges say of both.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.core.contracts import Dataset
from bench.core.progress import say
from bench.core.seeds import permute
from bench.scoring.stored import list_scores
from bench.scoring.views import Viewer, summarise
from bench.store.cells import Cell, Store
from metrics.specs import MetricSpec, Scored

if TYPE_CHECKING:
    pass

CHUNK = 64  # clips whose pixels are compared at once
SET = -1  # the clip of a row that is about all clips of a subject


def score_cell(cell: Cell, store: Store, dataset: Dataset, suite: Any, *, protocols: tuple[str, ...]) -> None:
    """Score what is not scored yet. A missing or broken clip scores the metric's worst value and keeps its row."""
    viewer = make_viewer(suite.judges, dataset.concepts)
    wanted = [one for one in list_scores(cell, viewer, protocols) if cell.scores(one[2]) is None]
    if not wanted:
        return
    shape = cell.manifest["video_shape"]
    views = {view for _, metric, _ in wanted if not metric.refuses(shape) for view in metric.views}
    for reason in dict.fromkeys(metric.refuses(shape) for _, metric, _ in wanted):
        if reason and min(shape) > 0:
            say(f"cell {cell.key}: {reason}: its clips are invalid and score the worst value")
    trials = cell.trials()
    clips, place = np.unique(trials["clip"].to_numpy(), return_inverse=True)
    target, gallery = show_targets(clips, dataset, viewer, views)
    subjects = trials["subject"].to_numpy()
    parts: dict[str, list[pd.DataFrame]] = {key: [] for _, _, key in wanted}
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        status = trials["status"].to_numpy()[rows]
        there = np.flatnonzero(status == "ok")
        video = cell.read(rows[there])
        seen = viewer.compare(views, viewer.look(views, video), gallery)
        prediction = Scored(video=video, views=seen)
        pairings = [np.arange(len(rows)), *permute(len(rows), int(subject))]
        computed: dict[int, pd.DataFrame] = {}  # protocols share metrics
        for _, metric, key in wanted:
            if id(metric) not in computed:
                values = score_pairings(metric, prediction, target, place[rows], there, pairings)
                computed[id(metric)] = describe_scores(trials.iloc[rows], metric, values)
            parts[key].append(computed[id(metric)])
    for protocol, metric, key in wanted:
        cell.add_scores(key, pd.concat(parts[key], ignore_index=True).assign(protocol=protocol, metric=metric.name))


@functools.cache
def make_viewer(judges: Any, concepts: tuple[str, ...]) -> Viewer:
    """One viewer a process: it reads the concepts' names once."""
    return Viewer(judges, concepts)


def show_targets(
    clips: np.ndarray, dataset: Dataset, viewer: Viewer, views: set[str]
) -> tuple[Scored, np.ndarray | None]:
    """The true clips with the judges' views of them, and CLIP's summary of each where a metric retrieves clips."""
    video = dataset.video(clips)
    seen = viewer.look_once(views, video)
    gallery = summarise(seen["clip"]) if "gallery" in views else None
    concepts = dataset.stimuli.to_pandas().set_index("clip")["concept"] if "concept" in views else None
    target = Scored(
        video=video,
        views=viewer.compare(views, seen, gallery),
        concept=None if concepts is None else concepts.loc[clips].to_numpy(np.int64),
        clip=np.arange(len(clips)),
    )
    return target, gallery


def score_pairings(
    metric: MetricSpec,
    prediction: Scored,
    target: Scored,
    place: np.ndarray,  # (trial,): the row of `target` that each trial showed
    there: np.ndarray,  # the trials that have a prediction, in the order of `prediction`
    pairings: Sequence[np.ndarray],
) -> list[np.ndarray]:
    """f64 (trial,) for the true pairing, then for each permutation of the brain that the metric is averaged over.

    NaN for clips that the metric refuses, because they are too short or too small for it.
    """
    if prediction.video is not None and metric.refuses(prediction.video.shape[1:]):
        return [np.full(1 if metric.level == "set" else len(place), np.nan)] * 2
    if metric.level == "set":
        whole = metric.compute(prediction, target.take(place[there])) if len(there) > 1 else np.array([metric.worst])
        return [whole, whole]
    row_of = np.full(len(place), -1)
    row_of[there] = np.arange(len(there))
    by_pairing = []
    for pairing in pairings[: 1 + metric.shuffles] if metric.paired else pairings[:1]:
        rows = row_of[pairing]
        value = np.full(len(place), metric.worst)
        ok = np.flatnonzero(rows >= 0)
        step = CHUNK if metric.pixels or "raft" in metric.views else max(1, len(ok))
        for start in range(0, len(ok), step):
            some = ok[start : start + step]
            value[some] = metric.compute(prediction.take(rows[some]), target.take(place[some]))
        by_pairing.append(value)
    if metric.paired:
        return by_pairing
    return by_pairing * 2  # a score that never looks at the truth is the same for any pairing


def describe_scores(trials: pd.DataFrame, metric: MetricSpec, values: Sequence[np.ndarray]) -> pd.DataFrame:
    """Rows of subject, clip, concept, block, value, shuffled and status; one row, clip `SET`, for a set metric."""
    bounded = [np.where(np.isfinite(value), value, metric.worst) for value in values]
    about = trials[["subject", "clip", "concept", "block", "status"]].reset_index(drop=True)
    if metric.level == "set":
        worst = "ok" if (about["status"] == "ok").all() else about["status"][about["status"] != "ok"].iloc[0]
        about = about.iloc[:1].assign(clip=SET, concept=SET, block=SET, status=worst)
    invalid = ~np.isfinite(values[0]) & (about["status"] == "ok").to_numpy()
    return about.assign(
        value=bounded[0],
        shuffled=np.mean(bounded[1:], axis=0),
        status=np.where(invalid, "invalid", about["status"]),
    )
