"""Budgets of memory: slices cover everything in order, shrink where memory runs out, and fill what a device has."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.core.errors import BenchError
from bench.core.hardware import parse_size
from bench.toolbox import budget
from bench.toolbox.accounting import Ledger
from bench.toolbox.budget import TooLarge, resident_memory, run_parts

CPU, CUDA, META = torch.device("cpu"), torch.device("cuda"), torch.device("meta")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_COSTS", {})


class Device:
    """A GPU of so much memory, whose items cost so much each and whose gaps take a share of the free memory."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *, total: int, used: int, cost: int, real_cost: int = 0, shared: int = 0
    ) -> None:
        self.total, self.used, self.cost, self.peak = total, used, cost, used
        self.real_cost = real_cost or cost  # of each of many: where it is more, memory runs out
        self.shared = shared  # what a call takes whatever its items
        self.slices: list[int] = []
        for name, value in {
            "mem_get_info": lambda _: (self.total - self.used, self.total),
            "memory_allocated": lambda _: self.used,
            "memory_reserved": lambda _: self.used,
            "max_memory_allocated": lambda _: self.peak,
            "reset_peak_memory_stats": self.reset,
            "empty_cache": lambda: None,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)

    def reset(self, _: Any) -> None:
        self.peak = self.used

    def make(self, rows: slice) -> list[int]:
        count = rows.stop - rows.start
        needed = self.used + self.shared + count * (self.cost if count == 1 else self.real_cost)
        if needed > self.total:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        self.peak = max(self.peak, needed)
        self.slices.append(count)
        return list(range(rows.start, rows.stop))


def test_one_item_tells_the_cost_and_the_rest_fills_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, total=1000, used=200, cost=100)
    made = [number for part in run_parts("decode", 20, device.make, device=CUDA, most=16) for number in part]
    assert made == list(range(20))
    assert device.slices == [1, 6, 6, 6, 1]  # .8 of 800 free bytes, 100 each
    device.slices.clear()
    list(run_parts("decode", 20, device.make, device=CUDA, most=4))
    assert device.slices == [4] * 5  # what it costs is known by now


def test_what_all_items_share_counts_for_less_of_each_when_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, total=1000, used=0, cost=50, shared=150)
    list(run_parts("decode", 40, device.make, device=CUDA, most=99))
    assert device.slices == [1, 4, 9, 11, 12, 3]  # .8 of 1000 over 200, 88, 67 and 64
    assert device.shared + 12 * device.cost < 1000


def test_a_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, total=2**30, used=2**21, cost=2**20)
    list(run_parts("decode", 20, device.make, device=CUDA, most=64, memory=12 * 2**20))
    assert device.slices == [1, 8, 8, 3]  # .8 of 12 - 2 MiB
    assert device.peak - device.used <= 10 * 2**20


def test_slices_are_halved_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, total=1000, used=0, cost=50, real_cost=150)
    made = [number for part in run_parts("train", 9, device.make, device=CUDA, most=16) for number in part]
    assert made == list(range(9))
    assert device.slices == [1, 4, 4]  # 16 were thought to fit, of which 8 were left
    device.slices.clear()
    list(run_parts("train", 9, device.make, device=CUDA, most=16))
    assert device.slices == [5, 4]  # .8 of 1000 over 150: it runs into the end of the memory once only

    def on_processor(rows: slice) -> slice:
        if rows.stop - rows.start > 3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return rows

    parts = list(run_parts("cpu", 10, on_processor, device=CPU, most=8))
    assert [(part.start, part.stop) for part in parts] == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]


def test_a_call_within_a_call_hides_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, total=1000, used=0, cost=100)

    def make(rows: slice) -> None:
        device.peak = 400 * (rows.stop - rows.start)
        list(run_parts("inner", 1, device.make, device=CUDA, most=1))
        assert device.peak == 100

    list(run_parts("outer", 3, make, device=CUDA, most=8))
    assert budget._COSTS["outer", "cuda"] == (400, 2)


def test_a_processors_slices_are_bounded_where_a_limit_is_given() -> None:
    sizes: list[int] = []

    def make(rows: slice) -> torch.Tensor:
        sizes.append(rows.stop - rows.start)
        return torch.zeros(rows.stop - rows.start, 2**20).square().sum(1)  # 4 MiB an item, and as much for its square

    list(run_parts("square", 40, make, device=CPU, most=16))
    assert sizes == [16, 16, 8]
    sizes.clear()
    limit = resident_memory() + 80 * 2**20
    parts = list(run_parts("square", 40, make, device=CPU, most=16, memory=limit))
    assert sum(sizes) == 40 and torch.cat(parts).shape == (40,)
    assert sizes[0] == 1 and 4 <= max(sizes) <= 8, sizes  # .8 of 80 MiB over 8 MiB, less what else the process took


def test_a_pretended_device_bounds_slices_too() -> None:
    sizes: list[int] = []

    def make(rows: slice) -> torch.Tensor:
        sizes.append(rows.stop - rows.start)
        return torch.zeros(rows.stop - rows.start, 2**20, device="meta").square()

    with Ledger(limit=100 * 2**20) as ledger:
        for part in run_parts("square", 30, make, device=META, most=16):
            del part
        assert sizes == [1, 10, 10, 9] and ledger.peak == 80 * 2**20
        sizes.clear()
        held = torch.zeros(15, 2**20, device="meta")
        list(run_parts("square", 4, make, device=META, most=16, memory=80 * 2**20))
        assert sizes == [2, 1, 1], "60 MiB are in use, and each part that is kept is 4 MiB more"
        del held
    with Ledger(limit=6 * 2**20), pytest.raises(TooLarge, match="does not fit the memory of meta"):
        list(run_parts("square", 4, make, device=META, most=16))


def test_what_does_not_fit_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, total=100, used=50, cost=60)
    with pytest.raises(TooLarge, match=r"decode: one item does not fit the memory of cuda .*--precision bf16"):
        list(run_parts("decode", 3, device.make, device=CUDA, most=16))

    def wrong(rows: slice) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(run_parts("wrong", 3, wrong, device=CPU, most=16))


@pytest.mark.parametrize("text", ["", "24", "24 GiBs", "-1GiB", "GiB", "1e9", "many"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BenchError, match="is no size of memory like 24GiB"):
        parse_size(text)
    assert parse_size("24GiB") == 24 * 2**30 and parse_size("2 GB") == 2 * 10**9 and parse_size("2000000") == 2_000_000
