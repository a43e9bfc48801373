"""Precisions as torch knows them, and autocast for networks whose weights stay in float32.

Frozen networks are loaded in the precision that is asked for. A network that is trained keeps its weights in float32
and, where a process trains in bfloat16 (`train_in`), computes under autocast while a loop trains it: what it is called
with (`computing`), and what is computed in parts (`bench.toolbox.parts`). What comes out of it is float32, for losses
need the digits: similarities over a batch are made of them. In float16 gradients vanish unless the loss is scaled, so
there what trains computes in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree

from bench.core.hardware import Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_training = torch.float32  # what networks that train compute in, in this process

Made = TypeVar("Made")


def train_in(precision: Precision) -> None:
    """From here on networks that train compute in this precision: in bfloat16, else in float32."""
    global _training
    _training = torch.bfloat16 if precision == "bf16" else torch.float32


def autocast(device: torch.device | str, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Matrix products and convolutions in this precision within the block; nothing for float32.

    There is none for the meta device: there a block counts in the precision of its weights.
    """
    kind = torch.device(device).type
    if dtype == torch.float32 or kind == "meta":
        return contextlib.nullcontext()
    return torch.autocast(kind, dtype)


def lower(run: Callable[..., Made], device: torch.device) -> Callable[..., Made]:
    """`run` in the precision that trains, and what it gives in float32; `run` itself where that is float32."""
    if _training == torch.float32 or device.type == "meta":
        return run

    def run_lower(*given: Any, **options: Any) -> Made:
        with autocast(device, _training):
            made = run(*given, **options)
        return _pytree.tree_map(raise_again, made)

    return run_lower


def raise_again(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == _training else value


@contextlib.contextmanager
def computing(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """A block in which calls of these modules compute in the precision that trains."""
    changed = () if _training == torch.float32 or device.type == "meta" else tuple(modules)
    for one in changed:
        vars(one)["forward"] = lower(one.forward, device)
    try:
        yield
    finally:
        for one in changed:
            vars(one).pop("forward", None)
