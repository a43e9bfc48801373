"""Decoders that learn from a phantom's trials: ridge regression of three kinds of features, maps between heads.

| features | what                                                                                    |
|----------|-----------------------------------------------------------------------------------------|
| evoked   | cosines up to 12.5 Hz of the channels, spatially whitened                               |
| bands    | logarithm of the power of each channel in five bands (what EEG2Video calls DE features) |
| both     | the two side by side, equally strong                                                    |

As the harness does, every subject's channels are first brought to its own mean and deviation, without labels: of a
new subject by its calibration trials. A map goes from a new subject's channels to the mean of the known subjects'
trials of the same clips, by ridge regression on the calibration trials: it learns the way there, from a mean with
little noise to trials with much, and turns it around. Penalties are in units of the mean eigenvalue of what they are
added to and were chosen on the development seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bench.datasets.phantom.eeg.head import RATE, WINDOW
from bench.datasets.phantom.eeg.likelihood import cosine_basis

COSINES = 50  # up to 12.5 Hz
EDGES = ((1, 4), (4, 8), (8, 14), (14, 31), (31, 99))  # Hz
BAND_NAMES = ("delta", "theta", "alpha", "beta", "gamma")
FEATURES = ("evoked", "bands", "both")
PENALTIES = {"evoked": 3.0, "bands": 1.0, "both": 2.0}
MAP_PENALTIES = {"evoked": (0.01, 1e-4), "bands": (0.1, 0.3)}  # of the way there, and of its inverse
FLOOR = 1e-3  # of the mean eigenvalue, added before whitening: tiny directions are left small


@dataclass(frozen=True)
class Readings:
    """Features of some trials of one subject, before any scaling."""

    evoked: Float32[np.ndarray, "trial 62 cosine"]
    bands: Float32[np.ndarray, "trial 62 band"]

    def __len__(self) -> int:
        return len(self.evoked)

    def __getitem__(self, rows: np.ndarray | slice) -> Readings:
        return Readings(self.evoked[rows], self.bands[rows])


def read_trials(signals: Float32[np.ndarray, "trial 62 time"]) -> Readings:
    """Features of trials in microvolts; blinks and all."""
    window = np.hanning(WINDOW + 2)[1:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(signals * window, axis=2)) ** 2
    frequency = np.fft.rfftfreq(WINDOW, 1 / RATE)
    bands = [power[:, :, (frequency >= low) & (frequency < high)].mean(axis=2) for low, high in EDGES]
    evoked = signals @ cosine_basis(COSINES).T.astype(np.float32)
    return Readings(evoked, np.log(np.stack(bands, axis=2)).astype(np.float32))


@dataclass(frozen=True)
class Scale:
    """Brings a subject's readings to its own mean and deviation, measured on some of its trials."""

    deviation: Float64[np.ndarray, "62 1"]  # of the cosines of each channel
    mean: Float64[np.ndarray, "62 band"]  # of the bands
    spread: Float64[np.ndarray, "62 band"]

    def apply(self, readings: Readings) -> Readings:
        evoked, bands = readings.evoked / self.deviation, (readings.bands - self.mean) / self.spread
        return Readings(evoked.astype(np.float32), bands.astype(np.float32))


def measure_scale(readings: Readings) -> Scale:
    deviation = np.sqrt(np.square(readings.evoked, dtype=np.float64).mean(axis=(0, 2)))[:, None]
    return Scale(deviation, readings.bands.mean(axis=0), readings.bands.std(axis=0) + 1e-6)


def whitening(evoked: Float32[np.ndarray, "trial 62 cosine"]) -> Float64[np.ndarray, "62 62"]:
    """Makes the channels of training trials uncorrelated with unit power."""
    covariance = np.einsum("nct,ndt->cd", evoked, evoked, optimize=True).astype(np.float64)
    values, vectors = np.linalg.eigh(covariance / (evoked.shape[0] * evoked.shape[2]))
    return (vectors / np.sqrt(values + FLOOR * values.mean())) @ vectors.T


def apply_channels(mixing: np.ndarray, values: np.ndarray) -> Float32[np.ndarray, "trial channel number"]:
    return np.matmul(mixing.astype(np.float32), values)


