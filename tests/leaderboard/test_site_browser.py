"""The board's site in a real browser: sorting, filtering, keyboard, phone, dark mode, clips, hostile names."""

from __future__ import annotations

import re
import shutil
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


FIRST = "phantom_eeg-tiny-cross_subject-40-mini.html"
SECOND = "phantom_eeg-tiny-new_subject-40-mini.html"


@pytest.fixture
def page(chromium, made):
    """The first section on a desk; at the end the console is clean."""
    open_page(chromium, made[0] / FIRST)
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
    order = [row.method for row in made[1][0].rows if row.role in ("method", "baseline")]
    buttons = find(page, ".board")[0].find_elements("css selector", "thead button")
    click(page, buttons[0])
    click(page, buttons[1])
    assert column(page, 1) == order


def test_floors_and_ceilings_are_never_sorted_among_methods(page):
    for button in find(page, ".board thead button"):
        for _ in range(2):
            click(page, button)
            roles = page.execute_script(
                "return [...document.querySelectorAll('[data-row]')].map((r) => r.dataset.role)"
            )
            assert roles == sorted(roles, key=lambda role: role in ("control", "ceiling")) and len(roles) == 5


def test_filters_leave_what_was_asked_for(page):
    from selenium.webdriver import Keys

    count = page.find_element("id", "count")
    assert count.text == "5 of 5 rows"
    page.find_element("id", "by-kind").send_keys("ceil")
    assert list_shown(page, "tr[data-row]", "data-method") == ["codec"]
    assert not list_shown(page, ".strips", "class")  # no heading over nothing
    page.find_element("id", "by-kind").send_keys(Keys.HOME)
    page.find_element("id", "by-text").send_keys("RETR")
    assert list_shown(page, "tr[data-row]", "data-method") == ["retrieval"]
    assert count.text == "1 of 5 rows"


def test_the_keyboard_alone_sorts_filters_and_plays(page, made):
    from selenium.webdriver import Keys

    def active() -> Any:
        return page.switch_to.active_element

    press(page, Keys.TAB)
    assert active().text == "To the content" and active().is_displayed()
    click(page, page.find_element("id", "by-text"))
    press(page, "t", "w", "o", Keys.TAB)
    assert list_shown(page, "tr[data-row]", "data-method") == ["two"]
    page.find_element("id", "by-text").send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    press(page, Keys.TAB, Keys.TAB, Keys.TAB)  # past the button that shows all
    assert active().tag_name == "button" and active().text.startswith("method")
    outline = active().value_of_css_property("outline-style"), active().value_of_css_property("outline-width")
    assert outline == ("solid", "3px")
    press(page, Keys.ENTER)
    assert find(page, ".board th")[0].get_attribute("aria-sort") == "ascending"
    open_page(page, made[0] / f"clips-{FIRST}")
    for _ in range(10):
        press(page, Keys.TAB)
        if "play" in (active().get_attribute("class") or ""):
            break
    press(page, Keys.SPACE)
    assert active().get_attribute("aria-pressed") == "true"
    videos = active().find_elements("xpath", "ancestor::section//video")
    wait(lambda: all(page.execute_script("return !arguments[0].paused", one) for one in videos))


def test_clips_play_together_and_stop(chromium, made):
    open_page(chromium, made[0] / f"clips-{FIRST}")
    assert not find(chromium, "video")  # until somebody wants to see one
    clip = find(chromium, ".clip")[0]
    button = clip.find_element("css selector", ".play")
    click(chromium, button)
    videos = clip.find_elements("css selector", "video")
    assert len(videos) == 3 and button.text.startswith("Stop")
    moved = "return arguments[0].currentTime > 0.3 && arguments[0].videoWidth === 32"
    wait(lambda: all(chromium.execute_script(moved, one) for one in videos))
    assert all(chromium.execute_script("return arguments[0].loop && arguments[0].muted", one) for one in videos)
    click(chromium, button)
    assert all(chromium.execute_script("return arguments[0].paused", one) for one in videos)
    assert not find(chromium, ".playing") and button.get_attribute("aria-pressed") == "false"
    click(chromium, clip.find_element("css selector", ".shot"))
    assert len(find(chromium, ".playing")) == 1
    assert read_console(chromium) == []


