"""Kupershmidt et al.: encoder, decoder and cycle against direct computation and planted truth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import error_to, hide_answers
from torch.nn import functional

from baselines.kupershmidt import Kupershmidt
from baselines.kupershmidt.clips import Footage, cut_windows, draw_order, encode_footage
from baselines.kupershmidt.networks import perceptual_distance
from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError, UnknownSubject
from bench.toolbox.sizes import count_paper_size

SIDE, FRAMES, LEVELS = 16, 4, 4
SMALL: dict[str, Any] = {
    "side": 16, "hidden": 32, "dropout": 0.0, "encoder_hidden": 16, "encoder_dropout": 0.0, "encoder_steps": 60,
    "encoder_batch_size": 32, "decoder_steps": 150, "batch_size": 12, "learning_rate": 5e-3, "calibration_steps": 100,
}  # fmt: skip


class FakeSuite:
    """CLIP sees mean colours, the autoencoder pools; its encoder's blocks are a fixed convolution."""

    name, device = "fake", "cpu"
    geometry = SimpleNamespace(height=SIDE, width=SIDE, frames=FRAMES)

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            first, block = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 6, 3, stride=2, padding=1)
        encoder = SimpleNamespace(conv_in=first.requires_grad_(False), down_blocks=[block.requires_grad_(False)])
        self.vae = SimpleNamespace(encoder=encoder)

    def embed_images(self, frames: np.ndarray) -> np.ndarray:
        return frames.mean(axis=(1, 2)).astype(np.float32)

    def encode_video(self, video: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(video).movedim(-1, 2).float().div(127.5).sub(1)
        return functional.avg_pool2d(pixels.flatten(0, 1), 8).unflatten(0, video.shape[:2])


def record(*, subjects: tuple[int, ...] = (1, 2), clips: int = 24, seed: int = 0) -> TrainingSet:
    """Clips with a bright left or right half of a colour; voxels answer linearly to the four patterns, with noise."""
    rng = np.random.default_rng((seed, *subjects))
    kind = np.arange(clips) % LEVELS
    video = np.full((clips, FRAMES, SIDE, SIDE, 3), 40, np.uint8)
    for clip, one in enumerate(kind):
        half = slice(0, 8) if one % 2 else slice(8, 16)
        video[clip, :, :, half, one // 2] = 220
    counts = {number: 20 + 4 * number for number in subjects}
    brain = np.zeros((len(subjects) * clips, max(counts.values()), 2), np.float32)
    for place, (number, count) in enumerate(counts.items()):
        pattern = np.random.default_rng((7, number)).standard_normal((LEVELS, count))
        rows = slice(place * clips, (place + 1) * clips)
        brain[rows, :count] = rng.standard_normal((clips, count, 2)) + 1.5 * pattern[kind][:, :, None]
    return TrainingSet(
        brain=brain,
        subject=np.repeat(subjects, clips),
        clip=np.tile(np.arange(clips), len(subjects)),
        video=video,
        captions=("a clip",) * clips,
        concepts=kind,
        channels=tuple(f"voxel{one}" for one in range(brain.shape[1])),
        sampling_rate=0.5,
        rois={number: ("V1",) * count for number, count in counts.items()},
    )


@pytest.fixture(scope="module")
def suite() -> FakeSuite:
    return FakeSuite()


@pytest.fixture(scope="module")
def fitted(suite: FakeSuite) -> Kupershmidt:
    made = Kupershmidt(suite=suite, seed=0, **SMALL)
    made.fit(record(), None)  # type: ignore[arg-type]  # the validation trials are not used
    return made


@pytest.fixture(scope="module")
def again(suite: FakeSuite) -> Kupershmidt:
    made = Kupershmidt(suite=suite, seed=0, **SMALL)
    made.fit(record(), record(seed=9))
    return made


def test_windows_are_clips_in_their_own_time_slowed_reversed_or_mirrored(suite: FakeSuite) -> None:
    orders = {tuple(draw_order(6, np.random.default_rng(seed)).tolist()) for seed in range(200)}
    slow = {tuple(start + step // 2 for step in range(6)) for start in range(4)}
    forwards = {tuple(range(6)), *slow}
    assert orders == forwards | {order[::-1] for order in forwards}
    pixels = torch.arange(2 * 3 * 3 * 2 * 2).reshape(2, 3, 3, 2, 2).byte()
    features = torch.stack([pixels.float().flatten(3).flatten(2), pixels.flip(-1).float().flatten(3).flatten(2)])
    footage = Footage(pixels=pixels, features=features)
    shown, described = cut_windows(footage, 40, np.random.default_rng(0))
    torch.testing.assert_close(shown.mul(255).flatten(2), described)  # pixels and features are of the same frames


def test_a_mirrored_clip_has_mirrored_latents(suite: FakeSuite) -> None:
    data = record(subjects=(1,))
    footage, standard = encode_footage(suite, data, side=SIDE)
    mirrored = TrainingSet(**{**vars(data), "video": data.video[:, :, :, ::-1].copy()})
    expected, _ = encode_footage(suite, mirrored, side=SIDE, standard=standard)
    torch.testing.assert_close(footage.features[1], expected.features[0], atol=1e-4, rtol=1e-4)


def test_the_perceptual_distance_is_nil_between_equals_and_passes_gradients(suite: FakeSuite) -> None:
    frames = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert perceptual_distance(suite.vae, frames, frames, depth=1) == 0
    other = frames.flip(0).requires_grad_()
    perceptual_distance(suite.vae, other, frames, depth=1).backward()
    assert other.grad is not None and other.grad.abs().sum() > 0


def test_what_was_planted_is_encoded_and_decoded(fitted: Kupershmidt) -> None:
    assert np.mean(fitted.decoder_losses[-5:]) < 0.5 * np.mean(fitted.decoder_losses[:5])
    test = record(seed=5)
    footage, _ = encode_footage(fitted.suite, test, side=SIDE, standard=fitted.standard)
    with torch.no_grad():
        voxels = fitted.encoder(footage.features[0], 1).mean(dim=2).numpy()  # (clip, voxel)
    truth = 1.5 * np.random.default_rng((7, 1)).standard_normal((LEVELS, 24))[test.concepts]
    assert np.corrcoef(voxels.ravel(), truth.ravel())[0, 1] > 0.8
    assert fitted.noise[1].shape == (24, 2) and float(fitted.noise[1].mean()) == pytest.approx(1.0, abs=0.25)
    video = fitted.reconstruct(hide_answers(test))
    assert video.shape == (48, FRAMES, SIDE, SIDE, 3) and video.dtype == np.uint8
    assert error_to(video, test) < 0.65 * error_to(video, test, np.random.default_rng(0).permutation(48))


def test_imagined_voxels_lie_in_the_subject_s_columns(fitted: Kupershmidt) -> None:
    features = fitted.footage.features[0, :6]
    subject = np.array([1, 2, 1, 2, 2, 1])
    made, numbers = fitted.imagine(features, subject, 28, torch.Generator().manual_seed(0))
    assert made.shape == (6, 28, 2) and numbers.tolist() == subject.tolist()
    assert (made[subject == 1, 24:] == 0).all() and (made[subject == 2] != 0).all()
    with torch.no_grad():
        clean = fitted.encoder(features[1:2], 2)
    assert (made[1] - clean[0]).std() == pytest.approx(float(fitted.noise[2].mean()), rel=0.5)


def test_the_same_seed_gives_the_same_video_whatever_the_batch(fitted: Kupershmidt, again: Kupershmidt) -> None:
    test = record(seed=5)
    video = fitted.reconstruct(hide_answers(test))
    assert np.array_equal(again.reconstruct(hide_answers(test)), video)
    alone = fitted.reconstruct(hide_answers(test, slice(40, 43)))
    assert np.abs(alone.astype(int) - video[40:43]).max() <= 1  # float rounding of another batch


def test_a_new_subject_gets_layers_of_its_own_and_nothing_else_changes(again: Kupershmidt) -> None:
    test = record(subjects=(5,), seed=5)
    with pytest.raises(UnknownSubject, match="subject 5"):
        again.reconstruct(hide_answers(test))
    before = {name: values.clone() for name, values in again.trained().state_dict().items()}
    again.adapt(record(subjects=(5,), seed=6))
    after = again.trained().state_dict()
    assert all(torch.equal(after[name], values) for name, values in before.items())
    assert all(".5." in name for name in set(after) - set(before))
    video = again.reconstruct(hide_answers(test))
    assert error_to(video, test) < 0.7 * error_to(video, test, np.random.default_rng(0).permutation(24))


@pytest.mark.parametrize(
    "parameters", [{"cycle_weight": 0.0}, {"perceptual_weight": 0.0}, {"temporal_weight": 0.0}, {"side": 20}]
)
def test_variants_run(suite: FakeSuite, parameters: dict[str, Any]) -> None:
    quick = {"encoder_steps": 1, "decoder_steps": 1}
    made = Kupershmidt(suite=suite, seed=0, **{**SMALL, **quick, **parameters})
    made.fit(record(clips=8), record(clips=8))
    assert made.reconstruct(hide_answers(record(clips=8), slice(0, 2))).shape == (2, FRAMES, SIDE, SIDE, 3)


def test_parameters_are_checked(suite: FakeSuite) -> None:
    with pytest.raises(BenchError, match="no parameter cycle, did you mean cycle_"):
        Kupershmidt(suite=suite, cycle=0)
    with pytest.raises(BenchError, match="channels=24"):
        Kupershmidt(suite=suite, channels=24)
    with pytest.raises(BenchError, match="has not been fitted"):
        Kupershmidt(suite=suite).reconstruct(hide_answers(record()))


def test_the_large_size_is_counted_without_its_weights() -> None:
    assert count_paper_size("kupershmidt", voxels=13447)["decoder: input layer"] == (13447 + 1) * 1024
