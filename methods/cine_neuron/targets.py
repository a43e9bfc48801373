"""What the training clips are to the frozen encoders: targets of stage 1, contents of memories, latents and texts.

Embeddings of pictures and captions are those of the suite's CLIP, actions those of its video encoder, all at unit
length. phi_v sees some frames of a clip, picked evenly.
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
from bench.toolbox.targets import number_captions, pick_frames
from bench.toolbox.training import remember
from methods.cine_neuron.categories import Extractor, merge_categories


@dataclass(frozen=True, kw_only=True)
class Targets:
    """One row a clip, on the suite's device."""

    frames: Float[Tensor, "clip frame embedding"]
    text: Float[Tensor, "clip embedding"]
    action: Float[Tensor, "clip action"]
    labels: Float[Tensor, "clip class"]  # no classes where categories are not learned
    caption: Int64[Tensor, " clip"]  # the same number for the same words, in the order of `encode_captions`


@torch.no_grad()
def encode_targets(
    suite: Any, data: TrainingSet, *, frames: int, least: int = 1, extract: Extractor | None = None
) -> Targets:
    """Targets of all clips. `extract` finds categories in captions (None: none are learned), `least` is the number of
    clips that must show one (`merge_categories`)."""
    picked = pick_frames(data.video.shape[1], frames)

    def embed_images(clips: np.ndarray) -> Tensor:
        seen = suite.embed_images(clips[:, picked].reshape(-1, *clips.shape[2:]))
        return torch.as_tensor(seen).float().unflatten(0, (len(clips), -1))

    def embed_actions(clips: np.ndarray) -> Tensor:
        return torch.as_tensor(suite.embed_actions(clips)).float()

    images = remember(suite, f"pictures {picked}", data.video, embed_images)
    actions = remember(suite, "actions", data.video, embed_actions)
    text = torch.as_tensor(suite.embed_texts(list(data.captions))).float()
    labels = torch.zeros(len(data.captions), 0)
    if extract is not None:
        found = extract(data.captions)
        labels = merge_categories(found, least=least).label(found)
    return Targets(
        frames=functional.normalize(images, dim=2).to(suite.device),
        text=functional.normalize(text, dim=1).to(suite.device),
        action=functional.normalize(actions, dim=1).to(suite.device),
        labels=labels.to(suite.device),
        caption=number_captions(data.captions)[1].to(suite.device),
    )
