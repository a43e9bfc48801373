from __future__ import annotations

from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.store.video import read_video
from metrics.flow import flow_dis, flow_farneback, interpolate_dis
from metrics.motion import (
    dynamic_degree,
    dynamic_difference,
    end_point_error,
    flow_difference,
    is_dynamic,
    is_dynamic_video,
    motion_smoothness,
)


def texture(seed, height, width):
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.clip(128 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def pan(seed, steps, *, height=64, width=64):
    """A window that moves over a texture, by these columns from frame to frame: u8 [f, h, w, 3]."""
    places = np.concatenate([[0], np.cumsum(steps)]).astype(int)
    wide = texture(seed, height, width + places.max())
    return np.stack([wide[:, place : place + width] for place in places])


def still(seed, frames=6, *, height=64, width=64):
    return np.repeat(texture(seed, height, width)[None], frames, axis=0)


@pytest.mark.parametrize("size", [(64, 64), (36, 64), (96, 72)])
@pytest.mark.parametrize("flow", [flow_dis, flow_farneback])
def test_flows_find_a_known_shift(flow, size):
    height, width = size
    found = flow(pan(0, [3, 3], height=height, width=width))
    assert found.shape == (2, height, width, 2) and found.dtype == np.float32
    inner = found[:, 8:-8, 8:-8]
    assert np.median(inner[..., 0]) == pytest.approx(-3, abs=0.2)  # the picture goes to the left
    assert np.median(inner[..., 1]) == pytest.approx(0, abs=0.2)


def test_flow_is_deterministic_and_nothing_moves_in_a_still_video():
    clip = np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    for flow in (flow_dis, flow_farneback):
        assert np.array_equal(flow(clip), flow(clip))
        assert np.array_equal(flow(clip)[2:], flow(clip[2:]))  # no first guess is kept from pair to pair
    assert np.array_equal(flow_dis(still(1)), np.zeros((5, 64, 64, 2)))


@pytest.mark.parametrize("size", [(16, 16), (16, 23), (16, 40), (16, 44), (16, 64), (17, 300), (300, 17), (33, 128)])
def test_dis_at_its_smallest_sizes(size):
    assert np.isfinite(flow_dis(pan(2, [1, 1], height=size[0], width=size[1]))).all()


def test_frames_too_small_for_dis_are_refused():
    small = np.zeros((1, 3, 15, 64, 3), np.uint8)
    for metric in (partial(end_point_error, small), dynamic_degree, motion_smoothness):
        with pytest.raises(ValueError, match=r"15×64 pixels.*at least 16×16"):
            metric(small)


def farneback_by_definition(predicted, target):
    """Mind-Animator's EPE, its constants written out."""
    flows = []
    for clip in (predicted, target):
        grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in clip]
        flows.append([cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 3, 15, 3, 5, 1.2, 0) for a, b in pairwise(grey)])
    return np.mean(np.linalg.norm(np.array(flows[0]) - np.array(flows[1]), axis=-1))


def test_end_point_error_on_real_pairs(real):
    """A still frame beats the published reconstructions."""
    values, stills = [], []
    for path in sorted((real / "cc2017/mind_video").glob("*.gif"))[:4]:
        target, predicted = np.split(read_video(path), 2, axis=2)
        values.append(end_point_error(predicted[None], target[None], flow_farneback)[0])
        assert values[-1] == pytest.approx(farneback_by_definition(predicted, target), abs=1e-5)
        frozen = np.repeat(predicted[:1], len(predicted), axis=0)
        stills.append(end_point_error(frozen[None], target[None], flow_farneback)[0])
    assert np.mean(stills) < np.mean(values)
    folder = real / "seed_dv/gifs"
    for path in sorted((folder / "original").glob("*.GIF"))[:4]:
        target, predicted = read_video(path)[:3], read_video(folder / "reconstructed" / path.name)[:3]
        value = end_point_error(predicted[None], target[None], flow_farneback)[0]
        assert value == pytest.approx(farneback_by_definition(predicted, target), abs=1e-5)


