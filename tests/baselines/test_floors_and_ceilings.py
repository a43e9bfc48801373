"""What floors and ceilings show, on a few planted clips: floors nothing of the brain, ceilings each trial's own."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from baselines.ceilings.methods import Caption, Codec, IdealObserver
from baselines.floors.controls import ConstantGrey, NoiseBrain, RandomClip, TrainMean
from bench.core.contracts import Answers, BrainData, TrainingSet
from bench.core.errors import BenchError
from bench.toolbox.average import BLURS, blur_clip
from metrics.ssim import ssim

SHAPE = (2, 4, 4, 3)  # frames, height, width, colours
CLIPS = (30, 10, 20, 60)  # the brightness of each
SHOWN = np.array([2, 0, 3, 0, 1, 2])  # the clip of each trial: in no order, two twice


def paint(brightness: Any) -> np.ndarray:
    return np.broadcast_to(np.reshape(brightness, (-1, 1, 1, 1, 1)), (len(brightness), *SHAPE)).astype(np.uint8)


def read(video: Any) -> list[int]:
    """The brightness of each video; all of its pixels must be the same."""
    assert video.dtype == np.uint8 and video.shape[1:] == SHAPE
    assert (np.ptp(video, axis=(1, 2, 3, 4)) == 0).all()
    return video[:, 0, 0, 0, 0].tolist()


def make_set(brain: np.ndarray | None = None) -> TrainingSet:
    return TrainingSet(
        brain=np.zeros((len(SHOWN), 2, 8), np.float32) if brain is None else brain,
        subject=np.ones(len(SHOWN), np.int64),
        clip=SHOWN,
        video=paint(CLIPS),
        captions=tuple(str(brightness) for brightness in CLIPS),
        concepts=np.array([0, 0, 4, 7]),
        channels=("C1", "C2"),
        sampling_rate=200.0,
    )


def make_brain(seeds: Any, brain: np.ndarray | None = None) -> BrainData:
    given = np.zeros((len(seeds), 2, 8), np.float32) if brain is None else brain
    subject = np.ones(len(seeds), np.int64)
    return BrainData(brain=given, subject=subject, seed=np.asarray(seeds), channels=("C1", "C2"), sampling_rate=200.0)


# Floors


def test_a_random_clip_is_any_training_clip_and_hangs_on_the_trials_seed_alone() -> None:
    control = RandomClip()
    control.fit(make_set(), make_set())
    shown = read(control.reconstruct(make_brain(range(400))))
    counts = [shown.count(brightness) for brightness in CLIPS]
    assert sum(counts) == 400 and min(counts) > 400 / 4 - 5 * np.sqrt(400 * 3 / 16)
    assert read(control.reconstruct(make_brain([9, 3]))) == [shown[9], shown[3]]


def test_the_mean_is_over_clips_however_often_each_was_shown_and_grey_is_the_middle() -> None:
    for control, wanted in ((TrainMean(), 30), (ConstantGrey(), 128)):
        control.fit(make_set(), make_set())
        assert read(control.reconstruct(make_brain([1, 2, 3]))) == [wanted] * 3


def test_the_mean_is_blurred_as_validation_likes_it() -> None:
    """Clips share a slope and nothing else: of their mean only what is smooth is worth showing."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 200, 32)[None, None, :, None, None]
    parts = [(slope + rng.normal(0, 25, (12, 2, 32, 32, 3))).clip(0, 255).astype(np.uint8) for _ in range(3)]
    train, validation, unseen = (replace(make_set(), video=video) for video in parts)
    control = TrainMean()
    control.fit(train, validation)
    plain = np.round(train.video.mean(axis=0)).astype(np.uint8)
    made, mean = (ssim(np.broadcast_to(one, unseen.video.shape), unseen.video).mean() for one in (control.clip, plain))
    assert made > mean + 0.005
    shown = [blur_clip(train.video.mean(axis=0), blur) for blur in BLURS]
    scores = [ssim(np.broadcast_to(one, validation.video.shape), validation.video).mean() for one in shown]
    np.testing.assert_array_equal(control.clip, shown[int(np.argmax(scores))])


class Echo:
    """A method that keeps what it is asked about."""

    modality = "eeg"
    parameter_count = 0

    def __init__(self, **_: Any) -> None:
        self.asked: list[np.ndarray] = []

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.taught = train.brain

    def reconstruct(self, brain: BrainData) -> np.ndarray:
        self.asked.append(np.asarray(brain.brain))
        return paint([0] * len(brain.brain))


def test_noise_brain_teaches_with_brains_and_asks_with_noise_of_the_trials_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("baselines.floors.controls.resolve", lambda kind, name: Echo)
    rng = np.random.default_rng(0)
    brains = [rng.normal(size=(len(SHOWN), 2, 8)).astype(np.float32) for _ in range(2)]
    control = NoiseBrain(suite=None)
    control.fit(make_set(brains[0]), make_set())
    assert control.method.taught is brains[0]
    for brain in brains:  # two different brains, the same seeds
        control.reconstruct(make_brain([5, 6, 5, 7, 8, 9], brain))
    one, other = control.method.asked
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one[0], one[2])
    assert not np.allclose(one[0], one[1])


# Ceilings


class Suite:
    """An autoencoder that keeps half of the brightness, and a generator that paints what its caption says."""

    geometry = SimpleNamespace(frames=2, height=4, width=4)

    def encode_video(self, video: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(video // 2)

    def decode_latents(self, latents: torch.Tensor) -> np.ndarray:
        return latents.numpy()

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        return torch.tensor([int(caption) for caption in captions])

    def generate_video(self, embeddings: torch.Tensor, seeds: Any) -> np.ndarray:
        return paint(embeddings.numpy() + np.asarray(seeds))


def ask(Ceiling: Any, truth: Any = None) -> list[int]:
    ceiling = Ceiling(suite=Suite())
    ceiling.fit(make_set(), make_set())
    ceiling.reveal(Answers(test=make_set(), trials=np.arange(len(SHOWN)), truth=truth))
    return read(ceiling.reconstruct(make_brain(range(len(SHOWN)))))


def test_codec_shows_each_trials_own_clip_through_the_autoencoder() -> None:
    assert ask(Codec) == [CLIPS[clip] // 2 for clip in SHOWN]


def test_caption_shows_each_trials_own_words_from_the_trials_seed() -> None:
    assert ask(Caption) == [CLIPS[clip] + trial for trial, clip in enumerate(SHOWN)]


def test_the_ideal_observer_shows_a_clip_of_the_likeliest_concept_that_was_trained() -> None:
    posteriors = np.zeros((len(SHOWN), 9))
    posteriors[:, 8] = 0.6  # likely, and no concept of any training clip
    posteriors[[0, 1, 2], [4, 7, 4]] = 0.4
    posteriors[3:, 0] = 0.4
    truth = SimpleNamespace(concept_posteriors=lambda trials: posteriors[trials])
    shown = ask(IdealObserver, truth)
    assert shown[:3] == [20, 60, 20]
    assert set(shown[3:]) <= {30, 10}
    with pytest.raises(BenchError, match="needs a phantom"):
        ask(IdealObserver)
