"""Losses of the three decoders.

- Semantics: CLIP's loss with pictures and with captions, the squared error of the embedding to the caption's, and the
  squared error of the text tokens.
- Structure: the squared error of the first frame's latent.
- Motion: the squared error of the frame after each true frame.

Squared errors of tokens and latents are in units of the variance of what is predicted (for motion, of the change from
one frame to the next), so 1 is what the training mean (a still video) gets. The released errors are plain ones, and all
parameters' absolute values are added to two of the losses by a small weight.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from baselines.encoders.contrast import contrast_clips
from baselines.mind_animator.decoders import MotionDecoder, SemanticDecoder, StructureDecoder, bar_frames
from bench.toolbox.targets import ClipTargets

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # signals, subject, clip -> a number


def measure_semantics(
    decoder: SemanticDecoder,
    signals: Float[Tensor, "trial column volume"],
    subject: Int64[Tensor, " trial"],
    clip: Int64[Tensor, " trial"],
    targets: ClipTargets,
    spread: Float[Tensor, ""],
    *,
    contrast_weight: float,
    embedding_weight: float,
    token_weight: float,
) -> Float[Tensor, ""]:
    embedding, tokens = decoder(signals, subject)
    wanted = targets.tokens[targets.caption[clip]].to(tokens)
    loss = token_weight * (tokens - wanted).square().mean() / spread
    if contrast_weight > 0:
        warmth = torch.exp(-decoder.scale)
        loss = loss + contrast_weight * contrast_clips(embedding, embedding, clip, targets, warmth)
    if embedding_weight > 0:
        loss = loss + embedding_weight * functional.mse_loss(embedding, targets.text[clip])
    return loss


def measure_structure(
    decoder: StructureDecoder,
    signals: Float[Tensor, "trial column volume"],
    subject: Int64[Tensor, " trial"],
    first: Float[Tensor, "trial c y x"],
) -> Float[Tensor, ""]:
    spread = (first - decoder.mean).square().mean().clamp_min(1e-8)
    return (decoder(signals, subject) - first).square().mean() / spread


def measure_motion(
    decoder: MotionDecoder,
    signals: Float[Tensor, "trial column volume"],
    subject: Int64[Tensor, " trial"],
    latents: Float[Tensor, "trial frame c y x"],
    chance: float,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Each frame is said from the true ones before it, of which `chance` are barred."""
    barred = bar_frames(latents.shape[1] - 1, chance, generator)
    error = (decoder(latents[:, :-1], signals, subject, barred) - latents[:, 1:]).square()
    change = (latents[:, 1:] - latents[:, :-1]).square()
    return error.mean() / change.mean().clamp_min(1e-8)
