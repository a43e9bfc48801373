"""The semantic reconstructor: ridge → mixer blocks → CLIP tokens → projector.

    voxels of a subject → its own linear layer (MindEye2's shared-subject ridge) → h → mixer → tokens → projector

The projector's output is what the contrastive losses see and what the prior reads.

A mixer block is two MLPs with their residuals: across the width, and along the sequence. There is one volume a trial,
so the sequence has length 1 and the norm along it knows nothing but its bias. In the released wiring (MindEye2's) each
MLP adds to what the same MLP left in the block before: the blocks across the width then end in the norm of length 1 and
**the output is the ridge's plus a constant**. `wiring="released"` is that, weights and all; with "residual" each MLP
adds to what it reads, as the papers draw it.
"""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.toolbox.voxels import FlatLayers

Wiring = Literal["residual", "released"]


class MixerBlocks(nn.Module):
    """MLPs across the width and along a sequence of one; `deep` ones have two linear layers."""

    def __init__(self, width: int, *, blocks: int, dropout: float, wiring: Wiring, deep: bool = True) -> None:
        super().__init__()
        self.wiring = wiring
        self.across = nn.ModuleList(make_mlp(width, dropout, deep=deep) for _ in range(blocks))
        self.along = nn.ModuleList(make_mlp(1, dropout, deep=deep) for _ in range(blocks))

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        left, turned = hidden, hidden  # what the MLPs of either kind left behind
        for across, along in zip(self.across, self.along, strict=True):
            left = (left if self.wiring == "released" else hidden) + across(hidden)
            turned = (turned if self.wiring == "released" else left) + along(left[..., None])[..., 0]
            hidden = turned
        return hidden


def make_mlp(width: int, dropout: float, *, deep: bool) -> nn.Sequential:
    layers = [nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, *([nn.Linear(width, width)] if deep else []))


class SemanticReconstructor(nn.Module):
    """`forward` gives the projected tokens, `read` those before the projector."""

    def __init__(
        self,
        *,
        volumes: int,
        hidden: int,
        blocks: int,
        dropout: float,
        tokens: int,
        embedding: int,
        wiring: Wiring = "residual",
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.ridge = FlatLayers(lambda voxels: nn.Linear(voxels, hidden), volumes=volumes, shape=(hidden,))
        self.mixer = MixerBlocks(hidden, blocks=blocks, dropout=dropout, wiring=wiring)
        self.to_tokens = nn.Linear(hidden, tokens * embedding)
        layers = [(nn.LayerNorm(embedding), nn.GELU(), nn.Linear(embedding, embedding)) for _ in range(3)]
        self.projector = nn.Sequential(*(one for layer in layers for one in layer))

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial token embedding"]:
        """The projected tokens of each trial, of no particular length."""
        return self.projector(self.read(signals, subject))

    def read(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial token embedding"]:
        """The tokens before they are projected."""
        return self.to_tokens(self.mixer(self.ridge(signals, subject))).unflatten(1, (self.tokens, -1))
