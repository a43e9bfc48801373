"""What an audit hands back, and the permutation test that most audits share.

An audit asks one question of a data set, a split or a result. Its test is a permutation test whose relabelling keeps
the structure of the experiment (blocks stay blocks, all subjects are relabelled alike for they saw the same clips).
Where an audit looks in several places, the statistic is the largest over the places, each in units of its own null,
so the error rate holds for the audit as a whole and not for one place.

`ALPHA` is 0.01 and not 0.05: a report holds about ten audits, and one false alarm in two reports would teach people
not to read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

ALPHA = 0.01
PERMUTATIONS = 999  # so the smallest p-value is 0.001

OK, FOUND, NOT_APPLICABLE = "ok", "found", "not applicable"
NAN = float("nan")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the report. `null` is what is expected where there is nothing to find, in words."""

    audit: str
    subject_of: str  # what was examined
    statistic: str
    value: float
    null: str
    p_value: float  # NaN where the answer is certain and not a matter of chance
    verdict: str
    meaning: str  # what it shows and what to do


def dismiss(audit: str, subject_of: str, why: str) -> Finding:
    """The row of an audit that has nothing to examine, with the reason."""
    return Finding(
        audit=audit,
        subject_of=subject_of,
        statistic="",
        value=NAN,
        null="",
        p_value=NAN,
        verdict=NOT_APPLICABLE,
        meaning=why,
    )


@dataclass(frozen=True)
class Tested:
    """Result of `assess_largest`."""

    value: float  # largest over the places, in deviations of the null
    limit: float  # that the null exceeds with probability ALPHA
    p_value: float
    place: int  # where it was largest


def assess_largest(statistics: Float64[np.ndarray, "relabelling place"]) -> Tested:
    """Max-statistic permutation test: row 0 is the data, the others are relabelled; large is suspicious.

    Each place is put in units of its own mean and deviation over all rows, the data's included: under the null all
    rows are exchangeable, so the p-value is exact (Westfall & Young 1993; Nichols & Holmes 2002). The smallest is
    1 / rows. What fools it: relabellings that the null does not make equally likely.
    """
    if len(statistics) < 2:
        raise ValueError(f"{len(statistics)} rows: a permutation test needs the data and at least one relabelling")
    deviation = statistics.std(axis=0)
    units = (statistics - statistics.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    largest = units.max(axis=1)
    as_large = largest >= largest[0] - 1e-9 * max(1.0, abs(largest[0]))
    limit = float(np.quantile(largest[1:], 1 - ALPHA))
    return Tested(float(largest[0]), limit, float(as_large.mean()), int(units[0].argmax()))


def judge(p_value: float) -> str:
    return FOUND if p_value <= ALPHA else OK


def shift_slots(rng: np.random.Generator, blocks: int, slots: int) -> Iterator[np.ndarray]:
    """Relabellings of slots, i64 (block, slot): each block turned around by an amount of its own, order kept."""
    for _ in range(PERMUTATIONS):
        yield (np.arange(slots) + rng.integers(slots, size=(blocks, 1))) % slots


def shuffle_slots(rng: np.random.Generator, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Relabellings of the same labels, (block, slot): each block's own labels in another order."""
    for _ in range(PERMUTATIONS):
        yield rng.permuted(labels, axis=1)
