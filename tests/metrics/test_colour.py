from __future__ import annotations

import colorsys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2hsv

from bench.store.video import read_video
from metrics.colour import hue_correlation, hue_cosine


def colours(hue, *, saturation=0.8, value=0.9):
    """A frame of these hues (turns), u8 [h, w, 3]."""
    flat = [colorsys.hsv_to_rgb(h % 1, saturation, value) for h in np.ravel(hue)]
    return np.rint(255 * np.array(flat)).astype(np.uint8).reshape(*np.shape(hue), 3)


def correlation_by_definition(a, b):
    """Jammalamadaka and SenGupta's coefficient of two frames with no grey pixel, by skimage's hue."""
    alpha, beta = (2 * np.pi * rgb2hsv(frame)[..., 0].ravel() for frame in (a, b))
    x, y = (np.sin(angle - np.angle(np.exp(1j * angle).mean())) for angle in (alpha, beta))
    return (x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum())


def test_correlation_equals_its_definition():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (3, 2, 20, 17, 3), dtype=np.uint8)
    a[..., 0] |= 1  # odd red beside even green: no pixel is grey
    a[..., 1] &= 254
    b = np.clip(a + rng.integers(-30, 31, a.shape), 0, 255).astype(np.uint8)
    b[..., 0] |= 1
    b[..., 1] &= 254
    expected = [
        np.mean([correlation_by_definition(*frames) for frames in zip(*pair, strict=True)])
        for pair in zip(a, b, strict=True)
    ]
    assert hue_correlation(a, b) == pytest.approx(expected, abs=1e-5)


def test_correlation_lives_on_the_circle():
    hue = np.random.default_rng(1).vonmises(0, 2, (24, 24)) / (2 * np.pi)  # around red, where numbers jump
    clip = colours(hue)[None, None]
    assert hue_correlation(clip, colours(hue + 0.37)[None, None])[0] == pytest.approx(1, abs=1e-3)
    assert hue_correlation(clip, colours(0.6 - hue)[None, None])[0] == pytest.approx(-1, abs=1e-3)
    dimmed = colours(hue, saturation=0.5, value=0.6)[None, None]
    assert hue_correlation(clip, dimmed)[0] == pytest.approx(1, abs=1e-3)


def test_constant_hue_and_no_hue_are_no_correlation():
    rng = np.random.default_rng(2)
    clip = rng.integers(0, 256, (1, 2, 16, 16, 3), dtype=np.uint8)
    grey = np.repeat(rng.integers(0, 256, (1, 2, 16, 16, 1), dtype=np.uint8), 3, axis=-1)
    one_hue = (np.array([4, 2, 1]) * rng.integers(1, 64, (1, 2, 16, 16, 1))).astype(np.uint8)
    for flat in (np.full_like(clip, 128), grey, one_hue):
        assert hue_correlation(flat, clip)[0] == hue_correlation(clip, flat)[0] == hue_correlation(flat, flat)[0] == 0
    assert hue_cosine(grey, clip)[0] == hue_cosine(grey, grey)[0] == 0


def test_grey_pixels_gain_nothing():
    hue = np.random.default_rng(3).vonmises(0, 1, (32, 32)) / (2 * np.pi)
    truth, guess = colours(hue)[None, None], colours(hue)[None, None]
    guess[..., 8:, :] = 100
    assert 0 < hue_correlation(guess, truth)[0] < 0.7


def cosine_by_definition(a, b):
    x, y = (cv2.cvtColor(frame, cv2.COLOR_BGR2HSV)[:, :, 0].astype(np.float64).ravel() / 360 for frame in (a, b))
    return np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y))


def test_published_cosine_on_real_pairs(real):
    values, correlations = [], []
    for path in sorted((real / "cc2017/mind_video").glob("*.gif")):
        target, predicted = np.split(read_video(path), 2, axis=2)
        values.append(hue_cosine(predicted[None], target[None])[0])
        expected = np.mean([cosine_by_definition(*frames) for frames in zip(predicted, target, strict=True)])
        assert values[-1] == pytest.approx(expected, abs=1e-9)
        correlations.append(hue_correlation(predicted[None], target[None])[0])
    assert np.mean(values) == pytest.approx(0.78, abs=0.03)  # 0.776 on the 16 of which these are 8
    assert abs(np.mean(correlations)) < 0.2  # the same clips: hardly any


def test_red_and_blue_are_exchanged_as_published():
    yellow, cyan = colours(np.full((4, 4), 1 / 6))[None, None], colours(np.full((4, 4), 0.5))[None, None]
    assert hue_cosine(yellow, cyan)[0] == 1  # any two constant hues
    steps = colours(np.linspace(0.05, 0.6, 64).reshape(8, 8))[None, None]
    ordinary = cv2.cvtColor(steps[0, 0], cv2.COLOR_RGB2HSV)[..., 0].astype(float).ravel()
    rising = colours(np.linspace(0.1, 0.3, 64).reshape(8, 8))[None, None]
    other = cv2.cvtColor(rising[0, 0], cv2.COLOR_RGB2HSV)[..., 0].astype(float).ravel()
    unswapped = ordinary @ other / np.sqrt((ordinary @ ordinary) * (other @ other))
    assert abs(hue_cosine(steps, rising)[0] - unswapped) > 0.01


@pytest.mark.parametrize("metric", [hue_cosine, hue_correlation])
@given(seed=st.integers(0, 2**32 - 1), grey=st.floats(0, 0.9))
@settings(max_examples=15)
def test_bounds_best_value_and_rows(metric, seed, grey):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, 3, 2, 9, 8, 3), dtype=np.uint8)
    a[rng.random(a.shape[:-1]) < grey] = 90
    values = metric(a, b)
    assert values.dtype == np.float64 and values.shape == (3,)
    assert (np.abs(values) <= 1 + 1e-12).all() and (metric is hue_correlation or (values >= 0).all())
    assert metric(b, b) == pytest.approx(1, abs=1e-9)
    assert metric(b, a) == pytest.approx(values, abs=1e-12)
    order = rng.permutation(3)
    assert np.array_equal(metric(a[order], b[order]), values[order])
    assert np.array_equal(np.concatenate([metric(a[:1], b[:1]), metric(a[1:], b[1:])]), values)


def test_more_noise_correlates_less():
    rng = np.random.default_rng(4)
    clip = colours(rng.vonmises(1, 3, (24, 24)) / (2 * np.pi))[None, None]
    noise = rng.normal(0, 1, clip.shape)
    values = [hue_correlation(np.clip(clip + s * noise, 0, 255).astype(np.uint8), clip)[0] for s in (0, 5, 20, 60, 150)]
    assert values == sorted(values, reverse=True) and values[0] == pytest.approx(1)


@pytest.mark.parametrize("metric", [hue_cosine, hue_correlation])
def test_unequal_shapes_are_refused(metric):
    clip = np.zeros((1, 6, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=r"6 frames.*5 frames"):
        metric(clip, clip[:, 1:])
