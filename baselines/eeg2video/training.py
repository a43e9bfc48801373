"""Training of EEG2Video's three networks that see EEG: one loop, three losses.

The paper trains with Adam and a cosine schedule, for 200 epochs (seq2seq, semantic) and 100 (GLMNet). Here AdamW with
one cycle (`bench.training`), and the steps of each network are a parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.progress import track
from bench.training import Optimiser, walk_batches

Reader = Callable[[np.ndarray], Tensor]  # rows of trials -> the network's input, on the device
Loss = Callable[[Tensor, np.ndarray], Float[Tensor, ""]]  # the network's output, rows -> what to make small


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float


def train_network(
    network: nn.Module,
    read: Reader,
    measure: Loss,
    trials: int,
    recipe: Recipe,
    *,
    batches: torch.Generator,
    phase: str,
) -> list[float]:
    """Train in place and return the loss of each step."""
    steps, groups = recipe.steps, [(list(network.parameters()), recipe.learning_rate)]
    optimise = Optimiser(groups, steps=steps, weight_decay=recipe.weight_decay)
    network.train()
    losses = []
    for rows in track(walk_batches(trials, recipe.batch_size, steps, batches), phase, total=steps):
        losses.append(optimise.step(measure(network(read(rows)), rows)))
    network.eval().requires_grad_(False)
    return losses
