"""The board as a static site: small pages and a folder of small clips; no server, no framework, nothing fetched.

    site/index.html            the first screen: who leads where, and links to the rest
    site/<section>.html        a section: its verdict, table, subjects, pairs
    site/clips-<section>.html  its clips, methods beside methods
    site/published.html, papers.html  what was published of real recordings, and what papers report
    site/media/                WebM clips and PNG posters, copied from the committed walls

Clips are copied, not referred to where they lie in `results/`, so that the folder can be published or sent by itself.
They are named by content: git keeps a copy and its original once, so only a checkout grows (by 2 to 5 MB).

The pages are a pure function of sections, walls and reported tables. Style and script stand in them, allowed by their
digests alone (Content-Security-Policy), so that they work from a file URL, and nothing that a name smuggles in can run;
all names are escaped besides. Without a script they are plain pages. Templates: `base.html` and those that extend it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard.admission import SEES_BRAIN
from leaderboard.board import Row, Section, write_number
from leaderboard.narrow import tell_verdict
from leaderboard.papers.reported import ReportedTable, load_table, table_names
from leaderboard.papers.unread import load_unread
from leaderboard.publication import write_place
from leaderboard.published_board import HEADS, ShownSet, table_part
from leaderboard.web.clip_wall import MEDIA, Wall
from leaderboard.web.matrix import STEPS, sum_up, view_matrix
from leaderboard.web.page import fill_page
from leaderboard.web.plot import view_dots
from leaderboard.web.wall_page import name_metric, view_wall

FOLDER = Path(__file__).parents[1] / "site"
MADE = "<code>python -m bench board</code>"  # stands on every page of ours
ROLES = {"method": "method", "baseline": "baseline", "control": "floor", "ceiling": "ceiling"}


def write_site(
    sections: Sequence[Section],
    clips: Sequence[Wall],
    folder: Path = FOLDER,
    *,
    reported: Sequence[ReportedTable] | None = None,
    published: Sequence[ShownSet] = (),
) -> list[Path]:
    """Write the site and return its files. clips: of `clip_wall.read_walls`; those of no section are left out.

    reported: the papers' tables, by default all. Clips of an earlier site are removed from `folder/media`.
    """
    if reported is None:
        reported = [load_table(name) for name in table_names()]
    shown = [(section, next((one for one in clips if one.belongs_to(section)), None)) for section in sections]
    pages = fill_pages(shown, reported, published)
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.html"):
        if old.name not in pages and MADE in old.read_text(encoding="utf-8", errors="replace"):
            old.unlink()
    for name, page in pages.items():
        (folder / name).write_text(page, encoding="utf-8")
    sources = {name: wall.folder / name for _, wall in shown if wall is not None for name in wall.files()}
    for old in list_media(folder):
        if old.name not in sources:
            old.unlink()
    for name, source in sorted(sources.items()):
        shutil.copyfile(source, media / name)
    return [*(folder / name for name in pages), *(media / name for name in sorted(sources))]


def fill_pages(
    shown: Sequence[tuple[Section, Wall | None]], reported: Sequence[ReportedTable], published: Sequence[ShownSet]
) -> dict[str, str]:
    """The text of every page by its name, the first screen first."""
    sections = [section for section, _ in shown]
    links = [(f"{section.name}.html", tell_title(section)) for section in sections]
    links += [("published.html", "published videos")] if published else []
    links += [("papers.html", "reported by papers")] if reported else []
    texts = {
        "index": fill_page(
            "index",
            assets="board",
            title="Brain2Video Bench",
            sections=sections,
            published=published,
            matrix=view_matrix(sections),
            steps=[f"{low:g}–{high:g}" for low, high in pairwise((0, *STEPS, 1))],
            sums=[sum_up(one) | {"link": f"published.html#published-{one.name}"} for one in published],
            pages=links,
        )
    }
    for section, wall in shown:
        there = bool(wall and wall.tiles)
        view = view_section(section) | {"clips": f"clips-{section.name}.html" if there else ""}
        texts[section.name] = fill_page("section", assets="board", title=view["title"], section=view, roles=ROLES)
        if wall and there:
            title = f"Clips of {view['title']}"
            about: dict[str, Any] = {
                "phantom": section.phantom,
                "back": f"{section.name}.html",
                "wall": view_wall(section, wall),
            }
            texts[f"clips-{section.name}"] = fill_page("clips", assets="board", title=title, **about)
    if published:
        sets = [view_set(one) for one in published]
        texts["published"] = fill_page("published", assets="board", title="Published videos", published=sets)
    if reported:
        tables = [view_reported(table) for table in reported]
        unread = load_unread()
        texts["papers"] = fill_page(
            "papers", assets="board", title="Reported by papers", reported=tables, unread=unread
        )
    return {f"{name}.html": text for name, text in texts.items()}


def tell_title(section: Section) -> str:
    return f"{section.dataset}: {section.split.replace('_', ' ')}"


def list_media(folder: Path) -> list[Path]:
    """The files of clips in a site's folder, those that an older board left among them."""
    return sorted(path for path in (folder / "media").glob("*") if MEDIA.fullmatch(path.name))


