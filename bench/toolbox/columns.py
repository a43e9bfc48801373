"""What must see every clip sees some numbers of all of them at a time: means, inner products, principal directions.

The tokens and latents of several thousand clips are gigabytes that lie in a file (`bench.toolbox.encoded`). A batch is
taken of them by rows. A mean over clips, or a direction in which clips differ, needs all rows, yet of each row no more
than some numbers at once; so it is computed from columns, of which `walk_columns` brings `bench.toolbox.rows.PART`
bytes at a time. A small set comes in one part, and nothing is computed otherwise than at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor
from torch.nn import functional

from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.rows import fit_part

FLOOR = 1e-9  # of the greatest variance, below which a direction is none

Targets = CaptionTokens | Float[Tensor, "clip ..."]


def walk_columns(
    targets: Targets, caption: Int64[Tensor, " clip"] | None = None
) -> Iterator[tuple[slice, Float[Tensor, "clip number"]]]:
    """Which numbers of a flattened target, and these numbers of all clips: a part after the other, where they lie.

    `caption` says which row of `targets` each clip has, where several have one; tokens need it. Numbers behind the
    longest caption, where all is zero, are left out.
    """
    if isinstance(targets, CaptionTokens):
        assert caption is not None, "say which caption each clip has"
        width = targets.shape[2]
        for places, numbers, some in targets.walk_places(caption):
            start = places.start * width + numbers.start
            yield slice(start, start + some[0].numel()), some.flatten(1)
        return
    flat = targets.flatten(1)
    flat = flat if caption is None else flat[caption]
    step = fit_part(len(flat), flat.element_size())
    for start in range(0, flat.shape[1], step):
        yield slice(start, min(start + step, flat.shape[1])), flat[:, start : start + step]


def find_vectors(
    products: Float64[Tensor, "clip clip"], rank: int
) -> tuple[Float64[Tensor, " rank"], Float64[Tensor, "clip rank"]]:
    """Eigenvalues of centred targets' inner products and their vectors of unit length, the greatest first.

    With the centred targets X (clip, number), a vector u and its value λ, uᵀX / √λ is a principal direction, λ / n the
    variance along it. Directions that the clips do not span have zeros for a vector. A vector's sum is not negative:
    eigenvectors have no sign of their own.
    """
    values, vectors = torch.linalg.eigh(products)  # ascending
    values, vectors = values.flip(0)[:rank], vectors.flip(1)[:, :rank]
    vectors = vectors * torch.where(vectors.sum(dim=0) < 0, -1.0, 1.0)
    spanned = values > FLOOR * values[:1].clamp_min(1e-12)
    missing = rank - len(values)
    return functional.pad(values, (0, missing)), functional.pad(vectors * spanned, (0, missing))


def measure_spread(targets: Float[Tensor, "clip ..."], mean: Float[Tensor, " ..."]) -> Float[Tensor, ""]:
    """The mean squared distance of all clips' numbers from the mean, which may be one for several of them."""
    parts = targets.split(fit_part(targets[0].numel(), targets.element_size()))
    return torch.stack([(part - mean).square().mean() * (len(part) / len(targets)) for part in parts]).sum()
