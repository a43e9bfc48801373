"""Motion: end-point error, dynamic degree and VBench's motion smoothness.

All of them take any optical flow (`metrics.flow`). RAFT can be passed to the functions of videos, or its flows to those
of flows (`flow_difference`, `is_dynamic`).

Every value depends on the frame rate, the size and the estimator: end-point errors are 6–10 at 3 frames a second and
1–4 at 8. Compare like with like, and name the estimator. **A still video has a lower end-point error than most
published reconstructions** (5.2 to 10.2 on MinD-Video's samples), and the best smoothness; only the dynamic degree
gives it away.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from metrics.checks import check_pair, check_video
from metrics.flow import SMALLEST, Flow, FlowOf, Interpolator, flow_dis, flow_farneback, interpolate_dis
from metrics.specs import Array, MetricSpec, Scored, Video, on_video, on_videos, on_view

FASTEST = 0.05  # VBench: the share of pixels whose speed counts
MOVING = 6.0  # VBench: pixels a frame, at a shorter side of 256, above which a pair of frames moves
VBENCH_RATE = 8.0  # frames a second that VBench thins videos to
LARGEST_ERROR = 100.0  # pixels: what a missing clip scores in end-point error; far above any reported value


# Prediction against truth


def end_point_error(predicted: Video, target: Video, flow: FlowOf = flow_dis) -> Array:
    """Length of the difference of the two flows in pixels, the mean over pixels and pairs of frames.

    Both videos are u8 [n, f, h, w, 3] of the same shape, at least 2 frames. Returns f64 [n] from 0, which is 0 for
    identical clips; NaN where the flow is. Raises ValueError for other types or shapes. Source: Mind-Animator's
    `EPE.py` with `flow_farneback` at 512×512. Standing still is the safe bet: read it beside `dynamic_difference`.

    A still clip beside one in which everything moves by (3, 4) pixels, by a flow that says so:

    >>> moving = np.zeros((1, 2, 16, 16, 3), np.uint8)
    >>> moving[:, 1] = 9
    >>> flow = lambda clip: np.full((1, 16, 16, 2), (3.0, 4.0)) * (clip[0] != clip[1]).any()
    >>> end_point_error(np.zeros_like(moving), moving, flow).tolist()
    [5.0]
    """
    check_pair(predicted, target)
    check_video(predicted, frames=2)
    return np.array([_flow_error(flow(a), flow(b)) for a, b in zip(predicted, target, strict=True)], np.float64)


def flow_difference(predicted: npt.NDArray[np.floating], target: npt.NDArray[np.floating]) -> Array:
    """`end_point_error` of flows that are there already.

    Both flows are f [n, f−1, h, w, 2] in pixels, of the same shape. Returns f64 [n] from 0, NaN where a flow is. Raises
    ValueError for other shapes.

    >>> still = np.zeros((1, 1, 16, 16, 2))
    >>> flow_difference(still, still + [3.0, 4.0]).tolist()
    [5.0]
    """
    _check_flows(predicted)
    if predicted.shape != target.shape:
        raise ValueError(f"flows of shape {list(predicted.shape)} and {list(target.shape)}: both must be the same")
    return np.array([_flow_error(a, b) for a, b in zip(predicted, target, strict=True)], np.float64)


def _flow_error(a: Flow, b: Flow) -> float:
    difference = a - b
    return float(np.sqrt(np.square(difference[..., 0]) + np.square(difference[..., 1])).mean(dtype=np.float64))


def dynamic_difference(predicted: Video, target: Video, flow: FlowOf = flow_dis) -> Array:
    """|dynamic degree of the prediction − that of the truth|, in pixels a frame at a shorter side of 256.

    Arguments and errors are those of `end_point_error`. Returns f64 [n] from 0, 0 for identical clips. It compares how
    much moves and not what: any video with the right amount of motion does well.

    >>> moving = np.zeros((1, 2, 256, 256, 3), np.uint8)
    >>> moving[:, 1] = 9
    >>> flow = lambda clip: np.full((1, 256, 256, 2), (3.0, 4.0)) * (clip[0] != clip[1]).any()
    >>> dynamic_difference(np.zeros_like(moving), moving, flow).tolist()
    [5.0]
    """
    check_pair(predicted, target)
    return np.abs(dynamic_degree(predicted, flow) - dynamic_degree(target, flow))


# Prediction alone


def dynamic_degree(video: Video, flow: FlowOf = flow_dis) -> Array:
    """How much moves: the mean speed of the fastest 5 % of pixels, the mean over pairs of frames.

    video: u8 [n, f, h, w, 3], at least 2 frames. Returns f64 [n] from 0, in pixels a frame scaled to a shorter side of
    256; 0 for a still video. Raises ValueError for other types or shapes. VBench compares the same speeds with a
    threshold of 6 (`is_dynamic`); short clips need the continuous value. Noise moves too: read it beside a consistency.

    5 pixels a frame at a size of 64 are 20 at a size of 256:

    >>> video = np.zeros((1, 2, 64, 64, 3), np.uint8)
    >>> dynamic_degree(video).tolist(), dynamic_degree(video, lambda clip: np.full((1, 64, 64, 2), (3.0, 4.0))).tolist()
    ([0.0], [20.0])
    """
    check_video(video, frames=2)
    return np.array([np.mean(_top_speeds(flow(clip))) for clip in video], np.float64)


def is_dynamic(flows: npt.NDArray[np.floating], fps: float | None = None, *, shorter: int | None = None) -> Array:
    """VBench's rule: 1 for a clip in which at least round(4·f/16) pairs of frames move, 0 for another.

    flows: f [n, f−1, h, w, 2] in pixels; VBench takes RAFT's (`raft-things`, 20 updates). A pair moves if its fastest
    5 % of pixels exceed 6 pixels at a shorter side of 256. Returns f64 [n]; NaN where a flow is.
    shorter: the shorter side of the frames, in pixels, where the flow covers more than them: VBench pads frames to
    multiples of 8, leaves the padding in the flow, and takes the threshold of the frames. None: that of the flow.
    fps: None for the version of 2023; given, the threshold grows by max(1, 8 / fps) as in the later version, 2.7 times
    at 3 frames a second. Of clips of 2 frames round(…) is 0 and all are dynamic, also in VBench. Rounding is Python's,
    half to even. Raises ValueError for other shapes or fps ≤ 0. Source: `vbench/dynamic_degree.py`.

    At a size of 256, pairs of frames that move by 6.1 and by 5.9 pixels; of 6 frames round(1.5) = 2 pairs must move:

    >>> fast, slow = np.full((2, 5, 256, 256, 2), [0.0, 6.1]), np.full((2, 5, 256, 256, 2), [0.0, 5.9])
    >>> fast[1, 1:] = slow[1, 1:]  # in the second clip one pair moves
    >>> is_dynamic(fast).tolist(), is_dynamic(slow).tolist()
    ([1.0, 0.0], [0.0, 0.0])
    """
    _check_flows(flows)
    if fps is not None and not fps > 0:
        raise ValueError(f"fps = {fps}: allowed are frames a second above 0, or None for VBench's first version")
    threshold = MOVING * (max(1.0, VBENCH_RATE / fps) if fps is not None else 1.0)
    needed = round(4 * (flows.shape[1] + 1) / 16)
    values = np.empty(len(flows))
    for i, flow in enumerate(flows):
        speeds = _top_speeds(flow, shorter)
        values[i] = np.nan if np.isnan(speeds).any() else float(np.sum(speeds > threshold) >= needed)
    return values


def is_dynamic_video(video: Video, flow: FlowOf = flow_dis, fps: float | None = None) -> Array:
    """`is_dynamic` of videos u8 [n, f, h, w, 3] with any flow; with `fps` they are thinned to about 8 a second first.

    VBench thins mp4 files and takes folders of pictures as they are: give no fps for the latter. Returns and raises
    what `is_dynamic` does, and ValueError for other types or shapes of the videos.

    >>> video = np.zeros((1, 4, 256, 256, 3), np.uint8)
    >>> fast = lambda clip: np.full((3, 256, 256, 2), [0.0, 6.1])
    >>> is_dynamic_video(video).tolist(), is_dynamic_video(video, fast).tolist()
    ([0.0], [1.0])
    """
    check_video(video, frames=2)
    if fps is not None and fps > 0:
        video = video[:, :: max(1, round(fps / VBENCH_RATE))]
        check_video(video, frames=2)
    return np.concatenate([np.empty(0), *(is_dynamic(flow(clip)[None], fps) for clip in video)])


def _top_speeds(flow: Flow, shorter: int | None = None) -> Array:
    """Mean speed of the fastest 5 % of pixels of each pair, scaled to a shorter side of 256: f64 [f−1]."""
    pairs, height, width, _ = flow.shape
    speed = np.sqrt(np.square(flow[..., 0]) + np.square(flow[..., 1])).reshape(pairs, -1)
    count = max(1, int(height * width * FASTEST))
    fastest = np.partition(speed, -count, axis=1)[:, -count:]  # NaN sorts last, so it stays
    return fastest.mean(axis=1, dtype=np.float64) * 256 / (shorter or min(height, width))


def motion_smoothness(video: Video, interpolate: Interpolator = interpolate_dis) -> Array:
    """VBench's: every second frame against what an interpolator draws between its neighbours.

    Frames 0, 2, 4, … are kept, the frames between them drawn and compared with those left out: (255 − mean absolute
    difference) / 255. Of an even number of frames the last is not scored.
    video: u8 [n, f, h, w, 3], at least 3 frames.
    interpolate: VBench takes AMT-S, which gives other values than `interpolate_dis`: name the metric after it.
    Returns f64 [n] in 0..1; a still video scores 1. Raises ValueError for other types or shapes, or if the
    interpolator returns other frames. Source: `vbench/motion_smoothness.py`.

    A black clip with one grey frame in the middle, of 51 = 255 / 5, and an interpolator that takes the left frame:

    >>> video = np.zeros((1, 3, 16, 16, 3), np.uint8)
    >>> video[:, 1] = 51
    >>> motion_smoothness(video, lambda left, right: left).tolist()
    [0.8]
    """
    check_video(video, frames=3)
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


def _check_flows(flows: npt.NDArray) -> None:
    if flows.ndim != 5 or flows.shape[-1] != 2 or 0 in flows.shape[1:]:
        raise ValueError(f"flows of shape {list(flows.shape)}: allowed is [clip, pair of frames, height, width, 2]")


# The metrics of the protocols


def error_table(prediction: Scored, target: Scored, *, flow: FlowOf) -> Array:
    """`end_point_error` of every prediction with every target, f64 [n, m]: the flow of each clip is found once.

    >>> moving = np.zeros((2, 2, 16, 16, 3), np.uint8)
    >>> moving[1, 1] = 9
    >>> flow = lambda clip: np.full((1, 16, 16, 2), (3.0, 4.0)) * (clip[0] != clip[1]).any()
    >>> error_table(Scored(video=moving), Scored(video=moving), flow=flow).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    assert prediction.video is not None and target.video is not None, "needs the videos"
    of_target = [flow(clip) for clip in target.video]
    return np.array([[_flow_error(flow_of, other) for other in of_target] for flow_of in map(flow, prediction.video)])


