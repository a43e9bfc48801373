"""N-way top-K accuracy of a judge's scores, as an exact expectation over the distractors; the specs that use it.

The accuracy of MinD-Video, EEG2Video and their successors draws N−1 distractor classes at random and asks whether
a right class is among the K best of the N; drawn 100 times, it carries a Monte-Carlo error of up to 0.05 a clip.
The expectation over all draws is closed: with C classes, G of them counted as right, and r of the other C−G classes
ranked above the best right one, the number of distractors above it is hypergeometric, so

    P(hit) = P(Hypergeom(population C−G, marked r, drawn N−1) ≤ K−1).

Several right classes share one draw and one hit of any of them suffices (the "any of the top three" of those
papers), which is why only the best right class matters.

Ties: the papers break them by an unstable sort. Here a tie is broken at random and the accuracy is the expectation
over that as well: with t other classes tied with the best right score and g right classes at it, j of the t come
before the first of the g with probability C(t+g−1−j, g−1) / C(t+g, g). Equal scores for all classes therefore score
exactly chance.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from math import comb

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from metrics.specs import Array, Compute, MetricSpec, Scored


def top_classes(logits: npt.ArrayLike, k: int) -> npt.NDArray[np.int64]:
    """The k best classes of each row, best first; among equals the lower class number comes first.

    logits: f [..., C]. Returns i64 [..., k]. Raises ValueError when k is not within 1..C.

    >>> top_classes([[0.1, 0.7, 0.2]], 2).tolist()
    [[1, 2]]
    """
    logits = np.asarray(logits)
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k = {k}: allowed are 1 to {logits.shape[-1]}, the number of classes that the judge knows")
    return np.argsort(-logits.astype(np.float64), axis=-1, kind="stable")[..., :k].astype(np.int64)


def n_way_accuracy(scores: npt.ArrayLike, targets: npt.ArrayLike, *, n_way: int, top_k: int = 1) -> Array:
    """Probability that a right class is among the top K of itself and N−1 random other classes.

    scores: f [n, C] of any monotone scale (logits or probabilities). targets: int [n, G], the right classes of each
    row, all different within a row (a vector [n] means G = 1). Returns f64 [n] in 0..1; a row with a NaN score gives
    NaN, which the scorer counts as the worst value.

    Raises ValueError for N−1 > C−G, K < 1, N < 2, class numbers out of range or repeated, or unequal lengths.
    Source: the N-way test of MinD-Video (arXiv 2305.11675) and EEG2Video; the expectation replaces their sampling.

    The right class is second of four. A random other class is one of the two below it in 2 of 3 draws, and both of two
    others are below it in 1 of 3:

    >>> n_way_accuracy([[0.4, 0.3, 0.2, 0.1]], [1], n_way=2).round(4).tolist()
    [0.6667]
    >>> n_way_accuracy([[0.4, 0.3, 0.2, 0.1]], [1], n_way=3).round(4).tolist()
    [0.3333]
    """
    scores, targets = _checked(scores, targets, n_way, top_k)
    n_classes, n_right = scores.shape[1], targets.shape[1]
    above, tied, right_tied = _rank_best_right(scores, targets)
    hit = _hit_by_rank(n_classes - n_right, n_way - 1, top_k)
    accuracy = np.zeros(len(scores))
    for j in range(int(tied.max(initial=0)) + 1):  # one step when there are no ties
        weight = _first_right_after(j, tied, right_tied)
        accuracy += weight * hit[np.minimum(above + j, n_classes - n_right)]  # beyond `tied` the weight is 0
    return np.where(np.isnan(scores).any(axis=1), np.nan, np.clip(accuracy, 0.0, 1.0))


def n_way_table(scores: npt.ArrayLike, targets: npt.ArrayLike, *, n_way: int, top_k: int = 1) -> Array:
    """`n_way_accuracy` of every row of scores with every row of targets, f64 [n, m]; ties fall by the class number.

    scores: f [n, C], without NaN. targets: int [m, G], the right classes of each target. Raises ValueError for
    N−1 > C−G.

    The right class first, second and last of three:

    >>> n_way_table([[0.5, 0.3, 0.2]], [[0], [1], [2]], n_way=2).tolist()
    [[1.0, 0.5, 0.0]]
    """
    scores, targets = np.asarray(scores, dtype=np.float64), np.asarray(targets)
    others = scores.shape[1] - targets.shape[1]
    if n_way - 1 > others:
        raise ValueError(f"{n_way}-way needs {n_way - 1} distractors, and there are {others}")
    above = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1, kind="stable")  # classes before each
    best = above[:, targets[:, 0]]
    for right in targets.T[1:]:
        best = np.minimum(best, above[:, right])
    return _hit_by_rank(others, n_way - 1, top_k)[best]


def sample_n_way_accuracy(
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    n_way: int,
    top_k: int = 1,
    trials: int,
    generator: np.random.Generator,
) -> Array:
    """The published form: the share of `trials` random draws that hit (the same draw for all right classes of a row).

    Arguments, errors and NaN are those of `n_way_accuracy`, which is its expectation; its standard error is
    √(p (1−p) / trials). Ties are broken at random, anew in each draw. Returns f64 [n] in 0..1. Raises ValueError also
    for fewer than 1 trial.

    All classes are drawn, so the best of three is a hit and the second is none:

    >>> draws = {"trials": 5, "generator": np.random.default_rng(0)}
    >>> sample_n_way_accuracy([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2]], [0, 0], n_way=3, **draws).tolist()
    [1.0, 0.0]
    """
    scores, targets = _checked(scores, targets, n_way, top_k)
    if trials < 1:
        raise ValueError(f"trials = {trials}: at least 1 draw is needed")
    accuracy = np.empty(len(scores))
    for row, (score, right) in enumerate(zip(scores, targets, strict=True)):
        others = np.setdiff1d(np.arange(len(score)), right)
        hits = 0
        for _ in range(trials):
            drawn = generator.choice(others, n_way - 1, replace=False)
            order = generator.permutation(len(score))  # decides ties
            best = max(((score[c], order[c]) for c in right), key=tuple)
            beaten_by = np.sum((score[drawn] > best[0]) | ((score[drawn] == best[0]) & (order[drawn] > best[1])))
            hits += int(beaten_by < top_k)
        accuracy[row] = hits / trials
    return np.where(np.isnan(scores).any(axis=1), np.nan, accuracy)


def chance(n_way: int, *, targets_per_clip: int = 1, top_k: int = 1) -> float:
    """Expected accuracy of exchangeable scores: 3/(N+2) for the top-three rule with K = 1, and K/N for one right class.

    A judge's preference for some classes lifts even mismatched videos above this: read it beside the shuffled score.
    Returns a number in 0..1. Raises ValueError for N < 2, or fewer than one right class or K.

    >>> chance(40)
    0.025
    >>> chance(2, targets_per_clip=3)
    0.75
    """
    if n_way < 2 or top_k < 1 or targets_per_clip < 1:
        raise ValueError(
            f"n_way = {n_way}, top_k = {top_k}, targets_per_clip = {targets_per_clip}: "
            "allowed are n_way from 2 and the others from 1"
        )
    drawn, right = n_way - 1, targets_per_clip
    orders_that_hit = sum(comb(drawn + right - 1 - above, right - 1) for above in range(min(top_k, n_way)))
    return orders_that_hit / comb(drawn + right, right)


def normalise_by_chance(accuracy: npt.ArrayLike, chance_level: float) -> Array:
    """(accuracy − chance) / (1 − chance): 0 at chance, 1 when always right, down to −chance / (1 − chance).

    accuracy: f of any shape, in 0..1. Returns f64 of that shape. Raises ValueError for a chance outside 0 ≤ chance < 1.

    >>> normalise_by_chance([0.25, 0.625, 1.0], 0.25).tolist()
    [0.0, 0.5, 1.0]
    """
    if not 0 <= chance_level < 1:
        raise ValueError(f"chance = {chance_level}: allowed is 0 ≤ chance < 1")
    return (np.asarray(accuracy, dtype=np.float64) - chance_level) / (1.0 - chance_level)


@lru_cache(maxsize=64)
def _hit_by_rank(n_others: int, drawn: int, top_k: int) -> Array:
    """P(hit) for each number r = 0..n_others of others above the best right class; computed once, then looked up."""
    from scipy.stats import hypergeom  # half a second, which a table of stored scores need not wait for

    return hypergeom.cdf(top_k - 1, n_others, np.arange(n_others + 1), drawn)


def _rank_best_right(
    scores: Array, targets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Of each row: the others above the best right class, the others tied with it, the right classes at it."""
    right = np.take_along_axis(scores, targets, axis=1)
    best = right.max(axis=1, keepdims=True)
    right_tied = (right == best).sum(axis=1)
    above = (scores > best).sum(axis=1)  # no right class is above the best right one
    tied = (scores == best).sum(axis=1) - right_tied
    return above, tied, np.maximum(right_tied, 1)  # 0 only in a NaN row


