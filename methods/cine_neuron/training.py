"""Training: stage 1 (equation 3), stage 2 (equation 10), and the input layer of a new subject.

The paper names AdamW, one cycle of the learning rate, steps, batches and rates; it says nothing of weight decay (0.01
here) or of LoRA's rate. At 1e-6, the rate of stage 2, LoRA and the zero-convolutions would hardly move in 20 epochs, so
what starts at zero there (router, fusion, LoRA) has a rate of its own, and the Brain Model the paper's.

In stage 2, L_stage1 keeps the Brain Model where retrieval works while the decoder's loss shapes f^e. The loss of the
mixture scores, which the router learns by, is explained in memory.py; where the first layer is solved, the router
learns by it before stage 2 too, and the transformer's share of f^c is chosen (`keep_gain`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.pretrained.decoders import Decoder, list_lora
from bench.toolbox.parts import run_in_parts
from bench.toolbox.training import Optimiser, train_steps, walk_batches
from methods.cine_neuron.alignment import Alignment, choose_own, info_nce
from methods.cine_neuron.categories import category_loss
from methods.cine_neuron.memory import make_pool
from methods.cine_neuron.networks import Memories, Networks
from methods.cine_neuron.targets import Targets

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the transformer's gain, the least first: of equal ones it is taken
Look = Callable[[np.ndarray], tuple[Tensor, Tensor]]  # rows of trials -> f^c and f^e


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How both stages are trained; the fields are explained where `Parameters` declares them."""

    temperature: float
    action_weight: float
    category_weight: float
    focal_gamma: float
    router_weight: float
    own_clip: bool
    true_text: float
    weight_decay: float


def measure_stage1(
    alignment: Alignment,
    f_c: Float[Tensor, "trial embedding"],
    clip: Int64[Tensor, " trial"],
    targets: Targets,
    recipe: Recipe,
) -> Float[Tensor, ""]:
    """Equation (3): images and text, lambda_1 × actions, lambda_2 × categories."""
    warmth, caption = recipe.temperature, targets.caption[clip]
    loss = info_nce(f_c, alignment.frames(targets.frames[clip]), warmth, clip)
    loss = loss + info_nce(f_c, targets.text[clip], warmth, caption)
    if recipe.action_weight > 0:
        loss = loss + recipe.action_weight * info_nce(alignment.action(f_c), targets.action[clip], warmth, clip)
    if recipe.category_weight > 0:
        seen = category_loss(alignment.categories(f_c), targets.labels[clip], gamma=recipe.focal_gamma)
        loss = loss + recipe.category_weight * seen
    return loss


def measure_mixture(
    networks: Networks,
    f_c: Float[Tensor, "trial embedding"],
    f_e: Float[Tensor, "trial token width"],
    clip: Int64[Tensor, " trial"],
    memories: Memories,
    temperature: float,
) -> Float[Tensor, ""]:
    """InfoNCE over the mixture scores (5) of the clips of the batch: what the router learns by."""
    pool = make_pool({name: values[clip] for name, values in memories.pool.embeddings.items()})
    return choose_own(networks.score(f_c, f_e, pool), temperature, memories.caption[clip])


def train_stage1(
    networks: Networks,
    look: Look,
    clip: Int64[Tensor, " trial"],
    targets: Targets,
    recipe: Recipe,
    *,
    parameters: Sequence[nn.Parameter],
    steps: int,
    batch_size: int,
    learning_rate: float,
    batches: torch.Generator,
    phase: str,
    memory: int | None = None,
) -> list[float]:
    """Train `parameters` in place by equation (3), and return the loss of each step."""

    def measure(rows: np.ndarray) -> Float[Tensor, ""]:
        (f_c,) = look_in_parts(networks, look, rows, through=parameters[:1], memory=memory)
        return measure_stage1(networks.alignment, f_c, clip[rows], targets, recipe)

    return train_steps(
        networks,
        measure,
        parameters=parameters,
        trials=len(clip),
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=recipe.weight_decay,
        batches=batches,
        phase=phase,
        memory=memory,
    )