def test_clips_end_where_motion_is_to_be_reduced(chromium, made):
    open_page(chromium, made[0] / f"clips-{FIRST}", calm=True)
    click(chromium, find(chromium, ".play")[0])
    assert len(find(chromium, ".playing")) == 3
    wait(lambda: not find(chromium, ".playing"))
    assert find(chromium, ".play")[0].get_attribute("aria-pressed") == "false"
    assert read_console(chromium) == []


def test_the_first_load_asks_for_nothing_else(chromium, made):
    open_page(chromium, made[0] / "index.html")
    script = "return [document.querySelectorAll('*').length, performance.getEntriesByType('resource').length]"
    nodes, requests = chromium.execute_script(script)
    assert 100 < nodes <= 3000 and requests < 40
    assert read_console(chromium) == []


@pytest.mark.parametrize("name", ["index.html", SECOND, f"clips-{FIRST}", "papers.html"])
@pytest.mark.parametrize("size", [PHONE, (768, 1024), DESK], ids=["phone", "tablet", "desk"])
def test_no_screen_scrolls_sideways(chromium, made, size, name):
    open_page(chromium, made[0] / name, size=size)
    chromium.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    wide = "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    page, body, screen = chromium.execute_script(wide)
    assert page <= screen == size[0] and body <= screen
    if size == PHONE:  # what a finger has to hit
        targets = "[...document.querySelectorAll('button, select, input:not([type=radio]), summary')]"
        targets += ".filter((one) => one.checkVisibility())"
        heights = chromium.execute_script(f"return {targets}.map((one) => one.offsetHeight)")
        assert heights and min(heights) >= 24
    assert read_console(chromium) == []


@pytest.mark.parametrize("name", ["index.html", FIRST, "papers.html"])
def test_on_paper_all_is_open_and_nothing_is_cut(chromium, made, name):
    """As wide as an A4 page is to a browser that prints."""
    open_page(chromium, made[0] / name, size=(760, 900))
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        chromium.execute_script("dispatchEvent(new Event('beforeprint'))")
        assert not find(chromium, "details:not([open])") and list_shown(chromium, "table", "class")
        wide = "return [...document.querySelectorAll('table')].filter((one) => one.offsetWidth > 728).length"
        assert chromium.execute_script(wide) == 0
        assert not list_shown(chromium, ".sort, .filter, nav", "class")
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


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
        scale = 1 if colour.startswith("color(srgb") else 255
        part = np.array([float(one) for one in re.findall(r"\d[\d.e-]*", colour)[:3]]) / scale
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(levels) / min(levels)


FAINT = """
const read = (colour) => {
  const numbers = colour.match(/[\\d.e-]+/g).slice(0, 3).map(Number), scale = colour.startsWith("color(srgb") ? 1 : 255;
  const bend = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  const linear = numbers.map((one) => bend(one / scale));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05;
};
document.querySelectorAll("details").forEach((one) => { one.open = true; });
const seen = (one) => one.checkVisibility() && !one.closest(".unseen, .skip");
const bare = (node) => node.nodeType === 3 && node.data.trim();
const words = [...document.body.querySelectorAll("*")].filter((one) => seen(one) && [...one.childNodes].some(bare));
return words.flatMap((one) => {
  let ground = one;
  while (ground && getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const style = getComputedStyle(one), ink = one instanceof SVGElement ? style.fill : style.color;
  const levels = [ink, ground ? getComputedStyle(ground).backgroundColor : "rgb(255, 255, 255)"].map(read);
  const contrast = Math.max(...levels) / Math.min(...levels), size = parseFloat(style.fontSize);
  const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
  return contrast < least ? [`${one.outerHTML.slice(0, 120)}: ${contrast.toFixed(2)}`] : [];
}).concat(words.length ? [] : ["no words"]);
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_words_stand_out_in_light_and_in_dark(chromium, made, dark):
    """WCAG's AA of every word of a page of each kind, with all of it opened."""
    for name in ("index.html", FIRST, f"clips-{FIRST}", "method-one.html", "method-train_mean.html", "papers.html"):
        open_page(chromium, made[0] / name, dark=dark)
        ground = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground))) < 150) == dark
        assert chromium.execute_script(FAINT) == [], name
    assert read_console(chromium) == []


