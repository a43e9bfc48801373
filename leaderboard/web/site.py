"""The board as a static site: small pages and a folder of small clips; no server, no framework, nothing fetched.

    site/index.html            the first screen: who leads where, and links to the rest
    site/<section>.html        a section: its verdict, table, subjects, pairs
    site/clips-<section>.html  its clips, methods beside methods
    site/method-<name>.html    a method: its paper, code, and of each row clips, record and commands
    site/records/              what is committed of a row's cells, as JSON
    site/published.html, papers.html  what was published of real recordings, and what papers report
    site/submit.html, history.html    how to submit, and how the board changed between its releases
    site/board.csv, board.json        the numbers (of published videos too: published.csv, published.json)
    site/board.css, board.js          what all pages look like, and what sorts, filters and plays
    site/media/                WebM clips and PNG posters, copied from the committed walls

Clips are copied, not referred to where they lie in `results/`, so that the folder can be published or sent by itself.
They are named by content: git keeps a copy and its original once, so only a checkout grows (by 2 to 5 MB).

The pages are a pure function of sections, walls, records and reported tables; numbers for programs have six digits, as
the last ones differ between processors (`publication.board_rows`). Style and script stand in them, allowed by their
digests alone (Content-Security-Policy), so that they work from a file URL, and nothing that a name smuggles in can run;
all names are escaped besides. Without a script they are plain pages. Templates: `base.html` and those that extend it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from leaderboard.admission import SEES_BRAIN
from leaderboard.board import SPLITS, Row, Section, write_number
from leaderboard.glossary import explain_metric
from leaderboard.narrow import tell_verdict
from leaderboard.papers.reported import ReportedTable, load_table, table_names
from leaderboard.papers.unread import load_unread
from leaderboard.publication import board_rows, write_place
from leaderboard.published_board import HEADS, ShownSet, set_rows, table_part
from leaderboard.rendering import render
from leaderboard.web.clip_wall import MEDIA, Wall
from leaderboard.web.history import Release, view_history
from leaderboard.web.matrix import STEPS, sum_up, view_matrix
from leaderboard.web.method_page import (
    ROLES,
    Entry,
    Record,
    list_commands,
    list_entries,
    name_page,
    view_method,
    write_record,
)
from leaderboard.web.origin import Origin, describe_origin
from leaderboard.web.page import fill_page, read_assets
from leaderboard.web.plot import view_dots
from leaderboard.web.wall_page import view_wall

FOLDER = Path(__file__).parents[1] / "site"
ASSETS = "board"  # style and script of all pages
MADE = "<code>python -m bench board</code>"  # stands on every page of ours
WRITTEN = "Made by `python -m bench board`"  # and on every text
SUBMIT = {  # what the page of how to submit shows
    "videos": """\
python -m bench submit --videos FOLDER --dataset cc2017 --method my_method --source ADDRESS
python -m bench pack --method my_method""",
    "method": """\
python -m bench check my_method.py:MyMethod
python -m bench run --method my_method --split cross_subject
python -m bench pack --method my_method --split cross_subject
python -m bench verify my_method.base.zip""",
    "publish": """\
python -m bench publish --bundle my_method.base.zip
python -m bench board
python -m bench board --check""",
}


def write_site(
    sections: Sequence[Section],
    clips: Sequence[Wall],
    folder: Path = FOLDER,
    *,
    reported: Sequence[ReportedTable] | None = None,
    published: Sequence[ShownSet] = (),
    records: Sequence[Record] = (),
    releases: Sequence[Release] = (),
) -> list[Path]:
    """Write the site and return its files. clips: of `clip_wall.read_walls`; those of no section are left out.

    reported: the papers' tables, by default all. records: of `results.read_records`, what the rows rest on.
    releases: of `history.read_releases`. Pages, records and clips of an earlier site are removed.
    """
    if reported is None:
        reported = [load_table(name) for name in table_names()]
    shown = [(section, next((one for one in clips if one.belongs_to(section)), None)) for section in sections]
    entries = list_entries(shown, records)
    texts = fill_pages(shown, reported, published, entries, describe_origin(records), releases)
    texts |= write_exports(sections, published) | read_assets(ASSETS)
    texts |= {one.record_name: write_record(one) for rows in entries.values() for one in rows if one.record}
    media = folder / "media"
    for part in (media, folder / "records"):
        part.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.html"), *folder.glob("records/*.json")]:
        if str(old.relative_to(folder)) not in texts and is_ours(old):
            old.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = {name: wall.folder / name for _, wall in shown if wall is not None for name in wall.files()}
    for old in list_media(folder):
        if old.name not in sources:
            old.unlink()
    for name, source in sorted(sources.items()):
        shutil.copyfile(source, media / name)
    return [*(folder / name for name in texts), *(media / name for name in sorted(sources))]


def is_ours(path: Path) -> bool:
    """Whether a page or record says that a board made it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return MADE in text if path.suffix == ".html" else '"scores_sha256"' in text


