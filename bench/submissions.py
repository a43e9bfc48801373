"""The second door: videos that others made, scored by the same metrics as a method's own reconstructions.

Predictions and targets are two folders whose videos carry the same names. The targets say what is expected: a missing
or broken prediction scores the metric's worst value and is counted; a name that no target has is refused, because it
is most likely a misnamed clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import BenchError
from bench.progress import say, track
from bench.scoring import judge
from bench.video import VideoError, find_videos, read_video
from metrics.protocols import PROTOCOLS, Judge, MetricSpec, Protocol, Scored, ShapeMismatch

GREY = 128  # the constant-grey floor, as in baselines.controls


def score_videos(
    predictions: Path, targets: Path, *, protocol: str, metrics: str = "all", suite_name: str = "mini"
) -> pd.DataFrame:
    """Rows of clip, metric, value, grey, status, worst-to-best direction; raises BenchError for unusable input.

    `grey` is the same metric for a constant grey video: the floor that needs neither a brain nor a generator.
    """
    chosen = choose_metrics(protocol, metrics)
    expected, given = find_videos(targets), find_videos(predictions)
    if not expected:
        raise BenchError(f"{targets} holds no videos; name the folder of true clips (mp4, gif, webm, npy, frames)")
    extra = sorted(set(given) - set(expected))
    if extra:
        raise BenchError(
            f"{predictions} holds {len(extra)} videos that no target is named after: {', '.join(extra[:5])}; "
            f"rename or remove them (targets are named like {next(iter(expected))!r})"
        )
    suite = None
    if any(metric.judge for metric in chosen):
        from bench.pretrained.suite import load_suite

        suite = load_suite(suite_name)

    rows = []
    for name, path in track(list(expected.items()), "scoring"):
        target = read_video(path, frames=PROTOCOLS[protocol].frames)
        prediction, status = read_prediction(name, given, target, PROTOCOLS[protocol])
        rows += [
            {"clip": name, "protocol": protocol, "status": status, **row}
            for row in score_clip(prediction, target, chosen, suite)
        ]
    scored = pd.DataFrame(rows)
    statuses = scored.drop_duplicates("clip")["status"].tolist()
    for bad in ("missing", "invalid"):
        if count := statuses.count(bad):
            say(f"{count} of {len(expected)} clips {bad}: they score the worst value of each metric")
    return scored


def choose_metrics(protocol: str, metrics: str) -> list[MetricSpec]:
    if protocol not in PROTOCOLS:
        raise BenchError(f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    known: Mapping[str, MetricSpec] = {metric.name: metric for metric in PROTOCOLS[protocol].metrics}
    if metrics == "all":
        return list(known.values())
    asked = [name.strip() for name in metrics.split(",")]
    for name in asked:
        if name not in known:
            raise BenchError(f"unknown metric {name!r}; protocol {protocol} has {', '.join(known)}")
    return [known[name] for name in asked]


def read_prediction(
    name: str, given: Mapping[str, Path], target: np.ndarray, protocol: Protocol
) -> tuple[np.ndarray | None, str]:  # u8 (frame, height, width, 3)
    """The predicted clip and its status: ok, missing, or invalid with the reason said on standard error."""
    if name not in given:
        return None, "missing"
    try:
        prediction = read_video(given[name])
    except VideoError as error:
        say(f"{name}: {error}")
        return None, "invalid"
    try:
        protocol.check(prediction, target, clip=name)
    except ShapeMismatch as error:
        say(str(error))
        return None, "invalid"
    return prediction, "ok"


def score_clip(
    prediction: np.ndarray | None, target: np.ndarray, metrics: list[MetricSpec], suite: Any
) -> list[dict[str, Any]]:
    judges = {metric.judge for metric in metrics if metric.judge}
    truth = judge_one(target, suite, judges)
    grey = judge_one(np.full_like(target, GREY), suite, judges)
    made = judge_one(prediction, suite, judges) if prediction is not None else None
    return [
        {
            "metric": metric.name,
            "direction": metric.direction,
            "value": metric.worst if made is None else float(metric.compute(made, truth)[0]),
            "grey": float(metric.compute(grey, truth)[0]),
        }
        for metric in metrics
    ]


def judge_one(video: np.ndarray, suite: Any, judges: set[Judge]) -> Scored:
    return judge(video[None], suite, judges)
