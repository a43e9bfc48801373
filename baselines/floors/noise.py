"""Noise that looks like a subject's recordings to any method that looks at means, covariances or spectra.

With trials x_1 … x_K of a subject, their mean m and spectra X_k of x_k − m, a draw is m plus the inverse transform of
Σ_k g_k(f) X_k(f) / √K, with independent complex normal g_k(f) of unit variance at each frequency. That is a Gaussian
process with exactly the mean, the cross-spectrum between channels, and therefore the covariance and autocorrelation,
of the K trials (taken as periodic). Phase-randomising single trials would keep each trial's pattern over the channels.

The mean stays in: what all trials share says nothing about any of them, and noise without it would be unlike a brain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex64, Float32, Int64

from bench.core.contracts import Signals
from bench.core.seeds import derive_seed

TRIALS = 64  # of a subject, for its spectrum
CHUNK = 128  # trials read at once


@dataclass(frozen=True)
class Noise:
    """A subject's mean trial, and the spectra of some trials about it."""

    mean: Float32[np.ndarray, "channel time"]
    spectra: Complex64[np.ndarray, "trial channel frequency"]

    def draw(self, seed: int) -> Float32[np.ndarray, "channel time"]:
        """One trial of noise; the same seed gives the same."""
        generator = np.random.default_rng(derive_seed("noise_brain", seed))
        count, _, frequencies = self.spectra.shape
        samples = self.mean.shape[1]
        weights = (generator.normal(size=(2, count, frequencies)) / np.sqrt(2)).T @ [1, 1j]  # (frequency, trial)
        real = [0, *([frequencies - 1] if samples % 2 == 0 else [])]  # these have no imaginary part to share with
        weights[real] = generator.normal(size=(len(real), count))
        mixed = np.einsum("ft,tcf->cf", weights.astype(np.complex64), self.spectra) / np.sqrt(count)
        return (self.mean + np.fft.irfft(mixed, n=samples, axis=1)).astype(np.float32)


def measure_noise(brain: Signals, subject: Int64[np.ndarray, " trial"]) -> dict[int, Noise]:
    """The noise of each subject that has trials here; the mean is over all of them, the spectrum over `TRIALS`."""
    found = {}
    for one in np.unique(subject):
        trials = np.flatnonzero(subject == one)
        total = np.zeros(brain.shape[1:])
        for start in range(0, len(trials), CHUNK):
            total += brain[trials[start : start + CHUNK]].sum(axis=0, dtype=np.float64)
        mean = (total / len(trials)).astype(np.float32)
        generator = np.random.default_rng(derive_seed("noise_brain", "trials", int(one)))
        some = np.sort(generator.permutation(trials)[:TRIALS])
        spectra = np.fft.rfft(brain[some] - mean, axis=2).astype(np.complex64)
        found[int(one)] = Noise(mean, spectra)
    return found
