"""Ridge regression to the captions' coordinates, of EEG and of fMRI.

The strength is the one with the least squared error on clips that were left out, a fifth of them at a time in order of
presentation (neighbouring trials share drift, and repeats of a clip are no new clips).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from baselines.encoders.door import Encoder, Lesson
from baselines.retrieval.features import Raw, measure_scales, read_features, scale_features
from baselines.retrieval.method import fit_ridge
from bench.core.contracts import BrainData, Modality, TrainingSet
from bench.core.errors import UnknownSubject, require_fitted
from bench.toolbox.voxels import choose_voxels

STRENGTHS = tuple(10.0**power for power in (2, 2.5, 3, 3.5, 4, 4.5, 5))
PARTS = 5  # of the clips

Features = Float32[np.ndarray, "trial feature"]
Weights = Float32[np.ndarray, "feature rank"]


def fit_best(x: Features, y: Float32[np.ndarray, "trial rank"], clip: Int64[np.ndarray, " trial"]) -> Weights:
    """Weights at the strength that does best on clips left out."""
    _, order = np.unique(clip, return_inverse=True)
    part = order * PARTS // (order.max() + 1)
    errors = np.zeros(len(STRENGTHS))
    for one in np.unique(part):
        out = part == one
        for place, weights in enumerate(fit_ridge(x[~out], y[~out], STRENGTHS)):
            errors[place] += ((x[out] @ weights - y[out]) ** 2).sum()
    return fit_ridge(x, y, [STRENGTHS[int(errors.argmin())]])[0]


class RidgeEEG(Encoder):
    """One ridge for all subjects on time bins and log band powers, brought to one scale a subject
    (`baselines.retrieval.features`); a new subject's scale is measured on its calibration trials."""

    name: ClassVar[str] = "ridge_eeg"
    modality: Modality = "eeg"
    weights: Weights | None = None

    def learn(self, lesson: Lesson) -> None:
        raw = [read_features(part.brain, part.sampling_rate) for part in lesson.parts]
        joined = Raw(np.concatenate([one.bins for one in raw]), np.concatenate([one.power for one in raw]))
        self.scales = measure_scales(joined, lesson.subject)
        features = scale_features(joined, lesson.subject, self.scales)
        self.weights = fit_best(features, lesson.targets.numpy(), lesson.clip)

    def adapt(self, calibration: TrainingSet) -> None:
        require_fitted(self.weights, self.name)
        self.scales |= measure_scales(read_features(calibration.brain, calibration.sampling_rate), calibration.subject)

    def predict(self, brain: BrainData) -> Float[Tensor, "trial rank"]:
        weights = require_fitted(self.weights, self.name)
        raw = read_features(brain.brain, brain.sampling_rate)
        return torch.from_numpy(scale_features(raw, brain.subject, self.scales) @ weights)

    @property
    def parameter_count(self) -> int:
        return int(require_fitted(self.weights, self.name).size)


class RidgeFmri(Encoder):
    """A ridge of each subject's own from its voxels to the caption, as Brain-Diffuser reads CLIP's text (Ozcelik and
    VanRullen 2023); a new subject's is fitted on its calibration trials alone."""

    name: ClassVar[str] = "ridge_fmri"
    modality: Modality = "fmri"

    def learn(self, lesson: Lesson) -> None:
        self.columns: dict[int, Int64[np.ndarray, " voxel"]] = {}
        self.weights: dict[int, Weights] = {}
        self.fit_subjects(lesson)

    def adapt(self, calibration: TrainingSet) -> None:
        self.fit_subjects(self.make_lesson(calibration))

    def fit_subjects(self, lesson: Lesson) -> None:
        signals = np.concatenate([part.brain[np.arange(len(part.subject))] for part in lesson.parts])
        self.columns |= choose_voxels(lesson.parts[0], leave_out=())
        for one in np.unique(lesson.subject).tolist():
            rows = np.flatnonzero(lesson.subject == one)
            x = signals[rows][:, self.columns[one]].reshape(len(rows), -1)
            self.weights[one] = fit_best(x, lesson.targets.numpy()[rows], lesson.clip[rows])

    def predict(self, brain: BrainData) -> Float[Tensor, "trial rank"]:
        captions = require_fitted(self.captions, self.name)
        if missing := sorted(set(brain.subject.tolist()) - set(self.weights)):
            raise UnknownSubject(f"{self.name} has no ridge of subjects {missing}; call adapt with trials of theirs")
        made = np.empty((len(brain.subject), captions.coordinates.shape[1]), np.float32)
        for one in np.unique(brain.subject).tolist():
            rows = np.flatnonzero(brain.subject == one)
            made[rows] = brain.brain[rows][:, self.columns[one]].reshape(len(rows), -1) @ self.weights[one]
        return torch.from_numpy(made)

    @property
    def parameter_count(self) -> int:
        require_fitted(self.captions, self.name)
        return int(sum(weights.size for weights in self.weights.values()))
