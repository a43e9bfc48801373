"""The readers that show whether what linear readers cannot read can be read, on worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.datasets.phantom.eeg import network
from bench.datasets.phantom.eeg.readers import COSINES, Readings, top_accuracy


def draw(rng: np.random.Generator, count: int, directions: np.ndarray) -> np.ndarray:
    """Trials in which one direction of the channels is louder at 20 Hz, at the same power of every electrode."""
    time = np.arange(400) / 200
    wave = np.sin(2 * np.pi * 20 * time + rng.uniform(0, 2 * np.pi, (count, 1)))
    return (rng.standard_normal((count, 62, 400)) + directions[..., None] * wave[:, None]).astype(np.float32)


def test_covariances_tell_what_powers_of_electrodes_do_not() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 40)
    signs = np.where(rng.random((2, 62)) < 0.5, -0.5, 0.5)  # the same size at every electrode
    covariances = network.measure_covariances(draw(rng, 80, signs[labels]))
    powers = np.log(np.einsum("nbcc->nbc", covariances)).reshape(80, -1)
    logarithms = network.take_logarithms(covariances, np.arange(60))
    found = [
        top_accuracy(network.fit_kernels([one[:60]], labels[:60], [one[60:]]), labels[60:])
        for one in (powers, logarithms)
    ]
    assert found[0] < 0.75 < 0.95 < found[1]  # chance .5


def test_logarithms_are_those_of_matrices() -> None:
    from scipy.linalg import logm

    rng = np.random.default_rng(1)
    parts = rng.standard_normal((5, 3, 62, 90)).astype(np.float32)
    covariances = parts @ parts.swapaxes(2, 3) / 90
    found = network.take_logarithms(covariances, np.arange(5))
    values, vectors = np.linalg.eigh(covariances[:, 1].mean(axis=0).astype(float))
    mixing = (vectors / np.sqrt(values + 1e-3 * values.mean())) @ vectors.T
    white = mixing @ covariances[3, 1] @ mixing
    expected = logm(white + 0.1 * np.trace(white) / 62 * np.eye(62))
    each = 62 * 63 // 2
    own = found[3, each : 2 * each]
    assert np.square(own).sum() == pytest.approx(np.square(expected).sum(), rel=1e-3)
    np.testing.assert_allclose(own[0], expected[0, 0], atol=1e-3)
    np.testing.assert_allclose(own[1], np.sqrt(2) * expected[0, 1], atol=1e-3)


def test_the_network_with_an_activation_learns_a_product_that_a_linear_one_cannot() -> None:
    rng = np.random.default_rng(2)

    def world(count: int) -> tuple[list[Readings], np.ndarray]:
        sign = rng.choice([-1.0, 1.0], (count, 2))
        evoked = 0.3 * rng.standard_normal((count, 62, COSINES))
        evoked[:, :20, :25] += sign[:, :1, None]
        evoked[:, 30:50, 25:] += sign[:, 1:, None]
        return [Readings(evoked.astype(np.float32), np.zeros((count, 62, 5), np.float32))], (sign.prod(axis=1) > 0) * 1

    (train, labels), (test, asked) = world(400), world(200)
    curved, straight = (
        top_accuracy(network.train_network(train, labels, test, activation=one, epochs=6)[0], asked)
        for one in (True, False)
    )
    assert curved > 0.9 and straight < 0.65
