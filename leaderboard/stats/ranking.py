"""Tiers and rank intervals: what the data say of the order of methods, and no more.

Both come from the same pairwise comparisons (`statistics.paired_difference` over subjects and concepts, with Holm's
correction over all pairs of a table), so they never contradict the intervals of the differences.

- A *tier* begins with the best method that has none yet. All that are not shown to be worse than this leader belong to
  it. "Not distinguished" is no equivalence and is not transitive: the last of a tier may be worse than the second.
- The *rank interval* of a method runs from 1 + the number of methods shown to be better to M − the number shown to be
  worse. By Holm the chance that any of these statements is false is at most 5 %, so all intervals of a table together
  hold with 95 % (Mogstad, Romano, Shaikh and Wilhelm 2024, "Inference for Ranks"). A bootstrap of ranks is narrower,
  and wrong with few subjects; `resampling.share_best` is shown beside it as a description, not as a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leaderboard.stats import intervals as statistics

LEVEL = 0.05

Group = tuple[npt.ArrayLike, npt.ArrayLike | None]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Of each method, in the order given. Places count from 1, the best first."""

    tier: npt.NDArray[np.int64]
    low: npt.NDArray[np.int64]  # best rank that the data allow
    high: npt.NDArray[np.int64]  # worst
    better: npt.NDArray[np.bool_]  # [M, M]: row shown to be better than column


def rank_methods(groups: Sequence[Group], *, direction: str = "higher") -> Ranking:
    """Tier and rank interval of each of M methods.

    groups: of each group of subjects who saw the same clips (mostly there is one) the scores f [M, S, K] of all methods
    over the same subjects and clips, and the concepts of the clips [K], None for each its own. Raises ValueError as
    `statistics.paired_difference` does, and for a direction that is neither "higher" nor "lower".
    """
    if direction not in ("higher", "lower"):
        raise ValueError(f"direction {direction!r}: allowed are higher and lower")
    sign = 1 if direction == "higher" else -1
    signed = [(sign * np.asarray(tables, np.float64), concepts) for tables, concepts in groups]
    weights = np.array([tables.shape[1] for tables, _ in signed]) / sum(tables.shape[1] for tables, _ in signed)
    count = len(signed[0][0])
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    intervals = [
        statistics.pool(
            [statistics.paired_difference(tables[i], tables[j], concepts) for tables, concepts in signed], weights
        )
        for i, j in pairs
    ]
    p = statistics.holm([statistics.p_value(one) for one in intervals]) if pairs else np.zeros(0)
    better = np.zeros((count, count), bool)
    for (i, j), interval, value in zip(pairs, intervals, p, strict=True):
        if value <= LEVEL:
            better[(i, j) if interval.mean > 0 else (j, i)] = True
    means = np.array(weights @ [tables.mean(axis=(1, 2)) for tables, _ in signed])
    return Ranking(
        tier=part_tiers(means, better),
        low=1 + better.sum(axis=0),
        high=count - better.sum(axis=1),
        better=better,
    )


def part_tiers(means: npt.NDArray[np.float64], better: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The tier of each method: the leader is the best without one, and takes all that it is not shown to beat."""
    tier = np.zeros(len(means), np.int64)
    order = np.argsort(-means, kind="stable")
    number = 0
    while (tier == 0).any():
        number += 1
        left = [one for one in order if tier[one] == 0]
        for one in left:
            if not better[left[0], one]:
                tier[one] = number
    return tier