def _first_right_after(j: npt.ArrayLike, tied: npt.NDArray, right: npt.NDArray) -> Array:
    """P(exactly j of `tied` others come before the first of `right` classes in a random order of all of them)."""
    j = np.asarray(j)
    rest = np.maximum(tied - j, 0)
    ways = gammaln(rest + right) - gammaln(rest + 1) - gammaln(right)
    total = gammaln(tied + right + 1) - gammaln(tied + 1) - gammaln(right + 1)
    return np.where(j <= tied, np.exp(ways - total), 0.0)


def _checked(
    scores: npt.ArrayLike, targets: npt.ArrayLike, n_way: int, top_k: int
) -> tuple[Array, npt.NDArray[np.int64]]:
    scores = np.asarray(scores, dtype=np.float64)
    targets = np.asarray(targets)
    if targets.ndim == 1:
        targets = targets[:, None]
    if scores.ndim != 2 or targets.ndim != 2 or len(scores) != len(targets):
        raise ValueError(
            f"scores of shape {scores.shape} with targets of shape {targets.shape}: "
            "allowed are [n, C] and [n, G] of the same n"
        )
    n_classes, n_right = scores.shape[1], targets.shape[1]
    if not np.issubdtype(targets.dtype, np.integer):
        raise ValueError(f"targets of type {targets.dtype}: allowed are whole class numbers")
    if targets.size and (targets.min() < 0 or targets.max() >= n_classes):
        raise ValueError(f"target class {targets.min()}..{targets.max()}: allowed are 0 to {n_classes - 1}")
    ordered = np.sort(targets, axis=1)
    if (ordered[:, 1:] == ordered[:, :-1]).any():
        raise ValueError("a row of targets names the same class twice: give each right class once")
    if n_way < 2 or top_k < 1:
        raise ValueError(f"n_way = {n_way}, top_k = {top_k}: allowed are n_way from 2 and top_k from 1")
    if n_way - 1 > n_classes - n_right:
        raise ValueError(
            f"{n_way}-way needs {n_way - 1} distractors, but {n_classes} classes with {n_right} right ones leave "
            f"{n_classes - n_right}: use at most {n_classes - n_right + 1}-way, or a judge with more classes"
        )
    return scores, targets.astype(np.int64)


