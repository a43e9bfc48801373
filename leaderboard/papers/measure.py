"""A paper's table with what was measured here: each reported number beside our value, its chance level and best floor.

`survey` finds the cells of ours that stand beside the numbers of a table (`leaderboard.papers.reported` says which),
`measure` reads what the store, or what is committed, has of them, one record a number; `leaderboard.papers.layout` puts
the records into the paper's own rows and columns. Nothing is run here. A number without a counterpart is *reported
only*; what has no scores yet is *not run*, what no command can run *not here*; a metric that the suite has no judge
for, or that no protocol has, is *n/a* unless the table names another *instead*.

Measured is the mean over subjects with its 95 % interval, as in `leaderboard.tables`. Where a paper prints its best
subject, that is given too: the one with the best `best_by` on the test clips, for all columns, as papers choose it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pandas as pd

from bench.core.built_in import STAND_INS
from bench.core.job import Job
from bench.core.variants import name_where_sized
from leaderboard.papers.reported import ReportedCell, ReportedTable, join
from leaderboard.papers.set_motion import fold_changes, sign_changes, signed_protocols
from leaderboard.tables import result_table
from metrics.dynamic_degree import DEGREE_OF
from metrics.protocols import PROTOCOLS
from metrics.specs import MetricSpec

MEASURED, REPORTED, NOT_RUN, NOT_HERE, UNAVAILABLE = "measured", "reported only", "not run", "not here", "n/a"
RECORD = [
    *("row", "column", "reported", "reported_subjects", "chance", "direction", "state", "reason"),
    *("value", "low", "high", "mark", "best_subject", "best_value", "floor", "floor_name", "cells_there", "cells"),
    *("method", "variant", "dataset", "split", "classes", "suite", "protocol", "metric", "instead"),
    *("n_subjects", "n_clips", "seeds", "phantom"),
]


class Shelf(Protocol):
    """Where scores of cells are looked up: a store, or what is committed."""

    def find(self, key: str) -> object | None:
        """The cell of a key, None where it is not there."""

    def read(self, keys: Sequence[str], protocols: Sequence[str]) -> pd.DataFrame:
        """Score rows of those of the cells that are there."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What of ours stands beside a number: one variant of a method on one split of one data set."""

    dataset: str
    method: str
    variant: str
    split: str
    classes: int


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A table with the cells that it needs, and why some cannot be made."""

    table: ReportedTable
    asked: str | None  # data sets to measure on; None: the phantoms
    suite: str
    profile: str  # of the methods that have it
    missing: dict[str, Callable[[MetricSpec], str]]  # by data set: why a metric cannot be measured there, or nothing
    jobs: dict[Need, list[Job]]
    references: dict[str, list[Job]]  # of each data set: floors, baselines and ceilings, each once
    absent: dict[Need, str]

    @property
    def planned(self) -> dict[str, list[Job]]:
        """All jobs by data set, the methods' first, each cell once."""
        planned: dict[str, dict[str, Job]] = {name: {} for name in self.missing}
        for need, jobs in self.jobs.items():
            planned[need.dataset] |= {job.spec.key: job for job in jobs}
        for name, jobs in self.references.items():
            planned[name] |= {job.spec.key: job for job in jobs}
        return {name: list(jobs.values()) for name, jobs in planned.items()}


def find_need(cell: ReportedCell, asked: str | None, profile: str) -> Need | None:
    """What of ours stands beside a reported number, in a profile where the method has it.

    None for what is reported only or about data not asked for.
    """
    dataset = place(cell.dataset, asked)
    if cell.method is None or cell.split is None or dataset is None or not (cell.metric or cell.instead):
        return None
    variant = name_where_sized(cell.method, cell.variant, profile)
    return Need(dataset=dataset, method=cell.method, variant=variant, split=cell.split, classes=cell.classes)


