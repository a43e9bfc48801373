"""What the training clips are to the frozen networks: the targets of both reconstructors.

- *Key frames*: two neighbouring frames a third into the clip (2 and 3 of 6), which training alternates between, as the
  released code does. Of each CLIP's embedding, and with `kind` "tokens" the tokens of the large open CLIP's patches
  (256 of 1,664 numbers of ViT-bigG-14 in the release) in its place. A map from their mean to the embedding, by ridge
  regression over the training clips, stands for the frozen one that the release takes from COCO.
- *Captions* in the space of the embeddings.
- *Latents* of frames picked evenly, and DINO's features of the clip, in their principal axes, in place of
  ConvNeXt-XL's.

Images and captions lie in two cones of CLIP's space, so each kind is centred on its mean over the training clips and
scaled to unit variance: cosines are then between what differs from clip to clip. Tokens are taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.core.contracts import TrainingSet
from bench.toolbox.budget import release
from bench.toolbox.encoded import remember
from bench.toolbox.resize import fit_clips


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

    images: Float[Tensor, "clip 2 token width"]  # one token: the embedding; more: half precision, off the device
    pooled: Float[Tensor, "clip 2 embedding"]
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
def encode_targets(suite: Any, data: TrainingSet, *, frames: int, kind: str = "pooled", features: int) -> Targets:
    """Targets of all clips; `frames` of each have latents, `features` axes of DINO's are kept."""
    keys = list(pick_keyframes(data.video.shape[1]))
    g = suite.geometry

    def embed_images(clips: np.ndarray) -> Tensor:
        seen = suite.embed_images(clips[:, keys].reshape(-1, *clips.shape[2:]))
        return torch.as_tensor(seen).float().unflatten(0, (len(clips), -1))

    def embed_patches(clips: np.ndarray) -> Tensor:
        seen = suite.embed_patches(clips[:, keys].reshape(-1, *clips.shape[2:]))
        return torch.as_tensor(seen).half().unflatten(0, (len(clips), -1))

    def encode(clips: np.ndarray) -> Tensor:
        return suite.encode_video(fit_clips(clips, (frames, g.height, g.width)))

    def describe(clips: np.ndarray) -> Tensor:
        return torch.as_tensor(suite.judges.observe("dino", clips[:, keys])).float().mean(dim=1)

    texts = shorten(torch.as_tensor(suite.embed_texts(list(data.captions))).float())
    pooled = shorten(remember(suite, f"key-frames {keys}", data.video, embed_images)).to(suite.device)
    release(suite, "judges")  # one network after the other: the largest CLIP alone takes 10 GB
    tokens = remember(suite, f"patches {keys}", data.video, embed_patches) if kind == "tokens" else pooled[:, :, None]
    release(suite, "judges")
    latents = remember(suite, f"latents {frames} {g.height} {g.width}", data.video, encode)
    release(suite, "vae")
    seen = remember(suite, f"dino {keys}", data.video, describe)
    release(suite, "judges")
    return Targets(
        images=tokens,
        pooled=pooled,
        texts=texts.to(suite.device),
        latents=latents.to(suite.device),
        features=find_axes(seen.to(suite.device), features),
    )


def find_axes(features: Float[Tensor, "clip feature"], count: int) -> Float[Tensor, "clip count"]:
    """Features about their mean in their first principal axes, with zeros where there are fewer."""
    left, lengths, _ = torch.linalg.svd(features - features.mean(dim=0), full_matrices=False)
    made = (left * lengths)[:, :count]
    return torch.nn.functional.pad(made, (0, count - made.shape[1]))


def map_tokens(
    tokens: Float[Tensor, "clip 2 token width"], embedded: Float[Tensor, "clip 2 embedding"], *, penalty: float = 0.01
) -> Float[Tensor, "width embedding"]:
    """The ridge regression of embeddings on the mean tokens of all key frames, both taken as centred."""
    mean = tokens.mean(dim=2, dtype=torch.float32).flatten(0, 1).to(embedded.device)
    square = mean.T @ mean / len(mean)
    ridge = penalty * square.diagonal().mean() * torch.eye(len(square), device=square.device)
    return torch.linalg.solve(square + ridge, mean.T @ embedded.flatten(0, 1) / len(mean))


def map_captions(
    embedded: Float[Tensor, "clip 2 embedding"], coordinates: Float[Tensor, "clip rank"], *, penalty: float = 0.01
) -> Float[Tensor, "embedding rank"]:
    """The ridge regression of captions' coordinates on the embeddings of both key frames; off the device."""
    x, y = embedded.float().cpu().flatten(0, 1), coordinates.repeat_interleave(embedded.shape[1], dim=0)
    square = x.T @ x / len(x)
    ridge = penalty * square.diagonal().mean() * torch.eye(len(square))
    return torch.linalg.solve(square + ridge, x.T @ y / len(x))


def shorten(embeddings: Float[Tensor, "*batch embedding"]) -> Float[Tensor, "*batch embedding"]:
    return torch.nn.functional.normalize(embeddings, dim=-1)
