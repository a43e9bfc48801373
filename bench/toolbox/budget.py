"""Memory is a budget: how many items go through a network at once is found out, not fixed.

    for part in run_parts("decode latents 4x36x64", len(latents), decode, device=device, most=96, memory=memory):
        …

calls `decode(rows)` for one slice of rows after another. On a GPU the first call is of one item; what it took at its
peak, beside what was there before, is the cost of an item, and the next slices fill the share `FILLED` of the free
memory. Costs are remembered for a process, by `what`, which names the work and the shape of an item. Where memory runs
out all the same, the slice is halved and done again; one item that does not fit is an error that says what would help.
`most` bounds a slice, so that results come in steps that can be told.

`memory` is how many bytes of the device the process may use, networks and all (None: all that are free). On a CPU
slices have `most` items, unless `memory` is given: then the first item is measured there too, by a ledger of its
tensors (`bench.toolbox.accounting`), and what the process has in use is what the system says. On the meta device an
open ledger says both, so a GPU's budget can be tried without one.

The order of items never changes and each is computed by itself, so a result depends on the sizes of slices by rounding
at most. Where a cell has several devices (`bench.toolbox.ranks`), each of them makes a part of the items, all get what
all made, and `most` is what one of them makes at once.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch

from bench.core.errors import BenchError
from bench.toolbox import ranks
from bench.toolbox.accounting import Ledger, find_ledger

FILLED = 0.8  # of the free memory: blocks of several sizes leave gaps, and a convolution's workspace comes on top
# How libraries below torch say that memory ran out.
FULL = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation")
_COSTS: dict[tuple[str, str], tuple[int, int]] = {}  # by work and kind of device: bytes of an item, of so many at once
_PEAKS: list[int] = []  # of the open watches of a GPU, innermost last: what each saw before an inner one began

Made = TypeVar("Made")


class TooLarge(BenchError):
    """One item alone does not fit the memory that may be used."""


def run_parts(
    what: str,
    count: int,
    make: Callable[[slice], Made],
    *,
    device: torch.device | str,
    most: int,
    memory: int | None = None,
) -> Iterator[Made]:
    """`make(rows)` of slices that cover 0 to `count` in order, each as long as the memory of the device allows.

    Raises TooLarge where one item does not fit.
    """
    group = ranks.find_group(count)
    if group is None:
        yield from make_parts(what, 0, count, make, device=device, most=most, memory=memory)
        return

    def make_apart(rows: slice) -> Made:
        with ranks.apart():
            return make(rows)

    for start in range(0, count, most * group.count):
        stop = min(count, start + most * group.count)
        divided = stop - start >= group.count
        mine = group.find_own(start, stop) if divided else slice(start, stop)
        made = make_parts(what, mine.start, mine.stop, make_apart, device=device, most=most, memory=memory)
        yield from ranks.gather_made(list(made)) if divided else made


def make_parts(
    what: str,
    start: int,
    stop: int,
    make: Callable[[slice], Made],
    *,
    device: torch.device | str,
    most: int,
    memory: int | None,
) -> Iterator[Made]:
    """`run_parts` of the items from `start` to `stop`, on this device alone."""
    device, bound = torch.device(device), most
    while start < stop:
        rows = slice(start, min(stop, start + fit_items(what, device, bound, memory)))
        size = rows.stop - rows.start
        told = ""
        peak: list[int] = []
        try:
            with watch(device, memory, peak, known=(what, device.type) in _COSTS):
                made = make(rows)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_full(error):
                raise
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
        if not told:
            if peak and size >= _COSTS.get((what, device.type), (1, 0))[1]:  # of many: each has less of what all share
                _COSTS[what, device.type] = max(1, -(-peak[0] // size)), size
            yield made
            del made
            start = rows.stop
            continue
        if size == 1:
            raise TooLarge(
                f"{what}: one item does not fit the memory of {device} ({told}); free some of it, give more with "
                "--memory, or use --precision bf16 or a larger device"
            )
        bound = size // 2
        empty_cache(device)
        if (free := free_memory(device, memory)) is not None:
            cost = _COSTS.get((what, device.type), (1, 0))[0]
            _COSTS[what, device.type] = max(cost, int(FILLED * free) // bound), bound


def fit_items(what: str, device: torch.device, most: int, memory: int | None = None) -> int:
    """How many items fit, at least one and at most `most`: one while their cost is to be measured."""
    free = free_memory(device, memory)
    if free is None:
        return most
    if (what, device.type) not in _COSTS:
        return 1
    return int(min(most, max(1, FILLED * free // _COSTS[what, device.type][0])))


def measure_item(what: str, try_one: Callable[[], object], *, device: torch.device, memory: int | None = None) -> int:
    """Bytes that one item takes at its peak; found out by `try_one` where it is not known yet."""
    key = (what, device.type)
    if key not in _COSTS:
        peak: list[int] = []
        try:
            with watch(device, memory, peak, known=False):
                try_one()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_full(error):
                raise
            raise TooLarge(
                f"{what}: one item does not fit the memory of {device} ({str(error).splitlines()[0]}); free some of "
                "it, give more with --memory, or use --precision bf16 or a larger device"
            ) from error
        _COSTS[key] = max(1, *peak), 1
    return _COSTS[key][0]


def free_memory(device: torch.device, memory: int | None = None) -> int | None:
    """Bytes that may still be used within the limit; None where nothing bounds them: on a CPU without one."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        used = torch.cuda.memory_allocated(device)
        held = torch.cuda.memory_reserved(device) - used  # by torch, for nothing
        return max(0, min(free + held, (total if memory is None else memory) - used))
    ledger = find_ledger(device.type)
    limit = memory if memory is not None or ledger is None else ledger.limit
    if limit is None:
        return None
    return max(0, limit - (resident_memory() if ledger is None else ledger.live))


def resident_memory() -> int:
    """Bytes of this process that lie in memory; 0 where the system does not say (it is no Linux)."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    found = re.search(r"^VmRSS:\s+(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


@contextlib.contextmanager
def watch(device: torch.device, memory: int | None, peak: list[int], *, known: bool) -> Iterator[None]:
    """Put into `peak` what the block took at most beside what was in use before, where that can bound a slice.

    Watches may lie within each other: an inner one hides nothing from the outer. On a CPU each operator is slower while
    it is watched, so a cost that is known is not measured again.
    """
    if device.type == "cuda":
        _PEAKS[-1:] = [max(_PEAKS[-1], torch.cuda.max_memory_allocated(device))] if _PEAKS else []
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _PEAKS.append(before)
        try:
            yield
        finally:
            most = max(_PEAKS.pop(), torch.cuda.max_memory_allocated(device))
            _PEAKS[-1:] = [max(_PEAKS[-1], most)] if _PEAKS else []
        peak.append(most - before)
        return
    ledger = find_ledger(device.type)
    if free_memory(device, memory) is None or (ledger is None and known):
        yield
        return
    with contextlib.ExitStack() as stack:
        if ledger is None:
            ledger = stack.enter_context(Ledger(device.type))
        before = ledger.live
        stack.enter_context(ledger.watch())
        yield
        peak.append(ledger.peak - before)


def is_full(error: BaseException) -> bool:
    """Whether memory ran out: on a processor, and from within a library, a plain RuntimeError says so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(one in str(error) for one in FULL)


def release(suite: Any, *roles: str) -> None:
    """Let networks of a suite go that a phase is done with, if it is one that can: see `Suite.release`."""
    if hasattr(suite, "release"):
        suite.release(*roles)


def empty_cache(device: torch.device) -> None:
    """What a failed call, or a network that was let go, left behind is given back."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
