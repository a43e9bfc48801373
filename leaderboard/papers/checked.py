"""What was checked of the differences that disagree with their paper, as `checked.toml` has it, a note for each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from leaderboard.papers.reported import ReportedError

FILE = Path(__file__).with_name("checked.toml")
PLACE = ("table", "row", "column", "dataset", "suite")  # of a difference, and where it was seen
KEYS = {*PLACE, "text"}
NOTHING = "nothing is noted yet of why"


def load_checked(path: Path = FILE) -> dict[tuple[str, ...], str]:
    """The text of each difference (`PLACE`). Raises ReportedError for an entry that lacks a key or has a strange one,
    and for two of one difference.
    """
    found: dict[tuple[str, ...], str] = {}
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("checked", ()):
        if set(entry) != KEYS:
            raise ReportedError(f"{path}: an entry holds {', '.join(entry)}; it must hold {', '.join(sorted(KEYS))}")
        place = tuple(entry[name] for name in PLACE)
        if place in found:
            raise ReportedError(f"{path}: two entries of {', '.join(place)}; write one")
        found[place] = " ".join(entry["text"].split())
    return found


def tell_checked(name: str, disagreeing: pd.DataFrame) -> Iterator[str]:
    """A line for each of a table's differences that disagree: what was checked of it, or that nothing was."""
    checked = load_checked()
    for _, row in disagreeing.iterrows():
        text = checked.get((name, *(row[one] for one in PLACE[1:])), NOTHING)
        yield f"{row['row']}, {row['column']} disagrees: {text}"
