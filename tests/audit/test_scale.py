"""What `speed scale` makes of the times at which cells were done, and of what bare processes do beside it."""

from __future__ import annotations

import threading
from multiprocessing import Pipe

import pytest

from bench.audit import scale


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
