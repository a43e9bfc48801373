"""Ridge regression from the brain to a description of the clip, then the training clip that it makes likeliest.

A real baseline for recordings of any kind ([trial, channel, time]): it sees the brain, learns in seconds and shows real
footage. A method that generates should beat it. What follows was chosen on the validation block of the small phantom
(six subjects, 40 concepts); "concept" is how often the clip shown has the true concept there (2.5 % by chance).

- *Targets*: the concept (one-hot), the caption (mean token of the suite's text encoder) and the look (a thumbnail of
  each frame), each reduced to principal components of equal total variance. All three: concept 22 %; the concept
  alone 20 %. Latents of the autoencoder in place of thumbnails: 20 %, and they cost a pass through it.
- *Ridge*: one model for all subjects, then one of each subject for what the first leaves over, so that a subject's
  weights are shrunk towards the common ones: 22 %, and 18 % without. Strengths are chosen on the validation block for
  each group of targets, not by generalised cross-validation: other subjects saw the same clips and neighbouring trials
  share slow drift, so a left-out trial is no new one. Then all is fitted again with the validation block.
- *Choice*: on validation a prediction ŷ is about b·y with residual variance s² in each component; the score of clip k
  is its log-likelihood Σ (b ŷ y_k − b² y_k² / 2) / s². The concept whose clips are likeliest together is taken, then
  its likeliest clip. Showing the clip nearest to ŷ instead: 8 %, since ridge shrinks ŷ and the clips near the mean win.

A new subject gets the common model and its own correction from the calibration trials, with the strength of the others.
Voxels of different subjects do not correspond: there each subject has a ridge of its own and nothing is common; a new
subject's is fitted on its calibration trials, its strength chosen by leaving out a fifth of their clips in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, Int64, UInt8
from scipy.linalg import cho_factor, cho_solve

from baselines.retrieval.features import Scale, measure_scales, read_features, scale_features
from bench.core.contracts import BrainData, Modality, Space, TrainingSet, VideoBatch
from bench.core.errors import BenchError

COMPONENTS = {"concept": 40, "caption": 24, "look": 24}  # at most
THUMBNAIL = (8, 5)  # width, height in pixels
STRENGTHS = tuple(10.0 ** (half / 2) for half in range(4, 13))  # 100 to 10⁶: as many as a session has trials, and round
PARTS = 5  # of the training clips in order of presentation, about a block each, for predictions of unseen clips

Features = Float32[np.ndarray, "trial feature"]
Targets = Float32[np.ndarray, "trial component"]
Weights = Float32[np.ndarray, "feature component"]
Strength = Float64[np.ndarray, " component"]


class Retrieval:
    """Shows the training clip that ridge regression from the brain makes likeliest. Deterministic, whatever the seed.

    Concepts, captions or looks that are all alike tell nothing and are left out; BenchError where nothing is left.
    """

    modality: Modality = "any"
    version = 2  # 1: a common model for voxels too
    embeds: Space = "words"

    def __init__(self, *, suite: Any = None, seed: int = 0) -> None:
        self.suite = suite
        self.scales: dict[int, Scale] = {}
        self.corrections: dict[int, Weights] = {}  # each subject's correction
        self.correction_strength: Strength | None = None  # None: one subject, so the common model is its own

    @property
    def parameter_count(self) -> int:
        common = 0 if self.apart else self.common.size
        return int(common + sum(weights.size for weights in self.corrections.values()))

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.video, self.concepts = train.video, train.concepts
        self.describer = Describer(train, self.suite)
        self.described = self.describer.describe(train)
        y, y_validation = self.described[train.clip], self.describer.describe(validation)[validation.clip]
        raw = read_features(train.brain, train.sampling_rate)
        self.scales = measure_scales(raw, train.subject)
        x = scale_features(raw, train.subject, self.scales)
        x_validation = self._features(validation)

        groups = self.describer.groups
        subjects = np.unique(train.subject)
        self.apart = bool(train.rois)
        if self.apart:
            strength, predicted = np.ones(y.shape[1]), np.zeros_like(y_validation)
        else:
            strength, predicted = choose_strength(fit_ridge(x, y, STRENGTHS), x_validation, y_validation, groups)
        left = np.empty_like(y)
        if self.apart or len(subjects) > 1:
            left = y if self.apart else y - predict_unseen(x, y, train.clip * PARTS // len(train.video), strength)
            corrections = np.zeros((len(STRENGTHS), *predicted.shape), np.float32)
            for one in subjects:
                here, there = train.subject == one, validation.subject == one
                for made, weights in zip(corrections, fit_ridge(x[here], left[here], STRENGTHS), strict=True):
                    made[there] = x_validation[there] @ weights
            left_validation = y_validation - predicted
            self.correction_strength, correction = pick_strength(corrections, left_validation, groups)
            predicted = predicted + correction
        self.slope, self.noise = measure_worth(predicted, y_validation)

        # again with the validation block, at the strengths that it chose
        if self.correction_strength is not None:
            left = np.concatenate([left, left_validation])
        x, y = np.concatenate([x, x_validation]), np.concatenate([y, y_validation])
        self.common = np.zeros((x.shape[1], y.shape[1]), np.float32) if self.apart else fit_mixed(x, y, strength)
        if self.correction_strength is not None:
            who = np.concatenate([train.subject, validation.subject])
            self.corrections = {
                int(one): fit_mixed(x[who == one], left[who == one], self.correction_strength) for one in subjects
            }

    def adapt(self, calibration: TrainingSet) -> None:
        """A scale and a correction of each new subject from its calibration trials."""
        raw = read_features(calibration.brain, calibration.sampling_rate)
        self.scales |= measure_scales(raw, calibration.subject)
        if self.correction_strength is None:
            return
        x = scale_features(raw, calibration.subject, self.scales)
        left = self.describer.describe(calibration)[calibration.clip] - x @ self.common
        part = calibration.clip * PARTS // len(calibration.video)
        for one in np.unique(calibration.subject):
            rows, strength = calibration.subject == one, self.correction_strength
            if self.apart:
                held = [
                    predict_unseen(x[rows], left[rows], part[rows], np.full(left.shape[1], some)) for some in STRENGTHS
                ]
                strength, _ = pick_strength(np.stack(held), left[rows], self.describer.groups)
            self.corrections[int(one)] = fit_mixed(x[rows], left[rows], strength)

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        likelihood = score_clips(self.predict(brain), self.described, self.slope, self.noise)
        return self.video[choose_clips(likelihood, self.concepts)]

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial d"]:
        """The direction along which a caption's mean token makes a trial likelier: of its likelihood, as above, the
        part that is linear in the caption."""
        return self.describer.direct("caption", self.predict(brain) * (self.slope / self.noise).astype(np.float32))

    def predict(self, brain: BrainData) -> Targets:
        """The components of the clip that ridge reads from each trial."""
        x = scale_features(read_features(brain.brain, brain.sampling_rate), brain.subject, self.scales)
        predicted = x @ self.common
        for one in set(brain.subject.tolist()) & set(self.corrections):
            rows = brain.subject == one
            predicted[rows] += x[rows] @ self.corrections[one]
        return predicted

    def _features(self, part: TrainingSet) -> Features:
        return scale_features(read_features(part.brain, part.sampling_rate), part.subject, self.scales)


class Describer:
    """Clips as vectors: principal components, found on the training clips, of concept, caption and look."""

    def __init__(self, train: TrainingSet, suite: Any) -> None:
        self.suite = suite
        self.labels = np.unique(train.concepts)
        self.axes: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # mean (d,), axes (d, components)
        self.widths: dict[str, int] = {}  # d
        for name, values in self._values(train).items():
            mean, self.widths[name] = values.mean(axis=0), values.shape[1]
            _, spread, axes = np.linalg.svd(values - mean, full_matrices=False)
            kept = min(COMPONENTS[name], int((spread > 1e-5 * max(1.0, spread[0])).sum()))
            if kept:
                total = np.sqrt((spread[:kept] ** 2).sum() / len(values))
                self.axes[name] = mean, axes[:kept].T / total
        if not self.axes:
            raise BenchError("retrieval: all training clips are alike in concept, caption and look; it needs others")

    @property
    def groups(self) -> list[slice]:
        """The components of each kind, side by side."""
        ends = np.cumsum([0, *(axes.shape[1] for _, axes in self.axes.values())])
        return [slice(int(start), int(end)) for start, end in pairwise(ends)]

    def describe(self, part: TrainingSet) -> Float32[np.ndarray, "clip component"]:
        values = self._values(part)
        made = [(values[name] - mean) @ axes for name, (mean, axes) in self.axes.items()]
        return np.concatenate(made, axis=1).astype(np.float32)

    def direct(self, name: str, weights: Float32[np.ndarray, "n component"]) -> Float32[np.ndarray, "n d"]:
        """Of weights on the components, the direction that they make in the space of one description; zeros where that
        tells no clip from another."""
        if name not in self.axes:
            return np.zeros((len(weights), self.widths[name]), np.float32)
        group = self.groups[list(self.axes).index(name)]
        return (weights[:, group] @ self.axes[name][1].T).astype(np.float32)

    def _values(self, part: TrainingSet) -> dict[str, np.ndarray]:
        values = {
            "concept": (part.concepts[:, None] == self.labels).astype(np.float64),
            "look": np.stack([shrink(clip) for clip in part.video]),
        }
        if self.suite is not None:
            values["caption"] = self.suite.encode_text(list(part.captions)).mean(1).double().numpy()
        return values


def shrink(clip: UInt8[np.ndarray, "frame height width 3"]) -> Float64[np.ndarray, " d"]:
    """All frames as thumbnails, in 0..1."""
    small = [cv2.resize(frame, THUMBNAIL, interpolation=cv2.INTER_AREA) for frame in np.asarray(clip)]
    return np.stack(small).ravel() / 255.0


def fit_ridge(x: Features, y: Targets, strengths: Sequence[float]) -> list[Weights]:
    """argmin |y − x w|² + strength |w|² for each strength, in whichever of the two forms is smaller."""
    if len(x) < x.shape[1]:
        return [x.T @ dual for dual in solve(x @ x.T, y, strengths)]
    return solve(x.T @ x, x.T @ y, strengths)


def solve(gram: Float[np.ndarray, "d d"], right: Float[np.ndarray, "d c"], strengths: Sequence[float]) -> list:
    factors = (cho_factor(gram + np.float32(one) * np.eye(len(gram), dtype=gram.dtype)) for one in strengths)
    return [cho_solve(factor, right) for factor in factors]


def fit_mixed(x: Features, y: Targets, strength: Strength) -> Weights:
    """Ridge with a strength of its own for each component."""
    distinct, which = (some.tolist() for some in np.unique(strength, return_inverse=True))
    return np.stack(fit_ridge(x, y, distinct))[which, :, np.arange(len(which))].T


def predict_unseen(x: Features, y: Targets, part: Int64[np.ndarray, " trial"], strength: Strength) -> Targets:
    """Predictions for each part of the clips by a ridge on the trials of all other parts."""
    gram, moment = x.T @ x, x.T @ y
    distinct, which = (some.tolist() for some in np.unique(strength, return_inverse=True))
    predicted = np.empty_like(y)
    for one in np.unique(part):
        out = part == one
        weights = solve(gram - x[out].T @ x[out], moment - x[out].T @ y[out], distinct)
        predicted[out] = np.stack([x[out] @ some for some in weights])[which, :, np.arange(len(which))].T
    return predicted


def choose_strength(
    weights: Sequence[Weights], x: Features, y: Targets, groups: Sequence[slice]
) -> tuple[Strength, Targets]:
    return pick_strength(np.stack([x @ some for some in weights]), y, groups)


def pick_strength(
    predictions: Float32[np.ndarray, "strength trial component"], y: Targets, groups: Sequence[slice]
) -> tuple[Strength, Targets]:
    """For each group of components the strength with the least squared error, and the predictions with it."""
    strength = np.empty(y.shape[1])
    predicted = np.empty_like(y)
    for group in groups:
        best = int(((predictions[:, :, group] - y[:, group]) ** 2).sum(axis=(1, 2)).argmin())
        strength[group] = STRENGTHS[best]
        predicted[:, group] = predictions[best][:, group]
    return strength, predicted


def measure_worth(predicted: Targets, y: Targets) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the predictions on the truth, not below 0, and their residual variance, in each component."""
    slope = np.maximum((predicted * y).sum(axis=0) / np.maximum((y**2).sum(axis=0), 1e-12), 0.0)
    return slope, ((predicted - slope * y) ** 2).mean(axis=0) + 1e-12


def score_clips(
    predicted: Targets, described: Float32[np.ndarray, "clip component"], slope: np.ndarray, noise: np.ndarray
) -> Float32[np.ndarray, "trial clip"]:
    """Log-likelihood of each clip, up to a constant of the trial."""
    return predicted @ (slope / noise * described).T - (slope**2 / noise * described**2).sum(axis=1) / 2


def choose_clips(
    likelihood: Float32[np.ndarray, "trial clip"], concepts: Int64[np.ndarray, " clip"]
) -> Int64[np.ndarray, " trial"]:
    """The likeliest clip of the concept with the greatest sum of likelihoods, every concept being as probable."""
    labels, member, count = np.unique(concepts, return_inverse=True, return_counts=True)
    scaled = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    best = (scaled @ np.eye(len(labels))[member] / count).argmax(axis=1)
    return np.where(member == best[:, None], likelihood, -np.inf).argmax(axis=1)
