"""Optical flow between the frames of a video, and frames drawn between two by it.

A flow is a callable of one clip, u8 [f, h, w, 3], to f32 [f−1, h, w, 2]: where each pixel (x, y) of a frame is in the
next one, in pixels. `flow_dis` is the default of `metrics.motion`: no weights, 6 ms for a pair of 256×256 frames, and
the nearest to the truth of OpenCV's estimators on known shifts. `flow_farneback` is what Mind-Animator calls.

An interpolator is a callable of two stacks of frames, u8 [k, h, w, 3] each, to the frames between them:
`interpolate_dis`, or AMT as in VBench.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)  # Mind-Animator's: scale, levels, window, iterations, neighbours, sigma, flags
SMALLEST = 16  # pixels: below it OpenCV's DIS builds a pyramid smaller than its patches, and may crash

Clip = npt.NDArray[np.uint8]  # [f, h, w, 3]
Frames = npt.NDArray[np.uint8]  # [k, h, w, 3]
Flow = npt.NDArray[np.floating]  # [f-1, h, w, 2]
FlowOf = Callable[[Clip], Flow]
Interpolator = Callable[[Frames, Frames], Frames]


def flow_dis(video: Clip) -> Flow:
    """Dense Inverse Search, OpenCV's preset "medium", on grey frames.

    video: u8 RGB [f, h, w, 3], h and w at least 16. Returns f32 [f−1, h, w, 2] in pixels, (x, y); exactly 0 between
    identical frames. The same input gives the same flow. Raises ValueError for other types or shapes, or smaller
    frames. Source: Kroeger et al. 2016. Where nothing has texture it sees no motion.

    A texture that moves by 2 pixels to the right:

    >>> noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    >>> frame = cv2.GaussianBlur(noise, (0, 0), 2)
    >>> field = flow_dis(np.stack([frame, np.roll(frame, 2, axis=1)]))
    >>> field.shape, np.allclose(np.median(field, axis=(0, 1, 2)), [2, 0], atol=0.2)
    ((1, 64, 64, 2), True)
    """
    _check_clip(video, frames=1)
    grey = _grey(video, cv2.COLOR_RGB2GRAY)
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = np.zeros((len(video) - 1, *grey.shape[1:], 2), np.float32)
    for i in range(len(flows)):
        if not np.array_equal(grey[i], grey[i + 1]):  # what DIS says of equal frames is 0, and still floors are many
            flows[i] = estimator.calc(grey[i], grey[i + 1], None)  # type: ignore[call-overload]  # None: no first guess
    return flows


def flow_farneback(video: Clip) -> Flow:
    """Farneback's flow with the constants that Mind-Animator calls it with, on grey frames of exchanged red and blue.

    video: u8 RGB [f, h, w, 3]. Returns f32 [f−1, h, w, 2] in pixels, (x, y). Raises ValueError for other types or
    shapes.
    Source: `EPE.py` of Mind-Animator: (0.5, 3, 15, 3, 5, 1.2, 0), and `COLOR_BGR2GRAY` of RGB frames.

    A texture that moves by 2 pixels downwards:

    >>> noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    >>> frame = cv2.GaussianBlur(noise, (0, 0), 2)
    >>> field = flow_farneback(np.stack([frame, np.roll(frame, 2, axis=0)]))
    >>> field.shape, np.allclose(np.median(field, axis=(0, 1, 2)), [0, 2], atol=0.2)
    ((1, 64, 64, 2), True)
    """
    _check_clip(video, frames=1, smallest=1)
    grey = _grey(video, cv2.COLOR_BGR2GRAY)
    flows = np.empty((len(video) - 1, *grey.shape[1:], 2), np.float32)
    for i in range(len(flows)):
        flows[i] = cv2.calcOpticalFlowFarneback(grey[i], grey[i + 1], None, *FARNEBACK)  # type: ignore[call-overload]
    return flows


def interpolate_dis(left: Frames, right: Frames) -> Frames:
    """The frames halfway between pairs of frames, by warping both along DIS flow and taking the mean.

    Both are u8 RGB [k, h, w, 3] of the same shape, h and w at least 16. Returns u8 [k, h, w, 3]; identical frames are
    returned as they are. Raises ValueError for other types or shapes. The flows from the middle are ±(backward −
    forward) / 4 as in Super SloMo (Jiang et al. 2018), without its networks: things that cover one another smear.

    Between a frame and the same moved by 4 pixels lies one moved by 2, but for rounding and the edge:

    >>> noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    >>> frame = cv2.GaussianBlur(noise, (0, 0), 2)
    >>> middle = interpolate_dis(frame[None], np.roll(frame, 4, axis=1)[None])[0]
    >>> difference = np.abs(middle.astype(int) - np.roll(frame, 2, axis=1))
    >>> float(np.median(difference)) <= 1
    True
    """
    if left.shape != right.shape:
        raise ValueError(f"left frames {list(left.shape)}, right frames {list(right.shape)}: both must be the same")
    _check_clip(left, frames=0)
    _check_clip(right, frames=0)
    middle = np.empty_like(left)
    rows, columns = np.mgrid[: left.shape[1], : left.shape[2]].astype(np.float32)
    here = np.stack([columns, rows], axis=-1)
    for i, (a, b) in enumerate(zip(left, right, strict=True)):
        forward, backward = flow_dis(np.stack([a, b]))[0], flow_dis(np.stack([b, a]))[0]
        to_left = (backward - forward) / 4
        from_left, from_right = (
            _sample(frame, here + flow).astype(np.uint16) for frame, flow in ((a, to_left), (b, -to_left))
        )
        middle[i] = (from_left + from_right + 1) // 2
    return middle


def _sample(frame: npt.NDArray[np.uint8], places: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The frame at `places` (x, y) [h, w, 2], bilinear, continued by its edge."""
    x, y = (np.ascontiguousarray(places[..., axis]) for axis in (0, 1))
    return np.asarray(cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _grey(video: Clip, code: int) -> npt.NDArray[np.uint8]:
    """The frames in OpenCV's grey, u8 [f, h, w]."""
    return np.stack([cv2.cvtColor(frame, code) for frame in video])


def _check_clip(video: npt.NDArray, *, frames: int, smallest: int = SMALLEST) -> None:
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or len(video) < frames:
        raise ValueError(f"frames are {video.dtype} {list(video.shape)}: allowed is uint8 [frame, height, width, 3]")
    height, width = video.shape[1:3]
    if min(height, width) < smallest:
        raise ValueError(
            f"frames of {height}×{width} pixels: this flow needs at least {smallest}×{smallest}; enlarge them first"
        )