def view_section(section: Section) -> dict[str, Any]:
    """What the template shows of a section: texts, numbers to sort by, and places in per cent."""
    primary = section.primary
    return {
        "id": section.name,
        "dataset": section.dataset,
        "split": section.split,
        "title": tell_title(section),
        "verdict": tell_verdict(section.table, section.scores),
        "phantom": section.phantom,
        "classes": section.classes,
        "suite": section.suite,
        "design": section.design,
        "primary": name_metric(primary.name),
        "direction": primary.direction,
        "chance": write_number(primary.chance) if isinstance(primary.chance, float) else "",
        "generalises_to": section.generalises_to,
        "metrics": [{"name": name_metric(one.name), "direction": one.direction} for one in section.metrics],
        "rows": [view_row(place, row, section) for place, row in enumerate(section.rows) if row.role in SEES_BRAIN],
        "references": [view_row(0, row, section) for row in section.rows if row.role not in SEES_BRAIN],
        "dots": view_dots(section),
        "pairs": view_pairs(section),
        "numbers": view_numbers(section),
    }


def view_row(place: int, row: Row, section: Section) -> dict[str, Any]:
    marks = [*row.marks, *(["one seed"] if row.role == "method" and row.seeds == 1 else [])]
    cells = []
    for metric in section.metrics:
        score = row.scores.get(metric.name)
        there = score is not None and np.isfinite(score.value)
        cells.append({"text": str(score) if there else "", "sort": f"{score.value:.6g}" if score and there else ""})
    share = row.brain_share
    return {
        "method": row.method,
        "role": row.role,
        "role_name": ROLES.get(row.role, row.role),
        "place": write_place(row),
        "place_sort": place,
        "scores": cells,
        "marks": marks,
        "share": str(share) or "–",
        "share_sort": f"{share.value:.6g}" if np.isfinite(share.value) else "",
        "coverage": f"{row.coverage:.3g}",
        "door": row.door,
    }


def view_pairs(section: Section) -> list[dict[str, Any]] | None:
    """The matrix of who is shown to be better than whom, ranked rows in order; None for fewer than two."""
    ranked = section.ranked
    if len(ranked) < 2:
        return None
    words = {(True, False): "better", (False, True): "worse", (False, False): "not told apart"}
    return [
        {
            "number": i + 1,
            "method": row.method,
            "role": row.role,
            "cells": [
                "" if i == j else words[bool(section.better[i, j]), bool(section.better[j, i])]
                for j in range(len(ranked))
            ],
            "others": [other.method for other in ranked],
        }
        for i, row in enumerate(ranked)
    ]


def view_numbers(section: Section) -> dict[str, Any]:
    """Each subject's mean of the primary metric, and what else is known of a row."""
    subjects = sorted({subject for row in section.rows for subject in row.by_subject})
    rows = [
        {
            "method": row.method,
            "role": row.role,
            "subjects": [write_number(row.by_subject[one]) if one in row.by_subject else "" for one in subjects],
            "shuffled": write_number(row.shuffled) if np.isfinite(row.shuffled) else "",
            "best": "" if row.best_share is None else f"{100 * row.best_share:.0f} %",
            "seeds": row.seeds,
            "seed_sd": write_number(row.seed_sd) if np.isfinite(row.seed_sd) else "",
            "parameters": f"{row.parameters:,}".replace(",", " "),
        }
        for row in section.rows
    ]
    return {"subjects": subjects, "rows": rows}


def view_set(one: ShownSet) -> dict[str, Any]:
    """A published set: its facts, and under each protocol its verdict and table."""
    parts = [
        {"protocol": part.protocol, "verdict": part.verdict, "rows": table_part(part).values.tolist()}
        for part in one.parts
    ]
    plain = {name: getattr(one, name) for name in ("name", "title", "phantom", "chosen", "source", "facts")}
    return {**plain, "heads": HEADS, "parts": parts}


def view_reported(table: ReportedTable) -> Mapping[str, Any]:
    """A paper's table as it is printed, with the chance levels beneath where they are known."""
    cells = table.rows[0].cells if table.rows else ()
    chances = ["" if cell.chance is None else write_number(cell.chance) for cell in cells]
    return {
        "id": table.name,
        "title": table.title,
        "task": table.task,
        "source": f"{table.origin} {table.about}",
        "notes": table.notes,
        "stub": table.stub,
        "columns": table.columns,
        "rows": [{"labels": row.labels, "numbers": [cell.number.text for cell in row.cells]} for row in table.rows],
        "chances": chances if any(chances) else [],
    }
