"""Curves sent on: to TensorBoard and Weights & Biases as they are called, by stand-ins of both."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.harness.loggers import check_logger, list_points, send_curve
from bench.store.cells import Cell, Store
from bench.toolbox.curves import NAME, Row

SPEC = {"method": "m", "dataset": "d", "split": "s", "fold": "f", "seed": 3}
TEXT = """\
loop,phase,step,of,rate,loss
0,training,1,2,0.1,5
0,training,2,2,0.2,4
1,tuning,1,1,0.3,nan
2,training,1,1,0.4,3
"""
POINTS = [
    ("training (0)/loss", 1, 5.0), ("training (0)/rate", 1, 0.1), ("training (0)/loss", 2, 4.0),
    ("training (0)/rate", 2, 0.2), ("tuning/rate", 1, 0.3), ("training (2)/loss", 1, 3.0),
    ("training (2)/rate", 1, 0.4),
]  # fmt: skip


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    path = tmp_path / "runs" / "abc"
    path.mkdir(parents=True)
    (path / NAME).write_text(TEXT, encoding="utf-8")
    return Cell(key="abc", path=path, store=Store(tmp_path / "runs"), manifest={"spec": SPEC, "variant": "base"})


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **content: Any) -> None:
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_tensorboard_gets_every_number_once(cell, monkeypatch):
    sent: list[tuple[str, int, float]] = []

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            assert Path(folder) == cell.store.root / "tensorboard" / "abc"

        def __enter__(self):
            return self

        def __exit__(self, *error: object) -> None:
            sent.append(("closed", 0, 0.0))

        def add_text(self, tag: str, text: str) -> None:
            assert text == "m base d s f seed 3"

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            sent.append((tag, step, value))

    stand_in(monkeypatch, "tensorboard")
    stand_in(monkeypatch, "torch.utils.tensorboard", SummaryWriter=SummaryWriter)
    send_curve([check_logger("tensorboard")], cell)
    assert sent == [*POINTS, ("closed", 0, 0.0)]


def test_wandb_gets_a_run_with_the_spec(cell, monkeypatch, capsys):
    told: list[Any] = []

    class Run:
        def define_metric(self, name: str, step_metric: str) -> None:
            told.append((name, step_metric))

        def log(self, content: dict[str, float]) -> None:
            told.append(content)

        def finish(self) -> None:
            told.append("finished")

    def init(**about: Any) -> Run:
        assert (about["id"], about["config"], about["project"]) == ("abc", SPEC, "brain2video-bench")
        return Run()

    stand_in(monkeypatch, "wandb", init=init)
    send_curve([check_logger("wandb")], cell)
    assert ("tuning/rate", "tuning/step") in told and told[-1] == "finished"
    assert [one for one in told if isinstance(one, dict)] == [
        {curve: value, f"{curve.rpartition('/')[0]}/step": step} for curve, step, value in POINTS
    ]

    def fail(**about: Any) -> Run:
        raise ConnectionError("no network")

    stand_in(monkeypatch, "wandb", init=fail)
    send_curve(["wandb"], cell)  # a curve that could not be sent ends no run
    assert "wandb did not take the curve of cell abc (ConnectionError: no network)" in capsys.readouterr().err


def test_a_logger_that_is_not_there_is_told_before_anything_is_run(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for name, words in (("mlflow", "allowed are tensorboard, wandb"), ("wandb", "pip install wandb")):
        with pytest.raises(bench.BenchError, match=words):
            bench.run("retrieval", quick=True, log=[name], runs=tmp_path / "runs")
    with pytest.raises(bench.BenchError, match="give a list"):
        bench.run("retrieval", quick=True, log="wandb", runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_points_of_a_phase_that_comes_once_need_no_number():
    rows = [Row(0, "a", 1, 1, 0.1, 2.0), Row(1, "b", 1, 1, 0.1, 2.0)]
    assert [curve for curve, _, _ in list_points(rows)] == ["a/loss", "a/rate", "b/loss", "b/rate"]
