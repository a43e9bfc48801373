"""Clips made some trials at a time, and brought to other numbers of frames and sizes: a generator's are seldom those
of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from bench.core.progress import track


def fit_clips(video: UInt8[np.ndarray, "n f h w 3"], shape: Sequence[int]) -> UInt8[np.ndarray, "n F H W 3"]:
    """The clips at (frame, height, width): frames picked evenly, pictures resized, untouched where both agree."""
    frames, height, width = shape[:3]
    if video.shape[1] != frames:
        video = video[:, np.linspace(0, video.shape[1] - 1, frames).round().astype(int)]
    if video.shape[2:4] == (height, width):
        return video
    method = cv2.INTER_AREA if height < video.shape[2] else cv2.INTER_LINEAR
    pictures = [cv2.resize(picture, (width, height), interpolation=method) for clip in video for picture in clip]
    return np.stack(pictures).reshape(len(video), frames, height, width, 3)


def choose_shape(shapes: Sequence[Sequence[int]], clip_shape: Sequence[int]) -> tuple[int, ...]:
    """Of (frame, height, width) the one whose height to width is nearest to the clips'; theirs where there is none."""
    wanted = math.log(clip_shape[1] / clip_shape[2])
    return tuple(min(shapes or [clip_shape], key=lambda shape: abs(math.log(shape[1] / shape[2]) - wanted))[:3])


def make_videos(
    trials: int, make: Callable[[np.ndarray], UInt8[np.ndarray, "n f h w 3"]], *, at_once: int, shape: Sequence[int]
) -> UInt8[np.ndarray, "trial F H W 3"]:
    """Videos of all trials at `shape`, (frame, height, width, 3); `make(rows)` gives those of these rows at any."""
    made = [np.zeros((0, *shape), np.uint8)]
    for start in track(range(0, trials, at_once), "making videos"):
        made.append(fit_clips(make(np.arange(start, min(start + at_once, trials))), shape))
    return np.concatenate(made)
