"""The decoder (fMRI → frames), the encoder (frames → fMRI), and the perceptual distance between frames.

    decoder: voxels of a subject → its own linear layer → shared: map of side/8 × side/8 places a frame → three blocks,
             each enlarging by 2 and convolving over space and time → RGB frames of `side` × `side` pixels in [0, 1]
    encoder: features of the frames (frozen) → convolution over time → its own linear layer → voxels of a subject

The encoder reads frozen features of the frames, the role that VGG's have in this family of decoders: here CLIP's
embedding, for what is shown, and the autoencoder's latents, for where and in which colour.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.kupershmidt.parameters import GROUPS
from bench.toolbox.voxels import FlatLayers

ENLARGEMENT = 8  # of three blocks


class FrameDecoder(nn.Module):
    """From the voxels of a trial's volumes to its frames."""

    def __init__(self, *, volumes: int, hidden: int, channels: int, frames: int, side: int, dropout: float) -> None:
        super().__init__()
        base = -(-side // ENLARGEMENT)
        self.shape = (channels, frames, base, base)
        self.side = side
        self.regress = FlatLayers(lambda voxels: nn.Linear(voxels, hidden), volumes=volumes, shape=(hidden,))
        self.to_maps = nn.Sequential(
            nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, channels * frames * base**2)
        )
        widths = (channels, channels // 2, channels // 2, channels // 4)
        kernels = ((3, 3, 3), (3, 3, 3), (1, 3, 3))  # over time where maps are small: the last block costs the most
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv3d(before, after, kernel, padding="same"), nn.GroupNorm(GROUPS, after), nn.GELU())
            for before, after, kernel in zip(widths[:-1], widths[1:], kernels, strict=True)
        )
        self.to_pixels = nn.Conv3d(widths[-1], 3, (1, 3, 3), padding="same")

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial frame 3 side side"]:
        maps = self.to_maps(self.regress(signals, subject)).unflatten(1, self.shape)  # (B, c, F, y, x)
        for block in self.blocks:
            maps = block(functional.interpolate(maps, scale_factor=(1, 2, 2), mode="nearest"))
        frames = self.to_pixels(maps).sigmoid().transpose(1, 2)
        if frames.shape[3] == self.side:
            return frames
        flat = functional.interpolate(frames.flatten(0, 1), size=self.side, mode="bilinear", align_corners=False)
        return flat.unflatten(0, frames.shape[:2])


class VoxelEncoder(nn.Module):
    """From frozen features of a clip's frames to the voxels of a trial's volumes."""

    def __init__(self, *, volumes: int, features: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.volumes = volumes
        self.reduce = nn.Linear(features, hidden)
        self.over_time = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.drop = nn.Dropout(dropout)
        self.hidden = 2 * hidden
        self.readouts = nn.ModuleDict()

    def add_subject(self, number: int, voxels: int) -> nn.Module:
        """A fresh readout for the subject, in place of one that is there."""
        self.readouts[str(number)] = nn.Linear(self.hidden, voxels * self.volumes)
        return self.readouts[str(number)]

    def describe(self, features: Float[Tensor, "clip frame feature"]) -> Float[Tensor, "clip hidden"]:
        """Mean over the frames, and over the changes that the convolution finds in them."""
        each = functional.gelu(self.reduce(features))
        changes = functional.gelu(self.over_time(each.transpose(1, 2)))
        return self.drop(torch.cat([each.mean(dim=1), changes.mean(dim=2)], dim=1))

    def forward(self, features: Float[Tensor, "clip frame feature"], number: int) -> Float[Tensor, "clip voxel time"]:
        """What the subject's voxels would say to these clips."""
        return self.readouts[str(number)](self.describe(features)).unflatten(1, (-1, self.volumes))


def perceive(vae: Any, frames: Float[Tensor, "n 3 side side"], *, depth: int) -> list[Float[Tensor, "n c y x"]]:
    """Feature maps of the autoencoder's first `depth` encoder blocks, each place of unit length, as LPIPS has it.

    `frames` are in [0, 1]. They stand in for VGG's.
    """
    hidden = vae.encoder.conv_in(frames.mul(2).sub(1))
    maps = []
    for block in vae.encoder.down_blocks[:depth]:
        hidden = block(hidden)
        maps.append(functional.normalize(hidden, dim=1))
    return maps


def perceptual_distance(
    vae: Any, made: Float[Tensor, "n 3 side side"], true: Float[Tensor, "n 3 side side"], *, depth: int
) -> Float[Tensor, ""]:
    """Mean squared difference of the features, summed over channels, averaged over blocks."""
    with torch.no_grad():
        wanted = perceive(vae, true, depth=depth)
    found = perceive(vae, made, depth=depth)
    return torch.stack([(a - b).square().sum(1).mean() for a, b in zip(found, wanted, strict=True)]).mean()
