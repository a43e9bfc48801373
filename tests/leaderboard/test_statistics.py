from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leaderboard.stats.intervals import (
    brain_share,
    brain_share_interval,
    holm,
    mean_interval,
    p_value,
    paired_difference,
    pool,
    pooled_share_interval,
    smallest_detectable,
)


def test_two_way_interval_by_hand():
    """2 × 3 by hand: rows 2, 4, columns 2, 3, 4, no residual; 2 subjects are few, so the parts are added."""
    interval = mean_interval([[1, 2, 3], [3, 4, 5]])
    subject, stimulus = 2 / 2, 1 / 3  # var(rows)/2, var(columns)/3
    variance = subject + stimulus
    df = variance / (subject / 1 + stimulus / 2)  # few levels: the harmonic mean of theirs, weighted by the parts
    half = stats.t.ppf(0.975, df) * np.sqrt(variance)
    assert interval.mean == 3
    assert (interval.low, interval.high) == (pytest.approx(3 - half), pytest.approx(3 + half))
    assert interval.df == pytest.approx(df)
    assert interval.generalises_to == "subjects and stimuli"


def test_subtraction_and_floor_with_enough_levels():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(8, 1)) + rng.normal(size=(1, 9)) + rng.normal(size=(8, 9))
    # mean squares of the two-way layout, the textbook way
    grand = table.mean()
    ms_rows = 9 * ((table.mean(1) - grand) ** 2).sum() / 7
    ms_columns = 8 * ((table.mean(0) - grand) ** 2).sum() / 8
    ms_residual = ((table - table.mean(1, keepdims=True) - table.mean(0) + grand) ** 2).sum() / 56
    variance = (ms_rows + ms_columns - ms_residual) / 72
    df = variance**2 * 72**2 / (ms_rows**2 / 7 + ms_columns**2 / 8 + ms_residual**2 / 56)
    interval = mean_interval(table)
    assert variance > max(ms_rows, ms_columns) / 72
    assert interval.se == pytest.approx(np.sqrt(variance))
    assert interval.df == pytest.approx(df)
    # pure residual whose columns agree: the smaller part is below the residual, and the larger part is the floor
    table = rng.normal(size=(8, 9))
    table -= table.mean(axis=0)
    table += np.arange(8)[:, None] - table.mean(axis=1, keepdims=True)
    interval = mean_interval(table)
    assert interval.se == pytest.approx(stats.sem(np.arange(8)))
    assert interval.df == 7


def test_one_way_tables():
    values = np.random.default_rng(1).normal(size=12)
    expected = stats.ttest_1samp(values, 0)
    for table, words in ((values[None], "stimuli"), (values[:, None], "subjects")):
        interval = mean_interval(table)
        low, high = expected.confidence_interval(0.95)
        assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
        assert p_value(interval) == pytest.approx(expected.pvalue)
        assert interval.generalises_to == words
    single = mean_interval([[0.4]])
    assert single.mean == 0.4 and np.isnan([single.low, single.high]).all() and single.generalises_to == "nothing"
    assert np.isnan(p_value(single))


def test_constant_tables_have_a_point_interval():
    interval = mean_interval(np.full((4, 5), 0.25))
    assert (interval.low, interval.mean, interval.high) == (0.25, 0.25, 0.25)
    assert p_value(interval) == 0 and p_value(interval, 0.25) == 1


def test_clips_are_averaged_within_their_concept():
    table = np.random.default_rng(2).normal(size=(7, 12))
    concepts = np.repeat(["cat", "dog", "car"], 4)
    clustered = mean_interval(table, concepts)
    by_hand = mean_interval(table.reshape(7, 3, 4).mean(axis=2))
    for field in ("mean", "low", "high", "se", "df"):
        assert getattr(clustered, field) == pytest.approx(getattr(by_hand, field))


