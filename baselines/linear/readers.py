"""Linear classifiers at many strengths of shrinkage at once: scores of class c are x · w_c + b_c.

- *LDA*: Gaussian classes of one covariance, equally probable. The covariance within classes S is shrunk towards its
  mean variance t, Σ = (1 − γ) S + γ t I (Ledoit & Wolf 2004; `shrinkage` of scikit-learn's LDA with solver "lsqr"), and
  w_c = Σ⁻¹ μ_c, b_c = −μ_c · w_c / 2. With the singular values of the residuals one decomposition serves every γ:
  Σ⁻¹ = V diag(1/d − 1/γt) Vᵀ + I/γt, d = (1 − γ) s² / n + γ t.
- *Ridge* to the centred indicator of each class, |y − x w|² + λ |w|², through the same decomposition of x.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64

SHRINKAGE = (0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)  # γ
PENALTY = tuple(10.0 ** (half / 2) for half in range(2, 13))  # λ: 10 to 10⁶

Features = Float32[np.ndarray, "trial feature"]
Labels = Int64[np.ndarray, " trial"]


class Linear(NamedTuple):
    """A linear score of each class; −∞ for a class that no trial showed."""

    weights: Float32[np.ndarray, "feature class"]
    offset: Float32[np.ndarray, " class"]

    def score(self, x: Features) -> Float32[np.ndarray, "trial class"]:
        return x @ self.weights + self.offset


def fit_lda(x: Features, labels: Labels, classes: int, shrinkage: Sequence[float]) -> list[Linear]:
    """LDA at each shrinkage γ in 0 < γ ≤ 1, from trials with labels 0..classes−1."""
    means, there = average_classes(x, labels, classes)
    centre = x.mean(axis=0)
    means = means - centre
    residual = x - centre - means[labels]
    squares, axes = decompose(residual)
    level = float(squares.sum() / len(x) / x.shape[1]) + 1e-12
    along = means @ axes  # (class, axis)
    made = []
    for gamma in shrinkage:
        inverse = 1 / ((1 - gamma) * squares / len(x) + gamma * level) - 1 / (gamma * level)
        weights = ((along * inverse) @ axes.T + means / (gamma * level)).T
        offset = -(means.T * weights).sum(axis=0) / 2 - centre @ weights
        made.append(close(weights, offset, there))
    return made


def fit_indicators(x: Features, labels: Labels, classes: int, penalty: Sequence[float]) -> list[Linear]:
    """Ridge to the indicators of the classes at each λ > 0."""
    there = np.bincount(labels, minlength=classes) > 0
    centre = x.mean(axis=0)
    y = (labels[:, None] == np.arange(classes)).astype(np.float64)
    share = y.mean(axis=0)
    squares, axes = decompose(x - centre)
    along = axes.T @ ((x - centre).T @ (y - share))  # (axis, class)
    made = []
    for one in penalty:
        weights = axes @ (along / (squares + one)[:, None])
        made.append(close(weights, -(centre @ weights), there))
    return made


def decompose(x: Features) -> tuple[Float64[np.ndarray, " axis"], Float64[np.ndarray, "feature axis"]]:
    """Squared singular values of x above rounding, and their directions in the space of features."""
    x = x.astype(np.float64)
    if len(x) < x.shape[1]:
        squares, left = np.linalg.eigh(x @ x.T)
        kept = squares > 1e-9 * max(float(squares[-1]), 1e-300)
        return squares[kept], x.T @ (left[:, kept] / np.sqrt(squares[kept]))
    squares, axes = np.linalg.eigh(x.T @ x)
    kept = squares > 1e-9 * max(float(squares[-1]), 1e-300)
    return squares[kept], axes[:, kept]


def average_classes(
    x: Features, labels: Labels, classes: int
) -> tuple[Float64[np.ndarray, "class feature"], np.ndarray]:
    """The mean of each class (zeros where it has no trial), and whether it has any."""
    count = np.bincount(labels, minlength=classes)
    total = (labels == np.arange(classes)[:, None]).astype(np.float64) @ x
    return total / np.maximum(count, 1)[:, None], count > 0


def close(weights: np.ndarray, offset: np.ndarray, there: np.ndarray) -> Linear:
    return Linear(np.where(there, weights, 0.0).astype(np.float32), np.where(there, offset, -np.inf).astype(np.float32))
