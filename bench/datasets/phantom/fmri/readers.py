"""Readers that learn from a subject's trials: a linear one, one of three layers, and ridge maps between subjects.

| reader       | what                                                                                                 |
|--------------|------------------------------------------------------------------------------------------------------|
| linear       | linear discriminant: the mean of each concept, one covariance, shrunk (better here than ridge)        |
| three layers | a linear score for every concept, action and place together; the logarithm of the summed exponentials |
|              | over what is not asked; normalisation. Weights in closed form, from labels that captions hold         |

The three layers are the discriminant of a mixture: the mean of a combination is that of its concept, plus effects of
the concept with what moves and with what is open, of the action and of the place, shrunk towards none. It is what an
encoder has to find by itself to read conjunctions. A map is ridge regression of one subject's voxels on another's, from
trials of the same clips. Constants were chosen on the development seeds 101 to 103, where the `study` sizes gave
(40-way; ± half a 95 % interval over subjects and seeds, all of which gained):

| layout    | subjects × seeds | linear | three layers | gain        | best linear | ideal |
|-----------|------------------|--------|--------------|-------------|-------------|-------|
| cc2017    | 4 × 3            | 0.667  | 0.757        | 0.091 ± 0.009 | 0.818       | 0.907 |
| cinebrain | 8 of both groups | 0.556  | 0.636        | 0.079 ± 0.027 |             |       |

A perceptron of three layers that was trained by gradient on the same voxels (100 principal components, 256 units, early
stopping) read .63 where the linear one read .65 (seed 101, one subject): the conjunctions are there to be found by more
than such a network. At the default sizes there are too few trials for either to gain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from bench.datasets.phantom.fmri.observer import describe_cells

SHRINKAGE = 0.3  # of a covariance towards that of equal, independent numbers, where trials are more than numbers
FEW_SHRINKAGE = 0.9  # where they are not
EFFECT_TRIALS = 30.0  # that a combination's effect needs for half of it to be believed
OTHER_TRIALS = 1.0  # the same of an action's or place's own
MAP_PENALTY = 1.0  # of the mean eigenvalue of the rows' inner products
PENALTY = 3.0  # of ridge onto numbers

Trials = Float64[np.ndarray, "trial voxel"]
Labels = Mapping[str, Int64[np.ndarray, " trial"]]


@dataclass(frozen=True)
class Discriminant:
    """Linear scores of cells from numbers of a trial: x · weights + offsets."""

    centre: Float64[np.ndarray, " number"]
    weights: Float64[np.ndarray, "number cell"]
    offsets: Float64[np.ndarray, " cell"]

    def score(self, trials: Trials) -> Float64[np.ndarray, "trial cell"]:
        return (trials - self.centre) @ self.weights + self.offsets


def fit_linear(trials: Trials, labels: Int64[np.ndarray, " trial"], kinds: int) -> Discriminant:
    """The linear discriminant of labels 0 to kinds − 1."""
    centre, basis = compress(trials)
    inputs = (trials - centre) @ basis
    counts = np.maximum(np.bincount(labels, minlength=kinds), 1)
    means = (np.eye(kinds)[labels].T @ inputs) / counts[:, None]
    return discriminate(centre, basis, means, inputs - means[labels], len(inputs) - kinds)


def fit_layers(trials: Trials, labels: Labels, counts: Mapping[str, int]) -> Discriminant:
    """Scores of every combination of concept, action and scene, in the order of `counts`; for `sum_layers`."""
    centre, basis = compress(trials)
    inputs = (trials - centre) @ basis
    cells = dict(zip(counts, np.indices(tuple(counts.values())).reshape(len(counts), -1), strict=True))
    design, every = (
        np.concatenate([np.eye(counts["concept"])[some["concept"]], describe_cells(some, counts)], axis=1)
        for some in (labels, cells)
    )
    kinds, pairs = counts["concept"], 4 * counts["concept"]
    penalty = np.concatenate(
        [np.full(kinds, 1e-3), np.full(pairs, EFFECT_TRIALS), np.full(design.shape[1] - kinds - pairs, OTHER_TRIALS)]
    )
    inner = design.T @ design
    effects = np.linalg.solve(inner + np.diag(penalty), design.T @ inputs)
    used = np.trace(np.linalg.solve(inner + np.diag(penalty), inner))
    return discriminate(centre, basis, every @ effects, inputs - design @ effects, len(inputs) - used)


def sum_layers(
    scores: Float64[np.ndarray, "trial cell"], counts: Mapping[str, int], of: str
) -> Float64[np.ndarray, "trial label"]:
    """Log posterior of one part of the combinations, the others summed over."""
    from scipy.special import logsumexp

    shaped = scores.reshape(len(scores), *counts.values())
    others = tuple(axis for axis, name in enumerate(counts, start=1) if name != of)
    summed = logsumexp(shaped, axis=others)
    return summed - logsumexp(summed, axis=1, keepdims=True)


def compress(trials: Trials) -> tuple[Float64[np.ndarray, " number"], Float64[np.ndarray, "number kept"]]:
    """Mean, and an orthonormal basis of all that trials differ in where they are fewer than their numbers.

    Nothing that is linear in the trials' means and covariance is changed by it.
    """
    centre = trials.mean(axis=0)
    if len(trials) > trials.shape[1]:
        return centre, np.eye(trials.shape[1])
    values, vectors = np.linalg.eigh((trials - centre) @ (trials - centre).T)
    kept = values > 1e-9 * values[-1]
    return centre, (trials - centre).T @ (vectors[:, kept] / np.sqrt(values[kept]))


def discriminate(
    centre: np.ndarray, basis: np.ndarray, means: np.ndarray, left: Trials, freedom: float
) -> Discriminant:
    """Scores of means under the shrunk covariance of what is left; shrinkage is that of the uncompressed numbers."""
    covariance = left.T @ left / max(freedom, 1.0)
    share = SHRINKAGE if len(left) > len(basis) else FEW_SHRINKAGE
    floor = share * np.trace(covariance) / len(basis)
    covariance = (1 - share) * covariance + floor * np.eye(len(covariance))
    solved = np.linalg.solve(covariance, means.T)
    return Discriminant(centre, basis @ solved, -0.5 * (means.T * solved).sum(axis=0))


def fit_ridge(inputs: Trials, targets: Float64[np.ndarray, "trial number"], penalty: float = PENALTY) -> Discriminant:
    """Ridge regression, by whichever of the two equal ways is smaller."""
    centre, middle = inputs.mean(axis=0), targets.mean(axis=0)
    inputs, targets = inputs - centre, targets - middle
    strength = penalty * float(np.square(inputs).sum()) / len(inputs)
    if len(inputs) <= inputs.shape[1]:
        kernel = inputs @ inputs.T
        kernel[np.diag_indices_from(kernel)] += strength
        weights = inputs.T @ np.linalg.solve(kernel, targets)
    else:
        inner = inputs.T @ inputs
        inner[np.diag_indices_from(inner)] += strength
        weights = np.linalg.solve(inner, inputs.T @ targets)
    return Discriminant(centre, weights, middle)


def top_accuracy(scores: np.ndarray, labels: np.ndarray, count: int = 1) -> float:
    """Share of trials whose label is among the `count` best scores."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    return float(np.mean((scores > own).sum(axis=1) < count))
