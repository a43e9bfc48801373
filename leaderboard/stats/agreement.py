"""Agreement between raters: Krippendorff's alpha (K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011).

alpha = 1 − D_o / D_e: the disagreement within units over the one that the same values would give if they were dealt
out at random. 1 is perfect, 0 is chance, below 0 is worse than chance. Raters may lack units; a unit with fewer than
two values says nothing of agreement and is left out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: npt.ArrayLike, *, level: Level = "ordinal") -> float:
    """ratings: f [rater, unit], NaN where a rater did not judge a unit. NaN where all pairable values are the same.

    level: how far two values c, k are apart. Nominal: 1 if they differ. Interval: (c − k)². Ordinal: the square of
    Σ n_g over the values g from c to k, less (n_c + n_k) / 2, where n_g is how often g was given.
    Raises ValueError for other shapes, infinite values and levels, and where no unit has two values.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or np.isinf(table).any():
        raise ValueError(f"ratings of shape {table.shape}: allowed is [rater, unit] of finite numbers or NaN")
    table = table[:, (~np.isnan(table)).sum(axis=0) > 1]
    if table.size == 0:
        raise ValueError("no unit was judged by two raters, so nothing can be said of their agreement")
    values = np.unique(table[~np.isnan(table)])
    counts = (table[:, :, None] == values).sum(axis=0).astype(np.float64)  # (unit, value)
    judged = counts.sum(axis=1, keepdims=True)
    coincident = counts.T @ (counts / (judged - 1)) - np.diag((counts / (judged - 1)).sum(axis=0))  # (value, value)
    totals = coincident.sum(axis=1)
    apart = measure_distances(values, totals, level)
    n = totals.sum()
    expected = (np.outer(totals, totals) * apart).sum() / (n * (n - 1))
    return float(1 - (coincident * apart).sum() / n / expected) if expected > 0 else float("nan")


def measure_distances(
    values: npt.NDArray[np.float64], totals: npt.NDArray[np.float64], level: Level
) -> npt.NDArray[np.float64]:
    """Squared distances [value, value]; values ascend, totals: how often each was given in pairable units."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return np.square(values[:, None] - values[None])
    if level != "ordinal":
        raise ValueError(f"level {level!r}: allowed are nominal, ordinal and interval")
    middle = np.cumsum(totals) - totals / 2  # from the middle of c's values to the middle of k's
    return np.square(middle[:, None] - middle[None])
