"""Networks that make tokens in place of a caption's from brain data, trained alone and then with a video decoder.

Two baselines share this: GLFA and CineSync. Their networks differ; what a network is asked for does not:

    network(signals, subject) → an embedding in CLIP's space, tokens in the decoder's text space

- alone (`train_alone`): the embedding is drawn to those of the clip's frames and caption by contrast, and the tokens to
  the caption's own tokens by squared error;
- with the decoder (`train_with_decoder`): the decoder's loss under the tokens, LoRA and network together. The losses
  of the first stage stay on, each scaled to the decoder's own ("rescaled to the magnitude of the diffusion loss",
  CineSync's code).

Trials of the same clip, or of clips with the same caption, are no wrong answers to each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.encoders.contrast import contrast
from bench.core.contracts import TrainingSet
from bench.pretrained.decoders import Decoder, list_lora
from bench.toolbox import targets as clip_targets
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.parts import run_in_parts
from bench.toolbox.read_signals import Reader
from bench.toolbox.sizes import count_parameters
from bench.toolbox.training import Optimiser, make_generator, plan_steps, seeded, train_steps, walk_batches


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What the training clips are to the frozen encoders, a row a clip."""

    image: Float[Tensor, "clip embedding"]  # mean over frames, of unit length
    text: Float[Tensor, "clip embedding"]  # of unit length
    tokens: CaptionTokens  # of the different captions, in the decoder's text space, off the device
    caption: Int64[Tensor, " clip"]  # row of `tokens`
    spread: float  # variance of the captions' tokens around their mean


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the networks are trained; the methods explain the fields where their `Parameters` declare them."""

    temperature: float
    image_weight: float
    text_weight: float
    token_weight: float
    weight_decay: float
    batch_size: int
    learning_rate: float
    joint_epochs: float
    joint_batch_size: int
    joint_learning_rate: float
    decoder_learning_rate: float


@torch.no_grad()
def encode_targets(suite: Any, decoder: Decoder, data: TrainingSet, *, frames: int) -> Targets:
    """Targets of all clips; CLIP sees `frames` of a clip, picked evenly."""
    seen = clip_targets.encode_targets(suite, data, frames=frames, reader=decoder)
    spread = seen.tokens.measure_spread(seen.caption, seen.tokens.average(seen.caption))
    return Targets(
        image=seen.image,
        text=seen.text,
        tokens=seen.tokens,
        caption=seen.caption,
        spread=max(float(spread), 1e-6),
    )


def measure_alignment(
    embedding: Float[Tensor, "trial embedding"],
    tokens: Float[Tensor, "trial token text"],
    clip: Int64[Tensor, " trial"],
    targets: Targets,
    recipe: Recipe,
) -> list[tuple[float, Float[Tensor, ""]]]:
    """Weights and losses of the first stage, those of weight 0 left out. Token errors are in shares of the spread."""
    caption, warmth = targets.caption[clip], recipe.temperature
    losses = []
    if recipe.image_weight:
        losses.append((recipe.image_weight, contrast(embedding, targets.image[clip], warmth, clip)))
    if recipe.text_weight:
        losses.append((recipe.text_weight, contrast(embedding, targets.text[clip], warmth, caption)))
    if recipe.token_weight:
        error = functional.mse_loss(tokens, targets.tokens[caption].to(tokens)) / targets.spread
        losses.append((recipe.token_weight, error))
    return losses


def rescale(loss: Float[Tensor, ""], size: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The loss, as large as `size` at this step; its gradient keeps its direction."""
    return loss * (size / loss.clamp(min=1e-6)).detach()


def train_both(
    method: str,
    network: nn.Module,
    decoder: Decoder,
    suite: Any,
    data: TrainingSet,
    read: Reader,
    targets: Targets,
    recipe: Recipe,
    *,
    epochs: float,
    seed: int,
    phases: tuple[str, str],
    late: nn.Module | None = None,
    beside: Callable[[np.ndarray], Float[Tensor, ""]] | None = None,
) -> tuple[list[float], list[float]]:
    """Train the network alone for so many epochs of the trials, then with the decoder's LoRA, in place.

    `method` names the generators, `phases` what is shown of the progress; `late` is a part of the network that learns
    in the second stage alone, `beside`: see `train_with_decoder`. Returns the losses of both stages.
    """
    if late is not None:
        late.requires_grad_(False)
    clip, memory = torch.from_numpy(data.clip).to(suite.device), getattr(suite, "memory", None)
    with seeded(torch.device(suite.device), method, "dropout", seed):
        losses = train_alone(
            network,
            read,
            clip,
            targets,
            recipe,
            parameters=list(network.parameters()),
            epochs=epochs,
            learning_rate=recipe.learning_rate,
            batches=make_generator(method, "batches", seed),
            phase=phases[0],
            memory=memory,
        )
        if not recipe.joint_epochs:
            return losses, []
        if late is not None:
            late.requires_grad_(True)
        latents = clip_targets.encode_clips(suite, decoder, data.video)
        joint_losses = train_with_decoder(
            network,
            decoder,
            read,
            clip,
            targets,
            latents,
            recipe,
            batches=make_generator(method, "joint batches", seed),
            noise=make_generator(method, "diffusion noise", seed),
            phase=phases[1],
            beside=beside,
            memory=memory,
        )
    return losses, joint_losses


