"""How the board changed from release to release: which methods came, went and moved.

`leaderboard/retired/releases.toml` names the releases, oldest first, and why each took the place of the one before. Of
a retired one the order is made again of its committed scores: rows that see a brain, base variant, all classes, at full
coverage, by the metric that ranks. Scores of two versions of a phantom do not compare; places among the methods that
both releases have do, and they alone are said to have moved.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from leaderboard.admission import SEES_BRAIN
from leaderboard.board import BASE, CLASSES, PROTOCOL, SPLITS, Section, board_metrics, write_number
from leaderboard.results import count_folds, group_of, read_record, read_rows
from metrics.protocols import PROTOCOLS

FILE = "releases.toml"
Place = tuple[str, str]  # data set, split


@dataclass(frozen=True, kw_only=True)
class Release:
    """A board as it was. orders: by data set and split, each method and its score, the best first."""

    title: str
    phantoms: int
    why: str
    orders: Mapping[Place, Mapping[str, float]]


def read_releases(folder: Path, sections: Sequence[Section]) -> list[Release]:
    """All releases, oldest first; the last is that of the sections. None where the folder has no list of them."""
    if not (folder / FILE).is_file():
        return []
    listed = tomllib.loads((folder / FILE).read_text(encoding="utf-8"))["releases"]
    today = {
        (section.dataset, section.split): {row.method: row.scores[section.primary.name].value for row in section.ranked}
        for section in sections
    }
    return [
        Release(
            title=one["title"],
            phantoms=one["phantoms"],
            why=one["why"],
            orders=order_results(folder / one["folder"]) if "folder" in one else today,
        )
        for one in listed
    ]


def order_results(folder: Path) -> dict[Place, dict[str, float]]:
    """The order of every data set and split of committed results, by name where scores are equal."""
    records = {path: read_record(path) for path in sorted(folder.glob(f"*/*/*.{BASE}.{CLASSES}.json"))}
    found: dict[Place, dict[str, float]] = {}
    for path, record in records.items():
        if record["cells"][0]["role"] not in SEES_BRAIN:
            continue
        dataset, split, method, *_ = group_of(record["cells"][0])
        folds = count_folds(record, records)
        rows = read_rows(path, record, folds, only={(PROTOCOL, board_metrics(dataset)[0])})
        if covers(rows, folds):
            # seeds inside a clip, clips inside a subject, then over subjects
            by_subject = rows.groupby(["subject", "clip"])["value"].mean().groupby("subject").mean()
            found.setdefault((dataset, split), {})[method] = float(by_subject.mean())
    return {place: sort_scores(scores, board_metrics(place[0])[0]) for place, scores in found.items()}


def covers(rows: pd.DataFrame, folds: int) -> bool:
    """Whether every seed has a reconstruction of every trial of all folds."""
    if rows.empty or (rows["status"] != "ok").any():
        return False
    return bool((rows.groupby("seed")["fold"].nunique() == folds).all())


def sort_scores(scores: Mapping[str, float], metric: str) -> dict[str, float]:
    sign = -1 if PROTOCOLS[PROTOCOL][metric].direction == "higher" else 1
    return dict(sorted(scores.items(), key=lambda item: (sign * item[1], item[0])))


def view_history(releases: Sequence[Release]) -> list[dict[str, Any]]:
    """What the page shows: each release against the one before, the newest first; then the first alone."""
    steps = [
        {
            "title": new.title,
            "before": old.title,
            "phantoms": (old.phantoms, new.phantoms),
            "why": new.why,
            "sections": [
                compare_orders(place, old.orders.get(place, {}), new.orders.get(place, {}))
                for place in sorted(
                    {*old.orders, *new.orders}, key=lambda one: (one not in new.orders, one[0], SPLITS.index(one[1]))
                )
            ],
        }
        for old, new in pairwise(releases)
    ]
    return steps[::-1]


def compare_orders(place: Place, old: Mapping[str, float], new: Mapping[str, float]) -> dict[str, Any]:
    """What changed in one data set and split, in words and row by row; both orders have the best first."""
    both = [method for method in old if method in new], [method for method in new if method in old]
    then = {method: number for number, method in enumerate(both[0], 1)}
    now = {method: number for number, method in enumerate(both[1], 1)}
    changes = {method: "came" for method in new if method not in old}
    changes |= {method: "went" for method in old if method not in new}
    for method in now:
        steps = then[method] - now[method]
        changes[method] = f"up {steps}" if steps > 0 else f"down {-steps}" if steps < 0 else "same place"
    rows = [
        {
            "method": method,
            "then": tell_place(method, old),
            "now": tell_place(method, new),
            "change": changes[method],
        }
        for method in [*new, *(method for method in old if method not in new)]
    ]
    return {
        "title": f"{place[0]}: {place[1].replace('_', ' ')}",
        "words": tell_changes(old, new, changes),
        "rows": rows,
    }


def tell_place(method: str, order: Mapping[str, float]) -> str:
    return f"{[*order].index(method) + 1}. with {write_number(order[method])}" if method in order else "–"


def tell_changes(old: Mapping[str, float], new: Mapping[str, float], changes: Mapping[str, str]) -> str:
    if not new:
        return f"no row now; of {len(old)} the first was {next(iter(old))}."
    if not old:
        return f"new, with {len(new)} rows; first is {next(iter(new))}."
    was, first = next(iter(old)), next(iter(new))
    told = [f"first is still {first}" if was == first else f"first is {first}, was {was}"]
    for word, start in (("came", "came"), ("went", "went"), ("moved up", "up "), ("moved down", "down ")):
        named = [method for method, change in changes.items() if change.startswith(start)]
        told += [f"{word}: {', '.join(named)}"] if named else []
    return "; ".join(told) + "."
