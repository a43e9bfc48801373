"""The perception reconstructor: voxels to a blurry video in the autoencoder's latents.

    voxels of a subject → inception extension (V → k → V × frames) → its ridge → mixer → 64 × y × x a frame
    → decoder (middle block, three more; each with residual convolutions, attention over places and over frames)

The decoder is put together from diffusers' own blocks, as the released one is. Its attention over time runs over the
frames of all trials of a batch in the release, so that a trial's frames depend on its neighbours; here it runs over a
trial's own frames. The mix weight starts at 1: attention over places alone, as released. Mixers: `semantic.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.neuroclips.semantic import MixerBlocks, Wiring
from bench.toolbox.voxels import FlatLayers

BASE_CHANNELS = 64  # that the decoder starts from
SHRINKAGE = 4  # two of three blocks enlarge by 2


class FrameRegression(nn.Module):
    """One subject's inception extension and ridge: its voxels to `hidden` numbers for each frame."""

    def __init__(
        self, voxels: int, *, frames: int, bottleneck: int, hidden: int, dropout: float, wiring: Wiring
    ) -> None:
        super().__init__()
        self.frames = frames
        self.enter = nn.Sequential(nn.Linear(voxels, bottleneck), nn.GELU(), nn.Dropout(dropout))
        self.mixer = MixerBlocks(bottleneck, blocks=1, dropout=dropout, wiring=wiring, deep=False)
        self.extend = nn.Sequential(nn.Linear(bottleneck, voxels * frames), nn.GELU(), nn.Dropout(dropout))
        self.ridge = nn.Linear(voxels, hidden)

    def forward(self, voxels: Float[Tensor, "trial voxel"]) -> Float[Tensor, "trial frame hidden"]:
        return self.ridge(self.extend(self.mixer(self.enter(voxels))).unflatten(1, (self.frames, -1)))


class PlacesAndFrames(nn.Module):
    """Attention over the places of a frame, then over the frames at a place, mixed by a learned weight."""

    def __init__(self, channels: int, *, heads: int, groups: int) -> None:
        super().__init__()
        self.places, self.times = (
            Attention(
                channels,
                heads=heads,
                dim_head=channels // heads,
                eps=1e-6,
                norm_num_groups=groups,
                residual_connection=True,
                bias=True,
                upcast_softmax=True,
                _from_deprecated_attn_block=True,
            )
            for _ in range(2)
        )
        self.mix = nn.Parameter(torch.ones(1))

    def forward(self, maps: Float[Tensor, "image c y x"], frames: int) -> Float[Tensor, "image c y x"]:
        within = self.places(maps)
        times = within.unflatten(0, (-1, frames)).movedim((3, 4), (1, 2))  # (trial, y, x, frame, c)
        across = self.times(times.flatten(0, 2)).unflatten(0, times.shape[:3]).movedim((1, 2), (3, 4)).flatten(0, 1)
        return self.mix * within + (1 - self.mix) * across


class FrameBlock(nn.Module):
    """Residual convolutions, each followed by attention but for a `first` one; enlarges by 2 if asked."""

    def __init__(
        self, entering: int, channels: int, *, layers: int, heads: int, groups: int, first: bool, enlarge: bool
    ) -> None:
        super().__init__()
        options = {"out_channels": channels, "temb_channels": None, "groups": groups, "eps": 1e-6}
        self.first = ResnetBlock2D(in_channels=entering, **options) if first else None
        widths = [channels if first or layer else entering for layer in range(layers)]
        self.convolve = nn.ModuleList(ResnetBlock2D(in_channels=width, **options) for width in widths)
        self.attend = nn.ModuleList(PlacesAndFrames(channels, heads=heads, groups=groups) for _ in widths)
        self.enlarge = Upsample2D(channels, use_conv=True, out_channels=channels) if enlarge else None

    def forward(self, maps: Float[Tensor, "image c y x"], frames: int) -> Float[Tensor, "image d y2 x2"]:
        if self.first is not None:  # the middle: a convolution before each attention's own
            maps = self.first(maps, None)
            for convolve, attend in zip(self.convolve, self.attend, strict=True):
                maps = convolve(attend(maps, frames), None)
            return maps
        for convolve, attend in zip(self.convolve, self.attend, strict=True):
            maps = attend(convolve(maps, None), frames)
        return maps if self.enlarge is None else self.enlarge(maps)


