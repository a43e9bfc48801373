"""The Hybrid Region-Temporal encoder (§3.1): from EEG to text embeddings E and video latents L.

    electrode attention (1) → five regions, one extractor each (2, 3) → multi-scale temporal perception (4) → heads

Where the paper leaves a choice:

- (1) pools each electrode's *mean* over time. EEG is high-passed, so that mean is close to zero and the gate sees
  almost nothing. `attention_pool="log_power"` pools the logarithm of the power instead. No difference was measured
  between the two (README), so the paper's mean is the default.
- (2) does not say which electrode belongs where. Names decide (`REGION_OF`): FC with the central, CP with the
  parietal, FT and TP with the temporal, PO and CB with the occipital electrodes; 14, 16, 14, 6 and 12 of 62.
- (3) gives no kernel and no stride. A quarter of a second covers an evoked component; steps of 80 ms did no worse than
  steps of 40 ms at half the cost.
- (4) concatenates three convolutions of the keys. Concatenated along time there would be three times as many keys
  as values; so they are concatenated along channels, each convolution giving a third of the width, and every step has
  one key and one value. A learned position is added to K_tem: without it the queries could not tell *when*, and an
  evoked response is known by its latency. Queries and positions begin as codes of evenly spread times, so that each
  query begins by reading its own span; from random ones all queries begin by reading the mean over time.
- (4) composes L layers. Layer l attends with the output of layer l-1 (the learned Q for the first) to the same keys
  and values and then applies a standard transformer layer among the queries, as in BoQ, which the paper cites.
- L is written B × H/8 × W/8; the text calls it a latent *sequence* that stands for the noise of a video model, so it is
  read as frames × channels × H/8 × W/8 (6 × 4 × 36 × 64 for the paper's videos).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from bench.core.errors import BenchError, UnknownElectrode
from methods.sam_net.parameters import REGIONS
from methods.sam_net.views import Views

REGION_OF = {
    **dict.fromkeys(("FP", "AF", "F"), "frontal"),
    **dict.fromkeys(("CP", "P"), "parietal"),
    **dict.fromkeys(("FC", "C"), "central"),
    **dict.fromkeys(("FT", "T", "TP"), "temporal"),
    **dict.fromkeys(("PO", "O", "CB", "I"), "occipital"),
}
SCALES = (5, 11, 21)  # kernels of (4), in steps
POWER_KERNEL = 5  # of (3) for powers, in steps


def assign_regions(channels: Sequence[str]) -> dict[str, list[int]]:
    """Indices of the electrodes over each of the five regions, by the letters of the 10-10 names.

    Raises UnknownElectrode. Every electrode is in exactly one region.
    """
    members: dict[str, list[int]] = {region: [] for region in REGIONS}
    for index, channel in enumerate(channels):
        letters = channel.upper().rstrip("0123456789").removesuffix("Z")
        if letters not in REGION_OF:
            raise UnknownElectrode(
                f"electrode {channel!r} is over no known region; names begin with one of {', '.join(REGION_OF)} "
                "(10-10 system); rename or drop the channel"
            )
        members[REGION_OF[letters]].append(index)
    return members


class ElectrodeAttention(nn.Module):
    """A weight between 0 and 1 for each electrode of each trial, equation (1)."""

    def __init__(self, channels: int, *, pool: str) -> None:
        super().__init__()
        self.pool = pool
        self.gate = nn.Sequential(
            nn.Linear(channels, max(1, channels // 4)),
            nn.ReLU(),
            nn.Linear(max(1, channels // 4), channels),
            nn.Sigmoid(),
        )

    def forward(self, views: Views) -> Views:
        weights = self.weigh(views.waveforms)
        powers = None if views.powers is None else weights[:, None, :, None] * views.powers
        return Views(weights[:, :, None] * views.waveforms, powers)

    def weigh(self, signals: Float[Tensor, "trial channel time"]) -> Float[Tensor, "trial channel"]:
        if self.pool == "mean":
            pooled = signals.mean(dim=2)  # (B, C)
        else:
            pooled = (signals.square().mean(dim=2) + 1e-3).log()  # a silent electrode is quiet, not minus infinity
        return self.gate(pooled)


class RegionExtractors(nn.Module):
    """Conv → GELU → BN → dropout for each region, concatenated and projected, equations (2) and (3)."""

    def __init__(
        self, sizes: Sequence[int], *, bands: int, filters: int, kernel: int, stride: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.sizes = list(sizes)  # electrodes of each region; they come region by region
        self.extractors = nn.ModuleList(
            make_extractor(size, filters, kernel, stride=stride, dropout=dropout) for size in self.sizes
        )
        self.power_extractors = nn.ModuleList(
            make_extractor(bands * size, filters, POWER_KERNEL, stride=1, dropout=dropout)
            for size in self.sizes
            if bands
        )
        self.project = nn.Linear(filters * (len(self.extractors) + len(self.power_extractors)), width)

    def forward(self, views: Views) -> Float[Tensor, "trial step width"]:
        parts = views.waveforms.split(self.sizes, dim=1)
        regions = [extract(part) for extract, part in zip(self.extractors, parts, strict=True)]
        if self.power_extractors:
            assert views.powers is not None, "built for powers"
            powers = views.powers.split(self.sizes, dim=2)
            regions += [
                extract(part.flatten(1, 2)) for extract, part in zip(self.power_extractors, powers, strict=True)
            ]
        return self.project(torch.cat(regions, dim=1).transpose(1, 2))  # (B, R*F, S) -> (B, S, width)


def make_extractor(channels: int, filters: int, kernel: int, *, stride: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(channels, filters, kernel, stride=stride, padding=kernel // 2),
        nn.GELU(),
        nn.BatchNorm1d(filters),
        nn.Dropout(dropout),
    )


def count_steps(samples: int, stride: int) -> int:
    """How many steps an extractor makes of a trial (an odd kernel keeps the places of its steps)."""
    return (samples - 1) // stride + 1


class TemporalPerception(nn.Module):
    """Learned queries attend to keys convolved at three time scales, equation (4)."""

    def __init__(self, steps: int, *, width: int, queries: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        thirds = [width // len(SCALES)] * len(SCALES)
        thirds[0] += width - sum(thirds)
        self.queries = nn.Parameter(encode_times((torch.arange(queries) + 0.5) / queries, width, heads))
        self.position = nn.Parameter(2.0 * encode_times((torch.arange(steps) + 0.5) / steps, width, heads))
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.scales = nn.ModuleList(
            nn.Conv1d(width, part, kernel, padding=kernel // 2) for part, kernel in zip(thirds, SCALES, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.heads = heads

    def forward(self, spatial: Float[Tensor, "trial step width"]) -> Float[Tensor, "trial query width"]:
        key = self.key(spatial).transpose(1, 2)  # (B, width, S)
        key = torch.cat([scale(key) for scale in self.scales], dim=1).transpose(1, 2)  # K_tem: (B, S, width)
        key = key + self.position
        value = self.value(spatial)
        state = self.queries.expand(len(spatial), -1, -1)  # (B, Q, width)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            read = functional.scaled_dot_product_attention(
                self.split(norm(state)), self.split(key), self.split(value)
            )  # (B, heads, Q, width/heads)
            state = layer(state + read.transpose(1, 2).flatten(2))
        return state

    def split(self, tokens: Float[Tensor, "trial token width"]) -> Float[Tensor, "trial head token part"]:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)


def encode_times(times: Float[Tensor, " token"], width: int, heads: int) -> Float[Tensor, "token width"]:
    """Cosines and sines of times in 0..1, the same for each head: the product of two codes peaks where they agree."""
    frequencies = torch.arange(1, width // heads // 2 + 1)
    angles = 2 * torch.pi * times[:, None] * frequencies / 2
    code = torch.cat([angles.cos(), angles.sin()], dim=1)
    code = functional.pad(code, (0, width // heads - code.shape[1]))
    return code.repeat(1, heads)


class HybridRegionTemporalEncoder(nn.Module):
    """The paper's encoder: features of a trial from the electrodes of the chosen regions.

    With `bands`, each region has a second extractor for the powers of its electrodes, which share their weights.
    """

    used: Tensor  # indices of these electrodes, region by region

    def __init__(
        self,
        channels: Sequence[str],
        samples: int,
        *,
        regions: Sequence[str],
        attention_pool: str,
        bands: int,
        filters: int,
        kernel: int,
        stride: int,
        width: int,
        queries: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        members = [indices for region, indices in assign_regions(channels).items() if region in regions and indices]
        if not members:
            raise BenchError(f"no electrode of {list(channels)} lies over {list(regions)}; name other regions")
        self.register_buffer("used", torch.tensor([index for indices in members for index in indices]))
        self.attention = ElectrodeAttention(len(self.used), pool=attention_pool)
        self.extractors = RegionExtractors(
            [len(indices) for indices in members],
            bands=bands,
            filters=filters,
            kernel=kernel,
            stride=stride,
            width=width,
            dropout=dropout,
        )
        self.temporal = TemporalPerception(
            count_steps(samples, stride), width=width, queries=queries, layers=layers, heads=heads, dropout=dropout
        )

    def forward(self, views: Views) -> Float[Tensor, "trial query width"]:
        powers = None if views.powers is None else views.powers[:, :, self.used]
        used = Views(views.waveforms[:, self.used], powers)
        return self.temporal(self.extractors(self.attention(used)))


class PlainEncoder(nn.Module):
    """What stands in for HRT in "w/o HRT": one convolution over all electrodes, pooled in time.

    The paper does not name its substitute. This is an HRT without what HRT adds: no electrode attention, no regions,
    no scales and no queries; the block of (3) and as many feature vectors, one for each of `queries` spans of time.
    """

    def __init__(
        self,
        channels: int,
        *,
        bands: int,
        filters: int,
        kernel: int,
        stride: int,
        width: int,
        queries: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.extract = make_extractor(channels, filters, kernel, stride=stride, dropout=dropout)
        self.extract_powers = (
            make_extractor(bands * channels, filters, POWER_KERNEL, stride=1, dropout=dropout) if bands else None
        )
        self.pool = nn.AdaptiveAvgPool1d(queries)
        self.project = nn.Linear(filters * (2 if bands else 1), width)

    def forward(self, views: Views) -> Float[Tensor, "trial query width"]:
        parts = [self.extract(views.waveforms)]
        if self.extract_powers is not None:
            assert views.powers is not None, "built for powers"
            parts.append(self.extract_powers(views.powers.flatten(1, 2)))
        return self.project(self.pool(torch.cat(parts, dim=1)).transpose(1, 2))
