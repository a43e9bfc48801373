"""What the frozen encoders say of the training clips: what a contrastive or regressing decoder learns to hit.

Clips are encoded once a process (`bench.toolbox.training.remember`). No test clip comes near this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from bench.core.contracts import TrainingSet
from bench.toolbox.training import remember


@dataclass(frozen=True, kw_only=True)
class ClipTargets:
    """One row a clip, on the suite's device."""

    image: Float[Tensor, "clip embedding"]  # CLIP of some frames, their mean, at unit length
    text: Float[Tensor, "clip embedding"]  # CLIP of the caption, at unit length
    tokens: Float[Tensor, "clip token D"]  # of the caption, as the generator reads it
    caption: Int64[Tensor, " clip"]  # the same number for the same words


@torch.no_grad()
def encode_targets(suite: Any, data: TrainingSet, *, frames: int) -> ClipTargets:
    """Targets of all clips of a training set; CLIP sees `frames` of each clip, picked evenly."""
    picked = np.linspace(0, data.video.shape[1] - 1, frames).round().astype(int)

    def embed(clips: np.ndarray) -> Tensor:
        seen = torch.as_tensor(suite.embed_images(clips[:, picked].reshape(-1, *clips.shape[2:]))).float()
        return functional.normalize(seen, dim=1).unflatten(0, (len(clips), -1)).mean(dim=1)

    place = {caption: number for number, caption in enumerate(dict.fromkeys(data.captions))}
    caption = torch.tensor([place[one] for one in data.captions])
    text = torch.as_tensor(suite.embed_texts(list(place))).float()
    tokens = suite.encode_text(list(place)).float()
    return ClipTargets(
        image=functional.normalize(remember(suite, f"pictures {picked} as a mean", data.video, embed), dim=1).to(
            suite.device
        ),
        text=functional.normalize(text, dim=1)[caption].to(suite.device),
        tokens=tokens[caption].to(suite.device),
        caption=caption.to(suite.device),
    )
