"""The board: who stands where on each data set and split, and how surely. A pure function of committed results.

A section is a data set, split and suite with all forty classes (subsets stand in the papers' tables), ranked by one
declared metric, the first of `EEG` or `FMRI`; metrics are never averaged into one score. Rows are the base variants of
methods and baselines, then floors and ceilings, which have no rank. A row ranks only at full coverage: a reconstruction
of every trial of all the split's folds, with every seed. Tiers and rank intervals are those of
`ranking.rank_methods`; `best_share` is in how many draws of the crossed bootstrap, seeded by the section's own scores,
the method is the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import pandas as pd

from leaderboard.admission import CLIPS, SEES_BRAIN
from leaderboard.stats.panels import Panel, build_panels, weigh
from leaderboard.stats.ranking import rank_methods
from leaderboard.stats.resampling import draw_means, seed_from, share_best
from leaderboard.tables import result_table
from leaderboard.verdict import write_interval
from metrics.protocols import PROTOCOLS, MetricSpec

PROTOCOL = "corrected"
EEG = ("video_40way", "frame_40way", "ssim")  # the first ranks, the others stand beside it
FMRI = ("video_50way", "frame_50way", "ssim")
SPLITS = ("single_subject", "cross_subject", "new_subject")
BASE = "base"
CLASSES = 40


@dataclass(frozen=True)
class Score:
    value: float
    low: float
    high: float
    below: bool = False  # worse than the best floor

    def __str__(self) -> str:
        """`0.213 [0.198, 0.229]`, with ↓ behind one below its floor; empty without a score."""
        text = write_interval(self.value, self.low, self.high)
        return text + " ↓" if text and self.below else text


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method, floor or ceiling in a section. Tier and ranks are None where it is not ranked."""

    method: str
    role: str
    scores: Mapping[str, Score]  # by metric
    by_subject: Mapping[int, float]  # of the primary metric
    shuffled: float
    brain_share: Score
    coverage: float
    door: str
    marks: tuple[str, ...]
    parameters: int
    seeds: int
    seed_sd: float  # of the primary metric between seeds; NaN for one seed
    tier: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    best_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    """One table of the board. `better[i, j]`: ranked row i is shown to be better than ranked row j.

    `table` has no rows of references that belong to every split (split "clips"); `scores` has theirs too.
    """

    dataset: str
    split: str
    classes: int
    suite: str
    phantom: bool
    metrics: tuple[MetricSpec, ...]  # the first ranks
    rows: tuple[Row, ...]
    better: np.ndarray
    subjects: int
    clips: int
    groups: int  # of subjects, each with clips of its own
    generalises_to: str
    table: pd.DataFrame  # what `tables.result_table` says of the rows
    scores: pd.DataFrame  # and of what

    @property
    def primary(self) -> MetricSpec:
        return self.metrics[0]

    @property
    def design(self) -> str:
        """Who saw what, in words."""
        who = f"{self.subjects} subject{'s' if self.subjects > 1 else ''}"
        if self.groups == 1:
            return f"{who} × {self.clips} clips"
        return f"{who} in {self.groups} groups with clips of their own, {self.clips} in all"

    @property
    def ranked(self) -> list[Row]:
        return [row for row in self.rows if row.tier is not None]

    @property
    def name(self) -> str:
        return "-".join((self.dataset.replace(":", "-"), self.split, str(self.classes), self.suite))


def make_board(scores: pd.DataFrame) -> list[Section]:
    """All sections, by data set, then split. scores: rows of `results.read_results`, references among them."""
    chosen = scores[(scores["protocol"] == PROTOCOL) & (scores["variant"] == BASE) & (scores["classes"] == CLASSES)]
    sections = []
    for (dataset, classes, suite), part in chosen.groupby(["dataset", "classes", "suite"]):
        for split in SPLITS:
            if not part[(part["split"] == split) & part["role"].isin(SEES_BRAIN)].empty:
                rows = part[part["split"].isin([split, CLIPS])]
                sections.append(make_section(rows, str(dataset), split, int(str(classes)), str(suite)))
    return sections


