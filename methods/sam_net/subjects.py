"""C-SA, the Centered-progressive Subject Adversarial mechanism (§3.2).

Subjects join the training one by one, from the most central outwards (5, 6), while a classifier that is to name the
subject is fooled through a gradient reversal (7, 8).

Where the paper leaves a choice:

- The feature vector f_i of a subject is "the average feature vector of its EEG data": the mean of its training
  trials, channels × time laid out in a row.
- lambda appears in (8) *and* in the loss of §3.5; both together would weigh lambda squared. It is applied once, in the
  reversal: the encoder gets -lambda times the gradient and the classifier learns at full rate.
- lambda rises from 0 along Ganin and Lempitsky's curve: an adversary at full weight before there is anything to hide
  drives the features to a constant.
- The softmax of (7) is over the subjects present in the stage (the paper's K), not over all: with one subject in
  stage 0 the loss is zero, as there is nothing to hide.
- How long a stage lasts is not said. `plan_stages` splits a fixed number of optimiser steps, the same for every
  variant, so that an ablation changes the order and not the amount of training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn
from torch.nn import functional


def mean_trials(
    signals: Float[Tensor, "trial channel time"], subject: Int64[Tensor, " trial"], subjects: int
) -> Float64[np.ndarray, "subject feature"]:
    """f_i of (5): the mean trial of each subject, flattened."""
    rows = [signals[subject == one].double().mean(dim=0).flatten() for one in range(subjects)]
    return torch.stack(rows).cpu().numpy()


def measure_similarity(features: Float64[np.ndarray, "subject feature"]) -> Float64[np.ndarray, "subject subject"]:
    """Cosine similarity of all pairs; the paper's distance is d = 1 - similarity."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(lengths > 0, lengths, 1.0)
    return unit @ unit.T


def find_centre(similarity: Float64[np.ndarray, "subject subject"]) -> int:
    """The subject most similar to the others on average, equation (5)."""
    subjects = len(similarity)
    if subjects == 1:
        return 0
    return int(np.argmax((similarity.sum(axis=1) - np.diag(similarity)) / (subjects - 1)))


def draw_other(subjects: int, centre: int, generator: torch.Generator) -> int:
    """Any subject but the centre: where training starts in "w/o Center"."""
    others = [one for one in range(subjects) if one != centre] or [centre]
    return others[int(torch.randint(len(others), (1,), generator=generator))]


def order_subjects(similarity: Float64[np.ndarray, "subject subject"], start: int) -> list[int]:
    """The order of joining, equation (6): always the one nearest to any that has joined."""
    distance = 1.0 - similarity
    order = [start]
    while len(order) < len(similarity):
        rest = [one for one in range(len(similarity)) if one not in order]
        order.append(min(rest, key=lambda one: float(distance[one, order].min())))
    return order


@dataclass(frozen=True)
class Stage:
    """Stage t: `steps` optimiser steps on the trials of `subjects` (C_t)."""

    subjects: tuple[int, ...]
    steps: int


def plan_stages(order: Sequence[int], *, steps: int, progressive: bool, last_share: float) -> list[Stage]:
    """Stages that grow by one subject and spend `steps` in all.

    The last stage, with everybody, gets `last_share` of the steps; the earlier ones share the rest in proportion to
    their subjects, so that each trial present is seen equally often in each. Not progressive: one stage with everybody.
    """
    if not progressive or len(order) == 1:
        return [Stage(tuple(order), steps)]
    growing = range(1, len(order))
    shares = np.cumsum(growing) / sum(growing) * (1.0 - last_share)
    ends = [0, *(round(float(share) * steps) for share in shares), steps]
    return [Stage(tuple(order[: size + 1]), end - start) for size, (start, end) in enumerate(itertools.pairwise(ends))]


class ReverseGradient(torch.autograd.Function):
    """Identity forward, -lambda times the gradient backward, equation (8)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradients[0], None


def reverse_gradient(features: Tensor, weight: float) -> Tensor:
    """The features themselves; their gradient comes back times `-weight`."""
    return ReverseGradient.apply(features, weight)


def ramp(progress: float) -> float:
    """Share of lambda at a share `progress` of the training, from 0 to nearly 1 (Ganin and Lempitsky 2015, §4)."""
    return 2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0


class SubjectClassifier(nn.Module):
    """Names the subject from HRT's features."""

    def __init__(self, features: int, subjects: int, *, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, subjects))

    def forward(self, features: Float[Tensor, "trial query width"]) -> Float[Tensor, "trial subject"]:
        return self.layers(features.flatten(1))


def subject_loss(
    logits: Float[Tensor, "trial subject"], subject: Int64[Tensor, " trial"], present: Bool[Tensor, " subject"]
) -> Float[Tensor, ""]:
    """Cross-entropy over the subjects present, equation (7), averaged over trials."""
    return functional.cross_entropy(logits.masked_fill(~present, -torch.inf), subject)
