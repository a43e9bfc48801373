"""One loop for all three networks, which can keep the weights that did best on the validation block.

The released trainers choose their checkpoint on the *test* block (mapper) or on a random share of all clips, tested
ones among them (prior, aligner). Here the last weights stay, as with every method of the bench, or the validation block
chooses (`stopping="validation"`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.toolbox.training import Optimiser, walk_batches

CHECKS = 8  # looks at the validation block in a training


@dataclass
class Best:
    """The least loss on the validation block so far, and the weights that had it."""

    loss: float
    weights: dict[str, Any] | None

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self.loss, "weights": self.weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.loss, self.weights = state_dict["loss"], state_dict["weights"]


def train_network(
    module: nn.Module,
    measure: Callable[[np.ndarray], Float[Tensor, ""]],
    *,
    parameters: Sequence[nn.Parameter] | None = None,
    trials: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    batches: torch.Generator,
    check: Callable[[], float] | None = None,
    phase: str,
) -> list[float]:
    """Train `parameters` (None: all of the module's) in place and return the loss of each step.

    `measure` gives the loss of some rows of trials. `check` gives a loss of the validation block; the weights of its
    least value stay. With `parameters` the rest of the module stays as it is, norms' statistics among it.
    """
    trained = list(module.parameters()) if parameters is None else list(parameters)
    optimise = Optimiser([(trained, learning_rate)], steps=steps, weight_decay=weight_decay)
    every = -(-steps // CHECKS)
    losses: list[float] = []
    best = Best(float("inf"), None)
    module.train(parameters is None)
    walked = walk_batches(trials, batch_size, steps, batches)
    for step, rows in optimise.walk(walked, phase, modules=[module], lists=[losses], also={"best": best}):
        losses.append(optimise.step(measure(rows)))
        if check is not None and ((step + 1) % every == 0 or step + 1 == steps):
            module.eval()
            with torch.no_grad():
                found = check()
            if found < best.loss:
                best.loss, best.weights = found, copy.deepcopy(module.state_dict())
            module.train(parameters is None)
    if best.weights is not None:
        module.load_state_dict(best.weights)
    module.eval()
    return losses
