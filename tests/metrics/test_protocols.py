from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from metrics.embedding import EMBEDDING
from metrics.n_way import chance
from metrics.protocols import CORRECTED, EEG2VIDEO, PROTOCOLS, Scored, ShapeMismatch

CLASSES = {"video": 400, "frame": 60}
SIZE = 32


def draw_scored(rng, n=12, frames=6):
    """Random clips with random views: unit-length gallery and concept likenesses are not needed by any metric."""
    views = {"video": rng.normal(size=(n, CLASSES["video"])), "frame": rng.normal(size=(n, frames, CLASSES["frame"]))}
    views |= {view: rng.normal(size=(n, frames, 8)) + 1 for view in ("clip", "clip_large", "vifi", "dino", "dinov2")}
    prepared = ("clip_vbench", "clip_dynamind", "clip_large_neurons", "vifi_mind_animator", "dino_vbench")
    views |= {view: rng.normal(size=(n, frames, 8)) + 1 for view in (*prepared, "dinov2_dynamind")}
    views |= {"features": rng.normal(size=(n, 5)), "concept": rng.normal(size=(n, 40)), "amt": rng.random(n)}
    views |= {"raft_vbench": rng.normal(size=(n, frames - 1, SIZE, SIZE, 2)), "gallery": rng.normal(size=(n, n))}
    views |= {"frame_features": rng.normal(size=(n, frames, 5)), "frame_gallery": rng.normal(size=(n, n))}
    return Scored(
        video=rng.integers(0, 256, (n, frames, SIZE, SIZE, 3), dtype=np.uint8),
        views={name: view.astype(np.float32) for name, view in views.items()},
        concept=rng.integers(0, 40, n),
        clip=np.arange(n),
    )


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    return draw_scored(rng), draw_scored(rng)


def test_names():
    names = ["video_2way", "video_40way", "frame_2way", "frame_40way"]
    assert [spec.name for spec in EEG2VIDEO.metrics] == [*names, "ssim", "psnr"]
    assert EEG2VIDEO.views == ("frame", "video")
    assert [*PROTOCOLS, EMBEDDING.name] == names_in_the_registry()
    for protocol in PROTOCOLS.values():
        assert len({spec.name for spec in protocol.metrics}) == len(protocol.metrics)
    with pytest.raises(KeyError, match="it has video_2way"):
        EEG2VIDEO["video_3way"]


def names_in_the_registry():
    from bench.core.registry import names

    return names("protocols")


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_every_metric_gives_one_bounded_value_a_clip(protocol, pair):
    prediction, target = pair
    for spec in protocol.metrics:
        values = spec.compute(prediction, target)
        assert values.shape == ((12,) if spec.level == "clip" else (1,)) and values.dtype == np.float64
        assert np.all((spec.lo <= values) & (values <= spec.hi)), spec.name
        assert spec.worst == (spec.lo if spec.direction == "higher" else spec.hi) or np.isinf(spec.hi)
        gated = {"gallery", "frame_gallery", "concept", "vifi_mind_animator"} & set(spec.views)
        if spec.paired and (not gated or spec.name == "vifi_score"):
            best = spec.hi if spec.direction == "higher" else spec.lo
            assert spec.compute(target, target) == pytest.approx(np.full(12, best)), spec.name


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_any_pairing_of_rows_is_computed_from_the_same_outputs(protocol, pair):
    prediction, target = pair
    rows = np.random.default_rng(1).permutation(12)
    for spec in protocol.metrics:
        if spec.level == "clip":
            shuffled = spec.compute(prediction.take(rows), target)
            one = spec.compute(prediction.take(rows[3:4]), target.take(slice(3, 4)))
            assert shuffled[3] == pytest.approx(one[0], abs=1e-9), spec.name


