"""What HRT sees of a trial: the waveform of each electrode, and its power in some bands.

The paper gives HRT raw EEG. Half of what SEED-DV's subjects show of a concept lies in the power of rhythms without a
fixed phase (public re-runs read at least as much from band powers as from waveforms, and EEG2Video's semantic
predictor reads nothing else), which convolutions of a low-passed signal cannot see. So each electrode brings, beside
its waveform, the logarithm of its power in each band over time (`power_bands`; `--ablation reading` has the raw signals
alone).

Powers are those of the signals that HRT gets: after a new subject's map and after sphering, so that an electrode has
its own and not its neighbours'. Their level is a subject's own (hair, skull, muscles), so they are brought to its mean
and deviation, as the harness does with the signals themselves: without labels, of a new subject by its calibration
trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from methods.sam_net.covariance import ChannelMap, Signals, apply_map

WINDOW = 0.4  # seconds that a power is averaged over
CHUNK = 128  # trials at once
FAINT = 1e-6  # of the signals' unit power, added before the logarithm

Rows = Any  # what indexes trials
Powers = Float[Tensor, "trial band channel step"]


@dataclass
class Recording:
    """Trials at the encoder's rate, and as fast as powers need them (None where none are looked at)."""

    slow: Signals
    fast: Signals | None
    rate: float  # Hz, of `fast`

    def __getitem__(self, rows: Rows) -> Recording:
        return Recording(self.slow[rows], None if self.fast is None else self.fast[rows], self.rate)

    def mix(self, matrix: ChannelMap) -> Recording:
        """Another mixture of the channels."""
        fast = None if self.fast is None else apply_map(matrix, self.fast)
        return Recording(apply_map(matrix, self.slow), fast, self.rate)


def join(parts: Sequence[Recording]) -> Recording:
    fast = [part.fast for part in parts if part.fast is not None]
    return Recording(torch.cat([part.slow for part in parts]), torch.cat(fast) if fast else None, parts[0].rate)


def measure_powers(recording: Recording, bands: Sequence[tuple[float, float]]) -> Powers:
    """Logarithm of the power of each channel in each band (Hz, both ends in it), at the times of the slow signals."""
    assert recording.fast is not None, "read without powers"
    parts = recording.fast.split(CHUNK)
    return torch.cat([take_powers(part, recording.rate, bands, recording.slow.shape[2]) for part in parts])


def take_powers(signals: Signals, rate: float, bands: Sequence[tuple[float, float]], steps: int) -> Powers:
    time = signals.shape[2]
    spectrum = torch.fft.rfft(signals, dim=2)
    frequency = torch.fft.rfftfreq(time, 1 / rate, device=signals.device)
    window = 2 * round(WINDOW * rate / 2) + 1  # odd, so that times keep their place
    out = []
    for low, high in bands:
        kept = (frequency >= low) & (frequency <= high)
        one_sided = functional.pad(2 * spectrum * kept, (0, time - spectrum.shape[2]))  # no negative frequencies
        power = torch.fft.ifft(one_sided, dim=2).abs().square()  # of the analytic signal
        mean = functional.avg_pool1d(power, window, stride=1, padding=window // 2, count_include_pad=False)
        out.append((functional.interpolate(mean, steps, mode="linear") + FAINT).log())
    return torch.stack(out, dim=1)


@dataclass(frozen=True)
class Level:
    """A subject's usual log powers."""

    mean: Float[Tensor, "1 band channel 1"]
    deviation: Float[Tensor, "1 band channel 1"]

    def apply(self, powers: Powers) -> Powers:
        return (powers - self.mean) / self.deviation


def measure_level(powers: Powers) -> Level:
    over = (0, 3)
    return Level(
        powers.mean(dim=over, keepdim=True), powers.std(dim=over, keepdim=True).clamp_min(0.01)
    )  # a band that holds nothing stays at its mean