def place(dataset: str, asked: str | None) -> str | None:
    """The data set that a paper's is measured on: itself or its phantom if one is asked for, by default the phantom."""
    if asked is None:
        return STAND_INS[dataset]
    allowed = (dataset, STAND_INS[dataset])
    return next((name for name in asked.split(",") if name.partition(":")[0] in allowed), None)


def measure(survey: Survey, shelf: Shelf) -> pd.DataFrame:
    """One record (`RECORD`) for each number of the table, row by row in the paper's order."""
    results: dict[tuple[Need, str, str], pd.Series] = {}
    there: dict[Need, int] = {}
    for name in survey.missing:
        results |= measure_dataset(survey, name, shelf, there)
    records = []
    for row in survey.table.rows:
        for column, cell in zip(survey.table.columns, row.cells, strict=True):
            record = {
                "row": join(row.labels),
                "column": column,
                "reported": cell.number.text,
                "reported_subjects": cell.subjects,
                "chance": cell.chance,
                "direction": cell.direction,
                **about_ours(cell, survey, results, there),
            }
            records.append(record)
    table = pd.DataFrame(records, columns=RECORD)
    whole = ("reported_subjects", "best_subject", "cells_there", "cells", "classes", "n_subjects", "n_clips", "seeds")
    return table.astype(dict.fromkeys(whole, "Int64"))


def about_ours(
    cell: ReportedCell, survey: Survey, results: dict[tuple[Need, str, str], pd.Series], there: dict[Need, int]
) -> dict[str, Any]:
    """The part of a record that is about our own measurement, or about why there is none."""
    need = find_need(cell, survey.asked, survey.profile)
    if cell.method is None:
        return {"state": REPORTED}
    if need is None:
        why = f"not measured on {survey.asked}" if cell.metric or cell.instead else cell.defined
        return {"state": UNAVAILABLE, "reason": why, "method": cell.method}
    about = {
        **{name: getattr(need, name) for name in ("method", "variant", "dataset", "split", "classes")},
        "suite": survey.suite,
        "protocol": (cell.metric or "").partition(".")[0],
        "metric": (cell.metric or "").partition(".")[2],
    }
    name, why = choose_metric(cell, survey.missing[need.dataset])
    if name is None:
        return {**about, "state": UNAVAILABLE, "reason": why}
    if name != cell.metric:
        about |= {"instead": name, "reason": why}
    if need in survey.absent:
        return {**about, "state": NOT_HERE, "reason": survey.absent[need]}
    planned = [job for job in survey.jobs[need] if job.spec.seed == 0]
    about |= {"cells": len(planned), "cells_there": there.get(need, 0)}
    mean, best = results.get((need, name, "mean")), results.get((need, name, f"best by {cell.best_by}"))
    if mean is None:
        return {**about, "state": NOT_RUN}
    shown = ("value", "low", "high", "mark", "floor", "floor_name", "n_subjects", "n_clips", "seeds", "phantom")
    if cell.of == "best" and best is not None:
        about |= {"best_subject": best["best_subject"], "best_value": best["value"]}
    return {**about, "state": MEASURED, **{key: mean[key] for key in shown}}


def choose_metric(cell: ReportedCell, why_missing: Callable[[MetricSpec], str]) -> tuple[str | None, str]:
    """The metric that a number is measured by, and why it is not the paper's own; None where there is none."""
    why = ""
    for name in (cell.metric, cell.instead):
        if name is None:
            why = why or cell.defined
            continue
        protocol, _, metric = name.partition(".")
        missing = first_part(why_missing(PROTOCOLS[protocol][metric]))
        if not missing:
            return name, why
        why = why or missing
    return None, why


