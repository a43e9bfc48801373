"""A verdict in words: one plain sentence, made from a summary of scores and floors alone.

    Above every brainless answer in frames (40-way 0.57, best floor 0.053), but in SSIM middle grey scores higher
    (0.31 against 0.26); their authors chose these 23 clips, so nothing follows for the others.

Every number in it is one of the summary's, and every claim is that of `leaderboard.standing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.glossary import RIVAL_WORDS
from leaderboard.standing import ABOVE, ALONE, BARE, BELOW, FREE, LEVEL

HEADLINES: tuple[tuple[str, tuple[str, ...]], ...] = (  # what is spoken of, by the first metric that is there
    ("frames", ("frame_40way", "frame_50way", "frame_2way")),
    ("moving clips", ("video_40way", "video_50way", "video_2way")),
    ("concepts", ("concept_40way", "concept_2way")),
    ("finding the clip again", ("frame_retrieval_top1", "retrieval_top1", "retrieval_top5")),
    ("SSIM", ("ssim", "ssim_grey")),
    ("colour", ("hue_correlation", "hue_pcc")),
    ("motion", ("epe_dis", "epe")),
)


def write_verdict(summary: pd.DataFrame, *, chosen: bool = False) -> str:
    """One sentence of what these clips show, ending with a full stop.

    summary: rows of `standing.stand` under one protocol. `chosen` says that the clips' authors chose them. Raises
    ValueError for rows of several protocols, which are told apart by a sentence each.
    """
    if summary["protocol"].nunique() > 1:
        raise ValueError(f"a verdict is of one protocol, these rows are of {', '.join(summary['protocol'].unique())}")
    spoken = choose_headlines(summary)
    return tell_standing(spoken) + tell_clips(summary, chosen=chosen) + "."


def choose_headlines(summary: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """What is spoken of: the subject in words and its row, in the order of `HEADLINES`."""
    rows = {row["metric"]: row for row in summary.to_dict("records") if row["standing"] != FREE}
    found = [(words, next((name for name in names if name in rows), None)) for words, names in HEADLINES]
    return [(words, {str(key): value for key, value in rows[name].items()}) for words, name in found if name]


def tell_standing(spoken: Sequence[tuple[str, dict[str, Any]]], *, floors: str = "every brainless answer") -> str:
    """The sentence's first part. `floors` are those that a score above is held against."""
    if not spoken:
        return (
            "Nothing here tells what a brain adds: there is no comparison with the true clip, and a clip made without "
            "a brain is best by definition"
        )
    if all(row["standing"] == BARE for _, row in spoken):
        named = [f"{name_of(words, row)} {write_short(row['value'])[0]}" for words, row in spoken]
        return f"No floors were computed, so nothing is said of what a brain adds: {join(named)}"
    if all(row["standing"] == ALONE for _, row in spoken):
        named = [f"{name_of(words, row)} {tell_numbers(row, 'best floor')}" for words, row in spoken]
        return f"One clip has no interval, so nothing is shown: {join(named)}"
    above = [f"{words} ({detail(words, row)})" for words, row in spoken if row["standing"] == ABOVE]
    rest = [tell_rival(words, row) for words, row in spoken if row["standing"] not in (ABOVE, ALONE, BARE)]
    if not above:
        return f"Not shown to be above brainless answers: {join(rest)}"
    return f"Above {floors} in {join(above)}" + (f", but {join(rest)}" if rest else "")


def tell_rival(words: str, row: dict[str, Any]) -> str:
    """Which floor a score is not above, and by which numbers that is seen."""
    rival, value = write_short(row["rival_value"], row["value"])
    where, who = f"in {name_of(words, row)}", RIVAL_WORDS.get(row["rival"], row["rival"])
    if row["standing"] == LEVEL:
        return f"{where} {who} scores the same ({rival})"
    if row["standing"] == BELOW:
        better = "higher" if row["direction"] == "higher" else "better"
        return f"{where} {who} scores {better} ({rival} against {value})"
    return f"{where} {count(row['clips'])} do not tell it from {who} ({rival} against {value})"


def tell_clips(summary: pd.DataFrame, *, chosen: bool) -> str:
    """The sentence's end: clips that were lost, and who chose them."""
    if summary.empty:
        return ""
    clips = int(summary["clips"].max())
    lost = clips - int(summary.loc[summary["clips"] == clips, "ok"].min())
    ends = [f"{lost} of {count(clips)} could not be scored and count as the worst"] if lost else []
    if chosen:
        these = "this clip" if clips == 1 else f"these {clips} clips"
        ends.append(f"their authors chose {these}, so nothing follows for the others")
    return "".join(f"; {end}" for end in ends)


def name_of(words: str, row: dict[str, Any]) -> str:
    """The subject with its number of names, where one belongs to it: `frames (40-way)`."""
    ways = tell_ways(row["metric"])
    return f"{words} ({ways})" if ways else words


def tell_ways(metric: str) -> str:
    last = metric.rpartition("_")[2]
    return f"{last.removesuffix('way')}-way" if last.endswith("way") else ""


def detail(words: str, row: dict[str, Any]) -> str:
    ways = tell_ways(row["metric"])
    value, rival = write_short(row["value"], row["rival_value"])
    return f"{ways + ' ' if ways else ''}{value}, best floor {rival}"


def tell_numbers(row: dict[str, Any], rival: str) -> str:
    value, other = write_short(row["value"], row["rival_value"])
    return f"{value} ({rival} {other})" if other else value


def count(clips: int) -> str:
    return f"{clips} clip{'' if clips == 1 else 's'}"


def join(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def write_short(*values: float) -> list[str]:
    """The numbers with two digits, or as many as it takes for different ones to look different; empty for NaN."""
    texts: list[str] = []
    for digits in range(2, 8):
        texts = [write_digits(value, digits) for value in values]
        if len({float(text or "nan") for text in texts}) == len(set(values)):
            break
    return texts


def write_interval(value: float, low: float, high: float) -> str:
    """`0.193 [0.149, 0.238]`, all with the decimals that three digits of the score or of its interval take.

    Without an interval the score alone; empty without a score.
    """
    if not np.isfinite(value):
        return ""
    width = high - low if np.isfinite(high - low) else 0.0
    size = max(abs(value), abs(width))
    places = max(0, 2 - int(np.floor(np.log10(size)))) if size > 1e-6 else 0
    ends = f" [{low:.{places}f}, {high:.{places}f}]" if np.isfinite(high - low) else ""
    return f"{value:.{places}f}{ends}"


def write_digits(value: float, digits: int) -> str:
    """So many significant digits without an exponent: 0.053, 8.7, 161."""
    if not np.isfinite(value):
        return ""
    if value == 0 or abs(value) < 1e-6:
        return "0"
    places = digits - 1 - int(np.floor(np.log10(abs(value))))
    return f"{value:.{max(places, 0)}f}"
