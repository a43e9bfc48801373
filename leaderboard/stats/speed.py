"""How long the board's statistics take; printed, never asserted, because times depend on the machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from leaderboard.stats.ranking import rank_methods
from leaderboard.stats.resampling import DRAWS, draw_means, percentile_interval, share_best

REPEATS = 3  # the fastest is printed: the others had company


def measure_statistics(
    *, methods: int = 10, subjects: int = 20, clips: int = 200, clips_a_concept: int = 5, draws: int = DRAWS
) -> pd.DataFrame:
    """Seconds of the bootstrap (clips drawn each, and with their concept), its intervals, and of the tiers and ranks.

    On scores drawn from a normal distribution. Columns: what, seconds, methods, subjects, clips, draws.
    """
    tables = np.random.default_rng(0).standard_normal((methods, subjects, clips))
    concepts = np.arange(clips) // clips_a_concept
    drawn = draw_means(tables, generator=np.random.default_rng(1), draws=draws)
    steps: dict[str, Callable[[], object]] = {
        "crossed bootstrap, clips": lambda: draw_means(tables, generator=np.random.default_rng(1), draws=draws),
        "crossed bootstrap, concepts": lambda: draw_means(
            tables, concepts, generator=np.random.default_rng(1), draws=draws
        ),
        "its intervals and shares of being best": lambda: (
            share_best(drawn),
            [percentile_interval(one) for one in drawn.T],
        ),
        "tiers and rank intervals (closed form)": lambda: rank_methods([(tables, concepts)]),
    }
    sizes = {"methods": methods, "subjects": subjects, "clips": clips, "draws": draws}
    return pd.DataFrame([{"what": what, "seconds": clock(step), **sizes} for what, step in steps.items()])


def clock(step: Callable[[], object]) -> float:
    """Wall seconds of the fastest of a few calls."""
    spent = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        step()
        spent.append(time.perf_counter() - started)
    return min(spent)
