"""The record of what was tuned names every method and baseline, once."""

from __future__ import annotations

import re
from pathlib import Path

from bench.core.built_in import BUILT_IN

PAGE = Path(__file__).parents[2] / "leaderboard" / "TUNING.md"


def test_every_method_and_baseline_has_a_row() -> None:
    record = PAGE.read_text(encoding="utf-8").partition("## The record")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in record.splitlines() if line[:3] == "| `"]
    named = [match[1] for row in rows if (match := re.fullmatch(r"`(\w+)`", row[0]))]
    wanted = [name for name, entry in BUILT_IN["methods"].items() if entry.role in ("method", "baseline")]
    assert sorted(named) == sorted(wanted)
    assert all(len(row) == 4 and all(row) for row in rows)
