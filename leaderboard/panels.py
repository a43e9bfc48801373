"""Panels: the scores of one method variant on one metric as tables subject × clip, and what is computed from several.

Mostly a row of the board is one panel. In CineBrain the last episodes, which are tested, differ between two groups of
subjects, so it is two: each group has its own clips. Their means are weighted by their subjects (the mean over subjects
stays the mean over subjects), their intervals pooled (`statistics.pool`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.errors import BenchError
from leaderboard import statistics

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
    """A panel for each group of subjects who saw the same clips; several only where no two groups share a clip."""
    groups: dict[tuple[int, ...], list[Any]] = {}
    for subject, clips in rows.groupby("subject")["clip"]:
        groups.setdefault(tuple(sorted(set(clips))), []).append(subject)
    if sum(map(len, groups)) > rows["clip"].nunique():
        return [build_panel(rows)]  # which names the clips that are absent
    return [build_panel(rows[rows["subject"].isin(subjects)]) for subjects in groups.values()]


def build_panel(rows: pd.DataFrame) -> Panel:
    """Subject × clip tables of one method variant and metric, the mean over seeds; TableError for an absent clip."""
    wide = rows.groupby(["subject", "clip"])[["value", "shuffled"]].mean().unstack("clip")
    value, shuffled = wide["value"], wide["shuffled"]
    holes = np.argwhere(np.isnan(value.to_numpy()))
    if len(holes):
        first, (row, column) = rows.iloc[0], holes[0]
        raise TableError(
            f"{first['method']} {first['variant']!r} on {first['split']}: subject {value.index[row]} has no row for "
            f"clip {value.columns[column]} ({len(holes)} such holes): "
            "every subject needs every clip, a missing one as the worst value; finish or repeat the run"
        )
    concept = rows.drop_duplicates("clip").set_index("clip")["concept"]
    return Panel(
        value=value.to_numpy(),
        shuffled=shuffled.to_numpy(),
        subjects=value.index.to_numpy(),
        clips=value.columns.to_numpy(),
        concepts=concept.loc[value.columns].to_numpy(),
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
