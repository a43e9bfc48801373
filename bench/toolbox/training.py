"""What training shares: seeded generators, batches, the optimiser, the plain loop; and clips encoded once a process.

Methods and baselines build on these; each keeps its own losses, and its own loop where that does more than step.
"""

from __future__ import annotations

import hashlib
import inspect
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bench.core.progress import track
from bench.core.seeds import derive_seed
from bench.store.cache import digest_code, open_cache
from bench.store.provenance import find_versions

ENCODED = 32  # clips encoded at once
KEPT = (torch.float16, torch.float32)  # numbers of latents that the cache takes
REMEMBERED = 4  # results of a suite that a process keeps
_MEMORY: weakref.WeakKeyDictionary[Any, dict[str, Tensor]] = weakref.WeakKeyDictionary()


def make_generator(*purpose: str | int) -> torch.Generator:
    """A generator of its own for a purpose, e.g. `make_generator("sam_net", "batches", seed)`."""
    return torch.Generator().manual_seed(derive_seed(*purpose))


@contextmanager
def seeded(device: torch.device, *purpose: str | int) -> Iterator[None]:
    """torch's own generators, which modules use for initial weights and dropout, seeded and then put back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(*purpose))
        yield


class Optimiser:
    """AdamW with one cycle of the learning rate and gradients cut at norm 1, over groups of parameters and rates."""

    def __init__(
        self, groups: Sequence[tuple[Sequence[nn.Parameter], float]], *, steps: int, weight_decay: float
    ) -> None:
        used = [(list(parameters), rate) for parameters, rate in groups if len(parameters)]
        self.parameters = [one for parameters, _ in used for one in parameters]
        given = [{"params": parameters, "lr": rate} for parameters, rate in used]
        self.adamw = torch.optim.AdamW(given, weight_decay=weight_decay)
        rates = [rate for _, rate in used]
        self.cycle = torch.optim.lr_scheduler.OneCycleLR(self.adamw, rates, total_steps=steps + 1, pct_start=0.1)

    def step(self, loss: Float[Tensor, ""]) -> float:
        self.adamw.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adamw.step()
        self.cycle.step()
        return float(loss.detach())


def plan_steps(epochs: float, trials: int, batch_size: int) -> int:
    """Steps of so many epochs of a split's own trials, at least one: budgets are in epochs, alike on every split."""
    return max(1, round(epochs * trials / min(batch_size, trials)))


def walk_batches(trials: int, size: int, steps: int, generator: torch.Generator) -> Iterator[np.ndarray]:
    """Rows of each step's batch: all trials shuffled and walked through, again and again, in full batches."""
    size = min(size, trials)
    pool = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(pool) < size:
            pool = torch.randperm(trials, generator=generator)
        yield pool[:size].numpy()
        pool = pool[size:]


def train_steps(
    network: nn.Module,
    measure: Callable[[np.ndarray], Float[Tensor, ""]],
    *,
    parameters: Sequence[nn.Parameter],
    trials: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    batches: torch.Generator,
    phase: str,
) -> list[float]:
    """Train `parameters` of a network in place by `measure`, the loss of some rows. Returns the loss of each step."""
    optimise = Optimiser([(parameters, learning_rate)], steps=steps, weight_decay=weight_decay)
    network.train()
    walked = walk_batches(trials, batch_size, steps, batches)
    losses = [optimise.step(measure(rows)) for rows in track(walked, phase, total=steps)]
    network.eval()
    return losses


def remember(
    suite: Any, what: str, video: UInt8[np.ndarray, "clip ..."], encode: Callable[[np.ndarray], Tensor]
) -> Float[Tensor, "clip ..."]:
    """`encode` of all clips, in chunks, unless these networks have done just that to just these clips.

    Encoding takes half of the time of a small cell and hours at the papers' size, and the folds and variants of a run
    see the same clips: what was made lately is in memory, the rest in the cache. `what` names the encoding with
    everything that changes it and is no setting of the suite.
    """
    key = f"{what} {digest_video(video)}"
    kept = _MEMORY.setdefault(suite, {})
    if key not in kept:
        made_from = describe_encoding(suite, key, video, encode)
        found = None if made_from is None else open_cache().find_array(made_from)
        if found is not None:
            keep(suite, key, torch.from_numpy(np.array(found)))
            return kept[key]
        chunks = track(range(0, len(video), ENCODED), f"encoding training clips: {what.split()[0]}")
        keep(suite, key, torch.cat([encode(video[at : at + ENCODED]) for at in chunks]))
        if made_from is not None and kept[key].dtype in KEPT and kept[key].device.type == "cpu":
            open_cache().keep_array(made_from, kept[key].detach().numpy())
    return kept[key]


def describe_encoding(
    suite: Any, key: str, video: UInt8[np.ndarray, "clip ..."], encode: Callable[[np.ndarray], Tensor]
) -> dict[str, Any] | None:
    """All that determines an encoding, for the cache: clips, networks, code, and what computes it.

    None where the networks or the code cannot be told, as in a notebook.
    """
    networks, source = getattr(suite, "contents", None), inspect.getsourcefile(encode)
    if networks is None or source is None or not Path(source).is_file():
        return None
    versions = find_versions()
    return {
        "what": f"latents, {key}",
        "shape": list(video.shape),
        "networks": networks,
        "code": digest_code("bench.pretrained.suite", __name__, Path(source).resolve()),
        "device": f"{suite.device} {torch.get_num_threads()}",
        "versions": {name: versions[name] for name in ("torch", "transformers", "diffusers") if name in versions},
    }


def keep(suite: Any, key: str, value: Any) -> None:
    """Put a result into the suite's memory, and the oldest out of it."""
    kept = _MEMORY.setdefault(suite, {})
    kept[key] = value
    for old in list(kept)[:-REMEMBERED]:
        del kept[old]


def digest_video(video: UInt8[np.ndarray, "clip ..."]) -> str:
    return hashlib.sha256(np.ascontiguousarray(video).data).hexdigest()
