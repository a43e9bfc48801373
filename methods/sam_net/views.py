"""What HRT sees of a trial: the waveform of each electrode, and its power in some bands.

The paper gives HRT raw EEG. Half of what SEED-DV's subjects show of a concept lies in the power of rhythms without a
fixed phase (public re-runs read at least as much from band powers as from waveforms, and EEG2Video's semantic
predictor reads nothing else), which convolutions of a low-passed signal cannot see. So the text encoder gets, beside
the waveforms, the logarithm of each electrode's power in each band over time (`power_bands`; `--ablation reading` has
the raw signals alone).

A band is sphered by itself, with the known subjects' covariance in it: an electrode's power is then its own and not its
neighbours'. The level of powers is a subject's own (hair, skull, muscles), so they are brought to its mean and
deviation, as the harness does with the signals themselves: without labels, of a new subject by its calibration trials.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from methods.sam_net.covariance import ChannelMap, Signals, apply_map, average_covariance, sphere_groups

Band = tuple[float, float]  # Hz, both ends in it
Powers = Float[Tensor, "trial band channel step"]
Spectrum = Tensor  # c64 [trial, channel, frequency]

WINDOW = 0.4  # seconds that a power is averaged over
CHUNK = 128  # trials at once
FAINT = 1e-6  # of the signals' unit power, added before the logarithm


@dataclass(frozen=True)
class Recording:
    """Trials at the encoder's rate, and as fast as powers need them (None where none are looked at)."""

    slow: Signals
    fast: Signals | None
    rate: float  # Hz, of `fast`

    def __getitem__(self, rows: Any) -> Recording:
        return Recording(self.slow[rows], None if self.fast is None else self.fast[rows], self.rate)


@dataclass(frozen=True)
class Mapper:
    """How a new subject's trials are made those of the known ones: mixtures of channels, each for one view."""

    waveforms: ChannelMap
    bands: tuple[ChannelMap, ...] = ()  # of the signals in each band, before a power is taken
    powers: Float[Tensor, "band channel channel"] | None = None  # of the powers at the subject's level

    def __len__(self) -> int:
        """How many numbers it has."""
        return sum(one.numel() for one in (self.waveforms, *self.bands, self.powers) if one is not None)


@dataclass(frozen=True)
class Views:
    """What the encoders are given: waveforms, and powers for the text encoder, if any."""

    waveforms: Signals
    powers: Powers | None

    def __len__(self) -> int:
        return len(self.waveforms)

    def __getitem__(self, rows: Any) -> Views:
        return Views(self.waveforms[rows], None if self.powers is None else self.powers[rows])

    def split(self, size: int) -> Iterator[Views]:
        return (self[start : start + size] for start in range(0, len(self), size))


Maps = Mapping[int, Mapper]  # by subject
NOBODY: Maps = {}


def join_views(parts: Sequence[Views]) -> Views:
    powers = [part.powers for part in parts if part.powers is not None]
    return Views(torch.cat([part.waveforms for part in parts]), torch.cat(powers) if powers else None)


def rows_by_subject(subject: Int64[np.ndarray, " trial"]) -> dict[int, Int64[np.ndarray, " row"]]:
    return {int(number): np.flatnonzero(subject == number) for number in np.unique(subject)}


def find_band(time: int, rate: float, band: Band) -> Tensor:
    frequency = torch.fft.rfftfreq(time, 1 / rate)
    return (frequency >= band[0]) & (frequency <= band[1])


