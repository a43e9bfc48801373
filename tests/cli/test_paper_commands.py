"""Papers' tables by command: `run --paper`, `table --paper`, and the page of what is committed."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from bench.cli import main
from bench.harness.executor import Outcome
from leaderboard.papers import measure as papers
from leaderboard.results import Committed, read_manifests


def run_main(*arguments) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out):
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue()


def test_dry_run_lists_each_cell_once(tmp_path, phantom):
    code, text = run_main("run", "--paper", "sam_net.4", "--quick", "--dry-run", "--runs", tmp_path, "--seeds", 2)
    assert code == 0
    lines = [line.split() for line in text.splitlines()]
    assert all(line[1:3] == ["to", "do"] for line in lines)
    keys = [line[0] for line in lines]
    assert len(keys) == len(set(keys))
    ours = {(line[4], line[7], line[8]) for line in lines if line[3] == "sam_net"}
    known, new = ("base", "wo_csa", "wo_center", "wo_progressive"), ("base", "wo_new2source")
    assert ours == {
        *((variant, "cross_subject/known", seed) for variant in known for seed in "01"),
        *((variant, "new_subject/new", seed) for variant in new for seed in "01"),
    }
    assert all(re.fullmatch("phantom_eeg:tiny", line[5]) for line in lines)
    shared = [line for line in lines if line[3] == "train_mean"]
    assert [line[7] for line in shared] == ["clips/clips"]  # once for both splits
    assert {line[7] for line in lines if line[3] == "retrieval"} == {"cross_subject/known", "new_subject/new"}


def test_table_says_which_command_fills_it(tmp_path, phantom, capsys):
    code, text = run_main("table", "--paper", "sam_net.4", "--dataset", "phantom_eeg:tiny", "--runs", tmp_path)
    assert code == 0
    assert text.startswith("sam_net.4: Ablation")
    said = capsys.readouterr().err
    assert "30 of 30 numbers are not run" in said
    assert f"`python -m bench run --paper sam_net.4 --dataset phantom_eeg:tiny --runs {tmp_path}`" in said


def test_a_paper_s_run_ends_with_its_table_and_what_failed(tmp_path, phantom, monkeypatch, capsys):
    broken = "sam_net base cross_subject/known seed 0: no space"
    monkeypatch.setattr("bench.harness.executor.execute", lambda jobs, runs, **how: [Outcome(jobs[0], broken)])
    code, text = run_main("run", "--paper", "sam_net.4", "--quick", "--runs", tmp_path)
    assert code == 1
    assert text.startswith("sam_net.4: Ablation")
    said = " ".join(capsys.readouterr().err.split())
    assert f"failed: {broken}" in said and "30 of 30 numbers are not run" in said
    code, text = run_main("run", "--paper", "cine_neuron.3", "--runs", tmp_path)
    assert code == 0
    assert text.startswith("cine_neuron.3: ")


def test_all_tables_make_one_page(tmp_path, phantom, capsys):
    tiny = "phantom_eeg:tiny,phantom_fmri:tiny,phantom_cinebrain:tiny"
    code, text = run_main("table", "--paper", "all", "--dataset", tiny, "--runs", tmp_path)
    assert code == 0
    headings = [line.split()[1] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [*(f"sam_net.{n}:" for n in range(1, 5)), *(f"cine_neuron.{n}:" for n in range(1, 7))]
    assert text.count("What its ablations claim") == 6  # SAM-Net's 3 and 4, CineNeuron's 1 (CineSync*) and 4 to 6
    assert "numbers are not run" in capsys.readouterr().err
    assert main(["table", "--paper", "all", "--format", "csv", "--runs", str(tmp_path)]) == 1
    assert "one page of Markdown" in " ".join(capsys.readouterr().err.split())


def test_tables_of_what_is_committed(capsys):
    """The published board's own scores, with no store at hand."""
    asked = ("--method", "cine_neuron", "--split", "single_subject", "--metric", "video_50way")
    code, text = run_main("table", "--published", *asked, "--format", "json")
    assert code == 0
    (base,) = [row for row in json.loads(text) if row["variant"] == "base"]
    board = json.loads((papers_folder() / "board.json").read_text())
    (row,) = [
        one
        for one in board
        if (one["method"], one["dataset"], one["split"]) == ("cine_neuron", "phantom_fmri", "single_subject")
    ]
    assert base["value"] == pytest.approx(row["video_50way"], rel=1e-5)
    assert main(["table", "--published", "--dataset", "seed_dv"]) == 1
    assert "what is committed holds no scores for seed_dv" in " ".join(capsys.readouterr().err.split())


def test_retired_results_are_read_where_they_are_asked_for(capsys):
    """Their scores are of other data than the board's, and stand in no table with these."""
    (folder,) = (papers_folder() / "retired").glob("2026-11-26")
    asked = ("--method", "sam_net", "--split", "cross_subject", "--metric", "video_40way", "--format", "json")
    code, text = run_main("table", *asked, "--results", folder)
    assert code == 0
    (base,) = [row for row in json.loads(text) if row["variant"] == "base"]
    assert base["value"] == pytest.approx(0.0848, abs=5e-5)  # as the page of SAM-Net says
    code, text = run_main("table", "--paper", "sam_net.3", "--results", folder, "--format", "json")
    assert code == 0 and any(one["value"] is not None for one in json.loads(text))
    assert main(["compare", "sam_net", "retrieval", "--results", str(folder), "--split", "cross_subject"]) == 0
    assert main(["table", *asked[:2], "--results", str(folder), "--runs", "runs"]) == 1
    assert "--results" in capsys.readouterr().err
    data = {one["spec"]["data_digest"] for one in read_manifests(folder)}
    assert not data & {one["spec"]["data_digest"] for one in read_manifests()}


def test_the_page_of_all_tables_is_of_what_is_committed():
    page = (papers_folder() / "PAPERS.md").read_text()
    assert f"from the committed results ({Committed().digest})" in page, "make it again: table --paper all --published"
    assert page.count("\n## ") == 10


def papers_folder() -> Path:
    return Path(papers.__file__).parents[1]


def test_json_has_one_record_a_number(tmp_path, phantom):
    code, text = run_main(
        *("table", "--paper", "sam_net.2", "--dataset", "phantom_eeg:tiny", "--runs", tmp_path, "--format", "json")
    )
    records = json.loads(text)
    assert code == 0
    assert len(records) == 8 * 5
    assert records[0]["reported"] == "0.833±0.01"
    assert records[0]["value"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["table", "--paper", "sam_net.5"], ["sam_net.5", "sam_net.4"]),
        (["table", "--paper", "sam_net.1", "--method", "sam_net"], ["--method"]),
        (["run", "--paper", "sam_net.1", "--classes", "10"], ["--classes"]),
        (["run", "--paper", "sam_net.1", "--data-root", "x"], ["--dataset"]),
        (["table", "--paper", "sam_net.1", "--dataset", "phantom_fmri"], ["phantom_fmri", "phantom_eeg"]),
    ],
)
def test_refusals_name_what_is_wrong(arguments, words, tmp_path, capsys):
    assert main([*arguments, "--runs", str(tmp_path)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    for word in words:
        assert word in said
