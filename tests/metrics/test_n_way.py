from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.n_way import chance, n_way_accuracy, normalise_by_chance, sample_n_way_accuracy, top_classes


def enumerate_n_way(scores, right, *, n_way, top_k):
    """The definition itself: every draw of distractors, every order of ties (by a full order of the classes)."""
    classes = range(len(scores))
    others = [c for c in classes if c not in right]
    hits = total = 0
    for order in permutations(classes):
        ranks = {c: (scores[c], order[c]) for c in classes}
        for drawn in combinations(others, n_way - 1):
            hits += any(sum(ranks[d] > ranks[g] for d in drawn) < top_k for g in right)
            total += 1
    return hits / total


@pytest.mark.parametrize("n_right", [1, 2, 3])
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("levels", [2, 3, 100])  # few levels give many ties
def test_exact_form_equals_full_enumeration(n_right, top_k, levels):
    rng = np.random.default_rng(levels + 10 * n_right + top_k)
    for n_way in range(2, 6 - n_right + 2):
        scores = rng.integers(0, levels, 6).astype(float)
        right = rng.choice(6, n_right, replace=False)
        exact = n_way_accuracy(scores[None], right[None], n_way=n_way, top_k=top_k)[0]
        assert exact == pytest.approx(enumerate_n_way(scores, right, n_way=n_way, top_k=top_k), abs=1e-12)


@pytest.mark.parametrize(
    ("classes", "ranks", "n_way", "top_k"),
    [(400, [20, 60, 90], 40, 1), (400, [20], 40, 1), (200, [20, 24, 28], 40, 5)],
)
def test_exact_form_agrees_with_a_hundred_thousand_samples(classes, ranks, n_way, top_k):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1, classes)).round(1)  # rounded: some ties
    middle = np.argsort(-scores[0])[ranks]
    exact = n_way_accuracy(scores, middle[None], n_way=n_way, top_k=top_k)[0]
    # an independent vectorised sampler: a random subset of the others is the first n_way-1 of a random order
    others = np.setdiff1d(np.arange(classes), middle)
    hits = draws = 0
    for _ in range(20):
        drawn = others[rng.random((5000, len(others))).argpartition(n_way - 1, axis=1)[:, : n_way - 1]]
        shaken = scores[0] + rng.uniform(-1e-6, 1e-6, (5000, classes))
        best = shaken[:, middle].max(axis=1)
        hits += ((np.take_along_axis(shaken, drawn, axis=1) > best[:, None]).sum(axis=1) < top_k).sum()
        draws += 5000
    assert 0.05 < exact < 0.95
    assert hits / draws == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / draws))


def test_sampled_form_has_the_exact_expectation_and_repeats_itself():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 8, (5, 12)).astype(float)
    targets = np.argsort(rng.random((5, 12)), axis=1)[:, :3]
    exact = n_way_accuracy(scores, targets, n_way=4)
    arguments = {"n_way": 4, "trials": 3000}
    sampled = sample_n_way_accuracy(scores, targets, generator=np.random.default_rng(7), **arguments)
    again = sample_n_way_accuracy(scores, targets, generator=np.random.default_rng(7), **arguments)
    assert np.array_equal(sampled, again)
    assert np.all(np.abs(sampled - exact) < 4.5 * np.sqrt(exact * (1 - exact) / 3000) + 1e-12)


@pytest.mark.parametrize(
    ("n_way", "published"), [(2, 0.75), (10, 0.25), (20, 0.1364), (30, 0.0938), (40, 0.0714), (50, 0.0577)]
)
def test_chance_of_the_top_three_rule(n_way, published):
    assert chance(n_way, targets_per_clip=3) == pytest.approx(3 / (n_way + 2))
    assert chance(n_way, targets_per_clip=3) == pytest.approx(published, abs=5e-5)


@pytest.mark.parametrize("n_way", [2, 10, 40])
@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_chance_of_one_right_class(n_way, top_k):
    assert chance(n_way, top_k=top_k) == pytest.approx(min(1, top_k / n_way))


