"""The loss of alignment with CLIP and text (stage 2), and co-training with the generator (stage 3).

Where the descriptions leave a choice:

- Alignment is the mean of CLIP's loss with pictures and with captions. The published model learns its text tokens from
  the generator's loss alone, over many epochs on GPUs; here the part of them that is read from the aligned embedding
  also has a squared error to the caption's tokens, in units of their variance (`token_weight`; 0 is the letter).
- Before co-training the generator is tuned on the training clips and their captions (`tune_a_video.tune`).
- Co-training passes the generator's loss through its condition into the encoder. In `drop` of the trials the condition
  is that of the subject's mean fMRI, which stands for "no condition" in classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from baselines.encoders.contrast import contrast_clips
from baselines.mind_video.encoder import FmriEncoder
from bench.pretrained.generators.tune_a_video import InflatedUNet, measure_loss
from bench.toolbox.parts import run_in_parts
from bench.toolbox.read_signals import Reader
from bench.toolbox.targets import ClipTargets
from bench.toolbox.training import Optimiser, walk_batches


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How both stages are trained; the fields are explained where `Parameters` declares them."""

    temperature: float
    contrast_weight: float
    token_weight: float
    drop: float
    weight_decay: float


def measure_alignment(
    encoder: FmriEncoder,
    tokens: Float[Tensor, "trial token width"],
    clip: Int64[Tensor, " trial"],
    targets: ClipTargets,
    spread: Float[Tensor, ""],
    recipe: Recipe,
) -> Float[Tensor, ""]:
    """Stage 2's loss of what `encode_in_parts` gives, with the variance of the captions' tokens; see the module."""
    image, text = encoder.read_clip(tokens)
    loss = tokens.new_zeros(())
    if recipe.contrast_weight > 0:
        loss = loss + recipe.contrast_weight * contrast_clips(image, text, clip, targets, recipe.temperature)
    if recipe.token_weight > 0:
        wanted = targets.tokens[targets.caption[clip]].to(tokens)
        error = (encoder.read_caption(tokens) - wanted).square().mean() / spread
        loss = loss + recipe.token_weight * error
    return loss


def encode_in_parts(
    encoder: FmriEncoder,
    signals: Float[Tensor, "trial column volume"],
    subject: Int64[Tensor, " trial"],
    *,
    memory: int | None,
    later: bool = False,
) -> Float[Tensor, "trial token width"]:
    """Tokens of a batch, computed in parts that fit the device."""

    def run(rows: slice) -> tuple[Tensor, ...]:
        return (encoder.encode(signals[rows], subject[rows]),)

    what = f"fMRI encoder, {len(encoder.layers)} layers of {encoder.width} on {tuple(signals.shape[1:])}"
    trained = [one for one in encoder.parameters() if one.requires_grad]
    shared = [one for one in encoder.layers[0].parameters() if one.requires_grad]
    (tokens,) = run_in_parts(
        what,
        len(signals),
        run,
        through=[*trained[:1], *shared[:1]],
        device=signals.device,
        memory=memory,
        later=later,
    )
    return tokens


def train_together(
    encoder: FmriEncoder,
    generator: InflatedUNet,
    scheduler: Any,
    read: Reader,
    clip: Int64[Tensor, " trial"],
    latents: Float[Tensor, "clip f c y x"],
    means: Mapping[int, Float[Tensor, "column volume"]],
    recipe: Recipe,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    generator_learning_rate: float,
    batches: torch.Generator,
    noise: torch.Generator,
    memory: int | None = None,
) -> list[float]:
    """Stage 3, in place; `means` are the subjects' mean signals. Returns the generator's loss of each step."""
    trained = generator.trained_parameters()
    for parameter in trained:
        parameter.requires_grad_(True)
    groups = [(list(encoder.parameters()), learning_rate), (trained, generator_learning_rate)]
    optimise = Optimiser(groups, steps=steps, weight_decay=recipe.weight_decay, memory=memory)
    encoder.train()
    generator.train()
    losses: list[float] = []
    walked = walk_batches(len(clip), batch_size, steps, batches)
    for _, rows in optimise.walk(walked, "co-training", modules=[encoder, generator], lists=[losses]):
        signals, subject = read(rows)
        empty = torch.rand(len(rows), generator=noise) < recipe.drop
        for row in empty.nonzero()[:, 0].tolist():
            signals[row] = means[int(subject[row])]
        shown = latents[clip[rows].to(latents.device)].transpose(1, 2).to(signals)  # (n, c, f, y, x)
        text = encoder.read_text(encode_in_parts(encoder, signals, subject, memory=memory, later=True))
        losses.append(optimise.step(measure_loss(generator, scheduler, shown, text, noise, memory=memory)))
    encoder.eval()
    generator.eval().requires_grad_(False)
    return losses
