"""The Brain Model f (§3.1): from voxels to a global token f^c and embedding tokens f^e.

    voxels of a subject → its own linear input layer → shared: lift, positions, global token → transformer → f^c, f^e

Where the paper leaves a choice:

- It names 24 layers, width 2048 and 512 + 1 tokens, and a "first regression layer" with a weight for each voxel, but
  not how voxels become tokens. A full map from 8,405 voxels to 512 × 2048 numbers would hold 8.8 billion weights. Here
  a subject's linear layer gives `channels` numbers to each token at each volume, and a layer that all subjects share
  lifts a token's numbers (of all its volumes) to the width. With 8 channels that is a first layer of 4,096 outputs,
  the size that MindEye2 uses for the same purpose. CineSync's is the case of one channel: enough with five volumes,
  too narrow with one.
- The input layer is *solved*, by ridge regression (`first_layer.py`), and what it says of f^c goes there on a straight
  way: f^c = read-out of the layer's numbers + gain × what the transformer makes of them. The gain starts at zero, and
  after training only as much of it is kept as helps on clips that were left out (`training.keep_gain`), so the
  transformer can only add. That is a departure from the paper, which descends through all of it together; its
  reading is `first_layer="learned"` (then there is no read-out, and the gain is 1).
- Learned, the input layer starts at zero. Started at random, its weights said almost nothing of what was learned: in a
  small world where half of the voxels know everything, that half held 49 to 52 % of the weight after training, and 68
  to 71 % from zero, while memories were found as well (one seed, two rates, two subjects of 96 trials).
- Only the input layer knows the subject, so subjects with other voxel counts share the rest, and a new subject needs
  that layer alone.
- Number of heads: 32 at width 2048, as CineSync has. Pre-norm layers with GELU, which train at this depth.
- f^c lies in R^D, the space of the image and text embeddings, f^e in R^D' (the width): a linear head takes the global
  token there.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.toolbox.parts import compute_again
from bench.toolbox.voxels import SubjectLayers, TokenLayer

KEPT = 0.5  # share of training trials to whose f^c the transformer adds: the heads work with it and without it


class BrainModel(nn.Module):
    """`f(x) = f^c, f^e`. Subjects are added one by one with `add_subject`."""

    def __init__(
        self,
        *,
        volumes: int,
        tokens: int,
        channels: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        embedding: int,
        straight: bool = False,
        checkpointing: bool = False,
    ) -> None:
        """`volumes` of a trial, `tokens` of f^e, `embedding`: the width D of f^c, `straight`: there is a read-out,
        `checkpointing`: in training each layer is computed again for its gradient, and keeps nothing till then."""
        super().__init__()
        self.checkpointing = checkpointing
        self.tokens, self.channels, self.embedding = tokens, channels, embedding
        self.inputs = SubjectLayers()
        self.lift = nn.Linear(channels * volumes, width)
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.global_token = nn.Parameter(0.02 * torch.randn(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, embedding)
        self.readout: nn.Linear | None = None
        if straight:
            self.readout = nn.Linear(tokens * channels * volumes, embedding, bias=False).requires_grad_(False)
            self.gain = nn.Parameter(torch.zeros(()))

    def add_subject(self, number: int, columns: Int64[Tensor, " voxel"]) -> TokenLayer:
        """A fresh input layer for the subject of that number; replaces one that is there."""
        layer = TokenLayer(columns, tokens=self.tokens, channels=self.channels).to(self.positions.device)
        self.inputs.put(number, layer)
        return layer

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token width"]]:
        """f^c (of no particular length) and f^e. Raises UnknownSubject."""
        return self.understand(self.inputs(signals, subject))

    def understand(
        self, numbers: Float[Tensor, "trial token feature"]
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token width"]]:
        """f^c and f^e from what an input layer gives: `channels` numbers for each token and volume."""
        tokens = self.lift(numbers) + self.positions
        hidden = torch.cat([self.global_token.expand(len(tokens), 1, -1), tokens], dim=1)
        for layer in self.layers:
            hidden = compute_again(layer, hidden) if self.checkpointing and torch.is_grad_enabled() else layer(hidden)
        hidden = self.norm(hidden)
        seen = self.project(hidden[:, 0])
        if self.readout is not None:
            kept = torch.rand(len(seen), 1, device=seen.device) < KEPT if self.training else 1.0
            seen = self.readout(numbers.flatten(1)) + self.gain * kept * seen
        return seen, hidden[:, 1:]

    @torch.no_grad()
    def set_readout(self, weights: Float[Tensor, "number embedding"]) -> None:
        """Start the read-out at these weights on the layer's numbers, their mean over volumes."""
        assert self.readout is not None
        volumes = self.lift.in_features // self.channels
        spread = weights.T.unflatten(1, (self.tokens, 1, self.channels)).expand(-1, -1, volumes, -1) / volumes
        self.readout.weight.copy_(spread.flatten(1))