def measure_dataset(
    survey: Survey, dataset: str, shelf: Shelf, there: dict[Need, int]
) -> dict[tuple[Need, str, str], pd.Series]:
    """Result rows on one data set by need, protocol.metric and "mean" or "best by …"; counts the cells in `there`."""
    needs = [need for need in survey.jobs if need.dataset == dataset]
    keys = {need: find_keys(survey.jobs[need], shelf) for need in needs}
    for need in needs:
        planned = {job.spec.key for job in survey.jobs[need] if job.spec.seed == 0}
        there[need] = len(planned & set(keys[need]))
    wanted = [*dict.fromkeys(key for found in keys.values() for key in found)]
    wanted += [job.spec.key for job in survey.references[dataset]]
    scores = shelf.read(wanted, survey.table.protocols)
    if scores.empty:
        return {}
    measured_by = scores["protocol"] + "." + scores["metric"]
    cells = [
        cell
        for row in survey.table.rows
        for cell in row.cells
        if find_need(cell, survey.asked, survey.profile) in needs
    ]
    asked_for = {name for cell in cells for name in (cell.metric, cell.instead, cell.best_by)}
    asked_for |= {f"{protocol}.{degree}" for protocol in PROTOCOLS for degree in DEGREE_OF.values()}
    scores = scores[measured_by.isin(asked_for)]
    parts = [scores[scores["role"] != "method"]]
    labels: dict[str, tuple[Need, str]] = {}
    for cell in cells:
        beside = find_need(cell, survey.asked, survey.profile)
        assert beside is not None
        for way in ("mean", f"best by {cell.best_by}") if cell.of == "best" else ("mean",):
            if (beside, way) in labels.values():
                continue
            own = scores[scores["cell"].isin(keys[beside])]
            own = restrict(own, cell) if way == "mean" else best_subject(own, str(cell.best_by))
            label = f"{len(labels)}"
            labels[label] = (beside, way)
            parts.append(own.assign(variant=label))
    joined = pd.concat(parts, ignore_index=True).drop(columns="folds", errors="ignore")  # which cells are there is
    # counted above, and a number of one subject lacks no fold
    if (joined["role"] == "method").sum() == 0:
        return {}
    rows = fold_changes(result_table(sign_changes(joined), protocols=signed_protocols()))
    return {
        (labels[row["variant"]][0], f"{row['protocol']}.{row['metric']}", labels[row["variant"]][1]): row
        for _, row in rows[rows["role"] == "method"].iterrows()
    }


def find_keys(jobs: Sequence[Job], shelf: Shelf) -> list[str]:
    """Keys of the cells that are there: the planned ones, and those of further seeds."""
    keys = [job.spec.key for job in jobs if shelf.find(job.spec.key)]
    seed = max((job.spec.seed for job in jobs), default=0) + 1
    first = [job for job in jobs if job.spec.seed == 0]
    while more := [key for job in first if shelf.find(key := replace(job.spec, seed=seed).key)]:
        keys += more
        seed += 1
    return keys


def restrict(scores: pd.DataFrame, cell: ReportedCell) -> pd.DataFrame:
    """Of real data only the subject that the paper reports, if it names one; a phantom's subjects are nobody's."""
    if cell.subject is None or scores.empty or scores["phantom"].iloc[0]:
        return scores
    return scores[scores["subject"] == cell.subject]


def best_subject(scores: pd.DataFrame, best_by: str) -> pd.DataFrame:
    """The scores of the one subject with the best mean of `best_by` (protocol.metric)."""
    protocol, _, metric = best_by.partition(".")
    chosen = scores[(scores["protocol"] == protocol) & (scores["metric"] == metric)]
    if chosen.empty:
        return chosen
    means = chosen.groupby("subject")["value"].mean()
    best = means.idxmax() if PROTOCOLS[protocol][metric].direction == "higher" else means.idxmin()
    return scores[scores["subject"] == best]


def first_part(text: str) -> str:
    """What an error says is wrong, without its advice, as notes have room for."""
    return text.partition(";")[0].rstrip(".")


def missing_cells(records: pd.DataFrame) -> pd.DataFrame:
    """The numbers that `run --paper` would fill: not run, or with some of their cells only."""
    partial = (records["state"] == MEASURED) & (records["cells_there"] < records["cells"]).fillna(False)
    return records[(records["state"] == NOT_RUN) | partial]
