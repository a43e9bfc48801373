"""The perception reconstructor: voxels to a blurry video in the autoencoder's latents.

    voxels of a subject → inception extension (V → k → V × frames) → its ridge → mixer blocks → 64 × y × x a frame
    → decoder of three blocks (convolution, spatial attention, temporal attention), two of them enlarging → latents

The released temporal attention runs over the frames of all trials of a batch, so that a trial's frames depend on its
neighbours. Here it runs over a trial's own frames. The mix weight starts at 1: spatial attention alone, as released.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.neuroclips.parameters import GROUPS
from baselines.neuroclips.semantic import MixerBlocks
from bench.toolbox.voxels import FlatLayers

BASE_CHANNELS = 64  # that the decoder starts from
SHRINKAGE = 4  # two of three blocks enlarge by 2


class FrameRegression(nn.Module):
    """One subject's inception extension and ridge: its voxels to `hidden` numbers for each frame."""

    def __init__(self, voxels: int, *, frames: int, bottleneck: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.frames = frames
        self.extension = nn.Sequential(
            nn.Linear(voxels, bottleneck), nn.GELU(), nn.Dropout(dropout), nn.Linear(bottleneck, voxels * frames)
        )
        self.ridge = nn.Linear(voxels, hidden)

    def forward(self, voxels: Float[Tensor, "trial voxel"]) -> Float[Tensor, "trial frame hidden"]:
        return self.ridge(self.extension(voxels).unflatten(1, (self.frames, -1)))


class AttentionBlock(nn.Module):
    """Residual convolutions, then spatial and temporal attention mixed by a learned weight; enlarges by 2 if asked."""

    def __init__(self, entering: int, channels: int, *, heads: int, enlarge: bool) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.convolve = nn.Sequential(
            nn.GroupNorm(GROUPS, entering),
            nn.SiLU(),
            nn.Conv2d(entering, channels, 3, padding=1),
            nn.GroupNorm(GROUPS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.shortcut = nn.Conv2d(entering, channels, 1)
        self.spatial_norm, self.temporal_norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.spatial = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.temporal = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.mix = nn.Parameter(torch.ones(()))

    def forward(self, maps: Float[Tensor, "trial frame c y x"]) -> Float[Tensor, "trial frame d y2 x2"]:
        trials, frames = maps.shape[:2]
        flat = maps.flatten(0, 1)
        flat = self.shortcut(flat) + self.convolve(flat)
        height, width = flat.shape[2:]
        places = flat.flatten(2).transpose(1, 2)  # (trial × frame, y × x, d)
        seen = self.spatial_norm(places)
        within = places + self.spatial(seen, seen, seen, need_weights=False)[0]
        times = within.unflatten(0, (trials, frames)).transpose(1, 2).flatten(0, 1)  # (trial × y × x, frame, d)
        seen = self.temporal_norm(times)
        across = times + self.temporal(seen, seen, seen, need_weights=False)[0]
        across = across.unflatten(0, (trials, height * width)).transpose(1, 2).flatten(0, 1)
        mixed = self.mix * within + (1 - self.mix) * across
        made = mixed.transpose(1, 2).unflatten(2, (height, width))
        if self.enlarge:
            made = functional.interpolate(made, scale_factor=2.0, mode="nearest")
        return made.unflatten(0, (trials, frames))


class PerceptionReconstructor(nn.Module):
    """`forward` gives latents (B, frame, C, y, x) and, for the contrastive loss, a feature vector of each trial."""

    def __init__(
        self,
        *,
        volumes: int,
        frames: int,
        bottleneck: int,
        hidden: int,
        blocks: int,
        dropout: float,
        channels: Sequence[int],
        heads: int,
        latent: tuple[int, int, int],
        features: int,
    ) -> None:
        """`channels` of the three decoder blocks, deepest first; `latent`: C, y, x of a frame."""
        super().__init__()
        self.latent = latent
        self.base = tuple(-(-side // SHRINKAGE) for side in latent[1:])

        def make(voxels: int) -> nn.Module:
            return FrameRegression(voxels, frames=frames, bottleneck=bottleneck, hidden=hidden, dropout=dropout)

        self.regress = FlatLayers(make, volumes=volumes, shape=(frames, hidden))
        self.mixer = MixerBlocks(hidden, blocks=blocks, dropout=dropout)
        self.describe = nn.Linear(hidden, features)
        self.to_maps = nn.Linear(hidden, BASE_CHANNELS * self.base[0] * self.base[1])
        entering = (BASE_CHANNELS, *channels[:-1])
        self.decoder = nn.Sequential(
            *(
                AttentionBlock(before, after, heads=heads, enlarge=place < len(channels) - 1)
                for place, (before, after) in enumerate(zip(entering, channels, strict=True))
            )
        )
        self.to_latents = nn.Conv2d(channels[-1], latent[0], 3, padding=1)

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> tuple[Float[Tensor, "trial frame c y x"], Float[Tensor, "trial feature"]]:
        hidden = self.mixer(self.regress(signals, subject))  # (B, F, h)
        maps = self.decoder(self.to_maps(hidden).unflatten(2, (BASE_CHANNELS, *self.base)))
        latents = self.to_latents(maps.flatten(0, 1))
        if latents.shape[2:] != self.latent[1:]:  # sides that 4 does not divide
            latents = functional.interpolate(latents, size=self.latent[1:], mode="bilinear", align_corners=False)
        return latents.unflatten(0, hidden.shape[:2]), self.describe(hidden.mean(dim=1))


def interpolate_frames(latents: Float[Tensor, "trial frame c y x"], frames: int) -> Float[Tensor, "trial F c y x"]:
    """Linear interpolation in time between the first and the last frame: 6 to 16 by thirds, as released."""
    if latents.shape[1] == frames:
        return latents
    flat = latents.flatten(2).transpose(1, 2)  # (B, c × y × x, f)
    made = functional.interpolate(flat, size=frames, mode="linear", align_corners=True)
    return made.transpose(1, 2).unflatten(2, latents.shape[2:])
