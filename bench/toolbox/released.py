"""Weights that a method's authors released, put into the network of ours that was built after theirs.

A method says how the authors name their numbers (`Rename`, one a pattern) and what file it is (`Released`); the rest
is here. Nothing is downloaded: the user names a file. It is read as weights and nothing else, so no code in it runs.
The key of a cell holds the file's path, not what is in it: another file should have another name.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.core.errors import BenchError

WRAPPED = ("model_state_dict", "state_dict", "module", "model")  # what trainers put a state dict under


class CannotLoad(BenchError):
    """A file that is not the released checkpoint, or a network of another size than the released one."""


@dataclass(frozen=True)
class Released:
    """A checkpoint as its authors released it: for the words of an error."""

    what: str
    file: str
    size: str
    licence: str
    where: str

    def __str__(self) -> str:
        return f"needed is {self.what}: {self.file} ({self.size}; licence: {self.licence}), from {self.where}"


@dataclass(frozen=True)
class Rename:
    """Their names that match the whole of `theirs` are `ours`, in which \\1 is the first group; None: left out.

    `change` is applied to the tensor, where theirs has other axes.
    """

    theirs: str
    ours: str | None
    change: Callable[[Tensor], Tensor] = lambda tensor: tensor


def load_released(
    network: nn.Module,
    path: str | Path,
    renames: Sequence[Rename],
    released: Released,
    *,
    fresh: Sequence[str] = (),
    prepare: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
) -> None:
    """Put a released checkpoint into the network, in place; its numbers take the network's type and device.

    `prepare` comes before the renames, for what takes several tensors to make one. `fresh` are patterns of the
    network's own names, each of a part that the file may lack as a whole; what it lacks stays as it is, and so do
    whole numbers (columns of voxels, counters). Raises CannotLoad where the file cannot be read, and for numbers that
    are unknown, missing, not finite or of another shape.
    """
    held = read_checkpoint(Path(path), released)
    try:
        held = prepare(held)
    except (KeyError, RuntimeError) as error:
        raise CannotLoad(f"{path} does not fit: {error} is missing or of another shape. {released}") from error
    known = dict(network.named_parameters()) | dict(network.named_buffers())
    put: dict[str, Tensor] = {}
    unknown, wrong = [], []
    for name, tensor in held.items():
        rule = next((one for one in renames if re.fullmatch(one.theirs, name)), None)
        if rule is None:
            unknown.append(name)
        elif rule.ours is not None:
            ours, changed = re.sub(f"^(?:{rule.theirs})$", rule.ours, name), rule.change(tensor)
            if ours not in known:
                unknown.append(name)
            elif changed.shape != known[ours].shape or not changed.isfinite().all():
                wrong.append(f"{name} {list(tensor.shape)} for {ours} {list(known[ours].shape)}")
            else:
                put[ours] = changed
    lacked = [part for part in fresh if not any(re.fullmatch(part, name) for name in put)]
    missing = [
        name
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point() and name not in put and not any(re.fullmatch(one, name) for one in lacked)
    ]
    if unknown or wrong or missing:
        raise CannotLoad(
            f"{path} does not fit: unknown {show(unknown)}; of another shape or not finite {show(wrong)}; missing "
            f"{show([name for name in missing if not wrong])}. {released}"
        )
    with torch.no_grad():
        for name, tensor in put.items():
            known[name].copy_(tensor)


def read_checkpoint(path: Path, released: Released) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a PyTorch file, without a trainer's wrapping. Raises CannotLoad."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CannotLoad(f"{path} cannot be opened: {error.strerror or error}. {released}") from error
    except pickle.UnpicklingError as error:
        raise CannotLoad(
            f"{path} holds more than weights ({str(error).splitlines()[0]}), and unpickling the rest would run its "
            f"code; where you trust the file, save its state dict alone with torch.save. {released}"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CannotLoad(f"{path} is no checkpoint ({str(error).splitlines()[0]}). {released}") from error
    while isinstance(held, Mapping) and (inner := next((one for one in WRAPPED if one in held), None)) is not None:
        held = held[inner]
    if not isinstance(held, Mapping) or not all(isinstance(one, Tensor) for one in held.values()):
        raise CannotLoad(f"{path} holds no state dict. {released}")
    return {str(name).removeprefix("module."): tensor for name, tensor in held.items()}


def show(names: Sequence[str]) -> str:
    """A few of the names and how many more there are."""
    return (", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")) or "none"


def require_one_subject(subjects: Sequence[int], released: Released) -> int:
    """The only subject that there is: released numbers of voxels are one person's. Raises CannotLoad."""
    if len(subjects) != 1:
        raise CannotLoad(
            f"these weights are one subject's and {len(subjects)} are trained here; take --split single_subject, with "
            f"{{subject}} in the path where each has a file. {released}"
        )
    return int(subjects[0])


TRANSFORMER_LAYER = (  # timm's and others' names of a pre-norm layer -> nn.TransformerEncoderLayer's
    ("norm1", "norm1"),
    ("norm2", "norm2"),
    ("attn.qkv", "self_attn.in_proj"),
    ("attn.proj", "self_attn.out_proj"),
    ("mlp.fc1", "linear1"),
    ("mlp.fc2", "linear2"),
)


def rename_layers(theirs: str, ours: str, parts: Sequence[tuple[str, str]]) -> list[Rename]:
    """Renames of the weights and biases of numbered layers; `theirs` is a pattern, `parts` plain names.

    A name of ours that ends in `in_proj` has its weight and bias behind an underscore, as torch has them.
    """
    made = []
    for before, after in parts:
        joint = "_" if after.endswith("in_proj") else "."
        made.append(Rename(rf"{theirs}\.(\d+)\.{re.escape(before)}\.(weight|bias)", rf"{ours}.\1.{after}{joint}\2"))
    return made
