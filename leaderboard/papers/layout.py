"""A paper's table as text, in its own rows and columns: under each reported row what was measured, and the floor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from leaderboard.papers.measure import MEASURED, NOT_HERE, REPORTED, UNAVAILABLE
from leaderboard.papers.reported import ReportedTable
from leaderboard.tables import NO_ROOM

SHOWN_MARK = "†"  # measured by another metric


def lay_out(records: pd.DataFrame, table: ReportedTable) -> pd.DataFrame:
    """The paper's own rows and columns, as text: under each reported row what was measured and the best floor.

    The notes that belong to it are in `attrs["notes"]`.
    """
    columns = table.columns
    heads = {
        column: f"{column} {'↑' if part['direction'].iloc[0] == 'higher' else '↓'}"
        if part["direction"].nunique() == 1
        else column
        for column, part in records.groupby("column", sort=False)
    }
    chance = [records["chance"][records["column"] == column].unique() for column in columns]
    one_level = all(len(levels) == 1 for levels in chance)
    lines = []

    def add(labels: Sequence[str], what: str, cells: Sequence[str]) -> None:
        lines.append([*labels, what, *cells])

    if one_level and any(pd.notna(levels[0]) for levels in chance):
        add([""] * len(table.stub), "chance", [show_number(levels[0]) for levels in chance])
    for place, row in enumerate(table.rows):
        part = records.iloc[place * len(columns) : (place + 1) * len(columns)]
        blank = [""] * len(row.labels)
        add(row.labels, f"reported{count_subjects(part)}", part["reported"].tolist())
        if not one_level and part["chance"].notna().any():
            add(blank, "chance", [show_number(level) for level in part["chance"]])
        if part["method"].isna().all():
            continue
        if part["best_value"].notna().any():
            add(blank, "measured, best subject", [show_best(record) for _, record in part.iterrows()])
        add(blank, "measured, mean", [show_measured(record) for _, record in part.iterrows()])
        if part["floor"].notna().any():
            add(blank, "best floor", [show_floor(record) for _, record in part.iterrows()])
    laid = pd.DataFrame(lines, columns=[*table.stub, " ", *(heads[column] for column in columns)])
    laid.attrs["notes"] = list_notes(records, table)
    return laid


def list_notes(records: pd.DataFrame, table: ReportedTable) -> list[str]:
    """Where the numbers are from, what of them was measured on what, and why some are not there."""
    notes = [f"Reported: {table.citation}.", *table.notes]
    ours = records[records["state"] == MEASURED]
    if len(ours):
        where = ours[["dataset", "suite", "phantom"]].drop_duplicates()
        places = [f"{d}{' (phantom)' if p else ''}, suite {s}" for d, s, p in where.itertuples(index=False)]
        notes.append(
            f"Measured: {'; '.join(places)}; [low, high] is the 95 % interval; n.s.: not above shuffled brain."
        )
        notes.append("Best floor: the best of what sees no brain and of the method's own shuffled brain.")
        if ours["phantom"].any():
            notes.append(
                "A phantom is synthetic: its numbers say nothing of real brains, nor whether a paper is right."
            )
    if records["method"].isna().all():
        notes.append("Reported only: nothing of ours stands beside these numbers.")
    other_metric = records[records["instead"].notna() & (records["state"] != NOT_HERE)]
    for reason, part in other_metric.groupby("reason", sort=False):
        other = ", ".join(part["instead"].unique())
        notes.append(f"{SHOWN_MARK} {what_of(part)}: measured by {other} instead, whose values differ; {reason}.")
    left = records[records["state"].isin([NOT_HERE, UNAVAILABLE])]
    for about, part in left.groupby(["state", "reason"], sort=False):
        notes.append(f"{about[0]}: {what_of(part)}: {about[1]}.")
    return notes


def what_of(part: pd.DataFrame) -> str:
    """The rows or the columns that some records are of, whichever are fewer."""
    columns, rows = (part[name].unique().tolist() for name in ("column", "row"))
    return ", ".join(rows if len(rows) < len(columns) else columns)


def count_subjects(part: pd.DataFrame) -> str:
    """Of how many subjects a row's reported numbers are, where that is known and the same of all."""
    counts = part["reported_subjects"].dropna().unique()
    return f", n = {counts[0]}" if len(counts) == 1 else ""


def show_measured(record: pd.Series) -> str:
    if record["state"] != MEASURED:
        return "" if record["state"] == REPORTED else str(record["state"])
    text = show_number(record["value"])
    if pd.notna(record["low"]):
        text += f" [{show_number(record['low'])}, {show_number(record['high'])}]"
    text += SHOWN_MARK if pd.notna(record["instead"]) else ""
    marks = [mark for mark in str(record["mark"] or "").split(", ") if mark not in ("", NO_ROOM)]  # no share is shown
    text += f" {', '.join(marks)}" if marks else ""
    if record["cells_there"] < record["cells"]:
        text += f" ({record['cells_there']} of {record['cells']} cells)"
    return text


def show_best(record: pd.Series) -> str:
    if pd.isna(record["best_value"]):
        return ""
    return f"{show_number(record['best_value'])} (subject {record['best_subject']})"


def show_floor(record: pd.Series) -> str:
    return "" if pd.isna(record["floor"]) else f"{show_number(record['floor'])} ({record['floor_name']})"


def show_number(value: Any) -> str:
    """Three significant digits, as in all tables."""
    if value is None or pd.isna(value):
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{float(value):#.3g}".rstrip(".")