def given_flow(*vectors):
    """A flow callable that returns these vectors (one a pair of frames) everywhere, whatever the video."""
    return lambda clip: np.broadcast_to(
        np.array(vectors, np.float32)[:, None, None], (len(vectors), *clip.shape[1:3], 2)
    )


def test_end_point_error_of_planted_flows():
    a = np.zeros((2, 2, 20, 30, 2), np.float32)
    b = a.copy()
    b[0, 0] = (3, 4)
    b[1] = (0, -2)
    assert flow_difference(a, b) == pytest.approx([2.5, 2])
    both_moved = np.array([1, -3], np.float32)
    assert flow_difference(a + both_moved, b + both_moved) == pytest.approx([2.5, 2])
    b[1, 1, 5, 5] = np.nan
    assert flow_difference(a, b) == pytest.approx([2.5, np.nan], nan_ok=True)
    video = np.stack([pan(3, [4, 4]), pan(4, [2, 2])])
    frozen = np.repeat(video[:, :1], 3, axis=1)
    assert end_point_error(frozen, video) == pytest.approx([4, 2], abs=0.5)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8)
def test_best_values_rows_and_bounds(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 256, (2, 3, 4, 20, 18, 3), dtype=np.uint8)
    order = rng.permutation(3)
    for metric in (end_point_error, dynamic_difference, partial(end_point_error, flow=flow_farneback)):
        values = metric(a, b)
        assert values.dtype == np.float64 and (values >= 0).all()
        assert np.array_equal(metric(a, a), np.zeros(3))
        assert np.array_equal(metric(a[order], b[order]), values[order])
        assert np.array_equal(metric(a[1:2], b[1:2]), values[1:2])
        assert metric(a[:0], b[:0]).shape == (0,)
    for metric in (dynamic_degree, motion_smoothness, is_dynamic_video):
        values = metric(a)
        assert (values >= 0).all() and (metric is dynamic_degree or (values <= 1).all())
        assert np.array_equal(metric(a[order]), values[order])
        assert metric(a[:0]).shape == (0,)


def test_more_wrong_motion_is_a_larger_error():
    truth = pan(5, [2] * 5)[None]
    values = [end_point_error(pan(5, [step] * 5)[None], truth)[0] for step in (2, 3, 5, 7)]
    assert values == sorted(values) and values[0] == 0
    differences = [dynamic_difference(pan(6, [step] * 5)[None], truth)[0] for step in (2, 4, 6)]
    assert differences == sorted(differences)


# Dynamic degree


def test_dynamic_degree_takes_the_fastest_twentieth():
    def flow(clip):
        field = np.zeros((2, 40, 50, 2), np.float32)
        field[0].reshape(-1, 2)[:100] = (3, 4)  # exactly 5 % at speed 5
        field[1].reshape(-1, 2)[:50] = (0, 8)  # 2.5 % at speed 8
        return field

    video = np.zeros((1, 3, 40, 50, 3), np.uint8)
    assert dynamic_degree(video, flow)[0] == pytest.approx((5 + 4) / 2 * 256 / 40)
    assert dynamic_degree(still(7)[None])[0] == 0
    assert dynamic_degree(pan(7, [4, 4], height=128, width=128)[None])[0] == pytest.approx(8, rel=0.25)


def vbench_rule(speeds, size, frames, fps):
    """VBench's loop over pairs, as its later version has it."""
    threshold, needed, count = max(1.0, 8.0 / fps) * 6.0 * (size / 256.0), round(4 * (frames / 16.0)), 0
    for speed in speeds:
        count += speed > threshold
        if count >= needed:
            return True
    return False


@given(
    frames=st.integers(2, 33),
    size=st.sampled_from([64, 100, 256]),
    fps=st.sampled_from([3.0, 8.0, 30.0]),
    data=st.data(),
)
@settings(max_examples=60)
def test_is_dynamic_equals_vbenchs_loop(frames, size, fps, data):
    speeds = data.draw(st.lists(st.sampled_from([0.0, 1.0, 4.0, 7.0, 20.0]), min_size=frames - 1, max_size=frames - 1))
    flows = np.zeros((1, frames - 1, size, 64 if size == 64 else 100, 2), np.float32)
    flows[0, :, :, :, 0] = np.array(speeds)[:, None, None]
    smaller = min(flows.shape[2:4])
    assert is_dynamic(flows, fps=fps)[0] == vbench_rule(speeds, smaller, frames, fps)
    assert is_dynamic(flows)[0] == vbench_rule(speeds, smaller, frames, 8.0)


