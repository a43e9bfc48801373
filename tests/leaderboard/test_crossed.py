"""Intervals over subjects, concepts and seeds; bounds of what is not found; what would decide; simulated studies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from leaderboard.stats.crossed import (
    bound_effect,
    count_needed,
    error_to_find,
    error_to_settle,
    interval_of,
    join_parts,
    part_variance,
)
from leaderboard.stats.simulated import judge_study, simulate_ablation


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """[seed, subject, clip]"""
    generator = np.random.default_rng(3)
    seeds, subjects = generator.normal(0, 0.2, (5, 1, 1)), generator.normal(0, 0.3, (1, 4, 1))
    return 0.1 + seeds + subjects + generator.normal(0, 0.5, (5, 4, 12))


def test_parts_are_the_mean_squares_of_a_crossed_layout(drawn):
    """By sums of squares, written out: seeds less what seeds and concepts together show, the same of subjects."""
    parts = part_variance(drawn)
    grand, total = drawn.mean(), drawn.size
    seed, subject, clip = drawn.mean((1, 2)), drawn.mean((0, 2)), drawn.mean((0, 1))
    seed_clip, subject_clip = drawn.mean(1), drawn.mean(0)
    ms_seed = 4 * 12 * sum((one - grand) ** 2 for one in seed) / 4
    ms_subject = 5 * 12 * sum((one - grand) ** 2 for one in subject) / 3
    ms_clip = 5 * 4 * sum((one - grand) ** 2 for one in clip) / 11
    left = [(seed_clip[i, j] - seed[i] - clip[j] + grand) ** 2 for i in range(5) for j in range(12)]
    ms_seed_clip = 4 * sum(left) / (4 * 11)
    left = [(subject_clip[i, j] - subject[i] - clip[j] + grand) ** 2 for i in range(4) for j in range(12)]
    ms_subject_clip = 5 * sum(left) / (3 * 11)
    assert parts.concepts.variance == pytest.approx(ms_clip / total)
    assert parts.seeds.variance == pytest.approx((ms_seed - ms_seed_clip) / total)
    assert parts.subjects.variance == pytest.approx((ms_subject - ms_subject_clip) / total)
    these, new = (interval_of(parts, question) for question in ("these subjects", "new subjects"))
    variance = (ms_clip + ms_seed - ms_seed_clip) / total
    df = variance / (ms_clip / total / 11 + (ms_seed - ms_seed_clip) / total / 4)
    assert these.se == pytest.approx(np.sqrt(variance)) and these.df == pytest.approx(df)
    assert these.high - these.mean == pytest.approx(stats.t.ppf(0.975, df) * np.sqrt(variance))
    assert new.se > these.se and new.mean == these.mean == pytest.approx(grand)


def test_one_seed_and_subject_is_the_one_way_interval_over_concepts():
    values = np.random.default_rng(0).normal(size=(1, 1, 30))
    concepts = np.repeat(np.arange(10), 3)
    means = values.reshape(10, 3).mean(axis=1)
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    found = interval_of(part_variance(values, concepts), "these subjects")
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_bound_is_where_two_one_sided_tests_reject():
    values = np.random.default_rng(1).normal(0.02, 0.1, size=25)
    x = bound_effect(interval_of(part_variance(values[None, None]), "these subjects"))
    tests = [stats.ttest_1samp(values, end, alternative=side).pvalue for end, side in ((x, "less"), (-x, "greater"))]
    assert max(tests) == pytest.approx(0.05)


def test_groups_who_saw_other_clips_are_weighed_by_their_subjects(drawn):
    first, second = drawn[:, :3], drawn[:, 3:]
    joined = join_parts([(first, None), (second, None)])
    assert joined.mean == pytest.approx(drawn.mean())
    each = [part_variance(one) for one in (first, second)]
    expected = (0.75**2) * each[0].concepts.variance + (0.25**2) * each[1].concepts.variance
    assert joined.concepts.variance == pytest.approx(expected)
    assert joined.seeds.levels == 5 and joined.subjects.levels == 4


def test_what_would_decide_is_what_does(drawn):
    """Simulated with as many seeds as are said to be needed, the effect is found about four times in five."""
    generator = np.random.default_rng(5)

    def draw(seeds: int) -> np.ndarray:
        luck = generator.normal(0, 0.02, (seeds, 1, 1))
        return 0.02 + luck + generator.normal(0, 0.1, (seeds, 3, 60))

    error = error_to_find(0.02, 1)
    needed = [count_needed(part_variance(draw(5)), "these subjects", error).get("seeds", 5) for _ in range(200)]
    seeds = round(float(np.mean(needed)))
    assert 8 <= seeds <= 11  # (.02² + .1² / 180) / (.02 / 2.80)² = 8.9
    found = [interval_of(part_variance(draw(seeds)), "these subjects").low > 0 for _ in range(200)]
    assert 0.66 <= np.mean(found) <= 0.92
    assert count_needed(part_variance(draw(20)), "these subjects", error_to_find(0.5, 1)) == {}
    named = {"seeds", "clips", "concepts", "all"}
    assert set(count_needed(part_variance(drawn), "these subjects", error_to_find(0.3, 1))) <= named


@pytest.mark.parametrize(("between", "asked"), [(0.02, "clips"), (0.2, "concepts")])
def test_more_clips_are_asked_for_only_where_they_would_do(between, asked):
    """Planted: by how much concepts differ, and clips of one. What is asked for brings the error down to what it has to
    be; where concepts differ much, ever more clips of the same 40 would not."""
    generator = np.random.default_rng(8)

    def draw(concepts: int, clips: int) -> tuple[np.ndarray, np.ndarray]:
        own = generator.normal(0, between, concepts).repeat(clips)
        return (own + generator.normal(0, 0.2, concepts * clips))[None, None], np.arange(concepts).repeat(clips)

    error = 0.04 / (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
    assert error_to_find(0.04, 1) == pytest.approx(error)
    parts = [part_variance(*draw(40, 3)) for _ in range(100)]
    assert np.mean([one.clips for one in parts]) == pytest.approx(0.2**2 / 120, rel=0.15)  # never more than there is
    assert np.mean([one.concepts.variance for one in parts]) == pytest.approx(between**2 / 40 + 0.2**2 / 120, rel=0.1)
    needed = [count_needed(one, "these subjects", error) for one in parts]
    told = [not one or (asked in one and ("clips" in one) == (asked == "clips")) for one in needed]
    assert np.mean(told) > 0.9
    times = float(np.median([one[asked] for one in needed if asked in one]))
    more = {"clips": (40, round(3 * times)), "concepts": (round(40 * times), 3)}[asked]
    variance = np.mean([part_variance(*draw(*more)).concepts.variance for _ in range(100)])
    assert np.sqrt(variance) == pytest.approx(error, rel=0.12)


@pytest.mark.parametrize(("mean", "margin"), [(0.012, 0.02), (0.018, 0.02), (-0.012, 0.02), (0.03, float("nan"))])
def test_a_difference_that_stays_is_settled_by_the_error_that_is_named(mean, margin):
    """With a hair less error Holm's first step finds it or the bound lies within the margin, with more neither."""
    error = error_to_settle(mean, margin, 12)
    for times, settled in ((0.999, True), (1.001, False)):
        found = 2 * stats.norm.sf(abs(mean) / (times * error)) * 12 <= 0.05
        bounded = abs(mean) + stats.norm.ppf(0.95) * times * error <= margin
        assert (found or bounded) == settled


@pytest.mark.parametrize("metric", ["2way", "40way"])
def test_simulated_studies_hold_what_they_promise(metric):
    """60 studies in place of the command's 200: coverage within its own sampling error of 92 to 98 %."""
    judged = [judge_study(6, 5, metric, number) for number in range(60)]
    for question in range(2):
        coverage = np.mean([one[question]["coverage"] for one in judged])
        called = np.mean([one[question]["zero_called_effect"] for one in judged])
        assert 0.91 <= coverage <= 0.985, (question, coverage)
        assert called <= 0.10, (question, called)
        assert np.mean([one[question]["bound_holds"] for one in judged]) >= 0.94
        assert np.mean([one[question]["effect_found"] for one in judged]) >= 0.5


def test_simulated_truth_is_the_mean_of_what_is_drawn():
    generator = np.random.default_rng(9)
    drawn = [simulate_ablation(0.08, 6, 5, "2way", generator) for _ in range(60)]
    apart = [scores.mean() - truth["these subjects"] for scores, truth in drawn]
    assert abs(np.mean(apart)) < 4 * stats.sem(apart) and stats.sem(apart) < 0.004
