"""Losses of the three decoders.

- Semantics: CLIP's loss with pictures and with captions, and the squared error of the text tokens.
- Structure: the squared error of the first frame's latent.
- Motion: the squared error of the frames that were hidden. A trial knows its first frame and each other one with a
  probability of its own, drawn evenly, so that all numbers of known frames occur, none (as in use) among them. Frames
  known in training are true ones, as published; in use they are predictions.

Squared errors are in units of the variance of what is predicted (for motion, of the change from the first frame), so
1 is what the training mean (a still video) gets. The weights of the published sum are not known here; they are 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from baselines.encoders.contrast import contrast_clips
from baselines.mind_animator.decoders import MotionDecoder, SemanticDecoder, StructureDecoder
from bench.toolbox.targets import ClipTargets

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # signals, subject, clip -> a number


def measure_semantics(
    decoder: SemanticDecoder,
    signals: Float[Tensor, "trial column volume"],
    subject: Int64[Tensor, " trial"],
    clip: Int64[Tensor, " trial"],
    targets: ClipTargets,
    *,
    temperature: float,
    contrast_weight: float,
) -> Float[Tensor, ""]:
    embedding, tokens = decoder(signals, subject)
    wanted = targets.tokens[:, : decoder.tokens]
    spread = (wanted - decoder.mean[: decoder.tokens]).square().mean().clamp_min(1e-8)
    loss = (tokens[:, : decoder.tokens] - wanted[clip]).square().mean() / spread
    if contrast_weight > 0:
        loss = loss + contrast_weight * contrast_clips(embedding, embedding, clip, targets, temperature)
    return loss


def measure_structure(
    decoder: StructureDecoder,
    signals: Float[Tensor, "trial column volume"],
    subject: Int64[Tensor, " trial"],
    first: Float[Tensor, "trial c y x"],
) -> Float[Tensor, ""]:
    spread = (first - decoder.mean).square().mean().clamp_min(1e-8)
    return (decoder(signals, subject) - first).square().mean() / spread


def draw_known(trials: int, frames: int, generator: torch.Generator) -> Bool[Tensor, "trial frame"]:
    """Which frames a trial knows: its first, and each other with a probability of the trial's own."""
    share = torch.rand(trials, 1, generator=generator)
    known = torch.rand(trials, frames, generator=generator) < share
    known[:, 0] = True
    return known


def measure_motion(
    decoder: MotionDecoder,
    signals: Float[Tensor, "trial column volume"],
    subject: Int64[Tensor, " trial"],
    latents: Float[Tensor, "trial frame c y x"],
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    known = draw_known(len(latents), latents.shape[1], generator).to(latents.device)
    hidden = (~known).float()[:, :, None, None, None]
    error = (decoder(latents, known, signals, subject) - latents).square() * hidden
    change = (latents - latents[:, :1]).square() * hidden
    return error.sum() / change.sum().clamp_min(1e-8)
