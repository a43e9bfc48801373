"""What training shares: seeded generators, batches, the optimiser and the plain loop.

Methods and baselines build on these; each keeps its own losses, and its own loop where that does more than step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.core.seeds import derive_seed
from bench.toolbox import checkpoints, parts, ranks
from bench.toolbox.precision import computing

Item = TypeVar("Item")


def make_generator(*purpose: str | int) -> torch.Generator:
    """A generator of its own for a purpose, e.g. `make_generator("sam_net", "batches", seed)`."""
    generator = torch.Generator().manual_seed(derive_seed(*purpose))
    checkpoints.GENERATORS["/".join(map(str, purpose))] = generator
    return generator


def make_numpy_generator(*purpose: str | int) -> np.random.Generator:
    """`make_generator` for what draws by numpy."""
    generator = np.random.default_rng(derive_seed(*purpose))
    checkpoints.NUMPY_GENERATORS["/".join(map(str, purpose))] = generator
    return generator


@contextmanager
def seeded(device: torch.device, *purpose: str | int) -> Iterator[None]:
    """torch's own generators, which modules use for initial weights and dropout, seeded and then put back."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(*purpose))
        yield


class Optimiser:
    """AdamW with one cycle of the learning rate and gradients cut at norm 1, over groups of parameters and rates.

    The rates rise for the share `rise` of the steps. `fused` is AdamW in one pass over the numbers, which rounds
    otherwise; a GPU has it anyway. `memory` bounds the device as in `bench.toolbox.budget`.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        *,
        steps: int,
        weight_decay: float,
        rise: float = 0.1,
        fused: bool | None = None,
        memory: int | None = None,
    ) -> None:
        used = [(list(parameters), rate) for parameters, rate in groups if len(parameters)]
        self.parameters = [one for parameters, _ in used for one in parameters]
        given = [{"params": parameters, "lr": rate} for parameters, rate in used]
        self.adamw = parts.choose_adamw(given, weight_decay=weight_decay, fused=fused, memory=memory)
        rates, self.steps = [rate for _, rate in used], steps
        self.cycle = torch.optim.lr_scheduler.OneCycleLR(self.adamw, rates, total_steps=steps + 1, pct_start=rise)
        self.rate = self.loss = float("nan")  # of the last step, for the curve
        parts.OPTIMISERS.add(self)

    def step(self, loss: Float[Tensor, ""]) -> float:
        self.adamw.zero_grad(set_to_none=True)
        loss.backward()
        ranks.average_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adamw.step()
        self.rate, self.loss = float(self.adamw.param_groups[0]["lr"]), float(loss.detach())
        self.cycle.step()
        return self.loss

    @property
    def pending(self) -> int:
        """Bytes of the device that gradients and moments will take, and do not take yet."""
        return parts.find_pending(self.parameters, self.adamw)

    def state_dict(self) -> dict[str, Any]:
        return {"adamw": self.adamw.state_dict(), "cycle": self.cycle.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.adamw.load_state_dict(state["adamw"])
        self.cycle.load_state_dict(state["cycle"])

    def walk(
        self,
        items: Iterable[Item],
        phase: str,
        *,
        modules: Sequence[nn.Module],
        lists: Sequence[list[float]] = (),
        also: Mapping[str, checkpoints.Kept] | None = None,
    ) -> Iterator[tuple[int, Item]]:
        """Each step's number, from 0, with what `items` gives for it; of a killed fit only the steps that are left.

        See `bench.toolbox.checkpoints.resumed`: `modules` hold all that is trained, `lists` are what the body of the
        loop appends losses to, and everything else that changes from step to step has to be in `also`. What the body
        calls of the modules computes in the precision that trains (`bench.toolbox.precision`).
        """
        device = self.parameters[0].device if self.parameters else torch.device("cpu")
        with computing(modules, device):
            yield from checkpoints.resumed(
                items,
                phase,
                total=self.steps,
                trained=self.parameters,
                optimise=self,
                modules=modules,
                lists=lists,
                also=also,
            )
        self.adamw.zero_grad(set_to_none=True)  # or they lie there while others train


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
    lists: Sequence[list[float]] = (),
    memory: int | None = None,
) -> list[float]:
    """Train `parameters` of a network in place by `measure`, the loss of some rows. Returns the loss of each step.

    `measure` may append numbers to `lists`. It draws from generators of `make_generator` alone, or from torch's own.
    """
    optimise = Optimiser([(parameters, learning_rate)], steps=steps, weight_decay=weight_decay, memory=memory)
    network.train()
    losses: list[float] = []
    walked = walk_batches(trials, batch_size, steps, batches)
    for _, rows in optimise.walk(walked, phase, modules=[network], lists=[losses, *lists]):
        losses.append(optimise.step(measure(rows)))
    network.eval()
    return losses
