"""Tables as text: Markdown and LaTeX for people, CSV and JSON for programs.

CSV and JSON carry every column at full precision (NaN as an empty field or null). A spreadsheet takes a text that
begins with =, +, -, @, a tab or a line break for a formula: in CSV such a text has an apostrophe before it. Numbers
have none, and JSON, which no spreadsheet computes, has every text as it is. Markdown and LaTeX show three significant
digits, an estimate and its interval in one cell, a floor or ceiling with the name of what set it, and leave to a line
of notes what is the same in all rows. Rows of a phantom data set are labelled "(phantom)". Text is what Markdown
shows within 100 columns: wide cells are broken over lines, and where even that does not fit each row is a block of
its own. Tables of results have forms of their own for a terminal (`leaderboard.narrow`).
"""

from __future__ import annotations

import json
import math
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from tabulate import MIN_PADDING, tabulate

from bench.core.errors import BenchError
from bench.core.progress import wrap_words
from bench.store import disk
from leaderboard.tables import NO_ROOM

Format = Literal["text", "md", "csv", "json", "latex"]

WIDTH = 100  # columns of a terminal that text fits
LEAST = 14  # columns that a broken cell keeps

INTERVALS = {  # estimate: its lower and upper end
    "value": ("low", "high"),
    "brain_share": ("brain_share_low", "brain_share_high"),
    "difference_to_shuffled": ("difference_low", "difference_high"),
    "difference": ("difference_to_base_low", "difference_to_base_high"),
    "a_minus_b": ("a_minus_b_low", "a_minus_b_high"),
    **{name: (f"{name}_low", f"{name}_high") for name in ("own", "nearest_concept", "nearest_caption", "regressed")},
}
NAMED = {"floor": "floor_name", "ceiling": "ceiling_name", "best_value": "best_subject"}  # number: what it is of
NOTED = ("generalises_to", "suite", "classes", "seeds", "role")  # moved to the notes where all rows agree
MARKS = (
    " n.s.: not above the method's own shuffled brain. below floor: worse than the best floor; not above floor: not "
    "surely better than it. share meaningless: the best floor is not worse than the best ceiling."
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # what a spreadsheet computes begins so
NUMBER = re.compile(r"[+-]?\d[\d.,]*(e[+-]?\d+)?( ?± ?\d[\d.]*)?", re.IGNORECASE)
NO_SHARE = "meaningless"  # where the best floor is not worse than the best ceiling
TITLES = {
    "best_value": "best (subject, chosen on test)",
    "difference": "base − variant",
    "a_minus_b": "A − B",
    "nearest_concept": "nearest concept (base)",
    "difference_to_shuffled": "minus shuffled",
}


def render(table: pd.DataFrame, format: str = "md", *, digits: int | None = None) -> str:
    """The table as text that ends with a line break.

    format: "text" (of at most 100 columns), "md", "csv", "json" (a list of records) or "latex" (booktabs; its notes are
    comments). digits: significant digits of text, Markdown and LaTeX, by default those in `table.attrs["digits"]`,
    else 3. Raises BenchError for others.
    """
    if format not in get_args(Format):
        raise BenchError(f"unknown format {format!r}: allowed are {', '.join(get_args(Format))}")
    if format == "csv":
        return disarm_table(table.rename(columns=str)).to_csv(index=False, lineterminator="\n")
    if format == "json":
        records = [{str(k): _json_value(v) for k, v in row.items()} for row in table.to_dict("records")]
        return json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    shown, notes = _for_people(table.rename(columns=str), digits or table.attrs.get("digits", 3))
    align = ["right" if pd.api.types.is_numeric_dtype(table[name]) else "left" for name in shown]
    headers = [TITLES.get(name, name.replace("_", " ")) for name in map(str, shown)]
    if format == "text":
        return fit(shown, headers, align) + "".join(f"\n{line}" for line in wrap_notes(notes)) + "\n"
    kind = "pipe" if format == "md" else "latex_booktabs"
    if format == "md":
        shown = shown.map(lambda text: text.replace("|", "\\|"))
    body = tabulate(shown.values.tolist(), headers=headers, tablefmt=kind, colalign=align, disable_numparse=True)
    if not notes:
        return body + "\n"
    return body + ("\n\n" + "\n".join(notes) if format == "md" else "".join(f"\n% {note}" for note in notes)) + "\n"


def disarm_table(table: pd.DataFrame) -> pd.DataFrame:
    """The table with no text, heads among them, that a spreadsheet would compute."""
    table = table.copy()
    for name in table:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(disarm)
    return table.rename(columns=disarm)


def disarm(value: Any) -> Any:
    """A text that would be a formula with an apostrophe before it; anything else, numbers in words too, as it is."""
    if not isinstance(value, str) or not value.startswith(FORMULA) or NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def fit(shown: pd.DataFrame, headers: list[str], align: list[str]) -> str:
    """A table of texts within `WIDTH` columns: as it is, with its widest cells broken, or a block a row."""
    rows = shown.values.tolist()
    widths = [
        max([len(head) + MIN_PADDING, *(len(line) for text in column for line in text.split("\n"))])
        for head, column in zip(headers, zip(*rows, strict=True) if rows else [()] * len(headers), strict=True)
    ]
    room = WIDTH - 2 * (len(widths) - 1)  # two blanks between columns
    while sum(widths) > room and max(widths) > LEAST:
        widest = widths.index(max(widths))
        others = sorted(widths)[-2] if len(widths) > 1 else 0
        widths[widest] = max(LEAST, min(widths[widest] - 1, max(others, widths[widest] - (sum(widths) - room))))
    if sum(widths) > room:
        return "\n\n".join(tell_row(row, headers) for row in rows)
    broken = [[break_cell(text, width) for text, width in zip(row, widths, strict=True)] for row in rows]
    heads = [break_cell(text, width - MIN_PADDING) for text, width in zip(headers, widths, strict=True)]
    options: dict[str, Any] = {"colalign": align} if rows else {}
    made = tabulate(broken, headers=heads, tablefmt="simple", disable_numparse=True, **options)
    return "\n".join(line.rstrip() for line in made.splitlines())


def break_cell(text: str, width: int) -> str:
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, width) or [""])


