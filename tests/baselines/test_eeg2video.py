"""EEG2Video against closed forms, the released arithmetic written out, published sizes, and planted truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from asking import hide_answers

from baselines.eeg2video import method as method_module
from baselines.eeg2video.dynamics import (
    add_released_noise,
    draw_dynamic_noise,
    measure_motion,
    split_fast,
)
from baselines.eeg2video.features import (
    BANDS,
    BadSignals,
    cut_windows,
    measure_band_powers,
    measure_released_powers,
    measure_scaler,
)
from baselines.eeg2video.glmnet import GLMNet, find_visual
from baselines.eeg2video.method import EEG2Video, build_networks
from baselines.eeg2video.parameters import Parameters
from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError, NotFitted
from bench.core.registry import resolve
from bench.core.variants import find_profile, load_variants
from bench.datasets.phantom.stimuli import FRAME_TIMES, describe, draw_recipe, render
from bench.pretrained.generators.tune_a_video import encode_clips, sample
from bench.pretrained.suite import load_suite
from bench.toolbox.sizes import count_paper_size
from bench.toolbox.training import make_generator

CAP = (*(f"E{place}" for place in range(50)), *(f"O{place}" for place in range(12)))  # visual cortex last
RATE = 200.0
CHANNELS = ("FZ", "CZ", "PZ", "O1", "O2", "PO7")
OBJECTS = (0, 12, 22, 36)  # of the drawn clips, as different as they come
SMALL: dict[str, Any] = {
    "width": 32, "filters": 4, "feedforward": 64, "encoder_layers": 1, "decoder_layers": 1, "window_dropout": 0.0,
    "dropout": 0.0, "hidden": 64, "layers": 1, "batch_size": 16, "seq2seq_epochs": 40, "seq2seq_learning_rate": 4e-3,
    "semantic_epochs": 40, "semantic_learning_rate": 3e-3, "dynamic_epochs": 27, "tuning_epochs": 0.17,
    "tuning_batch_size": 2, "use_validation": False,
}  # fmt: skip


@dataclass
class Recording:
    """Trials whose spectrum (and course) tells the object of the clip: an electrode and a frequency each."""

    subject_gain: float = 1.0

    def record(self, *, clips: int = 24, subject: int = 1, seed: int = 0) -> TrainingSet:
        rng = np.random.default_rng(seed)
        concepts = np.arange(clips) % len(OBJECTS)
        recipes = [draw_recipe(np.random.default_rng(one), OBJECTS[one], pool="suite") for one in range(len(OBJECTS))]
        time = np.arange(400) / RATE
        brain = rng.normal(size=(clips, len(CHANNELS), 400))
        for trial, concept in enumerate(concepts):
            brain[trial, concept] += 3 * np.sin(2 * np.pi * (2 + 3 * concept) * time)
        return TrainingSet(
            brain=(self.subject_gain * brain).astype(np.float32),
            subject=np.full(clips, subject),
            clip=np.arange(clips),
            video=np.stack([render(one, FRAME_TIMES) for one in recipes])[concepts],
            captions=tuple(describe(recipes[one]) for one in concepts),
            concepts=concepts,
            channels=CHANNELS,
            sampling_rate=RATE,
        )


@pytest.fixture(scope="module")
def suite():
    return load_suite("mini")


@pytest.fixture(scope="module")
def fitted(suite) -> EEG2Video:
    method = EEG2Video(suite=suite, seed=0, **SMALL)
    train = Recording().record()
    method.fit(train, train)
    return method


# Features


def test_a_tone_raises_its_own_band() -> None:
    time = np.arange(400) / RATE
    quiet = 1e-3 * np.random.default_rng(0).normal(size=(1, 1, 400))
    for band, tone in enumerate((2, 6, 11, 20, 60)):
        loud = measure_band_powers((quiet + np.sin(2 * np.pi * tone * time)).astype(np.float32), RATE)
        assert loud[0, 0].argmax() == band
    doubled = measure_band_powers((2 * quiet).astype(np.float32), RATE) - measure_band_powers(
        quiet.astype(np.float32), RATE
    )
    np.testing.assert_allclose(doubled, 2.0, atol=1e-4)  # twice the signal, four times the power


def test_the_second_half_counts_only_in_the_sound_form() -> None:
    signals = np.random.default_rng(1).normal(size=(2, 3, 400)).astype(np.float32)
    other = signals.copy()
    other[:, :, 200:] = 5 * np.random.default_rng(2).normal(size=(2, 3, 200))
    np.testing.assert_array_equal(measure_released_powers(signals, RATE), measure_released_powers(other, RATE))
    assert np.abs(measure_band_powers(signals, RATE) - measure_band_powers(other, RATE)).min() > 0.1


def test_released_powers_are_the_scripts_arithmetic() -> None:
    """Bins 0-3, 3-7, 7-13, 13-30 and 30-98 of 1 Hz, each sum over the band's number of bins."""
    signal = np.random.default_rng(3).normal(size=400).astype(np.float32)
    windowed = signal * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1, 401) / 401))
    power = [abs(sum(windowed[n] * np.exp(-2j * np.pi * k * n / 200) for n in range(200))) ** 2 for k in range(99)]
    ends = ((0, 3), (3, 7), (7, 13), (13, 30), (30, 98))
    expected = [np.log2(100 * sum(power[k] for k in range(a, b + 1)) / (b - a + 1)) for a, b in ends]
    np.testing.assert_allclose(measure_released_powers(signal[None, None], RATE)[0, 0], expected, rtol=1e-5)


