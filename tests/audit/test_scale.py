"""What `speed scale` makes of the times at which cells were done, and of what bare processes do beside it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.api.names import parse_workers
from bench.audit import scale
from bench.cli import main


def test_a_row_by_hand() -> None:
    """Workers start for 5 s; one makes a cell in 4 s, two make one each in 5 s, one a second behind the other."""
    one = scale.describe_row(1, 100.0, [100.0 + 5 + 4 * cell for cell in range(1, 8)], 0.5, [])
    assert one == {
        "workers": 1,
        "start_seconds": pytest.approx(5),
        "seconds_a_cell": pytest.approx(4),
        "bare_seconds_a_cell": 2.0,
        "times_one": 1.0,
        "bare_times_one": 1.0,
    }
    times = sorted([5 + late + 5 * cell for cell in range(1, 8) for late in (0, 1)])
    two = scale.describe_row(2, 0.0, times, 0.95, [one])
    assert two["seconds_a_cell"] == pytest.approx(2.5) and two["times_one"] == pytest.approx(1.6)
    assert two["start_seconds"] == pytest.approx(6) and two["bare_times_one"] == pytest.approx(1.9)


@pytest.mark.parametrize(
    ("asked", "measured"),
    [("2", (1, 2)), ("1,2,4", (1, 2, 4)), ("4, 2", (1, 2, 4)), (3, (1, 3)), ("1", (1,))],
)
def test_one_worker_is_measured_beside_those_that_are_asked_for(asked: str | int, measured: tuple[int, ...]) -> None:
    assert parse_workers(asked) == measured


@pytest.mark.parametrize("asked", ["0", "2,0", "-1", "two", "1,,4", "2,", "", "1.5", "2;4", "1025", "2,2", "1,4,1"])
def test_numbers_that_are_none_are_refused_before_anything_starts(
    asked: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scale, "measure_scale", lambda counts: pytest.fail(f"started with {counts}"))
    assert main(["speed", "scale", "--workers", asked]) == 1
    assert f"--workers {asked!r}" in " ".join(capsys.readouterr().err.split())


def test_a_row_for_each_number_of_workers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By a clock of hand: a cell takes 8 s on one worker, on n workers n cells at once take 8 s and .5 s a worker more;
    bare processes do not hinder each other."""
    now, started = [0.0], []

    def execute(jobs: list[Any], runs: Path, *, scheduler: str, threads: int) -> Iterator[Any]:
        count = int(scheduler.removeprefix("local:"))
        started.append((count, len(jobs), threads))
        for done in range(len(jobs)):
            now[0] += 0.0 if done % count else 8.0 if count == 1 else 8.0 + 0.5 * count
            yield SimpleNamespace(error=None)

    monkeypatch.setattr(scale, "execute_on_cluster", execute)
    monkeypatch.setattr(scale, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(scale, "measure_bare", lambda counts: [count / 8 for count in counts])
    monkeypatch.setattr(scale, "open_dataset", lambda name: None)
    monkeypatch.setattr(scale, "load_suite", lambda name: None)
    one = SimpleNamespace(spec=SimpleNamespace(method=f"{scale.__file__}:Computes"))
    monkeypatch.setattr(scale, "plan", lambda run, dataset, suite: [one] * run.seeds)
    assert main(["speed", "scale", "--workers", "1,2,4", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert started == [(1, 4, 1), (2, 8, 1), (4, 16, 1)]
    assert [row["workers"] for row in rows] == [1, 2, 4]
    assert [row["seconds_a_cell"] for row in rows] == pytest.approx([8, 9 / 2, 10 / 4])
    assert [row["times_one"] for row in rows] == pytest.approx([1, 16 / 9, 32 / 10])
    assert [row["bare_times_one"] for row in rows] == pytest.approx([1, 2, 4])


def test_a_bare_process_computes_what_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(scale, "multiply", lambda seed, products: asked.append(products))
    ours, theirs = Pipe()
    process = threading.Thread(target=scale.compute_when_asked, args=(theirs, 0))
    process.start()
    assert ours.recv() == "warm"
    for products in (3, 5):
        ours.send(products)
        assert ours.recv() == "done"
    ours.close()
    process.join(10)
    assert not process.is_alive() and asked[1:] == [3, 5]
