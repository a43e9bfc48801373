"""Tables that fit a terminal: what is drawn and said is the table's, and nothing is wider than 100 columns."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import bench
from bench.cli import main
from leaderboard import narrow
from leaderboard.comparison import compare_methods
from leaderboard.results import RESULTS, read_results
from leaderboard.tables import result_table
from metrics.protocols import PROTOCOLS

ROW = {"value": 0.5, "low": 0.4, "high": 0.6, "floor": 0.0, "ceiling": 1.0, "mark": "", "direction": "higher"}


def bar(**changes) -> str:
    return narrow.draw_bar({**ROW, **changes})


def test_a_bar_runs_from_the_floor_to_the_ceiling() -> None:
    assert len({len(bar()), len(bar(value=-1.0)), len(bar(floor=np.nan))}) == 1
    assert bar(value=0.0, low=0.0, high=0.0)[1] == "●" and bar(value=1.0, low=1.0, high=1.0)[-2] == "●"
    middle = bar(value=0.5, low=0.25, high=0.75)
    assert abs(middle.index("●") - len(middle) / 2) <= 1 and middle.count("─") == pytest.approx(narrow.BAR / 2, abs=2)
    assert bar(value=-0.2)[0] == "◂" and bar(value=1.2)[-1] == "▸"
    fewer = {"direction": "lower", "floor": 9.0, "ceiling": 1.0}  # of an error the floor is the greater number
    assert bar(**fewer, value=8.9, low=8.8, high=9.0)[1] == "●" and bar(**fewer, value=12.0)[0] == "◂"
    assert not bar(floor=1.0, ceiling=0.5).strip() and not bar(mark="n.s., share meaningless").strip()


def test_an_interval_has_the_decimals_of_its_size() -> None:
    assert narrow.tell_interval(ROW) == "0.500 [0.400, 0.600]"
    assert narrow.tell_interval({**ROW, "value": 123.4, "low": 100.0, "high": 150.0}) == "123 [100, 150]"
    assert narrow.tell_interval({**ROW, "value": 0.0, "low": -0.02, "high": 0.02}) == "0.0000 [-0.0200, 0.0200]"
    assert narrow.tell_interval({**ROW, "low": np.nan, "high": np.nan}) == "0.500"


@pytest.mark.parametrize("dataset", ["phantom_eeg", "phantom_fmri"])
def test_what_is_said_of_what_is_committed_is_its_own(dataset, capsys) -> None:
    assert main(["table", "--published", "--dataset", dataset]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= narrow.WIDTH
    table = bench.table(dataset=dataset, published=True)
    scores = read_results(dataset=dataset)
    for split, rows in table.groupby("split"):
        (metric, *_) = narrow.choose_metrics(rows)
        seen = rows[rows["metric"] == metric].set_index("method")
        part = said.partition(f"(phantom), {split},")[2].partition(" suite mini:")[2].partition("(phantom)")[0]
        block = part.partition("↑")[2].partition("↑")[0]
        shown = re.findall(r"^  (\w+) +([\d.]+) \[", block, re.MULTILINE)
        assert [float(value) for _, value in shown] == sorted((float(value) for _, value in shown), reverse=True)
        assert {name: pytest.approx(float(value), abs=6e-4) for name, value in shown} == seen["value"].to_dict()
        for name, row in seen.iterrows():
            (line,) = re.findall(rf"^  {name} .*$", block, re.MULTILINE)
            assert ("floor" in line.rpartition("│")[2]) == ("floor" in str(row["mark"])), line
        words = " ".join(part.split())
        leader, other = re.search(r"(\w+) is first of .* It is (?:better than|not told from) (\w+):", words).groups()
        assert [leader, other] == seen["value"].sort_values(ascending=False).index[:2].tolist()
        there = scores[(scores["split"] == split) & (scores["metric"] == metric) & (scores["protocol"] == "corrected")]
        (made,) = compare_methods(there, (leader, "base"), (other, "base")).to_dict("records")
        assert ("It is better than" in words) == (made["a_minus_b_low"] > 0)


def test_a_comparison_and_an_ablation_fit_and_end_in_words(capsys) -> None:
    retired = ["--results", str(RESULTS.parent / "retired" / "2026-11-26")]
    for words, end in (
        (["compare", "sam_net", "retrieval", "--published", "--split", "cross_subject"], "no proof of equality."),
        (["table", "--ablation", "csa", *retired], "not judged (needs 3 seeds)."),
    ):
        assert main(words) == 0
        said = capsys.readouterr().out
        assert max(map(len, said.splitlines())) <= narrow.WIDTH and end in said
        assert main([*words, "--wide"]) == 0
        assert capsys.readouterr().out.startswith("| ")


def test_verdicts_name_what_was_found() -> None:
    rows = pd.DataFrame(
        {
            "variant": ["wo_a", "wo_b", "wo_c"],
            "metric": "ssim",
            "verdict": ["worse than base", "not distinguished", ""],
            "warning": ["", "", "needs 3 seeds"],
        }
    )
    assert narrow.tell_ablated(rows) == (
        "Worse than base: wo_a in SSIM; 1 of 3 differences not told from the base; "
        "1 of 3 differences not judged (needs 3 seeds)."
    )
    better = pd.DataFrame({"metric": ["ssim", "psnr", "epe"], "better": ["a", "", ""]})
    said = narrow.tell_difference(better, "a", "b")
    assert said == "a is better in 1 of 3 metrics (SSIM); 2 are not distinguished, which is no proof of equality."


def test_a_row_that_is_not_done_is_neither_first_nor_compared_with(tmp_path) -> None:
    scores = read_results(dataset="phantom_eeg").query("protocol == 'corrected' and metric == 'video_40way'")
    scores = scores[scores["split"] == "single_subject"]
    cut = scores[~((scores["method"] == "ridge") & (scores["subject"] > 2))]  # two of nine folds
    cut.loc[cut["method"] == "ridge", "value"] = 1.0
    table = narrow.note_verdicts(result_table(cut), cut, PROTOCOLS)
    (said,) = table.attrs["verdicts"].values()
    assert "lda is first of 3" in said and re.search(r"It is (better than|not told from) retrieval:", said), said
    table.to_parquet(tmp_path / "table.parquet")  # with what is beside it


def test_a_score_that_is_above_the_best_floor_and_not_its_own_shuffled_brain_is_held_against_that() -> None:
    row = {"metric": "ssim", "direction": "higher", "value": 0.5, "n_clips": 9, "mark": "n.s."}
    best = {"floor": 0.3, "floor_name": "train_mean", "shuffled": 0.49}
    (said,) = narrow.summarise(pd.DataFrame([row | best])).to_dict("records")
    assert (said["standing"], said["rival"], said["rival_value"]) == ("unsure", "shuffled_brain", 0.49)
