"""A real headless Chromium for the tests of pages; they skip where the machine has none."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PHONE, DESK = (360, 740), (1280, 900)


@contextmanager
def open_browser(downloads: Path | None = None) -> Iterator[Any]:
    """A driver whose console is recorded. What pages download goes into `downloads`."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver on this machine: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is in the extra: pip install -e .[dev]")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox does not start as root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    browser.set_script_timeout(20)
    try:
        if downloads is not None:
            where = {"behavior": "allow", "downloadPath": str(downloads)}
            browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
        yield browser
    finally:
        browser.quit()


def open_page(
    browser: Any, page: Path, *, size: tuple[int, int] = DESK, dark: bool = False, calm: bool = False
) -> None:
    """Load a file as a screen of this size shows it, in light or dark, with or without motion."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.resolve().as_uri())


def read_console(browser: Any) -> list[str]:
    """Errors and warnings since it was last asked."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def wait(condition: Callable[[], Any], *, seconds: float = 10.0) -> Any:
    """What the condition gives once it is true; fails after the time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {condition}"
        time.sleep(0.02)
    return found


def find(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements("css selector", selector)


def press(browser: Any, *keys: str) -> None:
    """Keys, to whatever has the focus."""
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def list_shown(browser: Any, selector: str, attribute: str) -> list[str]:
    """An attribute of the elements that can be seen, by scrolling at most."""
    script = "return [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility())"
    return browser.execute_script(f"{script}.map((one) => one.getAttribute(arguments[1]))", selector, attribute)


def click(browser: Any, element: Any) -> None:
    """At once where the page is still scrolling smoothly."""
    browser.execute_script("arguments[0].scrollIntoView({ behavior: 'instant', block: 'center' })", element)
    element.click()
