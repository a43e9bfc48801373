from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.consistency import (
    adjacent_cosine,
    all_pairs_cosine,
    clip_similarity,
    gated,
    subject_consistency,
    temporal_flickering,
)

OF_EMBEDDINGS = [adjacent_cosine, all_pairs_cosine, subject_consistency]


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(torch.as_tensor(a), torch.as_tensor(b), dim=-1).item()


def embeddings(seed, n=3, frames=5, d=7, dtype=np.float64):
    return np.random.default_rng(seed).normal(0.3, 1, (n, frames, d)).astype(dtype)


def test_each_equals_its_definition_by_torch():
    given_ = embeddings(0)
    for clip, adjacent, pairs, subject in zip(given_, *(metric(given_) for metric in OF_EMBEDDINGS), strict=True):
        assert adjacent == pytest.approx(np.mean([cosine(a, b) for a, b in pairwise(clip)]))
        assert pairs == pytest.approx(np.mean([cosine(a, b) for a, b in combinations(clip, 2)]))
        steps = [(max(0, cosine(b, a)) + max(0, cosine(b, clip[0]))) / 2 for a, b in pairwise(clip)]
        assert subject == pytest.approx(np.mean(steps))
    other = embeddings(1, frames=4)
    expected = [cosine(a.mean(axis=0), b.mean(axis=0)) for a, b in zip(given_, other, strict=True)]
    assert clip_similarity(given_, other) == pytest.approx(expected)


def test_planted_angles():
    turns = np.deg2rad([0, 60, 120])
    fan = np.stack([np.cos(turns), np.sin(turns)], axis=-1)[None]
    assert adjacent_cosine(fan)[0] == pytest.approx(0.5)
    assert all_pairs_cosine(fan)[0] == pytest.approx((0.5 + 0.5 - 0.5) / 3)
    assert subject_consistency(fan)[0] == pytest.approx((0.5 + (0.5 + 0) / 2) / 2)  # cos 120° counts as 0


@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(2, 9), scale=st.floats(1e-3, 1e3))
@settings(max_examples=30)
def test_a_still_video_scores_one_and_bounds_hold(seed, frames, scale):
    given_ = embeddings(seed, frames=frames, dtype=np.float32)
    still = np.repeat(given_[:, :1], frames, axis=1)
    order = np.random.default_rng(seed).permutation(3)
    for metric, lowest in zip(OF_EMBEDDINGS, (-1, -1 / (frames - 1), 0), strict=True):
        values = metric(given_)
        assert values.dtype == np.float64
        assert metric(still) == pytest.approx(1)
        assert ((values <= 1 + 1e-9) & (values >= lowest - 1e-9)).all()
        assert metric(given_ * np.float32(scale)) == pytest.approx(values, abs=1e-5)
        assert np.array_equal(metric(given_[order]), values[order])
        assert np.array_equal(metric(given_[1:2]), values[1:2])
    assert clip_similarity(given_, given_) == pytest.approx(1)


def test_noise_between_frames_lowers_all():
    rng = np.random.default_rng(2)
    still, noise = np.repeat(rng.normal(0, 1, (1, 1, 64)), 6, axis=1), rng.normal(0, 1, (1, 6, 64))
    for metric in OF_EMBEDDINGS:
        values = [metric(still + s * noise)[0] for s in (0, 0.2, 0.5, 1, 2)]
        assert values == sorted(values, reverse=True)


def test_nan_stays_in_its_clip():
    given_ = embeddings(3)
    broken = given_.copy()
    broken[1, 2, 4] = np.nan
    for metric in [*OF_EMBEDDINGS, lambda e: clip_similarity(e, given_)]:
        assert np.isnan(metric(broken)[1])
        assert np.array_equal(metric(broken)[[0, 2]], metric(given_)[[0, 2]])
    assert adjacent_cosine(np.zeros((1, 3, 4)))[0] == 0


def test_the_gate():
    values, similarity = np.array([0.9, 0.8, 0.7, np.nan, 0.5]), np.array([0.61, 0.6, 0.59, 0.9, np.nan])
    assert gated(values, similarity) == pytest.approx([0.9, 0, 0, np.nan, np.nan], nan_ok=True)
    assert gated(values, similarity, threshold=0.5)[:3] == pytest.approx([0.9, 0.8, 0.7])
    with pytest.raises(ValueError, match="one number a clip"):
        gated(values, similarity[:4])


def test_flickering():
    rng = np.random.default_rng(4)
    video = rng.integers(0, 256, (3, 4, 6, 5, 3), dtype=np.uint8)
    expected = [
        (255 - np.mean([np.abs(b - a).mean() for a, b in pairwise(clip.astype(float))])) / 255 for clip in video
    ]
    assert temporal_flickering(video) == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(temporal_flickering(np.repeat(video[:, :1], 4, axis=1)), np.ones(3))
    blinking = np.zeros((1, 5, 4, 4, 3), np.uint8)
    blinking[:, ::2] = 255
    assert temporal_flickering(blinking)[0] == 0


def test_too_few_frames_are_named():
    for metric in OF_EMBEDDINGS:
        with pytest.raises(ValueError, match=r"\[3, 1, 7\].*at least 2 frames"):
            metric(embeddings(5, frames=1))
    with pytest.raises(ValueError, match="at least 2 frames"):
        temporal_flickering(np.zeros((1, 1, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="same clips and the same judge"):
        clip_similarity(embeddings(6), embeddings(6, d=8))
