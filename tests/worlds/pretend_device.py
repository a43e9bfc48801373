"""A second device that is only pretended: what would fail on a machine with a GPU fails on one without.

    with PretendDevice():
        network.to("cuda")(torch.zeros(1, 4))  # RuntimeError: expected all tensors to be on the same device

Every value stays on the CPU, so networks compute what they always compute. What is remembered is which *storages* were
moved to "cuda" or made there: views, detached tensors, parameters that `Module.to` fills in place, saved activations
and deep copies share or inherit the mark without further bookkeeping.

Two of torch's own hooks see everything that happens:

- `_Surface`, a `TorchFunctionMode`, is asked before each call from Python. It answers for `device` and its kin, carries
  out `to`, `cuda`, `cpu` and `device=`, refuses `numpy()` of a far tensor and a generator of the other device.
- `_Operators`, a `TorchDispatchMode`, is asked before each ATen operator, also of those inside `torch.nn.functional`
  and of the backward pass. It refuses operators that mix devices and marks what far operands give.

The rules of mixing are torch's: an operator wants one device; elementwise ones take CPU scalars (0-dim) beside; `copy_`
goes anywhere; indices may lie on the CPU or with the indexed tensor. An operator's name decides, not its kernel, so
what only a kernel would refuse (a dtype, a lack of memory) is not seen. Other threads than the one that entered are not
watched, a file is read to the CPU whatever lay in it, and in the backward pass operators mark but never refuse:
autograd makes tensors of its own there, and it moves gradients to where their tensors are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import torch._dynamo  # optimisers import it when first used, and it must not meet the stand-ins below
import torch.utils.checkpoint
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

FAR, NEAR = torch.device("cuda", 0), torch.device("cpu")
ANYWHERE = {"copy_", "copy", "_foreach_copy_", "_to_copy", "set_", "is_same_size", "resize_as_"}
ANYWHERE |= {"tensor_split", "_pack_padded_sequence"}  # these want lengths on the CPU
# beside the elementwise operators: those that take a 0-dim tensor on the CPU for a number
SCALARS = {"masked_fill", "masked_fill_", "fill", "fill_", "index_put", "index_put_", "_index_put_impl_", "mse_loss"}
SCALARS |= {"_foreach_add", "_foreach_add_", "_foreach_mul", "_foreach_mul_", "_foreach_div", "_foreach_div_"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
WHERE = {torch.Tensor.device: "device", torch.Tensor.is_cuda: "is_cuda", torch.Tensor.is_cpu: "is_cpu"}
FROM_DATA = {torch.tensor, torch.as_tensor, torch.asarray}
FACTORIES = {torch.arange, torch.range, torch.linspace, torch.logspace, torch.full, torch.scalar_tensor}


class PretendDevice:
    """While entered, "cuda" names a device that `torch.cuda.is_available()` vouches for and that holds no memory."""

    def __init__(self) -> None:
        self.marks: dict[int, StorageWeakRef] = {}  # by the storage's address, which a weak reference keeps taken
        self.limit = 10_000  # marks until those of freed storages are thrown away
        self.far_call = False  # in a call with far operands: what C++ makes there is far
        self.backward = False
        self.surface, self.operators = _Surface(self), _Operators(self)

    def __enter__(self) -> PretendDevice:
        self.stack = ExitStack()
        for name, stand_in in _stand_ins(self).items():
            self.stack.enter_context(mock.patch(name, stand_in))
        # a checkpoint notes devices where the surface is off, and compares them where it is on
        known = torch.utils.checkpoint._allowed_determinism_checks_to_fns
        shapes = {"default": lambda tensor: {"shape": tensor.shape, "dtype": tensor.dtype}}
        self.stack.enter_context(mock.patch.dict(known, shapes))
        self.stack.enter_context(self.operators)
        self.stack.enter_context(self.surface)
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.close()

    # Marks

    def is_far(self, tensor: Tensor) -> bool:
        return find_storage(tensor) in self.marks

    def mark(self, tensor: Tensor) -> None:
        place = find_storage(tensor)
        if place not in self.marks:
            self.marks[place] = StorageWeakRef(tensor.untyped_storage())
            if len(self.marks) > self.limit:
                self.marks = {place: one for place, one in self.marks.items() if not one.expired()}
                self.limit = max(10_000, 2 * len(self.marks))

    def place(self, tensor: Tensor, far: bool) -> Tensor:
        """The tensor where it is wanted: itself if it is there, otherwise a copy."""
        if self.is_far(tensor) == far:
            return tensor
        if tensor.is_meta:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        return _Move.apply(tensor, self, far)

    def settle(self, made: Any, far: bool) -> Any:
        """What a factory made lies on the device that it was asked for."""
        for tensor in find_tensors(made):
            if far:
                self.mark(tensor)
            else:
                self.marks.pop(find_storage(tensor), None)
        return made

    # Calls from Python

    def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self.read_property(func, args)
        if name == "untyped_storage":
            return func(*args, **kwargs)
        tensors = find_tensors((args, kwargs))
        far = any(self.is_far(one) for one in tensors) and func not in FACTORIES  # those read numbers of tensors
        if name in ("to", "cuda", "cpu", "type_as"):
            return self.move(name, args, kwargs)
        if name in ("numpy", "__array__", "__dlpack__") and far and not kwargs.get("force", False):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory"
            )
        if name == "get_device":
            return 0 if far else func(*args, **kwargs)
        wanted = kwargs.get("device")
        goal = far if wanted is None else is_far_name(wanted)
        check_generator(args, kwargs, goal)
        if func in FROM_DATA:
            return self.read_data(func, args, kwargs)
        if wanted is not None:
            return self.settle(self.run(func, args, {**kwargs, "device": NEAR if goal else wanted}, False), goal)
        made = self.run(func, args, kwargs, far)
        if name in ("new_tensor", "new", "__deepcopy__"):  # these copy storages past all operators
            self.settle(made, far)
        return made

    def run(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], far: bool) -> Any:
        before, self.far_call = self.far_call, far
        try:
            return func(*args, **kwargs)
        finally:
            self.far_call = before

    def read_property(self, func: Any, args: tuple[Any, ...]) -> Any:
        found = func(*args)
        what = WHERE.get(func.__self__)
        if what is not None and self.is_far(args[0]):
            return FAR if what == "device" else what == "is_cuda"
        if func.__self__ in (torch.Tensor.grad, torch.Tensor._grad) and found is not None and self.is_far(args[0]):
            self.mark(found)  # autograd may have made it of nothing
        return found

    def move(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`to` in its three forms, `cuda`, `cpu` and `type_as`."""
        tensor, rest = args[0], args[1:]
        other = rest[0] if rest and isinstance(rest[0], Tensor) else kwargs.get("other")
        if name in ("cuda", "cpu"):
            return self.place(tensor, name == "cuda")
        options = dict(kwargs)
        copy = options.pop("copy", False)
        if other is not None:
            wanted, dtype, layout = None, other.dtype, options.get("memory_format")
            far = self.is_far(other)
        else:
            if rest and isinstance(rest[-1], bool) and len(rest) > 2:  # to(device, dtype, non_blocking[, copy])
                copy, rest = (rest[3] if len(rest) > 3 else copy), rest[:2]
            wanted, dtype, _, layout = torch._C._nn._parse_to(*rest, **options)
            far = self.is_far(tensor) if wanted is None else wanted.type == "cuda"
        if wanted is not None and wanted.type not in ("cuda", "cpu"):
            return torch.Tensor.to(tensor, wanted, dtype=dtype)
        moved = self.place(tensor, far)
        form = {} if layout is None else {"memory_format": layout}
        return torch.Tensor.to(moved, dtype=dtype or moved.dtype, copy=copy and moved is tensor, **form)

    def read_data(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """`torch.tensor` and its kin: on the device asked for, else where the data is."""
        data = args[0] if args else kwargs.get("data", kwargs.get("obj"))
        wanted = kwargs.get("device")
        source = self.is_far(data) if isinstance(data, Tensor) else False
        made = func(*args, **{**kwargs, "device": NEAR if wanted is None or is_far_name(wanted) else wanted})
        goal = source if wanted is None else is_far_name(wanted)
        if isinstance(data, Tensor) and find_storage(made) == find_storage(data):
            return self.place(made, goal)
        return self.settle(made.clone() if goal else made, goal)  # `as_tensor` may share the memory of an array

    # Operators

    def operate(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensors = find_tensors((args, kwargs))
        near = [one for one in tensors if not self.is_far(one)]
        if 0 < len(near) < len(tensors) and not self.backward:
            check_mixture(func, args, tensors, self.is_far)
        made = func(*args, **kwargs)
        if len(near) < len(tensors) or (not tensors and self.far_call):
            own = {find_storage(one) for one in near}  # a copy into a near tensor gives that tensor
            for tensor in find_tensors(made):
                if find_storage(tensor) not in own:
                    self.mark(tensor)
        return made


class _Surface(TorchFunctionMode):
    def __init__(self, device: PretendDevice) -> None:
        super().__init__()
        self.pretended = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.pretended.call(func, args, kwargs or {})


class _Operators(TorchDispatchMode):
    def __init__(self, device: PretendDevice) -> None:
        super().__init__()
        self.pretended = device

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and the guard would cost more than the bookkeeping

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if is_composite(func):  # arrives whole in inference mode; its parts are what has rules
            with self:
                made = func.decompose(*args, **(kwargs or {}))
            if made is not NotImplemented:
                return made
        with torch._C.DisableTorchFunction():
            return self.pretended.operate(func, args, kwargs or {})


class _Move(torch.autograd.Function):
    """A copy on the other device; its gradient comes back to where the tensor was."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, device: PretendDevice, far: bool) -> Tensor:
        ctx.device, ctx.far = device, far
        return device.settle(tensor.detach().clone(), far)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        return ctx.device.settle(gradients[0].clone(), not ctx.far), None, None


class PretendGenerator(torch.Generator):
    """torch.Generator, also on the pretended device."""

    def __new__(cls, device: Any = "cpu") -> PretendGenerator:
        made = super().__new__(cls, NEAR if is_far_name(device) else device)
        made.where = FAR if is_far_name(device) else torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.where


def check_generator(args: tuple[Any, ...], kwargs: dict[str, Any], far: bool) -> None:
    """Raises RuntimeError, as torch does, where a generator of one device is to draw a tensor on the other."""
    for one in (*args, kwargs.get("generator")):
        if isinstance(one, torch.Generator):
            wanted, found = "cuda" if far else "cpu", getattr(one, "where", NEAR).type
            if wanted != found:
                raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{found}'")


def check_mixture(func: Any, args: tuple[Any, ...], operands: list[Tensor], is_far: Callable[[Tensor], bool]) -> None:
    """Raises RuntimeError where torch would for operands on two devices."""
    name = func.overloadpacket.__name__
    if name in INDEXING:
        if not is_far(args[0]) and any(is_far(one) for one in find_tensors(args[1])):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        operands = [args[0], *args[2:3]]  # what is indexed, and what is put there
    near = [one for one in operands if not is_far(one)]
    if name in ANYWHERE or len(near) in (0, len(operands)):
        return
    writes_near = name.endswith("_") and not name.endswith("__") and args[0] is near[0]
    scalars = torch.Tag.pointwise in func.tags or name in SCALARS
    if writes_near or not scalars or any(one.dim() for one in near):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! ({func})"
        )


def find_tensors(values: Any) -> list[Tensor]:
    """All tensors in nested sequences and dictionaries."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, (tuple, list)):
        return [one for value in values for one in find_tensors(value)]
    return [one for value in values.values() for one in find_tensors(value)] if isinstance(values, dict) else []


def find_storage(tensor: Tensor) -> int:
    """The address of what holds the numbers; 0 for a sparse tensor, which holds several."""
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else 0


def is_far_name(device: Any) -> bool:
    return isinstance(device, int) or torch.device(device).type == "cuda"


_COMPOSITE: dict[Any, bool] = {}


def is_composite(func: Any) -> bool:
    if func not in _COMPOSITE:
        _COMPOSITE[func] = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return _COMPOSITE[func]


def _stand_ins(device: PretendDevice) -> dict[str, Any]:
    """What torch is asked about devices outside of any tensor, and the answers of a machine with one GPU."""
    run = torch.autograd._engine_run_backward

    def run_backward(*args: Any, **kwargs: Any) -> Any:
        before, device.backward = device.backward, True
        try:
            with device.surface:  # a checkpoint runs a part of the forward pass again
                return run(*args, **kwargs)
        finally:
            device.backward = before

    nothing = lambda *args, **kwargs: None  # noqa: E731
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "is_bf16_supported": lambda *args, **kwargs: True,
        "get_device_name": lambda *args: "a pretended device",
        "get_device_capability": lambda *args: (8, 0),
        "get_rng_state": lambda *args: torch.get_rng_state(),
        "is_current_stream_capturing": lambda: False,
        "mem_get_info": lambda *args: (2**36, 2**36),
        **dict.fromkeys(("memory_allocated", "memory_reserved", "max_memory_allocated"), lambda *args: 0),
        **dict.fromkeys(
            (
                *("set_rng_state", "manual_seed", "manual_seed_all", "synchronize", "empty_cache", "_lazy_init"),
                *("reset_peak_memory_stats", "set_per_process_memory_fraction"),
            ),
            nothing,
        ),
    }
    return {
        **{f"torch.cuda.{name}": answer for name, answer in answers.items()},
        "torch.accelerator.current_stream": lambda *args: SimpleNamespace(is_capturing=lambda: False),
        "torch.Generator": PretendGenerator,
        "torch.autograd._engine_run_backward": run_backward,
    }
