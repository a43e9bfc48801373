"""The first regression layer, solved (§3.1): ridge regression from a subject's voxels to what its clips are.

The layer has tokens × channels numbers. A quarter of them each is for the clip's caption, its pictures, its action and
its categories (with four tokens: a token each), so f^e begins as what a linear reader makes of all of them, and f^c as
the mean of what it says of caption and pictures. A subject's strengths, one for each quarter, are those with the least
squared error on clips that were left out, a fifth at a time in order of presentation.

All that is trained behind the layer (transformer, heads, router, fusion, LoRA) sees of a training trial the numbers
that a layer solved *without that fifth* gives. A layer reads the trials that it was solved with far better than others:
what learns from such numbers learns to trust what will be wrong.

The layer is one matrix for all volumes of a trial: it is solved on their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bench.toolbox.voxels import TokenLayer
from methods.cine_neuron.targets import Targets

STRENGTHS = tuple(10.0 ** (half / 2) for half in range(4, 11))  # 100 to 10⁵
PARTS = 5  # of the clips
CHUNK = 256  # trials read at once
KINDS = 4  # text, image, action, categories


@dataclass(frozen=True)
class Aims:
    """What the layer is solved for: mean and axes, [width, rank], of each kind of target; None of one not learned."""

    axes: tuple[tuple[Tensor, Tensor] | None, ...]
    quarter: int
    numbers: int

    def describe(self, targets: Targets) -> Float[Tensor, "clip number"]:
        """The numbers of each clip: of unit deviation on average, zero where a kind is not learned."""
        made = targets.text.new_zeros(len(targets.text), self.numbers)
        for place, (kind, values) in enumerate(zip(self.axes, gather(targets), strict=True)):
            if kind is not None:
                made[:, place * self.quarter :][:, : kind[1].shape[1]] = (values - kind[0]) @ kind[1]
        return made

    @property
    def slices(self) -> list[slice]:
        """The numbers of each kind that is learned."""
        starts = range(0, KINDS * self.quarter, self.quarter)
        return [
            slice(at, at + kind[1].shape[1]) for at, kind in zip(starts, self.axes, strict=True) if kind is not None
        ]

    def read_out(self) -> Float[Tensor, "number embedding"]:
        """Weights that make f^c of the numbers: the mean of what they say of the caption and of the pictures."""
        text, image = self.axes[:2]
        assert text is not None and image is not None
        weights = text[1].new_zeros(self.numbers, len(text[1]))
        for place, (_, axes) in enumerate((text, image)):
            weights[place * self.quarter :][: axes.shape[1]] = torch.linalg.pinv(axes) / 2
        return weights


def gather(targets: Targets) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return targets.text, targets.frames.mean(dim=1), targets.action, targets.labels


def learn_aims(targets: Targets, numbers: int, *, actions: bool = True) -> Aims:
    """Aims for a layer of so many numbers; kinds wider than a quarter of them keep their principal components."""
    quarter = numbers // KINDS
    axes: list[tuple[Tensor, Tensor] | None] = []
    for place, values in enumerate(gather(targets)):
        centred = values - values.mean(dim=0)
        total = centred.square().sum(dim=1).mean().sqrt()
        if not values.shape[1] or total < 1e-6 or (place == 2 and not actions):
            axes.append(None)
            continue
        width = values.shape[1]
        kept = torch.eye(width).to(values)
        if width > quarter:  # the caption's axes for the pictures too: they lie in one space
            kept = axes[0][1] if place == 1 and axes[0] is not None else find_axes(centred, quarter)
            kept = kept / kept.norm(dim=0)
        axes.append((values.mean(dim=0), kept * (kept.shape[1] ** 0.5 / total)))
    return Aims(tuple(axes), quarter, numbers)


def find_axes(centred: Float[Tensor, "clip width"], rank: int) -> Float[Tensor, "width rank"]:
    return torch.linalg.svd(centred.double(), full_matrices=False)[2][:rank].T.to(centred)


@dataclass(frozen=True)
class Solved:
    """A subject's layer, and for each part of the clips the layer that was solved without it."""

    weights: Float[Tensor, "voxel number"]
    offset: Float[Tensor, " number"]
    unseen: list[tuple[Int64[np.ndarray, " row"], Tensor, Tensor]]  # rows, weights, offset


