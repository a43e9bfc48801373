"""The board as a static site: one page and a folder of small clips; no server, no framework, nothing fetched.

    site/index.html      sections with their tables, dots of the subjects, pairs and clip wall; the papers' numbers
    site/media/          WebM clips and PNG posters, copied from the committed walls

Clips are copied, not referred to where they lie in `results/`, so that the folder can be published or sent by itself.
They are named by content: git keeps a copy and its original once, so only a checkout grows (by 2 to 5 MB).

The page is a pure function of sections, walls and reported tables. Style and script stand in it, allowed by their
digests alone (Content-Security-Policy), so that it works from a file URL, and nothing that a name smuggles in can run;
all names are escaped besides. Without a script it is a plain page with players. Templates: `templates/board.*`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard.board import Row, Section, write_number
from leaderboard.papers.reported import ReportedTable, load_table, table_names
from leaderboard.papers.unread import load_unread
from leaderboard.publication import write_place
from leaderboard.published_board import HEADS, ShownSet, table_part
from leaderboard.web.clip_wall import CHOSEN, MEDIA, Tile, Wall
from leaderboard.web.matrix import STEPS, sum_up, view_matrix
from leaderboard.web.page import fill_page
from leaderboard.web.plot import view_dots

FOLDER = Path(__file__).parents[1] / "site"
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
    views = [view_section(section, wall) for section, wall in shown]
    page = fill_page(
        "board",
        matrix=view_matrix(sections),
        steps=[f"{low:g}–{high:g}" for low, high in pairwise((0, *STEPS, 1))],
        sums=[sum_up(one) | {"link": f"#published-{one.name}"} for one in published],
        sections=views,
        datasets=list(dict.fromkeys(view["dataset"] for view in views)),
        splits=list(dict.fromkeys(view["split"] for view in views)),
        roles=ROLES,
        reported=[view_reported(table) for table in reported],
        published=[view_set(one) for one in published],
        unread=load_unread() if reported else [],
    )
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(page, encoding="utf-8")
    sources = {name: wall.folder / name for _, wall in shown if wall is not None for name in wall.files()}
    for old in list_media(folder):
        if old.name not in sources:
            old.unlink()
    for name, source in sorted(sources.items()):
        shutil.copyfile(source, media / name)
    return [folder / "index.html", *(media / name for name in sorted(sources))]


def list_media(folder: Path) -> list[Path]:
    """The files of clips in a site's folder, those that an older board left among them."""
    return sorted(path for path in (folder / "media").glob("*") if MEDIA.fullmatch(path.name))


def view_section(section: Section, wall: Wall | None) -> dict[str, Any]:
    """What the template shows of a section: texts, numbers to sort by, and places in per cent."""
    primary = section.primary
    return {
        "id": section.name,
        "dataset": section.dataset,
        "split": section.split,
        "title": f"{section.dataset}: {section.split.replace('_', ' ')}",
        "phantom": section.phantom,
        "classes": section.classes,
        "suite": section.suite,
        "design": section.design,
        "primary": name_metric(primary.name),
        "direction": primary.direction,
        "chance": write_number(primary.chance) if isinstance(primary.chance, float) else "",
        "generalises_to": section.generalises_to,
        "metrics": [{"name": name_metric(one.name), "direction": one.direction} for one in section.metrics],
        "rows": [view_row(place, row, section) for place, row in enumerate(section.rows)],
        "dots": view_dots(section),
        "pairs": view_pairs(section),
        "numbers": view_numbers(section),
        "wall": None if wall is None else view_wall(section, wall),
    }


def name_metric(name: str) -> str:
    """`video_50way` as people write it: video 50-way."""
    return re.sub(r"(\d)way$", r"\1-way", name).replace("_", " ")


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


def view_wall(section: Section, wall: Wall) -> dict[str, Any]:
    """The methods' tiles in the order of the table, those chosen by hash first."""
    order = {row.method: (place, row) for place, row in enumerate(section.rows)}
    methods = sorted({tile.method for tile in wall.tiles if tile.method in order}, key=lambda name: order[name][0])
    groups = [
        {
            "method": method,
            "role": order[method][1].role,
            "place": write_place(order[method][1]),
            "tiles": [view_tile(tile, wall) for tile in wall.tiles if tile.method == method],
        }
        for method in methods
    ]
    return {"groups": groups, "metric": name_metric(wall.metric), "count": len(wall.tiles)}


def view_tile(tile: Tile, wall: Wall) -> dict[str, Any]:
    truth = wall.truths[tile.clip]
    shots = (
        ("truth", truth.shot, f"true clip {tile.clip}"),
        (tile.method, tile.made, f"clip {tile.clip} as {tile.method} reconstructs it"),
        ("shuffled brain", tile.shuffled, f"what {tile.method} made of the brain that saw clip {tile.shuffled_clip}"),
    )
    return {
        "why": "chosen by hash" if tile.why == CHOSEN else tile.why,
        "picked": tile.why != CHOSEN,
        "clip": tile.clip,
        "subject": tile.subject,
        "value": "< 0.001" if 0 < tile.value < 0.001 else write_number(tile.value),
        "words": truth.caption or truth.concept,
        "shots": [
            {
                "label": label,
                "alt": words,
                "video": shot.video and f"media/{shot.video}",
                "poster": shot.poster and f"media/{shot.poster}",
                "absent": shot.absent,
            }
            for label, shot, words in shots
        ],
    }


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
