"""Tables that fit a terminal: what is drawn and said is the table's, and nothing is wider than 100 columns."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import bench
from bench.cli import main
from bench.cli.sentences import tell_audit, tell_bundle, tell_checks
from leaderboard import narrow
from leaderboard.comparison import compare_methods
from leaderboard.crossing import tell_crossing
from leaderboard.glossary import explain_metric
from leaderboard.rendering import render
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
    table = bench.table(dataset=dataset, published=True).query("variant == 'base'")
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
    order = (
        cut[cut["method"] != "ridge"].query("role != 'control' and role != 'ceiling'").groupby("method")["value"].mean()
    )
    first, second = order.sort_values(ascending=False).index[:2]
    assert f"{first} is first of {len(order)}" in said, said
    assert re.search(rf"It is (better than|not told from) {second}:", said), said
    table.to_parquet(tmp_path / "table.parquet")  # with what is beside it
    (said,) = narrow.note_verdicts(table, cut, PROTOCOLS, asked=second).attrs["verdicts"].values()
    assert said.startswith(f"{second} is number 2 of {len(order)}"), said  # of whom a run asked is spoken first
    assert re.search(rf"( {first} is better|It is not told from {first}): -?0", said), said


def test_a_score_that_is_above_the_best_floor_and_not_its_own_shuffled_brain_is_held_against_that() -> None:
    row = {"metric": "ssim", "direction": "higher", "value": 0.5, "n_clips": 9, "mark": "n.s."}
    best = {"floor": 0.3, "floor_name": "train_mean", "shuffled": 0.49}
    (said,) = narrow.summarise(pd.DataFrame([row | best])).to_dict("records")
    assert (said["standing"], said["rival"], said["rival_value"]) == ("unsure", "shuffled_brain", 0.49)


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (["table", "--floors", "--published"], "Every floor by itself, under each metric: --wide."),
        (["table", "--readouts", "--published", "--dataset", "phantom_eeg"], r"--ablation readouts`\)."),
        (["table", "--paper", "sam_net.3", "--published"], r"differences that its ablations claim: .*\."),
        (["table", "--paper", "cine_neuron.1", "--published"], r"\d+ of 63 numbers are measured here.*\."),
        (["table", "--paper", "sam_net.4", "--differences", "--published"], r"Of 20 differences: .*\."),
        (["suite", "verify", "paper"], r"not here, about [\d.]+ GB: `python -m bench suite fetch paper`\."),
        (["suite", "info", "mini"], r"mini reaches \d+ of the \d+ aims .*; not: .*\."),
        (["doctor"], r"This machine: (all \d+ checks passed|\d+ of \d+ checks failed).*\."),
        (["list"], r"\d+ methods, \d+ datasets, .* --quick`\."),
        (["list", "protocols"], r"\d+ protocols to choose from.*\."),
        (["data", "info", "phantom_fmri:tiny"], r"names the concept in \d+ %.*\."),
        (["data", "verify", "phantom_eeg:tiny"], r"phantom_eeg:tiny: all \d+ checks passed\."),
    ],
)  # fmt: skip
def test_no_verb_is_wider_than_a_terminal_and_each_ends_in_a_sentence(words, end, capsys) -> None:
    main(words)
    said = capsys.readouterr().out
    assert said.strip() and max(map(len, said.splitlines())) <= narrow.WIDTH
    assert re.search(f"{end}$", " ".join(said.split())), said[-300:]


def test_what_a_phantom_and_a_suite_hold_is_said_by_their_cards(capsys) -> None:
    assert main(["data", "info", "phantom_eeg"]) == 0
    said, card = " ".join(capsys.readouterr().out.split()), bench.describe_dataset("phantom_eeg").set_index("figure")
    ideal = float(card.loc["ideal observer, concept, open set (30 draws a concept)", "mean"])
    linear = float(card.loc["best linear reader, both", "mean"])  # the best of the three
    assert f"names the concept in {100 * ideal:.0f} %, the best linear reader in {100 * linear:.0f} %" in said
    assert main(["suite", "info", "mini"]) == 0
    said, card = " ".join(capsys.readouterr().out.split()), bench.describe_suite("mini")
    aims = card[card["aim"].notna()]
    less = aims["measure"].str.contains("MB|lost")  # is better
    missed = aims[(aims["value"] < aims["aim"]) ^ less]["measure"].tolist()
    assert f"reaches {len(aims) - len(missed)} of the {len(aims)} aims" in said
    assert all(name in said.partition("; not: ")[2] for name in missed)


def test_what_floors_say_is_their_table_s(capsys) -> None:
    table = bench.table(floors=True, published=True, dataset="phantom_eeg", split="cross_subject")
    assert main(["table", "--floors", "--published", "--dataset", "phantom_eeg", "--split", "cross_subject"]) == 0
    said = capsys.readouterr().out
    for _, row in table.iterrows():
        (line,) = re.findall(rf"^  {re.escape(explain_metric(row['metric']).title)} [↑↓] +(.*)$", said, re.MULTILINE)
        floor, _, ceiling = line.partition(")") if row["floor_name"] else ("", "", line)
        for text, name in ((floor, "floor"), (ceiling, "ceiling")):
            if text:
                value, of = re.search(r"([\d.]+) \((\w+)", text).groups()
                assert of == row[f"{name}_name"] and float(value) == pytest.approx(row[name], rel=0.05), line
    hardest = table.loc[table["floor_name"] != "", "floor_name"].value_counts()
    assert all(f"{name} in {count}" in " ".join(said.split()) for name, count in hardest.items())


def test_a_paper_s_numbers_are_told_as_they_are_in_its_records(capsys) -> None:
    table = bench.paper_table("sam_net.3", published=True)
    assert main(["table", "--paper", "sam_net.3", "--published"]) == 0
    said = capsys.readouterr().out
    for column, rows in table.records.groupby("column"):
        block = said.partition(f"\n{column} ")[2].partition("\n\n")[0]
        for _, row in rows.iterrows():
            (line,) = re.findall(rf"^  {re.escape(row['row'])} +(.*)$", block, re.MULTILINE)
            reported, _, measured = line.partition(" ")
            assert reported == row["reported"]
            if row["state"] == "measured":
                assert float(measured.split()[0]) == pytest.approx(row["value"], rel=2e-3)
            else:
                assert measured.strip() == "not run"


def test_wide_tables_are_broken_and_nothing_of_them_is_lost() -> None:
    rng = np.random.default_rng(3)
    for columns in (2, 5, 9, 30):
        words = [[" ".join(rng.choice(["alpha", "beta", "gamma"], 9)) for _ in range(columns)] for _ in range(4)]
        table = pd.DataFrame(words, columns=[f"a long name of column {place}" for place in range(columns)])
        said = render(table, "text")
        assert max(map(len, said.splitlines())) <= narrow.WIDTH
        assert ("---" in said) == (columns < 9)  # a grid as long as cells keep some width, else a block a row
        for name in ("alpha", "beta", "gamma"):
            assert said.count(name) == sum(text.split().count(name) for row in words for text in row)
    assert "no" in render(pd.DataFrame({"no": [], "rows": []}), "text")


def test_sentences_count_what_they_are_about() -> None:
    rows = [("a", "ok", ""), ("b", "bad", "why"), ("c", "absent", ""), ("d", "missing", "")]
    report = pd.DataFrame(rows, columns=["what", "status", "detail"])
    assert tell_checks(report, about="it") == "it: 2 of 4 checks failed (1 absent): b (bad), d (missing)."
    assert tell_checks(report.iloc[[0, 2]], about="it") == "it: all 2 checks passed (1 absent)."
    found = pd.DataFrame({"audit": ["x", "y"], "subject_of": ["s", "t"], "verdict": ["found", "not applicable"]})
    assert tell_audit(found) == "1 of 1 audits found something; 1 had nothing to look at: x (s)."
    cells = pd.DataFrame({"cell": ["1", "2"], "flags": ["", "still"]})
    assert tell_bundle(cells, "b.zip") == "b.zip is whole and can be published: 2 cells, of which 1 is flagged."


def test_read_outs_that_were_crossed_are_told_apart() -> None:
    row = {"dataset": "phantom_eeg", "split": "s", "protocol": "corrected", "metric": "video_40way", "reads": "text"}
    row |= {"phantom": True, "own": np.nan, "own_low": np.nan, "own_high": np.nan}
    for name, value in (("nearest_concept", 0.2), ("nearest_caption", 0.3), ("regressed", np.nan)):
        row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
    still = dict.fromkeys(
        (f"{a}{b}" for a in ("nearest_concept", "nearest_caption", "regressed") for b in ("", "_low", "_high")), "n/a"
    )
    own = {**row, **still, "own": 0.5, "own_low": 0.4, "own_high": 0.6}
    said = tell_crossing(pd.DataFrame([row | {"method": "sam_net"}, own | {"method": "ridge"}]))
    assert "0.200 [0.100, 0.300]" in said and "0.300 [0.200, 0.400]" in said and "takes no read-out" in said
    assert "Highest: sam_net with nearest caption; 1 of 1 methods that take one were crossed" in said
