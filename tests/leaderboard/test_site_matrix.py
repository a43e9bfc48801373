"""The first screen: who leads where, above which floor, on what kind of recording; the command line's own verdicts."""

from __future__ import annotations

import pandas as pd
import pytest
from browser import find, list_shown, open_browser, open_page, press, read_console
from published_sets import ABOUT, make_scored
from small_site import HOSTILE, Site, make_site, read_page

from leaderboard.board import make_board
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
