"""Fréchet distance of two sets of feature vectors: with a video network's features, the Fréchet video distance.

It is a property of two sets and not of clips: it has no value a clip, no pairing, and a shuffled brain scores the same.
The estimate from few clips is biased upward, by an amount that depends on the extractor and on both numbers of clips:
papers print 45 where others find 895 for the same 540 videos with another extractor. Compare only values of one
extractor and equal numbers of clips, and see what the truth scores against other true clips.

The trace of √(Cₐ C_b) is the sum of the singular values of A Bᵀ, where A and B are the centred features: no matrix
square root is taken, nothing turns complex when there are fewer clips than features, and nothing is regularised. With
more clips than features A and B are first replaced by the triangle of their QR decomposition.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def frechet_distance(features_a: npt.NDArray[np.floating], features_b: npt.NDArray[np.floating]) -> float:
    """‖μₐ − μ_b‖² + tr Cₐ + tr C_b − 2 tr √(Cₐ C_b), the squared 2-Wasserstein distance of two Gaussians.

    f [n, d] and f [m, d], at least 2 vectors each; covariances are divided by n−1 and m−1. Returns a number from 0, 0
    for equal sets in any order; NaN if any feature is. Raises ValueError for other shapes.
    Source: Heusel et al. 2017 (FID), Unterthiner et al. 2018 (FVD, I3D features). For d features, n well above d is
    needed before the value says more about the distributions than about n; the bias falls as 1/n. It sees only means
    and covariances, and copies of training clips score well.
    """
    for features in (features_a, features_b):
        if features.ndim != 2 or len(features) < 2 or features.shape[1] == 0:
            raise ValueError(
                f"features of shape {list(features.shape)}: allowed is [clip, feature] with 2 clips or more"
            )
    if features_a.shape[1] != features_b.shape[1]:
        raise ValueError(
            f"{features_a.shape[1]} and {features_b.shape[1]} features: both sets must come from one extractor"
        )
    a, b = features_a.astype(np.float64), features_b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("nan")
    root_a, root_b = _root(a), _root(b)
    between = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    within = np.square(root_a).sum() + np.square(root_b).sum()
    distance = np.square(a.mean(axis=0) - b.mean(axis=0)).sum() + within - 2 * between
    return max(float(distance), 0.0)  # equal sets may come out a rounding error below


def _root(features: Array) -> Array:
    """R with RᵀR the covariance: [min(n, d), d]."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    if len(centred) > centred.shape[1]:
        return np.asarray(np.linalg.qr(centred, mode="r"))
    return centred
