"""Colour metrics: hue as Mind-Animator publishes it, and as it should be.

- `hue_cosine` repeats the published "Hue-pcc" with its three quirks. It is a cosine and not a correlation, of numbers
  that are never negative, so it is high for anything: unrelated true clips score 0.80, MinD-Video's reconstructions
  0.78. OpenCV is told that the RGB frames are BGR, so red and blue are exchanged. And hue is a circle, which a cosine
  of numbers ignores: two reds, at 1 and at 179, count as opposite.
- `hue_correlation` is the circular correlation coefficient of the true hue, 0 by chance.
"""

from __future__ import annotations

import cv2
import numpy as np

from metrics.checks import check_pair
from metrics.specs import Array, MetricSpec, Video, on_videos

PUBLISHED_FRAMES = 6  # how many frames of a clip Mind-Animator's script looks at, the first ones
SPREAD = 1e-5  # radians: a hue that varies less than this is constant (hue is computed in float32)


def hue_cosine(predicted: Video, target: Video) -> Array:
    """Cosine of the two frames' hue planes, the mean over the first 6 frames, as published under the name "Hue-pcc".

    Both are u8 RGB [n, f, h, w, 3] of the same shape; later frames are not looked at (the script's first version took
    8). Hue is OpenCV's 0..179 by `COLOR_BGR2HSV`. Returns f64 [n] in 0..1, 1 for identical clips; a frame whose hue is
    0 everywhere, as in a grey frame, scores 0. Raises ValueError for other types or shapes. Source: `hue_pcc.py` of
    Mind-Animator. Any video in a steady blue does well.

    Two planes of one constant hue each are parallel, whatever the hues:

    >>> blue = np.full((1, 1, 8, 8, 3), (0, 40, 255), np.uint8)
    >>> green = np.full((1, 1, 8, 8, 3), (0, 255, 40), np.uint8)
    >>> hue_cosine(blue, green).round(6).tolist()
    [1.0]
    """
    check_pair(predicted, target)
    predicted, target = predicted[:, :PUBLISHED_FRAMES], target[:, :PUBLISHED_FRAMES]
    values = np.empty(len(predicted))
    for i, pair in enumerate(zip(predicted, target, strict=True)):
        values[i] = np.mean([_cosine(_published_hue(a), _published_hue(b)) for a, b in zip(*pair, strict=True)])
    return values


def _published_hue(frame: Video) -> Array:
    return cv2.cvtColor(frame, cv2.COLOR_BGR2HSV)[..., 0].ravel().astype(np.float64)


def _cosine(x: Array, y: Array) -> float:
    """0 where either is all zero."""
    length = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / length) if length > 0 else 0.0


def hue_correlation(predicted: Video, target: Video) -> Array:
    """Circular correlation of the hue of each frame with that of the true frame, the mean over frames.

    r = Σ sin(α−ᾱ) sin(β−β̄) / √(Σ sin²(α−ᾱ) Σ sin²(β−β̄)) over the pixels, ᾱ and β̄ the circular means (Jammalamadaka
    and SenGupta 2001, §8.2). A grey pixel has no hue: it counts as one at the mean, so painting doubtful pixels grey
    gains nothing. Both are u8 RGB [n, f, h, w, 3] of the same shape. Returns f64 [n] in −1..1: 1 for identical clips
    whose hue varies, also when all hues are turned by one angle; 0 for exchangeable pixels, and for a frame of constant
    hue or none. Raises ValueError for other types or shapes. What fools it: hues spread evenly have no mean, and the
    coefficient then depends on an arbitrary one; nearly grey pixels count as much as vivid ones.

    Columns of red and yellow, 60° apart, beside the same columns exchanged: every pixel deviates from the mean hue by
    30° to the other side.

    >>> truth = np.full((1, 1, 2, 4, 3), (255, 0, 0), np.uint8)
    >>> truth[..., ::2, 1] = 255
    >>> [hue_correlation(video, truth).round(6).item() for video in (truth, truth[..., ::-1, :])]
    [1.0, -1.0]
    """
    check_pair(predicted, target)
    values = np.empty(len(predicted))
    for i, pair in enumerate(zip(predicted, target, strict=True)):
        values[i] = np.mean([_correlate(_deviation(a), _deviation(b)) for a, b in zip(*pair, strict=True)])
    return values


def _deviation(frame: Video) -> Array:
    """sin(hue − mean hue) of each pixel, f64 [h·w], 0 where the pixel is grey."""
    hsv = cv2.cvtColor(frame.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2HSV)
    coloured = (hsv[..., 1] > 0).astype(np.float32)
    cosine, sine = cv2.polarToCart(coloured, np.ascontiguousarray(hsv[..., 0]), angleInDegrees=True)
    x, y = cosine.sum(dtype=np.float64), sine.sum(dtype=np.float64)
    length = np.hypot(x, y)
    if length == 0:  # no hue at all
        return np.zeros(frame[..., 0].size)
    return (sine.astype(np.float64) * (x / length) - cosine.astype(np.float64) * (y / length)).ravel()


def _correlate(x: Array, y: Array) -> float:
    """0 where either does not vary."""
    squares_x, squares_y = x @ x, y @ y
    if min(squares_x, squares_y) < len(x) * SPREAD**2:
        return 0.0
    return float(x @ y / np.sqrt(squares_x * squares_y))


HUE_COSINE = MetricSpec(
    name="hue_pcc",
    compute=on_videos(hue_cosine),
    version=2,  # 1: of all frames
    summary="cosine of the hue planes with red and blue exchanged, as published (no correlation)",
    pixels=True,
)
HUE_CORRELATION = MetricSpec(
    name="hue_correlation",
    compute=on_videos(hue_correlation),
    summary="circular correlation of hue",
    lo=-1.0,
    worst=-1.0,
    chance=0.0,
    pixels=True,
)