# The metrics of the protocols


def video_accuracy(prediction: Scored, target: Scored, *, n_way: int, right: int) -> Array:
    """N-way accuracy of the video judge, which counts its `right` best classes of the true clip as right.

    Reads view "video" of both, f [n, C]. Returns f64 [n] in 0..1, NaN where a logit of either side is. Raises
    ValueError for a judge with fewer than N − 1 + `right` classes.

    >>> truth = Scored(views={"video": np.array([[0.0, 9.0, 0.0, 0.0]])})
    >>> second = Scored(views={"video": np.array([[0.4, 0.3, 0.2, 0.1]])})
    >>> video_accuracy(second, truth, n_way=2, right=1).round(4).tolist()
    [0.6667]
    """
    return _accuracy(prediction["video"], target["video"], n_way=n_way, right=right)


def frame_accuracy(prediction: Scored, target: Scored, *, n_way: int, right: int) -> Array:
    """N-way accuracy of the frame judge on each frame against the true frame of its time, the mean over frames.

    Reads view "frame" of both, f [n, f, C]. Range, NaN and errors are those of `video_accuracy`.

    >>> truth = Scored(views={"frame": np.array([[[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]]])})
    >>> first_frame_right = Scored(views={"frame": np.array([[[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]]])})
    >>> frame_accuracy(first_frame_right, truth, n_way=2, right=1).tolist()
    [0.5]
    """
    n, frames, classes = prediction["frame"].shape
    flat = (scored["frame"].reshape(-1, classes) for scored in (prediction, target))
    return _accuracy(*flat, n_way=n_way, right=right).reshape(n, frames).mean(axis=1)


def _accuracy(predicted: npt.NDArray, true: npt.NDArray, *, n_way: int, right: int) -> Array:
    targets = top_classes(true, right)
    accuracy = n_way_accuracy(predicted, targets, n_way=n_way, top_k=1)
    return np.where(np.isnan(true).any(axis=1), np.nan, accuracy)


def video_table(prediction: Scored, target: Scored, *, n_way: int, right: int) -> Array:
    """`video_accuracy` of every prediction with every target, f64 [n, m]: see `n_way_table`.

    >>> truth = Scored(views={"video": np.array([[0.0, 9.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]])})
    >>> second = Scored(views={"video": np.array([[0.4, 0.3, 0.2, 0.1]])})
    >>> video_table(second, truth, n_way=2, right=1).round(4).tolist()
    [[0.6667, 1.0]]
    """
    return n_way_table(prediction["video"], top_classes(target["video"], right), n_way=n_way)


