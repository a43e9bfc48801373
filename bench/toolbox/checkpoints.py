"""Checkpoints of training: what a killed fit goes on from, to the same numbers.

All loops that train go through `resumed`. Where the harness has given this process a folder (`use_checkpoints`), it
writes there every few minutes all that the next step depends on: trained numbers and buffers, the optimiser with its
schedule, torch's own generators and those of `make_generator`, the step, the losses. Loops are numbered in the order
in which a fit enters them, and each has files of its own:

    000.json                  which loop, how far, and the digest of the tensors beside it
    000-1200.safetensors      its tensors after 1,200 steps
    training.csv              losses and rates of all loops (`bench.toolbox.curves`), which nothing rests on

A fit that is started again passes over the loops that were finished and goes on in the one that was not. Nothing else
of it is kept: what comes before and between the loops is computed again, and a loop is believed only where it starts
from the very numbers from which the kept one started (`describe_start`). A loop that took a few seconds is trained
again. A checkpoint that cannot be written costs time and nothing else; one that is damaged is thrown away. Where a cell
has several devices (`bench.toolbox.ranks`), the first writes, all read, and a loop goes on where all can: where one
cannot, all begin it anew.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.core.errors import BenchError
from bench.core.progress import say, track
from bench.store import disk
from bench.toolbox import ranks
from bench.toolbox.curves import Curve

EVERY = "BENCH_CHECKPOINT_SECONDS"  # of the environment: seconds between checkpoints; 0 writes after each step
SECONDS = 300.0
SHARE = 0.05  # of the time, at most, goes into writing: a checkpoint of gigabytes is written less often
SHORT = 0.1  # of the seconds between checkpoints: a finished loop that took less is not worth a file
LOOKED_AT = 256  # numbers of each tensor that tell one start of a loop from another

GENERATORS: weakref.WeakValueDictionary[str, torch.Generator] = weakref.WeakValueDictionary()  # by purpose
NUMPY_GENERATORS: dict[str, np.random.Generator] = {}

Item = TypeVar("Item")


class Kept(Protocol):
    """Anything whose state is part of a loop's: tensors and plain values in dicts, lists and tuples."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


class Damaged(Exception):
    """A checkpoint is not what its digests say, or not of this loop. Leads to training anew, never to a user."""


class NoWeights(BenchError):
    """Weights that were to be kept or used cannot be."""


@dataclass
class Place:
    """Where a process keeps its checkpoints, and when it wrote the last one."""

    folder: Path
    seconds: float
    whole: bool = False  # whether each loop's end is to be kept: these are the weights
    given: bool = False  # whether the folder holds weights that stand for the training
    loops: int = 0  # entered so far
    written: float = field(default_factory=time.monotonic)
    pause: float = 0.0  # seconds that have to pass, for what was written took long

    def is_due(self) -> bool:
        return time.monotonic() - self.written >= max(self.seconds, self.pause)


_place: Place | None = None


def use_checkpoints(folder: Path | None, *, seconds: float | None = None, whole: bool = False) -> None:
    """Keep the checkpoints of this process in a folder, which is made with the first one; None: keep none.

    `whole` keeps the end of every loop, however short: these are the weights, which `use_weights` gives back.
    `seconds` lie between two of them; by default those of BENCH_CHECKPOINT_SECONDS, or 300. Raises BenchError where
    that is no number.
    """
    global _place
    _place = None
    NUMPY_GENERATORS.clear()
    if folder is not None:
        _place = Place(folder, read_seconds() if seconds is None else seconds, whole)


def use_weights(folder: Path) -> None:
    """Take the end of each loop from a folder, and train nothing: where one is missing, its loop raises NoWeights."""
    global _place
    _place = Place(folder, 0.0, given=True)


def read_seconds() -> float:
    given = os.environ.get(EVERY, "")
    try:
        seconds = float(given) if given else SECONDS
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise BenchError(f"{EVERY}={given!r}: give the seconds between two checkpoints, e.g. 300; 0 is each step")
    return seconds


def resumed(
    walk: Iterable[Item],
    phase: str,
    *,
    total: int,
    trained: Sequence[nn.Parameter],
    optimise: Kept,
    modules: Sequence[nn.Module] = (),
    lists: Sequence[list[float]] = (),
    also: Mapping[str, Kept] | None = None,
) -> Iterator[tuple[int, Item]]:
    """Each step's number, from 0, with what `walk` gives for it, and its progress: `total` steps, or what is left.

    The body trains `trained` by `optimise`; `modules` hold them, so that norms' statistics are kept too, and whatever
    the body appends to `lists` (losses) is there after it. `also` are other things that change from step to step.
    `walk` may draw from generators of `make_generator`; it is walked again up to where a killed fit was.
    """
    if _place is None:
        yield from enumerate(track(walk, phase, total=total))
        return
    loop = Loop(_place, phase, total, trained, optimise, modules, lists, also or {})
    done = loop.restore()
    walked = iter(walk)
    if 0 < done < total:
        for _ in itertools.islice(walked, done):
            pass
    loop.restore_generators()
    curve = None if _place.given or not ranks.is_first() else Curve(_place.folder, loop.number, phase, total, done)
    began = time.monotonic()
    if done < total:
        for step, item in enumerate(track(walked, phase, total=total, done=done), start=done):
            yield step, item
            if curve is not None:
                curve.add(step + 1, *(getattr(optimise, name, math.nan) for name in ("rate", "loss")))
            if step + 1 < total and ranks.is_first() and _place.is_due():
                if curve is not None:
                    curve.flush()
                loop.save(step + 1)
        if ranks.is_first() and (_place.whole or time.monotonic() - began >= SHORT * _place.seconds):
            loop.save(total)


