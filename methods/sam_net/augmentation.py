"""EEG augmentation (§3.1): noise on every sample, then whole electrodes dropped.

`E_Augment = RD(E + N(mu, sigma^2))`, in training only. The paper gives neither mu, sigma nor the dropout rate. Signals
reach a method at unit variance, so sigma is a share of the signal's own deviation. A kept electrode is not scaled up:
the electrode attention that follows scales each electrode anyway, and an electrode's scale is part of what it reads.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def augment(
    signals: Float[Tensor, "trial view channel time"],
    *,
    noise_mean: float,
    noise_deviation: float,
    electrode_dropout: float,
    generator: torch.Generator,
) -> Float[Tensor, "trial view channel time"]:
    """Noisy signals with some electrodes silenced in all views, each electrode of each trial by itself.

    The generator lives on the CPU whatever the signals' device: one seed, one stream on every machine.
    """
    if noise_mean or noise_deviation:
        noise = torch.randn(signals.shape, generator=generator).to(signals.device)
        signals = signals + noise_mean + noise_deviation * noise
    if electrode_dropout:
        kept = torch.rand(signals.shape[0], signals.shape[2], generator=generator) >= electrode_dropout  # (B, C)
        signals = signals * kept[:, None, :, None].to(signals)
    return signals