class Viewer:
    """Makes views of recordings, with what it has learnt of the known subjects (spheres) and of each one (levels)."""

    def __init__(
        self, groups: Sequence[Sequence[int]], bands: Sequence[Band], *, steps: int, shrinkage: tuple[float, float]
    ) -> None:
        """`groups` of electrodes are sphered together, none where it is empty; shrinkage of waveforms and of bands."""
        self.groups, self.bands, self.steps, self.shrinkage = groups, bands, steps, shrinkage
        self.levels: dict[int, Level] = {}

    def learn_spheres(self, recording: Recording, subject: Int64[np.ndarray, " trial"]) -> None:
        """One sphere of waveforms and one of each band, by the mean over subjects of each one's covariance."""
        index = torch.from_numpy(np.unique(subject, return_inverse=True)[1])
        self.sphere = self.make_sphere(average_covariance(recording.slow, index.to(recording.slow.device)), 0)
        self.band_covariances = [average_band_covariance(recording, subject, band) for band in self.bands]
        self.band_spheres = [self.make_sphere(covariance, 1) for covariance in self.band_covariances]

    def make_sphere(self, covariance: ChannelMap, kind: int) -> ChannelMap:
        if not self.groups:
            return torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        return sphere_groups(covariance, self.groups, self.shrinkage[kind])

    def learn_levels(self, recording: Recording, subject: Int64[np.ndarray, " trial"], maps: Maps = NOBODY) -> None:
        """Each subject's usual powers."""
        for number, rows in rows_by_subject(subject).items() if self.bands else ():
            self.levels[number] = measure_level(self.measure(recording[rows], maps.get(number)))

    def measure(self, recording: Recording, mapper: Mapper | None = None) -> Powers:
        spheres = self.band_spheres
        if mapper is not None and mapper.bands:
            spheres = [sphere @ matrix for sphere, matrix in zip(spheres, mapper.bands, strict=True)]
        return measure_powers(recording, self.bands, spheres, self.steps)

    def see(self, recording: Recording, subject: Int64[np.ndarray, " trial"], maps: Maps = NOBODY) -> Views:
        """Views of trials, in their order, each with its subject's level and through its map where it has one."""
        parts = rows_by_subject(subject)
        seen = [self.view(recording[rows], self.levels.get(one), maps.get(one)) for one, rows in parts.items()]
        return join_views(seen)[np.argsort(np.concatenate(list(parts.values())))]

    def view(self, recording: Recording, level: Level | None = None, mapper: Mapper | None = None) -> Views:
        """Views of one subject's trials, at this level or at their own."""
        powers = None
        if self.bands:
            powers = self.measure(recording, mapper)
            powers = (level or measure_level(powers)).apply(powers)
            if mapper is not None and mapper.powers is not None:
                powers = torch.einsum("bdc,nbct->nbdt", mapper.powers.to(powers), powers)
        waveforms = recording.slow if mapper is None else apply_map(mapper.waveforms, recording.slow)
        return Views(apply_map(self.sphere, waveforms), powers)


def average_band_covariance(recording: Recording, subject: Int64[np.ndarray, " trial"], band: Band) -> ChannelMap:
    parts = [recording[rows] for rows in rows_by_subject(subject).values()]
    return torch.stack([measure_band_covariance(part, band) for part in parts]).mean(dim=0)


def measure_band_covariance(recording: Recording, band: Band) -> ChannelMap:
    """Mean product of channels in the band, over trials and frequencies; zero where it holds no frequency."""
    assert recording.fast is not None, "read without powers"
    signals, rate = recording.fast, recording.rate
    kept = find_band(signals.shape[2], rate, band)
    total = torch.zeros(signals.shape[1], signals.shape[1], dtype=torch.float64, device=signals.device)
    for part in signals.split(CHUNK):
        inside = torch.fft.rfft(part, dim=2)[:, :, kept].transpose(0, 1).flatten(1)  # (C, n*F)
        total += (inside @ inside.conj().T).real.double()
    return total / max(1, len(signals) * int(kept.sum()))


def measure_powers(recording: Recording, bands: Sequence[Band], spheres: Sequence[ChannelMap], steps: int) -> Powers:
    """Logarithm of the power of each channel, sphered in each band, at `steps` evenly spread times."""
    assert recording.fast is not None, "read without powers"
    parts = recording.fast.split(CHUNK)
    return torch.cat([take_powers(part, recording.rate, bands, spheres, steps) for part in parts])


def take_powers(
    signals: Signals, rate: float, bands: Sequence[Band], spheres: Sequence[ChannelMap], steps: int
) -> Powers:
    time = signals.shape[2]
    spectrum = torch.fft.rfft(signals, dim=2)
    window = 2 * round(WINDOW * rate / 2) + 1  # odd, so that times keep their place
    out = []
    for band, sphere in zip(bands, spheres, strict=True):
        one_sided = torch.zeros(*signals.shape, dtype=spectrum.dtype, device=signals.device)  # no negative frequencies
        kept = find_band(time, rate, band).nonzero()[:, 0]
        one_sided[:, :, kept] = 2 * (sphere.to(spectrum) @ spectrum[:, :, kept])
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
    """Over trials and time. A band that holds nothing stays at its mean."""
    over = (0, 3)
    return Level(powers.mean(dim=over, keepdim=True), powers.std(dim=over, keepdim=True).clamp_min(0.01))