@dataclass(frozen=True)
class Ridge:
    """Ridge regression onto the concepts from one kind of features."""

    features: str
    mixing: Float64[np.ndarray, "62 62"]
    centre: Float32[np.ndarray, " number"]
    scale: Float32[np.ndarray, " number"]
    weights: Float64[np.ndarray, "number concept"]

    def scores(self, readings: Readings) -> Float64[np.ndarray, "trial concept"]:
        return ((lay_out(self.features, self.mixing, readings) - self.centre) * self.scale) @ self.weights


def lay_out(features: str, mixing: np.ndarray, readings: Readings) -> Float32[np.ndarray, "trial number"]:
    parts = []
    if features != "bands":
        parts.append(apply_channels(mixing, readings.evoked).reshape(len(readings), -1))
    if features != "evoked":
        parts.append(readings.bands.reshape(len(readings), -1))
    return np.concatenate(parts, axis=1)


def fit_ridge(
    features: str, readings: Readings, labels: Int64[np.ndarray, " trial"], kinds: int, penalty: float | None = None
) -> Ridge:
    """Learn from scaled trials; the penalty is `PENALTIES`' unless given."""
    mixing = whitening(readings.evoked)
    inputs = lay_out(features, mixing, readings)
    centre = inputs.mean(axis=0)
    inputs = inputs - centre
    scale = np.ones(inputs.shape[1], np.float32)
    if features == "both":  # both as strong
        border = readings.evoked[0].size
        for part in (slice(0, border), slice(border, None)):
            scale[part] = 1 / np.sqrt(np.square(inputs[:, part]).sum(axis=1).mean())
        inputs = inputs * scale
    weights = solve_ridge(inputs, np.eye(kinds)[labels], PENALTIES[features] if penalty is None else penalty)
    return Ridge(features, mixing, centre, scale, weights)


def solve_ridge(
    inputs: Float32[np.ndarray, "row number"], targets: Float64[np.ndarray, "row target"], penalty: float
) -> Float64[np.ndarray, "number target"]:
    """Weights on centred inputs, by whichever of the two equal ways is smaller.

    The penalty is in units of the mean eigenvalue of the rows' inner products.
    """
    from scipy.linalg import solve

    targets = targets - targets.mean(axis=0)
    strength = penalty * float(np.square(inputs, dtype=np.float64).sum()) / len(inputs)
    if len(inputs) <= inputs.shape[1]:
        kernel = (inputs @ inputs.T).astype(np.float64)
        kernel[np.diag_indices_from(kernel)] += strength
        return inputs.T @ solve(kernel, targets, assume_a="pos")
    inner = (inputs.T @ inputs).astype(np.float64)
    inner[np.diag_indices_from(inner)] += strength
    return solve(inner, inputs.T @ targets, assume_a="pos")


def fit_map(source: Readings, target: Readings) -> HeadMap:
    """From one head's channels to another's, learnt from their scaled trials of the same clips."""
    evoked = fit_channels(source.evoked, target.evoked, *MAP_PENALTIES["evoked"])
    bands = [
        fit_channels(source.bands[:, :, [band]], target.bands[:, :, [band]], *MAP_PENALTIES["bands"])
        for band in range(source.bands.shape[2])
    ]
    return HeadMap(evoked, np.stack(bands))


@dataclass(frozen=True)
class HeadMap:
    evoked: Float64[np.ndarray, "62 62"]
    bands: Float64[np.ndarray, "band 62 62"]

    def apply(self, readings: Readings) -> Readings:
        bands = np.einsum("bdc,ncb->ndb", self.bands, readings.bands, optimize=True)
        return Readings(apply_channels(self.evoked, readings.evoked), bands.astype(np.float32))


def fit_channels(
    source: np.ndarray, target: np.ndarray, penalty: float, inverse_penalty: float
) -> Float64[np.ndarray, "62 62"]:
    """The best linear estimate of the target (trial, channel, number) from the source, for a source that is noisy.

    source = way · target + rest, the way by ridge regression; so target ≈ P wayᵀ (way P wayᵀ + R)⁻¹ source with the
    covariances P of the target and R of the rest.
    """
    count = source.shape[0] * source.shape[2]
    inner = np.einsum("nct,ndt->cd", target, target, optimize=True).astype(np.float64) / count
    across = np.einsum("nct,ndt->cd", source, target, optimize=True).astype(np.float64) / count
    way = np.linalg.solve(inner + penalty * np.trace(inner) / len(inner) * np.eye(len(inner)), across.T).T
    rest = source - np.matmul(way.astype(np.float32), target)
    whole = way @ inner @ way.T + np.einsum("nct,ndt->cd", rest, rest, optimize=True).astype(np.float64) / count
    whole[np.diag_indices_from(whole)] += inverse_penalty * np.trace(whole) / len(whole)
    return inner @ way.T @ np.linalg.inv(whole)


