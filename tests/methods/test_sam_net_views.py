"""What SAM-Net's encoders see beside waveforms: powers in bands, at each subject's level."""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import hilbert

from methods.sam_net.views import Recording, join, measure_level, measure_powers, take_powers

RATE = 200.0
BANDS = ((8.0, 13.0), (35.0, 80.0))


def tones(*parts: tuple[float, float]) -> torch.Tensor:
    """One channel of two seconds: cosines of these frequencies and amplitudes."""
    time = np.arange(400) / RATE
    return torch.from_numpy(sum(a * np.cos(2 * np.pi * f * time + f) for f, a in parts)).float()[None, None]


def test_a_tone_has_its_amplitude_squared_in_its_band_and_nothing_elsewhere() -> None:
    powers = take_powers(tones((10.0, 3.0), (60.0, 0.5)), RATE, BANDS, 100).exp()
    torch.testing.assert_close(powers[0, 0, 0], torch.full((100,), 9.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(powers[0, 1, 0], torch.full((100,), 0.25), rtol=1e-3, atol=0)
    assert take_powers(tones((20.0, 3.0)), RATE, BANDS, 100).exp().max() < 1e-4


def test_powers_are_those_of_scipys_analytic_signal_and_follow_time() -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal(400)
    signal[200:] *= 4
    spectrum = np.fft.rfft(signal)
    frequency = np.fft.rfftfreq(400, 1 / RATE)
    band = np.fft.irfft(spectrum * ((frequency >= 35) & (frequency <= 80)), 400)
    power = np.abs(hilbert(band)) ** 2
    mean = [power[max(0, at - 40) : at + 41].mean() for at in range(400)]
    made = take_powers(torch.from_numpy(signal).float()[None, None], RATE, BANDS, 400).exp()[0, 1, 0]
    np.testing.assert_allclose(made, mean, rtol=1e-3)
    assert made[300:].mean() > 8 * made[:100].mean()


def test_powers_of_many_trials_are_those_of_each_and_as_long_as_the_slow_signals() -> None:
    fast = torch.randn(300, 3, 400, generator=torch.Generator().manual_seed(0))
    recording = Recording(fast[:, :, ::4], fast, RATE)
    whole = measure_powers(recording, BANDS)
    assert whole.shape == (300, 2, 3, 100)
    torch.testing.assert_close(whole[250], measure_powers(recording[[250]], BANDS)[0])
    level = measure_level(whole).apply(whole)
    torch.testing.assert_close(level.mean(dim=(0, 3)), torch.zeros(2, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(level.std(dim=(0, 3)), torch.ones(2, 3), atol=1e-3, rtol=0)


def test_a_recording_is_mixed_at_both_rates_and_joined_in_order() -> None:
    slow, fast = torch.randn(4, 3, 5), torch.randn(4, 3, 20)
    matrix = torch.randn(3, 3, dtype=torch.float64)
    recording = Recording(slow, fast, RATE)
    mixed = recording.mix(matrix)
    torch.testing.assert_close(mixed.slow, torch.einsum("dc,nct->ndt", matrix.float(), slow))
    torch.testing.assert_close(mixed.fast, torch.einsum("dc,nct->ndt", matrix.float(), fast))
    again = join([recording[:1], recording[1:]])
    assert torch.equal(again.slow, slow) and torch.equal(again.fast, fast)
    assert join([Recording(slow, None, RATE), Recording(slow, None, RATE)]).fast is None
