"""The ablation study within 100 columns: a block for each ablation, a line for each column of the paper's, a sentence.

A. w/o HRT   sam_net wo_hrt, cross_subject: 5 seeds, 6 subjects, 120 clips; .98 of the base's parameters
  planted: .035 [.016, .054] by an ideal reader (lost without …), .080 by a linear one
                         paper   these subjects        new subjects          verdict
  Video-based 2-way      0.064   0.031 [0.020, 0.042]  [0.012, 0.050]        agrees
      at the encoder, smallest detectable 0.014, p .001; at the videos 0.010 [-0.010, 0.030]; matched …
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import pandas as pd

from leaderboard.narrow import WIDTH, wrap
from leaderboard.papers.declared import LEVELS
from leaderboard.papers.layout import show_number
from leaderboard.papers.narrow import shorten
from leaderboard.papers.study import AGREES, DISAGREES, UNDECIDED, summarise, tell_few_seeds

PAPER, THESE, NEW = 7, 24, 18  # columns of the paper's difference, of ours, and of the interval for new subjects


def tell_study(table: pd.DataFrame) -> str:
    """Rows of `leaderboard.papers.study.study_table` as text that ends with a line break."""
    blocks = ["\n".join(tell_row(rows)) for _, rows in table.groupby(["row", "variant", "dataset"], sort=False)]
    legend = (
        "base − variant, 95 % intervals over clips and seeds, for these subjects and for new ones; verdicts by Holm "
        "within the table, at the level that leaderboard/papers/study.toml declares; (agrees): of new subjects too."
    )
    notes = ["\n".join(wrap(note)) for note in table.attrs.get("notes", ())]
    return "\n\n".join([*blocks, *notes, "\n".join(wrap(legend)), "\n".join(wrap(summarise(table)))]) + "\n"


def tell_row(rows: pd.DataFrame) -> Iterator[str]:
    first = rows.iloc[0]
    sized = rows[rows["seeds"].notna()]
    about = f"{first['method']} {first['variant']}, {first['dataset']}, {first['split']}"
    if len(sized):
        of = sized.iloc[0]
        about += f": {count(of, 'seeds')}, {count(of, 'subjects')}, {count(of, 'clips')}"
        about += f"; {show_number(of['parameters_ratio'])} of the base's parameters"
    yield from wrap(f"{first['row']}   {about}")
    if pd.notna(first["planted"]):
        span = interval(first, "planted_low", "planted_high") if first["planted_low"] != first["planted_high"] else ""
        linear = f"; {show_number(first['linear'])} by a linear one" if pd.notna(first["linear"]) else ""
        by = f"by an ideal reader ({first['planted_what']}){linear}" if linear or span else f"({first['planted_what']})"
        told = f"planted, 40-way of concepts: {show_number(first['planted'])} {span} {by}"
        yield from (f"  {line}" for line in wrap_at(" ".join(told.split()), WIDTH - 2))
    labels = [shorten(str(column)) for column in rows["column"]]
    width = max(map(len, labels))
    yield f"  {'':<{width}}  {'paper':>{PAPER}}  {'these subjects':<{THESE}}  {'new subjects':<{NEW}}  verdict"
    for label, (_, row) in zip(labels, rows.iterrows(), strict=True):
        yield from tell_line(row, f"{label:<{width}}")


def tell_line(row: pd.Series, label: str) -> Iterator[str]:
    """A column of the paper's: its difference, ours where it is decided, the verdict; then what stands beside it."""
    at = row["decided_at"]
    ours = new = ""
    if pd.notna(row[f"{at}_difference"]):
        ours = tell_difference(row, f"{at}_")
        new = interval(row, f"{at}_new_low", f"{at}_new_high")
    verdict = str(row["verdict"])
    if row["verdict"] in (AGREES, DISAGREES) and row["new_verdict"] == row["verdict"]:
        verdict += f" ({row['verdict']})"
    line = f"  {label}  {show_number(row['paper_difference']):>{PAPER}}  {ours:<{THESE}}  {new:<{NEW}}  {verdict}"
    yield line.rstrip() if len(line) <= WIDTH else line[: line.rindex("  ")].rstrip()
    if len(line) > WIDTH:
        yield f"      {verdict}"
    beside = list(tell_beside(row))
    if row["needs"] and pd.notna(row["needs"]):
        beside.insert(0, f"would need {row['needs']}" if row["verdict"] == UNDECIDED else str(row["needs"]))
    if few := tell_few_seeds(row):
        beside.insert(0, f"by {few}")
    if beside:
        yield from (f"      {part}" for part in wrap_at("; ".join(beside), WIDTH - 6))


def tell_beside(row: pd.Series) -> Iterator[str]:
    at = row["decided_at"]
    if pd.notna(row[f"{at}_smallest_detectable"]):
        yield f"at the {at}: detectable {show_number(row[f'{at}_smallest_detectable'])}"
        yield f"bound {show_number(row[f'{at}_bound'])}"
    for level in LEVELS:
        if level != at and pd.notna(row[f"{level}_difference"]):
            yield f"at the {level}: {tell_difference(row, f'{level}_')}"
    if pd.notna(row["matched_difference"]):
        yield f"matched in size: {tell_difference(row, 'matched_')}"


def tell_difference(row: pd.Series, which: str) -> str:
    return f"{show_number(row[f'{which}difference'])} {interval(row, f'{which}low', f'{which}high')}"


def count(row: pd.Series, what: str) -> str:
    """
    >>> count(pd.Series({"seeds": 1}), "seeds")
    '1 seed'
    """
    return f"{row[what]} {what if row[what] != 1 else what.removesuffix('s')}"


def interval(row: pd.Series, low: str, high: str) -> str:
    return f"[{show_number(row[low])}, {show_number(row[high])}]" if pd.notna(row[low]) else ""


def wrap_at(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