def difference_table(prediction: Scored, target: Scored, *, flow: FlowOf) -> Array:
    """`dynamic_difference` of every prediction with every target, f64 [n, m]: each clip's degree is found once.

    >>> moving = np.zeros((2, 2, 256, 256, 3), np.uint8)
    >>> moving[1, 1] = 9
    >>> flow = lambda clip: np.full((1, 256, 256, 2), (3.0, 4.0)) * (clip[0] != clip[1]).any()
    >>> difference_table(Scored(video=moving), Scored(video=moving), flow=flow).tolist()
    [[0.0, 5.0], [5.0, 0.0]]
    """
    assert prediction.video is not None and target.video is not None, "needs the videos"
    return np.abs(dynamic_degree(prediction.video, flow)[:, None] - dynamic_degree(target.video, flow))


def raft_error(prediction: Scored, target: Scored) -> Array:
    """`flow_difference` of view "raft" of both, f [n, f−1, h, w, 2] in pixels. Returns f64 [n] from 0.

    >>> still, moving = (Scored(views={"raft": np.full((1, 1, 16, 16, 2), speed)}) for speed in (0.0, 2.0))
    >>> raft_error(still, moving).round(4).tolist()  # 2 √2
    [2.8284]
    """
    return flow_difference(prediction["raft"], target["raft"])


