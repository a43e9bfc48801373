"""A batch that does not fit the device is trained in parts, to the same gradient but for rounding.

    (seen,) = run_in_parts("encoder", len(rows), lambda part: (encode(rows[part]),), through=[weight], device=device)
    contrast(seen).backward()

The parts go forward one after the other and nothing of them is kept but what they give, so a loss may couple all rows
of the batch; backward, each part is computed again and its gradient added to the others' (`torch.utils.checkpoint`
around each part). A loss that is a mean over rows goes the same way (`mean_in_parts`). What draws at random is handed
its draws, made for the whole batch; only dropout draws anew in each part, where it would draw otherwise in the whole.
A batch norm has no place in a part: it would count over the part's rows.

How many rows go at once is what fits (`bench.toolbox.budget`): the cost of a row is measured once, forward and
backward. On a CPU without `memory` the batch is whole, and nothing is different from a plain call. Where a cell has
several devices (`bench.toolbox.ranks`), each goes through rows of its own, in parts if need be.

An AdamW whose moments would take more than a quarter of the device keeps them in the host's memory (`HostAdamW`).
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.adamw import adamw
from torch.utils.checkpoint import checkpoint

from bench.toolbox import budget, ranks
from bench.toolbox.accounting import find_ledger
from bench.toolbox.precision import lower

SHARE = 0.25  # of a device that AdamW's moments may take
PIECE = 2**26  # numbers of a weight whose moments visit the device at once
OPTIMISERS: weakref.WeakSet[Any] = weakref.WeakSet()  # whose gradients and moments may still have to find their place

Run = Callable[[slice], tuple[Tensor, ...]]
Made = TypeVar("Made")


def run_in_parts(
    what: str,
    count: int,
    run: Run,
    *,
    through: Sequence[Tensor],
    device: torch.device,
    memory: int | None = None,
    later: bool = False,
) -> tuple[Tensor, ...]:
    """What `run(rows)` gives for all rows of a batch, tensors with a row for each, computed in parts that fit.

    `what` names the work with the shape of a row. `through` are some trained tensors to which the gradient has to go
    all the way back: a first layer's. With `later` the step goes on with what needs the memory more: then nothing is
    kept of a batch that fits, either. Raises budget.TooLarge where one row does not fit.
    """
    if (group := ranks.find_group(count)) is not None:
        mine = group.find_own(0, count)
        with ranks.drawing_apart(device):
            options: Any = {"through": through, "device": device, "memory": memory, "later": later}
            own = run_in_parts(what, mine.stop - mine.start, run_from(mine.start, run), **options)
        return tuple(ranks.gather_rows(one, count) for one in own)
    run = lower(run, device) if torch.is_grad_enabled() else run
    size = fit_rows(what, count, run, through=through, device=device, memory=memory)
    if size >= count and not (later and budget.free_memory(device, memory) is not None):
        return run(slice(0, count))
    parts = [run_again(run, slice(at, min(count, at + size)), device) for at in range(0, count, size)]
    return tuple(torch.cat(one) for one in zip(*parts, strict=True))


def mean_in_parts(
    what: str,
    count: int,
    measure: Callable[[slice], Float[Tensor, ""]],
    *,
    through: Sequence[Tensor],
    device: torch.device,
    memory: int | None = None,
) -> Float[Tensor, ""]:
    """`measure` of a whole batch, where it is a mean over rows that count alike, in parts; see `run_in_parts`."""

    if (group := ranks.find_group(count)) is not None:
        mine = group.find_own(0, count)
        with ranks.drawing_apart(device):
            options: Any = {"through": through, "device": device, "memory": memory}
            own = mean_in_parts(what, mine.stop - mine.start, run_from(mine.start, measure), **options)
        return ranks.gather_rows((own * ((mine.stop - mine.start) / count))[None], group.count).sum()
    measure = lower(measure, device) if torch.is_grad_enabled() else measure

    def run(rows: slice) -> tuple[Tensor, ...]:
        return (measure(rows),)

    size = fit_rows(what, count, run, through=through, device=device, memory=memory)
    if size >= count:
        return measure(slice(0, count))
    parts = [slice(at, min(count, at + size)) for at in range(0, count, size)]
    means = [run_again(run, rows, device)[0] * ((rows.stop - rows.start) / count) for rows in parts]
    return torch.stack(means).sum()


def run_from(start: int, run: Callable[[slice], Made]) -> Callable[[slice], Made]:
    """`run` of rows that are counted from `start`, on this device alone."""

    def run_apart(rows: slice) -> Made:
        with ranks.apart():
            return run(slice(start + rows.start, start + rows.stop))

    return run_apart


def run_again(run: Run, rows: slice, device: torch.device) -> tuple[Tensor, ...]:
    """One part, which is computed again when its gradient is asked for."""
    if not torch.is_grad_enabled():
        return run(rows)
    here = torch.empty(0, device=device)  # by this the checkpoint knows whose generator dropout draws from
    made: tuple[Tensor, ...] = compute_again(lambda _: run(rows), here)
    return made


def compute_again(run: Callable[..., Any], given: Tensor) -> Any:
    """`run(given)`, of which nothing is kept for the gradient but `given`: it is computed again then."""
    if given.is_meta:  # no numbers: nothing to draw, and nothing to compare
        return checkpoint(run, given, use_reentrant=False, determinism_check="none", preserve_rng_state=False)
    return checkpoint(run, given, use_reentrant=False)


def fit_rows(
    what: str, count: int, run: Run, *, through: Sequence[Tensor], device: torch.device, memory: int | None
) -> int:
    """How many rows of a batch fit the device at once, forward and backward; all where nothing bounds them."""
    free = budget.free_memory(device, memory)
    if free is None or count < 2:
        return count
    what = f"training: {what}" if torch.is_grad_enabled() else f"forward: {what}"
    cost = budget.measure_item(what, lambda: try_row(run, through, device), device=device, memory=memory)
    pending = sum(one.pending for one in OPTIMISERS)
    return min(count, max(1, int(budget.FILLED * max(0, free - pending) / cost)))


def try_row(run: Run, through: Sequence[Tensor], device: torch.device) -> None:
    """One row forward and backward, of which nothing stays, the generators' draws neither."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[device] if device.type == "cuda" else []))
        made = run(slice(0, 1))
        if torch.is_grad_enabled():
            whole = torch.stack([one.float().sum() for one in made]).sum()
            if through:
                torch.autograd.grad(whole, list(through), allow_unused=True)


