"""A paper's table within 100 columns: a block for each of its columns, reported beside measured; and its differences.

Video-based 40-way ↑   chance 0.0714 · best floor 0.124 (best_constant)
              reported     measured
  Ours        0.291±0.02   0.301 [0.242, 0.359]
  A. w/o HRT  0.179±0.02   not run
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from leaderboard.narrow import ARROWS, WIDTH, tell_interval, wrap
from leaderboard.papers.layout import list_notes, show_measured, show_number
from leaderboard.papers.measure import MEASURED, REPORTED
from leaderboard.papers.reported import ReportedTable

LABEL, REPORTED_WIDTH = 36, 14  # columns of a row's name and of what was reported


def tell_paper(records: pd.DataFrame, differences: pd.DataFrame, table: ReportedTable) -> str:
    """The records of a table (`leaderboard.papers.measure.measure`) as text that ends with a line break."""
    parts = [f"{table.name}: {table.title}"]
    parts += ["\n".join(tell_column(rows)) for _, rows in records.groupby("column", sort=False)]
    parts.append("\n".join(line for note in list_notes(records, table) for line in wrap(note)))
    parts.append("\n".join(wrap(judge_table(records, differences))))
    return "\n\n".join("\n".join(one for one in wrap_lines(part)) for part in parts) + "\n"


def tell_column(rows: pd.DataFrame) -> Iterator[str]:
    """A column of the paper's: its levels, then a line a row."""
    first = rows.iloc[0]
    arrow = f" {ARROWS[first['direction']]}" if rows["direction"].nunique() == 1 else ""
    levels = []
    if rows["chance"].notna().any() and rows["chance"].nunique() == 1:
        levels.append(f"chance {show_number(first['chance'])}")
    floors = rows[rows["floor"].notna()]
    shared = floors[["floor", "floor_name"]].drop_duplicates()
    if len(shared) == 1:
        levels.append(f"best floor {show_number(shared['floor'].iloc[0])} ({shared['floor_name'].iloc[0]})")
    yield f"{first['column']}{arrow}   {' · '.join(levels)}".rstrip()
    labels = [shorten(str(row["row"])) for _, row in rows.iterrows()]
    width = max(map(len, labels))
    yield f"  {'':<{width}}  {'reported':<{REPORTED_WIDTH}}  measured"
    for label, (_, row) in zip(labels, rows.iterrows(), strict=True):
        measured = show_measured(row)
        if len(shared) > 1 and pd.notna(row["floor"]):
            measured += f"; floor {show_number(row['floor'])}"
        yield f"  {label:<{width}}  {row['reported']!s:<{REPORTED_WIDTH}}  {measured}".rstrip()


def judge_table(records: pd.DataFrame, differences: pd.DataFrame) -> str:
    """How much of the table was measured, and what became of its ablations' claims."""
    measured = int((records["state"] == MEASURED).sum())
    reported = int((records["state"] == REPORTED).sum())
    said = f"{measured} of {len(records)} numbers are measured here"
    said += f", {reported} are reported only" if reported else ""
    if len(differences):
        counts = differences["verdict"].value_counts()
        told = ", ".join(
            f"{counts[word]} {word}" for word in ("agree", "disagree", "undecided", "not run") if word in counts
        )
        said += f"; of {len(differences)} differences that its ablations claim: {told}"
    return said + "."


def tell_differences(table: pd.DataFrame) -> str:
    """What ablations claim within 100 columns: the paper's difference to the base, ours with its interval, verdict."""
    parts = []
    for column, rows in table.groupby("column", sort=False):
        labels = [shorten(str(row["row"])) for _, row in rows.iterrows()]
        width = max(map(len, labels))
        lines = [str(column), f"  {'':<{width}}  {'paper':>8}  {'measured':<26}  verdict"]
        for label, (_, row) in zip(labels, rows.iterrows(), strict=True):
            ours = tell_interval(row, ("difference", "difference_to_base_low", "difference_to_base_high"))
            said = f"{row['verdict']}{f' ({warning})' if (warning := row['warning']) and pd.notna(warning) else ''}"
            lines.append(
                f"  {label:<{width}}  {show_number(row['paper_difference']):>8}  {ours:<26}  {said}"[:WIDTH].rstrip()
            )
        parts.append("\n".join(lines))
    counts = table["verdict"].value_counts()
    told = ", ".join(f"{number} {word}" for word, number in counts.items())
    parts.append("\n".join(wrap(f"base − variant. Of {len(table)} differences: {told}.")))
    return "\n\n".join(parts) + "\n"


def shorten(label: str) -> str:
    return label if len(label) <= LABEL else f"{label[: LABEL - 1]}…"


def wrap_lines(text: str) -> Iterator[str]:
    """The lines, those that are too long broken and set in."""
    for line in text.split("\n"):
        if len(line) <= WIDTH:
            yield line
        else:
            first, *rest = wrap(line)
            yield from (
                [first, *(f"      {one}" for one in rest)] if max(map(len, rest)) <= WIDTH - 6 else [first, *rest]
            )