def ridge_scores(
    train: Float64[np.ndarray, "trial number"],
    labels: Int64[np.ndarray, " trial"],
    test: Float64[np.ndarray, "other number"],
    kinds: int,
    penalty: float,
) -> Float64[np.ndarray, "other kind"]:
    """Scores of test trials by ridge regression onto indicator columns."""
    centre = train.mean(axis=0)
    return (test - centre) @ solve_ridge(train - centre, np.eye(kinds)[labels], penalty)


def mean_readings(parts: Sequence[Readings]) -> Readings:
    """The mean over subjects of trials of the same clips in the same order."""
    return Readings(np.mean([one.evoked for one in parts], axis=0), np.mean([one.bands for one in parts], axis=0))


def join(parts: Sequence[Readings]) -> Readings:
    return Readings(np.concatenate([one.evoked for one in parts]), np.concatenate([one.bands for one in parts]))


def top_accuracy(scores: np.ndarray, labels: np.ndarray, count: int = 1) -> float:
    """Share of trials whose label is among the `count` best scores."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    return float(np.mean((scores > own).sum(axis=1) < count))


def recognise_subjects(train: Mapping[int, Readings], test: Mapping[int, Readings]) -> Float64[np.ndarray, " subject"]:
    """Share of each subject's trials that ridge tells from the others', by unscaled band powers."""
    subjects = list(train)
    inputs, asked = (
        np.concatenate([part[subject].bands.reshape(len(part[subject]), -1) for subject in subjects])
        for part in (train, test)
    )
    spread = inputs.std(axis=0)
    who = np.repeat(np.arange(len(subjects)), [len(train[subject]) for subject in subjects])
    right = ridge_scores(inputs / spread, who, asked / spread, len(subjects), 0.1).argmax(axis=1)
    owner = np.repeat(np.arange(len(subjects)), [len(test[subject]) for subject in subjects])
    return np.array([np.mean(right[owner == index] == index) for index in range(len(subjects))])


@dataclass(frozen=True)
class Session:
    """What the readers are given of one subject."""

    train: Readings
    test: Readings
    calibration: Int64[np.ndarray, " trial"]  # of the training trials, those that a new subject gives
    train_clips: Int64[np.ndarray, " trial"]


def compare_readers(
    sessions: Mapping[int, Session],
    labels: Int64[np.ndarray, " clip"],
    test_labels: Int64[np.ndarray, " trial"],
    known: Sequence[int],
    new: Sequence[int],
) -> dict[tuple[str, str], list[float]]:
    """Concept accuracies of ridge by features and by what it learns from: own, pooled, new, new with a map.

    All subjects see the same clips, those of the training trials in the same order.
    """
    kinds = int(labels.max()) + 1
    out: dict[tuple[str, str], list[float]] = {}
    own = {s: measure_scale(one.train) for s, one in sessions.items()}
    train = {s: own[s].apply(one.train) for s, one in sessions.items()}
    test = {s: own[s].apply(one.test) for s, one in sessions.items()}
    pooled, pooled_labels = (
        join([train[s] for s in known]),
        np.concatenate([labels[sessions[s].train_clips] for s in known]),
    )
    mean = mean_readings([train[s] for s in known])
    for features in FEATURES:
        for subject, one in sessions.items():
            ridge = fit_ridge(features, train[subject], labels[one.train_clips], kinds)
            out.setdefault((features, "own"), []).append(top_accuracy(ridge.scores(test[subject]), test_labels))
        ridge = fit_ridge(features, pooled, pooled_labels, kinds)
        for subject in known:
            out.setdefault((features, "pooled"), []).append(top_accuracy(ridge.scores(test[subject]), test_labels))
        for subject in new:
            one = sessions[subject]
            rows = one.calibration
            scale = measure_scale(one.train[rows])
            calibration, asked = scale.apply(one.train[rows]), scale.apply(one.test)
            out.setdefault((features, "new"), []).append(top_accuracy(ridge.scores(asked), test_labels))
            heads = fit_map(calibration, mean[rows])
            again = measure_scale(heads.apply(calibration))
            mapped = again.apply(heads.apply(asked))
            out.setdefault((features, "new, mapped"), []).append(top_accuracy(ridge.scores(mapped), test_labels))
    return out
