"""The mean of many clips, and its blurred forms: what a picture of no clip in particular looks like."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

BLURS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # deviations of the Gaussian, in shorter sides of a frame


def average_clips(video: Iterable[UInt8[np.ndarray, "frame height width 3"]]) -> Float64[np.ndarray, "f h w 3"]:
    """The mean of the clips, frame by frame. One at a time: they may lie in a file larger than memory."""
    total: np.ndarray | float = 0.0
    count = 0
    for clip in video:
        total = total + np.asarray(clip, np.float64)
        count += 1
    if not count:
        raise ValueError("no clips: their mean is none")
    return np.asarray(total / count)


def blur_clip(clip: Float64[np.ndarray, "f h w 3"], blur: float) -> UInt8[np.ndarray, "f h w 3"]:
    """Each frame blurred in space by a Gaussian of deviation `blur` × its shorter side; 0 leaves it as it is."""
    sigma = blur * min(clip.shape[1:3])
    if sigma:
        clip = np.stack([cv2.GaussianBlur(frame, (0, 0), sigma, borderType=cv2.BORDER_REFLECT) for frame in clip])
    return np.clip(np.round(clip), 0, 255).astype(np.uint8)
