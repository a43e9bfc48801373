"""The board's site as files: the same every time, whole in itself, with the board's scores; `board --check`."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pretended import pretend_current
from small_site import Site, make_site, read_page
from walls import make_cells, make_dataset, make_scores

from bench.cli import main
from leaderboard.web.clip_export import COUNT
from leaderboard.web.clip_wall import read_walls
from leaderboard.web.method_page import name_page
from leaderboard.web.plot import choose_ticks, view_dots
from leaderboard.web.site import list_media, write_site
from leaderboard.web.wall_page import view_wall

WALLED = "phantom_eeg-tiny-cross_subject-40-mini"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


# As files


def test_the_page_is_the_same_every_time_and_old_clips_go(made, tmp_path):
    _, sections, walls, _ = made
    first = {path.name: path.read_bytes() for path in write_site(sections, walls, tmp_path)}
    (tmp_path / "media" / ("0" * 24 + ".webm")).write_bytes(b"old")
    (tmp_path / "media" / "mine.txt").write_text("somebody's own")
    (tmp_path / "clips-gone.html").write_bytes(first[f"clips-{WALLED}.html"])
    (tmp_path / "mine.html").write_text("somebody's own")
    assert {path.name: path.read_bytes() for path in write_site(sections, walls, tmp_path)} == first
    pages = {section.name + ".html" for section in sections} | {"index.html", "papers.html", f"clips-{WALLED}.html"}
    pages |= {name_page(row.method) for section in sections for row in section.rows} | {"submit.html"}
    media = {path.name for path in list_media(tmp_path)}
    assert media == set(first) - pages - {f"board.{one}" for one in ("csv", "json", "css", "js")} and pages < set(first)
    assert (tmp_path / "media" / "mine.txt").exists() and (tmp_path / "mine.html").exists()
    assert not (tmp_path / "clips-gone.html").exists()


def test_nothing_is_fetched_and_all_that_is_linked_is_there(made):
    folder, _, walls, _ = made
    pages = {path.name: read_page(path) for path in folder.glob("*.html")}
    ids = {f"{name}#{about['id']}" for name, page in pages.items() for _, about in page.tags if "id" in about}
    shown = set()
    for name, page in pages.items():
        for tag, about in page.tags:
            assert tag not in ("iframe", "object", "base")
            if tag in ("link", "script"):  # the two files that all pages share
                assert about in ({"rel": "stylesheet", "href": "board.css"}, {"src": "board.js"})
                continue
            assert not [one for one in about if one.startswith("on") or one == "style"]
            if "src" in about:
                assert tag == "img" and about["loading"] == "lazy" and about["width"] == "128"
            target = str(about.get("src", about.get("href", "")))
            if target.startswith("media/"):
                shown.add(target.removeprefix("media/"))
            elif target.startswith(("records/", "board.")):
                assert (folder / target).is_file(), target
            elif target.startswith("https://arxiv.org/abs/"):
                assert tag == "a" and about["rel"] == "noopener noreferrer"
            elif target:
                place, _, part = target.partition("#")
                assert (place or name) in pages and (not part or f"{place or name}#{part}" in ids), target
    assert shown == {name for wall in walls for name in wall.files()}
    assert all((folder / "media" / one).is_file() for one in shown)


def test_headings_go_down_one_at_a_time_and_every_table_has_a_caption(made):
    for path in made[0].glob("*.html"):
        tags = [tag for tag, _ in read_page(path).tags]
        levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1 and levels.count(1) == 1, path.name
        assert all(now - before <= 1 for before, now in pairwise(levels)), path.name
        captioned = path.name.startswith("method-") or tags.count("table") == tags.count("caption")
        assert captioned, path.name  # what is laid out of the repository's pages has headings


def test_scores_stand_on_the_pages_as_in_the_sections(made):
    folder, sections, _, _ = made
    for section in sections:
        text = read_page(folder / f"{section.name}.html").text
        for row in section.rows:
            assert str(row.scores[section.primary.name]) in text and str(row.method) in text


def test_the_wall_has_a_row_a_clip_with_the_truth_first_and_methods_in_order(made):
    """`one` is drawn first in each row; each film is the one that the committed wall names for that clip."""
    folder, _, (wall,), _ = made
    page = read_page(folder / f"clips-{WALLED}.html")
    films = [str(about["href"]).removeprefix("media/") for _, about in page.tags if about.get("class") == "shot"]
    chosen = {(tile.method, tile.clip): tile for tile in wall.tiles if tile.why == "chosen"}
    clips = list(dict.fromkeys(clip for _, clip in chosen))
    rows = []
    for clip in clips:
        one, two = chosen["one", clip], chosen["two", clip]
        shots = (wall.truths[clip].shot, one.made, two.made, one.shuffled, two.shuffled)
        rows += [shot.video for shot in shots]
    assert len(clips) == 2 and films[: len(rows)] == rows


def test_a_wall_says_where_methods_are_shown_with_different_clips(made):
    _, sections, (wall,), _ = made
    section = next(one for one in sections if wall.belongs_to(one))
    assert view_wall(section, wall)["apart"] == []
    first, last = [tile.clip for tile in wall.tiles if tile.method == "two" and tile.why == "chosen"]
    tiles = [tile for tile in wall.tiles if (tile.method, tile.clip, tile.why) != ("two", first, "chosen")]
    view = view_wall(section, replace(wall, tiles=tuple(tiles)))
    assert [clip["clip"] for clip in view["clips"]] == [last, first]  # that of most methods stands first
    assert view["apart"] == [
        {"clips": str(last), "methods": ("one", "two")},
        {"clips": str(first), "methods": ("one",)},
    ]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.03, 0.217), (12.0, 13.0), (0.0341, 0.0342)])
def test_ticks_are_round_few_and_inside(low, high):
    ticks = choose_ticks(low, high)
    assert 2 <= len(ticks) <= 5 and low <= ticks[0] and ticks[-1] <= high
    step = np.diff(ticks)
    np.testing.assert_allclose(step, step[0])
    assert f"{step[0]:e}"[0] in "125"


def test_the_plot_has_floor_ceiling_and_chance_on_its_axis(made):
    """`one` has .7085 on average, its shuffled brain, the best floor, .17085, codec .95; places are linear."""
    _, sections, _, _ = made
    dots = view_dots(sections[0])
    assert dots is not None
    floor, ceiling = ((dots[name]["x"], dots[name]["width"], dots[name]["text"]) for name in ("floor", "ceiling"))
    assert floor[0] == "0%" and floor[2] == "0.171, shuffled_brain" and ceiling[2] == "0.950, codec"
    assert dots["chance"]["text"] == "0.0250"
    places = {strip["method"]: float(strip["mean"].rstrip("%")) for strip in dots["strips"]}
    low, high = float(floor[1].rstrip("%")), float(ceiling[0].rstrip("%"))
    assert places["one"] == pytest.approx(low + (0.7085 - 0.17085) / (0.95 - 0.17085) * (high - low), abs=0.05)
    assert high + float(ceiling[1].rstrip("%")) == pytest.approx(100) and 0 < low < high <= 98
    assert all(0 < float(one["x"].rstrip("%")) < 100 for strip in dots["strips"] for one in strip["subjects"])


# The commands


@pytest.fixture
def published(tmp_path, monkeypatch) -> Path:
    """Results and clips that `publish` wrote of a small store."""
    cells = make_cells(tmp_path / "runs", methods=("sam_net", "retrieval"))
    dataset = make_dataset()
    dataset.modality = "eeg"
    suite = SimpleNamespace(judges=None, digest="s" * 64)
    pretend_current(monkeypatch, dataset, suite)
    monkeypatch.setattr("bench.scoring.stored.read_scores", lambda *about: make_scores(cells))
    monkeypatch.setattr("bench.api.flagging.flag_cells", lambda cells, *about: {cell.key: {} for cell in cells})
    monkeypatch.setattr("bench.api.publishing.list_folds", lambda *about: {})
    arguments = ["publish", "--dataset", dataset.name, "--runs", tmp_path / "runs", "--results", tmp_path / "results"]
    assert main([str(one) for one in arguments]) == 0
    return tmp_path


def test_what_is_published_makes_a_site_that_check_watches(published, capsys):
    (wall,) = read_walls(published / "results")
    assert len(wall.tiles) == 2 * (COUNT + 3)

    def board(*more: str) -> int:
        return main(["board", "--results", str(published / "results"), "--output", str(published / "board"), *more])

    assert board("--check") == 1 and not (published / "board").exists()
    assert board() == 0 and board("--check") == 0
    site = published / "board" / "site"
    assert [path.name for path in list_media(site)] == wall.files()
    clip = list_media(site)[0]
    content = clip.read_bytes()
    clip.write_bytes(content[:-1] + b"x")
    capsys.readouterr()
    assert board("--check") == 1 and clip.name in "".join(capsys.readouterr())
    clip.write_bytes(content)
    (site / "media" / ("0" * 24 + ".png")).write_bytes(content)  # of nothing on the board
    assert board("--check") == 1
    assert board() == 0 and board("--check") == 0
    for name in (
        "site/mine.html",
        "site/notes.md",
        "site/more.js",
        "index.html",
        "evaluation-results/gone.yaml",
        "OLD.md",
    ):
        stray = published / "board" / name
        stray.write_text("Made by `python -m bench board`, once", encoding="utf-8")
        capsys.readouterr()
        assert board("--check") == 1
        told = " ".join(capsys.readouterr().err.split())
        assert f"{name} (the board does not write it: remove it)" in told
        stray.unlink()
    (published / "board" / "README.md").write_text("somebody's own", encoding="utf-8")
    assert board("--check") == 0
    first = next(wall.folder.glob("*.webm"))
    first.write_bytes(first.read_bytes() + b"x")
    assert board("--check") == 1 and "not what the index says" in " ".join("".join(capsys.readouterr()).split())
