"""Motion: optical flow, end-point error, dynamic degree and VBench's motion smoothness.

A flow is a callable of one clip, u8 [f, h, w, 3] to f32 [f−1, h, w, 2]: where each pixel (x, y) of a frame is in the
next one, in pixels. `flow_dis` is the default: no weights, 6 ms for a pair of 256×256 frames, and the nearest to the
truth of OpenCV's estimators on known shifts. `flow_farneback` is what Mind-Animator calls. RAFT can be passed to
the functions of videos, or its flows to those of flows (`flow_difference`, `is_dynamic`). An interpolator is a callable
of two stacks of frames, u8 [k, h, w, 3] each, to the frames between them: `interpolate_dis`, or AMT as in VBench.

Every value depends on the frame rate, the size and the estimator: end-point errors are 6–10 at 3 frames a second and
1–4 at 8. Compare like with like, and name the estimator. **A still video has a lower end-point error than most
published reconstructions** (5.2 to 10.2 on MinD-Video's samples), and the best smoothness; only the dynamic degree
gives it away.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from metrics.pixel import check_videos

FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)  # Mind-Animator's: scale, levels, window, iterations, neighbours, sigma, flags
SMALLEST = 16  # pixels: below it OpenCV's DIS builds a pyramid smaller than its patches, and may crash
FASTEST = 0.05  # VBench: the share of pixels whose speed counts
MOVING = 6.0  # VBench: pixels a frame, at a shorter side of 256, above which a pair of frames moves
VBENCH_RATE = 8.0  # frames a second that VBench thins videos to

Clip = npt.NDArray[np.uint8]  # [f, h, w, 3]
Video = npt.NDArray[np.uint8]  # [n, f, h, w, 3]
Frames = npt.NDArray[np.uint8]  # [k, h, w, 3]
Flow = npt.NDArray[np.floating]  # [f-1, h, w, 2]
FlowOf = Callable[[Clip], Flow]
Interpolator = Callable[[Frames, Frames], Frames]
Array = npt.NDArray[np.float64]


# Optical flow


def flow_dis(video: Clip) -> Flow:
    """Dense Inverse Search, OpenCV's preset "medium", on grey frames.

    u8 RGB [f, h, w, 3], h and w at least 16. Returns f32 [f−1, h, w, 2] in pixels, (x, y); exactly 0 between identical
    frames. The same input gives the same flow. Raises ValueError for other types or shapes, or smaller frames.
    Source: Kroeger et al. 2016. Where nothing has texture it sees no motion.
    """
    _check_clip(video, frames=1)
    grey = _grey(video, cv2.COLOR_RGB2GRAY)
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = np.empty((len(video) - 1, *grey.shape[1:], 2), np.float32)
    for i in range(len(flows)):
        flows[i] = estimator.calc(grey[i], grey[i + 1], None)  # type: ignore[call-overload]  # None: no first guess
    return flows


def flow_farneback(video: Clip) -> Flow:
    """Farneback's flow with the constants that Mind-Animator calls it with, on grey frames of exchanged red and blue.

    u8 RGB [f, h, w, 3]. Returns f32 [f−1, h, w, 2] in pixels, (x, y). Raises ValueError for other types or shapes.
    Source: `EPE.py` of Mind-Animator: (0.5, 3, 15, 3, 5, 1.2, 0), and `COLOR_BGR2GRAY` of RGB frames.
    """
    _check_clip(video, frames=1, smallest=1)
    grey = _grey(video, cv2.COLOR_BGR2GRAY)
    flows = np.empty((len(video) - 1, *grey.shape[1:], 2), np.float32)
    for i in range(len(flows)):
        flows[i] = cv2.calcOpticalFlowFarneback(grey[i], grey[i + 1], None, *FARNEBACK)  # type: ignore[call-overload]
    return flows


# Prediction against truth


def end_point_error(predicted: Video, target: Video, flow: FlowOf = flow_dis) -> Array:
    """Length of the difference of the two flows in pixels, the mean over pixels and pairs of frames.

    Both u8 [n, f, h, w, 3] of the same shape, at least 2 frames. Returns f64 [n] from 0, 0 for identical clips; NaN
    where the flow is. Raises ValueError for other types or shapes. Source: Mind-Animator's `EPE.py` with
    `flow_farneback` at 512×512. Standing still is the safe bet: read it beside `dynamic_difference`.
    """
    check_videos(predicted, target)
    _check_frames(predicted, 2)
    return np.array([_flow_error(flow(a), flow(b)) for a, b in zip(predicted, target, strict=True)], np.float64)


def flow_difference(predicted: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> Array:
    """`end_point_error` of flows that are there already: both f [n, f−1, h, w, 2]. Returns f64 [n]."""
    _check_flows(predicted)
    if predicted.shape != target.shape:
        raise ValueError(f"flows of shape {list(predicted.shape)} and {list(target.shape)}: both must be the same")
    return np.array([_flow_error(a, b) for a, b in zip(predicted, target, strict=True)], np.float64)


def _flow_error(a: Flow, b: Flow) -> float:
    difference = a - b
    return float(np.sqrt(np.square(difference[..., 0]) + np.square(difference[..., 1])).mean(dtype=np.float64))


def dynamic_difference(predicted: Video, target: Video, flow: FlowOf = flow_dis) -> Array:
    """|dynamic degree of the prediction − that of the truth|, in pixels a frame at a shorter side of 256.

    Arguments and errors as in `end_point_error`. Returns f64 [n] from 0, 0 for identical clips. It compares how much
    moves and not what: any video with the right amount of motion does well.
    """
    check_videos(predicted, target)
    return np.abs(dynamic_degree(predicted, flow) - dynamic_degree(target, flow))


# Prediction alone


def dynamic_degree(video: Video, flow: FlowOf = flow_dis) -> Array:
    """How much moves: the mean speed of the fastest 5 % of pixels, the mean over pairs of frames.

    u8 [n, f, h, w, 3], at least 2 frames. Returns f64 [n] from 0, in pixels a frame scaled to a shorter side of 256;
    0 for a still video. Raises ValueError for other types or shapes. VBench compares the same speeds with a threshold
    of 6 (`is_dynamic`); short clips need the continuous value. Noise moves too: read it beside a consistency.
    """
    _check_frames(video, 2)
    return np.array([np.mean(_top_speeds(flow(clip))) for clip in video], np.float64)


def is_dynamic(flows: npt.NDArray[np.floating], fps: float | None = None) -> Array:
    """VBench's rule: 1 for a clip in which at least round(4·f/16) pairs of frames move, 0 for another.

    flows: f [n, f−1, h, w, 2] in pixels; VBench takes RAFT's (`raft-things`, 20 updates). A pair moves if its fastest
    5 % of pixels exceed 6 pixels at a shorter side of 256. Returns f64 [n]; NaN where a flow is.
    fps: None for the version of 2023; given, the threshold grows by max(1, 8 / fps) as in the later version, 2.7 times
    at 3 frames a second. Of clips of 2 frames round(…) is 0 and all are dynamic, also in VBench. Rounding is Python's,
    half to even. Raises ValueError for other shapes or fps ≤ 0. Source: `vbench/dynamic_degree.py`.
    """
    _check_flows(flows)
    if fps is not None and not fps > 0:
        raise ValueError(f"fps = {fps}: allowed are frames a second above 0, or None for VBench's first version")
    threshold = MOVING * (max(1.0, VBENCH_RATE / fps) if fps is not None else 1.0)
    needed = round(4 * (flows.shape[1] + 1) / 16)
    values = np.empty(len(flows))
    for i, flow in enumerate(flows):
        speeds = _top_speeds(flow)
        values[i] = np.nan if np.isnan(speeds).any() else float(np.sum(speeds > threshold) >= needed)
    return values


def is_dynamic_video(video: Video, flow: FlowOf = flow_dis, fps: float | None = None) -> Array:
    """`is_dynamic` of videos u8 [n, f, h, w, 3] with any flow; with `fps` they are thinned to about 8 a second first.

    VBench thins mp4 files and takes folders of pictures as they are: give no fps for the latter.
    """
    _check_frames(video, 2)
    if fps is not None and fps > 0:
        video = video[:, :: max(1, round(fps / VBENCH_RATE))]
        _check_frames(video, 2)
    return np.concatenate([np.empty(0), *(is_dynamic(flow(clip)[None], fps) for clip in video)])


def _top_speeds(flow: Flow) -> Array:
    """Mean speed of the fastest 5 % of pixels of each pair, scaled to a shorter side of 256: f64 [f−1]."""
    pairs, height, width, _ = flow.shape
    speed = np.sqrt(np.square(flow[..., 0]) + np.square(flow[..., 1])).reshape(pairs, -1)
    count = max(1, int(height * width * FASTEST))
    fastest = np.partition(speed, -count, axis=1)[:, -count:]  # NaN sorts last, so it stays
    return fastest.mean(axis=1, dtype=np.float64) * 256 / min(height, width)


def motion_smoothness(video: Video, interpolate: Interpolator | None = None) -> Array:
    """VBench's: every second frame against what an interpolator draws between its neighbours.

    Frames 0, 2, 4, … are kept, the frames between them drawn and compared with those left out: (255 − mean absolute
    difference) / 255. Of an even number of frames the last is not scored. u8 [n, f, h, w, 3], at least 3 frames.
    interpolate: None means `interpolate_dis`; VBench takes AMT-S, which gives other values: name the metric after it.
    Returns f64 [n] in 0..1; a still video scores 1. Raises ValueError for other types or shapes, or if the
    interpolator returns other frames. Source: `vbench/motion_smoothness.py`.
    """
    _check_frames(video, 3)
    interpolate = interpolate_dis if interpolate is None else interpolate
    values = np.empty(len(video))
    for i, clip in enumerate(video):
        kept = clip[::2]
        drawn = interpolate(kept[:-1], kept[1:])
        left_out = clip[1::2][: len(kept) - 1]
        if drawn.shape != left_out.shape or drawn.dtype != np.uint8:
            raise ValueError(
                f"the interpolator returned {drawn.dtype} {list(drawn.shape)}: it must return uint8 "
                f"{list(left_out.shape)}, a frame for each pair"
            )
        values[i] = (255 - np.abs(drawn.astype(np.int16) - left_out).mean()) / 255
    return values


def interpolate_dis(left: Frames, right: Frames) -> Frames:
    """The frames halfway between pairs of frames, by warping both along DIS flow and taking the mean.

    Both u8 RGB [k, h, w, 3] of the same shape, h and w at least 16. Returns u8 [k, h, w, 3]; identical frames are
    returned as they are. Raises ValueError for other types or shapes. The flows from the middle are ±(backward −
    forward) / 4 as in Super SloMo (Jiang et al. 2018), without its networks: things that cover one another smear.
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
    return np.stack([cv2.cvtColor(frame, code) for frame in video])


def _check_clip(video: npt.NDArray, *, frames: int, smallest: int = SMALLEST) -> None:
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or len(video) < frames:
        raise ValueError(f"frames are {video.dtype} {list(video.shape)}: allowed is uint8 [frame, height, width, 3]")
    height, width = video.shape[1:3]
    if min(height, width) < smallest:
        raise ValueError(
            f"frames of {height}×{width} pixels: this flow needs at least {smallest}×{smallest}; enlarge them first"
        )


def _check_frames(video: npt.NDArray, frames: int) -> None:
    if video.dtype != np.uint8 or video.ndim != 5 or video.shape[1] < frames or 0 in video.shape[1:]:
        raise ValueError(
            f"video is {video.dtype} {list(video.shape)}: allowed is uint8 [clip, frame, height, width, 3] with at "
            f"least {frames} frames"
        )


def _check_flows(flows: npt.NDArray) -> None:
    if flows.ndim != 5 or flows.shape[-1] != 2 or 0 in flows.shape[1:]:
        raise ValueError(f"flows of shape {list(flows.shape)}: allowed is [clip, pair of frames, height, width, 2]")
