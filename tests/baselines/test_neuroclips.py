"""NeuroClips and what fMRI baselines share, against direct computation and planted truth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw, error_to, hide_answers
from torch.nn import functional

from baselines.neuroclips import NeuroClips
from baselines.neuroclips.losses import bimixco, mix_trials, soft_clip
from baselines.neuroclips.method import RELEASED_SEED
from baselines.neuroclips.perception import PerceptionReconstructor, interpolate_frames
from baselines.neuroclips.prior import DiffusionPrior
from baselines.neuroclips.targets import encode_targets, pick_keyframes
from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError, UnknownSubject
from bench.pretrained.generators.pipelines import count_steps
from bench.toolbox.sizes import count_paper_size
from bench.toolbox.voxels import FlatLayers, NoVoxels, choose_voxels

SIDE, FRAMES, CONCEPTS = 16, 6, 4
NAMES = ("cat", "car", "pizza", "piano")
SMALL: dict[str, Any] = {
    "hidden": 32, "blocks": 1, "tokens": 2, "dropout": 0.0, "semantic_steps": 80, "semantic_batch_size": 32,
    "semantic_learning_rate": 3e-3, "prior_depth": 1, "prior_heads": 2, "prior_samples": 5, "prior_steps": 400,
    "prior_batch_size": 32, "prior_learning_rate": 3e-3, "bottleneck": 16, "perception_hidden": 32,
    "perception_blocks": 1, "decoder_channels": (16, 16, 8), "perception_steps": 40, "perception_batch_size": 16,
    "perception_learning_rate": 5e-3, "calibration_steps": 60,
}  # fmt: skip


class FakeSuite:
    """Encoders that read what the little world paints (brightness is the concept), and a generator that mixes."""

    name, device = "fake", "cpu"
    geometry = SimpleNamespace(height=SIDE, width=SIDE, frames=FRAMES, latent_height=4, latent_width=4)

    def __init__(self) -> None:
        self.concepts, self.words = draw(CONCEPTS, 8, seed=1), draw(CONCEPTS, 8, seed=2)
        self.judges = SimpleNamespace(observe=lambda view, video: self.concepts[self.see(video)].numpy())
        self.negative_embedding = torch.full((1, 5, 1), -1.0)
        self.calls: list[dict[str, Any]] = []

    def see(self, frames: np.ndarray) -> np.ndarray:
        return frames.mean(axis=(-1, -2, -3)).astype(int) // 64

    def embed_images(self, frames: np.ndarray) -> torch.Tensor:
        return self.concepts[self.see(frames)]

    def embed_texts(self, captions: list[str]) -> torch.Tensor:
        return 0.3 * self.words[0] + self.concepts[[NAMES.index(caption.split()[1]) for caption in captions]]

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        value = [NAMES.index(caption.split()[1]) if caption else -1 for caption in captions]
        return torch.tensor(value).float()[:, None, None].expand(-1, 5, 1)

    def encode_video(self, video: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(video).movedim(-1, 2).float().div(127.5).sub(1)
        return functional.avg_pool2d(pixels.flatten(0, 1), 4).unflatten(0, video.shape[:2])

    def refine_keyframe(self, embeddings, images, seeds, **options) -> np.ndarray:
        return paint(embeddings[:, 0, 0].long().numpy(), 1)[:, 0]

    def generate_video(self, embeddings, seeds, *, latents=None, keyframes=None, **options) -> np.ndarray:
        self.calls.append({"seeds": list(seeds), "latents": latents, "keyframes": keyframes, **options})
        sharp = paint(embeddings[:, 0, 0].long().numpy(), FRAMES) if keyframes is None else keyframes[:, None]
        share = options["strength"] if latents is not None else 1.0
        if latents is None:
            return np.broadcast_to(sharp, (len(seeds), FRAMES, SIDE, SIDE, 3)).astype(np.uint8)
        pixels = functional.interpolate(latents.flatten(0, 1), scale_factor=4).unflatten(0, latents.shape[:2])
        blurry = pixels.add(1).mul(127.5).clamp(0, 255).movedim(2, -1).numpy()
        return ((1 - share) * blurry + share * sharp).round().astype(np.uint8)


def paint(concepts: np.ndarray, frames: int) -> np.ndarray:
    """Clips whose brightness is their concept."""
    made = (32 + 64 * np.maximum(concepts, 0))[:, None, None, None, None]
    return np.broadcast_to(made, (len(concepts), frames, SIDE, SIDE, 3)).astype(np.uint8)


def record(*, subjects: tuple[int, ...] = (1, 2), clips: int = 24, seed: int = 0) -> TrainingSet:
    """People with voxel counts of their own who respond linearly to the concept; their auditory voxels are noise."""
    rng = np.random.default_rng((seed, *subjects))
    concepts = np.arange(clips) % CONCEPTS
    counts = {number: 24 + 4 * number for number in subjects}
    brain = np.zeros((len(subjects) * clips, max(counts.values()), 2), np.float32)
    rois = {}
    for place, (number, count) in enumerate(counts.items()):
        pattern = np.random.default_rng((7, number)).standard_normal((CONCEPTS, count))
        rows = slice(place * clips, (place + 1) * clips)
        brain[rows, :count] = rng.standard_normal((clips, count, 2)) + 1.5 * pattern[concepts][:, :, None]
        brain[rows, count - 4 : count] = rng.standard_normal((clips, 4, 2))
        rois[number] = ("V1",) * (count - 4) + ("Auditory",) * 4
    return TrainingSet(
        brain=brain,
        subject=np.repeat(subjects, clips),
        clip=np.tile(np.arange(clips), len(subjects)),
        video=paint(concepts, FRAMES),
        captions=tuple(f"a {NAMES[concept]} number {clip}" for clip, concept in enumerate(concepts)),
        concepts=concepts,
        channels=tuple(f"voxel{one}" for one in range(brain.shape[1])),
        sampling_rate=0.5,
        rois=rois,
    )


@pytest.fixture(scope="module")
def suite() -> FakeSuite:
    return FakeSuite()


@pytest.fixture(scope="module")
def fitted(suite: FakeSuite) -> NeuroClips:
    made = NeuroClips(suite=suite, seed=0, **SMALL)
    made.fit(record(), None)  # type: ignore[arg-type]  # the validation trials are not used
    return made


@pytest.fixture(scope="module")
def again(suite: FakeSuite) -> NeuroClips:
    """The same once more, with other validation trials."""
    made = NeuroClips(suite=suite, seed=0, **SMALL)
    made.fit(record(), record(seed=9))
    return made


# Voxels


def test_regions_are_left_out_and_padding_is_never_read() -> None:
    data = record()
    voxels = choose_voxels(data, leave_out=("auditory", "mPFC"), usual=("auditory", "mPFC"))
    assert {number: len(columns) for number, columns in voxels.items()} == {1: 24, 2: 28}
    with pytest.raises(NoVoxels, match="subject 1 has no voxel outside V1, auditory"):
        choose_voxels(data, leave_out=("V1", "auditory"))
    layers = FlatLayers(lambda count: torch.nn.Linear(count, 5), volumes=2, shape=(5,))
    for number, columns in voxels.items():
        layers.add_subject(number, columns)
    signals, subject = torch.from_numpy(data.brain[[0, 30, 1]]), torch.tensor([1, 2, 1])
    made = layers(signals, subject)
    expected = layers.find(1).layer(signals[2:, :24].flatten(1))
    torch.testing.assert_close(made[2:], expected)
    changed = signals.clone()
    changed[0, 24:] = 9.0
    torch.testing.assert_close(layers(changed, subject), made)
    with pytest.raises(UnknownSubject, match="subject 3 has no layer; there are 1, 2"):
        layers(signals, torch.tensor([1, 3, 1]))


# Losses


def test_bimixco_without_mixtures_is_clip_s_loss_and_repeats_share_the_answer() -> None:
    a, b = draw(5, 6), draw(5, 6, seed=1)
    logits = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / 0.1
    right = torch.arange(5)
    plain = (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2
    torch.testing.assert_close(bimixco(a, b, right, temperature=0.1), plain)
    found = bimixco(a, b, right, temperature=0.1, other=right.flip(0), share=torch.ones(5))
    torch.testing.assert_close(found, plain)
    b[3] = b[0]  # the same clip twice: its mass is shared
    logits = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / 0.1
    log = logits.log_softmax(1)
    expected = -(log[0, [0, 3]].mean() + log[3, [0, 3]].mean() + log[1, 1] + log[2, 2] + log[4, 4]) / 5
    back = logits.T.log_softmax(1)
    expected = (
        expected - (back[0, [0, 3]].mean() + back[3, [0, 3]].mean() + sum(back[i, i] for i in (1, 2, 4))) / 5
    ) / 2
    torch.testing.assert_close(bimixco(a, b, torch.tensor([0, 1, 2, 0, 4]), temperature=0.1), expected)


def test_soft_clip_is_least_where_the_prediction_is_the_target() -> None:
    targets = draw(6, 8)
    soft = (functional.normalize(targets, dim=1) @ functional.normalize(targets, dim=1).T / 0.2).softmax(1)
    entropy = -(soft * soft.log()).sum(1).mean()
    torch.testing.assert_close(soft_clip(3 * targets, targets, temperature=0.2), entropy)
    assert soft_clip(draw(6, 8, seed=3), targets, temperature=0.2) > entropy


def test_trials_mix_within_their_subject() -> None:
    signals, subject = draw(40, 7, 2), torch.tensor([1, 2] * 20)
    mixed, other, share = mix_trials(signals, subject, np.random.default_rng(0))
    assert torch.equal(subject[other], subject) and (other != torch.arange(40)).any()
    expected = share[:, None, None] * signals + (1 - share)[:, None, None] * signals[other]
    torch.testing.assert_close(mixed, expected)
    assert share.min() >= 0 and share.max() <= 1 and ((share < 0.1) | (share > 0.9)).float().mean() > 0.5


# Networks


def test_the_prior_ends_where_a_perfect_denoiser_points() -> None:
    torch.manual_seed(0)
    prior = DiffusionPrior(tokens=2, targets=1, embedding=8, depth=1, heads=2, times=100, dropout=0.0).eval()
    brain, noise, truth = draw(3, 2, 8), draw(3, 1, 8, seed=1), draw(3, 1, 8, seed=2)
    with torch.no_grad():
        alone = prior.sample(brain[1:2], noise[1:2], steps=20)
        torch.testing.assert_close(alone, prior.sample(brain, noise, steps=20)[1:2])
    prior.forward = lambda noisy, time, brain: truth  # type: ignore[method-assign]
    torch.testing.assert_close(prior.sample(brain, noise, steps=20), truth, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("latent", [(3, 4, 4), (4, 5, 7)])
def test_a_trial_s_frames_do_not_see_its_batch(latent: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    made = PerceptionReconstructor(
        volumes=2, frames=6, bottleneck=8, hidden=16, blocks=1, dropout=0.15, channels=(16, 16, 8), heads=2,
        latent=latent, features=5,
    ).eval()  # fmt: skip
    made.regress.add_subject(1, np.arange(10))
    made.eval()
    with torch.no_grad():
        for block in made.decoder:
            block.mix.fill_(0.5)  # so that temporal attention counts
        signals, subject = draw(4, 10, 2), torch.ones(4, dtype=torch.int64)
        latents, features = made(signals, subject)
        assert latents.shape == (4, 6, *latent) and features.shape == (4, 5)
        torch.testing.assert_close(made(signals[2:3], subject[:1])[0], latents[2:3])


def test_six_frames_become_sixteen_by_thirds() -> None:
    made = interpolate_frames(torch.arange(6.0)[None, :, None, None, None], 16)[0, :, 0, 0, 0]
    torch.testing.assert_close(made, torch.arange(16) / 3)
    assert pick_keyframes(6) == (2, 3)


# The method


def test_what_was_planted_is_decoded(fitted: NeuroClips) -> None:
    for phase in fitted.losses.values():
        assert np.mean(phase[-10:]) < 0.7 * np.mean(phase[:10])
    test = record(seed=5)
    video = fitted.reconstruct(hide_answers(test))
    assert video.shape == (48, FRAMES, SIDE, SIDE, 3) and video.dtype == np.uint8
    shuffled = np.random.default_rng(0).permutation(48)
    assert error_to(video, test) < 0.5 * error_to(video, test, shuffled)
    signals, subject = torch.from_numpy(test.brain), torch.from_numpy(test.subject)
    chosen = fitted.find_captions(fitted.read_meaning(signals, subject, np.arange(48)))
    assert (test.concepts[chosen] == test.concepts[test.clip]).mean() > 0.7


def test_the_same_seed_gives_the_same_video_whatever_the_batch(fitted: NeuroClips, again: NeuroClips) -> None:
    test = record(seed=5)
    video = fitted.reconstruct(hide_answers(test))
    assert np.array_equal(again.reconstruct(hide_answers(test)), video)
    alone = fitted.reconstruct(hide_answers(test, slice(40, 43)))
    assert np.abs(alone.astype(int) - video[40:43]).max() <= 1  # float rounding of another batch


def test_a_new_subject_gets_layers_of_its_own_and_nothing_else_changes(again: NeuroClips) -> None:
    made = again
    test = record(subjects=(5,), seed=5)
    with pytest.raises(UnknownSubject, match="subject 5"):
        made.reconstruct(hide_answers(test))
    before = {name: values.clone() for name, values in made.trained().state_dict().items()}
    count = made.parameter_count
    made.adapt(record(subjects=(5,), seed=6))
    after = made.trained().state_dict()
    assert all(torch.equal(after[name], values) for name, values in before.items())
    assert all(".5." in name for name in set(after) - set(before)) and made.parameter_count > count
    video = made.reconstruct(hide_answers(test))
    assert error_to(video, test) < 0.6 * error_to(video, test, np.random.default_rng(0).permutation(24))


@pytest.mark.parametrize(
    ("parameters", "call"),
    [
        ({}, {"start": "renoised", "strength": 0.3}),
        ({"strength": 1.0}, {"start": "renoised", "strength": 1.0}),
        ({"start": "noise"}, {"start": "noise", "latents": None}),
        ({"keyframe": False}, {"keyframes": None}),
        ({"shared_noise": True}, {"seeds": [RELEASED_SEED] * 2}),
    ],
)
def test_variants_reach_the_generator(suite: FakeSuite, parameters: dict[str, Any], call: dict[str, Any]) -> None:
    quick = {"semantic_steps": 1, "prior_steps": 1, "perception_steps": 1}
    made = NeuroClips(suite=suite, seed=0, **{**SMALL, **quick, **parameters})
    made.fit(record(clips=8), record(clips=8))
    made.reconstruct(hide_answers(record(clips=8), slice(0, 2)))
    assert {name: suite.calls[-1][name] for name in call} == call


def test_a_perfect_reading_gives_nearly_the_true_clip() -> None:
    """The true embedding and the true latents through the shipped networks, in place of what the brain says."""
    from bench.datasets.phantom.stimuli import describe, draw_recipe, render
    from bench.pretrained.suite import load_suite

    suite = load_suite("mini")
    recipes = [draw_recipe(np.random.default_rng(seed), 10 * seed) for seed in range(4)]
    video = np.stack([render(recipe, np.arange(6) / 3.0) for recipe in recipes])
    data = record(subjects=(1,), clips=4)
    data = TrainingSet(**{**vars(data), "video": video, "captions": tuple(describe(recipe) for recipe in recipes)})
    quick = {"semantic_steps": 1, "prior_steps": 1, "perception_steps": 1}
    made = NeuroClips(suite=suite, seed=0, **{**SMALL, **quick})
    made.fit(data, data)
    targets = encode_targets(suite, data, frames=6)
    meaning = made.images.apply(targets.images[:, 0])
    assert made.find_captions(meaning) == [0, 1, 2, 3]
    drawn = made.draw(meaning, targets.latents, [1, 2, 3, 4]).astype(float)
    errors = np.abs(drawn[:, None] - video[None]).mean(axis=(2, 3, 4, 5))  # (drawn, true)
    assert (errors.argmin(axis=1) == np.arange(4)).all()


def test_strength_is_the_share_drawn_anew() -> None:
    assert count_steps(25, 0.3) == 7  # t_start = 18 of the released code
    assert count_steps(25, 1.0) == 25
    assert count_steps(10, 0.3) == 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"stength": 1.0}, "no parameter stength"),
        ({"start": "middle"}, "renoised, noise"),
        ({"strength": 0.0}, "strength=0.0 is refused; allowed is a finite number above 0 and at most 1"),
        ({"keyframe": False, "caption": False, "start": "noise"}, "no brain is left"),
    ],
)
def test_bad_parameters_are_named(suite: FakeSuite, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        NeuroClips(suite=suite, **parameters)
    with pytest.raises(BenchError, match="has not been fitted"):
        NeuroClips(suite=suite).reconstruct(hide_answers(record()))


def test_the_paper_s_size_is_counted_without_its_weights() -> None:
    counts = count_paper_size("neuroclips", voxels=13447)
    assert counts["semantic: ridge"] == (13447 + 1) * 4096
    assert counts["semantic: mixer"] == 4 * (2 * 4096 * 4097 + 2 * 4096)
    assert counts["semantic: to tokens"] == 4097 * 256 * 1664
    extension = (13447 + 1) * 256 + 257 * 13447 * 6
    assert counts["perception: extension and ridge"] == extension + (13447 + 1) * 4096