def test_is_dynamic_of_videos():
    video = np.zeros((2, 6, 256, 256, 3), np.uint8)
    two_move = given_flow((7, 0), (7, 0), (0, 0), (0, 0), (0, 0))
    one_moves = given_flow((7, 0), (5, 0), (0, 0), (0, 0), (0, 0))
    assert is_dynamic_video(video, two_move).tolist() == [1, 1]
    assert is_dynamic_video(video, one_moves).tolist() == [0, 0]
    assert is_dynamic_video(video, two_move, fps=3).tolist() == [0, 0]  # the threshold is 16
    assert is_dynamic_video(still(8)[None])[0] == 0
    assert is_dynamic_video(still(8, frames=2)[None])[0] == 1  # round(4·2/16) pairs are enough: none
    seen = []

    def watch(clip):
        seen.append(len(clip))
        return flow_dis(clip)

    is_dynamic_video(still(8, frames=32)[None], watch, fps=30)
    assert seen == [8]
    broken = np.zeros((1, 5, 16, 16, 2), np.float32)
    broken[0, 1, 1, 1] = np.nan
    assert np.isnan(is_dynamic(broken)[0])
    with pytest.raises(ValueError, match="fps = 0"):
        is_dynamic(broken, fps=0)


# Smoothness


def test_smoothness_separates_smooth_from_jittery_motion():
    values = {
        "still": motion_smoothness(still(9, 9)[None])[0],
        "smooth": motion_smoothness(pan(9, [3] * 8, height=96, width=96)[None])[0],
        "jittery": motion_smoothness(pan(9, [1, 5] * 4, height=96, width=96)[None])[0],
        "noise": motion_smoothness(np.random.default_rng(9).integers(0, 256, (1, 9, 96, 96, 3), dtype=np.uint8))[0],
    }
    assert values["still"] == 1 and values["smooth"] > 0.985
    assert values["smooth"] > values["jittery"] + 0.01 and values["jittery"] > values["noise"] + 0.05


@pytest.mark.parametrize("frames", [3, 5, 6, 7])
def test_smoothness_formula(frames):
    """Against the formula, with a plain mean as interpolator; the last frame of an even number is not scored."""
    video = np.random.default_rng(frames).integers(0, 256, (2, frames, 8, 9, 3), dtype=np.uint8)

    def mean(left, right):
        return ((left.astype(np.uint16) + right) // 2).astype(np.uint8)

    expected = []
    for clip in video:
        drawn = [mean(clip[i - 1], clip[i + 1]) for i in range(1, frames - 1, 2)]
        misses = [cv2.absdiff(a, b).mean() for a, b in zip(drawn, clip[1::2], strict=False)]
        expected.append((255 - np.mean(misses)) / 255)
    assert motion_smoothness(video, mean) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(ValueError, match=r"must return uint8 .*a frame for each pair"):
        motion_smoothness(video, lambda left, right: left[:0])
    with pytest.raises(ValueError, match="at least 3 frames"):
        motion_smoothness(video[:, :2])


def test_interpolation_finds_the_middle():
    clip = pan(10, [3, 3], height=36, width=64)
    drawn = interpolate_dis(clip[:1], clip[2:])
    assert drawn.shape == (1, 36, 64, 3) and drawn.dtype == np.uint8
    error = np.abs(drawn[0].astype(int) - clip[1])[:, 8:-8].mean()
    assert error < 0.2 * np.abs(clip[0].astype(int) - clip[1])[:, 8:-8].mean()
    assert np.array_equal(interpolate_dis(clip, clip), clip)
    assert interpolate_dis(clip[:0], clip[:0]).shape == (0, 36, 64, 3)
    with pytest.raises(ValueError, match="both must be the same"):
        interpolate_dis(clip, clip[1:])
