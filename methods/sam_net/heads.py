"""Heads: from HRT's features to text embeddings E and video latents L, as low-rank linear maps (why: `hrt.py`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from methods.sam_net.hrt import HybridRegionTemporalEncoder, PlainEncoder


class LowRankHead(nn.Module):
    """`target = mean + coefficients @ basis`: the coefficients are predicted, mean and basis come from the targets.

    Each row of `basis` is a principal direction, as long as the targets' deviation along it: coefficients have unit
    variance over the training clips.
    """

    mean: Tensor  # (P,)
    basis: Tensor  # (R, P)

    def __init__(self, features: int, shape: Sequence[int], *, rank: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        size = torch.Size(self.shape).numel()
        self.predict = nn.Linear(features, rank)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(rank, size))

    def forward(self, features: Float[Tensor, "trial query width"]) -> Float[Tensor, "trial rank"]:
        return self.predict(features.flatten(1))

    def set_basis(self, targets: Float[Tensor, clip * shape]) -> None:
        """Principal directions of the targets of the training clips, by the clips' Gram matrix."""
        flat = targets.flatten(1).double()  # (n, P)
        mean = flat.mean(dim=0)
        centred = flat - mean
        vectors = torch.linalg.eigh(centred @ centred.T).eigenvectors  # ascending
        rank = min(len(self.basis), len(flat) - 1)
        chosen = vectors[:, -rank:].flip(1)  # (n, R)
        chosen = chosen * torch.where(chosen.sum(dim=0) < 0, -1.0, 1.0)  # eigenvectors have no sign of their own
        self.mean.copy_(mean)
        self.basis.zero_()
        self.basis[:rank] = (chosen.T @ centred / len(flat) ** 0.5).to(self.basis)

    def project(self, targets: Float[Tensor, clip * shape]) -> Float[Tensor, "clip rank"]:
        """Coefficients of targets: the least-squares solution, exact for targets within the basis."""
        power = self.basis.square().sum(dim=1).clamp_min(1e-12)  # rows are orthogonal
        return (targets.flatten(1).to(self.mean) - self.mean) @ self.basis.T / power

    @property
    def weights(self) -> Float[Tensor, " rank"]:
        """Share of the targets' variance along each direction: weights that make a squared error of coefficients
        that of the full targets, in units of the targets' variance."""
        power = self.basis.square().sum(dim=1)
        return power / power.sum().clamp_min(1e-12)

    def expand(self, coefficients: Float[Tensor, "trial rank"]) -> Float[Tensor, trial * shape]:
        return (self.mean + coefficients @ self.basis).unflatten(1, self.shape)


class Decoder(nn.Module):
    """An encoder with both heads: what is trained on known subjects and frozen for new ones."""

    def __init__(
        self,
        encoder: HybridRegionTemporalEncoder | PlainEncoder,
        *,
        features: int,
        text_shape: Sequence[int],
        latent_shape: Sequence[int],
        text_rank: int,
        latent_rank: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.text = LowRankHead(features, text_shape, rank=text_rank)
        self.latents = LowRankHead(features, latent_shape, rank=latent_rank)

    def forward(
        self, signals: Float[Tensor, "trial channel time"]
    ) -> tuple[Float[Tensor, "trial query width"], Float[Tensor, "trial rank"], Float[Tensor, "trial rank"]]:
        """Features, and the coefficients of E and of L."""
        features = self.encoder(signals)
        return features, self.text(features), self.latents(features)

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def measure_error(
    head: LowRankHead, predicted: Float[Tensor, "trial rank"], true: Float[Tensor, "trial rank"]
) -> Float[Tensor, ""]:
    """MSE of the full targets as a share of their variance (up to the constant outside the basis): 1 for a constant
    guess at the mean, 0 for perfection."""
    return ((predicted - true).square() * head.weights).sum(dim=1).mean()


def relative_variance(head: LowRankHead, coefficients: Float[Tensor, "trial rank"]) -> float:
    """Variance of predictions over trials, as a share of the training targets' variance."""
    centred = coefficients - coefficients.mean(dim=0)
    return float((centred.square().mean(dim=0) * head.weights).sum())
