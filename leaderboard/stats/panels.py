"""Panels: the scores of one method variant on one metric as tables subject × clip, and what is computed from several.

Mostly a row of the board is one panel. In CineBrain the last episodes, which are tested, differ between two groups of
subjects, so it is two: each group has its own clips. Their means are weighted by their subjects (the mean over subjects
stays the mean over subjects), their intervals pooled (`statistics.pool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.core.errors import BenchError
from leaderboard.stats import intervals as statistics

Array = npt.NDArray[np.float64]


class TableError(BenchError):
    """Score rows that no honest table can be made of."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Scores of subjects who saw the same clips, seeds averaged: f64 [subject, clip], rows and columns named."""

    value: Array
    shuffled: Array
    subjects: npt.NDArray
    clips: npt.NDArray
    concepts: npt.NDArray  # of the clips: the clusters


def build_panels(rows: pd.DataFrame) -> list[Panel]:
    """Subject × clip tables of one method variant and metric, the mean over seeds; TableError for an absent clip.

    A panel for each group of subjects who saw the same clips; several only where no two groups share a clip.
    """
    subjects, row = np.unique(rows["subject"], return_inverse=True)
    clips, first_row, column = np.unique(rows["clip"], return_index=True, return_inverse=True)
    shape = len(subjects), len(clips)
    place = np.ravel_multi_index((row, column), shape)
    seeds = np.bincount(place, minlength=len(subjects) * len(clips)).reshape(shape)
    groups: dict[bytes, list[int]] = {}
    for subject, seen in enumerate(seeds > 0):
        groups.setdefault(seen.tobytes(), []).append(subject)
    if sum(int(np.count_nonzero(seeds[who[0]])) for who in groups.values()) > len(clips):
        raise TableError(_describe_holes(rows, subjects, clips, seeds == 0))
    sums = {name: np.bincount(place, weights=rows[name], minlength=seeds.size) for name in ("value", "shuffled")}
    concepts = rows["concept"].to_numpy()[first_row]
    panels = []
    for who in groups.values():
        seen = seeds[who[0]] > 0
        cells = np.ix_(who, seen)
        means = {name: total.reshape(shape)[cells] / seeds[cells] for name, total in sums.items()}
        panels.append(Panel(**means, subjects=subjects[who], clips=clips[seen], concepts=concepts[seen]))
    return panels


def _describe_holes(rows: pd.DataFrame, subjects: npt.NDArray, clips: npt.NDArray, absent: npt.NDArray) -> str:
    first, holes = rows.iloc[0], np.argwhere(absent)
    return (
        f"{first['method']} {first['variant']!r} on {first['split']}: subject {subjects[holes[0, 0]]} has no row for "
        f"clip {clips[holes[0, 1]]} ({len(holes)} such holes): "
        "every subject needs every clip, a missing one as the worst value; finish or repeat the run"
    )


def weigh(panels: Sequence[Panel]) -> Array:
    """[G]: each panel's share of the subjects."""
    subjects = np.array([len(panel.subjects) for panel in panels], np.float64)
    return subjects / subjects.sum()


def mean_interval(panels: Sequence[Panel]) -> statistics.Interval:
    """The mean over clips within a subject, then over subjects, with its interval."""
    return statistics.pool([statistics.mean_interval(panel.value, panel.concepts) for panel in panels], weigh(panels))


def paired_difference(panels: Sequence[Panel], others: Sequence[Panel | Array]) -> statistics.Interval:
    """The interval of the panels − others over the same subjects and clips; an array stands for a panel's scores."""
    return statistics.pool(
        [
            statistics.paired_difference(one.value, other.value if isinstance(other, Panel) else other, one.concepts)
            for one, other in zip(panels, others, strict=True)
        ],
        weigh(panels),
    )


def check_same(panels: Sequence[Panel], others: Sequence[Panel], name: str, other: str) -> None:
    """Raises TableError unless both were scored on the same subjects and clips."""
    seen = [[(tuple(panel.subjects), tuple(panel.clips)) for panel in side] for side in (panels, others)]
    if seen[0] != seen[1]:
        one, two = (f"{sum(len(s) for s, _ in side)} subjects × {sum(len(c) for _, c in side)} clips" for side in seen)
        raise TableError(f"{name} was scored on {one}, {other} on {two}, not the same ones: finish both runs first")
