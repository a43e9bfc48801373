"""Training curves: what a loop came to, bounded, the same after a kill, and no part of what is trained."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench.toolbox import checkpoints
from bench.toolbox.curves import COLUMNS, MOST_BYTES, NAME, ROWS, Curve, Row, read_curve, take_curve
from bench.toolbox.training import make_generator, train_steps

PEAK = 1e-2


class Killed(BaseException):
    """What no loop catches."""


@pytest.fixture(autouse=True)
def no_checkpoints_after():
    yield
    checkpoints.use_checkpoints(None)


def train(steps: int, *, kill_at: int | None = None) -> list[float]:
    """Two loops of a small network; the losses of both."""
    torch.manual_seed(0)
    network = nn.Linear(4, 1)
    signals = torch.randn(16, 4, generator=make_generator("test", "signals"))
    losses: list[float] = []
    for loop in range(2):
        made: list[float] = []

        def measure(rows: np.ndarray, made: list[float] = made, before: int = 40 * loop) -> torch.Tensor:
            if before + len(made) == kill_at:
                raise Killed
            made.append(0.0)
            return network(signals[rows]).square().mean()

        losses += train_steps(
            network, measure, parameters=list(network.parameters()), trials=16, steps=steps, batch_size=8,
            learning_rate=PEAK, weight_decay=0.01, batches=make_generator("test", "batches", loop),
            phase="the first" if loop == 0 else "the second", lists=[made],
        )  # fmt: skip
    return losses


def test_every_step_of_a_short_loop_has_its_loss_and_its_rate(tmp_path: Path) -> None:
    without = train(40)
    checkpoints.use_checkpoints(tmp_path / "cell", seconds=1000)
    losses = train(40)
    assert losses == without  # looking changes nothing
    rows = list(read_curve(tmp_path / "cell" / NAME))
    assert [(one.loop, one.phase) for one in rows] == [(0, "the first")] * 40 + [(1, "the second")] * 40
    assert [one.step for one in rows] == [*range(1, 41)] * 2 and {one.of for one in rows} == {40}
    np.testing.assert_allclose([one.loss for one in rows], losses, rtol=1e-5)
    turn = 0.1 * 41 - 1  # one cycle by hand: cosines up to the peak and down
    up, down = PEAK / 25, PEAK / 25 / 1e4
    expected = [
        up + (PEAK - up) * (1 - math.cos(math.pi * step / turn)) / 2 if step <= turn
        else PEAK + (down - PEAK) * (1 - math.cos(math.pi * (step - turn) / (40 - turn))) / 2
        for step in range(40)
    ]  # fmt: skip
    np.testing.assert_allclose([one.rate for one in rows[:40]], expected, rtol=1e-4)


def test_a_long_loop_has_few_rows_and_each_is_a_mean(tmp_path: Path) -> None:
    curve = Curve(tmp_path, 0, "long", total=1001, done=0)
    for step in range(1, 1002):
        curve.add(step, 0.1, float(step))
    rows = list(read_curve(tmp_path / NAME))
    assert len(rows) <= ROWS and rows[-1].step == 1001
    assert rows[0] == Row(0, "long", 6, 1001, 0.1, 3.5) and rows[-1].loss == np.mean(range(997, 1002))


@pytest.mark.parametrize("kill_at", [0, 23, 41])
def test_a_killed_fit_has_the_curve_of_a_whole_one(kill_at: int, tmp_path: Path) -> None:
    checkpoints.use_checkpoints(tmp_path / "whole", seconds=1000)
    train(40)
    checkpoints.use_checkpoints(tmp_path / "killed", seconds=0)
    with pytest.raises(Killed):
        train(40, kill_at=kill_at)
    checkpoints.use_checkpoints(tmp_path / "killed", seconds=0)
    train(40)
    assert (tmp_path / "killed" / NAME).read_bytes() == (tmp_path / "whole" / NAME).read_bytes()


def test_what_cannot_be_written_or_read_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve = Curve(tmp_path, 0, "first", total=2, done=0)
    (tmp_path / NAME).mkdir()
    curve.add(2, 0.1, 1.0)
    assert "first: its curve cannot be written" in capsys.readouterr().err
    (tmp_path / NAME).rmdir()
    text = f"{','.join(COLUMNS)}\n0,a,1,2,0.1,nan\n0,a,x,2,0.1,1\n\x00\n0,a,2"
    (tmp_path / NAME).write_text(text, encoding="utf-8")
    (row,) = read_curve(tmp_path / NAME)
    assert row.step == 1 and math.isnan(row.loss)
    assert take_curve(tmp_path) == text.encode() and not (tmp_path / NAME).exists()
    (tmp_path / NAME).write_bytes(b"0" * (MOST_BYTES + 1))
    assert take_curve(tmp_path) == take_curve(tmp_path / "nowhere") == b""
