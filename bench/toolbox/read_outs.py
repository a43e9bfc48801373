"""Read-outs: what stands between the text that a method reads from a brain and the generator that is conditioned on it.

| read-out          | the generator gets                                             |
|-------------------|----------------------------------------------------------------|
| `regressed`       | what was read, as it is                                        |
| `nearest_caption` | the tokens of the training caption that lies nearest           |
| `nearest_concept` | the mean tokens of the training concept that lies nearest      |

A squared error's minimiser is the mean over all that a trial may have been, and a generator that was trained on
captions' own tokens makes mush of such a mean; so a read-out is worth as much as many an encoder, and belongs to none
of them. Any method whose reading is text tokens can be run with each of the three.

Nearness is the cosine in whitened coordinates of the *words* (the mean over a caption's tokens, the space "words" of
`bench.core.contracts.Embedder`): most of what captions differ by is not what they are about, and whitening gives every
direction its say. A reading that has shrunk towards the mean along directions that the brain does not tell keeps little
weight there.

    captions = learn_captions(suite.encode_text(list(train.captions)), torch.from_numpy(train.concepts))
    suite.generate_video(read_out(tokens, captions, "nearest_concept"), brain.seed)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from bench.core.errors import BenchError

ReadOut = Literal["regressed", "nearest_caption", "nearest_concept"]
READ_OUTS: tuple[str, ...] = get_args(ReadOut)
RANK = 64  # coordinates at most: of several hundred clips, further directions are noise
FLOOR = 1e-6  # of the greatest deviation, below which a direction is none


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The training clips' captions as a read-out sees them, a row a clip; all tensors off the device."""

    tokens: Float[Tensor, "clip token width"]
    coordinates: Float[Tensor, "clip rank"]  # of unit deviation, and uncorrelated over the clips
    concept_tokens: Float[Tensor, "concept token width"]  # means over the clips of each concept
    concept_coordinates: Float[Tensor, "concept rank"]
    mean: Float[Tensor, "token width"]
    axes: Float[Tensor, "width rank"]  # (words − mean words) @ axes are coordinates
    slopes: Float[Tensor, "rank token width"]  # of the tokens on the coordinates, by least squares

    def place(self, tokens: Float[Tensor, "n token width"]) -> Float[Tensor, "n rank"]:
        """The coordinates of some tokens."""
        return (tokens.to(self.mean) - self.mean).mean(dim=1) @ self.axes

    def expand(self, coordinates: Float[Tensor, "n rank"]) -> Float[Tensor, "n token width"]:
        """The tokens that captions of these coordinates have on average; `place` gives the coordinates back."""
        return self.mean + torch.tensordot(coordinates.to(self.mean), self.slopes, dims=1)

    def aim(self, coordinates: Float[Tensor, "n rank"]) -> Float[Tensor, "n width"]:
        """Vectors in the space "words" whose inner product with a caption's own, up to a constant that is the same for
        all captions, is that of the coordinates: what an `Embedder` returns to be compared as read-outs compare."""
        return coordinates.to(self.axes) @ self.axes.T


def learn_captions(
    tokens: Float[Tensor, "clip token width"], concepts: Int64[Tensor, " clip"], *, rank: int = RANK
) -> Captions:
    """Coordinates and means from the captions of training clips, whose concepts are numbers of any kind.

    Raises BenchError where all captions are alike.
    """
    tokens = tokens.float().cpu()
    mean = tokens.mean(dim=0)
    words = (tokens - mean).mean(dim=1).double()
    _, spread, directions = torch.linalg.svd(words, full_matrices=False)
    kept = min(rank, int((spread > FLOOR * spread[0]).sum())) if spread[0] > FLOOR else 0
    if not kept:
        raise BenchError(f"the captions of all {len(tokens)} training clips are alike, so they tell nothing apart")
    directions = directions[:kept] * torch.where(directions[:kept].sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    axes = (directions / spread[:kept, None]).T * len(words) ** 0.5
    coordinates = words @ axes
    slopes = torch.tensordot(coordinates.T.float(), tokens - mean, dims=1) / len(words)
    _, index = concepts.cpu().unique(return_inverse=True)
    member = functional.one_hot(index).double()
    member = member / member.sum(dim=0)  # (clip, concept)
    return Captions(
        tokens=tokens,
        coordinates=coordinates.float(),
        concept_tokens=torch.tensordot(member.T.float(), tokens, dims=1),
        concept_coordinates=(member.T @ coordinates).float(),
        mean=mean,
        axes=axes.float(),
        slopes=slopes,
    )


def read_out(
    tokens: Float[Tensor, "n token width"], captions: Captions, how: ReadOut
) -> Float[Tensor, "n token width"]:
    """The tokens that a generator is given in place of those that were read.

    Raises BenchError for a read-out that does not exist, and for concepts where the clips carry no labels.
    """
    if how == "regressed":
        return tokens
    if how == "nearest_caption":
        return captions.tokens[find_nearest(captions.place(tokens), captions.coordinates)]
    if how == "nearest_concept":
        if len(captions.concept_tokens) == 1:
            raise BenchError("the training clips have one concept only, as clips without labels do; read captions out")
        return captions.concept_tokens[find_nearest(captions.place(tokens), captions.concept_coordinates)]
    raise BenchError(f"unknown read-out {how!r}; there are {', '.join(READ_OUTS)}")


def find_nearest(
    coordinates: Float[Tensor, "n rank"], candidates: Float[Tensor, "candidate rank"]
) -> Int64[Tensor, " n"]:
    """Which candidate has the greatest cosine with each; the first of several that are equally near."""
    return (coordinates @ functional.normalize(candidates, dim=1).T).argmax(dim=1)