def tell_row(row: list[str], headers: list[str]) -> str:
    """A row as lines of `column: value`, its first cell as their head; empty cells are left out."""
    told = [f"  {head}: {text}" for head, text in zip(headers[1:], row[1:], strict=True) if text]
    lines = [row[0], *told]
    return "\n".join(part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent="    ") or [""])


def wrap_notes(notes: list[str]) -> list[str]:
    """Lines of notes behind an empty one; none without notes."""
    return ["", *(part for note in notes for part in wrap_words(note, WIDTH) or [""])] if notes else []


def write(text: str, output: Path | None) -> None:
    """To standard output, or to the file `output`, whole or not at all, its folder made; BenchError if that fails."""
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with disk.new_file(output) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"cannot write {output}: {error.strerror}; name a file in a folder that you may write to"
        ) from error


def _for_people(table: pd.DataFrame, digits: int) -> tuple[pd.DataFrame, list[str]]:
    """All cells as text, columns merged, and the lines of notes."""
    text = pd.DataFrame({name: [_cell(v, digits) for v in table[name]] for name in table}, dtype=object)
    if {"brain_share", "mark"} <= set(text):
        crossed = [NO_ROOM in str(mark).split(", ") for mark in table["mark"]]
        text["brain_share"] = [NO_SHARE if no else v for v, no in zip(text["brain_share"], crossed, strict=True)]
    for name, ends in INTERVALS.items():
        if {name, *ends} <= set(text):
            low, high = (text.pop(end) for end in ends)
            text[name] = [f"{v} [{a}, {b}]" if a and b else v for v, a, b in zip(text[name], low, high, strict=True)]
    for name, of in NAMED.items():
        if {name, of} <= set(text):
            text[name] = [f"{v} ({o})" if v and o else v for v, o in zip(text[name], text.pop(of), strict=True)]
    if "shuffled" in text and "difference_to_shuffled" in text:
        del text["shuffled"]
    notes = []
    if "phantom" in text and "dataset" in text:
        phantom = table["phantom"].to_numpy(dtype=bool)
        text["dataset"] = [f"{d} (phantom)" if p else d for d, p in zip(text["dataset"], phantom, strict=True)]
        del text["phantom"]
        if phantom.any():
            notes.append("Rows marked (phantom) are synthetic recordings: they say nothing of real brains.")
    same = {name: text[name].iloc[0] for name in NOTED if name in text and len(text) and text[name].nunique() == 1}
    text = text.drop(columns=[*same, *({"direction"} & set(text))])
    if "value" in text and "low" in table:
        scope = same.pop("generalises_to", "")
        interval = f"95 % interval for new {scope}" if scope not in ("", "nothing") else "95 % interval"
        marks = MARKS if "difference_to_shuffled" in table else ""
        notes.insert(0, f"value [low, high]: {interval}.{marks}")
    notes += table.attrs.get("notes", [])
    known = ", ".join(f"{name} {value}" for name, value in same.items() if value)
    if known:
        notes.append(f"All rows: {known}.")
    return text, notes


def _cell(value: Any, digits: int) -> str:
    if _is_missing(value):
        return ""
    if not isinstance(value, (float, np.floating)):
        return str(value)
    number = float(value)
    if number == 0:
        return "0"
    if abs(number) >= 10**digits:
        return f"{number:.0f}"
    return f"{number:#.{digits}g}".rstrip(".")


def _json_value(value: Any) -> Any:
    if _is_missing(value):
        return None
    plain = value.item() if hasattr(value, "item") else value
    return None if isinstance(plain, float) and not math.isfinite(plain) else plain


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
