"""The sequence-to-sequence model: windows of EEG to the latents of each frame (EEG2Video §4.3).

An EEGNet embeds each window, an encoder reads them in order, and a decoder writes a token for each frame, beginning
with a zero token; what it wrote is what it reads next, in training as in use. No true latent enters the decoder.

The released code compares tokens 0 to 5 with frames 1 to 6. Token 0 is the zero it begins with, so its first frame is
one and the same vector for all EEG, and the last token is never used. Here tokens 1 to 6 are the frames;
`first_token=0` is the released form. The bias of the last layer starts at the mean frame.

The released code's kernels and pools are in samples at 200 Hz; here they are as long in seconds at other rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class WindowEmbedding(nn.Module):
    """EEGNet (Lawhern et al., 2018): filters over time, over electrodes, over time again; a linear layer."""

    def __init__(
        self, channels: int, samples: int, rate: float, *, filters: int, depth: int, pointwise: int, width: int,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        kernel, later = max(2, round(0.32 * rate)), 16
        pool, last = max(1, round(0.02 * rate)), 8
        many = filters * depth
        self.layers = nn.Sequential(
            nn.Conv2d(1, filters, (1, kernel), padding="same", bias=False),
            nn.BatchNorm2d(filters),
            nn.Conv2d(filters, many, (channels, 1), groups=filters, bias=False),
            nn.BatchNorm2d(many),
            nn.ELU(),
            nn.AvgPool2d((1, pool)),
            nn.Dropout(dropout),
            nn.Conv2d(many, many, (1, later), padding="same", groups=many, bias=False),
            nn.Conv2d(many, pointwise, 1, bias=False),
            nn.BatchNorm2d(pointwise),
            nn.ELU(),
            nn.AvgPool2d((1, last)),
            nn.Dropout(dropout),
            nn.Flatten(),
        )
        self.project = nn.Linear(pointwise * (samples // pool // last), width)

    def forward(self, windows: Float[Tensor, "n channel time"]) -> Float[Tensor, "n width"]:
        return self.project(self.layers(windows[:, None]))


class Seq2Seq(nn.Module):
    """Windows to frame latents."""

    positions: Tensor

    def __init__(
        self,
        channels: int,
        windows: int,
        samples: int,
        rate: float,
        latent_shape: Sequence[int],
        *,
        filters: int,
        depth: int,
        pointwise: int,
        width: int,
        heads: int,
        encoder_layers: int,
        decoder_layers: int,
        feedforward: int,
        dropout: float,
        window_dropout: float,
        first_token: int = 1,
    ) -> None:
        """`windows` of `samples` at `rate` Hz; `latent_shape` is (frames, channels, height, width)."""
        super().__init__()
        self.frames, *frame_shape = latent_shape
        self.frame_shape = tuple(frame_shape)
        self.first_token = first_token
        self.embed = WindowEmbedding(
            channels, samples, rate, filters=filters, depth=depth, pointwise=pointwise, width=width,
            dropout=window_dropout,
        )  # fmt: skip
        self.register_buffer("positions", make_positions(windows, width), persistent=False)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True),
            encoder_layers,
            enable_nested_tensor=False,
        )
        self.decoder = nn.TransformerDecoder(
            nn.TransformerDecoderLayer(width, heads, feedforward, dropout, batch_first=True), decoder_layers
        )
        self.read = nn.Linear(width, math.prod(self.frame_shape))

    def start_at(self, mean: Float[Tensor, "c y x"]) -> None:
        """Begin as a model that knows the mean frame and nothing else."""
        with torch.no_grad():
            self.read.bias.copy_(mean.flatten())

    def forward(self, windows: Float[Tensor, "trial window channel time"]) -> Float[Tensor, "trial f c y x"]:
        trials = len(windows)
        embedded = self.embed(rearrange(windows, "trial window channel time -> (trial window) channel time"))
        memory = self.encoder(rearrange(embedded, "(trial window) width -> trial window width", trial=trials)
                              + self.positions)  # fmt: skip
        tokens = torch.zeros_like(memory[:, :1])
        for _ in range(self.frames - 1 + self.first_token):
            causal = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1], device=tokens.device)
            written = self.decoder(tokens, memory, tgt_mask=causal, tgt_is_causal=True)
            tokens = torch.cat([tokens, written[:, -1:]], dim=1)
        return self.read(tokens[:, self.first_token :]).unflatten(2, self.frame_shape)


def make_positions(count: int, width: int) -> Float[Tensor, "count width"]:
    """Sines and cosines (Vaswani et al., 2017)."""
    place = torch.arange(count)[:, None]
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    made = torch.zeros(count, width)
    made[:, 0::2], made[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)[:, : width // 2]
    return made
