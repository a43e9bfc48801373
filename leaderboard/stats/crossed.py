"""Intervals of a paired difference over subjects × concepts × seeds, for two questions: these subjects, and new ones.

A difference between two trained networks varies with the clips that are asked, with the seeds that both were trained
by, and with the subjects. Seeds are drawn whatever is asked: another training of the same two networks is another
draw, and a difference that one training happened to show is none of the method. Subjects are drawn only where the
question is of *new subjects*; of *these subjects* they are fixed, as a paper's are that reports its own.

    se² = V_concepts + (V_seeds − V_seeds×concepts)+  [ + (V_subjects − V_subjects×concepts)+ ]

where V_x is the mean square of x over the number of scores: the mean squares of a crossed random layout (Searle,
Casella and McCulloch 1992, ch. 4–5), each part beside the concepts' only as far as it is above the noise that the
concepts' part holds already. t quantiles at the harmonic mean of the parts' degrees of freedom, weighted by the parts,
as `intervals` takes it where levels are few: five seeds are few. `python -m bench audit --study` measures the coverage.

*No effect larger than x*: two one-sided tests (Schuirmann 1987, "A comparison of the two one-sided tests procedure and
the power approach") reject at the level α that the effect is x or more, or −x or less, exactly where the 1 − 2α
interval lies within ±x. So the least such x is the farther end of the 90 % interval. Power computed afterwards says
nothing of the kind, and "p > .05" neither (Lakens 2017, "Equivalence tests").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from leaderboard.stats.intervals import Interval, cluster_values

Array = npt.NDArray[np.float64]
Question = Literal["these subjects", "new subjects"]
QUESTIONS: tuple[Question, ...] = ("these subjects", "new subjects")
Group = tuple[npt.ArrayLike, npt.ArrayLike | None]  # f [R, S, K] seeds × subjects × clips, and the concept of each clip
LARGE = 1e6  # degrees of freedom of a part that is zero: it has no say


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the variance of a mean: how much, with how many degrees of freedom, of how many levels."""

    variance: float
    df: float
    levels: int


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of the variance of a mean difference, and what more seeds or clips would take of the concepts' part."""

    mean: float
    concepts: Part
    seeds: Part
    subjects: Part
    noise: float  # of the concepts' part: what is drawn anew with each seed
    clips: float  # of the concepts' part: what more clips of the same concepts would take away


