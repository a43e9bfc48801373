"""Pixel metrics of RGB video: SSIM in scikit-image's default form, and PSNR.

Both are means over the frames of a clip, as the published scripts take them. SSIM here is `cv2.boxFilter` and some
arithmetic instead of `skimage.metrics.structural_similarity(a, b, data_range=255, channel_axis=-1)`, because floors
by permutation need it thousands of times; a test holds the two together to 1e-9. That form is a 7×7 uniform window
with the *sample* covariance, K1 = 0.01, K2 = 0.03, the border of 3 pixels left out (Wang et al. 2004 use a Gaussian
window and the population covariance: other numbers).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

WINDOW = 7  # pixels, skimage's default `win_size`
PSNR_CAP = 100.0  # dB: identical frames would be infinite; a single step in one value of 64×64 RGB is 89 dB

Video = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]


def ssim(predicted: Video, target: Video) -> Array:
    """Structural similarity of each clip, the mean over frames and colour channels.

    Both u8 [n, f, h, w, 3] of the same shape, h and w at least 7. Returns f64 [n] in −1..1, 1 for identical clips.
    Raises ValueError for other types or shapes.
    """
    check_videos(predicted, target)
    height, width = predicted.shape[2:4]
    if min(height, width) < WINDOW:
        raise ValueError(f"frames of {height}×{width} pixels: SSIM needs at least {WINDOW}×{WINDOW}")
    return np.array(
        [
            np.mean([_frame_ssim(a, b) for a, b in zip(*pair, strict=True)])
            for pair in zip(predicted, target, strict=True)
        ]
    )


def _frame_ssim(a: Video, b: Video) -> float:
    """SSIM of two frames u8 [h, w, 3]. Sums over windows stay whole numbers below 2³¹, so nothing is rounded early."""
    n = WINDOW * WINDOW
    inside = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2

    def window_sum(image: npt.NDArray) -> npt.NDArray[np.int32]:
        return np.asarray(cv2.boxFilter(image, cv2.CV_32S, (WINDOW, WINDOW), normalize=False)[inside])

    x, y = a.astype(np.uint16), b.astype(np.uint16)  # 255² fits
    sum_x, sum_y = window_sum(a), window_sum(b)
    product, squares = sum_x * sum_y, sum_x * sum_x + sum_y * sum_y
    covariance = (n * window_sum(x * y) - product) / (n * (n - 1))
    variances = (n * (window_sum(x * x) + window_sum(y * y)) - squares) / (n * (n - 1))  # of x plus of y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * product / n**2 + c1) * (2 * covariance + c2) / ((squares / n**2 + c1) * (variances + c2))
    return float(similarity.mean())


def psnr(predicted: Video, target: Video) -> Array:
    """Peak signal-to-noise ratio of each clip in dB: the mean of its frames' ratios.

    (The ratio of the error pooled over frames, torchmetrics' default, is another number.)
    Both u8 [n, f, h, w, 3] of the same shape. Returns f64 [n] in 0..100; a frame counts at most `PSNR_CAP`.
    Raises ValueError for other types or shapes.
    """
    check_videos(predicted, target)
    values = np.empty(len(predicted))
    for i, (a, b) in enumerate(zip(predicted, target, strict=True)):
        difference = a.astype(np.int32) - b
        error = np.square(difference).mean(axis=(1, 2, 3))  # (f,)
        with np.errstate(divide="ignore"):
            values[i] = np.minimum(10 * np.log10(255.0**2 / error), PSNR_CAP).mean()
    return values


def check_videos(predicted: npt.NDArray, target: npt.NDArray) -> None:
    """Raises ValueError unless both are u8 [n, f, h, w, 3] of the same shape with at least one frame."""
    for name, video in (("predicted", predicted), ("target", target)):
        if video.dtype != np.uint8 or video.ndim != 5 or video.shape[-1] != 3 or 0 in video.shape[1:]:
            raise ValueError(
                f"{name} video is {video.dtype} {list(video.shape)}: allowed is uint8 [clip, frame, height, width, 3]"
            )
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted video has {_words(predicted)}, its target {_words(target)}: both must be the same; "
            "pick the same frames and resize one to the other's size before scoring"
        )


def _words(video: npt.NDArray) -> str:
    clips, frames, height, width, _ = video.shape
    return f"{clips} clips of {frames} frames, {height}×{width} pixels (height×width)"