def raft_dynamic(prediction: Scored, target: Scored) -> Array:
    """`is_dynamic` of view "raft_vbench", f [n, f−1, H, W, 2]: the flow over the frames and VBench's padding.

    Reads the prediction's video for the size of its frames. Returns f64 [n], 0 or 1.

    6.1 pixels in a frame of 256, which are fewer than 6 in one of 264:

    >>> video, flows = np.zeros((1, 3, 257, 257, 3), np.uint8), np.full((1, 2, 264, 264, 2), [0.0, 6.1])
    >>> raft_dynamic(Scored(video=video, views={"raft_vbench": flows}), Scored()).tolist(), is_dynamic(flows).tolist()
    ([1.0], [0.0])
    """
    assert prediction.video is not None, "needs the size of the frames"
    return is_dynamic(prediction["raft_vbench"], shorter=min(prediction.video.shape[2:4]))


EPE_FARNEBACK = MetricSpec(
    name="epe",
    compute=on_videos(partial(end_point_error, flow=flow_farneback)),
    across=partial(error_table, flow=flow_farneback),
    summary="end-point error in pixels of Farneback's flow, as Mind-Animator calls it; a still video often wins",
    direction="lower",
    hi=LARGEST_ERROR,
    worst=LARGEST_ERROR,
    pixels=True,
    shuffles=1,
    least_frames=2,
)
EPE_DIS = replace(
    EPE_FARNEBACK,
    name="epe_dis",
    compute=on_videos(partial(end_point_error, flow=flow_dis)),
    across=partial(error_table, flow=flow_dis),
    summary="end-point error in pixels of DIS flow; read it beside dynamic_difference",
    least_size=(SMALLEST, SMALLEST),
)
EPE_RAFT = replace(
    EPE_FARNEBACK,
    name="epe_raft",
    views=("raft",),
    pixels=False,
    compute=raft_error,
    across=None,
    summary="end-point error in pixels of RAFT's flow",
)
SMOOTHNESS_DIS = MetricSpec(
    name="motion_smoothness_dis",
    compute=on_video(partial(motion_smoothness, interpolate=interpolate_dis)),
    summary="likeness of every second frame to the midpoint of its neighbours by DIS flow; a still video scores 1",
    pixels=True,
    paired=False,
    floor=False,
    least_frames=3,
    least_size=(SMALLEST, SMALLEST),
)
SMOOTHNESS_AMT = MetricSpec(
    name="motion_smoothness",
    compute=on_view(lambda smoothness: smoothness.astype(np.float64), "amt"),  # the view is the value already
    summary="VBench's motion smoothness, frames interpolated by AMT-S; a still video scores about 1",
    views=("amt",),
    paired=False,
    floor=False,
    least_frames=3,
)
MAGNITUDE = MetricSpec(
    name="dynamic_magnitude",
    compute=on_video(partial(dynamic_degree, flow=flow_dis)),
    summary="mean of the 5 % fastest pixels of DIS flow, in pixels a frame at 256; a still video scores 0",
    hi=float("inf"),
    pixels=True,
    paired=False,
    floor=False,
    least_frames=2,
    least_size=(SMALLEST, SMALLEST),
)
DIFFERENCE_DIS = MetricSpec(
    name="dynamic_difference",
    compute=on_videos(partial(dynamic_difference, flow=flow_dis)),
    across=partial(difference_table, flow=flow_dis),
    summary="difference of the dynamic magnitude to the true clip's",
    direction="lower",
    hi=LARGEST_ERROR,
    worst=LARGEST_ERROR,
    pixels=True,
    shuffles=1,
    least_frames=2,
    least_size=(SMALLEST, SMALLEST),
)
DYNAMIC_RAFT = MetricSpec(
    name="dynamic_degree",
    compute=raft_dynamic,
    version=2,  # 1: the flow of the frames without VBench's padding
    summary="whether enough pairs of frames move (RAFT), VBench's rule; a still video scores 0",
    views=("raft_vbench",),
    pixels=True,
    paired=False,
    floor=False,
    least_frames=2,
)
DYNAMIC_DIS = MetricSpec(
    name="dynamic_degree_dis",
    compute=on_video(partial(is_dynamic_video, flow=flow_dis)),
    summary="VBench's rule with DIS flow in RAFT's place",
    pixels=True,
    paired=False,
    floor=False,
    least_frames=2,
    least_size=(SMALLEST, SMALLEST),
)
