"""The dynamic degree of a set of videos against that of the true ones: CineNeuron's "Δ Dynamic Degree".

VBench's dynamic degree is a property of a set: the share of its videos in which enough pairs of frames move
(`metrics.motion.is_dynamic`). Table 2 of CineNeuron (arXiv 2605.14569) prints, for each method and data set, one number
of the whole test set, .020 to .261, lower is better: how far the share of the reconstructions is from that of the true
clips,

    Δ = | mean p − mean t |,   p, t: whether a reconstruction, and whether its true clip, is dynamic (0 or 1).

The paper says no more, and its code is not public; rule and threshold here are VBench's first version's, frames as
given.

A metric has a value a clip: here the *error* |p − t|, beside p itself (`dynamic_degree` of the same protocol). Both
tell the truth's degree, t = |p − error|, and p − t, whose mean over the set is signed (`set_change`); Δ is its absolute
value, made where the paper's table is laid out. It is not the mean of the errors: a set may be right as a whole with
every clip wrong, as where the still and the moving ones are exchanged, and how clips are paired with truths changes
nothing. Nor is it a speed; the difference of single clips' speeds is `metrics.motion.dynamic_difference`, in pixels. By
chance Δ is about √(p (1 − p) / n) at n clips: .04 at 120 where a quarter of them move.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from metrics.flow import SMALLEST, FlowOf, flow_dis
from metrics.motion import DYNAMIC_DIS, DYNAMIC_RAFT, is_dynamic_video, raft_dynamic
from metrics.specs import Array, MetricSpec, Scored, Video, on_videos


def dynamic_error(predicted: Video, target: Video, flow: FlowOf = flow_dis) -> Array:
    """1 where one of prediction and true clip is dynamic and the other is not, else 0.

    Both videos are u8 [n, f, h, w, 3], at least 2 frames. Returns f64 [n]. Raises ValueError for other types or shapes.
    By `metrics.motion.is_dynamic_video`; source: see above.

    A still clip beside one in which everything moves, and the other way round:

    >>> both = np.zeros((2, 4, 256, 256, 3), np.uint8)
    >>> both[1, 1:] = 9
    >>> flow = lambda clip: np.full((3, 256, 256, 2), [0.0, 6.1]) * (clip[0] != clip[1]).any()
    >>> dynamic_error(both, both[::-1], flow).tolist(), dynamic_error(both, both, flow).tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    return np.abs(is_dynamic_video(predicted, flow) - is_dynamic_video(target, flow))


def set_change(dynamic: Array, error: Array) -> Array:
    """p − t of each clip by whether it is dynamic, p, and its error |p − t|: f64 [n], −1, 0 or 1.

    The absolute value of the mean over a set is its Δ. A missing clip scores p = 0 and error 1 and counts as a still
    one in the place of a moving one, −1.

    Two clips exchanged are a right set; a third that should not move makes a Δ of 1/3:

    >>> set_change(np.array([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0])).tolist()
    [1.0, -1.0, 1.0]
    """
    return (2 * np.asarray(dynamic, np.float64) - 1) * np.asarray(error, np.float64)


def dynamic_error_table(prediction: Scored, target: Scored, *, flow: FlowOf) -> Array:
    """`dynamic_error` of every prediction with every target, f64 [n, m]: each clip's degree is found once.

    >>> video = np.zeros((2, 4, 256, 256, 3), np.uint8)
    >>> video[1, 1:] = 9
    >>> flow = lambda clip: np.full((3, 256, 256, 2), [0.0, 6.1]) * (clip[0] != clip[1]).any()
    >>> dynamic_error_table(Scored(video=video), Scored(video=video), flow=flow).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    assert prediction.video is not None and target.video is not None, "needs the videos"
    return np.abs(is_dynamic_video(prediction.video, flow)[:, None] - is_dynamic_video(target.video, flow))


def raft_dynamic_error(prediction: Scored, target: Scored) -> Array:
    """`dynamic_error` by view "raft_vbench" of both, f [n, f−1, H, W, 2]: the flow of frames and VBench's padding.

    Reads both videos for the size of their frames. Returns f64 [n], 0 or 1.

    >>> video, fast = np.zeros((1, 3, 256, 256, 3), np.uint8), np.full((1, 2, 256, 256, 2), [0.0, 6.1])
    >>> moving, still = (Scored(video=video, views={"raft_vbench": flows}) for flows in (fast, 0 * fast))
    >>> raft_dynamic_error(moving, still).tolist(), raft_dynamic_error(still, still).tolist()
    ([1.0], [0.0])
    """
    return np.abs(raft_dynamic(prediction, target) - raft_dynamic(target, prediction))


ERROR_RAFT = MetricSpec(
    name="dynamic_degree_error",
    compute=raft_dynamic_error,
    summary="whether a clip is dynamic (VBench's rule, RAFT) and its true one not, or the other way round",
    direction="lower",
    worst=1.0,
    views=("raft_vbench",),
    pixels=True,
    shuffles=1,
    least_frames=2,
)
ERROR_DIS = MetricSpec(
    name="dynamic_degree_error_dis",
    compute=on_videos(partial(dynamic_error, flow=flow_dis)),
    across=partial(dynamic_error_table, flow=flow_dis),
    summary="the same with DIS flow in RAFT's place",
    direction="lower",
    worst=1.0,
    pixels=True,
    shuffles=1,
    least_frames=2,
    least_size=(SMALLEST, SMALLEST),
)
DEGREE_OF = {ERROR_RAFT.name: DYNAMIC_RAFT.name, ERROR_DIS.name: DYNAMIC_DIS.name}  # the error: p, in the same protocol
