"""Structural similarity (SSIM) of RGB video, in its published forms.

One name, several numbers: on the same 16 MinD-Video clips `ssim` gives 0.20, `ssim_grey` 0.24 and
`ssim_grey_columns` 0.32. All are means over the frames of a clip, as the published scripts take them, and a grey clip
scores higher in all of them than most published reconstructions: read them beside the floor `constant_grey`.

- `ssim`: `skimage.metrics.structural_similarity(a, b, data_range=255, channel_axis=-1)`, the form of MinD-Video,
  EEG2Video, CineBrain and Mind-Animator: a 7×7 uniform window with the *sample* covariance, K1 = 0.01, K2 = 0.03, the
  border of 3 pixels left out. Here it is `cv2.boxFilter` and some arithmetic, because floors by permutation need it
  thousands of times.
- `ssim_grey`: on `rgb2gray` of both, Gaussian window (σ 1.5) and population covariance (Wang et al. 2004).
- `ssim_grey_columns`: the same call with `channel_axis=-1` left in, as the MindEye line of scripts has it (NEURONS,
  most likely NeuroClips). The last axis of a grey picture is its width, so each column is scored alone, by a window of
  11×1 pixels.
- `ssim_dynamind`: `win_size=3, gaussian_weights=True` against a blurred truth. In scikit-image the Gaussian keeps its
  radius of 5; the 3 only sets the crop and the sample covariance's factor.

The Gaussian forms filter all columns and channels of a frame in one call of `cv2.sepFilter2D`; tests hold each form to
scikit-image's own within 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from metrics.checks import check_pair
from metrics.specs import Array, MetricSpec, Video, on_videos

WINDOW = 7  # pixels, skimage's default `win_size`
ROWS = 32  # of a frame, compared at once
GAUSSIAN_SIGMA = 1.5  # pixels
GAUSSIAN_RADIUS = 5  # pixels: skimage truncates at 3.5 σ


def ssim(predicted: Video, target: Video) -> Array:
    """Structural similarity of each clip, the mean over frames and colour channels.

    Both are u8 [n, f, h, w, 3] of the same shape, h and w at least 7 pixels. Returns f64 [n] in −1..1, 1 for identical
    clips. Raises ValueError for other types or shapes. Source: Wang et al. 2004, in scikit-image's default form.

    Where nothing varies the luminance term is left: (2·0·255 + c₁) / (0² + 255² + c₁) with c₁ = (0.01 · 255)².

    >>> black, white = (np.full((1, 1, 8, 8, 3), value, np.uint8) for value in (0, 255))
    >>> ssim(black, black).tolist()
    [1.0]
    >>> round(ssim(black, white).item(), 8) == round(2.55**2 / (255**2 + 2.55**2), 8)
    True
    """
    _check_window(predicted, target, WINDOW, WINDOW)
    return _mean_over_frames(_frame_ssim, predicted, target)


def _frame_ssim(a: Video, b: Video) -> float:
    """SSIM of two frames u8 [h, w, 3].

    Sums over windows stay whole numbers below 2³¹, so nothing is rounded early. With sums in place of means, both
    fractions are multiplied by n² (luminance) and n (n − 1) (contrast). A few rows at a time stay in the cache.
    """
    n = WINDOW * WINDOW
    inside = (slice(WINDOW // 2, -(WINDOW // 2)),) * 2
    c1, c2 = (0.01 * 255) ** 2 * n**2, (0.03 * 255) ** 2 * n * (n - 1)

    def window_sum(image: npt.NDArray) -> npt.NDArray[np.int32]:
        return np.asarray(cv2.boxFilter(image, cv2.CV_32S, (WINDOW, WINDOW), normalize=False)[inside])

    x, y = a.astype(np.int32), b.astype(np.int32)
    sums = window_sum(a), window_sum(b), window_sum(x * y), window_sum(x * x + y * y)
    total = 0.0
    for start in range(0, len(sums[0]), ROWS):
        x, y, xy, both = (image[start : start + ROWS] for image in sums)
        product, squares = x * y, x * x + y * y
        similarity = 2.0 * product + c1
        similarity *= 2.0 * (n * xy - product) + c2
        similarity /= (squares + c1) * (n * both - squares + c2)
        total += float(similarity.sum())
    return total / sums[0].size


def ssim_grey(predicted: Video, target: Video) -> Array:
    """SSIM of the grey frames in the form of Wang et al. 2004: Gaussian window, population covariance.

    Equal to skimage's `structural_similarity(rgb2gray(a), rgb2gray(b), gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1.0)`, the mean over frames. Both are u8 [n, f, h, w, 3] of the same shape,
    h and w at least 11. Returns f64 [n] in −1..1, 1 for identical clips. Raises ValueError for other types or shapes.
    Blur and flat colour raise it.

    Grey is luminance 0.2125 R + 0.7154 G + 0.0721 B: a red and a green of equal luminance, 178 and 53 of 255, look
    nearly alike to it, though not to `ssim`.

    >>> red, green = (np.full((1, 1, 16, 16, 3), colour, np.uint8) for colour in ((178, 0, 0), (0, 53, 0)))
    >>> ssim_grey(red, green).round(4).item(), ssim(red, green).item() < 0.5
    (1.0, True)
    """
    _check_window(predicted, target, 2 * GAUSSIAN_RADIUS + 1, 2 * GAUSSIAN_RADIUS + 1)
    inside = (slice(GAUSSIAN_RADIUS, -GAUSSIAN_RADIUS),) * 2
    return _mean_over_frames(
        lambda a, b: _gaussian_ssim(_grey(a), _grey(b), GAUSSIAN, GAUSSIAN, inside), predicted, target
    )


def ssim_grey_columns(predicted: Video, target: Video) -> Array:
    """SSIM as the MindEye line of scripts calls it: each column of the grey frame alone, then the mean.

    Equal to the call of `ssim_grey` with `channel_axis=-1` in addition. A 2-D picture has no channels, so skimage takes
    its columns for them. Source: NEURONS' `eval_metrics.py`; NeuroClips' table 1 most likely. Shapes, range and errors
    as in `ssim_grey`, but any width will do. It is about 0.12 above `ssim` on the same clips.

    Each column is scored alone, so nothing changes when the columns of both clips are put into another order:

    >>> draw = np.random.default_rng(0)
    >>> a, b = draw.integers(0, 256, (2, 1, 1, 16, 16, 3), dtype=np.uint8)
    >>> order = draw.permutation(16)
    >>> bool(np.isclose(ssim_grey_columns(a, b), ssim_grey_columns(a[..., order, :], b[..., order, :])))
    True
    """
    _check_window(predicted, target, 2 * GAUSSIAN_RADIUS + 1, 1)
    inside = (slice(GAUSSIAN_RADIUS, -GAUSSIAN_RADIUS),)
    alone = np.ones(1)
    return _mean_over_frames(
        lambda a, b: _gaussian_ssim(_grey(a), _grey(b), GAUSSIAN, alone, inside), predicted, target
    )


def ssim_dynamind(predicted: Video, target: Video, *, blur: float = 3.0, best: Literal["max", "mean"] = "max") -> Array:
    """SSIM as DynaMind's released evaluator takes it: RGB, against a blurred truth, the best frame of the clip.

    blur: σ in pixels of the Gaussian blur of the target, 0 for none. best: "max" takes the best frame, as released,
    "mean" the mean over frames. Equal to skimage's `structural_similarity(a, b, data_range=1.0, channel_axis=-1,
    win_size=3, gaussian_weights=True)` on frames / 255. Both are u8 [n, f, h, w, 3] of the same shape, h and w at least
    3. Returns f64 [n] in −1..1; identical clips score 1 only with `blur=0`. Raises ValueError for other types, shapes,
    negative blur or another `best`. Source: `eval/test/SSIMs.py`, which computes in float32 (3e-6 apart at most on the
    published GIFs).

    The first frame is the truth's and the second is not; the best of them counts:

    >>> truth = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 3), dtype=np.uint8)
    >>> half_right = truth.copy()
    >>> half_right[:, 1] = 255 - half_right[:, 1]
    >>> ssim_dynamind(half_right, truth, blur=0).round(6).tolist()
    [1.0]
    >>> bool(ssim_dynamind(half_right, truth, blur=0, best="mean")[0] < 0.5)
    True
    """
    if best not in ("max", "mean"):
        raise ValueError(f"best = {best!r}: allowed are 'max' and 'mean'")
    if not blur >= 0:
        raise ValueError(f"blur = {blur}: allowed are standard deviations in pixels from 0 (no blur)")
    _check_window(predicted, target, 3, 3)

    def similarity(a: Video, b: Video) -> float:
        truth = b / 255.0
        if blur > 0:
            truth = np.asarray(cv2.GaussianBlur(truth, (0, 0), blur), np.float64)
        inside = (slice(1, -1),) * 2
        return _gaussian_ssim(a / 255.0, truth, GAUSSIAN, GAUSSIAN, inside, covariance_factor=9 / 8)

    choose = np.max if best == "max" else np.mean
    return np.array(
        [
            choose([similarity(*frames) for frames in zip(*pair, strict=True)])
            for pair in zip(predicted, target, strict=True)
        ]
    )


def _gaussian_ssim(
    a: Array,
    b: Array,
    down: Array,
    across: Array,
    inside: tuple[slice, ...],
    *,
    covariance_factor: float = 1.0,
) -> float:
    """SSIM of two frames f64 [h, w] or [h, w, c] in 0..1 with a separable window, the mean over `inside`."""

    def smooth(image: Array) -> Array:
        filtered = cv2.sepFilter2D(image, -1, across, down, borderType=cv2.BORDER_REFLECT)
        return np.asarray(filtered, np.float64)[inside]

    mean_a, mean_b = smooth(a), smooth(b)
    product, squares = mean_a * mean_b, mean_a * mean_a + mean_b * mean_b
    covariance = covariance_factor * (smooth(a * b) - product)
    variances = covariance_factor * (smooth(a * a + b * b) - squares)  # of a plus of b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))
    return float(similarity.mean())


def _gaussian() -> Array:
    """The window's weights along one axis, f64 [11], which sum to 1."""
    weights = np.exp(-0.5 * (np.arange(-GAUSSIAN_RADIUS, GAUSSIAN_RADIUS + 1) / GAUSSIAN_SIGMA) ** 2)
    return weights / weights.sum()


GAUSSIAN = _gaussian()


def _grey(frame: Video) -> Array:
    """skimage's `rgb2gray`: f64 [h, w] in 0..1."""
    return frame @ (np.array([0.2125, 0.7154, 0.0721]) / 255)


def _mean_over_frames(function: Callable[[Video, Video], float], predicted: Video, target: Video) -> Array:
    return np.array(
        [np.mean([function(a, b) for a, b in zip(*pair, strict=True)]) for pair in zip(predicted, target, strict=True)]
    )


def _check_window(predicted: npt.NDArray, target: npt.NDArray, rows: int, columns: int) -> None:
    check_pair(predicted, target)
    height, width = predicted.shape[2:4]
    if height < rows or width < columns:
        raise ValueError(f"frames of {height}×{width} pixels: SSIM needs at least {rows}×{columns}")


SSIM = MetricSpec(
    name="ssim",
    compute=on_videos(ssim),
    summary="structural similarity of RGB frames, 7×7 uniform window",
    least_size=(WINDOW, WINDOW),
    lo=-1.0,
    worst=-1.0,
    pixels=True,
)
SSIM_GREY_COLUMNS = MetricSpec(
    name="ssim",
    compute=on_videos(ssim_grey_columns),
    summary="structural similarity of grey frames taken column by column, Gaussian window",
    least_size=(2 * GAUSSIAN_RADIUS + 1, 1),
    lo=-1.0,
    worst=-1.0,
    pixels=True,
)
SSIM_GREY = MetricSpec(
    name="ssim_grey",
    compute=on_videos(ssim_grey),
    summary="structural similarity of grey frames",
    least_size=(2 * GAUSSIAN_RADIUS + 1, 2 * GAUSSIAN_RADIUS + 1),
    lo=-1.0,
    worst=-1.0,
    pixels=True,
)
