"""What EEG2Video's networks read: overlapping windows of the raw signal, and log band powers ("DE features").

What EEG2Video calls differential entropy is the log of a band's mean spectral power, one number an electrode and band.
The released script takes a Fourier transform of 200 samples of a trial of 400, windowed as a whole: only the first
second counts, and that under the rising half of the window. Its bands share an edge, the first holds the constant.
`read_band_powers` transforms the whole trial and sums the bins from a band's lower edge up to, not with, its upper one;
`whole=False` is the script's arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

from bench.core.contracts import Signals
from bench.core.errors import BenchError

BANDS = ((1, 4), (4, 8), (8, 14), (14, 31), (31, 99))  # Hz: delta, theta, alpha, beta, gamma
CHUNK = 256  # trials read at once
LEAST = 1e-12  # of a power, before its logarithm

Trials = Float32[np.ndarray, "trial channel time"]


class BadSignals(BenchError):
    """Signals that are too short or too slow for what is to be read from them."""


def cut_windows(
    signals: Trials, rate: float, *, seconds: float, hop: float
) -> Float32[np.ndarray, "trial window channel time"]:
    """Overlapping windows, a view of the signals: 7 of half a second every quarter of a second in two seconds."""
    length, step = round(seconds * rate), round(hop * rate)
    if length > signals.shape[2] or step < 1:
        raise BadSignals(
            f"windows of {seconds} s every {hop} s do not fit trials of {signals.shape[2] / rate:.2f} s at {rate:g} Hz"
            "; set window_seconds and hop_seconds"
        )
    cut = np.lib.stride_tricks.sliding_window_view(signals, length, axis=2)[:, :, ::step]
    return cut.swapaxes(1, 2)


def read_band_powers(brain: Signals, rate: float, *, whole: bool = True) -> Float32[np.ndarray, "trial feature"]:
    """Log band powers of all trials, electrode by electrode, its bands side by side."""
    starts = range(0, len(brain), CHUNK)
    parts = [brain[np.arange(start, min(start + CHUNK, len(brain)))] for start in starts]
    measure = measure_band_powers if whole else measure_released_powers
    return np.concatenate([measure(part, rate).reshape(len(part), -1) for part in parts]).astype(np.float32)


def measure_band_powers(signals: Trials, rate: float) -> Float[np.ndarray, "trial channel band"]:
    """log2(100 × mean power) over each band's bins, of the whole trial under one Hann window."""
    samples = signals.shape[2]
    power = np.abs(np.fft.rfft(signals * make_window(samples), axis=2)) ** 2
    frequency = np.fft.rfftfreq(samples, 1 / rate)
    bands = []
    for low, high in BANDS:
        inside = (frequency >= low) & (frequency < high)
        if not inside.any():
            raise BadSignals(f"{samples} samples at {rate:g} Hz hold no {low}-{high} Hz; EEG2Video needs them")
        bands.append(power[:, :, inside].mean(axis=2))
    return np.log2(100 * np.maximum(np.stack(bands, axis=2), LEAST))


def measure_released_powers(signals: Trials, rate: float) -> Float[np.ndarray, "trial channel band"]:
    """The released script's: a transform of the first second, bins `low - 1` to `high - 1` of 1 Hz each."""
    second = round(rate)
    windowed = signals * make_window(signals.shape[2])
    power = np.abs(np.fft.fft(windowed[:, :, :second], n=second, axis=2)) ** 2
    bands = []
    for low, high in BANDS:
        if high > second // 2:
            raise BadSignals(f"{rate:g} Hz hold no {low}-{high} Hz; EEG2Video needs them")
        bands.append(power[:, :, low - 1 : high].sum(axis=2) / (high - low + 1))
    return np.log2(100 * np.maximum(np.stack(bands, axis=2), LEAST))


def make_window(samples: int) -> Float[np.ndarray, " time"]:
    """Hann's window without the zeros at its ends."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, samples + 1) / (samples + 1))


@dataclass(frozen=True)
class Scaler:
    """Mean and deviation of every feature, for each subject by its own training or calibration trials."""

    mean: dict[int, np.ndarray]
    deviation: dict[int, np.ndarray]

    def scale(
        self, features: Float32[np.ndarray, "trial feature"], subject: Int64[np.ndarray, " trial"]
    ) -> Float32[np.ndarray, "trial feature"]:
        scaled = np.empty_like(features)
        for number in np.unique(subject).tolist():
            if number not in self.mean:
                raise BadSignals(
                    f"subject {number} was neither trained on nor adapted to; "
                    f"known are {', '.join(map(str, self.mean))}; give its calibration trials to adapt"
                )
            rows = subject == number
            scaled[rows] = (features[rows] - self.mean[number]) / self.deviation[number]
        return scaled


def measure_scaler(features: Float32[np.ndarray, "trial feature"], subject: Int64[np.ndarray, " trial"]) -> Scaler:
    numbers = np.unique(subject).tolist()
    return Scaler(
        mean={number: features[subject == number].mean(axis=0) for number in numbers},
        deviation={number: features[subject == number].std(axis=0) + 1e-6 for number in numbers},
    )
