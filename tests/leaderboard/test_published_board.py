"""Published sets on the board: told apart from phantoms, never ranked, remade from the committed scores alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from published_sets import ABOUT, make_scored
from small_site import make_site

from bench.cli import main
from leaderboard.publication import write_board, write_markdown
from leaderboard.published import read_published, write_published
from leaderboard.published_board import escape, set_rows, show_sets, write_sets
from leaderboard.web.site import write_site


@pytest.fixture
def shown(tmp_path: Path):
    """A chosen set of real videos, and a whole one of a phantom."""
    write_published(tmp_path, ABOUT, make_scored())
    whole = {"name": "drawn", "dataset": "phantom_eeg", "method": "mine", "chosen": False, "of": 3, "subject": 2}
    write_published(tmp_path, ABOUT | whole, make_scored())
    return show_sets(read_published(tmp_path))


def test_sets_say_what_they_are(shown):
    drawn, real = shown
    assert (drawn.title, drawn.phantom, drawn.chosen) == ("phantom_eeg: mine", True, False)
    assert drawn.facts[:2] == ("3 of 3 clips, the whole set", "subject 2")
    assert (real.title, real.phantom, real.chosen) == ("seed_dv: eeg2video", False, True)
    assert real.facts[:3] == ("3 of 200 clips, chosen by their authors", "subject not said", "licence: none stated")
    assert real.facts[4:] == ("suite light, judge vit-judge",)
    (part,) = real.parts
    assert list(part.summary["metric"]) == ["frame_40way", "ssim", "fvd"]  # as their protocol has them
    assert part.verdict.endswith("their authors chose these 3 clips, so nothing follows for the others.")
    assert "chose" not in drawn.parts[0].verdict


def test_what_was_not_computed_is_said(tmp_path):
    absent = make_scored().iloc[:2].assign(metric=["video_40way", "video_40way_normalised"], status="left out")
    write_published(tmp_path, ABOUT, pd.concat([make_scored(), absent.assign(clip="(all clips)", value=float("nan"))]))
    (shown,) = show_sets(read_published(tmp_path))
    assert shown.facts[-1] == "not computed: Video"


def test_the_page_tells_real_from_drawn_and_ranks_nothing(shown):
    text = write_sets(shown)
    assert "### phantom_eeg: mine (phantom)\n" in text
    assert "### seed_dv: eeg2video · *chosen*\n" in text
    assert "## Published videos\n" in text and "## Published videos (real recordings)\n" in write_sets(shown[1:])
    assert "ranked with nothing" in text and "tier" not in text
    row = next(line for line in text.splitlines() if line.startswith("| Frames, 40-way ↑"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert re.fullmatch(r"0\.\d+ \[-?\d\.\d+, \d\.\d+\]", cells[1]) and cells[2] == "0.0250" and len(cells) == 8


def test_the_numbers_for_programs_are_those_of_the_rows(shown, tmp_path):
    table = set_rows(shown)
    mine = table[(table["set"] == ABOUT["name"]) & (table["metric"] == "ssim")].iloc[0]
    expected = make_scored().query("metric == 'ssim'")
    assert mine["value"] == pytest.approx(expected["value"].mean(), rel=1e-5)
    assert mine["constant_grey"] == pytest.approx(expected["constant_grey"].mean(), rel=1e-5)
    assert mine["verdict"] == shown[1].parts[0].verdict and bool(mine["chosen"]) and not mine["phantom"]
    files = write_board([], tmp_path / "board", published=shown)
    read = pd.read_csv(tmp_path / "board" / "published.csv")
    assert len(read) == len(table) == len(json.loads((tmp_path / "board" / "published.json").read_text()))
    assert {"published.csv", "published.json"} < {path.name for path in files}
    assert {path.name for path in write_board([], tmp_path / "other")} == {"LEADERBOARD.md", "board.csv", "board.json"}


def test_phantoms_alone_are_ranked_and_the_page_says_where_the_real_ones_are(shown, tmp_path):
    _, sections, _, _ = make_site(tmp_path)
    assert "of real recordings stands under" in write_markdown(sections, [], published=shown)
    assert "of real recordings stands under" not in write_markdown(sections, [], published=shown[:1])
    assert "of real recordings stands under" not in write_markdown(sections, [])


def test_what_others_wrote_is_shown_as_it_is(tmp_path):
    hostile = "<script>alert(1)</script> | [a](javascript:b) *c*"
    write_published(tmp_path / "results", ABOUT | {"licence": hostile}, make_scored())
    shown = show_sets(read_published(tmp_path / "results"))
    text = write_sets(shown)
    assert "<script>" not in text and "[a](" not in text and r"\<script\>alert(1)\</script\>" in text
    write_site([], [], tmp_path / "site", reported=[], published=shown)
    page = (tmp_path / "site" / "published.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert escape("a_b") == r"a\_b"


def test_a_board_of_published_sets_alone_is_made_and_checked(tmp_path, capsys):
    results, place = tmp_path / "results", tmp_path / "board"

    def board(*more: str) -> int:
        return main(["board", "--results", str(results), "--output", str(place), *more])

    assert board() == 1 and "no committed results" in " ".join("".join(capsys.readouterr()).split())
    write_published(results, ABOUT, make_scored())
    assert board() == 0 and board("--check") == 0
    page = (place / "site" / "published.html").read_text()
    assert 'id="published-seed_dv-eeg2video"' in page and "chosen by their authors" in page
    before = (place / "published.csv").read_bytes()
    write_published(results, ABOUT, make_scored(clips=4))
    assert board("--check") == 1 and (place / "published.csv").read_bytes() == before
    assert "published.csv" in "".join(capsys.readouterr())


def test_what_two_protocols_of_ours_share_is_shown_once_and_the_paper_s_own_comes_first(tmp_path):
    ours = make_scored()
    real = ours.assign(protocol="real").replace({"metric": {"fvd": "frame_frechet"}})
    found = ours[ours["metric"] == "ssim"].assign(protocol="real", metric="frame_retrieval_top1")
    paper = ours[ours["metric"] == "frame_40way"].assign(protocol="eeg2video", chance=3 / 42)
    write_published(tmp_path, ABOUT, pd.concat([ours, real, found, paper], ignore_index=True))
    (shown,) = show_sets(read_published(tmp_path))
    assert [part.protocol for part in shown.parts] == ["eeg2video", "corrected", "real"]
    assert list(shown.parts[0].summary["metric"]) == ["frame_40way"]
    assert set(shown.parts[1].summary["metric"]) == {"frame_40way", "ssim", "fvd"}
    assert set(shown.parts[2].summary["metric"]) == {"frame_frechet", "frame_retrieval_top1"}
    assert "finding the clip again" in shown.parts[2].verdict and "SSIM" not in shown.parts[2].verdict
