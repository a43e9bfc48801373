"""Controls: methods without a brain. A score that is not above theirs says nothing about a brain.

Weak controls flatter a method, so these are as strong as can be made. `best_constant` and `position_only` show a clip,
as any method does, and are held to more: their class says `answers`, and under each metric they score what the best
single answer does, or the best answer to each place in the block (`bench.scoring.answers`). `train_mean` is the
strongest picture of no clip in particular. `noise_brain` is the other kind: a method that was trained on brains as it
should be, and is then fed noise. What it still scores, it scores without a brain. `random_clip` and `constant_grey` are
what the others are seldom below: real footage of the wrong clip, and a picture that is the same for every data set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from baselines.floors.noise import Noise, measure_noise
from baselines.floors.parameters import WRAPPED, read_noise_brain
from baselines.floors.position import choose_bandwidth, vote
from bench.core.contracts import BrainData, Modality, Schedule, TrainingSet, VideoBatch
from bench.core.errors import BenchError
from bench.core.registry import resolve
from bench.toolbox.average import BLURS, average_clips, blur_clip
from bench.toolbox.rows import Chosen, walk
from metrics.ssim import SSIM, ssim

Clip = UInt8[np.ndarray, "frame height width 3"]
GREY = 128  # the middle of the range 0..255
COMPARED = 100  # validation clips at most by which `train_mean` chooses its blur


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
    """Shows the mean of all training clips, frame by frame, with the blur that is best for SSIM on validation clips.

    Hard to beat in pixel metrics: what the clips do not share is averaged away, and of what is left SSIM rewards the
    smooth part.
    """

    version = 2  # 1: without blur

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        mean = average_clips(train.video)
        shown = [blur_clip(mean, blur) for blur in BLURS]
        rows = np.unique(np.linspace(0, len(validation.video) - 1, COMPARED).astype(int))
        if SSIM.refuses(mean.shape):  # frames smaller than its window
            self.clip = shown[0]
            return
        found = [
            [ssim(np.broadcast_to(clip, some.shape), some) for clip in shown]
            for some in walk(Chosen(validation.video, rows))
        ]  # (part, blur, clip)
        score = [np.concatenate(one).mean() for one in zip(*found, strict=True)]
        self.clip = shown[int(np.argmax(score))]


class ConstantGrey(StillControl):
    """Shows middle grey: beats many published reconstructions in SSIM."""

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.clip = np.full(train.video.shape[1:], GREY, dtype=np.uint8)


class BestConstant(StillControl):
    """Shows the training clip that is nearest to their mean; scored by the best constant answer under each metric."""

    answers = "constant"

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.clip = train.video[find_medoid(train.video)]


class PositionOnly(Control):
    """Shows a clip of the concept that the place in the block makes most likely (`baselines.floors.position`).

    It knows when the trial was shown and when the known clips were, and nothing else: not which concepts the tested
    block has already shown. Ties are broken by the trial's seed. Of the concept's known clips it shows the nearest in
    time. Without concepts (all clips of one, as in films) it shows the clip nearest in time, of any block. It is scored
    by the best answer to each place under each metric.
    """

    answers = "position"

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


def find_medoid(video: UInt8[np.ndarray, "n f h w 3"]) -> int:
    """The clip with the smallest mean squared distance to all clips, which is the one nearest to their mean."""
    mean = average_clips(video)
    return int(np.argmin([((clip - mean) ** 2).mean() for clip in video]))