def test_unequal_concepts_keep_the_mean_over_clips():
    table = np.random.default_rng(3).normal(size=(7, 10))
    concepts = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]
    interval = mean_interval(table, concepts)
    assert interval.mean == pytest.approx(table.mean())
    assert (interval.low + interval.high) / 2 == pytest.approx(table.mean())


def simulate(rng, *, subjects, concepts, clips, runs, sd_subject, sd_concept, sd_residual):
    """Scores of true mean 0 with clips of a concept alike (concept effects shared by all subjects)."""
    shape = (runs, subjects, concepts, clips)
    return (
        rng.normal(0, sd_subject, (runs, subjects, 1, 1))
        + rng.normal(0, sd_concept, (runs, 1, concepts, 1))
        + rng.normal(0, sd_residual, shape)
    ).reshape(runs, subjects, concepts * clips)


DESIGNS = [(0.02, 0.02, 0.10), (0.05, 0.05, 0.05), (0.10, 0.02, 0.05), (0.02, 0.10, 0.05)]  # subject, concept, rest


@pytest.mark.parametrize("subjects", [2, 3, 6, 15, 20])
def test_coverage(subjects):
    """95 % intervals hold the truth in 92 to 98 % of tables with crossed subjects and clips, whatever varies most.

    In 3,000 tables a design: 94.9 to 97.6 % with three subjects, 94.4 to 95.7 % with six; two subjects, who tell little
    of how subjects vary, 92.0 to 96.8 %.
    """
    runs, concepts = 1000, 20
    rng = np.random.default_rng(subjects)
    labels = np.repeat(np.arange(concepts), 2)
    covered = []
    for sds in DESIGNS:
        spread = dict(zip(("sd_subject", "sd_concept", "sd_residual"), sds, strict=True))
        tables = simulate(rng, subjects=subjects, concepts=concepts, clips=2, runs=runs, **spread)
        intervals = [mean_interval(table, labels) for table in tables]
        covered.append(np.mean([interval.low <= 0 <= interval.high for interval in intervals]))
        found = np.mean([p_value(interval) < 0.05 for interval in intervals])
        assert found == pytest.approx(1 - covered[-1], abs=1e-9)
    assert 0.92 <= np.mean(covered) <= 0.98
    error = 2.5 * np.sqrt(0.95 * 0.05 / runs)
    assert all(0.92 - error < one < 0.98 + error for one in covered), covered


def draw_skewed(rng, subjects, concepts, clips):
    """Accuracies of a hard task: logistic-normal, most near 0, a few near 1; skew 3.4."""
    subject, concept = rng.normal(0, 0.4, (subjects, 1)), np.repeat(rng.normal(0, 1, (1, concepts)), clips, axis=1)
    return 1 / (1 + np.exp(4.5 - subject - concept - rng.normal(0, 2.2, (subjects, concepts * clips))))


@pytest.mark.parametrize("subjects", [3, 6, 9])
def test_coverage_of_skewed_scores(subjects):
    """As skewed as the board's own: at least 92 % but for the simulation's error, and claims err to the safe side."""
    rng = np.random.default_rng(subjects)
    truth = draw_skewed(np.random.default_rng(99), 4000, 1000, 1).mean()
    runs, labels = 600, np.repeat(np.arange(40), 5)
    intervals = [mean_interval(draw_skewed(rng, subjects, 40, 5), labels) for _ in range(runs)]
    too_high = np.mean([interval.low > truth for interval in intervals])
    too_low = np.mean([interval.high < truth for interval in intervals])
    assert 1 - too_high - too_low > 0.92 - 2.5 * np.sqrt(0.08 * 0.92 / runs)
    assert too_high < 0.025


