"""Features of recordings of any kind for linear models: time bins and band powers, brought to one scale a subject.

Each channel is averaged in time bins. The channels are then whitened by the covariance of what the bins vary by, since
one source reaches many electrodes (not for more than `WHITENED` channels: voxels are local, and that many covariances
cannot be estimated). Where the sampling rate allows, the log power of each channel in the five usual bands is added.
All statistics are a subject's own, of the trials given. Channels beyond `MOST` are mixed by a fixed random projection,
which keeps distances and bounds the cost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from bench.core.contracts import Signals
from bench.core.errors import BenchError

BINS = 40  # of a trial at most
MOST = 4096  # binned features
WHITENED = 256  # channels
SHRINKAGE = 0.05  # of the channels' covariance towards its mean variance
BANDS = ((1.0, 4.0), (4.0, 8.0), (8.0, 14.0), (14.0, 31.0), (31.0, 70.0))  # Hz
BAND_WEIGHT = 0.5  # of a band power beside a bin: each counts for a whole trial, and bins count for more
CHUNK = 128  # trials read at once


@dataclass(frozen=True)
class Raw:
    """Time bins and log band powers of some trials, in the units of the recordings."""

    bins: Float32[np.ndarray, "trial channel bin"]
    power: Float32[np.ndarray, "trial power"]


@dataclass(frozen=True)
class Scale:
    """How a subject's raw features become features: a whitener of channels, then mean and deviation of each feature."""

    whitener: Float32[np.ndarray, "channel channel"] | None
    mean: Float32[np.ndarray, " feature"]
    deviation: Float32[np.ndarray, " feature"]

    def apply(self, raw: Raw) -> Float32[np.ndarray, "trial feature"]:
        return (flatten(raw, self.whitener) - self.mean) / self.deviation


def read_features(brain: Signals, sampling_rate: float) -> Raw:
    """Raw features of all trials, read in chunks. sampling_rate: Hz."""
    parts = [brain[slice(start, start + CHUNK)] for start in range(0, len(brain), CHUNK)]
    pairs = [(bin_time(part), band_power(part, sampling_rate)) for part in parts]
    bins, power = (np.concatenate(some) for some in zip(*pairs, strict=True))
    return Raw(bins, power)


def bin_time(signals: Float32[np.ndarray, "n channel time"]) -> Float32[np.ndarray, "n channel bin"]:
    channels, samples = signals.shape[1:]
    if channels > MOST:
        generator = np.random.default_rng(channels)
        mix = (generator.integers(0, 2, size=(MOST, channels), dtype=np.int8) * 2 - 1).astype(np.float32)
        signals = np.einsum("mc,nct->nmt", mix / np.float32(np.sqrt(MOST)), signals, optimize=True)
    bins = int(min(BINS, samples, max(1, MOST // channels)))
    edges = np.linspace(0, samples, bins + 1).round().astype(int)
    return (np.add.reduceat(signals, edges[:-1], axis=2) / np.diff(edges)).astype(np.float32)


def band_power(signals: Float32[np.ndarray, "n channel time"], sampling_rate: float) -> Float32[np.ndarray, "n power"]:
    """Log power of each channel in each band that the rate and the length of a trial can hold; none for fMRI."""
    frequency = np.fft.rfftfreq(signals.shape[2], 1 / sampling_rate)
    holds = [(frequency >= low) & (frequency < high) for low, high in BANDS if high < sampling_rate / 2]
    if not any(band.any() for band in holds):
        return np.zeros((len(signals), 0), np.float32)
    power = np.abs(np.fft.rfft(signals, axis=2)) ** 2
    logs = [np.log(power[:, :, band].mean(axis=2) + 1e-6) for band in holds if band.any()]
    return np.concatenate(logs, axis=1).astype(np.float32)


def flatten(raw: Raw, whitener: np.ndarray | None) -> Float32[np.ndarray, "trial feature"]:
    bins = raw.bins if whitener is None else np.matmul(whitener, raw.bins)
    return np.concatenate([bins.reshape(len(bins), -1), raw.power], axis=1)


def measure_scales(raw: Raw, subject: Int64[np.ndarray, " trial"]) -> dict[int, Scale]:
    """The scale of each subject that has trials here; a feature that does not vary is left unscaled."""
    scales = {}
    for one in np.unique(subject):
        part = take(raw, subject == one)
        whitener = measure_whitener(part.bins) if part.bins.shape[1] <= WHITENED else None
        features = flatten(part, whitener)
        deviation = features.std(axis=0)
        deviation = np.where(deviation > 1e-6, deviation, 1.0)
        deviation[deviation.size - part.power.shape[1] :] /= BAND_WEIGHT
        scales[int(one)] = Scale(whitener, features.mean(axis=0), deviation.astype(np.float32))
    return scales


def measure_whitener(bins: Float32[np.ndarray, "n channel bin"]) -> Float32[np.ndarray, "channel channel"]:
    """The symmetric inverse root of the channels' covariance over trials and bins, about the mean trial."""
    rest = (bins - bins.mean(axis=0)).astype(np.float64)
    covariance = np.einsum("nct,ndt->cd", rest, rest, optimize=True) / (len(bins) * bins.shape[2])
    level = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(covariance + (SHRINKAGE * level + 1e-12) * np.eye(len(covariance)))
    return ((vectors / np.sqrt(values)) @ vectors.T).astype(np.float32)


def scale_features(
    raw: Raw, subject: Int64[np.ndarray, " trial"], scales: dict[int, Scale]
) -> Float32[np.ndarray, "trial feature"]:
    """Features of the trials; raises BenchError for a subject that has no scale."""
    unknown = sorted(set(subject.tolist()) - set(scales))
    if unknown:
        raise BenchError(f"no training or calibration trials of subjects {unknown} to take the scale of features from")
    made = np.empty((len(subject), raw.bins[0].size + raw.power.shape[1]), np.float32)
    for one in np.unique(subject):
        rows = subject == one
        made[rows] = scales[int(one)].apply(take(raw, rows))
    return made


def take(raw: Raw, rows: np.ndarray) -> Raw:
    return Raw(raw.bins[rows], raw.power[rows])
