"""People's preferences: which of a group's videos is the best on each question, and the share of choices by method.

CineNeuron's Table 3 prints such shares (20 people, 360 groups, four methods). A group is one clip of one subject with a
video of each method, and of each method's shuffled brain where they are shown. Answers are read as anybody's: strictly
checked, or refused. A share is the mean over groups within a rater, then over raters. Where every rater judged every
group the interval is two-way, over raters and concepts; where raters were shown different groups, over raters alone.
Guessing gives each of `k` videos the share 1 / k: a row is marked "n.s." where its interval reaches down to it. A video
that is missing cannot be chosen; a group of one video is shown to nobody, and is that video's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.stats import intervals as statistics
from leaderboard.stats.agreement import krippendorff_alpha
from leaderboard.web.human import QUESTIONS, HumanError, is_number, read_key, read_record

ANSWER = ("group", "position", *QUESTIONS)
LETTER = re.compile(r"[A-Z]{1,2}")


def tally_choices(files: Sequence[Path], path: Path) -> pd.DataFrame:
    """A row for each question and method: its share of the choices, that of its shuffled brain, and agreement.

    files: the raters' answers, one file a rater. path: the study's key.json. `chance` is the share by guessing,
    `alpha` Krippendorff's of the chosen methods, nominal; NaN where no group was judged twice. Raises HumanError for a
    file that the page cannot have written, or of another study.
    """
    key = read_key(path)
    groups: dict[str, list[str]] = key["groups"]
    choices: dict[str, dict[str, dict[str, str]]] = {}
    for file in files:
        rater, given = read_choices(file, key)
        if rater in choices:
            raise HumanError(f"{file}: rater {rater!r} is in another file already; one file a rater")
        choices[rater] = given
    if not choices:
        raise HumanError("no answers to tally; name the files that the raters downloaded")
    raters = sorted(choices)
    sides = {(about["method"], about["variant"], about["shuffled"]) for about in key["items"].values()}
    order = sorted(sides)
    numbers = {side: place for place, side in enumerate(order)}
    concepts = np.array([find_concept(name, key) for name in groups])
    records = []
    for question in QUESTIONS:
        chosen = np.array([[number_choice(choices[rater].get(name), question, items, key, numbers)
                            for name, items in groups.items()] for rater in raters])  # (rater, group)  # fmt: skip
        alpha = measure_agreement(chosen)
        for method, variant, shuffled in order:
            if shuffled:
                continue
            own = share(chosen, numbers[method, variant, False], concepts)
            floor = numbers.get((method, variant, True))
            records.append(
                {
                    "question": question,
                    "method": method,
                    "variant": variant,
                    "value": own.mean,
                    "low": own.low,
                    "high": own.high,
                    "chance": 1 / len(order),
                    "mark": "" if own.low > 1 / len(order) else "n.s.",
                    "shuffled": float("nan") if floor is None else share(chosen, floor, concepts).mean,
                    "alpha": alpha,
                    "raters": len(raters),
                    "n_clips": len(groups),
                    "generalises_to": own.generalises_to.replace("subjects", "raters"),
                    "dataset": key["dataset"],
                }
            )
    return pd.DataFrame(records)


def share(chosen: np.ndarray, number: int, concepts: np.ndarray) -> statistics.Interval:
    """Of one side among the choices, f64 (rater, group); NaN where a rater did not see a group."""
    won = np.where(np.isnan(chosen), np.nan, chosen == number)
    if np.isnan(won).any():
        return statistics.mean_interval(np.nanmean(won, axis=1)[:, None]).within(0, 1)
    return statistics.mean_interval(won, concepts).within(0, 1)


def measure_agreement(chosen: np.ndarray) -> float:
    twice = (~np.isnan(chosen)).sum(axis=0) > 1
    return krippendorff_alpha(chosen, level="nominal") if twice.any() else float("nan")


def number_choice(
    answer: Mapping[str, str] | None,
    question: str,
    items: Sequence[str],
    key: Mapping[str, Any],
    numbers: Mapping[tuple[str, str, bool], int],
) -> float:
    """The number of the side that was chosen; of a group of one video that one's, of none, or not seen, NaN."""
    item = answer[question] if answer else items[0] if len(items) == 1 else None
    if item is None:
        return float("nan") if items else -1.0
    about = key["items"][item]
    return float(numbers[about["method"], about["variant"], about["shuffled"]])


def find_concept(group: str, key: Mapping[str, Any]) -> int:
    """The concept of a group's clip; one of its own for a group without a video."""
    items = key["groups"][group]
    return int(key["items"][items[0]]["concept"]) if items else -1


def read_choices(path: Path, key: Mapping[str, Any]) -> tuple[str, dict[str, dict[str, str]]]:
    """The rater, and the chosen video of each question by group. Raises HumanError, naming what is wrong."""
    rater, answers = read_record(path, key["study"])
    groups = {name: items for name, items in key["groups"].items() if len(items) > 1}
    given: dict[str, dict[str, str]] = {}
    for answer in answers:
        if not isinstance(answer, dict) or set(answer) != set(ANSWER):
            raise HumanError(f"{path}: an answer has exactly {', '.join(ANSWER)}")
        group = answer["group"]
        if not isinstance(group, str) or group not in groups or group in given:
            raise HumanError(f"{path}: group {group!r} is not of this study, or stands there twice")
        for question in QUESTIONS:
            if answer[question] not in groups[group]:
                raise HumanError(f"{path}: {question} of group {group} is {answer[question]!r}, no video of that group")
        if not is_number(answer["position"], 1, len(groups)):
            raise HumanError(f"{path}: group {group} has the place {answer['position']!r}")
        given[group] = {question: answer[question] for question in QUESTIONS}
    wanted = min(key["each"] or len(groups), len(groups))
    if len(given) != wanted:
        raise HumanError(f"{path}: {len(given)} of {wanted} groups have an answer; ask the rater to finish")
    return rater, given
