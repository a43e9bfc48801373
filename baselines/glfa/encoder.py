"""The fMRI encoder: a vision transformer over the aligned map and the window of volumes (24 layers of 1024 in GLFA).

A patch is some sites of one part of the map with all volumes of the trial: "window 5" is five volumes, seen at once, so
that the encoder itself finds the delay of the blood's response. The window here is the trial as the data set cuts it
(one volume in cc2017's layout, five in CineBrain's).

Choices, where the description says nothing:

- A trial's map is brought to mean 0 and deviation 1: averages of repeats are less noisy, and so smaller, than single
  trials.
- Pre-norm layers with GELU, and a class token. Its projection is contrasted with the clip's CLIP embeddings.
- The projection to the text tokens goes from the class token along the principal axes of the training captions' tokens
  (`text_rank` of them), from their mean. Linear mixtures of the patches' tokens were tried first and predicted captions
  worse than ridge regression did.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from bench.toolbox.encoded import CaptionTokens


class TextProjection(nn.Module):
    """Numbers to text tokens, along the principal axes of the training captions' tokens, from their mean."""

    mean: Tensor
    axes: Tensor

    def __init__(self, *, width: int, rank: int, text_tokens: int, text: int) -> None:
        super().__init__()
        self.read = nn.Linear(width, rank)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)
        self.register_buffer("mean", torch.zeros(text_tokens, text))
        self.register_buffer("axes", torch.zeros(rank, text_tokens, text))

    @torch.no_grad()
    def learn_axes(self, tokens: CaptionTokens, caption: Int64[Tensor, " clip"]) -> None:
        """Take mean and axes, each as long as the captions deviate along it, from the captions of all clips.

        With the centred tokens X (clip, number) and the eigenvectors U of XXᵀ, the axes are UᵀX / √n: nothing as large
        as X is made.
        """
        clips, mean = len(caption), tokens.average(caption)  # where the captions' tokens lie: not on the device
        self.mean.copy_(mean)
        products = mean.new_zeros(clips, clips, dtype=torch.float64)
        for places, numbers, some in tokens.walk_places(caption):
            centred = (some - mean[places, numbers]).flatten(1).double()
            products += centred @ centred.T
        vectors = torch.linalg.eigh(products).eigenvectors.flip(1)[:, : len(self.axes)].float()  # largest first
        for places, numbers, some in tokens.walk_places(caption):
            axes = vectors.T @ (some - mean[places, numbers]).flatten(1) / clips**0.5
            self.axes[: len(axes), places, numbers] = axes.unflatten(1, some.shape[1:]).to(self.axes)

    def forward(self, hidden: Float[Tensor, "trial width"]) -> Float[Tensor, "trial text_token text"]:
        return self.mean + torch.einsum("nr,rkd->nkd", self.read(hidden), self.axes)


class MapEncoder(nn.Module):
    """From the map to an embedding in CLIP's space and to text tokens. `subject` is taken and not used."""

    def __init__(
        self,
        *,
        patches: int,
        patch: int,
        volumes: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        noise: float,
        text_rank: int,
        embedding: int,
        text: int,
        text_tokens: int,
    ) -> None:
        """`patch`: sites of one; `noise`: deviation of what training adds to the map."""
        super().__init__()
        self.patch, self.noise = patch, noise
        self.embed = nn.Linear(patch * volumes, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1 + patches, width))
        self.global_token = nn.Parameter(0.02 * torch.randn(width))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, embedding)
        self.head = TextProjection(width=width, rank=text_rank, text_tokens=text_tokens, text=text)

    def forward(
        self, maps: Float[Tensor, "trial site time"], subject: Tensor
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token text"]]:
        maps = functional.layer_norm(maps, maps.shape[1:])
        if self.training and self.noise:
            maps = maps + self.noise * torch.randn_like(maps)
        patches = self.embed(maps.unflatten(1, (-1, self.patch)).flatten(2))  # (n, patches, width)
        hidden = torch.cat([self.global_token.expand(len(maps), 1, -1), patches], dim=1) + self.positions
        hidden = self.dropout(hidden)
        for layer in self.layers:
            hidden = layer(hidden)
        seen = self.norm(hidden[:, 0])
        return self.project(seen), self.head(seen)
