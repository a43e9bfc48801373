from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.retrieval import cosine_scores, retrieval_accuracy


def by_enumeration(scores, right, k):
    """Mean over all orders of the items, sorted by score: is one of the right ones among the first k?"""
    hits = []
    for order in permutations(range(len(scores))):
        ranking = sorted(order, key=lambda item: -scores[item])  # stable: ties keep the random order
        hits.append(any(item in right for item in ranking[:k]))
    return np.mean(hits)


@given(
    scores=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    labels=st.lists(st.integers(0, 2), min_size=6, max_size=6),
    truth=st.integers(0, 5),
    k=st.integers(1, 7),
)
@settings(max_examples=80)
def test_equals_enumeration_of_ties_and_equal_answers(scores, labels, truth, k):
    truth, labels = truth % len(scores), labels[: len(scores)]
    right = {item for item, label in enumerate(labels) if label == labels[truth]}
    value = retrieval_accuracy([scores], [truth], k, group=labels)[0]
    assert value == pytest.approx(by_enumeration(scores, right, k))
    assert retrieval_accuracy([scores], [truth], k)[0] == pytest.approx(by_enumeration(scores, {truth}, k))


def test_equals_torch_topk_without_ties():
    rng = np.random.default_rng(0)
    scores, truth = rng.normal(size=(40, 30)), rng.integers(0, 30, 40)
    for k in (1, 5, 30):
        best = torch.from_numpy(scores).topk(k, dim=1).indices.numpy()
        assert np.array_equal(retrieval_accuracy(scores, truth, k), (best == truth[:, None]).any(axis=1))


@given(items=st.integers(1, 60), k=st.integers(1, 60))
def test_equal_scores_are_chance(items, k):
    assert retrieval_accuracy(np.zeros((1, items)), [0], k)[0] == pytest.approx(min(1, k / items))


def test_random_scores_are_near_chance_and_noise_lowers():
    rng = np.random.default_rng(1)
    truth = np.arange(300)
    assert retrieval_accuracy(rng.normal(size=(300, 300)), truth, 30).mean() == pytest.approx(0.1, abs=0.05)
    gallery, noise = rng.normal(size=(2, 300, 16))
    values = [retrieval_accuracy(cosine_scores(gallery + s * noise, gallery), truth, 1).mean() for s in (0, 1, 2, 4)]
    assert values == sorted(values, reverse=True) and values[0] == 1


def test_rows_nan_and_equal_clips():
    rng = np.random.default_rng(2)
    scores, truth = rng.normal(size=(5, 8)), np.array([0, 3, 3, 7, 1])
    values = retrieval_accuracy(scores, truth, 3)
    order = rng.permutation(5)
    assert np.array_equal(retrieval_accuracy(scores[order], truth[order], 3), values[order])
    scores[2, 6] = np.nan
    assert np.isnan(retrieval_accuracy(scores, truth, 3)).tolist() == [False, False, True, False, False]
    twice = np.array([[0.1, 0.9, 0.5]])
    assert retrieval_accuracy(twice, [0], 1)[0] == 0
    assert retrieval_accuracy(twice, [0], 1, group=["dog", "dog", "cat"])[0] == 1
    assert retrieval_accuracy(np.empty((0, 4)), np.empty(0, int), 1).shape == (0,)


def test_cosine_scores_equal_torch():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(4, 9)).astype(np.float32), rng.normal(size=(6, 9)).astype(np.float32)
    expected = torch.nn.functional.cosine_similarity(torch.from_numpy(a)[:, None], torch.from_numpy(b)[None], dim=-1)
    assert cosine_scores(a, b) == pytest.approx(expected.numpy(), abs=1e-6)
    a[1] = 0
    assert np.array_equal(cosine_scores(a, b)[1], np.zeros(6))


def test_bad_arguments_are_named():
    scores = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"0\.\.3: the gallery has items 0 to 2"):
        retrieval_accuracy(scores, [0, 3], 1)
    with pytest.raises(ValueError, match="k = 0"):
        retrieval_accuracy(scores, [0, 1], 0)
    with pytest.raises(ValueError, match=r"truth int64 \[3\]"):
        retrieval_accuracy(scores, [0, 1, 2], 1)
    with pytest.raises(ValueError, match="3 items, one label each"):
        retrieval_accuracy(scores, [0, 1], 1, group=[1, 2])
    with pytest.raises(ValueError, match="of one judge"):
        cosine_scores(np.zeros((2, 3)), np.zeros((2, 4)))
