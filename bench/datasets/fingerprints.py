"""Fingerprints of brain signals: short vectors that stay near when a recording is stored again in another form.

A *unit* is what is known again: a trial of EEG, one volume of fMRI.

- **Spectra** (trials of `LONG` samples or more). Each channel is standardised within the trial, channels are mixed at
  random into a few series, and of each the log power of the frequencies that carry power is taken, without its smooth
  part: what is left is the pattern that noise draws, which no second recording has. Another unit, scale or offset of a
  channel, another number type and the sign change nothing; a shift by a few samples and a little noise change little.
- **Patterns** (shorter trials). Each channel is standardised over the recording, or over the stretch of it, and a
  volume is its pattern over the channels, whatever its own offset and scale.

Both are projected at random to `DIMENSIONS` numbers of unit length, whose inner product estimates the correlation, best
where it is near 1 (Johnson & Lindenstrauss 1984). Everything random comes from one fixed seed, so that fingerprints of
different recordings can be compared. What fools them: channels in another order, another reference or montage, other
filters, a copy at another sampling rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from bench.core.seeds import derive_seed

LONG = 64  # samples from which a trial has a spectrum to be known by
SERIES = 6  # mixtures of channels whose spectra are taken
SMOOTH = 15  # frequencies over which a log spectrum is smoothed
CARRYING = 0.1  # of the mean power of a frequency: where weaker, noise of a tenth would hide what was recorded
FEWEST = 32  # frequencies that are looked at, whatever they carry
DIMENSIONS = 128
SCALED = 64  # volumes by which channels are scaled
TILE = 2048  # fingerprints compared with as many at once
MOST = 2_000_000  # pairs kept: far more than data have that are worth a second look
SAMPLE = 200_000  # pairs by which the null is measured
ALARM = 0.01  # chance that any pair of independent units exceeds the limit

Fingerprints = Float32[np.ndarray, "unit number"]


def draw(name: str, *shape: int) -> np.ndarray:  # f32 of this shape
    return np.random.default_rng(derive_seed("fingerprint", name)).standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Spectra:
    """Fingerprints of long trials; `carrying` are the frequencies (rows of the transform) that are looked at."""

    carrying: Int64[np.ndarray, " frequency"]

    @classmethod
    def choose(cls, signals: Float32[np.ndarray, "trial channel time"]) -> Spectra:
        """Frequencies that carry power in a sample of trials of all recordings."""
        power = powers(signals)
        shares = (power / np.maximum(power.sum(axis=2, keepdims=True), 1e-30)).mean(axis=(0, 1))
        least = min(CARRYING * shares.mean(), np.sort(shares)[-min(FEWEST, len(shares))])
        return cls(np.flatnonzero(shares >= least))

    def measure(self, signals: Float32[np.ndarray, "trial channel time"]) -> Fingerprints:
        """Not yet of unit length; 0 for a trial in which nothing changes."""
        power = powers(signals)
        logs = np.log(np.maximum(power, 1e-12 * power.max(axis=2, keepdims=True) + 1e-30))
        speckle = np.clip(logs - smooth(logs), -3, 3)[:, :, self.carrying].reshape(len(logs), -1)
        mixed = speckle @ draw("spectra", speckle.shape[1], DIMENSIONS)
        mixed[power.max(axis=(1, 2)) == 0] = 0
        return mixed.astype(np.float32)


def powers(signals: Float32[np.ndarray, "trial channel time"]) -> Float32[np.ndarray, "trial series frequency"]:
    """Power spectra of `SERIES` mixtures of the channels, each channel standardised within its trial."""
    signals = signals.astype(np.float32) - signals.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
    deviation = signals.std(axis=2, keepdims=True)
    signals = np.divide(signals, deviation, out=np.zeros_like(signals), where=deviation > 0)
    mixed = np.einsum("sc,nct->nst", draw("channels", SERIES, signals.shape[1]), signals, optimize=True)
    window = np.hanning(signals.shape[2]).astype(np.float32)
    return (np.abs(np.fft.rfft(mixed * window, axis=2)) ** 2).astype(np.float32)


def smooth(logs: Float32[np.ndarray, "trial series frequency"]) -> Float32[np.ndarray, "trial series frequency"]:
    from scipy.ndimage import uniform_filter1d

    return uniform_filter1d(logs, min(SMOOTH, logs.shape[2]), axis=2, mode="reflect")


@dataclass(frozen=True)
class Scale:
    """Middle and spread of each channel; a spread of 0 where a channel does not vary."""

    middle: Float64[np.ndarray, " channel"]
    spread: Float64[np.ndarray, " channel"]

    @classmethod
    def measure(cls, volumes: Float32[np.ndarray, "unit channel"]) -> Scale:
        """By medians: a block or a volume in another unit must not make all the others look alike."""
        some = volumes[:: max(1, len(volumes) // SCALED)].astype(np.float64)
        middle = np.median(some, axis=0)
        spread = 1.4826 * np.median(np.abs(some - middle), axis=0)
        return cls(middle, np.where(spread > 0, spread, some.std(axis=0)))


def measure_patterns(volumes: Float32[np.ndarray, "unit channel"], scale: Scale) -> Fingerprints:
    """Patterns over the channels that vary, not yet of unit length; few channels are not projected."""
    varying = scale.spread > 0
    standard = np.zeros(volumes.shape, np.float32)
    np.divide(volumes - scale.middle, scale.spread, out=standard, where=varying, casting="unsafe")
    standard[:, varying] -= standard[:, varying].mean(axis=1, keepdims=True) if varying.any() else 0
    if volumes.shape[1] <= DIMENSIONS:
        return standard
    return standard @ draw("patterns", volumes.shape[1], DIMENSIONS)


def scale_to_unit(prints: Fingerprints) -> Fingerprints:
    """Fingerprints of length 1; those of nothing stay 0."""
    length = np.linalg.norm(prints.astype(np.float64), axis=1, keepdims=True)
    return np.divide(prints, length, out=np.zeros(prints.shape), where=length > 0).astype(np.float32)


def find_limit(prints: Fingerprints, group: Int64[np.ndarray, " unit"], floor: float) -> tuple[float, float]:
    """How near a pair has to be for a copy, as a distance 1 - r, and the dimensions that independent units differ in.

    The null is that of pairs of different groups: their median r² tells in how many dimensions they differ (random
    directions in D of them have r² about 1 / D), and the limit is what the nearest of all pairs reaches with a chance
    of `ALARM`. `floor` is a correlation below which nothing is called a copy.
    """
    from scipy.special import betaincinv

    rng = np.random.default_rng(derive_seed("fingerprint", "null"))
    one, other = rng.integers(len(prints), size=(2, SAMPLE)) if len(prints) else np.zeros((2, 0), np.int64)
    apart = group[one] != group[other]
    square = np.einsum("nk,nk->n", prints[one[apart]], prints[other[apart]], dtype=np.float64) ** 2
    square = square[square > 0]
    dimensions = 2.0 if not len(square) else min(float(DIMENSIONS * 8), max(2.0, 0.455 / float(np.median(square))))
    pairs = max(1, len(prints) * (len(prints) - 1) // 2)
    # chance that a pair exceeds r: half the regularised incomplete beta function of 1 - r²
    limit = float(betaincinv((dimensions - 1) / 2, 0.5, min(1.0, 2 * ALARM / pairs)))  # 1 - r²
    reached = 1 - np.sqrt(1 - limit) if limit > 1e-6 else limit / 2
    return min(1 - floor, reached), dimensions


def find_near(
    prints: Fingerprints, distance: float
) -> tuple[Int64[np.ndarray, " pair"], Int64[np.ndarray, " pair"], Float64[np.ndarray, " pair"]]:
    """All pairs (first, second, 1 - |r|) with a distance of at most `distance`, first < second; the first `MOST`."""
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    kept = 0
    for first, rows in tiles(prints):
        for second, columns in tiles(prints[first:]):
            near = np.abs(rows @ columns.T) >= 1 - distance - 1e-5  # a copy may have the other sign
            one, other = np.nonzero(np.triu(near, k=1) if second == 0 else near)
            if not len(one):
                continue
            exact = measure_distance(rows[one], columns[other])
            same = (exact <= distance) & rows[one].any(axis=1) & columns[other].any(axis=1)
            found.append((first + one[same], first + second + other[same], exact[same]))
            kept += int(same.sum())
            if kept > MOST:
                break
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    one, other, exact = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return one.astype(np.int64), other.astype(np.int64), exact


def measure_distance(one: Fingerprints, other: Fingerprints) -> Float64[np.ndarray, " pair"]:
    """1 - |r| of pairs of unit length, to the last digits."""
    apart = [((one.astype(np.float64) - sign * other) ** 2).sum(axis=1) / 2 for sign in (1, -1)]
    return np.minimum(*apart)


def tiles(prints: Fingerprints) -> Iterator[tuple[int, Fingerprints]]:
    for start in range(0, len(prints), TILE):
        yield start, prints[start : start + TILE]
