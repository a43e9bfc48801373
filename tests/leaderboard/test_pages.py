"""Tables of committed results in hand-written pages: what they say is what the results make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bench
from bench.api.publishing import stale_pages
from leaderboard import pages
from leaderboard.papers.study_block import StudyBlockError, remake_studies
from leaderboard.results import RESULTS, Committed, read_results

ROOT = RESULTS.parents[1]
MARK = "<!-- board dataset=phantom_eeg split=cross_subject methods=sam_net,retrieval metrics=ssim minus=retrieval -->\n"


@pytest.fixture(scope="module")
def scores():
    return read_results()


@pytest.fixture(scope="module")
def committed():
    return Committed(RESULTS)


def test_the_pages_state_what_is_committed(scores, committed):
    """`python -m bench board` makes their tables anew."""
    found = [path for path in pages.find_pages(ROOT) if pages.MARK.search(path.read_text(encoding="utf-8"))]
    assert {path.parent.name for path in found} >= {"sam_net", "cine_neuron"}
    assert stale_pages(committed, scores, ROOT) == []


def test_a_table_is_of_the_plain_means_and_replaces_what_stood_there(scores, committed, tmp_path: Path):
    page = tmp_path / "README.md"
    page.write_text(f"Before\n\n{MARK}| old |\n|---|\n| .999 |\n\nAfter\n", encoding="utf-8")
    assert stale_pages(committed, scores, tmp_path) == ["README.md"]
    assert stale_pages(committed, scores, tmp_path, write=True) == ["README.md"]
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"Before\n\n{MARK}| cross_subject, 6 subjects |") and text.endswith("|\n\nAfter\n")
    assert ".999" not in text and stale_pages(committed, scores, tmp_path) == []
    rows = scores.query("dataset == 'phantom_eeg' and split == 'cross_subject' and metric == 'ssim'")
    rows = rows[(rows["protocol"] == "corrected") & (rows["variant"] == "base")]
    ours, other = (rows[rows["method"] == name] for name in ("sam_net", "retrieval"))
    cells = [cell.strip() for cell in text.splitlines()[5].strip("|").split("|")]
    assert cells[0] == "SSIM"
    assert cells[1].startswith(f"{ours['value'].mean():.3f}".removeprefix("0"))
    assert cells[2].startswith(f"{(ours['value'] - ours['shuffled']).mean():.3f}".removeprefix("0"))
    assert cells[3] == f"{other['value'].mean():.3f}".removeprefix("0")
    paired = ours[ours["seed"] == 0]["value"].mean() - other["value"].mean()  # `retrieval` has one seed
    assert float(re.match(r"-?\.\d+", cells[4])[0]) == pytest.approx(paired, abs=6e-4)


def test_a_column_may_be_a_variant(scores):
    about = {"dataset": "phantom_eeg", "split": "cross_subject", "metrics": "frame_40way"}
    names = "ridge_eeg,ridge_eeg.nearest_caption"
    _, _, line = pages.make_table({**about, "methods": names, "minus": "ridge_eeg.regressed"}, scores, "here")
    rows = scores.query("method == 'ridge_eeg' and metric == 'frame_40way' and protocol == 'corrected'")
    rows = rows[(rows["split"] == "cross_subject") & (rows["dataset"] == "phantom_eeg")]
    mean = rows.groupby("variant")["value"].mean()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1].startswith(f"{mean['base']:.3f}".removeprefix("0"))
    assert cells[3] == f"{mean['nearest_caption']:.3f}".removeprefix("0")
    assert float(re.match(r"-?\.\d+", cells[4])[0]) == pytest.approx(mean["base"] - mean["regressed"], abs=6e-4)
    assert mean.nunique() == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("split=cross_subject ", "lacks split="),
        ("minus=", "has 'subtract'"),
        ("ssim", "no committed scores of sam_net"),
    ],
)
def test_a_comment_that_asks_for_what_is_not_there_is_refused(scores, change, said):
    mark = MARK.replace(change, {"minus=": "subtract=", "ssim": "beauty"}.get(change, ""))
    with pytest.raises(pages.PageError, match=re.escape(said)):
        pages.remake(mark, pages.part_scores(scores), "README.md")


def test_a_study_in_a_page_says_what_the_study_says(committed, scores, tmp_path: Path):
    """Each cell against the command's own table; a number that stands there by hand is replaced."""
    page = tmp_path / "README.md"
    mark = '<!-- study table=sam_net.3 columns="Video-based 2-way,SSIM" rows=F,H -->\n'
    page.write_text(f"Before\n\n{mark}| .999 |\n\nAfter\n", encoding="utf-8")
    assert stale_pages(committed, scores, tmp_path, write=True) == ["README.md"]
    assert stale_pages(committed, scores, tmp_path) == []
    text = page.read_text(encoding="utf-8")
    head, _, *lines = [line.strip("|\n").split("|") for line in text.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in head][1:3] == ["Video-based 2-way", "SSIM"] and text.endswith("|\n\nAfter\n")
    study = bench.study("sam_net.3", published=True).table.set_index(["variant", "column"])
    assert len(lines) == 2 and ".999" not in text
    for line, variant in zip(lines, ("wo_occipital", "wo_embedding"), strict=True):
        assert f"`{variant}`" in line[0]
        for cell, column in zip(line[1:3], ("Video-based 2-way", "SSIM"), strict=True):
            row = study.loc[variant, column]
            told = [float(number) for number in re.findall(r"-?[0-9]*\.[0-9]+", cell.partition(", no effect")[0])]
            level = row["decided_at"]
            there = [row[f"{level}_{name}"] for name in ("difference", "low", "high")]
            assert told == pytest.approx([one for one in there if one == one], abs=6e-4)
            verdict = cell.partition("], ")[2].partition(" (")[0].strip()
            assert verdict == row["verdict"] or "larger" in verdict
            assert ("of 5 seeds" in cell) == (row["seeds"] < 5)


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("table=sam_net.3", "must hold table= and columns="),
        ("table=sam_net.3 columns=SSIM colour=red", "must hold table= and columns="),
        ("table=sam_net.3 columns=Beauty", "nothing that is named 'Beauty'"),
        ("table=sam_net.3 columns=SSIM rows=Z", "nothing that is named 'Z'"),
    ],
)
def test_a_study_that_is_not_there_is_refused(mark, said):
    table = bench.study("sam_net.3", published=True).table
    with pytest.raises(StudyBlockError, match=re.escape(said)):
        remake_studies(f"<!-- study {mark} -->\n", lambda name: table, "README.md")
