"""What a paper's ablation claims and what was measured here: base − variant beside base − variant, and the verdict.

Of each number that stands for a variant, the base is the number in the same column for the same method, data set,
split and classes. The paper's difference is that of the two printed numbers (most tables print no interval for it);
ours is paired over subjects, clips and seeds (`ablations.ablation_table`), in the paper's own metric or in the one that
stands in for it. Where the paper prints its best subject (SAM-Net's Table 3, and parts of 4), its difference is that of
one subject, ours still of all. A verdict is about the sign alone: a phantom's effects have no size in common with a
brain's.

    agree       Holm's p over the variants of the table is at most .05, and the sign is the paper's
    disagree    Holm's p is at most .05, and the sign is not the paper's (or the paper shows no difference)
    undecided   the measurement cannot tell the two apart
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

import pandas as pd

from bench.core.variants import split_profiled
from leaderboard.ablations import ablation_table
from leaderboard.board import BASE
from leaderboard.papers.measure import Need, Shelf, Survey, choose_metric, find_keys, find_need
from leaderboard.papers.reported import ReportedCell, ReportedTable, join

LEVEL = 0.05
COLUMNS = [
    *("row", "column", "paper_difference"),
    *("difference", "difference_to_base_low", "difference_to_base_high", "p_holm", "smallest_detectable"),
    *("seeds", "parameters_ratio", "verdict", "warning"),
    *("method", "variant", "split", "dataset", "suite", "classes", "metric", "phantom"),
]


def compare_differences(survey: Survey, shelf: Shelf) -> pd.DataFrame:
    """One row (`COLUMNS`) for each number of a variant in the table that has its base there too."""
    measured = measure_differences(survey, shelf)
    records = []
    for row, column, variant, base in pair_cells(survey.table):
        need = find_need(variant, survey.asked, survey.profile)
        if need is None:
            continue
        metric, _ = choose_metric(variant, survey.missing[need.dataset])
        found = measured.get((need, metric or ""))
        ours = {} if found is None else {name: found[name] for name in COLUMNS if name in found.index}
        printed = difference(base, variant)
        records.append(
            {
                "row": row,
                "column": column,
                "paper_difference": printed,
                **ours,
                "verdict": "not run" if found is None else judge(printed, found),
                **{name: getattr(need, name) for name in ("method", "variant", "split", "dataset", "classes")},
                "suite": survey.suite,
                "metric": metric or "n/a",
            }
        )
    return pd.DataFrame(records, columns=COLUMNS).astype({"seeds": "Int64", "classes": "Int64"})


def pair_cells(table: ReportedTable) -> Iterator[tuple[str, str, ReportedCell, ReportedCell]]:
    """Row, column, the number of a variant and that of its base."""
    rows = table.rows
    for row in rows:
        for place, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
            if cell.method is None or cell.variant == BASE:
                continue
            same = (cell.method, cell.dataset, cell.split, cell.classes)
            for other in (one.cells[place] for one in rows):
                if other.variant == BASE and (other.method, other.dataset, other.split, other.classes) == same:
                    yield join(row.labels), column, cell, other
                    break


def difference(base: ReportedCell, variant: ReportedCell) -> float:
    """Base − variant as the paper prints them, NaN where it prints no number; without the digits that floats add."""
    if base.number.value is None or variant.number.value is None:
        return float("nan")
    return round(base.number.value - variant.number.value, 9)


def measure_differences(survey: Survey, shelf: Shelf) -> dict[tuple[Need, str], pd.Series]:
    """Rows of the ablation tables by variant and protocol.metric, over the variants that are there."""
    found: dict[tuple[Need, str], pd.Series] = {}
    for base in (need for need in survey.jobs if split_profiled(need.variant)[0] == BASE):
        family = [
            need
            for need in survey.jobs
            if (need.dataset, need.method, need.split, need.classes)
            == (base.dataset, base.method, base.split, base.classes)
        ]
        keys = {need: find_keys(survey.jobs[need], shelf) for need in family}
        planned = {need: {job.spec.key for job in survey.jobs[need]} for need in family}
        whole = [need for need in family if planned[need] and planned[need] <= set(keys[need])]
        if base not in whole or len(whole) < 2:
            continue
        wanted = [key for need in whole for key in keys[need]]
        scores = shelf.read(wanted, survey.table.protocols)
        names = {key: need.variant for need in whole for key in keys[need]}
        scores = scores.assign(variant=scores["cell"].map(names))
        others = [need.variant for need in whole if need != base]
        for _, row in ablation_table(scores, base.variant, others).iterrows():
            need = next(one for one in whole if one.variant == row["variant"])
            found[need, f"{row['protocol']}.{row['metric']}"] = row
    return found


def judge(printed: float, measured: pd.Series) -> str:
    """Whether the paper's sign was measured."""
    if not measured["p_holm"] <= LEVEL or isnan(printed):
        return "undecided"
    return "agree" if printed * measured["difference"] > 0 else "disagree"
