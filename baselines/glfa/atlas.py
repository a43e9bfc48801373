"""GLFA as released: a picture of the cortex, a functional map that all subjects share, an encoder of each volume.

After the released code (the README names file and line). The profile `paper` builds it. In the release a subject's
cortex is drawn as 256 × 256 pixels of a common atlas, and one map serves everybody. Voxels here have no coordinates:
they fill the picture row by row, in the order in which the data set has them, and pixels behind the last are blank.
Where they do not correspond between subjects, as in the phantoms, a map for all has nothing to align; so the default of
the method is another (`alignment.py`).
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from baselines.mind_video.encoder import Layer, TextHead
from bench.core.errors import BenchError

Pictures = Float[Tensor, "picture side side"]
START = 1e-4  # size of the random numbers that a map starts with, beside the identity


class FunctionalMap(nn.Module):
    """Global, then local alignment; both start at the identity, and blank pixels stay blank.

    Global: every square patch a mixture of all patches. Local: every pixel a mixture of the `kernel` × `kernel` around
    it by weights of its own, whose absolute values add up to 1.
    """

    def __init__(self, *, side: int, patch: int, kernel: int) -> None:
        """`patch`: side of a square one."""
        super().__init__()
        self.patch, self.kernel = patch, kernel
        patches = (side // patch) ** 2
        self.among_patches = nn.Parameter(torch.randn(patches, patches) * START / patch)
        self.around = nn.Parameter(torch.randn(side, side, kernel**2) * START / kernel)

    def forward(self, pictures: Pictures) -> Pictures:
        drawn, p = pictures != 0, self.patch
        cut = rearrange(pictures, "n (y p) (x q) -> n (y x) (p q)", p=p, q=p)
        mixed = cut + self.among_patches @ cut
        seen = rearrange(mixed, "n (y x) (p q) -> n (y p) (x q)", y=pictures.shape[1] // p, p=p) * drawn
        near = functional.unfold(seen[:, None], self.kernel, padding=self.kernel // 2)  # (n, kernel², side²)
        centre = functional.one_hot(torch.tensor(self.kernel**2 // 2), self.kernel**2).to(self.around)
        weights = (self.around + centre).abs()
        weights = (weights / weights.sum(dim=2, keepdim=True)).flatten(0, 1)  # (side², kernel²)
        return (near * weights.T).sum(dim=1).unflatten(1, pictures.shape[1:]) * (seen != 0)


class AtlasEncoder(nn.Module):
    """Signals to an embedding beside CLIP's and to text tokens, by way of pictures. `subject` is taken and not used.

    Each volume goes through a vision transformer by itself; the volumes meet in one block of attention over space and
    time and in the linear map from all their tokens to the text's.
    """

    positions: Tensor  # (1 + patches, width)

    def __init__(
        self,
        *,
        side: int,
        patch: int,
        kernel: int,
        volumes: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        embedding: int,
        text: int,
        text_tokens: int,
    ) -> None:
        """`patch`: side of a square one, in pixels."""
        super().__init__()
        self.side, places = side, 1 + (side // patch) ** 2
        self.map = FunctionalMap(side=side, patch=patch, kernel=kernel)
        self.embed = nn.Conv2d(1, width, patch, patch)
        self.global_token = nn.Parameter(0.02 * torch.randn(width))
        self.register_buffer("positions", encode_grid(side // patch, width), persistent=False)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.over_volumes = Layer(width, heads, width, dropout, temporal=True)
        seen = volumes * places
        self.to_tokens = nn.Sequential(
            nn.Linear(seen, seen // 4, bias=False), nn.Linear(seen // 4, text_tokens, bias=False)
        )
        self.head = TextHead(width, text, dropout)
        fewer, few = max(1, text_tokens // 4), max(1, text_tokens // 16)
        self.pool = nn.Sequential(
            nn.Linear(text_tokens, fewer, bias=False),
            nn.Dropout(dropout),
            nn.Linear(fewer, few, bias=False),
            nn.Dropout(dropout),
            nn.Linear(few, 1, bias=False),
        )
        self.project = nn.Linear(text, embedding)

    def draw(self, signals: Float[Tensor, "trial column time"]) -> Float[Tensor, "trial time side side"]:
        """The pictures of each trial's volumes. Raises BenchError for more voxels than pixels."""
        columns, pixels = signals.shape[1], self.side**2
        if columns > pixels:
            raise BenchError(f"{columns} voxels do not fit into {self.side} x {self.side} pixels; set a larger side")
        return functional.pad(signals.transpose(1, 2), (0, pixels - columns)).unflatten(2, (self.side, self.side))

    def align(self, signals: Float[Tensor, "trial column time"]) -> Float[Tensor, "trial time side side"]:
        """The pictures on the common map."""
        pictures = self.draw(signals)
        return self.map(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Tensor
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token text"]]:
        aligned = self.align(signals)
        patches = self.embed(aligned.flatten(0, 1)[:, None]).flatten(2).transpose(1, 2)  # (n × T, patches, width)
        hidden = torch.cat([self.global_token.expand(len(patches), 1, -1), patches], dim=1) + self.positions
        for layer in self.layers:
            hidden = layer(hidden)
        seen = self.over_volumes(self.norm(hidden).unflatten(0, aligned.shape[:2])).flatten(1, 2)
        tokens = self.head(self.to_tokens(seen.transpose(1, 2)).transpose(1, 2))
        return self.project(self.pool(tokens.transpose(1, 2))[:, :, 0]), tokens


def encode_grid(side: int, width: int) -> Float[Tensor, "place width"]:
    """Sines and cosines of the column, then of the row of each patch (MAE's, He et al. 2022), behind zeros."""
    rates = 10000.0 ** -(torch.arange(width // 4) / (width / 4))
    angles = torch.arange(side)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    columns, rows = line.repeat(side, 1), line.repeat_interleave(side, dim=0)
    return functional.pad(torch.cat([columns, rows], dim=1), (0, 0, 1, 0))


def measure_map(
    encoder: AtlasEncoder,
    signals: Float[Tensor, "trial column time"],
    partner: Float[Tensor, "pair column time"],
    paired: Tensor,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The map's own losses over drawn pixels: how far it moves activity, and how far apart two subjects stay.

    `partner` are trials of other subjects who saw the clips of the trials `paired`; without any the second is 0.
    """
    before, after = encoder.draw(signals), encoder.align(signals)
    drawn = before != 0
    moved = (after - before)[drawn].square().mean()
    if not len(partner):
        return moved, moved.new_zeros(())
    other = encoder.align(partner)
    both = drawn[paired] & (encoder.draw(partner) != 0)
    return moved, (after[paired] - other)[both].square().mean()