def look_in_parts(
    networks: Networks,
    look: Look,
    rows: np.ndarray,
    *,
    through: Sequence[Tensor],
    memory: int | None,
    more: Callable[[Tensor, Tensor, slice], Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """f^c of some trials in single precision: similarities need the digits that bfloat16 lacks. With `more` also f^e,
    and what that makes of both.

    As many trials at once as fit (`bench.toolbox.parts`): the losses that couple a batch see all of it.
    """
    brain = networks.brain
    device = brain.positions.device

    def see(part: slice) -> tuple[Tensor, ...]:
        f_c, f_e = (one.float() for one in look(rows[part]))
        return (f_c,) if more is None else (f_c, f_e, more(f_c, f_e, part))

    shape = f"{len(brain.layers)} layers of {1 + brain.tokens} × {brain.positions.shape[1]}"
    what = f"Brain Model: {shape}, {brain.checkpointing}, {more is not None}"
    later = more is not None  # the decoder's turn comes then
    return run_in_parts(what, len(rows), see, through=through, device=device, memory=memory, later=later)


@torch.no_grad()
def keep_gain(
    networks: Networks,
    look: Look,
    clip: Int64[Tensor, " trial"],
    targets: Targets,
    recipe: Recipe,
    rows: np.ndarray,
    memory: int | None = None,
) -> float:
    """Set the transformer's gain to that share of it with the least loss (1) on these trials; returns the share."""
    brain = networks.brain
    learned = float(brain.gain)
    plain = replace(recipe, action_weight=0.0, category_weight=0.0)
    losses = []
    for share in SHARES:
        brain.gain.fill_(share * learned)
        (f_c,) = look_in_parts(networks, look, rows, through=(), memory=memory)
        losses.append(float(measure_stage1(networks.alignment, f_c, clip[rows], targets, plain)))
    best = SHARES[int(np.argmin(losses))]
    brain.gain.fill_(best * learned).requires_grad_(False)  # nor does stage 2 change it
    return best


def train_router(
    networks: Networks,
    look: Look,
    clip: Int64[Tensor, " trial"],
    memories: Memories,
    recipe: Recipe,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    batches: torch.Generator,
    phase: str,
) -> list[float]:
    """Train the router in place by its loss alone, on what is there before stage 2; returns the loss of each step."""
    assert networks.router is not None

    def measure(rows: np.ndarray) -> Float[Tensor, ""]:
        with torch.no_grad():
            f_c, f_e = look(rows)
        return measure_mixture(networks, f_c.float(), f_e.float(), clip[rows], memories, recipe.temperature)

    return train_steps(
        networks,
        measure,
        parameters=list(networks.router.parameters()),
        trials=len(clip),
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=recipe.weight_decay,
        batches=batches,
        phase=phase,
    )


def train_stage2(
    networks: Networks,
    decoder: Decoder,
    look: Look,
    clip: Int64[Tensor, " trial"],
    targets: Targets,
    latents: Float[Tensor, "clip ..."],
    memories: Memories,
    recipe: Recipe,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    decoder_learning_rate: float,
    batches: torch.Generator,
    noise: torch.Generator,
    phase: str,
    memory: int | None = None,
) -> list[float]:
    """Equation (10), in place: networks and LoRA together; phi_v stays, or the memories would be out of date.

    Entry i of the memories is clip i. Returns the decoder's loss, equation (9), of each step.
    """
    fresh = [one for part in (networks.router, networks.fusion) if part is not None for one in part.parameters()]
    heads = [*networks.alignment.action.parameters(), *networks.alignment.categories.parameters()]
    groups = [
        ([*networks.brain.parameters(), *heads], learning_rate),
        ([*fresh, *list_lora(decoder.network)], decoder_learning_rate),
    ]
    optimise = Optimiser(groups, steps=steps, weight_decay=recipe.weight_decay, memory=memory)
    through = groups[0][0][:1]
    networks.train()
    decoder.network.train()
    losses: list[float] = []
    walked = walk_batches(len(clip), batch_size, steps, batches)
    for _, rows in optimise.walk(walked, phase, modules=[networks, decoder.network], lists=[losses]):
        shown = clip[rows]
        told = None
        if recipe.true_text > 0:
            told = torch.where(torch.rand(len(rows), generator=noise).to(clip.device) < recipe.true_text, shown, -1)

        def make_condition(f_c: Tensor, f_e: Tensor, part: slice, shown: Tensor = shown, told: Any = told) -> Tensor:
            exclude = None if recipe.own_clip else shown[part]
            return networks.make_condition(
                f_c, f_e, memories, exclude=exclude, told=None if told is None else told[part]
            )

        f_c, f_e, condition = look_in_parts(networks, look, rows, through=through, memory=memory, more=make_condition)
        drawn = decoder.measure_loss(latents[shown.to(latents.device)].to(f_c), condition, noise)
        loss = drawn + measure_stage1(networks.alignment, f_c, shown, targets, recipe)
        if networks.router is not None and recipe.router_weight > 0:
            found = measure_mixture(networks, f_c, f_e, shown, memories, recipe.temperature)
            loss = loss + recipe.router_weight * found
        optimise.step(loss)
        losses.append(float(drawn.detach()))
    networks.eval()
    decoder.network.eval()
    return losses