class Loop:
    """One loop of a fit: its state, and where that is kept."""

    def __init__(
        self,
        place: Place,
        phase: str,
        total: int,
        trained: Sequence[nn.Parameter],
        optimise: Kept,
        modules: Sequence[nn.Module],
        lists: Sequence[list[float]],
        also: Mapping[str, Kept],
    ) -> None:
        self.place, self.phase, self.total = place, phase, total
        self.optimise, self.lists, self.also = optimise, lists, also
        buffers = {id(one): one for module in modules for one in module.buffers()}
        self.tensors: dict[str, Tensor] = {f"trained.{number}": one for number, one in enumerate(trained)}
        self.tensors |= {f"buffer.{number}": one for number, one in enumerate(buffers.values())}
        self.device = trained[0].device if trained else torch.device("cpu")
        self.number, self.name = place.loops, f"{place.loops:03d}"
        place.loops += 1
        self.found: tuple[dict[str, Any], dict[str, Tensor]] | None = None
        self.start = self.describe_start()

    def describe_start(self) -> str:
        """A digest of what the loop begins with: its name and length, the optimiser, the first numbers of each tensor,
        torch's own generators, and what computes. Those of `make_generator` follow from the cell's key."""
        told, tensors = split(self.optimise.state_dict())
        told = [self.phase, self.total, told, torch.__version__, self.device.type]
        found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for name, one in {**self.tensors, **tensors, **read_own_generators(self.device)}.items():
            found.update(f"{name} {one.dtype} {tuple(one.shape)}".encode())
            found.update(one.detach().reshape(-1)[:LOOKED_AT].cpu().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    def restore(self) -> int:
        """Put back what was kept of this loop; returns the steps that were done, 0 where nothing is."""
        self.found = self.find()
        if not ranks.all_have(self.found):
            if self.found is not None:
                say(f"{self.phase}: another device of this cell cannot go on from the checkpoint; it begins anew")
            if ranks.is_first():
                forget(self.place.folder, self.name)
            self.found = None
        if self.found is None:
            return 0
        state, tensors = self.found
        done = int(state["done"])
        with torch.no_grad():
            for name, one in self.tensors.items():
                one.copy_(tensors[name])
        if done < self.total:
            self.optimise.load_state_dict(join(state["optimise"], tensors))
        for name, kept in self.also.items():
            kept.load_state_dict(join(state["also"][name], tensors))
        for values, kept_values in zip(self.lists, state["lists"], strict=True):
            values[:] = kept_values
        say(f"{self.phase}: {'was done' if done == self.total else f'goes on after step {done} of {self.total}'}")
        return done

    def find(self) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """What was kept of this loop and starts as it does; None where nothing is. Raises NoWeights for what is given
        to stand for the training and does not serve."""
        try:
            state, tensors = read_state(self.place.folder, self.name)
            if (state["start"], state["phase"], state["total"]) != (self.start, self.phase, self.total):
                raise Damaged("it is of another training")
            if self.place.given and state["done"] != self.total:
                raise Damaged("its training was not finished")
        except FileNotFoundError:
            if self.place.given:
                raise NoWeights(f"{self.phase}: the weights that are to be used have none of it") from None
            return None
        except Damaged as error:
            if self.place.given:
                raise NoWeights(f"{self.phase}: the weights that are to be used do not serve ({error})") from None
            say(f"{self.phase}: a checkpoint is thrown away ({error}); this phase begins anew")
            return None
        return state, tensors

    def restore_generators(self) -> None:
        """Put back generators as they were at the checkpoint: after the walk to it, which draws from some."""
        if self.found is not None:
            state, tensors = self.found
            self.found = None
            set_generators(tensors, self.device)
            for name, value in state["numpy"].items():
                if name in NUMPY_GENERATORS:
                    NUMPY_GENERATORS[name].bit_generator.state = value

    def save(self, done: int) -> None:
        """Keep the state after so many steps; of a finished loop without its optimiser."""
        began = time.monotonic()
        tensors = {**self.tensors, **read_generators(self.device)}
        state: dict[str, Any] = {"phase": self.phase, "total": self.total, "start": self.start, "done": done}
        state["lists"] = [list(values) for values in self.lists]
        state["numpy"] = {name: one.bit_generator.state for name, one in NUMPY_GENERATORS.items()}
        state["optimise"] = None
        if done < self.total:
            state["optimise"], more = split(self.optimise.state_dict(), "optimise")
            tensors |= more
        state["also"] = {}
        for name, kept in self.also.items():
            state["also"][name], more = split(kept.state_dict(), f"also.{name}")
            tensors |= more
        try:
            write_state(self.place.folder, self.name, state, tensors)
        except OSError as error:
            if self.place.whole and done == self.total:
                raise NoWeights(f"{self.phase}: its weights cannot be kept ({error.strerror})") from error
            say(f"{self.phase}: no checkpoint can be written ({error.strerror}); the training goes on without")
        self.place.written = time.monotonic()
        self.place.pause = (self.place.written - began) / SHARE if self.place.seconds else 0.0


# Generators


def read_generators(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's own generators and of those of `make_generator` that are in use."""
    own = read_own_generators(device)
    return own | {f"generator.{purpose}": one.get_state() for purpose, one in sorted(GENERATORS.items())}


def read_own_generators(device: torch.device) -> dict[str, Tensor]:
    states = {"torch.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["torch.cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    for purpose, one in GENERATORS.items():
        if f"generator.{purpose}" in tensors:
            one.set_state(tensors[f"generator.{purpose}"])
    torch.set_rng_state(tensors["torch.cpu"])
    if device.type == "cuda" and "torch.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["torch.cuda"], device)


# States as plain values with tensors beside them


def split(value: Any, name: str = "optimise") -> tuple[Any, dict[str, Tensor]]:
    """A nested value without its tensors, each of which stands as {"tensor": its name}, and the tensors by name."""
    if isinstance(value, Tensor):
        return {"tensor": name}, {name: value}
    if isinstance(value, Mapping):
        parts = {str(key): (split(one, f"{name}.{key}"), isinstance(key, int)) for key, one in value.items()}
        kind = "numbered" if parts and all(number for _, number in parts.values()) else "named"
        tensors = {key: one for (_, found), _ in parts.values() for key, one in found.items()}
        return {kind: {key: plain for key, ((plain, _), _) in parts.items()}}, tensors
    if isinstance(value, list | tuple):
        made = [split(one, f"{name}.{place}") for place, one in enumerate(value)]
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [plain for plain, _ in made]}, {key: one for _, found in made for key, one in found.items()}
    return value, {}


def join(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `split` took apart."""
    if not isinstance(plain, dict):
        return plain
    ((kind, value),) = plain.items()
    if kind == "tensor":
        return tensors[value]
    if kind in ("named", "numbered"):
        return {int(key) if kind == "numbered" else key: join(one, tensors) for key, one in value.items()}
    made = [join(one, tensors) for one in value]
    return made if kind == "list" else tuple(made)


# Files


def write_state(folder: Path, name: str, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a loop's state, tensors first: a reader finds the new one or the old one, whole. Raises OSError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = folder / f"{name}-{state['done']}.safetensors"
    try:
        with disk.new_file(path) as draft:
            save_file({key: lay_out(one, copy=key.startswith("buffer")) for key, one in tensors.items()}, draft)
            sha256, size = disk.digest_file(draft), draft.stat().st_size
    except SafetensorError as error:  # as it tells of a full disk
        raise OSError(0, str(error)) from error
    text = json.dumps({**state, "file": path.name, "sha256": sha256, "bytes": size}, sort_keys=True)
    content = {"digest": hashlib.sha256(text.encode()).hexdigest(), "state": json.loads(text)}
    with disk.new_file(folder / f"{name}.json") as draft:
        draft.write_text(json.dumps(content), encoding="utf-8")
    for old in folder.glob(f"{name}-*.safetensors"):
        if old != path:
            disk.remove(old)


def lay_out(tensor: Tensor, *, copy: bool) -> Tensor:
    """A tensor as a file takes it: on the CPU, in order; a copy where it may share its numbers with another."""
    laid = tensor.detach().cpu().contiguous()
    return laid.clone() if copy else laid


def read_state(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A loop's state. Raises FileNotFoundError where none was kept, and Damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        text = (folder / f"{name}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise Damaged(f"{name}.json cannot be read") from error
    try:
        content = json.loads(text)
        state = content["state"]
        if hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest() != content["digest"]:
            raise Damaged(f"{name}.json is not what its digest says")
        path = folder / Path(state["file"]).name
        if disk.digest_file(path) != state["sha256"]:
            raise Damaged(f"{path.name} is not what its digest says")
        return state, load_file(path)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise Damaged(f"{name} is not whole: {type(error).__name__}") from error


def forget(folder: Path, name: str) -> None:
    """Remove what was kept of a loop."""
    for path in (folder / f"{name}.json", *folder.glob(f"{name}-*.safetensors")):
        disk.remove(path)
