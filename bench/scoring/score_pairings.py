"""Values of a metric for clips paired with their truth and, for the shuffled floor, with that of other trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bench.scoring.views import TOO_LARGE
from bench.toolbox.rows import is_small, rows_at_once, walk
from metrics.specs import MetricSpec, Scored

CHUNK = 64  # clips whose pixels are compared at once, and fewer where these are more bytes: metrics compute in float64
SET = -1  # the clip of a row that is about all clips of a subject


def score_pairings(
    metrics: Sequence[MetricSpec],
    prediction: Scored,
    target: Scored,
    place: np.ndarray,  # (trial,): the row of `target` that each trial showed
    there: np.ndarray,  # the trials that have a prediction, in the order of `prediction`
    pairings: Sequence[np.ndarray],
) -> list[list[np.ndarray]]:
    """Of each metric f64 (trial,) for the true pairing, then for each permutation of the brain that counts for it.

    NaN for clips that the metric refuses, because they are too short or too small for it. Videos and views may be read
    when they are indexed (`bench.toolbox.rows`): some clips at a time, and once a pairing for all metrics of pixels.
    """
    row_of = np.full(len(place), -1)
    row_of[there] = np.arange(len(there))
    by_metric: list[list[np.ndarray]] = [[] for _ in metrics]
    listed: dict[bool, list[int]] = {True: [], False: []}
    for number, metric in enumerate(metrics):
        if prediction.video is not None and metric.refuses(prediction.video.shape[1:]):
            by_metric[number] = [np.full(1 if metric.level == "set" else len(place), np.nan)] * 2
        elif metric.level == "set":
            by_metric[number] = [score_set(metric, prediction, target, place[there])] * 2
        else:
            listed[reads_pixels(metric)].append(number)
    for pixels, numbers in listed.items():
        for pairing in range(len(pairings)):
            asked = [number for number in numbers if pairing < count_pairings(metrics[number])]
            score_pairing([metrics[number] for number in asked], [by_metric[number] for number in asked],
                          prediction, target, place, row_of[pairings[pairing]], pixels=pixels)  # fmt: skip
    for metric, by_pairing in zip(metrics, by_metric, strict=True):
        if not metric.paired and len(by_pairing) == 1:
            by_pairing *= 2  # a score that never looks at the truth is the same for any pairing
    return by_metric


def score_pairing(
    metrics: Sequence[MetricSpec],
    by_metric: Sequence[list[np.ndarray]],
    prediction: Scored,
    target: Scored,
    place: np.ndarray,
    rows: np.ndarray,  # (trial,): of `prediction`, -1 where there is none
    *,
    pixels: bool,
) -> None:
    """Add to the values of each metric those of one pairing."""
    for metric, values in zip(metrics, by_metric, strict=True):
        value = np.full(len(place), metric.worst)
        values.append(value)
    if not metrics:
        return
    prediction, target = keep(prediction, metrics), keep(target, metrics)
    ok = np.flatnonzero(rows >= 0)
    step = clips_at_once(prediction, most=CHUNK if pixels else max(1, len(ok)))
    for start in range(0, len(ok), step):
        some = ok[start : start + step]
        ours, true = prediction.take(rows[some]), target.take(place[some])
        for metric, values in zip(metrics, by_metric, strict=True):
            values[-1][some] = metric.compute(ours, true)


def score_set(metric: MetricSpec, prediction: Scored, target: Scored, place: np.ndarray) -> np.ndarray:
    """f64 (1,): the value of all clips together. Such a metric has all that it reads in memory."""
    if len(place) < 2:
        return np.array([metric.worst])
    ours, true = (shorten(keep(scored, [metric])) for scored in (prediction, target))
    everything = np.arange(len(place))
    return metric.compute(ours.take(everything), true.take(place))


def shorten(scored: Scored) -> Scored:
    """Views of each frame that are large, as their means over the frames, as sets are compared by them."""
    seen = scored.views.get("frame_features")
    if seen is None or is_small(seen):
        return scored
    short = np.concatenate([part.mean(axis=1, keepdims=True) for part in walk(seen)])
    return replace(scored, views={**scored.views, "frame_features": short})


def reads_pixels(metric: MetricSpec) -> bool:
    """Whether it is given videos, or a view that is as large."""
    return metric.pixels or not metric.views or bool(set(metric.views) & set(TOO_LARGE))


def count_pairings(metric: MetricSpec) -> int:
    return 1 + metric.shuffles if metric.paired else 1


def keep(scored: Scored, metrics: Sequence[MetricSpec]) -> Scored:
    """The clips with what these metrics read and nothing else: what is not there is not copied, nor read."""
    views = {view for metric in metrics for view in metric.views}
    return replace(
        scored,
        video=scored.video if any(reads_pixels(metric) for metric in metrics) else None,
        views={view: seen for view, seen in scored.views.items() if view in views},
    )


def clips_at_once(scored: Scored, most: int) -> int:
    """How many clips are compared at once, at most `most`."""
    read = [*scored.views.values(), *([] if scored.video is None else [scored.video])]
    return min([most, *(rows_at_once(one, most=most) for one in read)])


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