def test_eeg2video_is_the_published_procedure(pair):
    """The published loop, drawn often: three right classes, distractors outside them, any hit counts."""
    prediction, target = pair
    rng = np.random.default_rng(2)
    expected = EEG2VIDEO["frame_40way"].compute(prediction, target)[0]
    hits = []
    for frame in range(6):
        right = np.argsort(target["frame"][0, frame])[-3:]
        others = np.setdiff1d(np.arange(CLASSES["frame"]), right)
        scores = prediction["frame"][0, frame]
        for _ in range(4000):
            drawn = rng.choice(others, 39, replace=False)
            hits.append(scores[right].max() > scores[drawn].max())
    assert np.mean(hits) == pytest.approx(expected, abs=4.5 * 0.5 / np.sqrt(len(hits)))


def test_chance_and_normalisation(pair):
    prediction, target = pair
    assert EEG2VIDEO["video_40way"].chance == pytest.approx(3 / 42)
    assert EEG2VIDEO["frame_2way"].chance == pytest.approx(0.75)
    assert CORRECTED["video_40way"].chance == pytest.approx(1 / 40)
    raw, normalised = CORRECTED["video_40way"], CORRECTED["video_40way_normalised"]
    expected = (raw.compute(prediction, target) - 1 / 40) / (39 / 40)
    assert normalised.compute(prediction, target) == pytest.approx(expected)
    assert normalised.chance == 0 and normalised.worst == pytest.approx(-1 / 39)
    assert EEG2VIDEO["ssim"].chance == "measured"


def test_mismatched_random_clips_score_chance():
    rng = np.random.default_rng(3)
    a, b = draw_scored(rng, 400), draw_scored(rng, 400)
    for protocol in PROTOCOLS.values():
        for spec in protocol.metrics:
            if {"video", "concept"} & set(spec.views) and spec.chance != "measured":
                values = spec.compute(a, b)
                assert values.mean() == pytest.approx(spec.chance, abs=4 * values.std() / 20), spec.name


def test_nan_logits_of_either_side_give_nan(pair):
    prediction, target = pair
    logits = prediction["video"].copy()
    logits[2, 7] = np.nan
    broken = Scored(views={"video": logits})
    for a, b in ((broken, target), (prediction, broken)):
        values = CORRECTED["video_40way"].compute(a, b)
        assert np.flatnonzero(np.isnan(values)).tolist() == [2]


def test_a_judge_with_too_few_classes_is_an_error():
    few = Scored(views={"video": np.zeros((1, 41))})
    with pytest.raises(ValueError, match="39 distractors, but 41 classes with 3 right ones leave 38"):
        EEG2VIDEO["video_40way"].compute(few, few)
    assert CORRECTED["video_40way"].compute(few, few)[0] == pytest.approx(chance(40))


@pytest.mark.parametrize(
    ("predicted", "target", "words"),
    [
        (
            (6, 64, 64, 3),
            (6, 288, 512, 3),
            "clip 7: the prediction has 6 frames of 64×64.*target 6 frames of 288×512.*size",
        ),
        ((5, 64, 64, 3), (6, 64, 64, 3), "prediction has 5 frames.*target 6 frames"),
        ((8, 64, 64, 3), (8, 64, 64, 3), "uses 6; name a rule, such as --frames even:6"),
        ((6, 64, 64), (6, 64, 64, 3), "allowed is uint8 RGB"),
    ],
)
def test_clips_that_cannot_be_compared_are_named(predicted, target, words):
    with pytest.raises(ShapeMismatch, match=words):
        EEG2VIDEO.check(np.zeros(predicted, np.uint8), np.zeros(target, np.uint8), clip=7)


def test_comparable_clips_pass():
    video = np.zeros((3, 6, 64, 64, 3), np.uint8)
    CORRECTED.check(video, video)
    CORRECTED.check(video[0], video[0])


def test_metrics_stand_alone():
    others = ("torch", "bench", "leaderboard", "methods", "pandas")
    code = f"import sys, metrics.protocols; print([name for name in {others} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