def solve_layer(
    x: Float[Tensor, "trial voxel"],
    y: Float[Tensor, "trial number"],
    clip: Int64[np.ndarray, " trial"],
    slices: Sequence[slice],
) -> Solved:
    """argmin |y − x w − b|² + strength |w|², at the strength that does best, in each slice, on clips left out."""
    _, order = np.unique(clip, return_inverse=True)
    part = order * PARTS // (int(order.max()) + 1)
    splits = [np.flatnonzero(part != one) for one in np.unique(part)] if part.max() > 0 else [np.arange(len(part))]
    ridges = [Ridge(x[rows], y[rows]) for rows in splits]
    rest = [np.setdiff1d(np.arange(len(part)), rows) for rows in splits]
    strength = torch.full((y.shape[1],), STRENGTHS[-1])
    errors = torch.zeros(len(STRENGTHS), y.shape[1])
    for ridge, rows in zip(ridges, rest, strict=True):
        along = ridge.look(x[rows])
        for place, one in enumerate(STRENGTHS):
            errors[place] += (ridge.predict(along, one) - y[rows]).square().sum(dim=0).cpu()
    for one in slices:
        strength[one] = STRENGTHS[int(errors[:, one].sum(dim=1).argmin())]
    weights, offset = Ridge(x, y).solve(strength)
    unseen = [(rows, *ridge.solve(strength)) for rows, ridge in zip(rest, ridges, strict=True)]
    return Solved(weights, offset, unseen)


class Ridge:
    """Ridge regression of any strength from one decomposition of the trials' inner products."""

    def __init__(self, x: Float[Tensor, "trial voxel"], y: Float[Tensor, "trial number"]) -> None:
        self.mean, self.height = x.mean(dim=0), y.mean(dim=0)
        centred = x - self.mean
        values, vectors = torch.linalg.eigh((centred @ centred.T).double())
        self.values = values.clamp(min=0).to(x)[:, None]
        self.along = vectors.T.to(x) @ (y - self.height)
        self.back = centred.T @ vectors.to(x)  # (voxel, trial)

    def solve(self, strength: Float[Tensor, " number"]) -> tuple[Tensor, Tensor]:
        """Weights and offset, at a strength for each number."""
        weights = self.back @ (self.along / (self.values + strength.to(self.values)))
        return weights, self.height - self.mean @ weights

    def look(self, x: Float[Tensor, "row voxel"]) -> Float[Tensor, "row trial"]:
        """Rows as `predict` takes them: what does not depend on the strength."""
        return (x - self.mean) @ self.back

    def predict(self, looked: Float[Tensor, "row trial"], strength: float) -> Float[Tensor, "row number"]:
        return looked @ (self.along / (self.values + strength)) + self.height


@torch.no_grad()
def solve_subject(
    layer: TokenLayer,
    read: Callable[[np.ndarray], tuple[Tensor, Tensor]],
    clip: Int64[np.ndarray, " trial"],
    described: Float[Tensor, "clip number"],
    slices: Sequence[slice],
) -> Float[Tensor, "trial token feature"]:
    """Set a subject's layer to the solution for its trials; returns what unseen layers say of them."""
    chunks = np.array_split(np.arange(len(clip)), -(-len(clip) // CHUNK))
    x = torch.cat([read(rows)[0][:, layer.columns].mean(dim=2) for rows in chunks])
    solved = solve_layer(x, described[torch.from_numpy(clip).to(described.device)], clip, slices)
    unseen: dict[int, Tensor] = {}
    for rows, weights, offset in solved.unseen:
        layer.set_weights(weights, offset)
        for some in np.array_split(rows, -(-len(rows) // CHUNK)) if len(rows) else []:
            unseen.update(zip(some.tolist(), layer(read(some)[0]), strict=True))
    layer.set_weights(solved.weights, solved.offset)
    if len(unseen) < len(clip):  # one clip alone: nothing is left out
        return torch.cat([layer(read(rows)[0]) for rows in chunks])
    return torch.stack([unseen[row] for row in range(len(clip))])
