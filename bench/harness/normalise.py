"""Normalisation of brain signals: statistics of training trials only, one mean and deviation a subject and channel.

A new subject has no training trials; its statistics come from its calibration trials. Nothing of a test trial enters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bench.core.contracts import Dataset
from bench.core.errors import BenchError

CHUNK = 256  # trials read at once


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each channel over trials and time, in the units of the recording."""

    mean: Float64[np.ndarray, " channel"]
    deviation: Float64[np.ndarray, " channel"]


@dataclass(frozen=True)
class NormalisedSignals:
    """Signals of `trials` (rows of the data set's table), read and scaled when indexed."""

    dataset: Dataset
    trials: Int64[np.ndarray, " trial"]
    subject: Int64[np.ndarray, " trial"]
    scalings: dict[int, Scaling]
    samples: int

    dtype: ClassVar[np.dtype] = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.trials), len(self.dataset.channels), self.samples

    def __len__(self) -> int:
        return len(self.trials)

    def __getitem__(self, rows: slice | np.ndarray) -> Float32[np.ndarray, "trial channel time"]:
        subjects = self.subject[rows]
        signals = self.dataset.signals(self.trials[rows])  # (n, C, T)
        mean = np.stack([self.scalings[s].mean for s in subjects])[:, :, None] if len(subjects) else 0.0
        deviation = np.stack([self.scalings[s].deviation for s in subjects])[:, :, None] if len(subjects) else 1.0
        return ((signals - mean) / deviation).astype(np.float32)


def measure_scalings(dataset: Dataset, trials: np.ndarray, subject: np.ndarray) -> dict[int, Scaling]:
    """Scalings of each subject that has trials here. A dead channel (no deviation) is centred and left unscaled."""
    scalings = {}
    for number in np.unique(subject):
        subject_trials = trials[subject == number]
        total = squares = 0.0
        count = 0
        for start in range(0, len(subject_trials), CHUNK):
            signals = dataset.signals(subject_trials[start : start + CHUNK]).astype(np.float64)  # (n, C, T)
            total = total + signals.sum(axis=(0, 2))
            squares = squares + (signals**2).sum(axis=(0, 2))
            count += signals.shape[0] * signals.shape[2]
        mean = np.asarray(total) / count
        deviation = np.sqrt(np.maximum(np.asarray(squares) / count - mean**2, 0.0))
        scalings[int(number)] = Scaling(mean, np.where(deviation > 0, deviation, 1.0))
    return scalings


def normalised(
    dataset: Dataset, trials: np.ndarray, subject: np.ndarray, scalings: dict[int, Scaling]
) -> NormalisedSignals:
    """Signals of the trials, scaled by `scalings`; raises BenchError for a subject without one."""
    missing = sorted(set(subject.tolist()) - set(scalings))
    if missing:
        raise BenchError(f"subjects {missing} have no training or calibration trials to take statistics from")
    samples = dataset.signals(trials[:1]).shape[2]
    return NormalisedSignals(dataset, trials, subject, scalings, samples)
