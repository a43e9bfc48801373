"""A site of the small store in walls.py, with more methods beside it, two of them with scripts for names."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
from walls import make_cells, make_dataset, make_scores

from leaderboard.board import Section, make_board
from leaderboard.results import Committed, publish, read_results
from leaderboard.web.clip_export import export_clips
from leaderboard.web.clip_wall import Wall, read_walls
from leaderboard.web.site import write_site

HOSTILE = "<script>alert(1)</script>"
ALSO_HOSTILE = '"><img src=x onerror=alert(2)>'
Site = tuple[Path, list[Section], list[Wall], pd.DataFrame]  # its folder, and what it was made of


def add_rows(scores: pd.DataFrame, method: str, role: str, level: float, *, split: str = "cross_subject") -> Any:
    """The scores of the first method, moved to another level and name. Of `clips`: without subjects."""
    rows = scores[scores["method"] == "one"]
    if split == "clips":
        rows = rows[rows["subject"] == rows["subject"].min()].assign(subject=0)
    value = rows["value"] + level - rows["value"].mean()
    return rows.assign(method=method, role=role, split=split, value=value, cell=method, shuffled=0.1, folds=1)


def make_site(folder: Path) -> Site:
    """A site of two sections: one with clips, and one of many methods, two of them with scripts for names."""
    cells = make_cells(folder / "runs")
    scores = make_scores(cells)
    publish(cells, scores, folder / "results")
    export_clips(cells, make_dataset(), scores, folder / "results", count=2)
    scores = pd.concat(
        [
            read_results(folder / "results"),
            add_rows(scores, "retrieval", "baseline", 0.4),
            add_rows(scores, "train_mean", "control", 0.05, split="clips"),
            add_rows(scores, "codec", "ceiling", 0.95, split="clips"),
            add_rows(scores, HOSTILE, "method", 0.6).assign(split="new_subject"),
            add_rows(scores, ALSO_HOSTILE, "method", 0.2).assign(split="new_subject"),
            *(add_rows(scores, f"method_{i}", "method", i / 100).assign(split="new_subject") for i in range(12)),
        ],
        ignore_index=True,
    )
    missing = (scores["method"] == "retrieval") & (scores["metric"] == "ssim")
    scores = scores[~missing]  # a hole in a column that is sorted
    sections, walls = make_board(scores), read_walls(folder / "results")
    records = list(Committed(folder / "results").records.values())
    write_site(sections, walls, folder / "site", records=records)
    return folder / "site", sections, walls, scores


class Reader(HTMLParser):
    """Tags with their attributes, and the text outside style and script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def read_page(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader
