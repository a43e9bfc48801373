"""CineSync's encoders: an fMRI transformer and an EEG transformer, each to an embedding and to the text's tokens.

As the released code has them (the README names file and line):

- fMRI: a linear layer over voxels to as many tokens as the text has (8,405 or 18,946 voxels to 226), one over the
  volumes to the width (5 to 2048), 12 pre-norm layers, 32 heads, no norm behind the last; a class token to the width of
  SigLIP's embeddings (1152), and a linear layer of the width for the other tokens. The release goes over the volumes
  first; the two maps commute but for their biases, which the positions can hold;
- EEG: the five volumes' times of 64 channels stacked as 320 channels, a convolution of kernel 1 to the width (nothing
  behind it), adaptive average pooling to 226 tokens, and the same layers.

Choices:

- The fMRI layer gives `channels` numbers a token and volume. One number (the paper's) is enough with five volumes; with
  one volume a trial it leaves a token a single number.
- The authors train one model a subject. Here subjects share all but their first layer: for fMRI the one over voxels,
  which starts at zero; for EEG a mixture of channels, which starts as the identity (a convolution that all share
  follows). A new subject needs that layer alone.
- The linear layer to the text's width starts at zero, on top of the mean of the training captions' tokens: the video
  model is given what it knows before the brain adds to it. In the release this layer reads the tokens of fMRI and EEG
  side by side (4096 to 4096); a recording of one kind has half of them.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.toolbox.voxels import SubjectLayers, TokenLayer


class VoxelLayer(TokenLayer):
    """One subject's voxels to `channels` numbers for each token and volume, at first zeros."""

    def __init__(self, columns: Int64[Tensor, " voxel"], *, tokens: int, channels: int) -> None:
        super().__init__(columns, tokens=tokens, channels=channels)
        nn.init.zeros_(self.regress.bias)


class ChannelLayer(nn.Module):
    """One subject's mixture of its EEG channels, at first none."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(channels, channels, bias=False)
        nn.init.eye_(self.mix.weight)

    def forward(self, signals: Float[Tensor, "trial channel time"]) -> Float[Tensor, "trial channel time"]:
        return self.mix(signals.transpose(1, 2)).transpose(1, 2)


class VolumeStem(nn.Module):
    """A token's numbers of all volumes to the width."""

    def __init__(self, *, volumes: int, channels: int, width: int) -> None:
        super().__init__()
        self.lift = nn.Linear(volumes * channels, width)

    def forward(self, features: Float[Tensor, "trial token feature"]) -> Float[Tensor, "trial token width"]:
        return self.lift(features)


class SampleStem(nn.Module):
    """EEG cut into `windows`, stacked as channels, convolved and pooled to tokens; samples left over are dropped."""

    def __init__(self, *, channels: int, windows: int, kernel: int, width: int, tokens: int) -> None:
        super().__init__()
        self.windows = windows
        self.convolve = nn.Conv1d(channels * windows, width, kernel, padding=kernel // 2)
        self.pool = nn.AdaptiveAvgPool1d(tokens)

    def forward(self, signals: Float[Tensor, "trial channel time"]) -> Float[Tensor, "trial token width"]:
        samples = signals.shape[2] // self.windows
        cut = signals[:, :, : samples * self.windows].unflatten(2, (self.windows, samples))
        stacked = cut.transpose(1, 2).flatten(1, 2)  # (n, windows × C, samples)
        return self.pool(self.convolve(stacked)).transpose(1, 2)


class TokenHead(nn.Module):
    """Tokens in place of a caption: the mean of the training captions and what the brain adds to it, at first 0."""

    mean: Tensor

    def __init__(self, *, width: int, tokens: int, text: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, text)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.register_buffer("mean", torch.zeros(tokens, text))

    def forward(self, hidden: Float[Tensor, "trial token width"]) -> Float[Tensor, "trial token text"]:
        return self.mean + self.project(hidden)


class BrainEncoder(nn.Module):
    """First layer of the subject → stem → transformer → embedding and tokens. Subjects are added one by one."""

    def __init__(
        self,
        stem: VolumeStem | SampleStem,
        *,
        tokens: int,
        width: int,
        layers: int,
        heads: int,
        feedforward: int,
        dropout: float,
        noise: float,
        embedding: int,
        text: int,
    ) -> None:
        """`tokens` of the text; `noise`: deviation of what training adds to signals of unit deviation."""
        super().__init__()
        self.subjects = SubjectLayers()
        self.stem, self.noise = stem, noise
        self.positions = nn.Parameter(0.02 * torch.randn(1 + tokens, width))
        self.global_token = nn.Parameter(0.02 * torch.randn(width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, feedforward, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.leave = nn.Linear(width, width)
        self.project = nn.Linear(width, embedding)
        self.head = TokenHead(width=width, tokens=tokens, text=text)

    def add_subject(self, number: int, layer: VoxelLayer | ChannelLayer) -> None:
        """Give the subject of that number a first layer; replaces one that is there."""
        self.subjects.put(number, layer.to(self.positions.device))

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token text"]]:
        if self.training and self.noise:
            signals = signals + self.noise * torch.randn_like(signals)
        tokens = self.stem(self.subjects(signals, subject))
        hidden = torch.cat([self.global_token.expand(len(tokens), 1, -1), tokens], dim=1) + self.positions
        for layer in self.layers:
            hidden = layer(hidden)
        return self.project(hidden[:, 0]), self.head(self.leave(hidden[:, 1:]))
