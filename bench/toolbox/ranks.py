"""Several devices for one cell: a process for each, a *rank*, that all do the same and divide what is much.

Every rank makes the same method from the same seeds and takes the same steps, so a method knows nothing of the others.
Divided are, and nowhere else than in the toolbox,

- the rows of a batch in training (`bench.toolbox.parts`): each rank computes its own rows, `gather_rows` gives all of
  them to every rank, and so a loss may couple the whole batch. Backward, a rank goes through its own rows alone, with
  their gradient times the number of ranks; then `Optimiser` takes the mean of the ranks' gradients
  (`average_gradients`). What was computed of own rows so adds up, and what every rank computed of all stays as it is.
- the items of each encode, decode and generate call (`bench.toolbox.budget.run_parts`): `gather_made` gives what each
  rank made to all.

Everything else every rank computes for itself. A result differs from that of one device by rounding, and where dropout
or the like draws within rows that are divided, by its draws. The first rank alone writes: checkpoints, caches, curves,
and what the harness takes.

Ranks meet over `accelerate` (gloo between processors, NCCL between GPUs), by a file, so no port has to be free. All of
them have to come to each call that gathers, in the same order: whatever a rank may decide otherwise than another (how
much fits its memory, what it finds in a cache) is done within `apart`, where nothing is divided, or settled by
`all_have`. Of fewer items than there are ranks, each rank makes all.

Wrapping networks in DistributedDataParallel would be less code, but knows no loss that couples a batch, and methods
would have to ask which rank they are.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

PATIENCE = timedelta(minutes=30)  # that a rank waits for another: the harness notices sooner that one has ended


@dataclass(frozen=True)
class Group:
    """The ranks of this cell, and which of them this process is."""

    rank: int
    count: int
    device: torch.device

    def find_own(self, start: int, stop: int) -> slice:
        """The part of these items that is this rank's."""
        return divide(start, stop, self.count)[self.rank]


_group: Group | None = None
_apart = 0  # how many blocks of `apart` are open


def join_ranks(rank: int, devices: Sequence[str], meeting: Path) -> None:
    """Make this process that rank of as many as there are devices. All of them meet by a file that is not there yet."""
    global _group
    device = torch.device(devices[rank])
    place = rank if device.index is None else device.index  # accelerate takes the GPU of this number
    told = {"RANK": rank, "WORLD_SIZE": len(devices), "LOCAL_RANK": place, "LOCAL_WORLD_SIZE": len(devices)}
    os.environ.update({name: str(value) for name, value in told.items()})
    from accelerate import PartialState
    from accelerate.utils import check_cuda_p2p_ib_support

    if device.type == "cpu" and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if device.type == "cuda" and not check_cuda_p2p_ib_support():  # as `accelerate launch` does
        os.environ.update(NCCL_P2P_DISABLE="1", NCCL_IB_DISABLE="1")
    options: dict[str, Any] = {"rank": rank, "world_size": len(devices), "timeout": PATIENCE}
    PartialState(cpu=device.type == "cpu", init_method=meeting.absolute().as_uri(), **options)
    _group = Group(rank, len(devices), device)


def is_first() -> bool:
    """Whether this process is the rank that writes: the only one, unless there are several."""
    return _group is None or _group.rank == 0


def find_group(count: int) -> Group | None:
    """Those among whom so many items are to be divided; None where each rank makes all of them."""
    return _group if _group is not None and not _apart and count >= _group.count else None


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """A block in which nothing is divided: ranks need not come to the same calls in it."""
    global _apart
    _apart += 1
    try:
        yield
    finally:
        _apart -= 1


@contextlib.contextmanager
def drawing_apart(device: torch.device) -> Iterator[None]:
    """`apart`, and torch's generators draw other numbers in each rank. All leave the block alike: as they came, unless
    something was drawn, so that the next block draws anew."""
    assert _group is not None
    with apart(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, ())) + _group.rank)
        before = read_states(device)
        yield
        drawn = not all(torch.equal(*pair) for pair in zip(before, read_states(device), strict=True))
    if drawn:
        torch.randint(2**62, ())