def write_exports(sections: Sequence[Section], published: Sequence[ShownSet]) -> dict[str, str]:
    """The numbers for programs, as they stand beside LEADERBOARD.md."""
    tables = {"board": board_rows(sections)} | ({"published": set_rows(published)} if published else {})
    return {f"{name}.{format}": render(table, format) for name, table in tables.items() for format in ("csv", "json")}


def fill_pages(
    shown: Sequence[tuple[Section, Wall | None]],
    reported: Sequence[ReportedTable],
    published: Sequence[ShownSet],
    entries: Mapping[str, Sequence[Entry]],
    origin: Origin,
    releases: Sequence[Release],
) -> dict[str, str]:
    """The text of every page by its name, the first screen first."""
    sections = [section for section, _ in shown]
    pages = {method: name_page(method) for method in entries}
    of_section = {(one.section.name, method): one for method, rows in entries.items() for one in rows}

    def fill(name: str, title: str, **content: Any) -> str:
        return fill_page(name, assets=ASSETS, title=title, origin=origin, pages=pages, **content)

    links = [(f"{section.name}.html", tell_title(section)) for section in sections]
    links += [("published.html", "published videos")] if published else []
    links += [("papers.html", "reported by papers")] if reported else []
    links += [("history.html", "how the board changed")] if releases else []
    texts = {
        "index": fill(
            "index",
            "Brain2Video Bench",
            sections=sections,
            published=published,
            matrix=view_matrix(sections),
            splits=[split for split in SPLITS if any(section.split == split for section in sections)],
            roles=ROLES,
            steps=[f"{low:g}–{high:g}" for low, high in pairwise((0, *STEPS, 1))],
            sums=[sum_up(one) | {"link": f"published.html#published-{one.name}"} for one in published],
            links=links,
            exports=[*write_exports(sections, published)],
        )
    }
    for section, wall in shown:
        there = bool(wall and wall.tiles)
        view = view_section(section) | {"clips": f"clips-{section.name}.html" if there else ""}
        mine = {row.method: view_links(of_section[section.name, row.method]) for row in section.rows}
        texts[section.name] = fill("section", view["title"], section=view, roles=ROLES, links=mine)
        if wall and there:
            title = f"Clips of {view['title']}"
            about: dict[str, Any] = {
                "phantom": section.phantom,
                "back": f"{section.name}.html",
                "wall": view_wall(section, wall),
            }
            texts[f"clips-{section.name}"] = fill("clips", title, **about)
    if published:
        sets = [view_set(one) for one in published]
        texts["published"] = fill("published", "Published videos", published=sets)
    if reported:
        tables = [view_reported(table) for table in reported]
        texts["papers"] = fill("papers", "Reported by papers", reported=tables, unread=load_unread())
    for method, rows in entries.items():
        page = name_page(method).removesuffix(".html")
        texts[page] = fill("method", method, method=view_method(method, rows, reported, origin))
    if releases:
        texts["history"] = fill("history", "How the board changed", history=view_history(releases))
    texts["submit"] = fill("submit", "How to submit", commands=SUBMIT)
    return {f"{name}.html": text for name, text in texts.items()}


def view_links(entry: Entry) -> list[tuple[str, str]]:
    """What a row of a section links to beside its method's page: words and addresses."""
    page = name_page(entry.row.method)
    return [
        ("paper", f"{page}#paper"),
        ("code", f"{page}#code"),
        *([("record", entry.record_name)] if entry.record else []),
        *([("commands", f"{page}#again-{entry.anchor}")] if list_commands(entry) else []),
        *([("clips", entry.clips)] if entry.clips else []),
    ]


def tell_title(section: Section) -> str:
    return f"{section.dataset}: {section.split.replace('_', ' ')}"


def find_strays(folder: Path, made: Collection[str]) -> list[str]:
    """What lies in a board's folder as if the board had made it, and is not among what it makes (names from there).

    Of the site all pages, records, tables and clips, whoever put them there; evaluation results; and texts that say
    that the board made them.
    """
    site = folder / "site"
    there = [path for ending in ("html", "md", "csv", "json", "css", "js") for path in site.glob(f"*.{ending}")]
    there += [*site.glob("records/*.json"), *list_media(site), *folder.glob("evaluation-results/*.yaml")]
    there += [*folder.glob("*.html")]
    there += [path for path in folder.glob("*.md") if WRITTEN in path.read_text(encoding="utf-8", errors="replace")]
    return sorted(name for path in there if (name := path.relative_to(folder).as_posix()) not in made)


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
        "primary": explain_metric(primary.name).title,
        "direction": primary.direction,
        "chance": write_number(primary.chance) if isinstance(primary.chance, float) else "",
        "generalises_to": section.generalises_to,
        "metrics": [
            {"key": one.name, "name": explain_metric(one.name).title, "direction": one.direction}
            for one in section.metrics
        ],
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
