"""Controls: methods without a brain. A score that is not above theirs says nothing about a brain.

Weak controls flatter a method, so these are as strong as can be made: `label_prior` is the best single answer to all
trials, and `position_only` all that the clock knows. `noise_brain` is the other kind: a method that was trained on
brains as it should be, and is then fed noise. What it still scores, it scores without a brain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from baselines.floors.noise import Noise, measure_noise
from baselines.floors.parameters import WRAPPED, read_noise_brain
from baselines.floors.position import choose_bandwidth, vote
from bench.core.contracts import BrainData, Modality, Schedule, TrainingSet, VideoBatch
from bench.core.errors import BenchError
from bench.core.registry import resolve
from metrics.n_way import n_way_accuracy, top_classes

Clip = UInt8[np.ndarray, "frame height width 3"]
GREY = 128  # the middle of the range 0..255
N_WAY = 40  # what `label_prior` aims at
CHUNK = 64  # clips judged or compared at once


class Control:
    """What controls share: they train nothing and have nothing to adapt."""

    modality: Modality = "none"
    version = 1
    parameter_count = 0

    def __init__(self, *, suite: Any = None, seed: int = 0) -> None:
        self.suite = suite
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


class LabelPrior(StillControl):
    """Shows the one clip that would score best if it were shown for every clip known: the best constant answer.

    The score is the expected 40-way accuracy of the suite's video judge, the judge's own top class of each training
    and validation clip being right (the `corrected` protocol). It exploits that classes are not equally frequent and
    that a clip can look like several of them. Needs no concepts, no captions and no blocks. Where the suite has no
    video judge it is the clip with the smallest mean squared pixel distance to all others.
    """

    asks = ("video",)  # the runner puts this judge's digest into the cell's key

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        if self.suite is None or not self.suite.judges.available("video"):
            self.clip = train.video[find_medoid(train.video)]
            return
        candidates, others = (judge_clips(self.suite, part.video) for part in (train, validation))
        scores = expected_accuracy(candidates, top_classes(np.concatenate([candidates, others]), 1)[:, 0])
        self.clip = train.video[int(np.argmax(scores))]


class PositionOnly(Control):
    """Shows a clip of the concept that the place in the block makes most likely (`baselines.floors.position`).

    It knows when the trial was shown and when the known clips were, and nothing else: not which concepts the tested
    block has already shown. Ties are broken by the trial's seed. Of the concept's known clips it shows the nearest in
    time. Without concepts (all clips of one, as in films) it shows the clip nearest in time, of any block.
    """

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.train, self.validation = train, validation
        self.bandwidth: float | None = None

    def see_schedule(self, schedule: Schedule) -> None:
        self.schedule = schedule
        if self.bandwidth is None:
            self.known_slots = np.concatenate([schedule.train_slot, schedule.validation_slot])
            labels = np.concatenate([self.train.concepts, self.validation.concepts])
            self.labels, self.known_concepts = np.unique(labels, return_inverse=True)
            blocks = np.concatenate([schedule.train_block, schedule.validation_block])
            self.bandwidth = choose_bandwidth(blocks, self.known_slots, self.known_concepts)

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        if self.bandwidth is None:
            raise BenchError("position_only was shown no schedule; call see_schedule with the trials' places first")
        slots = self.schedule.slot
        votes = vote(slots, self.known_slots, self.known_concepts, bandwidth=self.bandwidth, concepts=len(self.labels))
        chosen = []
        for slot, row, seed in zip(slots, votes, brain.seed, strict=True):
            generator = np.random.default_rng(seed)
            concept = generator.choice(np.flatnonzero(row == row.max()))
            own = np.flatnonzero(self.train.concepts == self.labels[concept])
            own = own if len(own) else np.arange(len(self.train.concepts))  # a concept of the validation block alone
            distance = np.abs(self.schedule.train_slot[own] - slot)
            chosen.append(generator.choice(own[distance == distance.min()]))
        return self.train.video[chosen]


class NoiseBrain:
    """A method trained on brains and then fed noise: what of its score needs no brain at all.

    method: any name or `file.py:Class` that `--method` takes, with its own parameters beside; `retrieval` by default.
    The noise is Gaussian with the mean, the covariance between channels and the spectrum of the subject's training (or
    calibration) trials (`baselines.floors.noise`), so the method meets nothing strange. It depends on the trial's seed
    alone.
    """

    modality: Modality = "any"
    version = 1
    wraps = WRAPPED  # the default of `method`; the runner puts the method's version and source into the cell's key

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        method, wrapped_parameters = read_noise_brain(parameters)
        Wrapped = resolve("methods", method)
        if Wrapped.modality == "none":
            raise BenchError(f"noise_brain: {method} sees no brain, so noise changes nothing; name one that does")
        self.method = Wrapped(suite=suite, seed=seed, **wrapped_parameters)
        self.noise: dict[int, Noise] = {}

    @property
    def parameter_count(self) -> int:
        return int(self.method.parameter_count)

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.method.fit(train, validation)
        self.noise |= measure_noise(train.brain, train.subject)

    def adapt(self, calibration: TrainingSet) -> None:
        self.method.adapt(calibration)
        self.noise |= measure_noise(calibration.brain, calibration.subject)

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        return np.asarray(self.method.reconstruct(self.replace(brain)))

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial d"]:
        return np.asarray(self.method.embed(self.replace(brain)))

    def replace(self, brain: BrainData) -> BrainData:
        """The trials with noise in place of their signals."""
        unknown = sorted(set(brain.subject.tolist()) - set(self.noise))
        if unknown:
            raise BenchError(f"noise_brain: no training or calibration trials of subjects {unknown} to copy noise from")
        drawn = [self.noise[int(s)].draw(int(seed)) for s, seed in zip(brain.subject, brain.seed, strict=True)]
        return BrainData(
            brain=np.stack(drawn),
            subject=brain.subject,
            seed=brain.seed,
            channels=brain.channels,
            sampling_rate=brain.sampling_rate,
        )


def judge_clips(suite: Any, video: UInt8[np.ndarray, "n f h w 3"]) -> Float32[np.ndarray, "n classes"]:
    parts = [suite.video_logits(video[start : start + CHUNK]) for start in range(0, len(video), CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


def expected_accuracy(
    logits: Float32[np.ndarray, "n classes"], targets: Int64[np.ndarray, " m"]
) -> Float64[np.ndarray, " n"]:
    """Of each row of logits: its mean `N_WAY` accuracy over the right classes `targets`; exact."""
    right, count = np.unique(targets, return_counts=True)
    n_way = min(N_WAY, logits.shape[1])
    accuracy = [
        n_way_accuracy(np.broadcast_to(row, (len(right), len(row))), right, n_way=n_way) @ count for row in logits
    ]
    return np.asarray(accuracy) / len(targets)


def find_medoid(video: UInt8[np.ndarray, "n f h w 3"]) -> int:
    """The clip with the smallest mean squared distance to all clips, which is the one nearest to their mean."""
    mean = sum(clip.astype(np.float64) for clip in video) / len(video)
    return int(np.argmin([((clip - mean) ** 2).mean() for clip in video]))