def read_states(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def divide(start: int, stop: int, count: int) -> list[slice]:
    """The items from `start` to `stop` in `count` parts whose lengths differ by one at most."""
    edges = [start + (stop - start) * part // count for part in range(count + 1)]
    return [slice(*edge) for edge in itertools.pairwise(edges)]


def gather_rows(own: Float[Tensor, "row ..."], count: int) -> Float[Tensor, "all ..."]:
    """The rows of all ranks in order, `count` together, from each its part of `divide`; with a gradient (see above)."""
    made: Tensor = GatherRows.apply(own, count)
    return made


class GatherRows(torch.autograd.Function):
    """Forward the rows of all, backward the gradient of one's own times the number of ranks."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, count: int) -> Tensor:
        assert _group is not None
        ctx.rows = divide(0, count, _group.count)
        parts = []
        for rank, rows in enumerate(ctx.rows):
            form = ("tensor", own.dtype, (rows.stop - rows.start, *own.shape[1:]), own.device.type == "cpu")
            parts.append(send(own if rank == _group.rank else None, form, rank))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        assert _group is not None
        return gradient[0][ctx.rows[_group.rank]] * _group.count, None


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace each parameter's gradient by its mean over all ranks; one that has none in any keeps none."""
    if _group is None or not parameters:
        return
    from accelerate.utils import reduce

    has = torch.tensor([one.grad is not None for one in parameters], dtype=torch.int32, device=_group.device)
    for one, somewhere in zip(parameters, reduce(has, "max").tolist(), strict=True):
        if somewhere:
            one.grad = reduce(torch.zeros_like(one) if one.grad is None else one.grad, "mean")


def all_have(found: Any) -> bool:
    """Whether no rank has None here; all ranks have to ask. Where nothing is divided, whether this one has more."""
    if _group is None or _apart:
        return found is not None
    from accelerate.utils import gather_object

    return all(gather_object([found is not None]))


def wait_for_all() -> None:
    """Until all ranks are here: what the first has written then is there for the others."""
    if _group is not None and not _apart:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def gather_made(own: Sequence[Any]) -> list[Any]:
    """What every rank made, in the order of the ranks: tensors and arrays, and tuples, lists and dicts of them."""
    assert _group is not None
    from accelerate.utils import gather_object

    forms = gather_object([[describe(one) for one in own]])
    return [
        send(own[place] if rank == _group.rank else None, form, rank)
        for rank, parts in enumerate(forms)
        for place, form in enumerate(parts)
    ]


def describe(value: Any) -> tuple[Any, ...]:
    """What another rank has to know to take this value. Raises TypeError for what cannot be sent."""
    if isinstance(value, Tensor):
        return "tensor", value.dtype, tuple(value.shape), value.device.type == "cpu"
    if isinstance(value, np.ndarray):
        return "array", *describe(torch.from_numpy(value))[1:]
    if isinstance(value, Mapping):
        return "dict", {name: describe(one) for name, one in value.items()}
    if isinstance(value, tuple | list):
        return type(value).__name__, [describe(one) for one in value]
    raise TypeError(f"a part is a {type(value).__name__}; several devices share tensors and arrays, or tuples of them")


@torch.no_grad()
def send(value: Any, form: tuple[Any, ...], rank: int) -> Any:
    """The value that a rank has, at all of them; `form` is what it `describe`s, and those that are not it have None."""
    assert _group is not None
    from accelerate.utils import broadcast

    kind, *about = form
    if kind == "dict":
        return {name: send(None if value is None else value[name], one, rank) for name, one in about[0].items()}
    if kind in ("tuple", "list"):
        made = [send(None if value is None else value[place], one, rank) for place, one in enumerate(about[0])]
        return tuple(made) if kind == "tuple" else made
    dtype, shape, on_host = about
    if value is None:
        sent = torch.empty(shape, dtype=dtype, device=_group.device)
    else:
        sent = (torch.from_numpy(value) if kind == "array" else value.detach()).to(_group.device).contiguous()
        sent = sent.clone() if sent.is_inference() else sent  # which nothing may write to, in name
    if sent.numel():
        broadcast(sent, from_process=rank)
    if kind == "array":
        return sent.cpu().numpy() if value is None else value
    return sent.cpu() if on_host else sent
