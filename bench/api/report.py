"""A report of scored videos: one HTML page with the verdict, every metric among its floors, and three clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api import names

if TYPE_CHECKING:
    import pandas as pd

    from bench.doors.video_pairs import Pair, Pairs
    from leaderboard.web.media import Video
    from leaderboard.web.report import Choice, Pick, Picture


def report(
    scored: pd.DataFrame,
    output: str | Path,
    predictions: str | Path,
    targets: str | Path | None = None,
    *,
    target_name: str = "{}",
    side_by_side: Literal["truth-left", "truth-right"] | None = None,
    frames: str = "same",
    command: str = "",
) -> Path:
    """Write what `score` returned as one HTML file, and return its path.

    `scored` is the frame, the arguments behind `output` are those that `score` was given: the best, a median and the
    worst clip are read again from there, to be shown. `command` is what the page says that it was made by. The page
    needs no server, no network and no script. Raises BenchError where nothing can be written.
    """
    from bench.doors.video_pairs import find_pairs, parse_rule
    from leaderboard.rendering import write
    from leaderboard.web.report import choose_picks, write_report

    path = Path(output)
    names.check_output(path, (".html", ".htm"), option="--report")
    pairs = find_pairs(
        Path(predictions),
        None if targets is None else Path(targets),
        target_name=target_name,
        side=side_by_side,
        rule=parse_rule(frames),
    )
    choice = choose_picks(scored)
    pictures = [] if choice is None else [show_pick(pick, choice, pairs) for pick in choice.picks]
    subject = Path(predictions).resolve().name
    write(write_report(scored, choice, pictures, subject=subject, command=command), path)
    return path


def show_pick(pick: Pick, choice: Choice, pairs: Pairs) -> list[Picture]:
    """Truth, reconstruction and floor of a clip, as the protocol compares them."""
    from bench.scoring.lookup import find_protocol
    from leaderboard.glossary import FLOOR_WORDS
    from leaderboard.web.report import Picture

    rules = find_protocol(choice.protocol)
    pair = pairs.read_one(pick.clip, rules)
    shown = [] if pair.target is None else [Picture(label="truth", video=pair.target)]
    if pair.prediction is not None:
        shown.append(Picture(label="reconstruction", video=pair.prediction))
    other = pairs.read_one(pick.other, rules) if pick.other else None
    floor = draw_floor(choice, pair, other, pairs)
    if floor is not None:
        shown.append(Picture(label=f"floor: {FLOOR_WORDS[choice.floor]}", video=floor))
    return shown


def draw_floor(choice: Choice, pair: Pair, other: Pair | None, pairs: Pairs) -> Video | None:
    """The floor of the choice as this clip was scored against it; None where it has none."""
    import numpy as np

    from bench.doors.mean_of_others import OtherClips
    from bench.doors.videos import GREY, read_truth
    from bench.scoring.lookup import find_protocol

    like = pair.prediction if pair.target is None else pair.target
    if like is None:
        return None
    if choice.floor == "constant_grey":
        return np.full_like(like, GREY)
    if choice.floor == "mean_of_others" and pair.target is not None:
        return OtherClips(read_truth(pairs, find_protocol(choice.protocol))).mean_without(pair.target)
    if choice.floor == "shuffled" and other is not None:
        return other.prediction
    if choice.floor == "still_frame" and other is not None and other.target is not None:
        return np.repeat(other.target[len(other.target) // 2][None], len(like), axis=0)
    return None
