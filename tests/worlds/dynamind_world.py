"""A little world for DynaMind's tests: brains with a rhythm for each concept, and networks of any variant."""

from __future__ import annotations

from typing import Any

import numpy as np

from baselines.dynamind.networks import build_networks
from baselines.dynamind.parameters import read_parameters
from bench.core.contracts import TrainingSet
from bench.datasets.seed_dv.geometry import CHANNELS

CAPTIONS = ("a cat", "a pizza", "a guitar", "a ship")
SMALL: dict[str, Any] = {
    "filters": (8, 16, 16), "hidden": 32, "width": 32, "text_hidden": 32, "mapper_epochs": 17, "mapper_batch_size": 16,
    "mapper_learning_rate": 5e-3, "prior_width": 32, "prior_epochs": 150, "aligner_width": 16, "aligner_epochs": 20,
    "token_rank": 8, "prior_draws": 6, "tuning_epochs": 0.17, "tuning_batch_size": 2, "calibration_epochs": 13,
    "use_validation": False,
}  # fmt: skip


def record(*, subjects: tuple[int, ...], clips: int = 24, seed: int = 0, shift: int = 0) -> TrainingSet:
    """Brains in which each of four concepts has a rhythm of its own over the back of the head; `shift` mixes electrodes
    as another cap would. Clips are squares of the concept's colour on grounds that differ."""
    rng = np.random.default_rng((seed, 1))
    concepts = np.arange(clips) % 4
    brain, time = [], np.arange(100) / 50
    for _ in subjects:
        noise = rng.standard_normal((clips, 62, 100))
        for trial, concept in enumerate(concepts):
            noise[trial, 40 + 5 * concept : 46 + 5 * concept] += 3 * np.sin(2 * np.pi * (4 + 3 * concept) * time)
        brain.append(np.roll(noise, shift, axis=1))
    video = np.broadcast_to(rng.integers(0, 90, (clips, 1, 1, 1, 3)), (clips, 6, 64, 64, 3)).astype(np.uint8).copy()
    colours = np.array([[250, 120, 20], [20, 220, 40], [40, 60, 250], [240, 230, 60]], np.uint8)
    for frame in range(6):
        video[:, frame, 16 : 44 + frame, 16:48] = colours[concepts][:, None, None]
    return TrainingSet(
        brain=(np.concatenate(brain) / np.concatenate(brain).std()).astype(np.float32),
        subject=np.repeat(subjects, clips),
        clip=np.tile(np.arange(clips), len(subjects)),
        video=video,
        captions=tuple(CAPTIONS[concept] for concept in concepts),
        concepts=concepts,
        channels=CHANNELS,
        sampling_rate=50.0,
    )


def build(parameters: dict[str, Any], **sizes: Any) -> Any:
    given = {"tokens": (77, 48), "latent": (6, 8, 8, 8), "image": 64, "categories": 40, **sizes}
    return build_networks(read_parameters(parameters), CHANNELS, 100, **given)
