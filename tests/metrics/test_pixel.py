from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from skimage.color import rgb2gray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.store.video import read_video
from metrics.pixel import PSNR_CAP, pixcorr, psnr
from metrics.ssim import ssim, ssim_dynamind, ssim_grey, ssim_grey_columns

REAL = Path(__file__).parents[2].parent / "shared/real/seed_dv"


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


# The other forms of SSIM, and PixCorr

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}


def by_skimage(form, a, b):
    """The published call on two frames."""
    if form is ssim:
        return structural_similarity(a, b, data_range=255, channel_axis=-1)
    if form is ssim_grey:
        return structural_similarity(rgb2gray(a), rgb2gray(b), **WANG)
    if form is ssim_grey_columns:
        return structural_similarity(rgb2gray(a), rgb2gray(b), channel_axis=-1, **WANG)
    kwargs = {"data_range": 1.0, "channel_axis": -1, "win_size": 3, "gaussian_weights": True}
    return structural_similarity(a / 255, b / 255, **kwargs)


def unblurred_mean(predicted, target):
    return ssim_dynamind(predicted, target, blur=0, best="mean")


def frame_means(form, predicted, target):
    pairs = zip(predicted, target, strict=True)
    return [np.mean([by_skimage(form, *frames) for frames in zip(*pair, strict=True)]) for pair in pairs]


@pytest.mark.parametrize("form", [ssim_grey, ssim_grey_columns, unblurred_mean])
@pytest.mark.parametrize("shape", [(2, 2, 64, 64, 3), (2, 1, 11, 12, 3), (1, 2, 31, 48, 3)])
def test_gaussian_forms_equal_skimage(form, shape):
    a, b = noisy_pair(np.random.default_rng(3), shape)
    assert np.abs(form(a, b) - frame_means(form, a, b)).max() < 1e-9


def test_columns_may_be_few_and_rows_may_not():
    a, b = noisy_pair(np.random.default_rng(4), (1, 1, 20, 2, 3))
    assert ssim_grey_columns(a, b) == pytest.approx(frame_means(ssim_grey_columns, a, b), abs=1e-9)
    with pytest.raises(ValueError, match="2×20 pixels: SSIM needs at least 11×1"):
        ssim_grey_columns(a.swapaxes(2, 3), b.swapaxes(2, 3))
    with pytest.raises(ValueError, match="20×2 pixels: SSIM needs at least 11×11"):
        ssim_grey(a, b)


def real_pairs(real):
    """Four of EEG2Video's pairs and four of MinD-Video's, two frames each: prediction and truth u8 [1, 2, h, w, 3]."""
    folder = real / "seed_dv/gifs"
    for path in sorted((folder / "original").glob("*.GIF"))[:4]:
        yield read_video(folder / "reconstructed" / path.name)[None, :2], read_video(path)[None, :2]
    for path in sorted((real / "cc2017/mind_video").glob("*.gif"))[:4]:
        target, predicted = np.split(read_video(path)[None, :2], 2, axis=3)
        yield predicted, target


def test_real_pairs_equal_skimage_and_torch(real):
    for predicted, target in real_pairs(real):
        for form in (ssim, ssim_grey, ssim_grey_columns, unblurred_mean):
            assert form(predicted, target) == pytest.approx(frame_means(form, predicted, target), abs=1e-9)
        assert pixcorr(predicted, target) == pytest.approx(pixcorr_by_torch(predicted, target), abs=1e-6)


@pytest.mark.skipif(not REAL.is_dir(), reason="the published GIF pairs (shared/real/seed_dv) are not here")
def test_dynamind_reproduces_its_golden_values():
    """They were computed in float32, as the released script does: they are good to some 1e-6."""
    golden = json.loads((REAL / "golden_ssim.json").read_text())
    for number, values in list(golden.items())[::4]:
        target = read_video(REAL / f"gifs/original/image{number}.GIF")[None]
        predicted = read_video(REAL / f"gifs/reconstructed/image{number}.GIF")[None]
        assert ssim_dynamind(predicted, target)[0] == pytest.approx(values["B_max"], abs=5e-6)
        assert ssim_dynamind(predicted, target, best="mean")[0] == pytest.approx(values["B_mean"], abs=5e-6)
        assert unblurred_mean(predicted, target)[0] == pytest.approx(values["Bnoblur_mean"], abs=5e-6)


