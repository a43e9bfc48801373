"""A study for raters: what its files say and do not say, and its page in a browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from browser import PHONE, click, open_browser, open_page, read_console, wait
from studies import make_study
from walls import CLIPS, make_cells, make_dataset

import bench
from leaderboard.web.human import QUESTIONS, HumanError, build_study, tally


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return make_study(tmp_path_factory.mktemp("human"))


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Path:
    """Two clips, two videos each."""
    return make_study(tmp_path_factory.mktemp("short"), methods=("alpha_net", "beta_net"), count=2, shuffled=False)


# As files


def test_the_page_does_not_say_what_is_what(study):
    page = (study / "page" / "index.html").read_text()
    key = json.loads((study / "key.json").read_text())
    assert len(key["items"]) == 4 * len(CLIPS)  # two methods and their shuffled brains
    shown = json.loads(page.partition('id="study">')[2].partition("</script>")[0])
    assert sorted(item for clip in shown["clips"] for item in clip["items"]) == sorted(key["items"])
    assert {name for clip in shown["clips"] for name in clip} == {"truth", "items"}
    assert {path.name.split(".")[0] for path in (study / "page" / "media").iterdir()} == {
        *key["items"],
        *(clip["truth"] for clip in shown["clips"]),
    }
    places = {name: place for clip in shown["clips"] for place, name in enumerate(clip["items"])}
    by_method = [
        [places[name] for name, about in key["items"].items() if about["method"] == one] for one in ("one", "two")
    ]
    assert all(len(set(one)) > 2 for one in by_method)  # no method has its place


def test_no_name_is_in_the_page(short):
    page = (short / "page" / "index.html").read_text()
    methods = {about["method"] for about in json.loads((short / "key.json").read_text())["items"].values()}
    assert methods == {"alpha_net", "beta_net"}
    assert not [word for word in (*methods, "phantom", "cross_subject", "shuffled brain") if word in page]


def test_the_same_study_has_the_same_files_and_another_seed_other_names(tmp_path):
    names = []
    for number, seed in enumerate((5, 5, 6)):
        folder = make_study(tmp_path / str(number), count=2, seed=seed)
        names.append({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")})
    assert names[0] == names[1] and not set(names[0]) & {one for one in names[2] if one.suffix == ".webm"}


def test_a_study_is_not_overwritten_and_not_empty(study, tmp_path):
    with pytest.raises(HumanError, match="name a new folder"):
        make_study(study.parent)
    with pytest.raises(HumanError, match="no reconstructions of one base"):
        build_study({("one", "base"): []}, make_dataset(), tmp_path / "new")
    with pytest.raises(HumanError, match="at least one"):
        build_study({}, make_dataset(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_licensed_study_says_that_it_is_not_to_be_passed_on(tmp_path):
    cells = make_cells(tmp_path / "runs", methods=("one",), dataset="seed_dv")
    page = build_study({("one", "base"): cells}, make_dataset("seed_dv"), tmp_path / "study", count=1)
    assert "do not publish" in (page.parent / "NOTE.txt").read_text()


# In the browser


@pytest.fixture(scope="module")
def downloads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(downloads):
    with open_browser(downloads) as browser:
        yield browser


def sign_in(browser: Any, study: Path, rater: str, **screen: Any) -> None:
    from selenium.webdriver import Keys

    open_page(browser, study / "page" / "index.html", **screen)
    browser.find_element("id", "rater").send_keys(rater, Keys.ENTER)


def test_a_rater_judges_by_keyboard_and_the_file_is_tallied(chromium, short, downloads):
    from selenium.webdriver import ActionChains, Keys

    sign_in(chromium, short, "ann")
    ratings = (4, 3, 5, 2)
    for number in (1, 2):
        assert chromium.find_element("id", "where").text == f"Clip {number} of 2"
        keys = [Keys.TAB]  # from the heading to "Play all"
        for _ in range(2):  # videos
            for rating in ratings:  # questions: into the group, its first, and on to the rating
                keys += [Keys.TAB, Keys.SPACE, *[Keys.ARROW_RIGHT] * (rating - 1)]
        back = [] if number == 1 else [Keys.TAB]  # is disabled at the first clip
        ActionChains(chromium).send_keys(*keys, *back, Keys.TAB, Keys.ENTER).perform()
    assert chromium.find_element("id", "thanks").is_displayed()
    ActionChains(chromium).send_keys(Keys.TAB, Keys.TAB, Keys.ENTER).perform()
    path = downloads / "answers-ann.json"
    wait(path.is_file)
    table = tally([path], short / "key.json").set_index(["question", "method"])
    for question, rating in zip(QUESTIONS, ratings, strict=True):
        assert (table.loc[question]["value"] == rating).all()
    assert read_console(chromium) == []


def test_answers_are_there_again_when_the_page_is_loaded_again(chromium, short):
    sign_in(chromium, short, "kim")
    ends = [one.text for one in chromium.find_elements("css selector", ".end")]
    assert ends[:2] == ["not at all", "fully"] and len(ends) == 2 * 8
    radios = chromium.find_elements("css selector", "#items input[value='4']")
    for one in radios:
        click(chromium, one)
    click(chromium, chromium.find_element("id", "next"))
    click(chromium, chromium.find_elements("css selector", "#items input")[0])
    sign_in(chromium, short, "lee")  # somebody else on the same machine
    assert chromium.find_element("id", "where").text == "Clip 1 of 2"
    assert not chromium.find_elements("css selector", "#items input:checked")
    sign_in(chromium, short, "kim")
    assert chromium.find_element("id", "where").text == "Clip 2 of 2"
    assert len(chromium.find_elements("css selector", "#items input:checked")) == 1
    click(chromium, chromium.find_element("id", "back"))
    checked = chromium.find_elements("css selector", "#items input:checked")
    assert [one.get_attribute("value") for one in checked] == ["4"] * 8
    chromium.execute_script("document.getElementById('forget').click()")
    sign_in(chromium, short, "kim")
    assert not chromium.find_elements("css selector", "#items input:checked")
    assert read_console(chromium) == []


def test_a_rater_chooses_the_best_of_a_group_and_the_file_is_tallied(chromium, tmp_path, downloads):
    folder = make_study(tmp_path, methods=("alpha_net", "beta_net"), shuffled=False, form="preference", each=2)
    key = json.loads((folder / "key.json").read_text())
    sign_in(chromium, folder, "pat", size=PHONE)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    assert not {"alpha", "beta"} & set((folder / "page" / "index.html").read_text().replace("_", " ").split())
    wanted = {name for name, about in key["items"].items() if about["method"] == "beta_net"}
    for number in (1, 2):
        assert chromium.find_element("id", "where").text == f"Clip {number} of 2"
        click(chromium, chromium.find_element("id", "next"))
        assert chromium.find_element("id", "alert").text == "4 questions have no answer yet."
        for one in chromium.find_elements("css selector", "#items input"):
            if one.get_attribute("value") in wanted:
                click(chromium, one)
        click(chromium, chromium.find_element("id", "next"))
    click(chromium, chromium.find_element("id", "download"))
    path = downloads / "answers-pat.json"
    wait(path.is_file)
    table = bench.tally_study(folder / "key.json", [path]).set_index(["question", "method"])
    for question in QUESTIONS:
        assert table.loc[(question, "beta_net"), "value"] == 1 and table.loc[(question, "alpha_net"), "value"] == 0
    assert read_console(chromium) == []


def test_videos_play_and_what_is_open_is_asked_for(chromium, short):
    sign_in(chromium, short, "bob")
    videos = chromium.find_elements("css selector", "#judge video")
    assert len(videos) == 3
    click(chromium, chromium.find_element("id", "play"))
    moved = "return [...document.querySelectorAll('#judge video')].every((one) => one.currentTime > 0.2)"
    wait(lambda: chromium.execute_script(moved))
    click(chromium, chromium.find_element("id", "next"))
    assert chromium.find_element("id", "alert").text == "8 questions have no answer yet."
    assert len(chromium.find_elements("css selector", "fieldset.lacking")) == 8
    assert chromium.switch_to.active_element.get_attribute("type") == "radio"
    assert read_console(chromium) == []


def test_letters_are_dealt_anew_for_each_rater(chromium, study):
    orders = []
    for rater in ("cy", "di", "cy"):
        sign_in(chromium, study, rater)
        shown = "return [...document.querySelectorAll('#judge video')].map((one) => one.getAttribute('src'))"
        orders.append(chromium.execute_script(shown))
    assert orders[0] == orders[2] != orders[1]
    assert all(len(set(order)) == 5 for order in orders)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_does_not_scroll_sideways(chromium, study, dark):
    sign_in(chromium, study, "eve", size=PHONE, dark=dark)
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= PHONE[0]
    ground = chromium.execute_script("return getComputedStyle(document.querySelector('.reference')).backgroundColor")
    assert (sum(int(part) for part in ground[4:-1].split(",")) < 150) == dark
    assert read_console(chromium) == []


def test_on_paper_no_button_is_left_and_no_video_is_torn_from_its_questions(chromium, study):
    sign_in(chromium, study, "on_paper")
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        seen = "return [...document.querySelectorAll(arguments[0])].filter((one) => one.checkVisibility()).length"
        assert [chromium.execute_script(seen, what) for what in ("button", "progress", ".paper")] == [0, 0, 1]
        whole = "return [...document.querySelectorAll('.item')].map((one) => getComputedStyle(one).breakInside)"
        assert set(chromium.execute_script(whole)) == {"avoid"}
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_ids_that_no_tally_would_take_do_not_begin(chromium, short):
    for rater in ("a b", "<b>", "é"):
        sign_in(chromium, short, rater)
        assert chromium.find_element("id", "start").is_displayed(), rater
