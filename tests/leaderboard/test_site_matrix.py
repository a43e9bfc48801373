"""The first screen: who leads where, above which floor, on what kind of recording; the command line's own verdicts."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pandas as pd
import pytest
from browser import click, find, list_shown, open_browser, open_page, press, read_console, wait
from published_sets import ABOUT, make_scored
from small_site import HOSTILE, Site, make_site, read_page

from leaderboard.board import make_board, write_number
from leaderboard.narrow import note_verdicts
from leaderboard.published import read_published, write_published
from leaderboard.published_board import show_sets
from leaderboard.tables import result_table
from leaderboard.web.matrix import view_matrix
from leaderboard.web.site import write_site
from metrics.protocols import PROTOCOLS


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Site:
    """The small site with an fMRI data set beside it, of other levels."""
    folder = tmp_path_factory.mktemp("matrix")
    _, _, walls, scores = make_site(folder)
    other = scores[scores["split"] != "new_subject"].assign(dataset="phantom_fmri", value=scores["value"] / 2)
    other["metric"] = other["metric"].str.replace("40way", "50way")
    whole = pd.concat([scores, other], ignore_index=True)
    sections = make_board(whole)
    write_published(folder / "results", ABOUT, make_scored())
    published = show_sets(read_published(folder / "results"))
    write_site(sections, walls, folder / "site", reported=[], published=published)
    return folder / "site", sections, walls, whole


def test_verdicts_are_those_that_table_prints(made):
    folder, sections, _, scores = made
    told = note_verdicts(result_table(scores), scores, PROTOCOLS).attrs["verdicts"]
    words = read_page(folder / "index.html").text
    assert len(sections) == 3
    for section in sections:
        verdict = told[f"{section.dataset} {section.split} corrected"]
        assert " is first of " in verdict and f"(phantom): {verdict}" in words


def test_cells_say_how_a_score_stands_between_the_best_floor_and_the_ceiling(made):
    eeg, fmri = view_matrix(made[1])
    assert [one["name"] for one in (eeg, fmri)] == ["EEG", "fMRI"]
    rows = {row["method"]: row["cells"] for row in eeg["rows"]}
    assert [column["split"] for column in eeg["columns"]] == ["cross subject", "new subject"]
    assert [column["floor"] for column in eeg["columns"]] == [{"text": "0.171", "whose": "shuffled_brain"},
                                                             {"text": "0.100", "whose": "shuffled_brain"}]  # fmt: skip
    scores = made[3]
    mean = scores[(scores["method"] == "one") & (scores["metric"] == "video_40way")]["value"].mean()
    best = rows["one"][0]
    assert best["best"] and best["tier"] == 1 and float(best["sort"]) == pytest.approx(mean, abs=1e-5)
    assert rows["one"][1] is None and rows[HOSTILE][0] is None  # not run
    assert rows["method_3"][1]["words"] == "below floor" and rows["method_3"][1]["colour"] == "below"
    shares = {row.method: row.brain_share.value for row in made[1][0].rows}
    for method in ("one", "two"):
        assert rows[method][0]["words"] == f"share {shares[method]:.2f}"
    assert rows["one"][0]["colour"] == "share5" and [row["method"] for row in eeg["rows"]][:2] == [HOSTILE, "one"]
    assert not {"train_mean", "codec"} & {row["method"] for part in (eeg, fmri) for row in part["rows"]}


def test_tabs_and_badges_tell_what_is_what_without_a_script(made):
    with open_browser() as chromium:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        open_page(chromium, made[0] / "index.html", size=(1280, 800))
        assert list_shown(chromium, "[data-part]", "data-part") == ["eeg"]
        badges = [one.text for one in find(chromium, ".first .badge") if one.is_displayed()]
        assert badges == ["phantom: synthetic", "real"]
        chromium.find_element("id", "part-eeg").send_keys(" ")
        press(chromium, "\ue014")  # to the right
        assert list_shown(chromium, "[data-part]", "data-part") == ["fmri"]
        assert read_console(chromium) == []


# What is shown stands in the address


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("downloads")) as browser:
        yield browser


def list_columns(browser: Any) -> list[str]:
    return list_shown(browser, ".grid th[data-data]", "data-split")


def list_methods(browser: Any) -> list[str]:
    return list_shown(browser, ".grid tbody:first-of-type tr", "data-method")


def test_filters_and_order_stand_in_the_address_and_come_back(chromium, made):
    """Chosen by hand, then read off the address by a page that is opened anew."""
    index = made[0] / "index.html"
    open_page(chromium, index)
    assert list_columns(chromium) == ["cross_subject", "new_subject"] and chromium.current_url == index.as_uri()
    click(chromium, find(chromium, "#filters summary")[0])
    chromium.find_element("id", "by-split").send_keys("new")
    chromium.find_element("id", "by-text").send_keys("METHOD_")
    button = find(chromium, "[data-part=eeg] .sort[data-key$=new_subject]")[0]
    click(chromium, button)
    click(chromium, button)  # the worst first
    scores = {
        row.method: row.scores["video_40way"].value for row in made[1][1].rows if row.method.startswith("method_")
    }
    order = sorted(scores, key=scores.__getitem__)

    def check() -> None:
        assert list_columns(chromium) == ["new_subject"] and list_methods(chromium) == order
        assert [one.text for one in find(chromium, ".levels th") if one.is_displayed()] == []
        assert find(chromium, "#filters[open]") and chromium.find_element("id", "by-text").get_attribute("value")
        assert chromium.find_element("id", "count").text == f"{len(order)} of 19 rows, 1 of 2 columns"
        heads = find(chromium, "[data-part=eeg] th[aria-sort=ascending]")
        assert [one.get_attribute("data-split") for one in heads] == ["new_subject"]

    check()
    address = chromium.current_url
    said = dict(parse_qsl(urlsplit(address).fragment))
    assert said == {
        "split": "new_subject",
        "method": "METHOD_",
        "sort": "phantom_eeg:tiny.new_subject",
        "order": "ascending",
    }
    chromium.get("about:blank")
    chromium.get(address)
    check()
    click(chromium, find(chromium, "#filter [type=reset]")[0])
    wait(lambda: chromium.current_url == index.as_uri())
    assert list_columns(chromium) == ["cross_subject", "new_subject"] and len(list_methods(chromium)) == 17
    assert read_console(chromium) == []


@pytest.mark.parametrize(
    ("asked", "part", "columns", "roles"),
    [
        ("part=fmri", "fmri", 1, {"method", "baseline", "control", "ceiling"}),
        ("kind=floor", "eeg", 2, {"control"}),
        ("kind=ceiling&sort=method&order=descending", "eeg", 2, {"ceiling"}),
        ("data=phantom_fmri&part=fmri", "fmri", 1, {"method", "baseline", "control", "ceiling"}),
        (
            "kind=%3Cscript%3E&split=x&part=%22&sort=%27&order=up",
            "eeg",
            2,
            {"method", "baseline", "control", "ceiling"},
        ),
    ],
)
def test_an_address_says_what_is_shown(chromium, made, asked, part, columns, roles):
    chromium.get("about:blank")
    chromium.get(f"{(made[0] / 'index.html').as_uri()}#{asked}")
    assert list_shown(chromium, "[data-part]", "data-part") == [part] and len(list_columns(chromium)) == columns
    assert set(list_shown(chromium, ".grid tbody tr", "data-role")) == roles
    bodies = "[...document.querySelectorAll('.grid tbody:first-of-type tr')].map((one) => one.dataset.role)"
    assert not {"control", "ceiling"} & set(chromium.execute_script(f"return {bodies}"))
    assert read_console(chromium) == []


def test_real_recordings_are_told_from_phantoms_by_the_address_too(chromium, made):
    for asked, columns, sets in (("real", 0, 1), ("phantom", 2, 0)):
        chromium.get("about:blank")
        chromium.get(f"{(made[0] / 'index.html').as_uri()}#recordings={asked}")
        assert len(list_columns(chromium)) == columns and bool(list_methods(chromium)) == (columns > 0)
        told = chromium.find_element("id", "count").text
        assert (told == "Nothing of that kind is ranked here") == (columns == 0)
        assert len(list_shown(chromium, "aside li", "data-recordings")) == sets


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desk", "phone"])
def test_the_first_screen_says_who_leads_everywhere_above_which_floor_and_what_is_real(chromium, made, size):
    """All of it without scrolling or opening anything, of the part that is not shown too."""
    open_page(chromium, made[0] / "index.html", size=size)
    inside = (
        "return [...document.querySelectorAll('.leaders > ul > li')].map((set) => [...set.querySelectorAll('p, li')]"
    )
    shown = chromium.execute_script(f"{inside}.map((one) => one.innerText.replace(/\\s+/g, ' ')))")
    assert [one[0] for one in shown] == [
        "EEG phantom_eeg:tiny phantom: synthetic",
        "fMRI phantom_fmri phantom: synthetic",
    ]
    told = [line for one in shown for line in one[1:]]
    assert len(told) == len(made[1]) == 3
    for section, line in zip(made[1], told, strict=True):
        first, primary = section.rows[0], section.primary.name
        floor = section.table.loc[section.table["metric"] == primary, "floor"].max()
        split = section.split.replace("_", " ")
        score = write_number(first.scores[primary].value)
        assert line.startswith(f"{split} {first.method} {score} above floor ({write_number(floor)})")
    (real,) = find(chromium, ".leaders .real")
    assert "no method is ranked on any yet" in real.text and "published of real recordings (1 set," in real.text
    ends = """return [...document.querySelectorAll('.leaders, .leaders *')].map((one) => one.getBoundingClientRect())
        .filter((box) => box.width > 1).map((box) => [box.right, box.bottom])"""
    right, bottom = map(max, zip(*chromium.execute_script(ends), strict=True))
    assert right <= size[0] and bottom <= size[1]
    assert read_console(chromium) == []


def test_the_keyboard_alone_filters_sorts_and_goes_on(chromium, made):
    open_page(chromium, made[0] / "index.html")
    chromium.find_element("id", "part-eeg").send_keys("\ue014")  # to the right
    assert chromium.current_url.endswith("#part=fmri")
    press(chromium, "\ue004", " ")  # on to the filter, which opens
    press(chromium, "\ue004", "\ue015")  # the first choice, down
    assert "data=phantom_eeg" in chromium.current_url and list_columns(chromium) == []
    press(chromium, "\ue013")
    find(chromium, "[data-part=fmri] .sort[data-key=method]")[0].send_keys("\n")
    assert list_methods(chromium) == sorted(list_methods(chromium)) and "sort=method" in chromium.current_url
    find(chromium, "[data-part=fmri] tbody th a")[0].send_keys("\n")
    assert chromium.current_url.startswith((made[0] / "method-").as_uri())
    assert read_console(chromium) == []


def test_downloads_come_as_they_lie_beside_the_pages(chromium, made, tmp_path):
    where = {"behavior": "allow", "downloadPath": str(tmp_path)}
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    open_page(chromium, made[0] / "index.html")
    click(chromium, find(chromium, "nav a[download][href='board.csv']")[0])
    saved = tmp_path / "board.csv"
    wait(lambda: saved.is_file() and saved.read_bytes() == (made[0] / "board.csv").read_bytes())


def test_no_page_asks_for_anything_outside_its_folder(chromium, made):
    """A page of each kind, with all of it opened; films and stills lie in the folder."""
    asked = "performance.getEntriesByType('resource').map((one) => one.name)"
    kinds = {path.name.partition("-")[0]: path for path in sorted(made[0].glob("*.html"))}
    assert len(kinds) == 7
    for path in kinds.values():
        open_page(chromium, path)
        chromium.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        names = chromium.execute_script(f"return {asked}")
        assert all(one.startswith(made[0].as_uri() + "/") for one in names), path.name
        assert read_console(chromium) == [], path.name
