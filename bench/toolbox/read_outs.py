"""Read-outs: what stands between the text that a method reads from a brain and the generator that is conditioned on it.

| read-out          | the generator gets                                             |
|-------------------|----------------------------------------------------------------|
| `regressed`       | what was read, as it is                                        |
| `nearest_caption` | the tokens of the training caption that lies nearest           |
| `nearest_concept` | the mean tokens of the training concept that lies nearest      |

`nearest_concept` is the default of every method. **Clips without labels**, as those of films (all of one concept), have
each caption for a concept of its own: `nearest_concept` is then `nearest_caption`.

A squared error's minimiser is the mean over all that a trial may have been, and a generator that was trained on
captions' own tokens makes mush of such a mean; so a read-out is worth as much as many an encoder, and belongs to none
of them. Any method whose reading is text tokens can be run with each of the three.

Nearness is the cosine over all tokens, whitened over the training clips with a ridge: most of what captions differ by
is not what they are about, and whitening gives every direction its say. A reading that has shrunk towards the mean
along directions that the brain does not tell keeps little weight there; along directions in which captions hardly
differ, the ridge keeps a reading's noise small. (Over the mean token alone concepts are told apart less well: on a
development phantom, `phantom_eeg:small` with seed 101, validation block, 720 trials, .256 against .294 of SAM-Net's
readings, and .126 against .172 of those of a ridge to the tokens.)

    captions = learn_captions(suite.encode_text(list(train.captions)), torch.from_numpy(train.concepts))
    suite.generate_video(read_out(tokens, captions, parameters.read_out), brain.seed)

Such a method has the parameter `read_out`, the registry says what it `reads` (`bench.core.built_in`), and so it has the
group `readouts` of variants (`bench.core.variants`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut

READ_OUTS: tuple[str, ...] = get_args(ReadOut)
RANK = 64  # coordinates at most: of several hundred clips, further directions are noise
FLOOR = 1e-6  # of the greatest deviation, below which a direction is none
RIDGE = 0.1  # of the mean variance of the directions that there are, added to each before it is whitened


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The training clips' captions as a read-out sees them, a row a clip; all tensors off the device."""

    tokens: Float[Tensor, "clip token width"]
    coordinates: Float[Tensor, "clip rank"]  # of unit deviation, and uncorrelated over the clips
    concept_tokens: Float[Tensor, "concept token width"]  # means over the clips of each concept
    clip_weights: Float[Tensor, "clip clip"]  # see `find_nearest`; a column a candidate
    concept_weights: Float[Tensor, "clip concept"]
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

    Where all clips are of one concept, which tells nothing, each is one of its own. Raises BenchError where all
    captions are alike.
    """
    tokens = tokens.detach().float().cpu()
    mean = tokens.mean(dim=0)
    words = (tokens - mean).mean(dim=1).double()
    _, spread, directions = torch.linalg.svd(words, full_matrices=False)
    kept = min(rank, int((spread > FLOOR * spread[0]).sum())) if spread[0] > FLOOR else 0
    if not kept:
        raise BenchError(f"the captions of all {len(tokens)} training clips are alike, so they tell nothing apart")
    directions = directions[:kept] * torch.where(directions[:kept].sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    axes = (directions / spread[:kept, None]).T * len(words) ** 0.5
    coordinates = words @ axes
    centred = (tokens - mean).flatten(1)
    slopes = (coordinates.T.float() @ centred / len(words)).unflatten(1, mean.shape)
    kinds, index = concepts.cpu().unique(return_inverse=True)
    if len(kinds) == 1:
        index = torch.arange(len(tokens))
    member = functional.one_hot(index).double()
    member = member / member.sum(dim=0)  # (clip, concept)
    return Captions(
        tokens=tokens,
        coordinates=coordinates.float(),
        concept_tokens=torch.tensordot(member.T.float(), tokens, dims=1),
        clip_weights=weigh_candidates(centred @ centred.T, torch.eye(len(tokens))),
        concept_weights=weigh_candidates(centred @ centred.T, member),
        mean=mean,
        axes=axes.float(),
        slopes=slopes,
    )


def weigh_candidates(
    products: Float[Tensor, "clip clip"], candidates: Float[Tensor, "clip candidate"]
) -> Float[Tensor, "clip candidate"]:
    """For each candidate, a mixture of clips, the clips' weights in `find_nearest`.

    With the centred tokens X (clip, number), whose inner products are given, and their covariance S = XᵀX / n, a
    reading y has with the candidate c = Xᵀa the inner product y (S + λ)⁻¹ c = y Xᵀ (XXᵀ / n + λ)⁻¹ a, whatever the
    number of tokens; it is divided by the length of c.
    """
    products, candidates = products.double() / len(products), candidates.double()
    variances = torch.linalg.eigvalsh(products)
    ridge = RIDGE * variances[variances > FLOOR**2 * variances[-1]].mean()
    weights = torch.linalg.solve(products + ridge * torch.eye(len(products)), candidates)
    lengths = (candidates * (products @ weights)).sum(dim=0).clamp_min(1e-12).sqrt()
    return (weights / lengths).float()


def read_out(
    tokens: Float[Tensor, "n token width"], captions: Captions, how: ReadOut
) -> Float[Tensor, "n token width"]:
    """The tokens that a generator is given in place of those that were read, on the device of these.

    Raises BenchError for a read-out that does not exist.
    """
    if how == "regressed":
        return tokens
    read = captions.tokens if how == "nearest_caption" else captions.concept_tokens
    return read[find_nearest(tokens, captions, how)].to(tokens.device)


def find_nearest(tokens: Float[Tensor, "n token width"], captions: Captions, how: ReadOut) -> Int64[Tensor, " n"]:
    """Which training clip (`nearest_caption`) or concept, in the order of its label, has the greatest likeness with
    each reading; the first of several that are equally near. Raises BenchError for a read-out that does not choose."""
    weights = {"nearest_caption": captions.clip_weights, "nearest_concept": captions.concept_weights}
    if how not in weights:
        raise BenchError(f"unknown read-out {how!r}; there are {', '.join(READ_OUTS)}")
    read = (tokens.to(captions.mean) - captions.mean).flatten(1)
    products = read @ captions.tokens.flatten(1).T - (read @ captions.mean.flatten())[:, None]  # with centred tokens
    return (products @ weights[how]).argmax(dim=1)
