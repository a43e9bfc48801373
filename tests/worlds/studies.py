"""A study for raters, of the reconstructions of the small store in walls.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from walls import CLIPS, make_cells, make_dataset

from leaderboard.web.human import build_study

METHODS = ("one", "two")


def make_study(
    folder: Path,
    *,
    methods: tuple[str, ...] = METHODS,
    count: int = len(CLIPS),
    shuffled: bool = True,
    missing: int = 0,
    seed: int = 5,
    **form: Any,
) -> Path:
    cells = make_cells(folder / "runs", methods=methods, missing=missing)
    rows = {(cell.manifest["spec"]["method"], "base"): [cell] for cell in cells}
    build_study(rows, make_dataset(), folder / "study", count=count, shuffled=shuffled, seed=seed, **form)
    return folder / "study"
