"""Clip retrieval: is the true clip among the k of a gallery that are most alike the prediction?


The number depends on the gallery: 300 clips (NeuroClips: four blocks of its 1,200), 1,200 and 4,240 (Mind-Animator) are
in use. Chance is k / m, more where clips of the gallery are equal answers. Ties are counted fairly: the value is the
expectation over a random order of equal scores, so a collapsed prediction that is equally like all scores chance.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from metrics.specs import Array, MetricSpec, Scored


def cosine_scores(predicted: npt.NDArray[np.floating], gallery: npt.NDArray[np.floating]) -> Array:
    """Cosine of each prediction with each item of the gallery.

    predicted: f [n, d]; gallery: f [m, d]. Returns f64 [n, m] in −1..1; NaN where an embedding is, 0 with a zero
    vector. Raises ValueError for other shapes.

    >>> cosine_scores(np.array([[3.0, 4.0]]), np.array([[2.0, 0.0], [0.0, 5.0], [0.0, 0.0]])).round(4).tolist()
    [[0.6, 0.8, 0.0]]
    """
    if predicted.ndim != 2 or gallery.ndim != 2 or predicted.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"embeddings {list(predicted.shape)} and {list(gallery.shape)}: allowed are [n, d] and [m, d] of one judge"
        )
    return _unit(predicted) @ _unit(gallery).T


def retrieval_accuracy(
    scores: npt.ArrayLike, truth: npt.ArrayLike, k: int, *, group: npt.ArrayLike | None = None
) -> Array:
    """Probability that a right item is among the k best-scored, over a random order of equal scores.

    scores: f [n, m] of any monotone scale, higher for more alike. truth: int [n], the item of the gallery that is
    right. group: optional labels [m]; every item with the true item's label is right too, for galleries that hold the
    same clip several times. Returns f64 [n] in 0..1: 0 or 1 where there are no ties at the edge; 1 for k ≥ m; NaN for
    a row with a NaN score. Raises ValueError for k < 1, items out of range or unequal lengths.
    What fools it: a prediction of the right colours is often enough in a small gallery.

    Item 1 is the best of the first row. Both items of the second row are equal, so it takes the first place in one of
    two orders:

    >>> retrieval_accuracy([[0.1, 0.9], [0.5, 0.5]], [1, 1], k=1).tolist()
    [1.0, 0.5]
    """
    scores = np.asarray(scores, np.float64)
    truth = np.asarray(truth)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not np.issubdtype(truth.dtype, np.integer):
        raise ValueError(
            f"scores of shape {list(scores.shape)}, truth {truth.dtype} {list(truth.shape)}: allowed are [n, m] and "
            "whole numbers [n]"
        )
    items = scores.shape[1]
    if truth.size and (truth.min() < 0 or truth.max() >= items):
        raise ValueError(f"right items {truth.min()}..{truth.max()}: the gallery has items 0 to {items - 1}")
    if k < 1:
        raise ValueError(f"k = {k}: allowed are numbers from 1")
    labels = np.arange(items) if group is None else np.asarray(group)
    if labels.shape != (items,):
        raise ValueError(f"group labels of shape {list(labels.shape)}: the gallery has {items} items, one label each")
    right = labels[None] == labels[truth][:, None]  # [n, m]
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    above = (scores > best).sum(axis=1)
    tied = ((scores == best) & ~right).sum(axis=1)
    right_tied = ((scores == best) & right).sum(axis=1)
    accuracy = 1.0 - _all_missed(k - above, tied, np.maximum(right_tied, 1))  # 0 right ones only in a NaN row
    return np.where(np.isnan(scores).any(axis=1), np.nan, accuracy)


def _all_missed(places: npt.NDArray[np.int64], tied: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> Array:
    """P(none of `right` items takes one of the `places`, shared at random with `tied` others): C(t, p) / C(t+g, p)."""
    p = np.clip(places, 0, tied)  # more places than others: one is left for a right item
    ratio = gammaln(tied + 1) - gammaln(tied - p + 1) - gammaln(tied + right + 1) + gammaln(tied + right - p + 1)
    return np.where(places <= 0, 1.0, np.where(places > tied, 0.0, np.exp(ratio)))


def _unit(vectors: npt.NDArray[np.floating]) -> Array:
    """Vectors of length 1 along the last axis, f64; zero vectors stay zero."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1.0, length)


# The metrics of the protocols


def gallery_accuracy(prediction: Scored, target: Scored, *, k: int, view: str = "gallery") -> Array:
    """Whether the true clip is among the k of all true clips that a judge finds most alike the prediction.

    Reads the view of the prediction, f [n, m] ("gallery" by CLIP, "frame_gallery" by the frame judge), and `clip` of
    the target. Range, ties and errors are those of `retrieval_accuracy`.

    >>> likeness = Scored(views={"gallery": np.array([[0.9, 0.5, 0.1]])})
    >>> [gallery_accuracy(likeness, Scored(clip=np.array([1])), k=k).item() for k in (1, 2)]
    [0.0, 1.0]
    """
    assert target.clip is not None, "needs the place of each true clip in the gallery"
    return retrieval_accuracy(prediction[view], target.clip, k)


def gallery_table(prediction: Scored, target: Scored, *, k: int, view: str = "gallery") -> Array:
    """`gallery_accuracy` of every prediction with every target, f64 [n, m], 0 or 1; ties fall by the place in the
    gallery.

    >>> likeness = Scored(views={"gallery": np.array([[0.9, 0.5, 0.1]])})
    >>> gallery_table(likeness, Scored(clip=np.array([0, 1, 2])), k=2).tolist()
    [[1.0, 1.0, 0.0]]
    """
    assert target.clip is not None, "needs the place of each true clip in the gallery"
    above = np.argsort(np.argsort(-prediction[view], axis=1, kind="stable"), axis=1, kind="stable")
    return (above[:, target.clip] < k).astype(np.float64)


def gallery_spec(k: int) -> MetricSpec:
    """The spec of `gallery_accuracy`; its chance depends on the gallery and is measured.

    >>> gallery_spec(5).name
    'retrieval_top5'
    """
    return MetricSpec(
        name=f"retrieval_top{k}",
        compute=partial(gallery_accuracy, k=k),
        across=partial(gallery_table, k=k),
        summary=f"share of clips whose true clip is among the {k} most alike of all true clips, by CLIP",
        views=("gallery",),
    )


def gallery_chance(clips: int, *, k: int) -> float:
    """Chance of `gallery_accuracy` among so many clips, each shown once.

    >>> gallery_chance(20, k=5), gallery_chance(4, k=5)
    (0.25, 1.0)
    """
    return min(1.0, k / clips)


def frame_gallery_spec(k: int) -> MetricSpec:
    """The spec of `gallery_accuracy` by the features of the frame judge, what it knows before it names a class.

    >>> frame_gallery_spec(5).name, frame_gallery_spec(5).chance_of(20)
    ('frame_retrieval_top5', 0.25)
    """
    return MetricSpec(
        name=f"frame_retrieval_top{k}",
        compute=partial(gallery_accuracy, k=k, view="frame_gallery"),
        across=partial(gallery_table, k=k, view="frame_gallery"),
        summary=f"share of clips whose true clip is among the {k} most alike of all true clips, by the frame judge",
        views=("frame_gallery",),
        chance=partial(gallery_chance, k=k),
    )
