"""Contrastive alignment of brain embeddings with those of frozen encoders, as several systems train by."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from bench.toolbox.targets import ClipTargets


def contrast(
    brain: Float[Tensor, "trial width"],
    targets: Float[Tensor, "trial width"],
    temperature: float | Float[Tensor, ""],
    groups: Int64[Tensor, " trial"] | None = None,
) -> Float[Tensor, ""]:
    """CLIP's loss (Radford et al. 2021, Figure 3): the mean of both ways' cross-entropies, over cosines / temperature.

    Trials of one group (the same clip, or the same caption) are no wrong answers to each other: beside a trial's own
    target, those of its group are left out.
    """
    logits = functional.normalize(brain, dim=1) @ functional.normalize(targets, dim=1).T / temperature
    if groups is not None:
        own = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
        logits = logits.masked_fill((groups[:, None] == groups[None, :]) & ~own, -torch.inf)
    right = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2


def contrast_clips(
    image: Float[Tensor, "trial width"],
    text: Float[Tensor, "trial width"],
    clip: Int64[Tensor, " trial"],
    targets: ClipTargets,
    temperature: float | Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """The mean of the contrasts with the pictures and with the captions of the clips that the trials show."""
    pictures = contrast(image, targets.image[clip], temperature, clip)
    captions = contrast(text, targets.text[clip], temperature, targets.caption[clip])
    return (pictures + captions) / 2
