"""What SAM-Net's encoders see beside waveforms: powers in bands, at each subject's level."""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import hilbert

from methods.sam_net.covariance import apply_map
from methods.sam_net.views import Mapper, Recording, Viewer, measure_level, measure_powers, take_powers

RATE = 200.0
BANDS = ((8.0, 13.0), (35.0, 80.0))
PLAIN = [torch.eye(1, dtype=torch.float64)] * 2


def tones(*parts: tuple[float, float]) -> torch.Tensor:
    """One channel of two seconds: cosines of these frequencies and amplitudes."""
    time = np.arange(400) / RATE
    return torch.from_numpy(sum(a * np.cos(2 * np.pi * f * time + f) for f, a in parts)).float()[None, None]


def test_a_tone_has_its_amplitude_squared_in_its_band_and_nothing_elsewhere() -> None:
    powers = take_powers(tones((10.0, 3.0), (60.0, 0.5)), RATE, BANDS, PLAIN, 100).exp()
    torch.testing.assert_close(powers[0, 0, 0], torch.full((100,), 9.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(powers[0, 1, 0], torch.full((100,), 0.25), rtol=1e-3, atol=0)
    assert take_powers(tones((20.0, 3.0)), RATE, BANDS, PLAIN, 100).exp().max() < 1e-4


def test_powers_are_those_of_scipys_analytic_signal_and_follow_time() -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal(400)
    signal[200:] *= 4
    spectrum = np.fft.rfft(signal)
    frequency = np.fft.rfftfreq(400, 1 / RATE)
    band = np.fft.irfft(spectrum * ((frequency >= 35) & (frequency <= 80)), 400)
    power = np.abs(hilbert(band)) ** 2
    mean = [power[max(0, at - 40) : at + 41].mean() for at in range(400)]
    made = take_powers(torch.from_numpy(signal).float()[None, None], RATE, BANDS, PLAIN, 400).exp()[0, 1, 0]
    np.testing.assert_allclose(made, mean, rtol=1e-3)
    assert made[300:].mean() > 8 * made[:100].mean()


def test_powers_of_many_trials_are_those_of_each_and_as_long_as_the_slow_signals() -> None:
    fast = torch.randn(300, 3, 400, generator=torch.Generator().manual_seed(0))
    recording = Recording(fast[:, :, ::4], fast, RATE)
    spheres = [torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.ones(3, 3)]
    whole = measure_powers(recording, BANDS, spheres, 25)
    assert whole.shape == (300, 2, 3, 25)
    torch.testing.assert_close(whole[250], measure_powers(recording[[250]], BANDS, spheres, 25)[0])
    mixed = Recording(recording.slow, apply_map(spheres[0], fast), RATE)  # of the first band, by hand
    plain = measure_powers(mixed, BANDS[:1], [torch.eye(3)], 25)
    torch.testing.assert_close(whole[:, 0], plain[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole[:, 1, 0], whole[:, 1, 2])  # a sphere that makes all channels alike
    level = measure_level(whole).apply(whole)
    torch.testing.assert_close(level.mean(dim=(0, 3)), torch.zeros(2, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(level.std(dim=(0, 3)), torch.ones(2, 3), atol=1e-3, rtol=0)


def test_a_band_s_map_comes_before_its_power() -> None:
    slow, fast = torch.randn(4, 3, 5), torch.randn(4, 3, 400)
    recording = Recording(slow, fast, RATE)
    viewer = Viewer([[0, 1, 2]], BANDS, steps=5, shrinkage=(0.0, 0.0))
    viewer.learn_spheres(recording, np.zeros(4, np.int64))
    first, second = torch.randn(2, 3, 3, dtype=torch.float64)
    mapped = viewer.measure(recording, Mapper(torch.eye(3), bands=(first, second)))
    for band, matrix in enumerate((first, second)):
        mixed = Recording(slow, apply_map(matrix, fast), RATE)
        torch.testing.assert_close(mapped[:, band], viewer.measure(mixed)[:, band], atol=1e-4, rtol=1e-4)


def test_each_band_is_sphered_by_its_own_covariance_over_the_known_subjects() -> None:
    """Two channels that share gamma and have alpha of their own: uncorrelated in both, each with its own power."""
    rng = np.random.default_rng(1)
    time = np.arange(400) / RATE

    def draw_noise(low: float, high: float) -> np.ndarray:
        frequency = np.arange(low, high, 0.5)
        phase = rng.uniform(0, 2 * np.pi, (240, len(frequency), 1))
        size = rng.standard_normal(phase.shape) * np.exp(0.5 * rng.standard_normal((240, 1, 1)))
        return (size * np.cos(2 * np.pi * frequency[:, None] * time + phase)).sum(axis=1).reshape(120, 2, 400)

    alpha, gamma = draw_noise(8, 13), draw_noise(36, 79)
    mixed = np.einsum("dc,nct->ndt", np.array([[1.0, 0.9], [0.9, 1.0]]), gamma)
    signals = torch.from_numpy(alpha + mixed).float()
    recording = Recording(signals[:, :, ::4], signals, RATE)
    subject = np.repeat([3, 8], 60)
    viewer = Viewer([[0, 1]], BANDS, steps=25, shrinkage=(0.0, 0.0))
    viewer.learn_spheres(recording, subject)
    for sphere, part in zip(viewer.band_spheres, (alpha, mixed), strict=True):
        made = sphere.numpy() @ np.cov(part.transpose(1, 0, 2).reshape(2, -1)) @ sphere.numpy().T
        np.testing.assert_allclose(made / made[0, 0], np.eye(2), atol=0.1)
    viewer.learn_levels(recording, subject)
    powers = viewer.see(recording, subject).powers
    assert powers is not None
    mine, own = powers[:, 1].mean(dim=2).numpy(), np.log(np.square(gamma).mean(axis=2))
    likeness = [np.corrcoef(mine[:, one], own[:, other])[0, 1] for one in (0, 1) for other in (0, 1)]
    assert min(likeness[0], likeness[3]) > 0.8 and max(map(abs, likeness[1:3])) < 0.5
    order = rng.permutation(120)
    seen = viewer.see(recording[order], subject[order]).powers
    torch.testing.assert_close(seen, powers[order], atol=1e-4, rtol=1e-4)
