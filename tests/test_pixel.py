from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageSequence
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from metrics.pixel import PSNR_CAP, psnr, ssim

REAL = Path(__file__).parents[1].parent / "shared/real/seed_dv"


def read_gif(path):
    with Image.open(path) as image:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def noisy_pair(rng, shape):
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    smooth = np.stack([[cv2.GaussianBlur(frame, (0, 0), 2) for frame in clip] for clip in noise])
    return smooth, np.clip(smooth + rng.normal(0, 25, shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(3, 6, 64, 64, 3), (2, 1, 7, 7, 3), (2, 2, 31, 48, 3)])
def test_equals_skimage(shape):
    a, b = noisy_pair(np.random.default_rng(0), shape)
    expected = [
        np.mean([structural_similarity(x, y, data_range=255, channel_axis=-1) for x, y in zip(*pair, strict=True)])
        for pair in zip(a, b, strict=True)
    ]
    assert np.abs(ssim(a, b) - expected).max() < 1e-9
    expected = [
        np.mean([peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(*pair, strict=True)])
        for pair in zip(a, b, strict=True)
    ]
    assert np.abs(psnr(a, b) - expected).max() < 1e-9


@pytest.mark.skipif(not REAL.is_dir(), reason="the published GIF pairs (shared/real/seed_dv) are not here")
def test_published_reconstructions_score_their_golden_values():
    golden = json.loads((REAL / "golden_ssim.json").read_text())
    assert len(golden) == 23
    for number, values in golden.items():
        target = read_gif(REAL / f"gifs/original/image{number}.GIF")[None]
        predicted = read_gif(REAL / f"gifs/reconstructed/image{number}.GIF")[None]
        assert ssim(predicted, target)[0] == pytest.approx(values["A_mean"], abs=1e-9)
        assert psnr(predicted, target)[0] == pytest.approx(values["psnr"], abs=1e-9)


def test_identical_clips_and_flat_clips():
    clip, _ = noisy_pair(np.random.default_rng(1), (1, 6, 16, 16, 3))
    assert ssim(clip, clip)[0] == pytest.approx(1, abs=1e-12)
    assert psnr(clip, clip)[0] == PSNR_CAP
    black, white = np.zeros_like(clip), np.full_like(clip, 255)
    assert psnr(black, white)[0] == 0
    luminance = 2.55**2 / (255**2 + 2.55**2)  # all that is left of the formula where nothing varies
    assert ssim(black, white)[0] == pytest.approx(luminance) and ssim(white, white)[0] == 1
    one_identical = clip.copy()
    one_identical[0, 1:] = 255 - one_identical[0, 1:]
    assert np.isfinite(psnr(one_identical, clip)[0])


def test_symmetry_and_independence_of_rows():
    a, b = noisy_pair(np.random.default_rng(2), (4, 2, 20, 24, 3))
    for metric in (ssim, psnr):
        assert np.array_equal(metric(a, b), metric(b, a))
        assert np.array_equal(metric(a, b)[[2, 0]], metric(a[[2, 0]], b[[2, 0]]))
        assert metric(a[:0], b[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("predicted", "target", "words"),
    [
        (np.zeros((1, 6, 8, 8, 3), np.uint8), np.zeros((1, 5, 8, 8, 3), np.uint8), "6 frames.*5 frames.*same"),
        (np.zeros((1, 6, 8, 8, 3), np.uint8), np.zeros((1, 6, 8, 9, 3), np.uint8), "8×8.*8×9.*resize"),
        (np.zeros((1, 6, 8, 8, 3), np.float32), np.zeros((1, 6, 8, 8, 3), np.uint8), "predicted video is float32"),
        (
            np.zeros((1, 6, 8, 8, 3), np.uint8),
            np.zeros((6, 8, 8, 3), np.uint8),
            r"target video is uint8 \[6, 8, 8, 3\]",
        ),
        (np.zeros((1, 0, 8, 8, 3), np.uint8), np.zeros((1, 0, 8, 8, 3), np.uint8), "allowed is"),
    ],
)
@pytest.mark.parametrize("metric", [ssim, psnr])
def test_bad_shapes_are_named(metric, predicted, target, words):
    with pytest.raises(ValueError, match=words):
        metric(predicted, target)


def test_ssim_needs_its_window():
    small = np.zeros((1, 1, 6, 20, 3), np.uint8)
    with pytest.raises(ValueError, match="6×20 pixels: SSIM needs at least 7×7"):
        ssim(small, small)
