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

    tokens, caption = encode_captions(suite, train.captions), number_captions(train.captions)[1]
    captions = learn_captions(tokens, torch.from_numpy(train.concepts), caption)
    suite.generate_video(read_out(tokens, captions, parameters.read_out), brain.seed)

Nothing here is as large as the tokens of all clips, which may be tens of gigabytes: they stay where they were encoded
to (`bench.toolbox.encoded.CaptionTokens`), each caption once, and are read some at a time.

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
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.parameters import ReadOut
from bench.toolbox.rows import fit_part

READ_OUTS: tuple[str, ...] = get_args(ReadOut)
RANK = 64  # coordinates at most: of several hundred clips, further directions are noise
FLOOR = 1e-6  # of the greatest deviation, below which a direction is none
RIDGE = 0.1  # of the mean variance of the directions that there are, added to each before it is whitened


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The training clips' captions as a read-out sees them; all tensors off the device."""

    tokens: CaptionTokens  # of the different captions
    caption: Int64[Tensor, " clip"]  # row of `tokens`
    concept: Int64[Tensor, " clip"]  # from 0, in the order of the labels
    coordinates: Float[Tensor, "clip rank"]  # of unit deviation, and uncorrelated over the clips
    clip_weights: Float[Tensor, "clip clip"]  # see `find_nearest`; a column a candidate
    concept_weights: Float[Tensor, "clip concept"]
    mean: Float[Tensor, "token width"]
    axes: Float[Tensor, "width rank"]  # (words − mean words) @ axes are coordinates
    slopes: Float[Tensor, "rank used width"]  # of the tokens on the coordinates, by least squares; zero further behind

    def place(self, tokens: Float[Tensor, "n token width"]) -> Float[Tensor, "n rank"]:
        """The coordinates of some tokens."""
        return (tokens.to(self.mean) - self.mean).mean(dim=1) @ self.axes

    def expand(self, coordinates: Float[Tensor, "n rank"]) -> Float[Tensor, "n token width"]:
        """The tokens that captions of these coordinates have on average; `place` gives the coordinates back."""
        made = torch.tensordot(coordinates.to(self.mean), self.slopes, dims=1)
        return self.mean + functional.pad(made, (0, 0, 0, len(self.mean) - made.shape[1]))

    def average(self, concepts: Int64[Tensor, " n"]) -> Float[Tensor, "n token width"]:
        """The mean tokens of the clips of these concepts."""
        made = self.mean.new_empty(len(concepts), *self.mean.shape)
        for one in concepts.unique():
            made[concepts == one] = self.tokens.average(self.caption[self.concept == one])
        return made

    def place_concepts(self) -> Float[Tensor, "concept rank"]:
        """The coordinates of the mean tokens of each concept, in the order of their labels."""
        member = functional.one_hot(self.concept).to(self.coordinates)
        return (member / member.sum(dim=0)).T @ self.coordinates

    def aim(self, coordinates: Float[Tensor, "n rank"]) -> Float[Tensor, "n width"]:
        """Vectors in the space "words" whose inner product with a caption's own, up to a constant that is the same for
        all captions, is that of the coordinates: what an `Embedder` returns to be compared as read-outs compare."""
        return coordinates.to(self.axes) @ self.axes.T


def learn_captions(
    tokens: CaptionTokens | Float[Tensor, "caption token width"],
    concepts: Int64[Tensor, " clip"],
    caption: Int64[Tensor, " clip"] | None = None,
    *,
    rank: int = RANK,
) -> Captions:
    """Coordinates and means from the captions of training clips, whose concepts are numbers of any kind.

    `caption` says which caption each clip has (None: each its own, in order). Where all clips are of one concept, which
    tells nothing, each is one of its own. Raises BenchError where all captions are alike.
    """
    used, long = (tokens, tokens.shape[1]) if isinstance(tokens, Tensor) else (tokens.used, tokens.tokens)
    tokens = CaptionTokens(used.detach().float().cpu(), long)
    caption = torch.arange(len(tokens)) if caption is None else caption.cpu()
    clips, (_, length, width) = len(caption), tokens.shape
    mean = tokens.average(caption)
    sums, products = torch.zeros(clips, width), torch.zeros(clips, clips)  # of the centred tokens
    for places, numbers, some in tokens.walk_places(caption):
        centred = some - mean[places, numbers]
        sums[:, numbers] += centred.sum(dim=1)
        products += centred.flatten(1) @ centred.flatten(1).T
    words = (sums / length).double()
    _, spread, directions = torch.linalg.svd(words, full_matrices=False)
    kept = min(rank, int((spread > FLOOR * spread[0]).sum())) if spread[0] > FLOOR else 0
    if not kept:
        raise BenchError(f"the captions of all {clips} training clips are alike, so they tell nothing apart")
    directions = directions[:kept] * torch.where(directions[:kept].sum(dim=1, keepdim=True) < 0, -1.0, 1.0)
    axes = (directions / spread[:kept, None]).T * len(words) ** 0.5
    coordinates = words @ axes
    slopes = torch.zeros(kept, *tokens.used.shape[1:])
    for places, numbers, some in tokens.walk_places(caption):
        slope = coordinates.T.float() @ (some - mean[places, numbers]).flatten(1) / clips
        slope = slope.unflatten(1, some.shape[1:])
        slopes[:, places, numbers] = slope[:, : slopes[:, places].shape[1]]
    clip_weights = weigh_candidates(products, torch.eye(clips))
    kinds, concept = concepts.cpu().unique(return_inverse=True)
    if len(kinds) == 1:
        concept, concept_weights = torch.arange(clips), clip_weights
    else:
        member = functional.one_hot(concept).double()
        concept_weights = weigh_candidates(products, member / member.sum(dim=0))
    return Captions(
        tokens=tokens,
        caption=caption,
        concept=concept,
        coordinates=coordinates.float(),
        clip_weights=clip_weights,
        concept_weights=concept_weights,
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
    nearest = find_nearest(tokens, captions, how)
    if how == "nearest_caption":
        return captions.tokens[captions.caption[nearest]].to(tokens.device)
    return captions.average(nearest).to(tokens.device)


def find_nearest(tokens: Float[Tensor, "n token width"], captions: Captions, how: ReadOut) -> Int64[Tensor, " n"]:
    """Which training clip (`nearest_caption`) or concept, in the order of its label, has the greatest likeness with
    each reading; the first of several that are equally near. Raises BenchError for a read-out that does not choose."""
    weights = {"nearest_caption": captions.clip_weights, "nearest_concept": captions.concept_weights}
    if how not in weights:
        raise BenchError(f"unknown read-out {how!r}; there are {', '.join(READ_OUTS)}")
    used = captions.tokens.used
    mean = captions.mean[: used.shape[1]]  # behind the longest caption nothing has a product
    found = []
    at_once = fit_part(mean.numel(), mean.element_size())
    for part in tokens.split(at_once):
        read = (part[:, : len(mean)].to(mean) - mean).flatten(1)
        made = [read @ some.flatten(1).T for some in used.split(at_once)]
        products = torch.cat(made, dim=1) - (read @ mean.flatten())[:, None]  # with centred tokens
        found.append((products[:, captions.caption] @ weights[how]).argmax(dim=1))
    return torch.cat(found)
