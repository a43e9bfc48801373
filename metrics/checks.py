"""What the functions of videos refuse: wrong types and shapes, named in words with what is allowed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def check_pair(predicted: npt.NDArray, target: npt.NDArray) -> None:
    """Raises ValueError unless both are u8 [n, f, h, w, 3] of the same shape with at least one frame.

    >>> video = np.zeros((1, 2, 8, 8, 3), np.uint8)
    >>> check_pair(video, video)
    >>> check_pair(video.astype(float), video)
    Traceback (most recent call last):
    ValueError: predicted video is float64 [1, 2, 8, 8, 3]: allowed is uint8 [clip, frame, height, width, 3]
    """
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


def check_video(video: npt.NDArray, *, frames: int) -> None:
    """Raises ValueError unless it is u8 [n, f, h, w, c] with at least `frames` frames.

    >>> check_video(np.zeros((1, 2, 8, 8, 3), np.uint8), frames=2)
    >>> check_video(np.zeros((1, 1, 8, 8, 3), np.uint8), frames=2)
    Traceback (most recent call last):
    ValueError: video is uint8 [1, 1, 8, 8, 3]: allowed is uint8 [clip, frame, height, width, 3] with at least 2 frames
    """
    if video.dtype != np.uint8 or video.ndim != 5 or video.shape[1] < frames or 0 in video.shape[1:]:
        raise ValueError(
            f"video is {video.dtype} {list(video.shape)}: allowed is uint8 [clip, frame, height, width, 3] with at "
            f"least {frames} frames"
        )


def _words(video: npt.NDArray) -> str:
    clips, frames, height, width, _ = video.shape
    return f"{clips} clips of {frames} frames, {height}×{width} pixels (height×width)"
