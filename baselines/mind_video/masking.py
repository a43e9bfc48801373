"""Masked brain modelling (MBM): most patches of a volume are hidden, and a small decoder guesses their voxels.

As in masked autoencoders (He et al. 2022), which the published encoder follows: the transformer sees the patches that
are left, the decoder sees its answers and a learned token in each gap. The loss is the squared error of hidden patches.

Where the descriptions leave a choice: the paper pre-trains on the Human Connectome Project and then goes on; here the
training fMRI is all there is. The volumes of a trial hide the same patches, so that none gives away its neighbour's.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from baselines.mind_video.encoder import FmriEncoder, Layer
from bench.toolbox.parts import mean_in_parts


class MaskedDecoder(nn.Module):
    """From the encoder's answers about some patches to the voxels of all; thrown away after pre-training."""

    def __init__(self, encoder: FmriEncoder, *, width: int, heads: int) -> None:
        super().__init__()
        self.enter = nn.Linear(encoder.width, width)
        self.gap = nn.Parameter(0.02 * torch.randn(width))
        self.layer = Layer(width, heads, 2 * width, 0.0, temporal=False)
        self.norm = nn.LayerNorm(width)
        self.positions, self.readouts = nn.ParameterDict(), nn.ParameterDict()
        for number in encoder.subjects:
            layers = encoder.find(int(number))
            self.positions[number] = nn.Parameter(0.02 * torch.randn(layers.count, width))
            self.readouts[number] = nn.Parameter(torch.randn(len(layers.weight), width, layers.patch) * width**-0.5)

    def forward(
        self, number: int, seen: Float[Tensor, "trial volume kept width"], kept: Int64[Tensor, "trial kept"]
    ) -> Float[Tensor, "trial volume patch voxel"]:
        positions, readout = self.positions[str(number)], self.readouts[str(number)]
        entered = self.enter(seen)
        trials, volumes, _, width = entered.shape
        gaps = self.gap.expand(trials, volumes, len(positions), -1)
        place = kept[:, None, :, None].expand(-1, volumes, -1, width)
        hidden = self.norm(self.layer(gaps.scatter(2, place, entered.to(gaps)) + positions))
        return torch.einsum("ntpw,pwv->ntpv", hidden, readout.expand(len(positions), -1, -1))


def draw_kept(trials: int, patches: int, ratio: float, generator: torch.Generator) -> Int64[Tensor, "trial kept"]:
    """The patches that each trial shows, in random order: a share of 1 - `ratio`, at least one."""
    order = torch.rand(trials, patches, generator=generator).argsort(dim=1)
    return order[:, : max(1, round((1 - ratio) * patches))]


def measure_masked(
    encoder: FmriEncoder,
    decoder: MaskedDecoder,
    signals: Float[Tensor, "trial column volume"],
    subject: Int64[Tensor, " trial"],
    ratio: float,
    generator: torch.Generator,
    *,
    memory: int | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error over the hidden patches of all trials, in parts that fit the device."""
    total, counted = signals.new_zeros(()), 0
    for number in subject.unique().tolist():
        layers = encoder.find(number)
        patches = layers.cut(signals[subject == number])
        kept = draw_kept(len(patches), layers.count, ratio, generator).to(signals.device)
        place = kept[:, None, :, None].expand(-1, patches.shape[1], -1, encoder.width)
        hidden = torch.ones(len(patches), layers.count, device=signals.device).scatter(1, kept, 0.0)

        def measure(
            rows: slice, number=number, layers=layers, patches=patches, kept=kept, place=place, hidden=hidden
        ) -> Float[Tensor, ""]:
            """The sum over all trials, if they are as these."""
            seen = encoder.run(layers.embed(patches[rows]).gather(2, place[rows]))
            error = (decoder(number, seen, kept[rows]) - patches[rows]).square().mean(dim=(1, 3))  # (n, P)
            return (error * hidden[rows]).sum() * (len(patches) / len(seen))

        what = f"masked brain modelling, {len(encoder.layers)} layers of {encoder.width} on {tuple(patches.shape[1:])}"
        options: Any = {"through": [layers.weight], "device": signals.device, "memory": memory}
        total = total + mean_in_parts(what, len(patches), measure, **options)
        counted += int(hidden.sum())
    return total / max(1, counted)
