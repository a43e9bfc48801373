"""The semantic reconstructor: ridge → residual mixer blocks → CLIP tokens, and a projector for the contrastive losses.

    voxels of a subject → its own linear layer (MindEye2's shared-subject ridge) → h → 4 × (h + MLP(LN(h))) → tokens

The tokens go to the diffusion prior (`prior.py`); the projector's output is what the contrastive losses see.
The MLP of a block is Linear, GELU, dropout, Linear, all of width h.
"""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.toolbox.voxels import FlatLayers


class MixerBlocks(nn.Module):
    """Residual MLP blocks of one width."""

    def __init__(self, width: int, *, blocks: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
            )
            for _ in range(blocks)
        )

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden


class SemanticReconstructor(nn.Module):
    """`reconstruct(signals, subject)` gives tokens; `project(tokens)` one vector in the space of CLIP's embeddings."""

    def __init__(self, *, volumes: int, hidden: int, blocks: int, dropout: float, tokens: int, embedding: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.ridge = FlatLayers(lambda voxels: nn.Linear(voxels, hidden), volumes=volumes, shape=(hidden,))
        self.mixer = MixerBlocks(hidden, blocks=blocks, dropout=dropout)
        self.to_tokens = nn.Linear(hidden, tokens * embedding)
        layers = [(nn.LayerNorm(embedding), nn.GELU(), nn.Linear(embedding, embedding)) for _ in range(3)]
        self.projector = nn.Sequential(*(one for layer in layers for one in layer))

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial token embedding"]:
        return self.to_tokens(self.mixer(self.ridge(signals, subject))).unflatten(1, (self.tokens, -1))

    def project(self, tokens: Float[Tensor, "trial token embedding"]) -> Float[Tensor, "trial embedding"]:
        """Mean over tokens of the projector, of no particular length."""
        return self.projector(tokens).mean(dim=1)