def train_alone(
    network: nn.Module,
    read: Reader,
    clip: Int64[Tensor, " trial"],
    targets: Targets,
    recipe: Recipe,
    *,
    parameters: Sequence[nn.Parameter],
    epochs: float,
    learning_rate: float,
    batches: torch.Generator,
    phase: str,
    memory: int | None = None,
) -> list[float]:
    """Train `parameters` in place by the losses of the first stage; returns their sum at each step.

    With all weights at 0 there is nothing to learn here, and nothing is done.
    """
    if not (recipe.image_weight or recipe.text_weight or recipe.token_weight):
        return []

    def measure(rows: np.ndarray) -> Float[Tensor, ""]:
        embedding, tokens = read_in_parts(network, *read(rows), memory=memory)
        parts = measure_alignment(embedding, tokens, clip[rows], targets, recipe)
        return torch.stack([weight * loss for weight, loss in parts]).sum()

    return train_steps(
        network,
        measure,
        parameters=parameters,
        trials=len(clip),
        steps=plan_steps(epochs, len(clip), recipe.batch_size),
        batch_size=recipe.batch_size,
        learning_rate=learning_rate,
        weight_decay=recipe.weight_decay,
        batches=batches,
        phase=phase,
        memory=memory,
    )


def read_in_parts(
    network: nn.Module,
    signals: Float[Tensor, "trial column time"],
    subject: Int64[Tensor, " trial"],
    *,
    memory: int | None,
    later: bool = False,
) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token text"]]:
    """What the network makes of a batch, in single precision, computed in parts that fit the device."""

    def run(rows: slice) -> tuple[Tensor, ...]:
        embedding, tokens = network(signals[rows], subject[rows])
        return embedding.float(), tokens.float()

    trained = [one for one in network.parameters() if one.requires_grad]
    shared = [one for name, one in network.named_parameters() if name == "global_token" and one.requires_grad]
    what = f"{type(network).__name__} of {count_parameters(network)} on {tuple(signals.shape[1:])}"
    embedding, tokens = run_in_parts(
        what,
        len(signals),
        run,
        through=[*trained[:1], *shared],
        device=signals.device,
        memory=memory,
        later=later,
    )
    return embedding, tokens


def train_with_decoder(
    network: nn.Module,
    decoder: Decoder,
    read: Reader,
    clip: Int64[Tensor, " trial"],
    targets: Targets,
    latents: Float[Tensor, "clip ..."],
    recipe: Recipe,
    *,
    batches: torch.Generator,
    noise: torch.Generator,
    phase: str,
    beside: Callable[[np.ndarray], Float[Tensor, ""]] | None = None,
    memory: int | None = None,
) -> list[float]:
    """Train network and LoRA in place by the decoder's loss and the rescaled losses of the first stage.

    `beside` measures the rows of a batch; it takes the place of the losses of the first stage. Returns the decoder's
    loss at each step.
    """
    steps = plan_steps(recipe.joint_epochs, len(clip), recipe.joint_batch_size)
    lora = list_lora(decoder.network)
    groups = [(list(network.parameters()), recipe.joint_learning_rate), (lora, recipe.decoder_learning_rate)]
    optimise = Optimiser(groups, steps=steps, weight_decay=recipe.weight_decay, memory=memory)
    network.train()
    decoder.network.train()
    losses: list[float] = []
    walked = walk_batches(len(clip), recipe.joint_batch_size, steps, batches)
    for _, rows in optimise.walk(walked, phase, modules=[network, decoder.network], lists=[losses]):
        signals, subject = read(rows)
        shown = clip[rows]
        embedding, tokens = read_in_parts(network, signals, subject, memory=memory, later=True)
        drawn = decoder.measure_loss(latents[shown.to(latents.device)].to(signals), tokens, noise)
        if beside is not None:
            loss = drawn + beside(rows)
        else:
            parts = measure_alignment(embedding, tokens, shown, targets, recipe)
            loss = torch.stack([drawn, *(weight * rescale(part, drawn) for weight, part in parts)]).sum()
        optimise.step(loss)
        losses.append(float(drawn.detach()))
    network.eval()
    decoder.network.eval()
    return losses
