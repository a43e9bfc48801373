"""What the training clips are to the frozen networks: the targets of both reconstructors.

- *Key frames*: two neighbouring frames a third into the clip (2 and 3 of 6), which training alternates between, as the
  released code does. CLIP's embedding of each; the released target is 256 tokens of CLIP bigG, of which the suite has
  the pooled embedding.
- *Captions* in the same space.
- *Latents* of frames picked evenly, and DINO's features of the clip in place of ConvNeXt-XL's.

Images and captions lie in two cones of CLIP's space, so each kind is centred on its mean over the training clips and
scaled to unit variance: cosines are then between what differs from clip to clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.core.contracts import TrainingSet
from bench.toolbox.resize import fit_clips
from bench.toolbox.training import remember


@dataclass(frozen=True)
class Standard:
    """Mean of each component, and one deviation for all, of embeddings of one kind."""

    mean: Float[Tensor, " embedding"]
    deviation: Float[Tensor, ""]

    def apply(self, values: Float[Tensor, "*batch embedding"]) -> Float[Tensor, "*batch embedding"]:
        return (values - self.mean) / self.deviation


@dataclass(frozen=True, kw_only=True)
class Targets:
    """One row a clip, on the suite's device, embeddings as CLIP gives them at unit length."""

    images: Float[Tensor, "clip 2 embedding"]
    texts: Float[Tensor, "clip embedding"]
    latents: Float[Tensor, "clip frame c y x"]
    features: Float[Tensor, "clip feature"]


def pick_keyframes(frames: int) -> tuple[int, int]:
    """The two key frames of a clip of that many frames."""
    first = frames // 3
    return first, min(first + 1, frames - 1)


def measure_standard(values: Float[Tensor, "*batch embedding"]) -> Standard:
    flat = values.flatten(0, -2)
    mean = flat.mean(dim=0)
    return Standard(mean, (flat - mean).square().mean().sqrt().clamp_min(1e-6))


@torch.no_grad()
def encode_targets(suite: Any, data: TrainingSet, *, frames: int) -> Targets:
    """Targets of all clips; `frames` of each have latents."""
    keys = list(pick_keyframes(data.video.shape[1]))
    g = suite.geometry

    def embed_images(clips: np.ndarray) -> Tensor:
        seen = suite.embed_images(clips[:, keys].reshape(-1, *clips.shape[2:]))
        return torch.as_tensor(seen).float().unflatten(0, (len(clips), -1))

    def encode(clips: np.ndarray) -> Tensor:
        return suite.encode_video(fit_clips(clips, (frames, g.height, g.width)))

    def describe(clips: np.ndarray) -> Tensor:
        return torch.as_tensor(suite.judges.observe("dino", clips[:, keys])).float().mean(dim=1)

    texts = torch.as_tensor(suite.embed_texts(list(data.captions))).float()
    made = Targets(
        images=shorten(remember(suite, f"key-frames {keys}", data.video, embed_images)),
        texts=shorten(texts),
        latents=remember(suite, f"latents {frames} {g.height} {g.width}", data.video, encode),
        features=remember(suite, f"dino {keys}", data.video, describe),
    )
    return Targets(**{name: values.to(suite.device) for name, values in vars(made).items()})


def shorten(embeddings: Float[Tensor, "*batch embedding"]) -> Float[Tensor, "*batch embedding"]:
    return torch.nn.functional.normalize(embeddings, dim=-1)
