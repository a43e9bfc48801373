"""What a fold costs, as its method says it: calls of networks, how often each is made, and what is kept on the host.

A method whose package has a function `list_work(parameters, fold, suite)` gives its work as `Work`: one call with as
few items as it takes, on a suite of shapes (`bench.pretrained.shapes`), so that nothing is computed; and how many
items there are in all. `measure` counts a call's operations and the memory of the device at its peak, with the networks
that are there meanwhile (`bench.toolbox.accounting`). Operations are the multiplications and additions of matrix
products, convolutions and attention, by torch's own formulas; what is done number by number is left out, as in every
such count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from bench.toolbox.accounting import Ledger, is_composite

Phase = Literal["fit", "reconstruct"]
_OPEN: list[Count] = []


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The sizes of a fold of a data set."""

    train: int  # trials
    validation: int
    test: int
    clips: int  # of training and validation trials
    captions: int  # different ones of these
    signals: tuple[int, int]  # channels (the most that a subject has), samples a trial
    sampling_rate: float  # Hz
    channels: tuple[str, ...]
    subjects: int  # of training trials
    rois: dict[int, tuple[str, ...]] = field(default_factory=dict)
    video: tuple[int, int, int]  # frames, height, width of a clip


@dataclass(frozen=True, kw_only=True)
class Work:
    """One kind of call. `call` makes it once, with `at_once` items of the `items` that there are in all."""

    phase: Phase
    what: str
    items: float
    call: Callable[[], object]
    at_once: int = 1
    networks: Sequence[nn.Module] = ()  # of the suite, that are on the device meanwhile
    trained: bool = False  # gradients are asked for
    host: int = 0  # bytes that the whole of it leaves in the host's memory, or in its files


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one kind of call comes to."""

    phase: Phase
    what: str
    items: float
    operations: float  # of all items: a multiplication and an addition are two
    peak: int  # bytes of the device, for one call
    host: int


class Count(TorchDispatchMode):
    """Operations of what is computed while it is open, and of calls that are known and were spared.

    As torch's FlopCounterMode counts them, whose hooks on modules keep more in memory than the modules do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if is_composite(func):  # it arrives whole in inference mode
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        args, kwargs = tree_map(near_to(args), (args, kwargs))
        made = func(*args, **kwargs)
        if func.overloadpacket in flop_registry:
            self.operations += flop_registry[func.overloadpacket](*args, **kwargs, out_val=made)
        return made

    def __enter__(self) -> Count:
        _OPEN.append(self)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _OPEN.remove(self)


def near_to(given: Any) -> Callable[[Any], Any]:
    """Of what goes into one operator: whole numbers on the CPU, such as whose trial it is, as shapes beside shapes."""
    leaves = tree_leaves(given)
    far = any(isinstance(one, torch.Tensor) and one.is_meta for one in leaves)

    def move(one: Any) -> Any:
        near = isinstance(one, torch.Tensor) and not one.is_meta and one.dim() > 0 and not one.is_floating_point()
        return torch.empty_like(one, device="meta") if far and near else one

    return move


def open_count() -> Count | None:
    """The count that is under way."""
    return _OPEN[-1] if _OPEN else None


def measure(work: Work) -> Cost:
    """Make the call once, on shapes, and count."""
    with torch.set_grad_enabled(work.trained), Ledger() as ledger, Count() as count:
        for network in work.networks:
            ledger.add(network)
        work.call()
    return Cost(
        phase=work.phase,
        what=work.what,
        items=work.items,
        operations=count.operations * work.items / work.at_once,
        peak=ledger.peak,
        host=work.host,
    )
