"""The decoders of the EEG phantom's card, on worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.datasets.phantom.eeg import readers
from bench.datasets.phantom.eeg.readers import Readings


def noise(rng: np.random.Generator, trials: int) -> Readings:
    shape = trials, 62, readers.COSINES
    return Readings(
        rng.standard_normal(shape, dtype=np.float32), rng.standard_normal((trials, 62, 5), dtype=np.float32)
    )


@pytest.mark.parametrize("trials", [20, 90])
def test_ridge_is_least_squares_with_rows_for_the_penalty(trials: int) -> None:
    """Fewer trials than numbers, and more: both ways to solve it give what NumPy's least squares gives."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((trials, 40)), rng.standard_normal((trials, 3))
    inputs -= inputs.mean(axis=0)
    strength = 0.7 * np.square(inputs).sum() / trials
    rows = np.concatenate([inputs, np.sqrt(strength) * np.eye(40)])
    wanted = np.concatenate([targets - targets.mean(axis=0), np.zeros((40, 3))])
    expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(readers.solve_ridge(inputs, targets, 0.7), expected, atol=1e-10)


def test_features_of_a_wave_lie_in_its_band_and_its_cosine() -> None:
    time = np.arange(400) / 200
    signals = np.zeros((1, 62, 400), np.float32) + 1e-3 * np.random.default_rng(0).standard_normal((1, 62, 400))
    signals[0, 5] += np.sin(2 * np.pi * 10 * time)
    signals[0, 6] += np.cos(np.pi * 8 * (np.arange(400) + 0.5) / 400)
    read = readers.read_trials(signals.astype(np.float32))
    assert read.bands[0, 5].argmax() == readers.BAND_NAMES.index("alpha")
    assert np.abs(read.evoked[0, 6]).argmax() == 7 and read.evoked[0, 6, 7] == pytest.approx(np.sqrt(200), rel=1e-3)


def test_scale_takes_gains_away() -> None:
    rng = np.random.default_rng(2)
    one = noise(rng, 50)
    gain = np.exp(rng.standard_normal((62, 1))).astype(np.float32)
    other = Readings(one.evoked * gain, one.bands + 2 * np.log(gain))
    first, second = (readers.measure_scale(part).apply(part) for part in (one, other))
    np.testing.assert_allclose(first.evoked, second.evoked, rtol=1e-4)
    np.testing.assert_allclose(first.bands, second.bands, atol=1e-4)


def test_a_map_brings_back_what_another_head_mixes() -> None:
    rng = np.random.default_rng(1)
    here = rng.standard_normal((200, 62, 20)).astype(np.float32)
    mixing = rng.standard_normal((62, 62))
    there = readers.apply_channels(mixing, here)
    back = readers.fit_channels(there, here, 1e-9, 1e-9)
    np.testing.assert_allclose(readers.apply_channels(back, there), here, atol=0.05)


def test_a_map_from_noisy_trials_is_the_best_linear_estimate() -> None:
    """Closed form, from as many trials as it takes: P Wᵀ (W P Wᵀ + R)⁻¹."""
    rng = np.random.default_rng(2)
    here = rng.standard_normal((3000, 62, 20)).astype(np.float32)
    mixing = rng.standard_normal((62, 62)) / 8
    there = readers.apply_channels(mixing, here) + 2 * rng.standard_normal(here.shape).astype(np.float32)
    expected = mixing.T @ np.linalg.inv(mixing @ mixing.T + 4 * np.eye(62))
    np.testing.assert_allclose(readers.fit_channels(there, here, 1e-9, 1e-9), expected, atol=0.01)


def test_readers_find_what_is_planted_where_it_is() -> None:
    """Evoked in one place, powers in another, the same in four heads of which the last mixes its channels."""
    rng = np.random.default_rng(4)
    labels, test_labels = np.tile(np.arange(4), 20), np.tile(np.arange(4), 10)
    patterns = rng.standard_normal((4, 62, readers.COSINES)).astype(np.float32)
    powers = rng.standard_normal((4, 62, 5)).astype(np.float32)
    mixing = np.linalg.qr(rng.standard_normal((62, 62)))[0].astype(np.float32)
    sessions = {}
    for subject in range(4):
        parts = []
        for own in (labels, test_labels):
            part = noise(rng, len(own))
            evoked, bands = part.evoked + 0.5 * patterns[own], part.bands + 0.0 * powers[own]
            parts.append(Readings(mixing @ evoked if subject == 3 else evoked, bands))
        sessions[subject] = readers.Session(*parts, np.arange(0, 80), np.arange(80))
    found = readers.compare_readers(sessions, labels, test_labels, [0, 1, 2], [3])
    assert min(found["evoked", "own"]) > 0.8 and min(found["evoked", "pooled"]) > 0.9
    assert max(found["bands", "own"]) < 0.6  # chance .25
    assert found["evoked", "new"][0] < 0.5 < 0.8 < found["evoked", "new, mapped"][0]


def test_subjects_are_told_apart_by_their_powers_alone() -> None:
    rng = np.random.default_rng(5)
    train, test = ({s: noise(rng, 40) for s in range(3)} for _ in range(2))
    assert readers.recognise_subjects(train, test).mean() < 0.6
    for part in (train, test):
        part[1].bands[:, :10] += 2
    assert readers.recognise_subjects(train, test)[1] > 0.9


def test_top_accuracy_counts_ranks() -> None:
    scores = np.array([[3.0, 2, 1], [1, 2, 3]])
    assert readers.top_accuracy(scores, np.array([1, 2])) == 0.5
    assert readers.top_accuracy(scores, np.array([1, 2]), 2) == 1.0
