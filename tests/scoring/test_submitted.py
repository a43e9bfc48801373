"""What is told of submitted videos by looking at them: names that were changed, clips filled up, single copies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from handed_in import true_videos, vague_videos

from bench.scoring.submitted import find_repeated, find_taken, is_copy, is_flat, sketch, tell_filled, tell_renamed
from bench.store.video import decode, encode_lossless


@pytest.fixture(scope="module")
def true(phantom) -> np.ndarray:
    return np.stack(list(true_videos(phantom).values()))


@pytest.fixture(scope="module")
def honest(phantom) -> np.ndarray:
    return np.stack(list(vague_videos(phantom, own=0.8, seed=3).values()))


def sketch_all(videos: np.ndarray) -> np.ndarray:
    return np.stack([sketch(video) for video in videos])


def tell(made: np.ndarray, true: np.ndarray) -> str:
    return tell_renamed(sketch_all(made), sketch_all(true), np.arange(len(made)))


@pytest.mark.parametrize("own", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_honest_names_are_left_alone_however_good_the_videos_are(phantom, true, own):
    for seed in (5, 6, 7):
        assert tell(np.stack(list(vague_videos(phantom, own=own, seed=seed).values())), true) == ""


def test_videos_one_place_on_are_told(true, honest):
    assert "numbered 1 lower, they fit the true clips far better" in tell(np.roll(honest, 1, axis=0), true)
    assert "numbered 1 higher" in tell(np.roll(honest, -1, axis=0), true)


def test_the_order_of_texts_and_any_other_are_told(true, honest):
    """Of ten clips; the text order needs numbers of two lengths, so they count from 5."""
    numbers = np.arange(5, 5 + len(true))
    order = sorted(range(len(true)), key=lambda i: str(numbers[i]))
    assert "sort texts" in tell_renamed(sketch_all(honest[order]), sketch_all(true), numbers)
    assert "backwards" in tell(honest[::-1], true)
    shuffled = honest[[3, 7, 0, 9, 1, 8, 2, 6, 5, 4]]
    assert "by their layout alone, 10 of 10 get another clip" in tell(shuffled, true)


def test_videos_that_stand_for_left_out_clips_are_told(true, honest):
    filled = honest.copy()
    filled[2], filled[5] = 0, 255
    flat = [is_flat(video) for video in filled]
    assert flat == [i in (2, 5) for i in range(len(true))]
    assert "2 of 10 videos are of one colour" in tell_filled(flat, np.zeros(10, bool))
    again = honest.copy()
    again[4] = honest[1]
    again[8] = cv2.GaussianBlur(honest[1].reshape(-1, 64, 3), (0, 0), 0.4).reshape(honest[1].shape)  # re-encoded
    repeated = find_repeated(sketch_all(again), sketch_all(true), [False] * 10)
    assert np.flatnonzero(repeated).tolist() == [1, 4, 8]
    assert "3 of 10 videos stand under another clip's name too" in tell_filled([False] * 10, repeated)
    assert not find_repeated(sketch_all(honest), sketch_all(true), [False] * 10).any()
    both = true.copy()
    both[4] = true[1]  # a stimulus that was shown twice may be decoded as one
    assert find_repeated(sketch_all(again), sketch_all(both), [False] * 10)[[1, 4]].all()
    again[8] = honest[8]
    assert not find_repeated(sketch_all(again), sketch_all(both), [False] * 10).any()


def as_jpeg(frame: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


def add(clip: np.ndarray, more: np.ndarray | float) -> np.ndarray:
    return np.clip(clip.astype(float) + more, 0, 255).astype(np.uint8)


COPIES = {
    "as it is": lambda clip: clip,
    "encoded again": lambda clip: decode(encode_lossless(clip, fps=3), "again"),
    "as JPEG": lambda clip: np.stack([as_jpeg(frame) for frame in clip]),
    "a little brighter": lambda clip: add(clip, 5),
    "a frame late": lambda clip: clip[[0, 0, 1, 2, 3, 4]],
    "a little noise": lambda clip: add(clip, np.random.default_rng(0).normal(0, 5, clip.shape)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_single_copy_is_told(true, honest, how):
    lively = int(np.argmax(true.std(axis=(1, 2, 3, 4))))
    assert is_copy(COPIES[how](true[lively]), true[lively])
    assert not any(is_copy(made, clip) for made, clip in zip(honest, true, strict=True))


def test_the_true_clip_of_another_name_is_told(true, honest):
    made = honest.copy()
    made[3] = true[8]
    assert np.flatnonzero(find_taken(sketch_all(made), sketch_all(true))).tolist() == [3]


def test_a_flat_true_clip_says_nothing(true):
    grey = np.full_like(true[0], 120)
    assert not is_copy(grey, grey + 1)