def part_variance(values: npt.ArrayLike, clusters: npt.ArrayLike | None = None) -> Parts:
    """values: f [R, S, K], seeds × subjects × clips, of differences; clusters: the concept of each clip, [K].

    Of one seed, or one subject, that part is 0, which claims nothing: `seeds.levels` says it. Raises ValueError for
    another shape and for values that are not finite.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 3 or table.size == 0 or not np.isfinite(table).all():
        raise ValueError(
            f"differences of shape {table.shape}: allowed is [seed, subject, clip], all finite, none empty"
        )
    alone = table.mean(axis=(0, 1))  # of each clip
    table = np.stack([cluster_values(one, clusters) for one in table])  # [R, S, concepts]
    seeds, subjects, concepts = table.shape
    by_seed, by_subject, by_concept = (mean_square(table.mean(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    of_seeds, of_subjects = (interaction(table.mean(axis=axis)) for axis in (1, 0))
    return Parts(
        mean=float(table.mean()),
        concepts=Part(variance=by_concept, df=max(concepts - 1, 1), levels=concepts),
        seeds=Part(variance=max(0.0, by_seed - of_seeds), df=max(seeds - 1, 1), levels=seeds),
        subjects=Part(variance=max(0.0, by_subject - of_subjects), df=max(subjects - 1, 1), levels=subjects),
        noise=min(of_seeds, by_concept),
        clips=min(within_clusters(alone, clusters), by_concept),
    )


def within_clusters(values: Array, clusters: npt.ArrayLike | None) -> float:
    """Of the variance of the mean of clips, [K], what they differ by within their clusters.

    All of it where clips have no clusters; none is known where no cluster has two, so none is claimed.
    """
    if clusters is None:
        return mean_square(values)
    _, member, size = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    beside = len(values) - len(size)
    if beside == 0:
        return 0.0
    means = np.bincount(member, weights=values) / size
    return float(((values - means[member]) ** 2).sum() / beside / len(values))


def mean_square(levels: Array) -> float:
    """The variance of the mean of these levels; 0 of one."""
    return float(levels.var(ddof=1) / len(levels)) if len(levels) > 1 else 0.0


def interaction(table: Array) -> float:
    """The mean square of what rows and columns together do not tell, over the number of values; 0 of one row."""
    rows, columns = table.shape
    if rows < 2 or columns < 2:
        return 0.0
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float((rest**2).sum() / ((rows - 1) * (columns - 1)) / table.size)


def interval_of(parts: Parts, question: Question, *, confidence: float = 0.95) -> Interval:
    """The interval of the mean difference for one question."""
    asked = [parts.concepts, parts.seeds, *([parts.subjects] if question == "new subjects" else [])]
    variance = sum(part.variance for part in asked)
    spread = sum(part.variance / part.df for part in asked)
    df = variance / spread if spread > 0 else LARGE
    half = math.sqrt(variance) * float(special.stdtrit(df, (1 + confidence) / 2))
    of = "subjects, stimuli and seeds" if question == "new subjects" else "stimuli and seeds"
    return Interval(
        mean=parts.mean,
        low=parts.mean - half,
        high=parts.mean + half,
        se=math.sqrt(variance),
        df=df,
        generalises_to=of,
    )


def join_parts(groups: Sequence[Group]) -> Parts:
    """The parts over groups of subjects who saw different clips, weighted by their subjects, taken as independent."""
    each = [part_variance(*group) for group in groups]
    if len(each) == 1:
        return each[0]
    sizes = np.array([one.subjects.levels for one in each], np.float64)
    weights = sizes / sizes.sum()

    def join(name: str) -> Part:
        parts = [getattr(one, name) for one in each]
        variances = weights**2 * [part.variance for part in parts]
        spread = float((variances / [part.df for part in parts]).sum())
        df = float(variances.sum()) / spread if spread > 0 else max(part.df for part in parts)
        levels = parts[0].levels if name == "seeds" else sum(part.levels for part in parts)
        return Part(variance=float(variances.sum()), df=df, levels=levels)

    return Parts(
        mean=float(weights @ [one.mean for one in each]),
        concepts=join("concepts"),
        seeds=join("seeds"),
        subjects=join("subjects"),
        noise=float(weights**2 @ [one.noise for one in each]),
        clips=float(weights**2 @ [one.clips for one in each]),
    )


def bound_effect(interval: Interval, *, level: float = 0.05) -> float:
    """The least x for which two one-sided tests at this level reject that the effect is as far from 0 as x.

    The same unit as the score; NaN without an interval.
    """
    return float(abs(interval.mean) + interval.se * special.stdtrit(interval.df, 1 - level))


def error_to_find(effect: float, comparisons: int, *, power: float = 0.8) -> float:
    """The standard error by which an effect of this size is found with this power.

    Normal quantiles, the level .05 over `comparisons` (the first step of Holm's).
    """
    return effect / float(special.ndtri(1 - 0.05 / (2 * comparisons)) + special.ndtri(power))


def error_to_settle(mean: float, margin: float, comparisons: int) -> float:
    """The standard error by which a difference that stays as it was measured is found, or else bounded by the margin:
    the larger of the two, by the same quantiles. 0 for a difference of 0 without a margin.
    """
    found = abs(mean) / float(special.ndtri(1 - 0.05 / (2 * comparisons)))
    bounded = (margin - abs(mean)) / float(special.ndtri(0.95))
    return max(found, bounded) if math.isfinite(margin) else found


def count_needed(parts: Parts, question: Question, error: float) -> Mapping[str, float]:
    """What would bring the standard error down to this one: how many `seeds`, or else, seeds as they are, how many
    `subjects` (of new subjects), how many times the `clips` of the same concepts, or the `concepts` with their clips.

    Parts as they were measured. Only what suffices by itself is named; empty where the error is as small already.
    """
    aim = error**2
    asked = [parts.concepts, parts.seeds, *([parts.subjects] if question == "new subjects" else [])]
    variance = sum(part.variance for part in asked)
    if variance <= aim:
        return {}
    needed = {}
    by_seeds = parts.noise + parts.seeds.variance
    if (rest := variance - by_seeds) < aim:
        needed["seeds"] = float(math.ceil(parts.seeds.levels * by_seeds / (aim - rest)))
    if question == "new subjects" and (rest := variance - parts.subjects.variance) < aim:
        needed["subjects"] = float(math.ceil(parts.subjects.levels * parts.subjects.variance / (aim - rest)))
    if (rest := variance - parts.clips) < aim:
        needed["clips"] = parts.clips / (aim - rest)
    if (rest := variance - parts.concepts.variance) < aim:
        needed["concepts"] = parts.concepts.variance / (aim - rest)
    return needed or {"all": variance / aim if aim > 0 else math.inf}
