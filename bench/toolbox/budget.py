"""Memory is a budget: how many items go through a network at once is found out, not fixed.

    for part in run_parts("decode latents", len(latents), decode, device=device, most=96):
        …

calls `decode(rows)` for one slice of rows after another. On a GPU the first call is of one item; what it took at its
peak, beside what was there before, is the cost of an item, and the next slices fill the share `FILLED` of the free
memory. Costs are remembered for a process, by what is done and the shape it is done to. Where memory runs out all the
same, the slice is halved and done again; one item that does not fit is an error that says what would help. `most`
bounds a slice, so that results come in steps that can be told, and is all that there is on a processor.

The limit of a device is `BENCH_MEMORY` (`--memory 24GiB`) or all of it. The order of items never changes and each is
computed by itself, so a result depends on the sizes of slices by rounding at most.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

import torch

from bench.core.errors import BenchError

FILLED = 0.8  # of the free memory: blocks of several sizes leave gaps, and a convolution's workspace comes on top
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
VARIABLE = "BENCH_MEMORY"
_COSTS: dict[Hashable, int] = {}  # bytes of an item, by what is done to what

Made = TypeVar("Made")


class TooLarge(BenchError):
    """One item alone does not fit the memory that may be used."""


def run_parts(
    what: Hashable, count: int, make: Callable[[slice], Made], *, device: torch.device, most: int
) -> Iterator[Made]:
    """`make(rows)` of slices that cover 0 to `count` in order, each as long as the memory of the device allows.

    `what` names the work and the shape of an item, and so its cost. Raises TooLarge where one item does not fit.
    """
    start, bound = 0, most
    while start < count:
        rows = slice(start, min(count, start + fit_items(what, device, bound)))
        before = start_watch(device)
        try:
            made = make(rows)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_full(error):
                raise
            told = str(error)
        else:
            if what not in _COSTS and device.type == "cuda":
                _COSTS[what] = max(1, (torch.cuda.max_memory_allocated(device) - before) // (rows.stop - rows.start))
            yield made
            del made
            start = rows.stop
            continue
        if rows.stop - rows.start == 1:
            raise TooLarge(
                f"{what}: one item does not fit the memory of {device} ({told.splitlines()[0]}); free some of it, use "
                f"--precision bf16, a smaller size of the method (--profile mini), or a larger device"
            )
        bound = (rows.stop - rows.start) // 2
        empty_cache(device)


def fit_items(what: Hashable, device: torch.device, most: int) -> int:
    """How many items fit, at least one and at most `most`: one while nothing is known of their cost on a GPU."""
    if device.type != "cuda":
        return most
    if what not in _COSTS:
        return 1
    return int(min(most, max(1, FILLED * free_memory(device) // _COSTS[what])))


def free_memory(device: torch.device) -> int:
    """Bytes that may still be used: what is free, and what torch holds for nothing, within the limit."""
    free, total = torch.cuda.mem_get_info(device)
    used = torch.cuda.memory_allocated(device)
    held = torch.cuda.memory_reserved(device) - used
    limit = read_limit()
    return max(0, min(free + held, (total if limit is None else limit) - used))


def read_limit() -> int | None:
    """The bytes that `BENCH_MEMORY` allows; None where it says nothing. Raises BenchError for what is no size."""
    text = os.environ.get(VARIABLE, "")
    return parse_size(text) if text else None


def parse_size(text: str) -> int:
    """Bytes of `24GiB`, `500MB` or a plain number.

    >>> parse_size("1.5GiB") == 3 * 2**29
    True
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)?\s*", text)
    size = round(float(found[1]) * UNITS.get(found[2] or "", 1)) if found else 0
    if size < 2**20:
        raise BenchError(f"{text!r} is no size of memory like 24GiB, 500MB or a number of bytes, of 1 MiB or more")
    return size


def start_watch(device: torch.device) -> int:
    """Bytes in use now; from here on torch keeps the most."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def is_full(error: BaseException) -> bool:
    """Whether memory ran out: on a processor torch says so by a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def empty_cache(device: torch.device) -> None:
    """What a failed call left behind is let go."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
