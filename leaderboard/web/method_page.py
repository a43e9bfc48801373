"""A method's page: its paper, its code, and of each of its rows the place, the clips, the record and the commands.

A record is what is committed of a row's cells, without the list of their videos and the digests of the project's own
modules, beside the pages as `records/<section>.<method>.json`. Its digests still name the whole: `record_digest` and
`manifest_digest` are those of the files in `leaderboard/results`.

Where `pyproject.toml` names the repository, code and results link there too; all else lies in the site's folder.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.core.built_in import BUILT_IN
from bench.core.registry import describe, names
from leaderboard.admission import CLIPS, PART, SUBMITTED
from leaderboard.board import BASE, Row, Section
from leaderboard.glossary import explain_metric
from leaderboard.papers.reported import ReportedTable
from leaderboard.papers.works import find_paper
from leaderboard.publication import write_place
from leaderboard.results import group_of
from leaderboard.web.clip_wall import Wall
from leaderboard.web.markdown import lay_out
from leaderboard.web.origin import Origin, tell_commit, tell_day

ROOT = Path(__file__).parents[2]
ROLES = {"method": "method", "baseline": "baseline", "control": "floor", "ceiling": "ceiling"}
HEAVY = ("files", "sources")  # of a manifest: what a record leaves out
Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the board, with all that is known of it."""

    section: Section
    row: Row
    wall: Wall | None
    record: Record | None

    @property
    def anchor(self) -> str:
        """Of this row on the page of its method."""
        return self.section.name

    @property
    def record_name(self) -> str:
        return f"records/{self.section.name}.{name_part(self.row.method)}.json"

    @property
    def clips(self) -> str:
        """The page of clips that show the row, at the method's own; empty where none does."""
        if self.wall is None or not any(tile.method == self.row.method for tile in self.wall.tiles):
            return ""
        return f"clips-{self.section.name}.html#m-{name_part(self.row.method)}"


def name_part(method: str) -> str:
    """The method's name where it may stand in a file's name and an address, else its digest."""
    return method if PART.fullmatch(method) else hashlib.sha256(method.encode()).hexdigest()[:16]


def name_page(method: str) -> str:
    return f"method-{name_part(method)}.html"


def list_entries(shown: Sequence[tuple[Section, Wall | None]], records: Sequence[Record]) -> dict[str, list[Entry]]:
    """The rows of all sections by method, methods in the order of their first row."""
    by_group = {group_of(record["cells"][0]): record for record in records}
    entries: dict[str, list[Entry]] = {}
    for section, wall in shown:
        for row in section.rows:
            places = [
                (section.dataset, split, row.method, BASE, section.classes, "") for split in (section.split, CLIPS)
            ]
            record = next((by_group[place] for place in places if place in by_group), None)
            entries.setdefault(row.method, []).append(Entry(section=section, row=row, wall=wall, record=record))
    return entries


def view_method(
    method: str, entries: Sequence[Entry], reported: Sequence[ReportedTable], origin: Origin
) -> dict[str, Any]:
    """What the template shows of a method."""
    paper, address = find_paper(method)
    target = BUILT_IN["methods"][method].target if method in BUILT_IN["methods"] else ""
    code = find_code(target)
    return {
        "name": method,
        "role": ROLES.get(entries[0].row.role, entries[0].row.role),
        "about": describe("methods", method) if method in names("methods") else "",
        "paper": paper,
        "address": address,
        "tables": [table for table in reported if tells_of(table, method)],
        "code": code,
        "code_address": f"{origin.repository}/tree/main/{code}" if origin.repository and code else "",
        "readme": read_readme(code, origin) if code else "",
        "submitted": all(entry.row.door == SUBMITTED for entry in entries),
        "modules": list_modules(entries, target),
        "entries": [view_entry(entry) for entry in entries],
    }


def find_code(target: str) -> str:
    """The folder of a built-in method, from the root of the repository: `methods/sam_net`; empty for others."""
    parts = target.partition(":")[0].split(".")
    return "/".join(parts[:2]) if len(parts) > 1 else ""


def read_readme(code: str, origin: Origin) -> Markup:
    """The page that lies beside a method's code, as HTML; empty without one."""
    path = ROOT / code / "README.md"
    return lay_out(path.read_text(encoding="utf-8"), code, origin.repository) if path.is_file() else Markup()


def tells_of(table: ReportedTable, method: str) -> bool:
    """Whether a paper's table has a number of the method, or is its own."""
    return table.name.startswith(f"{method}.") or any(cell.method == method for row in table.rows for cell in row.cells)


def list_modules(entries: Sequence[Entry], target: str) -> list[tuple[str, str]]:
    """The method's own modules and the digests of the sources that made its newest cell."""
    cells = [cell for entry in entries if entry.record for cell in entry.record["cells"]]
    if not cells or not target:
        return []
    newest = max(cells, key=lambda cell: (cell.get("started", 0), cell["key"]))
    package = ".".join(target.partition(":")[0].split(".")[:2])
    sources = newest.get("sources", {})
    return sorted((name, str(value)[:16]) for name, value in sources.items() if f"{name}.".startswith(f"{package}."))


def view_entry(entry: Entry) -> dict[str, Any]:
    section, row, record = entry.section, entry.row, entry.record
    cells = record["cells"] if record else []
    newest = max(cells, key=lambda cell: (cell.get("started", 0), cell["key"]), default=None)
    return {
        "anchor": entry.anchor,
        "dataset": section.dataset,
        "split": section.split.replace("_", " "),
        "phantom": section.phantom,
        "link": f"{section.name}.html",
        "metric": explain_metric(section.primary.name).title,
        "score": str(row.scores[section.primary.name]) if section.primary.name in row.scores else "",
        "place": write_place(row),
        "share": str(row.brain_share),
        "marks": row.marks,
        "door": row.door,
        "clips": entry.clips,
        "record": entry.record_name if record else "",
        "version": "" if newest is None else newest["spec"].get("method_version", ""),
        "day": tell_day(newest),
        "commit": tell_commit(newest)[:12],
        "cells": len(cells),
        "commands": list_commands(entry) if record else [],
    }


def list_commands(entry: Entry) -> list[str]:
    """What makes the row again; nothing for a submission, whose videos were made elsewhere."""
    record = entry.record
    if record is None or record.get("door") == SUBMITTED:
        return []
    spec = record["cells"][0]["spec"]
    seeds = len({cell["spec"]["seed"] for cell in record["cells"]})
    more = [f"--seeds {seeds}"] if seeds > 1 else []
    setting = ["--dataset", spec["dataset"], "--split", entry.section.split, "--suite", spec["suite"]]
    words = shlex.join(["--method", spec["method"], *setting])
    commit = tell_commit(record["cells"][0])
    return [
        *([f"git checkout {commit[:12]}"] if commit else []),
        " ".join([f"python -m bench run {words}", *more]),
        f"python -m bench table {words}",
    ]


def write_record(entry: Entry) -> str:
    """The record of a row as JSON."""
    assert entry.record is not None
    record = {name: value for name, value in entry.record.items() if name != "cells"}
    cells = [{name: one for name, one in cell.items() if name not in HEAVY} for cell in entry.record["cells"]]
    return json.dumps(record | {"cells": cells}, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
