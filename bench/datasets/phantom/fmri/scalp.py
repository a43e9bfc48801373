"""EEG beside the fMRI of a CineBrain phantom: 64 channels that answer to each fifth of a clip.

Much simpler than `phantom_eeg`, which is the phantom for EEG methods. The clip's share in one TR evokes a response
within that TR: potential = Σ_features φ · field · kernel(t), where the first share of a clip (something appears) counts
in full and the later ones a third. The sources are dipoles on a sphere whose field falls off with the angle. The noise
is 1/f, stationary, with one spatial covariance for all frequencies, so its covariance over a clip is a Kronecker
product and the likelihood exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

from bench.core.seeds import derive_seed
from bench.datasets.phantom.eeg.features import unit
from bench.datasets.phantom.fmri.features import COUNT, GROUPS
from bench.datasets.phantom.fmri.spec import FmriSpec

CHANNELS = 64
SOURCES = 16
GAINS = {"light": 0.6, "edges": 0.5, "colour": 0.4, "motion": 0.8, "object": 1.0, "scene": 0.4, "sound": 0.8}
LATER = 1 / 3  # strength of what follows a clip's first volume
MICROVOLTS = 8.0  # of the noise


@dataclass(frozen=True)
class Scalp:
    """One subject: response to a unit of each feature within a TR, and how noise is mixed."""

    response: Float32[np.ndarray, "64 sample 141"]
    mixing: Float32[np.ndarray, "64 64"]


def draw_scalp(spec: FmriSpec, subject: int) -> Scalp:
    rng = np.random.default_rng(derive_seed("phantom", "scalp", spec.seed, subject))
    electrodes = place_electrodes()
    sources = unit(rng.standard_normal((SOURCES, 3)))
    field = np.exp(3 * (electrodes @ sources.T - 1))
    field -= field.mean(axis=0)  # average reference
    tuning = np.zeros((SOURCES, COUNT))
    for group, gain in GAINS.items():
        columns = GROUPS[group]
        tuning[:, columns] = gain * rng.standard_normal((SOURCES, columns.stop - columns.start)) / 4
    samples = tr_samples(spec)
    time = (np.arange(samples) + 0.5) / spec.eeg_rate
    peak, width = rng.uniform(0.1, 0.45, (2, SOURCES, 1)) * [[[1]], [[0.3]]]
    kernel = np.exp(-0.5 * ((time - peak) / width) ** 2) * np.cos(2 * np.pi * 4 * (time - peak))
    response = np.einsum("cs,st,sd->ctd", field, kernel, tuning)
    response *= MICROVOLTS * spec.eeg_signal / np.sqrt((response**2).sum(axis=2).mean())
    spread = np.exp(4 * (electrodes @ electrodes.T - 1)) + 0.1 * np.eye(CHANNELS)
    mixing = np.linalg.cholesky(spread / spread[0, 0]) * np.exp(0.2 * rng.standard_normal((CHANNELS, 1)))
    return Scalp(response.astype(np.float32), (MICROVOLTS * mixing).astype(np.float32))


def place_electrodes() -> Float64[np.ndarray, "64 3"]:
    """Evenly over the upper two thirds of a unit sphere (a Fibonacci spiral)."""
    index = np.arange(CHANNELS) + 0.5
    height = 1 - index / CHANNELS * 4 / 3
    turn = np.pi * (1 + np.sqrt(5)) * index
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1)


def tr_samples(spec: FmriSpec) -> int:
    return round(spec.tr * spec.eeg_rate)


def volume_gains(spec: FmriSpec) -> Float64[np.ndarray, " volume"]:
    """Strength of each share of a clip."""
    return np.where(np.arange(spec.clip_volumes) == 0, 1.0, LATER)


def noise_power(spec: FmriSpec, samples: int) -> Float64[np.ndarray, " frequency"]:
    """Two-sided power of each frequency of a run of even length: 1/f from 1 Hz on and white, of unit variance."""
    frequency = np.abs(np.fft.fftfreq(samples, 1 / spec.eeg_rate))
    power = 1 / np.maximum(frequency, 1.0) + 0.02
    return power / power.mean()


def draw_scalp_noise(rng: np.random.Generator, scalp: Scalp, spec: FmriSpec, samples: int) -> np.ndarray:
    """Noise of a run: float32 [64, sample]."""
    spectrum = np.fft.rfft(rng.standard_normal((CHANNELS, samples), dtype=np.float32), axis=1)
    courses = np.fft.irfft(spectrum * np.sqrt(noise_power(spec, samples)[: spectrum.shape[1]]), n=samples, axis=1)
    return scalp.mixing @ courses.astype(np.float32)


def noise_covariance_over_time(spec: FmriSpec, samples: int, length: int) -> Float64[np.ndarray, "length length"]:
    """Covariance of `length` consecutive samples of one course of a run of `samples`."""
    from scipy.linalg import toeplitz

    return toeplitz(np.fft.ifft(noise_power(spec, samples)).real[:length])
