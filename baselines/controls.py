"""Controls: methods without a brain. A score that is not above theirs says nothing about a brain (design §9)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import UInt8

from bench.data import BrainData, Modality, TrainingSet, VideoBatch

Clip = UInt8[np.ndarray, "frame height width 3"]
GREY = 128  # the middle of the range 0..255


class Control:
    """What controls share: they need no suite, train nothing and have nothing to adapt."""

    modality: Modality = "none"
    version = 1
    parameter_count = 0

    def __init__(self, *, suite: Any = None, seed: int = 0) -> None:
        self.seed = seed

    def adapt(self, calibration: TrainingSet) -> None:
        """Nothing: a control ignores the subject."""


class RandomClip(Control):
    """Shows a training clip drawn at random: real pictures of the right kind, no knowledge of the trial."""

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.video = train.video

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        chosen = [np.random.default_rng(seed).integers(len(self.video)) for seed in brain.seed]
        return self.video[chosen]


class StillControl(Control):
    """A control that shows one and the same clip for every trial."""

    clip: Clip

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        return np.broadcast_to(self.clip, (len(brain.brain), *self.clip.shape))


class TrainMean(StillControl):
    """Shows the mean of all training clips, frame by frame: hard to beat in pixel metrics."""

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        total = np.zeros(train.video.shape[1:])
        for clip in train.video:  # one at a time: the clips may lie in a file larger than memory
            total += clip
        self.clip = np.round(total / len(train.video)).astype(np.uint8)


class ConstantGrey(StillControl):
    """Shows middle grey: beats many published reconstructions in SSIM."""

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.clip = np.full(train.video.shape[1:], GREY, dtype=np.uint8)