class FrameDecoder(nn.Module):
    """Maps of a trial's frames to latents, four times as high and wide."""

    def __init__(self, channels: Sequence[int], *, latent: int, heads: int, groups: int) -> None:
        """`channels` of the blocks, deepest first."""
        super().__init__()
        options = {"heads": heads, "groups": groups}
        self.enter = nn.Conv2d(BASE_CHANNELS, channels[0], 3, padding=1)
        middle = FrameBlock(channels[0], channels[0], layers=1, first=True, enlarge=False, **options)
        entering = (channels[0], *channels[:-1])
        self.blocks = nn.ModuleList(
            [
                middle,
                *(
                    FrameBlock(before, after, layers=2, first=False, enlarge=place < len(channels) - 1, **options)
                    for place, (before, after) in enumerate(zip(entering, channels, strict=True))
                ),
            ]
        )
        self.norm = nn.GroupNorm(groups, channels[-1], eps=1e-6)
        self.leave = nn.Conv2d(channels[-1], latent, 3, padding=1)

    def forward(self, maps: Float[Tensor, "trial frame c y x"]) -> Float[Tensor, "image c y x"]:
        hidden = self.enter(maps.flatten(0, 1))
        for block in self.blocks:
            hidden = block(hidden, maps.shape[1])
        return self.leave(functional.silu(self.norm(hidden)))


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
        groups: int,
        latent: tuple[int, int, int],
        features: int,
        wiring: Wiring = "residual",
    ) -> None:
        """`channels` of the three decoder blocks, deepest first; `latent`: C, y, x of a frame; `features`: width of
        what the contrastive loss compares."""
        super().__init__()
        self.latent = latent
        self.base = tuple(-(-side // SHRINKAGE) for side in latent[1:])

        def make(voxels: int) -> nn.Module:
            return FrameRegression(
                voxels, frames=frames, bottleneck=bottleneck, hidden=hidden, dropout=dropout, wiring=wiring
            )

        self.regress = FlatLayers(make, volumes=volumes, shape=(frames, hidden))
        self.mixer = MixerBlocks(hidden, blocks=blocks, dropout=dropout, wiring=wiring)
        self.to_maps = nn.Linear(hidden, BASE_CHANNELS * self.base[0] * self.base[1])
        self.dropout = nn.Dropout(2 * dropout)
        self.norm = nn.GroupNorm(1, BASE_CHANNELS)
        self.describe = nn.Sequential(
            nn.Conv2d(BASE_CHANNELS, features, 1, bias=False),
            nn.GroupNorm(1, features),
            nn.ReLU(),
            nn.Conv2d(features, features, 1, bias=False),
            nn.GroupNorm(1, features),
            nn.ReLU(),
            nn.Conv2d(features, features, 1),
        )
        self.decoder = FrameDecoder(channels, latent=latent[0], heads=heads, groups=groups)

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> tuple[Float[Tensor, "trial frame c y x"], Float[Tensor, "trial feature"]]:
        hidden = self.mixer(self.regress(signals, subject))  # (B, F, h)
        maps = self.norm(self.dropout(self.to_maps(hidden)).flatten(0, 1).unflatten(1, (BASE_CHANNELS, *self.base)))
        described = self.describe(maps).unflatten(0, hidden.shape[:2]).mean(dim=(1, 3, 4))
        latents = self.decoder(maps.unflatten(0, hidden.shape[:2]))
        if latents.shape[2:] != self.latent[1:]:  # sides that 4 does not divide
            latents = functional.interpolate(latents, size=self.latent[1:], mode="bilinear", align_corners=False)
        return latents.unflatten(0, hidden.shape[:2]), described


def interpolate_frames(latents: Float[Tensor, "trial frame c y x"], frames: int) -> Float[Tensor, "trial F c y x"]:
    """Linear interpolation in time between the first and the last frame: 6 to 16 by thirds, as released."""
    if latents.shape[1] == frames:
        return latents
    flat = latents.flatten(2).transpose(1, 2)  # (B, c × y × x, f)
    made = functional.interpolate(flat, size=frames, mode="linear", align_corners=True)
    return made.transpose(1, 2).unflatten(2, latents.shape[2:])