@pytest.mark.parametrize(("n_right", "top_k"), [(1, 1), (3, 1), (3, 5)])
def test_chance_is_the_mean_over_all_ranks_and_what_a_constant_scores(n_right, top_k):
    rng = np.random.default_rng(2)
    exchangeable = rng.normal(size=(20000, 60))
    targets = np.tile(np.arange(n_right), (20000, 1))
    level = chance(10, targets_per_clip=n_right, top_k=top_k)
    mean = n_way_accuracy(exchangeable, targets, n_way=10, top_k=top_k).mean()
    assert mean == pytest.approx(level, abs=0.01)
    assert n_way_accuracy(np.zeros((1, 60)), targets[:1], n_way=10, top_k=top_k)[0] == pytest.approx(level)


cases = st.integers(5, 30).flatmap(
    lambda classes: st.tuples(
        st.lists(st.integers(-3, 3), min_size=classes, max_size=classes),
        st.lists(st.integers(0, classes - 1), min_size=1, max_size=3, unique=True),
        st.integers(2, classes - 2),
        st.integers(1, 4),
        st.randoms(use_true_random=False),
    )
)


@settings(max_examples=100, deadline=None)
@given(cases)
def test_bounds_monotonicity_and_relabelling(case):
    scores, right, n_way, top_k, random = case
    scores, right = np.array(scores, float), np.array(right)

    def accuracy(scores, right, n_way=n_way, top_k=top_k):
        return n_way_accuracy(scores[None], right[None], n_way=n_way, top_k=top_k)[0]

    value = accuracy(scores, right)
    assert 0 <= value <= 1
    better = scores.copy()
    better[right[0]] += 1
    assert accuracy(better, right) >= value - 1e-12
    assert accuracy(scores, right, top_k=top_k + 1) >= value - 1e-12
    if n_way > 2:
        assert accuracy(scores, right, n_way=n_way - 1) >= value - 1e-12
    relabel = np.array(random.sample(range(len(scores)), len(scores)))
    moved = np.empty_like(scores)
    moved[relabel] = scores
    assert accuracy(moved, relabel[right]) == pytest.approx(value)
    assert accuracy(2 * scores - 7, right[::-1]) == pytest.approx(value)  # monotone scale, order of targets


def test_best_and_worst_rank():
    scores = np.arange(50.0)[None]
    assert n_way_accuracy(scores, [49], n_way=40)[0] == 1
    assert n_way_accuracy(scores, [0], n_way=40)[0] == 0
    assert n_way_accuracy(scores, [0], n_way=40, top_k=40)[0] == pytest.approx(1)


def test_nan_scores_give_nan_and_leave_other_rows_alone():
    scores = np.tile(np.arange(10.0), (3, 1))
    scores[1, 4] = np.nan
    assert np.array_equal(np.isnan(n_way_accuracy(scores, [9, 9, 9], n_way=3)), [False, True, False])


@pytest.mark.parametrize(
    ("scores", "targets", "n_way", "words"),
    [
        (np.zeros((1, 10)), [[0, 1, 2]], 9, "8 distractors.*leave 7.*at most 8-way"),
        (np.zeros((1, 10)), [[0, 0, 2]], 2, "same class twice"),
        (np.zeros((1, 10)), [[10]], 2, "allowed are 0 to 9"),
        (np.zeros((1, 10)), [[0.5]], 2, "whole class numbers"),
        (np.zeros((2, 10)), [[1]], 2, "same n"),
        (np.zeros((1, 10)), [[1]], 1, "n_way from 2"),
    ],
)
def test_bad_input_is_named(scores, targets, n_way, words):
    with pytest.raises(ValueError, match=words):
        n_way_accuracy(scores, targets, n_way=n_way)


def test_top_classes_are_best_first_and_ties_go_to_the_lower_number():
    assert top_classes(np.array([[0.0, 5, 3, 5], [1, 1, 1, 1]]), 3).tolist() == [[1, 3, 2], [0, 1, 2]]
    with pytest.raises(ValueError, match="allowed are 1 to 4"):
        top_classes(np.zeros((1, 4)), 5)


def test_normalising_by_chance():
    assert normalise_by_chance([0.25, 1.0, 0.0], 0.25).tolist() == [0, 1, pytest.approx(-1 / 3)]
    with pytest.raises(ValueError, match="allowed is"):
        normalise_by_chance([0.5], 1.0)
