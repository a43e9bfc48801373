"""How the board changed between releases: planted orders, and that of committed results against the board's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_site import read_page
from walls import make_cells, make_scores

from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.phantom.fmri import spec as fmri
from leaderboard.board import make_board
from leaderboard.results import RESULTS, publish, read_results
from leaderboard.web.history import Release, compare_orders, order_results, read_releases, view_history
from leaderboard.web.site import write_site

PLACE = ("phantom_eeg", "new_subject")


def test_who_came_went_and_moved_is_said():
    """Of a, b, c, d the board keeps a, b, c, now b first; e came between. What left moves nobody."""
    old = {"d": 0.9, "a": 0.5, "b": 0.4, "c": 0.3}
    new = {"b": 0.8, "e": 0.7, "a": 0.6, "c": 0.1}
    told = compare_orders(PLACE, old, new)
    assert told["title"] == "phantom_eeg: new subject"
    assert told["words"] == "first is b, was d; came: e; went: d; moved up: b; moved down: a."
    assert [(row["method"], row["then"], row["now"], row["change"]) for row in told["rows"]] == [
        ("b", "3. with 0.400", "1. with 0.800", "up 1"),
        ("e", "–", "2. with 0.700", "came"),
        ("a", "2. with 0.500", "3. with 0.600", "down 1"),
        ("c", "4. with 0.300", "4. with 0.100", "same place"),
        ("d", "1. with 0.900", "–", "went"),
    ]
    assert compare_orders(PLACE, old, {})["words"] == "no row now; of 4 the first was d."
    assert compare_orders(PLACE, {}, new)["words"] == "new, with 4 rows; first is b."


def test_the_newest_change_stands_first_and_names_its_phantoms(tmp_path):
    releases = [
        Release(title=title, phantoms=version, why=f"why {title}", orders={PLACE: {"<b>x": 0.1 * version}})
        for version, title in enumerate(("one", "two", "three"), 1)
    ]
    assert [(step["title"], step["before"]) for step in view_history(releases)] == [("three", "two"), ("two", "one")]
    write_site([], [], tmp_path, reported=[], releases=releases)
    page = read_page(tmp_path / "history.html")
    assert "Three, after two" in page.text and "Phantoms of version 3, before of version 2" in page.text
    assert "First is still <b>x." in page.text and "history.html" in (tmp_path / "index.html").read_text("utf-8")


def test_the_order_of_committed_results_is_that_of_the_board(tmp_path):
    cells = make_cells(tmp_path / "runs")
    publish(cells, make_scores(cells), tmp_path / "results")
    sections = make_board(read_results(tmp_path / "results"))
    ((place, order),) = order_results(tmp_path / "results").items()
    assert place == ("phantom_eeg:tiny", "cross_subject") == (sections[0].dataset, sections[0].split)
    mine = {row.method: row.scores["video_40way"].value for row in sections[0].ranked}
    assert list(order) == list(mine) == ["one", "two"]
    assert order == pytest.approx(mine)
    assert read_releases(tmp_path, sections) == []  # without a list of them


def test_the_committed_list_ends_with_the_phantoms_of_today():
    import tomllib

    folder = RESULTS.parent / "retired"
    listed = tomllib.loads((folder / "releases.toml").read_text(encoding="utf-8"))["releases"]
    assert "folder" not in listed[-1]
    assert listed[-1]["phantoms"] == PhantomSpec.version == fmri.VERSION
    kept = {path.name for path in Path(folder).iterdir() if path.is_dir()}
    assert [one["folder"] for one in listed[:-1]] == sorted(kept)
