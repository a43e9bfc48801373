"""Pixel metrics of RGB video beside SSIM (`metrics.ssim`): PSNR and PixCorr.

Both are means over the frames of a clip, as the published scripts take them. PSNR rewards blur, and both
reward the right colours: read them beside the floors `constant_grey` and `train_mean`.
"""

from __future__ import annotations

import cv2
import numpy as np

from metrics.checks import check_pair
from metrics.specs import Array, MetricSpec, Video, on_videos

PIXCORR_SIZE = 425  # pixels: the size of the natural scenes images that the line of PixCorr began with
PSNR_CAP = 100.0  # dB: identical frames would be infinite; a single step in one value of 64×64 RGB is 89 dB


def psnr(predicted: Video, target: Video) -> Array:
    """Peak signal-to-noise ratio of each clip in dB: the mean of its frames' ratios.

    10 log₁₀(255² / mean squared error) for each frame. (The ratio of the error pooled over frames, torchmetrics'
    default, is another number.) Mind-Animator's own formula caps only identical frames: another value for frames of
    512×512 that differ by a few steps in all, for none else.
    Both are u8 [n, f, h, w, 3] of the same shape. Returns f64 [n] in 0..100; a frame counts at most `PSNR_CAP`.
    Raises ValueError for other types or shapes.

    A difference of 51 = 255 / 5 everywhere is 10 log₁₀ 25 dB:

    >>> dark, bright = (np.full((1, 2, 8, 8, 3), value, np.uint8) for value in (100, 151))
    >>> psnr(dark, bright).round(4).tolist()
    [13.9794]
    >>> psnr(dark, dark).tolist()
    [100.0]
    """
    check_pair(predicted, target)
    values = np.empty(len(predicted))
    for i, (a, b) in enumerate(zip(predicted, target, strict=True)):
        difference = a.astype(np.int32) - b
        error = np.square(difference).mean(axis=(1, 2, 3))  # (f,)
        with np.errstate(divide="ignore"):
            values[i] = np.minimum(10 * np.log10(255.0**2 / error), PSNR_CAP).mean()
    return values


def pixcorr(predicted: Video, target: Video) -> Array:
    """Pearson correlation of all RGB values of a frame with those of the true frame, the mean over frames.

    Frames are first resized so that the shorter side has 425 pixels, bilinear, without antialiasing: torchvision's
    `Resize(425)` of tensors in the versions of that time. (Enlarging is the same with antialiasing; for frames that are
    larger it is not.) Both are u8 [n, f, h, w, 3] of the same shape. Returns f64 [n] in −1..1, 1 for identical clips.
    A constant frame has no correlation and is left out of the mean; a clip with no other frame scores 0.
    Raises ValueError for other types or shapes. Source: `pixcorr` in NeuroClips' `utils.py` (from MindEye), used there
    while training. A dark border shared by both doubles it, and the mean colour of the true clip scores 0.2.

    >>> clip = np.random.default_rng(0).integers(0, 256, (1, 1, 16, 16, 3), dtype=np.uint8)
    >>> [pixcorr(video, clip).round(6).item() for video in (clip, 255 - clip, np.full_like(clip, 128))]
    [1.0, -1.0, 0.0]
    """
    check_pair(predicted, target)
    values = np.empty(len(predicted))
    for i, pair in enumerate(zip(predicted, target, strict=True)):
        frames = [_correlation(a, b) for a, b in zip(*pair, strict=True) if _varies(a) and _varies(b)]
        values[i] = np.mean(frames) if frames else 0.0
    return values


def _varies(frame: Video) -> bool:
    return int(frame.min()) < int(frame.max())


def _correlation(a: Video, b: Video) -> float:
    height, width = a.shape[:2]
    shorter = min(height, width)
    size = (PIXCORR_SIZE * width // shorter, PIXCORR_SIZE * height // shorter)
    x, y = (cv2.resize(frame.astype(np.float32), size, interpolation=cv2.INTER_LINEAR).ravel() for frame in (a, b))
    x, y = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


PSNR = MetricSpec(
    name="psnr",
    compute=on_videos(psnr),
    summary="peak signal-to-noise ratio in dB, mean over frames, 100 at most",
    hi=PSNR_CAP,
    pixels=True,
)
PIXCORR = MetricSpec(
    name="pixcorr",
    compute=on_videos(pixcorr),
    summary="Pearson correlation of all RGB values of a frame, its shorter side at 425",
    lo=-1.0,
    worst=-1.0,
    pixels=True,
    shuffles=1,
)
