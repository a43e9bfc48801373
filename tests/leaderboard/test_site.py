"""The board's site as files: the same every time, whole in itself, with the board's scores; `board --check`."""

from __future__ import annotations

import re
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
from leaderboard.web.plot import choose_ticks, view_dots
from leaderboard.web.site import list_media, write_site


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


# As files


def test_the_page_is_the_same_every_time_and_old_clips_go(made, tmp_path):
    _, sections, walls, _ = made
    first = {path.name: path.read_bytes() for path in write_site(sections, walls, tmp_path)}
    (tmp_path / "media" / ("0" * 24 + ".webm")).write_bytes(b"old")
    (tmp_path / "media" / "mine.txt").write_text("somebody's own")
    assert {path.name: path.read_bytes() for path in write_site(sections, walls, tmp_path)} == first
    assert {path.name for path in list_media(tmp_path)} == set(first) - {"index.html"}
    assert (tmp_path / "media" / "mine.txt").exists()


def test_nothing_is_fetched_and_all_media_are_there(made):
    folder, _, walls, _ = made
    reader = read_page(folder / "index.html")
    sources = [
        value for tag, about in reader.tags for name, value in about.items() if name in ("src", "poster", "data-poster")
    ]
    assert sources and all(re.fullmatch(r"media/[0-9a-f]{24}\.(webm|png)", str(one)) for one in sources)
    assert {str(one).removeprefix("media/") for one in sources} == {name for wall in walls for name in wall.files()}
    assert all((folder / str(one)).is_file() for one in sources)
    links = [about["href"] for tag, about in reader.tags if "href" in about]
    ids = {about["id"] for _, about in reader.tags if "id" in about}
    assert links and all(str(link)[0] == "#" and str(link)[1:] in ids for link in links)
    assert not [tag for tag, _ in reader.tags if tag in ("iframe", "object", "link", "base")]
    assert not [name for _, about in reader.tags for name in about if name.startswith("on") or name == "style"]


def test_scores_stand_on_the_page_as_in_the_sections(made):
    folder, sections, _, _ = made
    reader = read_page(folder / "index.html")
    text = reader.text
    for section in sections:
        for row in section.rows:
            assert str(row.scores[section.primary.name]) in text and str(row.method) in text


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
    first = next(wall.folder.glob("*.webm"))
    first.write_bytes(first.read_bytes() + b"x")
    assert board("--check") == 1 and "not what the index says" in "".join(capsys.readouterr())
