"""Comparisons against hand-made scores whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from bench.core.variants import parse_side
from leaderboard.comparison import compare_methods, list_extremes
from leaderboard.stats.panels import TableError


def score(
    method: str, values: np.ndarray, *, metric: str = "ssim", seed: int = 0, variant: str = "base"
) -> pd.DataFrame:
    """Rows of one cell: values [subject, clip], five clips a concept."""
    subject, clip = (grid.ravel() for grid in np.indices(values.shape))
    return pd.DataFrame(
        {
            "dataset": "phantom_eeg", "split": "cross_subject", "classes": 40, "suite": "mini", "protocol": "corrected",
            "metric": metric, "method": method, "variant": variant, "role": "method", "seed": seed,
            "subject": subject + 1, "clip": clip, "concept": clip // 5, "value": values.ravel(), "shuffled": 0.0,
            "status": "ok", "parameters": 1, "phantom": True,
        }
    )  # fmt: skip


@pytest.fixture
def scores() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((6, 50)) / 10
    gain = np.zeros(50)
    gain[[7, 20]] = [0.5, -0.4]
    return pd.concat(
        [
            score("one", shared + 0.2 + gain + rng.standard_normal((6, 50)) / 100),
            score("two", shared),
            score("one", shared, metric="psnr"),
            score("two", shared + rng.standard_normal((6, 50)), metric="psnr"),
        ],
        ignore_index=True,
    )


def test_differences_are_paired_and_corrected_over_the_metrics(scores):
    table = compare_methods(scores, ("one", "base"), ("two", "base")).set_index("metric")
    ssim = table.loc["ssim"]
    assert ssim["a_minus_b"] == pytest.approx(0.2 + 0.1 / 50, abs=0.005)
    assert ssim["a_minus_b_low"] > 0.1 and ssim["better"] == "one"
    assert table.loc["psnr", "better"] == ""
    np.testing.assert_allclose(sorted(table["p_holm"]), sorted(statsmodels_holm(table["p"].to_numpy())))
    assert ssim["p_subjects"] == 2 / 2**6  # all six subjects of one sign
    assert ssim["p_concepts"] == pytest.approx(2 / 2**10)
    assert ssim["generalises_to"] == "subjects and stimuli"
    swapped = compare_methods(scores, ("two", "base"), ("one", "base")).set_index("metric")
    assert swapped.loc["ssim", "a_minus_b"] == pytest.approx(-ssim["a_minus_b"])
    assert swapped.loc["ssim", "better"] == "one"


def test_scores_of_two_suites_are_not_averaged(scores):
    other = scores.assign(suite="paper", value=0.9)
    with pytest.raises(TableError, match="2 suites or class subsets"):
        compare_methods(pd.concat([scores, other]), ("one", "base"), ("two", "base"))


def test_groups_of_subjects_with_clips_of_their_own_are_compared_together(scores):
    """As in CineBrain: the first three subjects saw the first 25 clips, the others the rest."""
    seen = scores[(scores["subject"] <= 3) == (scores["clip"] < 25)]
    table = compare_methods(seen, ("one", "base"), ("two", "base")).set_index("metric")
    ssim = table.loc["ssim"]
    assert ssim["a_minus_b"] == pytest.approx(0.2 + 0.1 / 50, abs=0.005)
    assert (ssim["n_subjects"], ssim["n_clips"], ssim["better"]) == (6, 50, "one")
    assert ssim["p_subjects"] == 2 / 2**6
    assert ssim["p_concepts"] == pytest.approx(2 / 2**10)
    extremes = list_extremes(seen[seen["metric"] == "ssim"], ("one", "base"), ("two", "base"), count=1)
    assert extremes["clip"].tolist() == [7, 20]


def statsmodels_holm(p: np.ndarray) -> list[float]:
    """Two values: the smaller doubled, the larger at least that."""
    low, high = sorted(p)
    return [min(1, 2 * low), max(min(1, 2 * low), high)]


def test_with_three_subjects_flips_of_subjects_say_nothing():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((3, 30))
    both = pd.concat([score("one", values + 1), score("two", values)], ignore_index=True)
    (row,) = compare_methods(both, ("one", "base"), ("two", "base")).to_dict("records")
    assert np.isnan(row["p_subjects"]) and row["p_concepts"] == pytest.approx(2 / 2**6)


def test_only_common_seeds_are_compared_and_their_spread_is_shown():
    base = np.random.default_rng(2).standard_normal((3, 10))
    rows = [score("one", base + shift, seed=seed) for seed, shift in ((0, 1.0), (1, 2.0), (2, 90.0))]
    rows += [score("two", base, seed=seed) for seed in (0, 1)]
    (row,) = compare_methods(pd.concat(rows, ignore_index=True), ("one", "base"), ("two", "base")).to_dict("records")
    assert row["a_minus_b"] == pytest.approx(1.5) and row["seeds"] == 2
    assert row["seed_sd"] == pytest.approx(np.std([1.0, 2.0], ddof=1))


def test_the_clips_where_they_differ_most_are_the_planted_ones(scores):
    ssim = scores[scores["metric"] == "ssim"]
    clips = list_extremes(ssim, ("one", "base"), ("two", "base"), count=1, captions={7: "a cat"})
    assert clips["clip"].tolist() == [7, 20] and clips["caption"].tolist() == ["a cat", ""]
    with pytest.raises(TableError, match="--metric"):
        list_extremes(scores, ("one", "base"), ("two", "base"))


def test_one_metric_agrees_with_a_t_test_over_concepts_for_one_subject():
    values = np.random.default_rng(3).standard_normal((1, 20))
    both = pd.concat([score("one", values), score("two", np.zeros((1, 20)))], ignore_index=True)
    (row,) = compare_methods(both, ("one", "base"), ("two", "base")).to_dict("records")
    expected = scipy.stats.ttest_1samp(values.reshape(4, 5).mean(axis=1), 0)
    assert row["p"] == pytest.approx(expected.pvalue)


def test_sides_are_named_as_method_and_variant(scores):
    assert parse_side("sam_net:wo_hrt") == ("sam_net", "wo_hrt") and parse_side("sam_net") == ("sam_net", "base")
    assert parse_side("a/mine.py:Mine") == ("a/mine.py:Mine", "base")
    assert parse_side("a/mine.py:Mine:dark") == ("a/mine.py:Mine", "dark")
    with pytest.raises(TableError, match="there are one, two"):
        compare_methods(scores, ("one", "base"), ("three", "base"))
    with pytest.raises(TableError, match="against itself"):
        compare_methods(scores, ("one", "base"), ("one", "base"))
    fewer = scores[(scores["method"] == "one") | (scores["clip"] < 40)]
    with pytest.raises(TableError, match="not the same ones"):
        compare_methods(fewer, ("one", "base"), ("two", "base"))