def test_the_naive_interval_would_be_badly_short():
    """What the two-way form is for: an interval over the single scores covers the truth about half of the time."""
    tables = simulate(
        np.random.default_rng(9),
        subjects=9,
        concepts=40,
        clips=5,
        runs=400,
        sd_subject=0.02,
        sd_concept=0.02,
        sd_residual=0.10,
    )
    labels = np.repeat(np.arange(40), 5)
    two_way = [mean_interval(table, labels) for table in tables]
    naive = [mean_interval(table.ravel()) for table in tables]
    covered = {
        name: np.mean([i.low <= 0 <= i.high for i in intervals])
        for name, intervals in (("two", two_way), ("one", naive))
    }
    assert covered["two"] > 0.92
    assert covered["one"] < 0.6


tables = st.integers(1, 8).flatmap(
    lambda s: st.integers(1, 8).flatmap(
        lambda k: st.lists(
            st.lists(st.integers(-50, 50).map(lambda v: v / 10), min_size=k, max_size=k), min_size=s, max_size=s
        )
    )
)


@settings(max_examples=100, deadline=None)
@given(tables, st.integers(0, 2**32 - 1))
def test_invariances(rows, seed):
    table = np.array(rows)
    rng = np.random.default_rng(seed)
    interval = mean_interval(table)
    same = {"nan_ok": True, "abs": 1e-7}
    order = mean_interval(rng.permutation(rng.permutation(table, axis=0), axis=1))
    assert (order.low, order.high) == (pytest.approx(interval.low, **same), pytest.approx(interval.high, **same))
    moved = mean_interval(3 * table + 2)
    assert moved.low == pytest.approx(3 * interval.low + 2, **same)
    other = rng.normal(size=table.shape)
    forth, back = paired_difference(table, other), paired_difference(other, table)
    assert forth.mean == pytest.approx(-back.mean)
    assert (forth.low, forth.high) == (pytest.approx(-back.high, **same), pytest.approx(-back.low, **same))
    if table.size > 1:
        assert interval.low <= interval.mean <= interval.high
        assert mean_interval(table, confidence=0.99).low <= interval.low


def test_paired_difference_with_a_control_of_one_row():
    rng = np.random.default_rng(4)
    method, control = rng.normal(size=(6, 20)), rng.normal(size=(1, 20))
    assert paired_difference(method, control) == paired_difference(method, np.repeat(control, 6, axis=0))


def test_pairing_removes_what_both_share():
    rng = np.random.default_rng(5)
    shared = rng.normal(0, 1, (9, 40))
    a, b = shared + 0.1 + rng.normal(0, 0.05, (9, 40)), shared + rng.normal(0, 0.05, (9, 40))
    assert paired_difference(a, b).low > 0.05
    assert mean_interval(a).low < 0.05


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_procedure(p):
    adjusted = holm(p)
    order, alive, rejected = np.argsort(p, kind="stable"), True, set()
    for rank, index in enumerate(order):  # the procedure as Holm wrote it
        alive = alive and p[index] * (len(p) - rank) <= 0.05
        if alive:
            rejected.add(int(index))
    assert set(np.flatnonzero(adjusted <= 0.05).tolist()) == rejected
    assert np.all(adjusted >= p) and np.all(adjusted <= 1)


