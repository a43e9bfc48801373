"""What has no closed form: sign flips, and the bootstrap that draws subjects and concepts anew, crossed.

Subjects and concepts are crossed: every subject sees every concept. A draw of the bootstrap therefore takes subjects
and concepts (with all their clips) each with replacement, and weighs every cell of the table by the product of how
often its subject and its concept were drawn. Drawing pairs as if they were independent gives intervals that are far
too short (`tests/test_resampling.py` shows both). Subjects alone, or concepts alone, are drawn where there is one of
the other.

With few subjects the crossed bootstrap is short too: from three it cannot know how subjects vary (its 95 % interval
of a mean covers less; the same test prints how much). Means have their closed form in `statistics.py`; this is for
what is no mean: ranks, the chance of being the best, medians.

All draws come from a generator that the caller seeds, on the board by the table's own digest (`seed_from`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DRAWS = 10_000
EXACT = 14  # units up to which all 2^n sign patterns are made
NEEDED = 6  # units of a sign-flip test: with fewer the smallest two-sided p is above 0.05


def seed_from(*tables: npt.ArrayLike) -> np.random.Generator:
    """A generator seeded by the tables themselves: the same scores give the same draws, on any machine."""
    digest = hashlib.sha256()
    for table in tables:
        values = np.ascontiguousarray(table, dtype="<f8")
        digest.update(f"{values.shape}".encode() + values.tobytes())
    return np.random.default_rng(int.from_bytes(digest.digest()[:8], "big"))


def draw_means(
    tables: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    *,
    generator: np.random.Generator,
    draws: int = DRAWS,
) -> Array:
    """[draws, M]: the mean of each of M tables over the subjects and clips of each draw, the same for all tables.

    tables: f [M, S, K], methods × subjects × clips. clusters: the concept of each clip, [K]; None makes each clip its
    own. The mean is over the clips drawn within a subject, then over the subjects drawn. Raises ValueError for other
    shapes, numbers that are not finite, and labels of another length.
    """
    values = np.asarray(tables, dtype=np.float64)
    if values.ndim != 3 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"scores of shape {values.shape}: allowed is [method, subject, clip], all finite, none empty")
    methods, subjects, clips = values.shape
    labels = np.arange(clips) if clusters is None else np.asarray(clusters)
    if labels.shape != (clips,):
        raise ValueError(f"{labels.shape} cluster labels for {clips} clips: give one label a clip")
    _, member, size = np.unique(labels, return_inverse=True, return_counts=True)
    sums = values.reshape(-1, clips) @ np.eye(len(size))[member]  # (M S, C)
    concept_times = draw_counts(len(size), draws, generator)  # (B, C)
    subject_times = draw_counts(subjects, draws, generator)  # (B, S)
    by_subject = (sums @ concept_times.T) / (concept_times @ size)  # (M S, B): mean over the clips drawn
    weight = np.ascontiguousarray((subject_times / subjects).T)  # (S, B)
    return np.ascontiguousarray(np.einsum("msb,sb->mb", by_subject.reshape(methods, subjects, draws), weight).T)


def draw_counts(units: int, draws: int, generator: np.random.Generator) -> Array:
    """[draws, units]: how often each is drawn when as many are drawn with replacement; one alone is always drawn."""
    return generator.multinomial(units, np.full(units, 1 / units), size=draws).astype(np.float64)


def percentile_interval(drawn: npt.ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """The middle `confidence` of what was drawn."""
    low, high = np.quantile(np.asarray(drawn), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def share_best(drawn: Array, direction: str = "higher") -> Array:
    """[M]: in what share of the draws each method is the best; a tie is divided among those that share it."""
    signed = drawn if direction == "higher" else -drawn
    best = signed == signed.max(axis=1, keepdims=True)
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)


def flip_signs(differences: npt.ArrayLike, *, generator: np.random.Generator, draws: int = DRAWS) -> float:
    """Two-sided p that the mean of the differences is 0, from flipping their signs: exact for up to `EXACT` units.

    differences: [n], one number a unit (a concept, averaged over subjects; or a subject, over concepts), symmetric
    about their mean. It generalises to new units of that kind alone, with the other kind as given. NaN below `NEEDED`
    units, where no result could be significant. With draws, the observed pattern counts as one of them, so p is never
    0.
    """
    units = np.asarray(differences, dtype=np.float64)
    if units.ndim != 1 or not np.isfinite(units).all():
        raise ValueError(f"differences of shape {units.shape}: allowed is a vector of finite numbers")
    if len(units) < NEEDED:
        return float("nan")
    observed = abs(units.sum())
    slack = 1e-12 * np.abs(units).sum()  # sums of the same numbers in another order are no different numbers
    if len(units) <= EXACT:
        signs = np.array(
            list(product((1.0, -1.0), repeat=len(units) - 1))
        )  # the first sign is free: |sum| is symmetric
        sums = np.abs(units[0] + signs @ units[1:])
        return float((sums >= observed - slack).mean())
    signs = generator.integers(0, 2, size=(draws, len(units))) * 2.0 - 1.0
    return float((1 + (np.abs(signs @ units) >= observed - slack).sum()) / (1 + draws))


def mean_by(table: npt.ArrayLike, clusters: Sequence[object] | npt.NDArray[np.generic]) -> Array:
    """[C]: the mean over subjects and clips of each cluster of a table [S, K], in the order of sorted labels."""
    columns = np.asarray(table, dtype=np.float64).mean(axis=0)
    _, member, size = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    return np.bincount(member, weights=columns) / size
