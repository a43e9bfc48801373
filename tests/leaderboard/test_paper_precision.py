"""A paper's table and its study say which cells of theirs the store holds in another precision than is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bench
from bench.api import paper_study, papers
from bench.cli import main
from bench.core.job import Job
from bench.core.spec import precision_of
from bench.store.cells import Store
from bench.store.predictions import write_predictions

ASKED: dict[str, Any] = {"dataset": "phantom_eeg:tiny", "suite": "mini"}
LEFT = "made in bf16, and left out: sam_net, sam_net:wo_csa; `--precision bf16` chooses it"


def store_cell(store: Store, job: Job, **changed: Any) -> None:
    """A cell of the job with three grey videos, never looked at."""
    spec = replace(job.spec, **changed)
    rows = np.arange(3)
    trials = pd.DataFrame({"trial": rows, "subject": 1, "clip": rows, "concept": rows, "block": 6, "seed": rows})
    with store.publishing(spec.key) as draft:
        write_predictions(draft, trials, np.zeros((3, 6, 16, 16, 3), np.uint8))
        draft.manifest.update(spec=spec.as_dict(), variant=job.variant, role=job.role)


@pytest.fixture(scope="module")
def runs(phantom: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SAM-Net in both precisions; in bf16 alone a later seed without C-SA, and by other code without centres."""
    folder = tmp_path_factory.mktemp("runs")
    for precision in ("fp32", "bf16"):
        hardware = {"precision": precision}
        found = papers.survey(papers.load_table("sam_net.4"), make=False, hardware=hardware, **ASKED)[0]
        first = {need.variant: jobs[0] for need, jobs in found.jobs.items() if need.split == "cross_subject"}
        assert {precision_of(job.spec.as_dict()) for job in first.values()} == {precision}
        store_cell(Store(folder), first["base"])
        if precision == "bf16":
            store_cell(Store(folder), first["wo_csa"], seed=3)
            store_cell(Store(folder), first["wo_center"], source="older")
    return folder


def test_a_table_names_the_current_cells_that_it_leaves_out(runs: Path) -> None:
    assert bench.paper_table("sam_net.4", runs=runs, **ASKED).notes == (LEFT,)
    assert bench.study("sam_net.4", runs=runs, **ASKED).notes == (LEFT,)
    for read in (bench.paper_table, bench.study):
        (told,) = read("sam_net.4", runs=runs, precision="bf16", **ASKED).notes
        assert told == "made in fp32, and left out: sam_net; `--precision fp32` chooses it"


def test_embeddings_are_left_out_of_the_study_alone(phantom: Any, tmp_path: Path) -> None:
    found = paper_study.survey(
        "sam_net.4", seeds=1, profile="mini", make=False, hardware={"precision": "fp16"}, **ASKED
    )[0]
    (job,) = [
        jobs[0]
        for (need, level), jobs in found.jobs.items()
        if (need.variant, level, need.split) == ("wo_progressive", "encoder", "cross_subject")
    ]
    store_cell(Store(tmp_path), job)
    assert bench.paper_table("sam_net.4", runs=tmp_path, **ASKED).notes == ()
    (told,) = bench.study("sam_net.4", runs=tmp_path, **ASKED).notes
    assert told == "made in fp16, and left out: sam_net:wo_progressive; `--precision fp16` chooses it"


@pytest.mark.parametrize("more", [["--differences"], ["--study"], ["--format", "csv"]])
def test_the_command_says_it(more: list[str], runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["table", "--paper", "sam_net.4", "--dataset", ASKED["dataset"], "--runs", str(runs)]
    assert main([*words, *more]) == 0
    out, said = capsys.readouterr()
    assert " ".join(said.split()).count(LEFT) == 1 and "left out" not in out


def test_the_page_of_all_tables_says_it(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "paper_names", lambda: ["sam_net.4"])
    assert main(["table", "--paper", "all", "--dataset", ASKED["dataset"], "--runs", str(runs)]) == 0
    out, said = capsys.readouterr()
    assert f"sam_net.4: {LEFT}." in out and " ".join(said.split()).count(f"sam_net.4: {LEFT}") == 1