def test_pooling_two_groups_is_welchs_test():
    """Groups that saw other clips are independent: half of a plus half of −b is half of Welch's difference."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(1.0, 1.0, 12), rng.normal(0.3, 4.0, 7)
    pooled = pool([mean_interval(a), mean_interval(-b)], [0.5, 0.5])
    welch = stats.ttest_ind(a, b, equal_var=False)
    low, high = welch.confidence_interval(0.95)
    assert (2 * pooled.low, 2 * pooled.high) == pytest.approx((low, high))
    assert (pooled.df, p_value(pooled)) == pytest.approx((welch.df, welch.pvalue))
    unequal = pool([mean_interval(a), mean_interval(-b)], [0.8, 0.2])
    assert unequal.mean == pytest.approx(0.8 * a.mean() - 0.2 * b.mean())
    assert unequal.se == pytest.approx(np.sqrt(0.64 * a.var(ddof=1) / 12 + 0.04 * b.var(ddof=1) / 7))


def test_holm_leaves_nan_out():
    assert holm([0.01, np.nan, 0.04]).tolist() == [0.02, pytest.approx(np.nan, nan_ok=True), 0.04]
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    with pytest.raises(ValueError, match=r"within 0\.\.1"):
        holm([1.5])


def test_smallest_detectable_difference_is_found_at_the_promised_rate():
    rng = np.random.default_rng(6)
    found = []
    for _ in range(800):
        noise = rng.normal(0, 1, (1, 40))
        size = smallest_detectable(mean_interval(rng.normal(0, 1, (1, 40))))  # of an independent, equal design
        found.append(p_value(mean_interval(noise + size)) < 0.05)
    assert np.mean(found) == pytest.approx(0.8, abs=0.045)
    interval = mean_interval(rng.normal(size=(6, 10)))
    assert smallest_detectable(interval, comparisons=6) > smallest_detectable(interval) > interval.mean - interval.low


@pytest.mark.parametrize(
    ("score", "floor", "ceiling", "direction", "share"),
    [
        (0.5, 0.2, 0.8, "higher", 0.5),
        (0.2, 0.2, 0.8, "higher", 0.0),
        (0.1, 0.2, 0.6, "higher", -0.25),
        (0.5, 0.8, 0.2, "lower", 0.5),
        (0.5, 0.8, 0.8, "higher", np.nan),
        (0.5, 0.8, 0.2, "higher", np.nan),
        (0.5, np.nan, 0.2, "higher", np.nan),
    ],
)
def test_brain_share(score, floor, ceiling, direction, share):
    assert brain_share(score, floor, ceiling, direction) == pytest.approx(share, nan_ok=True)


def test_share_interval_is_fiellers_on_one_row():
    """One row is the textbook case: the roots of (n̄ − r d̄)² = t² (vnn − 2 r vnd + r² vdd) / K."""
    rng = np.random.default_rng(7)
    score, floor, ceiling = rng.normal([[0.4], [0.2], [0.9]], 0.1, (3, 25))
    gained, room = score - floor, ceiling - floor
    (vnn, vnd), (_, vdd) = np.cov(gained, room) / 25
    t2 = stats.t.ppf(0.975, 24) ** 2
    n, d = gained.mean(), room.mean()
    low, high = sorted(np.roots([d**2 - t2 * vdd, -2 * (n * d - t2 * vnd), n**2 - t2 * vnn]))
    assert brain_share_interval(score, floor, ceiling) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("subjects", [3, 6, 15])
def test_coverage_of_the_share(subjects):
    """A floor that sees no subject, a ceiling that does, all with shared effects: the true share is covered."""
    runs, concepts, share = 300, 20, 0.3
    rng = np.random.default_rng(subjects)
    covered = []
    for _ in range(runs):
        concept, subject = rng.normal(0, 0.05, (4, concepts)), rng.normal(0, 0.05, (2, subjects, 1))
        floor = 0.2 + (concept[0] + concept[1])[None]
        ceiling = 0.7 + concept[0] + concept[2] + subject[0] + rng.normal(0, 0.05, (subjects, concepts))
        score = 0.2 + 0.5 * share + concept[0] + concept[3] + subject[0] / 2 + subject[1]
        low, high = brain_share_interval(score + rng.normal(0, 0.05, score.shape), floor, ceiling)
        covered.append(low <= share <= high)
    assert np.mean(covered) > 0.94 - 2.5 * np.sqrt(0.95 * 0.05 / runs)


def test_the_share_of_two_groups_is_covered_too():
    """Three subjects each with clips of their own; and one group stands for itself."""
    runs, share = 200, 0.3
    rng = np.random.default_rng(23)
    covered = []
    for _ in range(runs):
        groups = []
        for _ in range(2):
            concept, subject = rng.normal(0, 0.05, (3, 20)), rng.normal(0, 0.05, (2, 3, 1))
            floor, ceiling = 0.2 + concept[0][None], 0.7 + concept[0] + concept[1] + subject[0]
            score = 0.2 + 0.5 * share + concept[0] + concept[2] + subject[1] + rng.normal(0, 0.05, (3, 20))
            groups.append((score, floor, ceiling, None))
        low, high = pooled_share_interval(groups)
        covered.append(low <= share <= high)
    assert np.mean(covered) > 0.94 - 2.5 * np.sqrt(0.95 * 0.05 / runs)
    assert pooled_share_interval(groups[:1]) == brain_share_interval(*groups[0])


def test_share_without_room_could_be_anything():
    """A ceiling that is not surely above the floor leaves every share possible; one below the floor has none."""
    rng = np.random.default_rng(8)
    floor = rng.normal(0, 0.1, (4, 12))
    ceiling = floor + rng.normal(0, 0.1, (4, 12))
    ceiling += 0.001 + (floor.mean() - ceiling.mean())  # above on average, by far less than the noise
    assert brain_share_interval(floor + 0.1, floor, ceiling) == (-np.inf, np.inf)
    assert np.isnan(brain_share_interval(floor, floor, floor - 1)).all()
    assert np.isnan(brain_share_interval([[0.5]], [[0.2]], [[0.9]])).all()


@settings(max_examples=50)
@given(st.integers(1, 7), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_share_interval_properties(subjects, clips, seed):
    rng = np.random.default_rng(seed)
    floor, ceiling = rng.normal(0, 0.05, (1, clips)), 1 + rng.normal(0, 0.05, (subjects, clips))
    score = rng.uniform(0, 1) + rng.normal(0, 0.05, (subjects, clips))
    low, high = brain_share_interval(score, floor, ceiling)
    assert low <= brain_share(score.mean(), floor.mean(), ceiling.mean()) <= high
    same = {"abs": 1e-6, "rel": 1e-6}
    moved = brain_share_interval(2 - 3 * score, 2 - 3 * floor, 2 - 3 * ceiling, direction="lower")
    assert moved == (pytest.approx(low, **same), pytest.approx(high, **same))
    floors = np.repeat(floor, subjects, axis=0)  # a floor without subjects holds for each
    assert brain_share_interval(score, floors, ceiling) == (pytest.approx(low, **same), pytest.approx(high, **same))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([[0.1, np.nan]]), "row 0, column 1.*worst value"),
        (lambda: mean_interval(np.empty((0, 3))), "at least one of each"),
        (lambda: mean_interval([[1, 2, 3]], [0, 1]), "3 clips: give one label"),
        (lambda: mean_interval([[1, 2]], confidence=95), "0 < confidence < 1"),
        (lambda: paired_difference(np.ones((3, 4)), np.ones((2, 4))), "3 subjects × 4 clips and 2 × 4"),
        (
            lambda: brain_share_interval(np.ones((3, 4)), np.ones((1, 4)), np.ones((2, 4))),
            "score, floor and ceiling of 3 × 4, 1 × 4, 2 × 4",
        ),
        (lambda: smallest_detectable(mean_interval([[1, 2]]), comparisons=0), "from 1"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_an_interval_ends_where_the_metric_does_and_covers_as_often():
    rng = np.random.default_rng(0)
    whole = [mean_interval(rng.random(12) < 0.9) for _ in range(400)]
    cut = [one.within(0.0, 1.0) for one in whole]
    assert max(one.high for one in whole) > 1 >= max(one.high for one in cut)
    assert [one.low <= 0.9 <= one.high for one in whole] == [one.low <= 0.9 <= one.high for one in cut]
    assert all((a.mean, a.low, a.se, a.df) == (b.mean, b.low, b.se, b.df) for a, b in zip(whole, cut, strict=True))
    assert np.isnan(mean_interval([[0.5]]).within(0.0, 1.0).low)  # no interval becomes no interval
