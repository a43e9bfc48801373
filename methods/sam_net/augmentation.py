"""EEG augmentation (§3.1): noise on every sample, then whole electrodes dropped.

`E_Augment = RD(E + N(mu, sigma^2))`, in training only. The paper gives neither mu, sigma nor the dropout rate. Signals
reach a method at unit variance, so sigma is a share of the signal's own deviation. A kept electrode is not scaled up:
the electrode attention that follows scales each electrode anyway, and an electrode's scale is part of what it reads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.sam_net.views import Views


def augment(
    views: Views,
    *,
    noise_mean: float,
    noise_deviation: float,
    electrode_dropout: float,
    generator: torch.Generator,
) -> Views:
    """Noisy views with some electrodes silenced in both, each electrode of each trial by itself.

    The generator lives on the CPU whatever the signals' device: one seed, one stream on every machine.
    """

    def disturb(values: Tensor) -> Tensor:
        noise = torch.randn(values.shape, generator=generator).to(values.device)
        return values + noise_mean + noise_deviation * noise

    waveforms, powers = views.waveforms, views.powers
    if noise_mean or noise_deviation:
        waveforms, powers = disturb(waveforms), None if powers is None else disturb(powers)
    if electrode_dropout:
        kept = (torch.rand(waveforms.shape[:2], generator=generator) >= electrode_dropout).to(waveforms)  # (B, C)
        waveforms = waveforms * kept[:, :, None]
        powers = None if powers is None else powers * kept[:, None, :, None]
    return Views(waveforms, powers)
