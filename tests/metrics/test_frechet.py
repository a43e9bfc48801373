from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from metrics.frechet import frechet_distance


def by_definition(a, b):
    """The usual formula with a matrix square root."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.trace(sqrtm(cov_a @ cov_b)).real
    return np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * root


def with_moments(rng, n, mean, deviations, rotation=None):
    """n vectors of exactly this mean and covariance (n−1), in the axes of `rotation`."""
    d = len(mean)
    raw = rng.normal(size=(n, d))
    raw -= raw.mean(axis=0)
    white = np.linalg.qr(raw)[0] * np.sqrt(n - 1)
    rotation = np.eye(d) if rotation is None else rotation
    return np.asarray(mean) + (white * deviations) @ rotation.T


@pytest.mark.parametrize("n, m", [(12, 40), (200, 200)])
def test_closed_form_of_commuting_covariances(n, m):
    """Of covariances with common axes the distance is ‖Δμ‖² + Σ (σₐ − σ_b)²."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    mean_a, mean_b = rng.normal(size=(2, 6))
    sd_a, sd_b = rng.uniform(0.1, 3, (2, 6))
    a, b = with_moments(rng, n, mean_a, sd_a, rotation), with_moments(rng, m, mean_b, sd_b, rotation)
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((sd_a - sd_b) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n, m, d", [(60, 80, 8), (30, 9, 8), (500, 400, 32)])
def test_equals_the_matrix_square_root(n, m, d):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)), 0.5 + rng.normal(size=(m, d))
    assert frechet_distance(a, b) == pytest.approx(by_definition(a, b), rel=1e-8)


def test_fewer_clips_than_features():
    """Of two sets in different subspaces nothing overlaps: the distance is the means' and both traces."""
    rng = np.random.default_rng(2)
    a, b = np.zeros((2, 5, 40))
    a[:, :20], b[:, 20:] = rng.normal(size=(2, 5, 20))
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(a.astype(np.float32), a) == pytest.approx(0, abs=1e-6)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 30), m=st.integers(2, 30), d=st.integers(1, 20))
@settings(max_examples=40)
def test_properties(seed, n, m, d):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, d)), 1 + 2 * rng.normal(size=(m, d))
    value = frechet_distance(a, b)
    assert value >= 0 and np.isfinite(value)
    assert frechet_distance(b, a) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert frechet_distance(a[rng.permutation(n)], b) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a + 3, a) == pytest.approx(9 * d, rel=1e-9)
    assert frechet_distance(10 * a, 10 * b) == pytest.approx(100 * value, rel=1e-9, abs=1e-9)


def test_few_clips_bias_it_upward_and_noise_raises_it():
    rng = np.random.default_rng(3)
    pool = rng.normal(size=(2, 2000, 16))
    values = [frechet_distance(pool[0][:n], pool[1][:n]) for n in (10, 40, 200, 2000)]
    assert values == sorted(values, reverse=True) and values[-1] < 0.1
    noise = rng.normal(size=pool[0].shape)
    values = [frechet_distance(pool[0] + s * noise, pool[0]) for s in (0, 0.3, 1, 3)]
    assert values == sorted(values)


def test_bad_features():
    a = np.ones((4, 3))
    with pytest.raises(ValueError, match=r"\[1, 3\].*2 clips or more"):
        frechet_distance(a[:1], a)
    with pytest.raises(ValueError, match="3 and 2 features: both sets must come from one extractor"):
        frechet_distance(a, a[:, :2])
    broken = a.copy()
    broken[2, 1] = np.nan
    assert np.isnan(frechet_distance(a, broken))