def test_a_name_that_is_a_script_is_a_name(page, made):
    open_page(page, made[0] / SECOND)
    shown = [cell.text for cell in find(page, "tr[data-row] th > a")]
    assert shown[:2] == [HOSTILE, ALSO_HOSTILE]
    assert not find(page, "img") and len(find(page, "script")) == 1
    page.find_element("id", "by-text").send_keys("<script")
    assert list_shown(page, "tr[data-row]", "data-method") == [HOSTILE]
    open_page(page, made[0] / "index.html")
    assert find(page, ".grid tbody th")[0].text == HOSTILE and not find(page, "img")


def test_scripts_that_are_not_ours_are_refused(chromium, made, tmp_path):
    """Were a name to break out, the page's policy would still stop it; a style of its own too."""
    broken = f"{HOSTILE}<img src=x onerror=alert(2)><script src='data:,alert(3)'></script><style>*{{color:red}}</style>"
    text = (made[0] / FIRST).read_text().replace("<main", f"{broken}<main", 1)
    (tmp_path / "index.html").write_text(text)
    for name in ("board.css", "board.js"):
        shutil.copyfile(made[0] / name, tmp_path / name)
    open_page(chromium, tmp_path / "index.html")
    console = "\n".join(read_console(chromium))
    assert console.count("Content Security Policy") == 4
    assert page_works(chromium)


def page_works(browser: Any) -> bool:
    find(browser, ".board thead button")[0].click()  # raises where a dialog is open
    return find(browser, ".board th")[0].get_attribute("aria-sort") == "ascending"


def test_without_a_script_films_are_links(chromium, made):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        open_page(chromium, made[0] / FIRST)
        assert find(chromium, ".board") and not chromium.find_element("id", "filter").is_displayed()
        open_page(chromium, made[0] / f"clips-{FIRST}")
        assert find(chromium, "a.shot")[0].get_attribute("href").endswith(".webm")
        assert not find(chromium, ".play")[0].is_displayed()
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_published_videos_stand_apart_and_are_no_rows_of_the_ranking(chromium, made, tmp_path, size):
    write_published(tmp_path / "results", ABOUT | {"licence": ALSO_HOSTILE}, make_scored())
    shown = show_sets(read_published(tmp_path / "results"))
    write_site(made[1], made[2], tmp_path / "site", published=shown)
    open_page(chromium, tmp_path / "site" / "published.html", size=size)
    page, screen = chromium.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert page <= screen == size[0]
    assert find(chromium, "h1 .badge")[0].text == "real recordings"
    section = chromium.find_element("id", "published-seed_dv-eeg2video")
    badges = [one.text for one in section.find_elements("css selector", ".badge")]
    assert badges == ["real", "chosen by their authors"]
    assert ALSO_HOSTILE in section.text and shown[0].parts[0].verdict in section.text
    assert not find(chromium, "[data-row]") and not find(chromium, "img")
    link = section.find_element("css selector", "a")
    assert link.get_attribute("href") == ABOUT["source"] and "noopener" in link.get_attribute("rel")
    for dark in (False, True):
        open_page(chromium, tmp_path / "site" / "published.html", size=size, dark=dark)
        for selector in (".badge.real", ".verdict", "table.published td"):
            assert measure_contrast(chromium, selector) >= 4.5, selector
    assert read_console(chromium) == []
