"""The report page in a real browser, from a file: phone, desk, dark, paper; no request, nothing that runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DESK, find, open_browser, open_page, read_console
from small_report import make_report

PHONE = (390, 844)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(make_report(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium():
    with open_browser() as browser:
        yield browser


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_no_screen_scrolls_sideways_and_all_pictures_load(chromium, made, size, dark):
    open_page(chromium, made, size=size, dark=dark)
    wide = "return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]"
    page, body, screen = chromium.execute_script(wide)
    assert page <= screen == size[0] and body <= screen
    inside = """return [...document.querySelectorAll('.metric *, .pick *, header *, footer *')].filter((one) =>
        one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 0.5).map((one) => one.outerHTML)"""
    assert chromium.execute_script(inside) == []
    shown = "return [...document.images].map((one) => one.complete && one.naturalWidth)"
    assert chromium.execute_script(shown) == [128] * 9
    assert read_console(chromium) == []


def test_nothing_is_requested(chromium, made):
    open_page(chromium, made)
    entries = chromium.execute_script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert all(one.startswith("data:") for one in entries)
    assert not find(chromium, "script") and len(find(chromium, "img")) == 9


def test_bars_are_drawn_where_the_numbers_are(chromium, made):
    open_page(chromium, made)
    script = """return [...document.querySelectorAll('.metric')[1].querySelectorAll('rect')]
        .map((one) => one.getBoundingClientRect().width)"""
    own, *floors = chromium.execute_script(script)
    widths = np.array([own, *floors])
    expected = np.array([0.2583, 0.4, 0.31, 0.2, 0.1])  # these videos; then the floors, best first
    np.testing.assert_allclose(widths / widths[1], expected / 0.4, atol=0.01)


def measure_contrast(browser: Any, selector: str) -> float:
    """WCAG's contrast of the text of an element with the nearest ground that is painted (2.1, 1.4.3)."""
    script = """
    let one = arguments[0]; const ink = getComputedStyle(one).color;
    while (one && getComputedStyle(one).backgroundColor === "rgba(0, 0, 0, 0)") one = one.parentElement;
    return [ink, one ? getComputedStyle(one).backgroundColor : "rgb(255, 255, 255)"];
    """
    levels = []
    for colour in browser.execute_script(script, find(browser, selector)[0]):
        part = np.array([int(one) for one in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
        levels.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(levels) / min(levels)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_stand_out(chromium, made, dark):
    open_page(chromium, made, dark=dark)
    ground = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 150) == dark
    for selector in ("h1", ".verdict", ".facts dt", ".standing.good", ".standing.bad", ".standing.open", ".label",
                     ".interval", ".metric p.quiet", ".pick p", "pre code", "footer"):  # fmt: skip
        assert measure_contrast(chromium, selector) >= 4.5, selector


def test_stills_take_the_place_of_moving_pictures_where_motion_is_to_be_reduced(chromium, made):
    open_page(chromium, made, calm=True)
    script = """const picture = document.querySelector('.pick picture'), shown = picture.querySelector('img');
        return [shown.currentSrc === picture.querySelector('source').srcset, shown.currentSrc === shown.src]"""
    assert chromium.execute_script(script) == [True, False]
    open_page(chromium, made)
    assert chromium.execute_script(script) == [False, True]


def test_it_prints_on_few_pages_in_dark_ink(chromium, made):
    open_page(chromium, made, dark=True)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        ink, ground = chromium.execute_script(
            "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
        )
        assert (ink, ground) == ("rgb(27, 29, 33)", "rgb(255, 255, 255)")
        said = "return [...document.querySelectorAll('details li')].map((one) => one.getBoundingClientRect().height)"
        heights = chromium.execute_script(said)
        assert heights and min(heights) > 5, "what was not computed is folded away, and paper does not unfold"
        beside = "return getComputedStyle(document.querySelector('.metrics')).gridTemplateColumns.split(' ').length"
        assert chromium.execute_script(beside) == 2
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
