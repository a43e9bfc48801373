"""GLMNet, EEG2Video's classifier (§4.2): a network for all electrodes and one for those over visual cortex.

This is the form for band powers, 491,176 parameters with 40 classes and 62 electrodes. Here it is the dynamic
predictor: does the clip move fast or slowly?
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.eeg2video.features import BANDS

VISUAL = ("PO", "O", "CB")  # how the names of the 12 electrodes over visual cortex begin


class GLMNet(nn.Module):
    """Global and local embedding of the band powers, and classes from both."""

    local: Tensor

    def __init__(
        self, channels: Sequence[str], classes: int, *, hidden: tuple[int, int] = (512, 256), embedding: int = 64
    ) -> None:
        super().__init__()
        bands = len(BANDS)
        places = find_visual(channels)
        local = [place * bands + band for place in places for band in range(bands)]
        self.register_buffer("local", torch.tensor(local), persistent=False)
        self.whole_net = make_embedding(len(channels) * bands, hidden, embedding)
        self.local_net = make_embedding(len(local), hidden, embedding)
        self.classify = nn.Linear(2 * embedding, classes)

    def forward(self, features: Float[Tensor, "trial feature"]) -> Float[Tensor, "trial class"]:
        both = [self.whole_net(features), self.local_net(features[:, self.local])]
        return self.classify(torch.cat(both, dim=1))


def make_embedding(features: int, hidden: tuple[int, int], embedding: int) -> nn.Sequential:
    first, second = hidden
    return nn.Sequential(
        nn.Linear(features, first), nn.GELU(), nn.Linear(first, second), nn.GELU(), nn.Linear(second, embedding)
    )


def find_visual(channels: Sequence[str]) -> list[int]:
    """Places of the electrodes over visual cortex; all, where no name says so."""
    found = [place for place, name in enumerate(channels) if name.upper().startswith(VISUAL)]
    return found or list(range(len(channels)))
