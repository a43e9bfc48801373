"""How much memory a piece of code takes, without the device that it is for: a ledger of all tensors that are alive.

    with Ledger() as ledger, torch.device("meta"):        # nothing is computed and nothing is allocated
        network = UNet2DConditionModel(**config)
        loss = network(latents, times, text).sample.square().mean()
        loss.backward()
    print(ledger.peak / 2**30, "GiB")

counts each storage that is made on `device` from its first tensor to its last: activations that autograd keeps,
gradients, an optimiser's states, what a checkpoint computes again. On the meta device the code that was written for a
GPU runs as it is: a tensor that is copied to the CPU comes as zeros (with `drawn` as random numbers, for code that
looks whether they differ), a number that is read is 0, and attention takes the memory of the fused kernel that a GPU
has (`scaled_dot_product_attention` would there fall back to the plain product). Whole numbers and masks that are copied
to the device are remembered (whose trial it is, say), and so is what is computed of them alone; of others, the shape of
a result that depends on numbers is the largest that it can be. `limit` is the size of the pretended device: whoever
passes it gets torch.OutOfMemoryError, as on a GPU.
Networks that were made before the block count when `add` is told of them.

On the CPU (`Ledger("cpu")`) real tensors are counted while they are computed. `bench.toolbox.budget` asks the open
ledger what is in use and what a call took at its peak.

What is not counted: a kernel's workspace, gaps between blocks (the budget leaves a fifth of the memory for both), and
memory that an operator takes within itself. There is no autocast for the meta device (`bench.toolbox.precision` leaves
it out there): networks count in the precision that their weights have. A TorchFunctionMode would not do for the
attention: it is off while a checkpoint computes a block again in the backward pass, which then keeps other tensors than
the forward pass did (CheckpointError). So the function itself is replaced as long as the block lasts.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.weak import WeakTensorKeyDictionary

_ATTEND = functional.scaled_dot_product_attention
_OPEN: list[Ledger] = []
REMEMBERED = 2**16  # numbers of a tensor at most


class Ledger(TorchDispatchMode):
    """Bytes of the tensors on one device that are made while it is open: `live` now, `peak` at most so far."""

    def __init__(self, device: str = "meta", *, limit: int | None = None, drawn: bool = False) -> None:
        super().__init__()
        self.kind, self.limit = torch.device(device).type, limit
        self.draws = torch.Generator().manual_seed(0) if drawn else None
        self.values = WeakTensorKeyDictionary()  # whole numbers and masks of the meta device whose numbers are known
        self.live = self.peak = 0
        self.known: dict[int, weakref.ref[torch.UntypedStorage]] = {}  # by the storage's address
        self.patch: Any = mock.patch.object(functional, "scaled_dot_product_attention", attend)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the guard would cost more than the bookkeeping

    def __enter__(self) -> Ledger:
        if self not in _OPEN:  # it enters itself again for the parts of an operator
            self.patch.start()
        _OPEN.append(self)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _OPEN.remove(self)
        if self not in _OPEN:
            self.patch.stop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if is_composite(func):  # it arrives whole in inference mode; its parts are what takes memory
            with self:
                made = func.decompose(*args, **kwargs)
            if made is not NotImplemented:
                return made
        made = self.compute(func, args, kwargs) if self.kind == "meta" else None
        if made is None:
            made = answer(func, args, kwargs, self)
        self.add(find_tensors(made))
        return made

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What the operator gives of remembered numbers, remembered in turn; None where they do not say it."""
        leaves, layout = tree_flatten((args, kwargs))
        far = [one for one in leaves if isinstance(one, Tensor) and one.is_meta]
        if func._schema.is_mutable:
            for one in far:
                self.values.pop(one, None)
            return None
        copied = not far and func.overloadpacket.__name__ == "_to_copy" and str(kwargs.get("device")) == "meta"
        if copied and (args[0].is_floating_point() or args[0].numel() > REMEMBERED):
            return None
        if not copied and (not far or any(one not in self.values for one in far)):
            return None
        known = [self.values[one] if isinstance(one, Tensor) and one.is_meta else one for one in leaves]
        near = [torch.device("cpu") if isinstance(one, torch.device) else one for one in known]
        given, options = tree_unflatten(near, layout)
        real = func(*given, **options)
        if func.is_view:  # in inference mode a view has to be one
            made = func(*args, **kwargs)
            both = zip(find_tensors(made), find_tensors(real), strict=True)
            self.values.update((far, near) for far, near in both if near.numel() <= REMEMBERED)
            return made
        return self.remember(real) if str(kwargs.get("device") or "meta") == "meta" else real

    def remember(self, real: Any) -> Any:
        """Tensors of the meta device that stand for these; None where they are such as are not remembered."""
        tensors = find_tensors(real)
        if any(one.is_floating_point() or one.is_complex() or one.numel() > REMEMBERED for one in tensors):
            return None
        made = [torch.empty_like(one, device="meta") for one in tensors]
        self.values.update(zip(made, tensors, strict=True))
        if not tensors:
            return real
        return made[0] if isinstance(real, Tensor) else tuple(made)

    def add(self, tensors: nn.Module | Iterable[Tensor]) -> None:
        """Count these tensors, or a network's; those of another device, and those that are known, count for nothing.

        Raises torch.OutOfMemoryError where they pass the limit.
        """
        if isinstance(tensors, nn.Module):
            tensors = [*tensors.parameters(), *tensors.buffers()]
        for tensor in tensors:
            if tensor.device.type != self.kind or tensor.layout is not torch.strided:
                continue
            storage = tensor.untyped_storage()
            place, size = storage._cdata, storage.nbytes()
            if place in self.known:
                continue
            if self.limit is not None and self.live + size > self.limit:
                raise torch.OutOfMemoryError(
                    f"out of memory: {size / 2**30:.2f} GiB beside {self.live / 2**30:.2f} GiB pass the limit of "
                    f"{self.limit / 2**30:.2f} GiB"
                )
            self.known[place] = weakref.ref(storage, partial(self.remove, place, size))
            self.live += size
            self.peak = max(self.peak, self.live)

    def remove(self, place: int, size: int, _: Any) -> None:
        del self.known[place]
        self.live -= size

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Within the block `peak` is of the block alone; behind it, of all again."""
        before, self.peak = self.peak, self.live
        try:
            yield
        finally:
            self.peak = max(before, self.peak)


def find_ledger(kind: str) -> Ledger | None:
    """The innermost open ledger of a kind of device."""
    return next((ledger for ledger in reversed(_OPEN) if ledger.kind == kind), None)


def answer(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], ledger: Ledger) -> Any:
    """What the operator gives; where it would read numbers of a tensor on the meta device, zeros or random ones."""
    draws = ledger.draws
    name = func.overloadpacket.__name__
    if name == "_to_copy" and args[0].is_meta and torch.device(kwargs.get("device") or "meta").type != "meta":
        made = torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype, device=kwargs["device"])
        return made.normal_(generator=draws) if draws is not None and made.is_floating_point() else made
    if name == "copy_" and args[1].is_meta and not args[0].is_meta:
        return args[0]
    if name == "_local_scalar_dense" and args[0].is_meta:
        return torch.zeros((), dtype=args[0].dtype).item()
    if name == "nonzero" and args[0].is_meta:
        return find_all(args[0])
    if name == "_unique2" and args[0].is_meta:
        return args[0].flatten(), find_all(args[0])[:, 0].view(args[0].shape), find_all(args[0])[:, 0]
    if (
        name == "bincount" and args[0].is_meta
    ):  # that counts no more kinds than it is told of, or than there are numbers
        least = kwargs.get("minlength") or (args[2] if len(args) > 2 else 0)
        return torch.empty(least or len(args[0]), dtype=torch.int64, device="meta")
    if name == "index" and args[0].is_meta:
        chosen = [part for one in args[1] for part in find_places(one, ledger)]
        return func(args[0], chosen, **kwargs)
    return func(*args, **kwargs)


def find_all(values: Tensor) -> Tensor:
    """The places of all numbers of a tensor on the meta device, as `nonzero` has them."""
    return torch.empty(values.numel(), values.dim(), dtype=torch.int64, device="meta")


def find_places(index: Tensor | None, ledger: Ledger) -> list[Tensor | None]:
    """An index as it is; a mask on the meta device as the places where it is true, or may be."""
    if index is None or not index.is_meta or index.dtype != torch.bool:
        return [index]
    places = ledger.values[index].nonzero() if index in ledger.values else find_all(index)
    return list(places.to("meta").unbind(1))


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attention; on the meta device by the fused kernel, which keeps a number a query and no matrix of weights."""
    if not query.is_meta or query.ndim != 4 or enable_gqa:
        return _ATTEND(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    if attn_mask is not None:
        attn_mask = attn_mask.to(query).expand(*query.shape[:3], key.shape[2])
    made = torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, torch.is_grad_enabled(), dropout_p, is_causal, scale=scale
    )
    return made[0]


def find_tensors(values: Any) -> list[Tensor]:
    """All tensors in nested sequences."""
    if isinstance(values, Tensor):
        return [values]
    return [one for value in values for one in find_tensors(value)] if isinstance(values, (tuple, list)) else []


_COMPOSITE: dict[Any, bool] = {}


def is_composite(func: Any) -> bool:
    if func not in _COMPOSITE:
        _COMPOSITE[func] = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return _COMPOSITE[func]
