"""Works of the field whose tables were not read, so that their numbers are missing: `unread.toml`, one entry a work.

    [[works]]
    name = "VCFlow"
    source = "…"                # authors and title
    published = "ICLR 2026, arXiv …"
    datasets = ["cc2017"]       # also what is not made here, in words; as far as the abstract says
    splits = ["new_subject"]    # the same
    lacking = "…"               # what of it is not here
    known = "…"                 # what the abstract says of results, or where else a number of it stands
    tables = ["mindcine.seed_dv"]   # optional: tables of `reported/` that hold a number of it all the same

A table of such a work may be made of its abstract or copied from the review of the field (`read` of `reported.py` says
so); a table that says `read = "paper"` ends its entry here.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from leaderboard.papers.reported import ReportedError

FILE = Path(__file__).with_name("unread.toml")


@dataclass(frozen=True, kw_only=True)
class Work:
    """A work that is known, with its citation and what of it could not be read."""

    name: str
    source: str
    published: str
    datasets: tuple[str, ...]
    splits: tuple[str, ...]
    lacking: str
    known: str
    tables: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One paragraph: citation, data and split, what is missing, what is known."""
        data = ", ".join(self.datasets) or "not stated"
        split = ", ".join(self.splits).replace("_", " ") or "not stated"
        there = f" Here: {', '.join(self.tables)}." if self.tables else ""
        return (
            f"{self.source} ({self.published}). Data: {data}. Split: {split}. "
            f"Not read: {self.lacking}. {self.known}{there}"
        )


def load_unread(path: Path = FILE) -> list[Work]:
    """All of them, in the file's order; raises ReportedError for an entry that lacks a key or has a strange one."""
    works = tomllib.loads(path.read_text(encoding="utf-8"))["works"]
    keys = [field.name for field in fields(Work)]
    for work in works:
        lacking = [key for key in keys if key not in work and key != "tables"]
        strange = [key for key in work if key not in keys]
        if lacking or strange:
            problem = f"lacks {', '.join(lacking)}" if lacking else f"has the unknown key {strange[0]!r}"
            raise ReportedError(
                f"{path}: {work.get('name', 'a work without name')} {problem}; it has {', '.join(keys)}"
            )
    return [Work(**{key: freeze(value) for key, value in work.items()}) for work in works]


def freeze(value: Any) -> Any:
    """A list as a tuple, anything else as it is."""
    return tuple(value) if isinstance(value, list) else value
