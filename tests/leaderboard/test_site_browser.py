"""The board's site in a real browser: sorting, filtering, keyboard, phone, dark mode, clips, hostile names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from browser import DESK, PHONE, click, find, list_shown, open_browser, open_page, press, read_console, wait
from published_sets import ABOUT, make_scored
from small_site import ALSO_HOSTILE, HOSTILE, Site, make_site

from leaderboard.published import read_published, write_published
from leaderboard.published_board import show_sets
from leaderboard.web.site import write_site


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def chromium():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(chromium, made):
    """The board on a desk; at the end the console is clean."""
    open_page(chromium, made[0] / "index.html")
    yield chromium
    assert read_console(chromium) == []


def column(browser: Any, place: int) -> list[str]:
    """What the cells of the first table are sorted by."""
    rows = "[...document.querySelector('.board').tBodies[0].rows]"
    return browser.execute_script(f"return {rows}.map((row) => row.cells[{place - 1}].dataset.sort)")


def test_headers_sort_both_ways_and_missing_scores_stay_last(page):
    table = find(page, ".board")[0]
    heads = table.find_elements("css selector", "thead th")
    click(page, heads[0].find_element("css selector", "button"))
    names = column(page, 1)
    assert names == sorted(names) and heads[0].get_attribute("aria-sort") == "ascending"
    for expected in ("descending", "ascending"):  # the first press shows the best first
        click(page, heads[4].find_element("css selector", "button"))
        values = column(page, 5)
        assert heads[4].get_attribute("aria-sort") == expected and values[-1] == "" and "" not in values[:-1]
        numbers = [float(one) for one in values[:-1]]
        assert numbers == sorted(numbers, reverse=expected == "descending")
        assert heads[0].get_attribute("aria-sort") == "none"


def test_sorting_by_tier_gives_the_order_of_the_board_back(page, made):
    order = [row.method for row in made[1][0].rows]
    buttons = find(page, ".board")[0].find_elements("css selector", "thead button")
    click(page, buttons[0])
    click(page, buttons[1])
    assert column(page, 1) == order


def test_filters_leave_what_was_asked_for(page):
    from selenium.webdriver import Keys

    count = page.find_element("id", "count")
    assert count.text == "21 rows in 2 of 2 sections"
    page.find_element("id", "by-split").send_keys("cross")
    sections = ["phantom_eeg-tiny-cross_subject-40-mini"]
    assert list_shown(page, "main > section[data-dataset]", "id") == sections
    assert list_shown(page, "nav a[data-for]", "data-for") == sections
    page.find_element("id", "by-role").send_keys("ceil")
    assert list_shown(page, "tr[data-row]", "data-method") == ["codec"]
    assert not list_shown(page, ".strips, .trio, .group", "class")  # no heading over nothing
    page.find_element("id", "by-role").send_keys(Keys.HOME)
    page.find_element("id", "by-text").send_keys("RETR")
    assert list_shown(page, "tr[data-row]", "data-method") == ["retrieval"]
    assert count.text == "1 rows in 1 of 2 sections"


def test_the_keyboard_alone_sorts_filters_and_plays(page):
    from selenium.webdriver import Keys

    def active() -> Any:
        return page.switch_to.active_element

    press(page, Keys.TAB)
    assert active().text == "To the tables" and active().is_displayed()
    click(page, page.find_element("id", "by-text"))
    press(page, "t", "w", "o", Keys.TAB)
    assert list_shown(page, "tr[data-row]", "data-method") == ["two"]
    page.find_element("id", "by-text").send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    press(page, Keys.TAB, Keys.TAB)
    assert active().tag_name == "button" and active().text.startswith("method")
    outline = active().value_of_css_property("outline-style"), active().value_of_css_property("outline-width")
    assert outline == ("solid", "3px")
    press(page, Keys.ENTER)
    assert find(page, ".board th")[0].get_attribute("aria-sort") == "ascending"
    for _ in range(40):
        press(page, Keys.TAB)
        if "play" in (active().get_attribute("class") or ""):
            break
    press(page, Keys.SPACE)
    assert active().get_attribute("aria-pressed") == "true"
    videos = active().find_elements("xpath", "ancestor::figure//video")
    wait(lambda: all(page.execute_script("return !arguments[0].paused", one) for one in videos))


def test_clips_play_together_and_stop(page):
    card = find(page, ".card")[0]
    videos = card.find_elements("css selector", "video")
    assert len(videos) == 3 and all(one.get_attribute("poster").endswith(".png") for one in videos)
    button = card.find_element("css selector", ".play")
    click(page, button)
    moved = "return arguments[0].currentTime > 0.3 && arguments[0].videoWidth === 32"
    wait(lambda: all(page.execute_script(moved, one) for one in videos))
    assert all(page.execute_script("return arguments[0].loop && arguments[0].muted", one) for one in videos)
    click(page, button)
    assert all(page.execute_script("return arguments[0].paused", one) for one in videos)
    closed = find(page, ".group")[1]
    still = closed.find_element("css selector", "video")
    assert not still.get_attribute("poster")  # until somebody wants to see it
    click(page, closed.find_element("css selector", "summary"))
    wait(lambda: still.get_attribute("poster"))
    click(page, closed.find_element("css selector", "summary"))
    every = find(page, "button.all")[0]
    click(page, every)
    assert list_shown(page, ".card", "class") == ["card playing"] * 5
    click(page, every)
    assert not find(page, ".playing")


def test_clips_end_where_motion_is_to_be_reduced(chromium, made):
    open_page(chromium, made[0] / "index.html", calm=True)
    assert not find(chromium, "button.all")[0].is_displayed()
    card = find(chromium, ".card")[0]
    click(chromium, card.find_element("css selector", ".play"))
    assert "playing" in card.get_attribute("class")
    wait(lambda: "playing" not in card.get_attribute("class"))
    assert read_console(chromium) == []


@pytest.mark.parametrize("size", [PHONE, (768, 1024), DESK], ids=["phone", "tablet", "desk"])
def test_no_screen_scrolls_sideways(chromium, made, size):
    open_page(chromium, made[0] / "index.html", size=size)
    chromium.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    wide = "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    page, body, screen = chromium.execute_script(wide)
    assert page <= screen == size[0] and body <= screen
    if size == PHONE:  # what a finger has to hit
        targets = (
            "[...document.querySelectorAll('button, select, input, summary')].filter((one) => one.checkVisibility())"
        )
        heights = chromium.execute_script(f"return {targets}.map((one) => one.offsetHeight)")
        assert len(heights) > 20 and min(heights) >= 24
    assert read_console(chromium) == []


def measure_contrast(browser: Any, selector: str) -> float:
    """WCAG's contrast of the text of an element with the nearest ground that is painted (2.1, 1.4.3)."""
    script = """
    let one = arguments[0]; const ink = getComputedStyle(one).color;
    while (one && getComputedStyle(one).backgroundColor === "rgba(0, 0, 0, 0)") one = one.parentElement;
    return [ink, one ? getComputedStyle(one).backgroundColor : "rgb(255, 255, 255)"];
    """
    found = browser.execute_script(script, find(browser, selector)[0])
    levels = []
    for colour in found:
        part = np.array([int(one) for one in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(levels) / min(levels)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_stand_out_in_light_and_in_dark(chromium, made, dark):
    open_page(chromium, made[0] / "index.html", dark=dark)
    ground = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 150) == dark
    for selector in (
        "h1",
        "nav a",
        ".quiet",
        ".interval",
        ".mark",
        ".badge",
        ".board thead button",
        ".board tr[data-role='control'] td",
        ".play",
        ".better",
    ):
        assert measure_contrast(chromium, selector) >= 4.5, selector
    assert read_console(chromium) == []


def test_a_name_that_is_a_script_is_a_name(page):
    shown = [cell.text for cell in find(page, "main > section:nth-of-type(2) tr[data-row] th")]
    assert shown[:2] == [HOSTILE, ALSO_HOSTILE]
    assert not find(page, "img") and len(find(page, "script")) == 1
    page.find_element("id", "by-text").send_keys("<script")
    assert list_shown(page, "tr[data-row]", "data-method") == [HOSTILE]


def test_scripts_that_are_not_ours_are_refused(chromium, made, tmp_path):
    """Were a name to break out, the page's policy would still stop it."""
    text = (made[0] / "index.html").read_text().replace("<main", f"{HOSTILE}<img src=x onerror=alert(2)><main", 1)
    (tmp_path / "index.html").write_text(text)
    open_page(chromium, tmp_path / "index.html")
    console = "\n".join(read_console(chromium))
    assert console.count("Content Security Policy") == 2
    assert page_works(chromium)


def page_works(browser: Any) -> bool:
    find(browser, ".board thead button")[0].click()  # raises where a dialog is open
    return find(browser, ".board th")[0].get_attribute("aria-sort") == "ascending"


def test_without_a_script_it_is_a_page_with_players(chromium, made):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(chromium, made[0] / "index.html")
        assert len(find(chromium, ".board")) == 2 and not chromium.find_element("id", "filter").is_displayed()
        assert find(chromium, "video")[0].get_attribute("controls") is not None
        assert not find(chromium, ".play")[0].is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_published_videos_stand_apart_and_are_no_rows_of_the_ranking(chromium, made, tmp_path, size):
    write_published(tmp_path / "results", ABOUT | {"licence": ALSO_HOSTILE}, make_scored())
    shown = show_sets(read_published(tmp_path / "results"))
    write_site(made[1], made[2], tmp_path / "site", published=shown)
    open_page(chromium, tmp_path / "site" / "index.html", size=size)
    page, screen = chromium.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert page <= screen == size[0]
    assert chromium.find_element("id", "count").text == "21 rows in 2 of 2 sections"
    section = chromium.find_element("id", "published")
    assert [one.text for one in section.find_elements("css selector", ".badge")] == [
        "real recordings", "real", "chosen by their authors",
    ]  # fmt: skip
    assert ALSO_HOSTILE in section.text and shown[0].parts[0].verdict in section.text
    assert not section.find_elements("css selector", "[data-row]") and not find(chromium, "img")
    link = section.find_element("css selector", "a")
    assert link.get_attribute("href") == ABOUT["source"] and "noopener" in link.get_attribute("rel")
    click(chromium, find(chromium, "nav a[href='#published']")[0])
    for dark in (False, True):
        open_page(chromium, tmp_path / "site" / "index.html", size=size, dark=dark)
        for selector in (".badge.real", ".verdict", "table.published td"):
            assert measure_contrast(chromium, selector) >= 4.5, selector
    assert read_console(chromium) == []
