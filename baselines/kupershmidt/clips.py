"""Training clips as pixels and features, and the windows cut from them that no subject saw.

A window is a clip in its own time, or at half speed from some frame on, forwards or backwards, or in a mirror. It goes
around the cycle frames → encoder → voxels → decoder → frames, which needs no recording. The paper takes the films'
other frames, and other films; a training set here holds the clips shown and nothing else. In a mirror, a clip's
latents are mirrored and its embedding is as it was: the autoencoder is nearly equivariant, CLIP nearly blind to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from bench.core.contracts import TrainingSet
from bench.toolbox.resize import fit_clips
from bench.toolbox.training import remember


@dataclass(frozen=True, kw_only=True)
class Footage:
    """Frames in [0, 1] at the decoder's size, and their standardised features; index 1 of `mirror` is the mirrored."""

    pixels: UInt8[Tensor, "clip frame 3 side side"]
    features: Float[Tensor, "mirror clip frame feature"]


@dataclass(frozen=True)
class Standard:
    """Mean and deviation of each feature over the training clips."""

    mean: Float[Tensor, " feature"]
    deviation: Float[Tensor, " feature"]


@torch.no_grad()
def encode_footage(
    suite: Any, data: TrainingSet, *, side: int, standard: Standard | None = None
) -> tuple[Footage, Standard]:
    """Pixels and features of all clips; `standard` None: measured on these."""
    frames = data.video.shape[1]
    g = suite.geometry

    def embed(clips: np.ndarray) -> Tensor:
        seen = torch.as_tensor(suite.embed_images(clips.reshape(-1, *clips.shape[2:]))).float()
        return seen.unflatten(0, clips.shape[:2])

    def encode(clips: np.ndarray) -> Tensor:
        return suite.encode_video(fit_clips(clips, (frames, g.height, g.width))).float()

    embeddings = remember(suite, "embeddings of all frames", data.video, embed)
    latents = remember(suite, f"latents {frames} {g.height} {g.width}", data.video, encode).to(embeddings)
    found = torch.stack([torch.cat([embeddings, one.flatten(2)], dim=2) for one in (latents, latents.flip(-1))])
    if standard is None:
        flat = found[0].flatten(0, 1)
        standard = Standard(flat.mean(dim=0), flat.std(dim=0).clamp_min(1e-4))
    pixels = torch.from_numpy(fit_clips(data.video, (frames, side, side))).movedim(-1, 2).contiguous()
    features = (found - standard.mean) / standard.deviation
    return Footage(pixels=pixels.to(suite.device), features=features.to(suite.device)), standard


def cut_windows(
    footage: Footage, count: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "window frame 3 side side"], Float[Tensor, "window frame feature"]]:
    """Random windows of random clips: pixels in [0, 1], and features."""
    clips, frames = footage.pixels.shape[:2]
    clip = torch.from_numpy(rng.integers(clips, size=count))
    order = torch.from_numpy(np.stack([draw_order(frames, rng) for _ in range(count)]))
    mirror = torch.from_numpy(rng.integers(len(footage.features), size=count))
    pixels = read_pixels(footage, clip)[torch.arange(count)[:, None], order]
    pixels = torch.where((mirror == 1).to(pixels.device)[:, None, None, None, None], pixels.flip(-1), pixels)
    features = footage.features[mirror[:, None], clip[:, None], order]
    return pixels, features


def draw_order(frames: int, rng: np.random.Generator) -> Int64[np.ndarray, " frame"]:
    """Which frames a window shows: all, or at half speed from one of the first half on; forwards or backwards."""
    order = np.arange(frames)
    if rng.random() < 0.5:
        order = rng.integers(frames - (frames - 1) // 2) + order // 2
    return order[::-1].copy() if rng.random() < 0.5 else order


def read_pixels(footage: Footage, clip: Int64[Tensor, " n"]) -> Float[Tensor, "n frame 3 side side"]:
    return footage.pixels[clip.to(footage.pixels.device)].float().div(255)
