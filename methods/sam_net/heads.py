"""Heads: from HRT's features to text embeddings E and video latents L ("we project features to dimensions for
downstream tasks", §3.1).

Where the paper leaves a choice:

- A full linear layer from the features to 77×768 numbers would hold more than all the rest of the network. The
  projection here is of low rank: directions found in the training targets are its fixed outer factor, the inner factor
  is learned. For a squared error the part of a target outside these directions is a constant, so the loss is the one of
  the full space.
- Most of the variance of a caption's embedding is about everything but the object (four fifths in the mini suite:
  words shift, and with them all later tokens), and a regression from few trials spends itself on it. So E is
  regressed in two blocks, the mean embedding of the caption's concept and the caption's deviation from it. Their sum is
  E; `group_share` weighs the first block in the loss. The concepts are the training set's own labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.toolbox.columns import Targets, find_vectors, walk_columns
from methods.sam_net.hrt import HybridRegionTemporalEncoder, PlainEncoder
from methods.sam_net.views import Views


class LowRankHead(nn.Module):
    """`target = mean + coefficients @ basis`: the coefficients are predicted, mean and basis come from the targets.

    Each row of `basis` is a principal direction, as long as the targets' deviation along it: coefficients have unit
    variance over the training clips. The first `group_rank` rows span the means of groups of targets, the others the
    deviations from these means; with no groups there is one mean.
    """

    mean: Tensor  # (P,)
    basis: Tensor  # (R, P)
    weights: Tensor  # (R,): share of the squared error of each coefficient in the loss; sums to 1

    def __init__(self, features: int, shape: Sequence[int], *, rank: int, group_rank: int = 0) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.group_rank = group_rank
        size = torch.Size(self.shape).numel()
        self.predict = nn.Linear(features, group_rank + rank)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.zeros(group_rank + rank, size))
        self.register_buffer("weights", torch.zeros(group_rank + rank))

    def forward(self, features: Float[Tensor, "trial query width"]) -> Float[Tensor, "trial rank"]:
        return self.predict(features.flatten(1))

    def learn_basis(
        self,
        targets: Targets,
        groups: Int64[Tensor, " clip"] | None = None,
        *,
        caption: Int64[Tensor, " clip"] | None = None,
        group_share: float | None = None,
    ) -> Float[Tensor, "clip rank"]:
        """Take mean, basis and weights from the targets of the training clips, and return their coefficients.

        The targets stay where they are: some numbers of all clips are on the device at a time (`walk_columns`, which
        `caption` is for). The weights make the loss that of the full targets as a share of their variance, but for the
        constant outside the basis. `group_share` gives the means of the groups that share of it, whatever their share
        of variance.
        """
        clips, device = len(targets if caption is None else caption), self.basis.device
        ranks = [rank for rank in (self.group_rank, len(self.basis) - self.group_rank) if rank]
        groups = None if groups is None else groups.to(device)

        def walk() -> Iterator[tuple[slice, Float[Tensor, " number"], list[Float[Tensor, "clip number"]]]]:
            """Each part's numbers, their mean, and the deviations of groups from it and of clips from their groups."""
            for columns, some in walk_columns(targets, caption):
                flat = some.to(device).double()
                mean = flat.mean(dim=0)
                means = mean.expand_as(flat) if groups is None else group_means(flat, groups)
                yield columns, mean, [means - mean, flat - means] if self.group_rank else [flat - means]

        products = [torch.zeros(clips, clips, dtype=torch.float64, device=device) for _ in ranks]
        for _, _, deviations in walk():
            for total, one in zip(products, deviations, strict=True):
                total += one @ one.T
        vectors = [find_vectors(products.pop(0), rank)[1] for rank in ranks]
        mean, basis = self.mean.double().zero_(), self.basis.double().zero_()
        for columns, some, deviations in walk():
            mean[columns] = some
            basis[:, columns] = torch.cat(
                [own.T @ one / clips**0.5 for own, one in zip(vectors, deviations, strict=True)]
            )
        weights = basis.square().sum(dim=1)
        if group_share is not None:
            shares = (group_share, 1.0 - group_share)[-len(ranks) :]
            parts = zip(shares, weights.split(ranks), strict=True)
            weights = torch.cat([share * part / part.sum().clamp_min(1e-12) for share, part in parts])
        self.mean.copy_(mean)
        self.basis.copy_(basis)
        self.weights.copy_(weights / weights.sum().clamp_min(1e-12))
        return (torch.cat(vectors, dim=1) * clips**0.5).to(self.basis)

    def expand(self, coefficients: Float[Tensor, "trial rank"]) -> Float[Tensor, trial * target]:
        return (self.mean + coefficients @ self.basis).unflatten(1, self.shape)


def group_means(flat: Float[Tensor, "clip size"], groups: Int64[Tensor, " clip"]) -> Float[Tensor, "clip size"]:
    """For each clip, the mean of its group."""
    _, index, count = groups.unique(return_inverse=True, return_counts=True)
    total = flat.new_zeros(len(count), flat.shape[1]).index_add_(0, index, flat)
    return (total / count[:, None])[index]


class Decoder(nn.Module):
    """Encoders with their heads: what is trained on known subjects and frozen for new ones.

    `encoder` gives E and `visual` gives L (Figure 2b); without `visual` one encoder gives both.
    """

    def __init__(
        self,
        encoder: HybridRegionTemporalEncoder | PlainEncoder,
        visual: HybridRegionTemporalEncoder | PlainEncoder | None,
        *,
        features: int,
        text_shape: Sequence[int],
        latent_shape: Sequence[int],
        text_rank: int,
        latent_rank: int,
        concepts: int,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.visual = visual
        self.text = LowRankHead(features, text_shape, rank=text_rank, group_rank=concepts)
        self.latents = LowRankHead(features, latent_shape, rank=latent_rank)

    def forward(
        self, views: Views
    ) -> tuple[list[Float[Tensor, "trial query width"]], Float[Tensor, "trial rank"], Float[Tensor, "trial rank"]]:
        """Features of each encoder, and the coefficients of E and of L."""
        features = [self.encoder(views)]
        if self.visual is not None:
            features.append(self.visual(views))
        return features, self.text(features[0]), self.latents(features[-1])

    @property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def measure_error(
    head: LowRankHead, predicted: Float[Tensor, "trial rank"], true: Float[Tensor, "trial rank"]
) -> Float[Tensor, ""]:
    """MSE of the full targets as a share of their variance (up to the constant outside the basis): 1 for a constant
    guess at the mean, 0 for perfection."""
    return ((predicted - true).square() * head.weights).sum(dim=1).mean()