def test_windows_are_seven_of_half_a_second() -> None:
    signals = np.arange(400, dtype=np.float32)[None, None]
    windows = cut_windows(signals, RATE, seconds=0.5, hop=0.25)
    assert windows.shape == (1, 7, 1, 100)
    np.testing.assert_array_equal(windows[0, 3, 0], np.arange(150, 250))
    with pytest.raises(BadSignals, match="set window_seconds"):
        cut_windows(signals, RATE, seconds=3.0, hop=0.25)
    with pytest.raises(BadSignals, match="31-99 Hz"):
        measure_band_powers(signals, 50.0)


def test_each_subject_is_standardised_by_itself() -> None:
    features = np.random.default_rng(4).normal(3, 2, size=(20, 5)).astype(np.float32)
    subject = np.repeat([1, 2], 10)
    features[10:] += 100
    scaled = measure_scaler(features, subject).scale(features, subject)
    for number in (1, 2):
        np.testing.assert_allclose(scaled[subject == number].mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(scaled[subject == number].std(0), 1, atol=1e-4)
    with pytest.raises(BadSignals, match="subject 3"):
        measure_scaler(features, subject).scale(features, np.full(20, 3))


# Networks


def test_what_fit_builds_at_the_paper_s_size_is_the_released_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """EEG2Video 7254ad8: `my_autoregressive_transformer.py`, `eeg_text.py`, `EEG-VP/models.py`; on the meta device."""
    counted = count_paper_size("eeg2video")
    assert counted["semantic predictor"] == 894_559_136
    assert counted["GLMNet, 40 classes"] == 491_176
    assert counted["GLMNet, fast or slow"] == 491_176 - 38 * 129
    unread = 10 * 512 + (9216 + 1) * 512 + (512 + 1) * 13  # embedding, img_embedding, txtpredictor of the seq2seq model
    assert counted["seq2seq"] == 32_611_917 - unread

    def zeros(*shape: int) -> Any:
        return lambda suite, given, *rest, **options: torch.zeros(len(given), *shape)

    suite = SimpleNamespace(device="meta", encode_text=lambda captions: torch.zeros(len(captions), 77, 768))
    monkeypatch.setattr(method_module, "encode_clips", zeros(6, 4, 36, 64))
    monkeypatch.setattr(method_module, "tune", lambda *rest, **options: SimpleNamespace(trained_parameters=list))
    monkeypatch.setattr(method_module, "learn_captions", lambda *rest: None)  # it looks at numbers
    monkeypatch.setattr(EEG2Video, "train", lambda self, *rest: None)
    monkeypatch.setattr(EEG2Video, "flag", lambda self, train: torch.zeros(len(train.video), dtype=torch.bool))
    brain = np.random.default_rng(0).normal(size=(4, 62, 400)).astype(np.float32)
    data = replace(Recording().record(clips=4), brain=brain, channels=CAP)
    made = EEG2Video(suite=suite, **find_profile("eeg2video", "paper"))
    with torch.device("meta"):
        made.fit(data, data)
    parts = ("seq2seq", "semantic predictor", "GLMNet, fast or slow")
    assert made.parameter_count == sum(counted[name] for name in parts)


def test_glmnet_sees_visual_cortex_twice() -> None:
    assert find_visual(CHANNELS) == [3, 4, 5]
    assert find_visual(["a", "b"]) == [0, 1]
    network = GLMNet(CHANNELS, 2)
    assert network.local.tolist() == list(range(3 * len(BANDS), 6 * len(BANDS)))
    assert network.local_net[0].in_features == 15
    assert GLMNet(CAP, 40).local_net[0].in_features == 60


def test_frames_follow_the_eeg_and_in_the_released_form_the_first_does_not() -> None:
    shapes: dict[str, Any] = {"latent_shape": (6, 8, 8, 8), "text_shape": (77, 48)}
    windows = torch.randn(2, 7, len(CHANNELS), 50, generator=make_generator("test"))
    for first_token in (0, 1):
        own = Parameters(**{**SMALL, "first_token": first_token})
        torch.manual_seed(0)
        model = build_networks(own, channels=CHANNELS, windows=7, samples=50, rate=100.0, **shapes).seq2seq
        assert model is not None
        model.eval().start_at(torch.full((8, 8, 8), 0.5))
        with torch.no_grad():
            made = model(windows)
        assert made.shape == (2, 6, 8, 8, 8)
        different = (made[0] - made[1]).abs().amax(dim=(1, 2, 3))
        assert (different[1:] > 1e-4).all()
        assert (different[0] == 0) == (first_token == 0)
        if first_token == 0:
            torch.testing.assert_close(made[:, 0], torch.full((2, 8, 8, 8), 0.5))


# Dynamics


def test_faster_clips_are_called_fast() -> None:
    ground = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
    ground = cv2.GaussianBlur(ground, (0, 0), 2)
    speeds = [0, 3, 1, 4]
    clips = np.stack([[ground[:, speed * frame :][:, :64] for frame in range(6)] for speed in speeds])
    motion = measure_motion(clips)
    np.testing.assert_allclose(motion.numpy(), speeds, atol=0.4)
    assert split_fast(motion).tolist() == [False, True, False, True]


def test_dynamic_noise_has_unit_variance_and_shares_beta() -> None:
    seeds = list(range(200))
    beta = torch.where(torch.arange(200) % 2 == 0, 0.2, 0.3)
    noise = draw_dynamic_noise(seeds, (8, 6, 8, 8), beta)
    assert abs(float(noise.var()) - 1) < 0.01
    for parity, share in ((0, 0.2), (1, 0.3)):
        part = noise[parity::2]
        assert abs(float((part[:, :, 0] * part[:, :, 3]).mean()) - share) < 0.01
    torch.testing.assert_close(noise[5:6], draw_dynamic_noise([5], (8, 6, 8, 8), beta[5:6]))


def test_released_noise_keeps_unit_variance_and_is_each_clip_s_own() -> None:
    noise = draw_dynamic_noise(range(60), (8, 6, 8, 8), torch.full((60,), 0.3))
    other = draw_dynamic_noise(range(60, 120), (8, 6, 8, 8), torch.zeros(60))
    made = add_released_noise(other, noise, list(range(60)))
    assert abs(float(made.var()) - 1) < 0.02
    kept = (made * other).mean(dim=(1, 2, 3, 4))  # about the square root of each clip's kept share
    assert kept.min() < 0.3
    assert kept.max() > 0.8
    torch.testing.assert_close(made[9:10], add_released_noise(other[9:10], noise[9:10], [9]))


# The method


def test_it_is_registered_and_every_variant_constructs(suite) -> None:
    assert resolve("methods", "eeg2video") is EEG2Video
    variants = {name: one for group in load_variants("eeg2video").values() for name, one in group.items()}
    assert {"wo_seq2seq", "wo_dana", "released_first_frame", "released_flags", "released_de"} <= set(variants)
    for name, changes in variants.items():
        assert (EEG2Video(suite=suite, **changes).parameters == Parameters()) == (name == "base"), name
    for bad in ({"widht": 3}, {"start": "here"}, {"first_token": 2}, {"width": 30}, {"beta_fast": 2.0}):
        with pytest.raises(BenchError):
            EEG2Video(suite=suite, **bad)
    with pytest.raises(NotFitted):
        EEG2Video(suite=suite).reconstruct(hide_answers(Recording().record()))


def test_losses_fall_and_a_planted_object_is_decoded(suite, fitted) -> None:
    for name in ("seq2seq", "semantic", "dynamic"):
        assert np.mean(fitted.losses[name][-5:]) < 0.9 * np.mean(fitted.losses[name][:5]), name
    test = Recording().record(clips=16, seed=5)
    latents, text, _ = fitted.decode(hide_answers(test))
    nearest = torch.cdist(text.flatten(1), suite.encode_text(list(test.captions[: len(OBJECTS)])).flatten(1))
    assert (nearest.argmin(1).numpy() == test.concepts).mean() > 0.8
    words = suite.encode_text(list(test.captions)).mean(dim=1)
    aimed = fitted.embed(hide_answers(test)) @ (words - words.mean(dim=0)).numpy().T  # (trial, clip)
    assert (test.concepts[aimed.argmax(1)] == test.concepts).mean() > 0.8
    true = encode_clips(suite, test.video)[: len(OBJECTS)]
    error = (latents[:, None] - true[None]).pow(2).mean(dim=(2, 3, 4, 5))
    assert (error.argmin(1).numpy() == test.concepts).mean() > 0.6  # by chance 0.25


def test_reconstructions_beat_shuffled_and_depend_on_their_own_trial_alone(fitted) -> None:
    test = Recording().record(clips=12, seed=6)
    made = fitted.reconstruct(hide_answers(test))
    assert made.shape == test.video.shape
    assert made.dtype == np.uint8
    error = ((made[:, None].astype(float) - test.video[None]) ** 2).mean(axis=(2, 3, 4, 5))
    assert np.diag(error).mean() < 0.7 * error[~np.eye(12, dtype=bool)].mean()
    alone = fitted.reconstruct(hide_answers(test, slice(2, 3)))
    assert np.abs(alone.astype(int) - made[2:3]).max() <= 1
    again = fitted.reconstruct(hide_answers(test, slice(2, 3)))
    np.testing.assert_array_equal(alone, again)


def test_a_new_subject_brings_its_own_scale(fitted) -> None:
    loud = Recording(subject_gain=20.0)
    calibration, test = loud.record(clips=8, subject=9, seed=7), loud.record(clips=4, subject=9, seed=8)
    with pytest.raises(BadSignals, match="subject 9"):
        fitted.decode(hide_answers(test))
    weights = [one.clone() for one in fitted.trained().parameters()]
    fitted.adapt(calibration)
    assert all(torch.equal(a, b) for a, b in zip(weights, fitted.trained().parameters(), strict=True))
    _, text, _ = fitted.decode(hide_answers(test))
    quiet = replace(test, brain=test.brain / 20, subject=np.full(4, 1))
    _, known, _ = fitted.decode(hide_answers(quiet))
    assert (text - known).abs().mean() < 0.5 * known.std()


def test_perfect_latents_and_texts_come_out_as_the_clips(suite, fitted) -> None:
    """The way from latents and texts to a video loses little: a perfect decoder would be seen as one."""
    test = Recording().record(clips=4, seed=9)
    near = EEG2Video(suite=suite, strength=0.4)
    start, share = near.make_start(encode_clips(suite, test.video), torch.zeros(4, dtype=torch.bool), [1, 2, 3, 4])
    assert share == 0.4
    made = sample(suite, fitted.video_model, suite.encode_text(list(test.captions)), start, share=share)
    error = ((made[:, None].astype(float) - test.video[None]) ** 2).mean(axis=(2, 3, 4, 5))
    assert (error.argmin(axis=1) == np.arange(4)).all()


def test_variants_change_what_they_name(suite) -> None:
    train, small = Recording().record(), {**SMALL, "seq2seq_epochs": 0.5, "semantic_epochs": 0.5}
    base = EEG2Video(suite=suite, **small)
    assert not torch.equal(base.flag(train), EEG2Video(suite=suite, **small, permuted_flags=True).flag(train))
    none = EEG2Video(suite=suite, **small, seq2seq=False)
    none.fit(train, train)
    assert none.trained().seq2seq is None
    assert none.decode(hide_answers(train))[0] is None
    assert none.make_start(None, torch.zeros(2, dtype=torch.bool), [1, 2])[1] == 1.0
    assert none.reconstruct(hide_answers(train, slice(0, 1))).shape == (1, 6, 64, 64, 3)
    latents, flags = encode_clips(suite, train.video)[:2], torch.tensor([True, False])
    starts = {
        name: EEG2Video(suite=suite, **changes).make_start(latents, flags, [1, 2])[0]
        for name, changes in {
            "base": {},
            "wo_dana": {"dana": False},
            "released_beta": {"beta_fast": 0.3, "beta_slow": 0.2},
            "released_start": {"start": "released"},
            "raw": {"start": "released", "dana": False},
        }.items()
    }
    torch.testing.assert_close(starts.pop("raw"), latents.transpose(1, 2))
    for name in ("wo_dana", "released_beta", "released_start"):
        assert not torch.equal(starts[name], starts["base"]), name
