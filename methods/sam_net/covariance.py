"""Channel covariances and the channel maps made from them: measuring, shrinking, sphering, recolouring.

Neighbouring electrodes share most of their signal, and what tells one stimulus from another lies in their small
differences. `sphere_regions` brings these up before HRT sees them: within each region the known subjects' training
trials get a covariance near the identity. The paper names no preprocessing; without this step HRT needs several times
the trials (README). It works region by region, so that no electrode enters another region's extractor, and with one
matrix for all subjects, so that it aligns nobody to anybody (that is C-SA's and New2Source's part).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from methods.sam_net.hrt import assign_regions

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


def sphere_regions(covariance: ChannelMap, channels: Sequence[str], *, shrinkage: float) -> ChannelMap:
    """Symmetric whitening within each region: as close to the electrodes themselves as any whitening can be."""
    matrix = torch.zeros_like(covariance)
    for indices in assign_regions(channels).values():
        if indices:
            block = torch.meshgrid(torch.tensor(indices), torch.tensor(indices), indexing="ij")
            matrix[block] = raise_power(shrink(covariance[block], shrinkage), -0.5)
    return matrix


def recolour(own: ChannelMap, known: ChannelMap, *, shrinkage: float) -> ChannelMap:
    """From signals of covariance `own` to signals of covariance `known`: whitening, then colouring, no labels."""
    return raise_power(shrink(known, shrinkage), 0.5) @ raise_power(shrink(own, shrinkage), -0.5)