def choose_adamw(
    groups: Sequence[dict[str, Any]], *, weight_decay: float, fused: bool | None, memory: int | None
) -> torch.optim.AdamW:
    """AdamW as it fits: on a GPU in one pass without copies, with its moments on the host where they are too large."""
    parameters = [one for group in groups for one in group["params"]]
    device = parameters[0].device if parameters else torch.device("cpu")
    limit = find_limit(device, memory)
    if device.type != "cpu" and limit is not None and 2 * count_bytes(parameters) > SHARE * limit:
        return HostAdamW(groups, weight_decay=weight_decay)
    if device.type == "cuda":
        fused = True
    return torch.optim.AdamW(groups, weight_decay=weight_decay, fused=None if device.type == "meta" else fused)


def find_limit(device: torch.device, memory: int | None) -> int | None:
    """Bytes of the device that may be used at most."""
    if memory is not None:
        return memory
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    ledger = find_ledger(device.type)
    return None if ledger is None else ledger.limit


def count_bytes(tensors: Sequence[Tensor]) -> int:
    return sum(one.numel() * one.element_size() for one in tensors)


class HostAdamW(torch.optim.AdamW):
    """AdamW whose moments lie in the host's memory and visit the device in pieces: the same numbers."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for one in group["params"]:
                if one.grad is None:
                    continue
                state = self.state[one]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    for name in ("exp_avg", "exp_avg_sq"):
                        state[name] = torch.empty(one.shape, dtype=one.dtype)
                        if not one.is_meta:  # where memory is only counted, none is taken on the host
                            state[name].zero_()
                step = state["step"].clone()
                for some in cut(one, one.grad, state["exp_avg"], state["exp_avg_sq"]):
                    mean, square = (moment.to(one.device) for moment in some[2:])
                    state["step"].copy_(step)  # adamw counts with every piece
                    adamw(
                        [some[0]], [some[1]], [mean], [square], [], [state["step"]],
                        foreach=False, fused=False, amsgrad=False, beta1=group["betas"][0], beta2=group["betas"][1],
                        lr=group["lr"], weight_decay=group["weight_decay"], eps=group["eps"], maximize=False,
                    )  # fmt: skip
                    some[2].copy_(mean)
                    some[3].copy_(square)

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state.update({name: value.cpu() for name, value in state.items()})


def cut(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Views of tensors of one shape, so many numbers at a time; whole where they do not lie in a row."""
    if not all(one.is_contiguous() for one in tensors):
        return [tensors]
    return list(zip(*(one.view(-1).split(PIECE) for one in tensors), strict=True))


def find_pending(parameters: Sequence[nn.Parameter], optimiser: torch.optim.AdamW) -> int:
    """Bytes of the device that gradients and moments will take, and do not take yet."""
    moments = 0 if optimiser.state or isinstance(optimiser, HostAdamW) else 2 * count_bytes(parameters)
    return moments + count_bytes([one for one in parameters if one.grad is None])
