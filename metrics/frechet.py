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

from metrics.specs import Array, MetricSpec, Scored

LARGEST_DISTANCE = 1e6  # what a set without predictions scores; far above any reported value


def frechet_distance(features_a: npt.NDArray[np.floating], features_b: npt.NDArray[np.floating]) -> float:
    """‖μₐ − μ_b‖² + tr Cₐ + tr C_b − 2 tr √(Cₐ C_b), the squared 2-Wasserstein distance of two Gaussians.

    features_a: f [n, d]; features_b: f [m, d]; at least 2 vectors each. Covariances are divided by n−1 and m−1. Returns
    a number from 0, which is 0 for equal sets in any order; NaN if any feature is. Raises ValueError for other shapes.
    Source: Heusel et al. 2017 (FID), Unterthiner et al. 2018 (FVD, I3D features). For d features, n well above d is
    needed before the value says more about the distributions than about n; the bias falls as 1/n. It sees only means
    and covariances, and copies of training clips score well.

    A set that is moved by 3 and 4 along two axes keeps its covariance, so its distance is 3² + 4². In one dimension the
    distance is (μₐ − μ_b)² + (σₐ − σ_b)²; a set twice as wide, of standard deviation 2 beside 1, is 1 away:

    >>> features = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
    >>> round(frechet_distance(features, features + [3.0, 4.0]), 6)
    25.0
    >>> line = np.array([[-1.0], [0.0], [1.0]])
    >>> round(frechet_distance(line, 2 * line), 6)
    1.0
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
    """R f64 [min(n, d), d] with RᵀR the covariance of features [n, d]."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    if len(centred) > centred.shape[1]:
        return np.asarray(np.linalg.qr(centred, mode="r"))
    return centred


def video_distance(prediction: Scored, target: Scored) -> Array:
    """`frechet_distance` of view "features" of both sets, f [n, d] and f [m, d]. Returns f64 [1].

    >>> views = {"features": np.array([[0.0, 1.0], [2.0, 0.0]])}
    >>> video_distance(Scored(views=views), Scored(views=views)).round(6).tolist()
    [0.0]
    """
    return np.array([frechet_distance(prediction["features"], target["features"])])


FVD = MetricSpec(
    name="fvd",
    compute=video_distance,
    summary="Fréchet distance of the two sets in the video judge's features; only equal numbers of clips compare",
    direction="lower",
    hi=LARGEST_DISTANCE,
    worst=LARGEST_DISTANCE,
    level="set",
    views=("features",),
    paired=False,
    least_frames=2,  # VideoMAE joins two frames to a token
)


def frame_distance(prediction: Scored, target: Scored) -> Array:
    """`frechet_distance` of the clips' mean frames in view "frame_features" of both sets, f [n, f, d] and f [m, g, d].

    Returns f64 [1]. Every clip counts once, however many frames it has.

    >>> views = {"frame_features": np.array([[[0.0, 1.0], [2.0, 1.0]], [[2.0, 0.0], [2.0, 2.0]]])}
    >>> frame_distance(Scored(views=views), Scored(views=views)).round(6).tolist()
    [0.0]
    """
    ours, true = (scored["frame_features"].mean(axis=1) for scored in (prediction, target))
    return np.array([frechet_distance(ours, true)])


FRAME_DISTANCE = MetricSpec(
    name="frame_frechet",
    compute=frame_distance,
    summary="Fréchet distance of the two sets in the frame judge's features; only equal numbers of clips compare",
    direction="lower",
    hi=LARGEST_DISTANCE,
    worst=LARGEST_DISTANCE,
    level="set",
    views=("frame_features",),
    paired=False,
)
