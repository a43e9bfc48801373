"""The Temporal Dynamics Aligner (TDA): from EEG to a "blueprint", latents of each frame.

    spectral filter → one patch of EEG a frame, a linear layer each → convolution over frames → latents of each frame

Loss = w InfoNCE(frames) + (1 - w) MSE(distances between the frames of a clip, 1 - cosine), tau .072, w .11 (the value
in the trainer; the configuration files say .022 and .01). Where the sources leave a choice:

- *Four filters, cosine-weighted*: sum_k c_k F^-1(W_k F(x)) with c_k = cos((2k + 1) pi / 8) and four learned complex
  filters W_k of each channel and frequency. The c_k sum to 0, so W_k begins near c_k / sum c²: the filter begins as
  none. In the release the W_k begin as noise of deviation .02, and so does what they let through.
- *Patches* are a quarter of a trial and evenly spread: 100 samples every 60 of SEED-DV's 400 at 200 Hz, as released.
- *InfoNCE* tells a frame from the frame at the same place of other clips; frames of one clip are too alike to be wrong
  answers, and the second loss is there for them. Latents are centred by the training clips' mean picture first, or
  the mean would make all of them alike.
- The network's second head (512 to 256 to 768) and its scale have no part in the loss and are left out.
- *Order of axes*: the released code views (trial, frame, channel, y, x) as (trial, channel, frame, y, x) without moving
  anything, and so scrambles both; its loss then takes channels for frames. Here they are where they belong;
  `released_axes=True` is the released form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.dynamind.mapper import info_nce
from bench.toolbox.sizes import count_parameters


class SpectralFilter(nn.Module):
    """Multiplies each channel's spectrum by a weighted sum of learned complex filters."""

    shares: Tensor

    def __init__(self, channels: int, samples: int, *, filters: int) -> None:
        super().__init__()
        shares = torch.cos(torch.pi * (2 * torch.arange(filters) + 1) / (2 * filters))
        start = 0.02 * torch.randn(filters, channels, samples // 2 + 1, 2)
        start[..., 0] += (shares / shares.square().sum())[:, None, None]
        self.filters = nn.Parameter(start)  # real and imaginary part last: optimisers know real numbers
        self.register_buffer("shares", shares)

    def forward(self, signals: Float[Tensor, "trial channel time"]) -> Float[Tensor, "trial channel time"]:
        spectrum: Complex[Tensor, "trial channel frequency"] = torch.fft.rfft(signals, dim=2)
        gain = torch.view_as_complex(torch.einsum("k,kcfp->cfp", self.shares, self.filters).contiguous())
        return torch.fft.irfft(spectrum * gain, n=signals.shape[2], dim=2)


class TemporalAligner(nn.Module):
    """TDA: the blueprint of each trial, in units of the training clips' latents about their mean."""

    def __init__(
        self,
        channels: int,
        samples: int,
        *,
        latent: Sequence[int],  # frame, channel, y, x
        filters: int,
        width: int,
        dropout: float,
        patch_dropout: float,
        released_axes: bool,
    ) -> None:
        super().__init__()
        self.latent = tuple(latent)
        self.released_axes = released_axes
        frames, size = latent[0], latent[1] * latent[2] * latent[3]
        self.patch = max(1, samples // 4)
        self.starts = [round(n * (samples - self.patch) / max(1, frames - 1)) for n in range(frames)]
        self.filter = SpectralFilter(channels, samples, filters=filters)
        self.embed = nn.ModuleList(
            nn.Sequential(nn.Linear(channels * self.patch, width), nn.GELU(), nn.Dropout(patch_dropout))
            for _ in self.starts
        )
        self.frames = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=1),
            nn.BatchNorm1d(width),
            nn.GELU(),
            nn.Conv1d(width, 2 * width, 3, padding=1),
            nn.BatchNorm1d(2 * width),
            nn.GELU(),
        )
        self.head = nn.Sequential(
            nn.Linear(2 * width, 2 * width),
            nn.LayerNorm(2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, size),
        )

    def forward(self, signals: Float[Tensor, "trial channel time"]) -> Float[Tensor, "trial frame channel y x"]:
        signals = self.filter(signals)
        patches = [signals[:, :, at : at + self.patch].flatten(1) for at in self.starts]
        embedded = torch.stack([embed(one) for embed, one in zip(self.embed, patches, strict=True)], dim=1)
        hidden = self.frames(embedded.transpose(1, 2)).transpose(1, 2)  # (B, N, 2 width)
        made = self.head(hidden)
        if self.released_axes:
            frames, channels, *grid = self.latent
            return made.reshape(-1, channels, frames, *grid).transpose(1, 2)  # the released view, read as it is meant
        return made.unflatten(2, self.latent[1:])

    @property
    def parameter_count(self) -> int:
        return count_parameters(self)


def measure_alignment(
    aligner: TemporalAligner,
    signals: Float[Tensor, "trial channel time"],
    clip: Int64[Tensor, " trial"],
    true: Float[Tensor, "trial frame channel y x"],
    *,
    contrast: float,
    temperature: float,
) -> Float[Tensor, ""]:
    """The loss of the aligner; `contrast` is the share w of InfoNCE."""
    said = aligner(signals)
    if aligner.released_axes:  # its loss unpacks (trial, frame, channel, …) from (trial, channel, frame, …)
        said, true = said.transpose(1, 2), true.transpose(1, 2)
    said, true = said.flatten(2), true.flatten(2)  # (B, N, P)
    told = torch.stack([info_nce(said[:, n], true[:, n], clip, temperature) for n in range(said.shape[1])]).mean()
    return contrast * told + (1 - contrast) * (measure_distances(said) - measure_distances(true)).square().mean()


def measure_distances(frames: Float[Tensor, "trial frame d"]) -> Float[Tensor, "trial frame frame"]:
    """1 - cosine of each two frames of a trial."""
    unit = functional.normalize(frames, dim=2)
    return 1 - unit @ unit.transpose(1, 2)