def test_dynamind_names_what_it_allows():
    clip = np.zeros((1, 1, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match=r"best = 'min'.*'max' and 'mean'"):
        ssim_dynamind(clip, clip, best="min")
    with pytest.raises(ValueError, match="blur = -1"):
        ssim_dynamind(clip, clip, blur=-1)


def pixcorr_by_torch(predicted, target):
    """NeuroClips' way: torch resizes to a shorter side of 425, `corrcoef` of all values, the mean over frames."""

    def prepare(frame):
        pixels = torch.from_numpy(frame.copy()).movedim(-1, 0)[None].double()
        height, width = frame.shape[:2]
        size = [int(425 * side / min(height, width)) for side in (height, width)]
        return torch.nn.functional.interpolate(pixels, size, mode="bilinear", align_corners=False).ravel().numpy()

    return [
        np.mean([np.corrcoef(prepare(a), prepare(b))[0, 1] for a, b in zip(*pair, strict=True)])
        for pair in zip(predicted, target, strict=True)
    ]


@pytest.mark.parametrize("shape", [(2, 2, 32, 32, 3), (1, 1, 36, 64, 3), (1, 1, 50, 35, 3)])
def test_pixcorr_equals_torch(shape):
    a, b = noisy_pair(np.random.default_rng(5), shape)
    assert pixcorr(a, b) == pytest.approx(pixcorr_by_torch(a, b), abs=1e-6)
    assert pixcorr(a, 255 - a) == pytest.approx(-1, abs=1e-6)


def test_constant_frames_have_no_pixcorr():
    a, b = noisy_pair(np.random.default_rng(6), (1, 2, 32, 32, 3))
    flat = np.full_like(a, 97)
    assert pixcorr(flat, b)[0] == pixcorr(b, flat)[0] == pixcorr(flat, flat)[0] == 0
    half = a.copy()
    half[0, 0] = 97
    assert pixcorr(half, b)[0] == pixcorr(a[:, 1:], b[:, 1:])[0]


ALL = [ssim, ssim_grey, ssim_grey_columns, unblurred_mean, psnr, pixcorr]


@pytest.mark.parametrize("metric", ALL)
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 80))
@settings(max_examples=10)
def test_bounds_best_value_and_rows(metric, seed, noise):
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 256, (3, 2, 16, 13, 3), dtype=np.uint8)
    b = np.clip(a + rng.normal(0, noise, a.shape), 0, 255).astype(np.uint8)
    best = PSNR_CAP if metric is psnr else 1.0
    values = metric(a, b)
    assert values.dtype == np.float64 and values.shape == (3,)
    assert ((values <= best + 1e-12) & (values >= (0 if metric is psnr else -1 - 1e-12))).all()
    assert metric(a, a) == pytest.approx(best, abs=1e-6)
    order = rng.permutation(3)
    assert np.array_equal(metric(a[order], b[order]), values[order])
    assert np.array_equal(np.concatenate([metric(a[:1], b[:1]), metric(a[1:], b[1:])]), values)
    assert metric(a[:0], b[:0]).shape == (0,)


@pytest.mark.parametrize("metric", [*ALL, ssim_dynamind])
def test_more_noise_scores_less(metric):
    rng = np.random.default_rng(7)
    clip, _ = noisy_pair(rng, (1, 2, 48, 48, 3))
    noise = rng.normal(0, 1, clip.shape)
    values = [metric(np.clip(clip + s * noise, 0, 255).astype(np.uint8), clip)[0] for s in (0, 5, 15, 40, 90)]
    if metric is ssim_dynamind:  # a blurred truth: no best value at the truth itself
        values = values[1:]
    assert values == sorted(values, reverse=True) and len(set(values)) == len(values)
