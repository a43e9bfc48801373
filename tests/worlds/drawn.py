"""A world of four drawn clips, which the mini suite knows how to make, and brains that respond to them linearly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.core.contracts import TrainingSet
from bench.datasets.phantom.stimuli import FRAME_TIMES, describe, draw_recipe, render
from bench.datasets.seed_dv.concepts import CONCEPTS

KINDS = 4
RECIPES = [draw_recipe(np.random.default_rng(kind), 7 * kind, 1 + kind) for kind in range(KINDS)]
CAPTIONS = tuple(describe(recipe) for recipe in RECIPES)
OBJECTS = tuple(CONCEPTS[recipe.concept] for recipe in RECIPES)


@dataclass(frozen=True)
class World:
    """Subjects with voxel counts of their own; clips are one of four, in turn."""

    voxels: tuple[int, ...] = (30, 41)
    clips: int = 16
    volumes: int = 2
    noise: float = 0.5

    def record(self, *, first_subject: int = 1, seed: int = 0) -> TrainingSet:
        rng = np.random.default_rng((seed, first_subject))
        kinds = np.arange(self.clips) % KINDS
        brain = np.zeros((len(self.voxels) * self.clips, max(self.voxels), self.volumes), np.float32)
        for index, count in enumerate(self.voxels):
            pattern = np.random.default_rng((7, first_subject + index)).standard_normal((KINDS, count))
            rows = slice(index * self.clips, (index + 1) * self.clips)
            brain[rows, :count] = self.noise * rng.standard_normal((self.clips, count, self.volumes))
            brain[rows, :count] += pattern[kinds][:, :, None]
        subjects = [first_subject + index for index in range(len(self.voxels))]
        return TrainingSet(
            brain=brain,
            subject=np.repeat(subjects, self.clips),
            clip=np.tile(np.arange(self.clips), len(self.voxels)),
            video=np.stack([render(recipe, FRAME_TIMES) for recipe in RECIPES])[kinds],
            captions=tuple(CAPTIONS[kind] for kind in kinds),
            concepts=kinds,
            channels=tuple(f"voxel{voxel:05}" for voxel in range(max(self.voxels))),
            sampling_rate=0.5,
            rois={number: ("V1",) * count for number, count in zip(subjects, self.voxels, strict=True)},
        )


def squared_errors(made: np.ndarray, data: TrainingSet, rows: np.ndarray) -> np.ndarray:
    """(trial, trial): between each video made and each trial's true one."""
    true = data.video[data.clip[rows]].astype(float)
    return np.square(made[:, None].astype(float) - true[None]).mean(axis=(2, 3, 4, 5))
