"""The semantic predictor: band powers to the text embedding that guides the generator (EEG2Video §4.4).

An MLP with ReLU and a squared error on all tokens of the text encoder. The released trainer gives all five clips of a
concept the caption of the first, and the order of block 1 to all blocks, so that most concepts in blocks 2 to 6 get
another concept's text; here each clip has its own caption (`targets="clip"`) or the mean embedding of its concept's
captions (`"concept"`), which is what the authors advise (their repository, issue 17).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.rows import collect


class SemanticPredictor(nn.Module):
    """Features to text tokens: `layers` hidden layers of `hidden` numbers."""

    def __init__(
        self, features: int, text_shape: Sequence[int], *, hidden: int, layers: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.text_shape = tuple(text_shape)
        widths = [features] + [hidden] * layers
        parts: list[nn.Module] = []
        for width, following in pairwise(widths):
            parts += [nn.Linear(width, following), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*parts)
        self.read = nn.Linear(hidden, math.prod(self.text_shape))

    def start_at(self, mean: Float[Tensor, "token d"]) -> None:
        """Begin as a model that knows the mean text and nothing else."""
        with torch.no_grad():
            self.read.bias.copy_(mean.flatten())

    def forward(self, features: Float[Tensor, "trial feature"]) -> Float[Tensor, "trial token d"]:
        return self.read(self.hidden(features)).unflatten(1, self.text_shape)


def average_concepts(
    text: CaptionTokens, caption: Int64[Tensor, " clip"], concepts: Int64[Tensor, " clip"]
) -> tuple[CaptionTokens, Int64[Tensor, " clip"]]:
    """The mean text of each concept's clips, and which of these each clip has."""
    kinds, concept = concepts.unique(return_inverse=True)
    means = (text.average(caption[concept == one])[None].numpy() for one in range(len(kinds)))
    return CaptionTokens(torch.from_numpy(collect(means, len(kinds))), text.tokens), concept
