"""Trials read from their files, which need not fit in memory: by rows for training, or all at a lower sampling rate."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from bench.core.contracts import BrainData, Signals, TrainingSet

CHUNK = 256  # trials read and resampled at once

Reader = Callable[[np.ndarray], tuple[Tensor, Tensor]]  # rows of trials -> signals and subjects, on the device


def read_trials(
    data: TrainingSet | BrainData,
    device: torch.device,
    trials: Int64[np.ndarray, " trial"] | None = None,
    *,
    volumes: int | None = None,
) -> Reader:
    """Reads trials by their place among `trials` (None: all), the first `volumes` of each (None: all of them)."""
    chosen = np.arange(len(data.subject)) if trials is None else trials

    def read(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        signals = np.ascontiguousarray(data.brain[chosen[rows]][:, :, :volumes], dtype=np.float32)
        return torch.from_numpy(signals).to(device), torch.from_numpy(data.subject[chosen[rows]]).to(device)

    return read


def read_resampled(brain: Signals, rate: float, wanted: float) -> Float32[np.ndarray, "trial channel time"]:
    """All trials in memory, low-passed and resampled from `rate` to `wanted` Hz where that is less."""
    from scipy.signal import resample_poly  # a second, which a table of stored scores need not wait for

    ratio = Fraction(min(wanted, rate) / rate).limit_denominator(1000)
    parts = []
    for start in range(0, len(brain), CHUNK):
        part = brain[np.arange(start, min(start + CHUNK, len(brain)))]
        if ratio < 1:
            part = resample_poly(part, ratio.numerator, ratio.denominator, axis=2, padtype="line")
        parts.append(part.astype(np.float32))
    return np.concatenate(parts)
