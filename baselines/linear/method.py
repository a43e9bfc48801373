"""`lda` and `ridge`: the concept by a linear reader, shown as a training clip of it. What a method must beat first.

Features are those of `baselines.retrieval.features` (time bins of whitened channels, band powers), the strength of
shrinkage is chosen on the validation block by the mean reciprocal rank of the true concept (top-1 is too coarse), and
the reader is fitted again with that block. On `new_subject` a reader of a new subject's own is fitted on its
calibration trials, its strength chosen by leaving out a fifth of their clips in turn; a pooled one takes the
calibration trials in at the strength of the others. Whose trials a reader is fitted on: `parameters.Parameters`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float32, Int64

from baselines.floors.position import reciprocal_rank
from baselines.linear.parameters import read_parameters
from baselines.linear.readers import PENALTY, SHRINKAGE, Features, Labels, Linear, fit_indicators, fit_lda
from baselines.retrieval.features import Scale, measure_scales, read_features, scale_features
from baselines.retrieval.method import shrink
from bench.core.contracts import BrainData, Modality, Space, TrainingSet, VideoBatch
from bench.core.errors import BenchError
from bench.toolbox.read_outs import learn_captions
from bench.toolbox.rows import Chosen
from bench.toolbox.targets import encode_captions, number_captions

EVERYBODY = 0  # the pooled reader's number; subjects count from 1
PARTS = 5  # of a new subject's calibration clips, in order of presentation


class LinearReader:
    """What `lda` and `ridge` share: all but the classifier. Deterministic, whatever the seed."""

    modality: Modality = "any"
    version = 2  # 1: `embed` weighed plain mean captions
    embeds: Space = "words"
    strengths: ClassVar[Sequence[float]]

    def __init__(self, *, suite: Any = None, seed: int = 0, **parameters: Any) -> None:
        self.suite = suite
        self.subjects = read_parameters(parameters).subjects
        self.scales: dict[int, Scale] = {}
        self.readers: dict[int, Linear] = {}

    @property
    def parameter_count(self) -> int:
        return sum(reader.weights.size + reader.offset.size for reader in self.readers.values())

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.labels = np.unique(train.concepts)
        if len(self.labels) < 2:
            raise BenchError(f"{type(self).__name__}: all training clips are of one concept; there is none to tell")
        if self.subjects == "pooled" and train.rois:
            raise BenchError(
                f"{type(self).__name__}: subjects=pooled is refused, for voxels of different subjects do not "
                "correspond; allowed is own"
            )
        self.pooled = self.subjects == "pooled" or (self.subjects is None and not train.rois)
        self.video = Chosen(train.video, np.array([find_typical(train, label) for label in self.labels]))
        if self.suite is not None:
            tokens, caption = encode_captions(self.suite, train.captions), number_captions(train.captions)[1]
            captions = learn_captions(tokens, torch.from_numpy(train.concepts), caption)
            aims = captions.aim(captions.place_concepts()).numpy()  # in the order of `labels`
            self.words = aims - aims.mean(axis=0)
        raw = read_features(train.brain, train.sampling_rate)
        self.scales = measure_scales(raw, train.subject)
        x, y = scale_features(raw, train.subject, self.scales), self.number(train)
        x_validation, y_validation = self.describe(validation), self.number(validation)
        known = y_validation >= 0  # a concept that only the validation block has cannot be ranked
        x_validation, y_validation = x_validation[known], y_validation[known]
        who, who_validation = (
            np.full(len(part), EVERYBODY) if self.pooled else part
            for part in (train.subject, validation.subject[known])
        )
        self.strength: dict[int, float] = {}
        for one in np.unique(who):
            here, there = who == one, who_validation == one
            readers = self.read(x[here], y[here], self.strengths)
            ranks = [rank(reader, x_validation[there], y_validation[there]) for reader in readers]
            self.strength[int(one)] = self.strengths[int(np.argmax(ranks))]
        x, y = np.concatenate([x, x_validation]), np.concatenate([y, y_validation])
        who = np.concatenate([who, who_validation])
        for one, strength in self.strength.items():
            (self.readers[one],) = self.read(x[who == one], y[who == one], [strength])
        self.kept = (x, y) if self.pooled else None

    def adapt(self, calibration: TrainingSet) -> None:
        raw = read_features(calibration.brain, calibration.sampling_rate)
        self.scales |= measure_scales(raw, calibration.subject)
        x, y = scale_features(raw, calibration.subject, self.scales), self.number(calibration)
        x, y, subject, clip = (part[y >= 0] for part in (x, y, calibration.subject, calibration.clip))
        if self.kept is not None:
            x, y = (np.concatenate(pair) for pair in zip(self.kept, (x, y), strict=True))
            (self.readers[EVERYBODY],) = self.read(x, y, [self.strength[EVERYBODY]])
            return
        part = clip * PARTS // len(calibration.video)
        for one in np.unique(subject):
            rows = np.flatnonzero(subject == one)
            gained = np.zeros(len(self.strengths))
            for left in np.unique(part[rows]):
                asked, rest = rows[part[rows] == left], rows[part[rows] != left]
                if len(rest):
                    readers = self.read(x[rest], y[rest], self.strengths)
                    gained += [len(asked) * rank(reader, x[asked], y[asked]) for reader in readers]
            self.strength[int(one)] = self.strengths[int(gained.argmax())]
            (self.readers[int(one)],) = self.read(x[rows], y[rows], [self.strength[int(one)]])

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        return self.video[self.score(brain).argmax(axis=1)]

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial d"]:
        """Where the mean caption of each concept lies in the whitened space "words", about the mean of all, weighted by
        what the reader gives the concept."""
        return (self.weigh(self.score(brain)) @ self.words).astype(np.float32)

    def weigh(self, scores: Float32[np.ndarray, "trial class"]) -> Float32[np.ndarray, "trial class"]:
        """What is given to each concept: of ridge the regressed indicator itself."""
        return np.where(np.isfinite(scores), scores, 0.0)

    def score(self, brain: BrainData) -> Float32[np.ndarray, "trial class"]:
        x = scale_features(read_features(brain.brain, brain.sampling_rate), brain.subject, self.scales)
        scores = np.empty((len(x), len(self.labels)), np.float32)
        for one in np.unique(brain.subject):
            rows = brain.subject == one
            scores[rows] = self.readers[EVERYBODY if self.pooled else int(one)].score(x[rows])
        return scores

    def read(self, x: Features, y: Labels, strengths: Sequence[float]) -> list[Linear]:
        """A reader at each strength, of trials with these places of their concepts in `labels`."""
        raise NotImplementedError

    def describe(self, part: TrainingSet) -> Features:
        return scale_features(read_features(part.brain, part.sampling_rate), part.subject, self.scales)

    def number(self, part: TrainingSet) -> Int64[np.ndarray, " trial"]:
        """The concept of each trial by its place in `labels`; −1 for one that no training clip has."""
        concept = part.concepts[part.clip]
        place = np.searchsorted(self.labels, concept).clip(max=len(self.labels) - 1)
        return np.where(self.labels[place] == concept, place, -1)


class Lda(LinearReader):
    """Linear discriminant analysis; shows a clip of the likeliest concept."""

    strengths = SHRINKAGE

    def read(self, x: Features, y: Labels, strengths: Sequence[float]) -> list[Linear]:
        return fit_lda(x, y, len(self.labels), strengths)

    def weigh(self, scores: Float32[np.ndarray, "trial class"]) -> Float32[np.ndarray, "trial class"]:
        """How probable each concept is."""
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


class Ridge(LinearReader):
    """Ridge regression to the concepts' indicators; shows a clip of the concept with the largest."""

    strengths = PENALTY

    def read(self, x: Features, y: Labels, strengths: Sequence[float]) -> list[Linear]:
        return fit_indicators(x, y, len(self.labels), strengths)


def rank(reader: Linear, x: Features, y: Labels) -> float:
    """The mean reciprocal rank of the true class."""
    return float(reciprocal_rank(reader.score(x).astype(np.float64), y).mean()) if len(x) else 0.0


def find_typical(train: TrainingSet, concept: int) -> int:
    """The clip of a concept that is nearest to the mean look of its clips."""
    clips = np.flatnonzero(train.concepts == concept)
    looks = np.stack([shrink(train.video[clip]) for clip in clips])
    return int(clips[((looks - looks.mean(axis=0)) ** 2).sum(axis=1).argmin()])
