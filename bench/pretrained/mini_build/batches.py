"""Training material of a suite: clips of the suite's pool of recipes, drawn on the fly, and linear latents of them.

Recipes come from generators seeded by `derive_seed("suite", role, seed)`; `draw_recipe(pool="suite")` refuses every
recipe that is reserved for benchmarks, so no network is trained on a benchmark clip.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from bench.datasets.phantom.stimuli import CLIP_SECONDS, FRAME_TIMES, Recipe, draw_recipe, render
from bench.datasets.seed_dv.concepts import CONCEPTS

FRAMES = len(FRAME_TIMES)


def draw_recipes(rng: np.random.Generator, count: int) -> list[Recipe]:
    """`count` recipes of the suite's pool, concepts uniform."""
    return [draw_recipe(rng, int(concept), pool="suite") for concept in rng.integers(len(CONCEPTS), size=count)]


def render_clips(recipes: Sequence[Recipe]) -> UInt8[np.ndarray, "n f h w 3"]:
    return np.stack([render(recipe, FRAME_TIMES) for recipe in recipes])


def render_frames(rng: np.random.Generator, recipes: Sequence[Recipe]) -> UInt8[np.ndarray, "n h w 3"]:
    """One frame of each clip, at a random time."""
    times = rng.uniform(0, CLIP_SECONDS, size=len(recipes))
    return np.stack([render(recipe, [time])[0] for recipe, time in zip(recipes, times, strict=True)])


def draw_frames(rng: np.random.Generator, count: int) -> UInt8[np.ndarray, "n h w 3"]:
    """One frame of each of `count` new clips, at a random time."""
    return render_frames(rng, draw_recipes(rng, count))


def to_pixels(images: UInt8[np.ndarray, "*batch h w 3"]) -> Float[Tensor, "*batch 3 h w"]:
    """u8 RGB to floats in [-1, 1], channels first."""
    return torch.from_numpy(images).movedim(-1, -3).float().div_(127.5).sub_(1)


def to_images(pixels: Float[Tensor, "*batch 3 h w"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Floats in [-1, 1], channels first, to u8 RGB, rounded."""
    return pixels.add(1).mul(127.5).round_().clamp_(0, 255).byte().movedim(-3, -1).contiguous().numpy()


class PatchBasis:
    """Principal components of square patches of frames: a linear autoencoder.

    Frames that follow each other may be stacked in the channels; a patch then lasts for all of them. It warm-starts the
    autoencoder (which otherwise spends its first minutes finding colour) and, with few components, degrades frames the
    way a small autoencoder does, so that judges have seen such frames.
    """

    def __init__(self, frames: UInt8[np.ndarray, "n h w c"], patch: int, components: int) -> None:
        self.patch = patch
        patches = self.cut(to_pixels(frames)).flatten(0, 2)
        self.mean = patches.mean(0)
        variance, vectors = torch.linalg.eigh((patches - self.mean).T @ (patches - self.mean) / len(patches))
        order = variance.argsort(descending=True)[:components]
        self.variance, self.vectors = variance[order], vectors[:, order]
        self.spread = (self.variance * self.variance[0]).pow(0.25)[:, None, None]  # (k, 1, 1)

    def cut(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n y x d"]:
        n, channels, height, width = pixels.shape
        p = self.patch
        patches = pixels.reshape(n, channels, height // p, p, width // p, p).permute(0, 2, 4, 1, 3, 5)
        return patches.reshape(n, height // p, width // p, channels * p * p)

    def encode(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k y x"]:
        return ((self.cut(pixels) - self.mean) @ self.vectors).movedim(-1, 1)

    def half_whiten(self, pixels: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k y x"]:
        """Components divided by the fourth root of their variance, scaled so that the first has unit variance.

        So colour and luminance keep most of the latents' variance, and diffusion learns objects before texture.
        """
        return self.encode(pixels) / self.spread

    def decode(self, codes: Float[Tensor, "n k y x"]) -> Float[Tensor, "n c h w"]:
        n, components, y, x = codes.shape
        p = self.patch
        patches = codes.movedim(1, -1) @ self.vectors[:, :components].T + self.mean
        channels = patches.shape[-1] // p**2
        return patches.reshape(n, y, x, channels, p, p).permute(0, 3, 1, 4, 2, 5).reshape(n, channels, y * p, x * p)


def draw_coarse_basis(rng: np.random.Generator) -> PatchBasis:
    """The few components by which `degrade` rebuilds frames, of 600 new clips."""
    return PatchBasis(draw_frames(rng, 600), 8, 16)


def degrade(rng: np.random.Generator, clip: UInt8[np.ndarray, "f h w 3"], basis: PatchBasis) -> np.ndarray:
    """The clip as a generator might draw it: blurred, reduced and enlarged, or rebuilt from few components, noisy."""
    height, width = clip.shape[1:3]
    kind = rng.integers(3)
    if kind == 0:
        sigma = rng.uniform(0.5, 2.5)
        worse = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip])
    elif kind == 1:
        side = int(rng.integers(14, 40))
        small = (cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA) for frame in clip)
        worse = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC) for frame in small])
    else:
        codes = basis.encode(to_pixels(clip))[:, : int(rng.integers(3, basis.vectors.shape[1] + 1))]
        codes = codes * (1 + 0.15 * torch.from_numpy(rng.standard_normal(codes.shape).astype(np.float32)))
        worse = to_images(basis.decode(codes))
    if rng.random() < 0.5:
        noise = cv2.resize(rng.standard_normal((16, 16, 3)).astype(np.float32), (width, height)) * rng.uniform(4, 16)
        worse = np.clip(worse + noise, 0, 255).astype(np.uint8)
    return worse


def degrade_some(
    rng: np.random.Generator, clips: UInt8[np.ndarray, "n f h w 3"], share: float, basis: PatchBasis
) -> None:
    """Degrade each clip with the chance `share`, in place."""
    for index in np.flatnonzero(rng.random(len(clips)) < share):
        clips[index] = degrade(rng, clips[index], basis)
