"""One loop for all three networks, which can keep the weights that did best on the validation block.

The released trainers choose their checkpoint on the *test* block (mapper) or on a random share of all clips, tested
ones among them (prior, aligner). Here the last weights stay, as with every method of the bench, or the validation block
chooses (`stopping="validation"`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.core.progress import track
from bench.toolbox.training import Optimiser, walk_batches

CHECKS = 8  # looks at the validation block in a training


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
    losses, best, kept = [], float("inf"), None
    module.train(parameters is None)
    for step, rows in enumerate(track(walk_batches(trials, batch_size, steps, batches), phase, total=steps), start=1):
        losses.append(optimise.step(measure(rows)))
        if check is not None and (step % every == 0 or step == steps):
            module.eval()
            with torch.no_grad():
                found = check()
            if found < best:
                best, kept = found, copy.deepcopy(module.state_dict())
            module.train(parameters is None)
    if kept is not None:
        module.load_state_dict(kept)
    module.eval()
    return losses
