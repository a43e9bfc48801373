"""A world in which brightness is concept, for tests of networks that make tokens in place of a caption's.

Four concepts are four brightnesses. Brains respond to them linearly, in V1 and LOC and not in mPFC. The decoder's
tokens are a pattern a concept, and its videos are grey pictures as bright as the pattern that the tokens are nearest
to. So a reconstruction is right or wrong to the pixel, and the decoder given the true tokens is a perfect one.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from asking import draw
from torch import nn

from bench.core.contracts import TrainingSet

NAMES = ("cat", "car", "pizza", "piano")
TOKENS, TEXT = 6, 10
SHAPE = (4, 16, 16)


def brightness(concept: np.ndarray) -> np.ndarray:
    return (32 + 64 * np.asarray(concept)).astype(np.uint8)


def read_concepts(video: np.ndarray) -> np.ndarray:
    return video.reshape(len(video), -1).mean(axis=1).astype(int) // 64


class PaintedSuite:
    """Frozen encoders that read brightness and nouns."""

    name, device = "painted", "cpu"
    settings: dict[str, Any] = {"steps": 1, "guidance": 1.0}  # noqa: RUF012
    judges = SimpleNamespace()

    def embed_images(self, frames: np.ndarray) -> np.ndarray:
        return draw(4, 24, seed=1).numpy()[read_concepts(frames)]

    def embed_texts(self, captions: Sequence[str]) -> np.ndarray:
        return draw(4, 24, seed=1).numpy()[[NAMES.index(one.split()[1]) for one in captions]]

    def encode_text(self, captions: Sequence[str]) -> torch.Tensor:
        return 2 * draw(4, TOKENS, TEXT, seed=2)[[NAMES.index(one.split()[1]) for one in captions]]


class PaintedDecoder:
    """Answers a decoder's calls; its network is one number, "trained" as LoRA is."""

    def __init__(self, suite: PaintedSuite, **options: Any) -> None:
        self.suite, self.options, self.shape = suite, options, SHAPE
        self.network = nn.Linear(1, 1)

    def encode_text(self, captions: Sequence[str]) -> torch.Tensor:
        return self.suite.encode_text(captions)

    def encode_video(self, video: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(video.reshape(len(video), -1).mean(axis=1)).float()[:, None] / 255

    def measure_loss(self, latents: torch.Tensor, condition: torch.Tensor, noise: torch.Generator) -> torch.Tensor:
        drawn = torch.rand(len(latents), 1, generator=noise)
        return (self.network(drawn) + condition.mean(dim=(1, 2))[:, None] - latents).square().mean()

    def generate(self, condition: torch.Tensor, seeds: Sequence[int]) -> np.ndarray:
        patterns = self.suite.encode_text([f"a {name}" for name in NAMES])
        centred = (patterns - patterns.mean(dim=0)).flatten(1)
        concept = ((condition - patterns.mean(dim=0)).flatten(1) @ centred.T).argmax(dim=1).numpy()
        grey = brightness(concept)[:, None, None, None, None]
        return np.broadcast_to(grey, (len(seeds), *SHAPE, 3)).copy()


def record(
    voxels: Sequence[int] = (40, 52),
    *,
    clips: int = 40,
    repeats: int = 2,
    first_subject: int = 1,
    volumes: int = 2,
    eeg: bool = False,
    seed: int = 0,
    signal: float = 1.5,
) -> TrainingSet:
    """Trials of some subjects who all saw the same clips; `voxels` each has, half of them without mPFC's noise."""
    rng = np.random.default_rng((seed, first_subject))
    concepts = np.arange(clips) % 4
    clip = np.repeat(np.arange(clips), repeats)
    brain = np.zeros((len(voxels) * len(clip), max(voxels), volumes), np.float32)
    rois, subject = {}, []
    for index, count in enumerate(voxels):
        number = first_subject + index
        pattern = np.random.default_rng((7, 0 if eeg else number)).standard_normal((4, count // 2, volumes))
        rows = slice(index * len(clip), (index + 1) * len(clip))
        brain[rows, :count] = rng.standard_normal((len(clip), count, volumes))
        brain[rows, : count // 2] += signal * pattern[concepts[clip]]
        quarter = count // 4
        rois[number] = ("V1",) * quarter + ("LOC",) * (count // 2 - quarter) + ("mPFC",) * (count - count // 2)
        subject += [number] * len(clip)
    grey = brightness(concepts)[:, None, None, None, None]
    return TrainingSet(
        brain=brain,
        subject=np.array(subject),
        clip=np.tile(clip, len(voxels)),
        video=mark(np.broadcast_to(grey, (clips, *SHAPE, 3)).copy()),
        captions=tuple(f"a {NAMES[concept]}" for concept in concepts),
        concepts=concepts,
        channels=tuple(f"column{column:05}" for column in range(max(voxels))),
        sampling_rate=100.0 if eeg else 0.5,
        rois={} if eeg else rois,
    )


def mark(video: np.ndarray) -> np.ndarray:
    """One pixel of each clip tells it from the others of its concept."""
    video[:, 0, 0, 0, 0] += np.arange(len(video), dtype=np.uint8) % 32
    return video


def share_right(video: np.ndarray, data: TrainingSet) -> float:
    """Share of trials whose reconstruction is of the right brightness; chance .25."""
    return float((read_concepts(video) == data.concepts[data.clip]).mean())


def share_right_shuffled(video: np.ndarray, data: TrainingSet) -> float:
    """The same for reconstructions of other trials."""
    order = np.random.default_rng(0).permutation(len(video))
    return share_right(video[order], data)
