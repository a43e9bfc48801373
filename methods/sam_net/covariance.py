"""Channel covariances and the channel maps made from them: measuring, shrinking, sphering, recolouring.

Neighbouring electrodes share most of their signal, and what tells one stimulus from another lies in their small
differences. `sphere_groups` brings these up before HRT sees them: the known subjects' training trials get a covariance
near the identity. The paper names no preprocessing; without this step HRT needs several times the trials (README). One
matrix serves all subjects, so that it aligns nobody to anybody (that is C-SA's and New2Source's part). Over all
electrodes together it reads more than region by region (README), though each region's extractor is then given a little
of other regions; where a region is taken away, its electrodes are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ChannelMap = Float[Tensor, "channel channel"]  # f64; applied from the left
Signals = Float[Tensor, "trial channel time"]


def apply_map(matrix: ChannelMap, signals: Signals) -> Signals:
    return matrix.to(signals) @ signals


def measure_covariance(signals: Signals) -> ChannelMap:
    """Mean product of channels over trials and time."""
    flat = signals.transpose(0, 1).flatten(1)  # (C, B*T)
    return (flat @ flat.T).double() / flat.shape[1]


def average_covariance(signals: Signals, subject: Int64[Tensor, " trial"]) -> ChannelMap:
    """The mean over subjects of each one's covariance."""
    return torch.stack([measure_covariance(signals[subject == one]) for one in subject.unique()]).mean(dim=0)


def shrink(covariance: ChannelMap, share: float) -> ChannelMap:
    """The covariance pulled towards a multiple of the identity: an average reference leaves one direction empty."""
    level = covariance.diagonal().mean() * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return (1.0 - share) * covariance + share * level


def raise_power(covariance: ChannelMap, exponent: float) -> ChannelMap:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.pow(exponent) @ vectors.T


def sphere_groups(covariance: ChannelMap, groups: Sequence[Sequence[int]], shrinkage: float) -> ChannelMap:
    """Symmetric whitening within each group of electrodes: as close to themselves as any whitening can be.

    Electrodes of no group give nothing.
    """
    matrix = torch.zeros_like(covariance)
    for indices in groups:
        block = torch.meshgrid(torch.tensor(indices), torch.tensor(indices), indexing="ij")
        matrix[block] = raise_power(shrink(covariance[block], shrinkage), -0.5)
    return matrix


def recolour(own: ChannelMap, known: ChannelMap, *, shrinkage: float) -> ChannelMap:
    """From signals of covariance `own` to signals of covariance `known`: whitening, then colouring, no labels."""
    return raise_power(shrink(known, shrinkage), 0.5) @ raise_power(shrink(own, shrinkage), -0.5)