def frame_table(prediction: Scored, target: Scored, *, n_way: int, right: int) -> Array:
    """`frame_accuracy` of every prediction with every target, f64 [n, m]: the mean over the frames' own tables.

    >>> truth = Scored(views={"frame": np.array([[[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]]])})
    >>> first_frame_right = Scored(views={"frame": np.array([[[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]]])})
    >>> frame_table(first_frame_right, truth, n_way=2, right=1).tolist()
    [[0.5]]
    """
    classes = top_classes(target["frame"], right)
    frames = range(classes.shape[1])
    tables = [n_way_table(prediction["frame"][:, frame], classes[:, frame], n_way=n_way) for frame in frames]
    return np.mean(tables, axis=0)


def concept_accuracy(prediction: Scored, target: Scored, *, n_way: int) -> Array:
    """N-way accuracy over the benchmark's own concepts, named to CLIP in words; the true concept is right.

    Reads view "concept" of the prediction, f [n, K], and `concept` of the target. Returns f64 [n] in 0..1. Raises
    ValueError for more ways than concepts.

    >>> likeness = Scored(views={"concept": np.array([[0.2, 0.9, 0.1], [0.2, 0.9, 0.1]])})
    >>> concept_accuracy(likeness, Scored(concept=np.array([1, 0])), n_way=2).tolist()
    [1.0, 0.5]
    """
    assert target.concept is not None, "needs the true concepts"
    return n_way_accuracy(prediction["concept"], target.concept, n_way=n_way, top_k=1)


def concept_table(prediction: Scored, target: Scored, *, n_way: int) -> Array:
    """`concept_accuracy` of every prediction with every target, f64 [n, m]: see `n_way_table`.

    >>> likeness = Scored(views={"concept": np.array([[0.2, 0.9, 0.1]])})
    >>> concept_table(likeness, Scored(concept=np.array([1, 0])), n_way=2).tolist()
    [[1.0, 0.5]]
    """
    assert target.concept is not None, "needs the true concepts"
    return n_way_table(prediction["concept"], target.concept[:, None], n_way=n_way)


def accuracy_spec(judge: str, n_way: int, right: int) -> MetricSpec:
    """The spec of `video_accuracy` or `frame_accuracy`, for judge "video" or "frame".

    >>> spec = accuracy_spec("video", 40, right=3)  # 3 / (40 + 2)
    >>> spec.name, round(spec.chance, 4)
    ('video_40way', 0.0714)
    """
    compute, across = (video_accuracy, video_table) if judge == "video" else (frame_accuracy, frame_table)
    classes = "best class" if right == 1 else f"{right} best classes"
    return MetricSpec(
        name=f"{judge}_{n_way}way",
        compute=partial(compute, n_way=n_way, right=right),
        across=partial(across, n_way=n_way, right=right),
        summary=f"{n_way}-way accuracy of the {judge} judge, its {classes} of the true clip count as right",
        views=(judge,),
        chance=chance(n_way, targets_per_clip=right),
        least_frames=2 if judge == "video" else 1,  # VideoMAE joins two frames to a token
    )


def concept_spec(n_way: int) -> MetricSpec:
    """The spec of `concept_accuracy`.

    >>> concept_spec(40).name, concept_spec(40).chance
    ('concept_40way', 0.025)
    """
    return MetricSpec(
        name=f"concept_{n_way}way",
        compute=partial(concept_accuracy, n_way=n_way),
        across=partial(concept_table, n_way=n_way),
        summary=f"{n_way}-way accuracy over the benchmark's own concepts, named to CLIP in words",
        views=("concept",),
        chance=chance(n_way),
    )


def _normalised_table(prediction: Scored, target: Scored, *, raw: Compute, level: float) -> Array:
    return normalise_by_chance(raw(prediction, target), level)


def normalised_spec(spec: MetricSpec) -> MetricSpec:
    """The spec of the same accuracy as (accuracy − chance) / (1 − chance), for a spec whose chance is exact.

    >>> spec = normalised_spec(accuracy_spec("video", 2, right=1))
    >>> spec.name, spec.chance, spec.worst
    ('video_2way_normalised', 0.0, -1.0)
    """
    assert isinstance(spec.chance, float), "only an exact chance level normalises"
    level, raw = spec.chance, spec.across
    worst = float(normalise_by_chance(0.0, level))
    return replace(
        spec,
        name=f"{spec.name}_normalised",
        summary=f"{spec.name}, 0 at chance and 1 when always right",
        compute=lambda prediction, target: normalise_by_chance(spec.compute(prediction, target), level),
        across=None if raw is None else partial(_normalised_table, raw=raw, level=level),
        lo=worst,
        worst=worst,
        chance=0.0,
    )
