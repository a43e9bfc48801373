"""Values of a metric for clips paired with their truth and, for the shuffled floor, with that of other trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from metrics.specs import MetricSpec, Scored

CHUNK = 64  # clips whose pixels are compared at once
SET = -1  # the clip of a row that is about all clips of a subject


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
