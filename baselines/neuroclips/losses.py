"""NeuroClips' contrastive losses: BiMixCo for the backbone, SoftCLIP after it.

The same clip may be in a batch more than once (repeats, other subjects). It is no wrong answer: in BiMixCo the trials
of a clip share the mass of the right answer; in SoftCLIP equal targets do so by themselves.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional


def mix_trials(
    signals: Float[Tensor, "trial column time"],
    subject: Int64[Tensor, " trial"],
    rng: np.random.Generator,
    *,
    concentration: float = 0.15,
) -> tuple[Float[Tensor, "trial column time"], Int64[Tensor, " trial"], Float[Tensor, " trial"]]:
    """Mixco: share × a trial + (1 - share) × another trial of the same subject (voxels of two people do not match).

    Gives the mixtures, the other trial of each, and the shares: Beta(c, c) with MindEye's c, drawn for each trial.
    """
    numbers = subject.cpu().numpy()
    swapped = np.arange(len(numbers))
    for number in np.unique(numbers):
        rows = np.flatnonzero(numbers == number)
        swapped[rows] = rng.permutation(rows)
    other = torch.from_numpy(swapped).to(signals.device)
    share = torch.from_numpy(rng.beta(concentration, concentration, len(numbers))).to(signals)
    broad = share[:, None, None]
    return broad * signals + (1 - broad) * signals[other], other, share


def bimixco(
    cosines: Float[Tensor, "trial trial"],
    group: Int64[Tensor, " trial"],
    *,
    temperature: float,
    other: Int64[Tensor, " trial"] | None = None,
    share: Float[Tensor, " trial"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the cosines of trials (rows) and targets (columns), mean of both directions.

    Trials of one `group` are equally right.

    With `other` and `share` (`mix_trials`) a mixture is right for both of its trials, by their shares.
    """
    logits = cosines / temperature
    right = (group[:, None] == group[None]).to(logits)
    right = right / right.sum(1, keepdim=True)
    if other is not None and share is not None:
        right = share[:, None] * right + (1 - share)[:, None] * right[other]
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right.T)) / 2


def soft_clip(
    predicted: Float[Tensor, "trial d"], targets: Float[Tensor, "trial d"], *, temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of the cosines against those among the targets themselves, mean of both directions."""
    unit = functional.normalize(targets, dim=1)
    logits = functional.normalize(predicted, dim=1) @ unit.T / temperature
    soft = (unit @ unit.T / temperature).softmax(dim=1)
    return (functional.cross_entropy(logits, soft) + functional.cross_entropy(logits.T, soft)) / 2