def make_section(rows: pd.DataFrame, dataset: str, split: str, classes: int, suite: str) -> Section:
    present = set(rows["metric"].unique())
    names = [name for name in board_metrics(dataset) if name in present]
    metrics = tuple(PROTOCOLS[PROTOCOL][name] for name in names)
    rows = rows[rows["metric"].isin(names)]
    table = result_table(rows)
    made = [
        read_row(one, table, rows, metrics[0])
        for one in dict.fromkeys(zip(table["method"], table["role"], strict=True))
    ]
    ranked = [row for row in made if row.role in SEES_BRAIN and row.coverage == 1]
    panels = [panels_of(rows, row.method, metrics[0].name) for row in ranked]
    sign = 1.0 if metrics[0].direction == "higher" else -1.0
    places = order_rows(ranked, metrics[0])
    ranked, panels = [ranked[i] for i in places], [panels[i] for i in places]
    placed, better = place_rows(ranked, panels, metrics[0])
    rest = [row for row in made if row.method not in {one.method for one in ranked}]
    order = {"method": 0, "baseline": 0, "control": 1, "ceiling": 2}
    rest.sort(key=lambda row: (order[row.role], -sign * row.scores[metrics[0].name].value, row.method))
    first = table[(table["metric"] == metrics[0].name) & table["role"].isin(SEES_BRAIN)].iloc[0]
    return Section(
        dataset=dataset,
        split=split,
        classes=classes,
        suite=suite,
        phantom=bool(first["phantom"]),
        metrics=metrics,
        rows=(*placed, *rest),
        better=better,
        subjects=int(first["n_subjects"]),
        clips=int(first["n_clips"]),
        groups=len(panels_of(rows, str(first["method"]), metrics[0].name)),
        generalises_to=str(first["generalises_to"]),
        table=table[table["split"] == split],
        scores=rows,
    )


def board_metrics(dataset: str) -> tuple[str, ...]:
    kind = dataset.partition(":")[0]
    return EEG if kind in ("seed_dv", "phantom_eeg") or kind.endswith("_eeg") else FMRI


def order_rows(rows: Sequence[Row], metric: MetricSpec) -> list[int]:
    """Best first; equals by name."""
    sign = -1.0 if metric.direction == "higher" else 1.0
    return sorted(range(len(rows)), key=lambda i: (sign * rows[i].scores[metric.name].value, rows[i].method))


def place_rows(rows: list[Row], panels: list[list[Panel]], metric: MetricSpec) -> tuple[list[Row], np.ndarray]:
    """The rows with their tiers, rank intervals and shares of being best; and who is shown to be better than whom."""
    if not rows:
        return [], np.zeros((0, 0), bool)
    groups = [(np.stack([panel.value for panel in group]), group[0].concepts) for group in zip(*panels, strict=True)]
    ranking = rank_methods(groups, direction=metric.direction)
    generator = seed_from(*(tables for tables, _ in groups))
    drawn = [draw_means(tables, concepts, generator=generator) for tables, concepts in groups]
    best = share_best(np.average(drawn, axis=0, weights=weigh(panels[0])), metric.direction)
    placed = [
        Row(
            **{
                **vars(row),
                "tier": int(ranking.tier[i]),
                "rank_low": int(ranking.low[i]),
                "rank_high": int(ranking.high[i]),
                "best_share": float(best[i]),
            }
        )
        for i, row in enumerate(rows)
    ]
    return placed, ranking.better


def read_row(one: tuple[str, str], table: pd.DataFrame, rows: pd.DataFrame, primary: MetricSpec) -> Row:
    method, role = one
    mine = {str(row["metric"]): row for row in table[table["method"] == method].to_dict("records")}
    first = mine[primary.name]
    panels = panels_of(rows, method, primary.name)
    of_seed = (
        rows[(rows["method"] == method) & (rows["metric"] == primary.name)].groupby(["seed", "subject"])["value"].mean()
    )
    by_seed = of_seed.groupby("seed").mean()
    value, low, high = (first[f"brain_share{end}"] for end in ("", "_low", "_high"))
    return Row(
        method=method,
        role=role,
        scores={name: read_score(row) for name, row in mine.items()},
        by_subject={
            int(subject): float(value)
            for panel in panels
            for subject, value in zip(panel.subjects, panel.value.mean(axis=1), strict=True)
            if subject != 0
        },
        shuffled=float(first["shuffled"]) if role in SEES_BRAIN else nan,
        brain_share=Score(value, low, high)
        if role != "control"
        else Score(nan, nan, nan),  # of a floor it says nothing
        coverage=float(first["coverage"]),
        door=str(rows.loc[rows["method"] == method, "door"].iloc[0]),
        marks=tuple(mark for mark in str(first["mark"]).split(", ") if mark and mark != "below floor"),
        parameters=int(first["parameters"]),
        seeds=int(first["seeds"]),
        seed_sd=float(by_seed.std(ddof=1)) if len(by_seed) > 1 else nan,
    )


def read_score(row: Mapping[Any, Any]) -> Score:
    below = "below floor" in str(row["mark"]).split(", ")
    return Score(value=row["value"], low=row["low"], high=row["high"], below=below)


def panels_of(rows: pd.DataFrame, method: str, metric: str) -> list[Panel]:
    return build_panels(rows[(rows["method"] == method) & (rows["metric"] == metric)])


def write_number(value: float) -> str:
    """Three significant digits, no exponent, no more than a reader needs: 0.0876, 13.1, 161."""
    if abs(value) < 1e-9:  # a difference of equals, but for rounding
        return "0"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
