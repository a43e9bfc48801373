"""Scoring videos that were made elsewhere, beside floors that need no brain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.api.names import check_hardware
from bench.core.errors import BenchError
from bench.core.progress import say
from bench.core.registry import names

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision


def score(
    predictions: str | Path,
    targets: str | Path | None = None,
    *,
    protocol: str = "eeg2video",
    metrics: str = "all",
    target_name: str = "{}",
    side_by_side: Literal["truth-left", "truth-right"] | None = None,
    frames: str = "same",
    suite: str = "light",
    device: str = "auto",
    precision: Precision = "fp32",
    memory: str | int | None = None,
    threads: int | None = None,
    floors: bool = True,
) -> pd.DataFrame:
    """Score a folder of videos against a folder of true ones that carry the same names.

    Returns a row for each clip and metric: clip, protocol, metric, direction, chance, held (whether floors are held
    against it), status (ok, missing or invalid), value, a column for each floor, suite, judge (the network that was
    asked; empty where none is), note, other (the clip whose truth and prediction are the floors `still_frame` and
    `shuffled`). A missing or broken clip scores the metric's worst value and is counted. A metric
    that cannot be computed here has one row of status "left out", whose note says what it needs.

    The suite `light` has a real judge of frames, and only that; `mini` knows drawn clips alone, so that it is asked
    where it is named and nowhere else; `paper` has the judges of the papers (`fetch_suite("paper", purpose="score")`).

    `predictions` and `targets` are folders of mp4, gif, webm or npy files or of folders of frames; with `side_by_side`
    the truth is in the same picture. `protocol` is a name, `path/file.py:NAME`, or "all"; `metrics` names separated by
    commas, or "all". `target_name` says how a target is named after its clip ("gt_{}"), `frames` which frames are
    compared ("same", "first:6", "even:6"). Raises BenchError for names and folders that are not there.

    `device`, `precision` and `memory` ("8GiB", or bytes) are those of the judges.
    """
    import pandas as pd

    from bench.doors.video_pairs import find_pairs, parse_rule
    from bench.doors.videos import choose_metrics, score_videos
    from bench.pretrained.suite import load_suite
    from bench.scoring.lookup import find_protocol
    from bench.scoring.views import Viewer
    from metrics.embedding import EMBEDDING

    if side_by_side not in (None, "truth-left", "truth-right"):
        raise BenchError(f"side_by_side {side_by_side!r}: allowed are truth-left and truth-right")
    size = check_hardware(device, precision, memory)
    protocols: tuple[str, ...] = (protocol,)
    if protocol == "all":
        protocols = tuple(name for name in names("protocols") if name != EMBEDDING.name)
    elif protocol == EMBEDDING.name:
        raise BenchError("protocol embedding looks at no video; it scores what `run --no-video` makes")
    for name in protocols:
        choose_metrics(find_protocol(name), metrics)  # names first: folders of videos take long to look through
    pairs = find_pairs(
        Path(predictions),
        None if targets is None else Path(targets),
        target_name=target_name,
        side=side_by_side,
        rule=parse_rule(frames),
    )
    options: dict[str, Any] = {"device": device, "precision": precision, "memory": size, "threads": threads}
    viewer = Viewer(load_suite(suite, **options).judges)
    if suite == "mini":
        say("suite mini: its judges know drawn clips only; on real videos they mean nothing (--suite light, or paper)")
    if protocol == "all" and not pairs.has_truth:
        protocols = ("vbench",)
    return pd.concat(
        [score_videos(pairs, viewer, protocol=name, metrics=metrics, floors=floors) for name in protocols],
        ignore_index=True,
    )


def summarise_scores(scored: pd.DataFrame) -> pd.DataFrame:
    """A row a metric of what `score` returned: mean with its interval, chance, floors, and which it is not above."""
    from leaderboard.clips import summary_table

    return summary_table(scored)
