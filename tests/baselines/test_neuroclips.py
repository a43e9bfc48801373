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
from baselines.neuroclips.prior import Attention, DiffusionPrior, find_buckets, rotate
from baselines.neuroclips.semantic import MixerBlocks
from baselines.neuroclips.targets import encode_targets, pick_keyframes
from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError, UnknownSubject
from bench.core.variants import find_profile
from bench.pretrained.generators.pipelines import count_steps
from bench.toolbox import parts
from bench.toolbox.read_outs import find_nearest
from bench.toolbox.sizes import count_paper_size
from bench.toolbox.voxels import FlatLayers, NoVoxels, choose_voxels

SIDE, FRAMES, CONCEPTS = 16, 6, 4
NAMES = ("cat", "car", "pizza", "piano")
SMALL: dict[str, Any] = {
    "hidden": 32, "blocks": 1, "tokens": 2, "dropout": 0.0, "semantic_epochs": 53, "semantic_batch_size": 32,
    "semantic_learning_rate": 3e-3, "prior_depth": 1, "prior_heads": 2, "prior_samples": 5, "prior_epochs": 467,
    "prior_batch_size": 32, "prior_learning_rate": 3e-3, "bottleneck": 16, "features": 8, "perception_hidden": 32,
    "perception_blocks": 1, "decoder_channels": (16, 16, 8), "perception_epochs": 20, "perception_batch_size": 16,
    "perception_learning_rate": 5e-3, "calibration_epochs": 60, "use_validation": False,
}  # fmt: skip


class FakeSuite:
    """Encoders that read what the little world paints (brightness is the concept), and a generator that mixes."""

    name, device = "fake", "cpu"
    geometry = SimpleNamespace(height=SIDE, width=SIDE, frames=FRAMES, latent_height=4, latent_width=4)

    def __init__(self) -> None:
        self.concepts, self.words = draw(CONCEPTS, 8, seed=1), draw(CONCEPTS, 8, seed=2)
        self.judges = SimpleNamespace(observe=lambda view, video: self.concepts[self.see(video)].numpy())
        self.negative_embedding = torch.zeros(1, 5, 4)
        self.calls: list[dict[str, Any]] = []

    def see(self, frames: np.ndarray) -> np.ndarray:
        return frames.mean(axis=(-1, -2, -3)).astype(int) // 64

    def embed_images(self, frames: np.ndarray) -> torch.Tensor:
        return self.concepts[self.see(frames)]

    def embed_patches(self, frames: np.ndarray) -> torch.Tensor:
        return self.embed_images(frames)[:, None] * torch.tensor([1.0, 2.0])[:, None]  # two tokens

    def embed_texts(self, captions: list[str]) -> torch.Tensor:
        return 0.3 * self.words[0] + self.concepts[[NAMES.index(caption.split()[1]) for caption in captions]]

    def encode_text(self, captions: list[str]) -> torch.Tensor:
        """The concept's place of four holds 1; nothing of an empty caption."""
        concept = torch.tensor(
            [NAMES.index(caption.split()[1]) if caption.split() else CONCEPTS for caption in captions]
        )
        return functional.one_hot(concept, CONCEPTS + 1)[:, None, :CONCEPTS].float().expand(-1, 5, -1)

    def encode_video(self, video: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(video).movedim(-1, 2).float().div(127.5).sub(1)
        return functional.avg_pool2d(pixels.flatten(0, 1), 4).unflatten(0, video.shape[:2])

    def refine_keyframe(self, embeddings, images, seeds, **options) -> np.ndarray:
        return paint(embeddings[:, 0].argmax(dim=1).numpy(), 1)[:, 0]

    def generate_video(self, embeddings, seeds, *, latents=None, keyframes=None, **options) -> np.ndarray:
        self.calls.append({"seeds": list(seeds), "latents": latents, "keyframes": keyframes, **options})
        sharp = paint(embeddings[:, 0].argmax(dim=1).numpy(), FRAMES) if keyframes is None else keyframes[:, None]
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


def read_concepts(made: NeuroClips, meaning: torch.Tensor) -> np.ndarray:
    """The concept that is read out of what the captioner makes of embeddings; there are four, in order."""
    return find_nearest(made.caption(meaning), made.captions, "nearest_concept").numpy()


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


def cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T


def test_bimixco_without_mixtures_is_clip_s_loss_and_repeats_share_the_answer() -> None:
    a, b = draw(5, 6), draw(5, 6, seed=1)
    logits = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / 0.1
    right = torch.arange(5)
    plain = (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2
    torch.testing.assert_close(bimixco(cosines(a, b), right, temperature=0.1), plain)
    found = bimixco(cosines(a, b), right, temperature=0.1, other=right.flip(0), share=torch.ones(5))
    torch.testing.assert_close(found, plain)
    b[3] = b[0]  # the same clip twice: its mass is shared
    logits = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / 0.1
    log = logits.log_softmax(1)
    expected = -(log[0, [0, 3]].mean() + log[3, [0, 3]].mean() + log[1, 1] + log[2, 2] + log[4, 4]) / 5
    back = logits.T.log_softmax(1)
    expected = (
        expected - (back[0, [0, 3]].mean() + back[3, [0, 3]].mean() + sum(back[i, i] for i in (1, 2, 4))) / 5
    ) / 2
    torch.testing.assert_close(bimixco(cosines(a, b), torch.tensor([0, 1, 2, 0, 4]), temperature=0.1), expected)


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


def test_the_prior_s_parts_are_those_of_dalle2() -> None:
    """Rotary positions and the bias of distances in closed form; attention by a plain loop over heads and places."""
    hidden = draw(5, 6)
    angles = torch.arange(5.0)[:, None] * 10000.0 ** -(torch.arange(0, 6, 2) / 6)
    turned = torch.polar(torch.ones_like(angles), angles) * torch.view_as_complex(hidden.unflatten(1, (3, 2)))
    torch.testing.assert_close(rotate(hidden), torch.view_as_real(turned).flatten(1))
    buckets = find_buckets(400)
    assert buckets[300, :301].tolist()[::-1][:17] == list(range(17)) and buckets.max() == 31
    assert (buckets.triu(1) == 0).all() and buckets[399, 0] == 31
    torch.manual_seed(0)
    attention, bias = Attention(8, 2, 0.0), draw(2, 3, 4, seed=4)
    asked, normed = draw(1, 3, 8, seed=3), functional.layer_norm(draw(1, 3, 8, seed=3), (8,))[0]
    queries = rotate(attention.queries(normed).unflatten(1, (2, 4)).transpose(0, 1))  # (head, place, 4)
    keys, values = attention.keys_values(normed).chunk(2, dim=1)
    keys, values = torch.cat([attention.beside[:1], rotate(keys)]), torch.cat([attention.beside[1:], values])
    heads = []
    for head in range(2):
        cosines = functional.cosine_similarity(queries[head][:, None], keys[None], dim=2)
        heads.append((16 * cosines + bias[head]).softmax(1) @ values)
    expected = functional.layer_norm(attention.leave[0](torch.cat(heads, dim=1)), (8,))
    torch.testing.assert_close(attention(asked, bias)[0], expected)


def test_the_released_wiring_of_the_mixer_adds_a_constant_and_the_other_does_not() -> None:
    torch.manual_seed(0)
    hidden = draw(3, 6)
    for wiring, constant in (("released", True), ("residual", False)):
        added = MixerBlocks(6, blocks=3, dropout=0.0, wiring=wiring)(hidden) - hidden  # type: ignore[arg-type]
        assert torch.allclose(added, added[:1, :1].expand_as(added), atol=1e-6) == constant


def test_tokens_of_key_frames_are_targets_too(suite: FakeSuite) -> None:
    quick = {"prior_epochs": 1.3, "perception_epochs": 0.3, "target": "tokens"}
    made = NeuroClips(suite=suite, seed=0, **{**SMALL, **quick})
    made.fit(record(), None)  # type: ignore[arg-type]
    assert made.token_count == 2 and made.token_map is not None
    targets, test = made.encode(record()), record(seed=5)
    found = made.pool(targets.images[:, 0].float())
    assert (read_concepts(made, found) == test.concepts).all()  # the map from tokens to the embedding
    signals, subject = torch.from_numpy(test.brain), torch.from_numpy(test.subject)
    with torch.no_grad():
        said = made.pool(made.trained()["semantic"](signals, subject))
    assert (read_concepts(made, said) == test.concepts[test.clip]).mean() > 0.7
    assert made.read_meaning(signals[:3], subject[:3], np.arange(3)).shape == (3, 8)


def test_a_batch_in_parts_learns_what_the_whole_does(suite: FakeSuite, monkeypatch: pytest.MonkeyPatch) -> None:
    brief = {"semantic_epochs": 3, "prior_epochs": 3, "perception_epochs": 0.6, "target": "tokens"}
    fits, asked = [], set()
    for bounded in (False, True):
        if bounded:
            monkeypatch.setattr(parts, "fit_rows", lambda what, count, run, **_: asked.add(what) or 7)
        made = NeuroClips(suite=suite, seed=0, **{**SMALL, **brief})
        made.fit(record(), None)  # type: ignore[arg-type]
        fits.append(made.losses)
    assert len(asked) == 3 and fits[0].keys() == {"semantic", "prior", "perception"}
    for phase, whole in fits[0].items():
        np.testing.assert_allclose(fits[1][phase], whole, rtol=1e-3)
        assert np.ptp(whole) > 0.01


@pytest.mark.parametrize("latent", [(3, 4, 4), (4, 5, 7)])
def test_a_trial_s_frames_do_not_see_its_batch(latent: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    made = PerceptionReconstructor(
        volumes=2, frames=6, bottleneck=8, hidden=16, blocks=1, dropout=0.15, channels=(16, 16, 8), heads=2,
        groups=8, latent=latent, features=5,
    ).eval()  # fmt: skip
    made.regress.add_subject(1, np.arange(10))
    made.eval()
    with torch.no_grad():
        for block in made.decoder.blocks:
            for attend in block.attend:
                attend.mix.fill_(0.5)  # so that temporal attention counts
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
    said = fitted.read_meaning(signals, subject, np.arange(48))
    assert (read_concepts(fitted, said) == test.concepts[test.clip]).mean() > 0.7


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
    quick = {"semantic_epochs": 0.5, "prior_epochs": 0.5, "perception_epochs": 0.3}
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
    quick = {"semantic_epochs": 0.5, "prior_epochs": 0.5, "perception_epochs": 0.3}
    made = NeuroClips(suite=suite, seed=0, **{**SMALL, **quick})
    made.fit(data, data)
    targets = encode_targets(suite, data, frames=6, features=8)
    meaning = made.images.apply(targets.pooled[:, 0])
    assert read_concepts(made, meaning).tolist() == [0, 1, 2, 3]
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


def test_what_fit_builds_at_the_paper_s_size_is_the_released_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """NeuroClips cac913e, `train_SR.py` and `train_PR.py` with seq_len 1: through `fit`, on the meta device."""
    counts = count_paper_size("neuroclips", voxels=13447)
    assert counts["semantic: ridge"] == counts["perception: ridge"] == 55_083_008
    assert counts["semantic: backbone"] == 1_887_861_400 and counts["prior"] == 259_865_200 - 256 * 1664
    assert counts["perception: extension"] == 24_244_270 and counts["perception: backbone"] == 149_857_667
    assert counts["all"] == sum(counts[name] for name in counts if name != "all")
    suite = FakeSuite()
    suite.device = "meta"
    suite.geometry = SimpleNamespace(height=224, width=224, frames=16)
    suite.judges = SimpleNamespace(observe=lambda view, video: np.zeros((*video.shape[:2], 768), np.float32))
    monkeypatch.setattr(suite, "embed_images", lambda frames: torch.zeros(len(frames), 768), raising=False)
    monkeypatch.setattr(suite, "embed_texts", lambda captions: torch.zeros(len(captions), 768), raising=False)
    monkeypatch.setattr(suite, "embed_patches", lambda frames: torch.zeros(len(frames), 256, 1664), raising=False)
    monkeypatch.setattr(suite, "encode_video", lambda video: torch.zeros(*video.shape[:2], 4, 28, 28), raising=False)
    monkeypatch.setattr(NeuroClips, "learn", lambda self, *rest, **options: {})
    for name in ("learn_captions", "map_captions"):  # they look at numbers
        monkeypatch.setattr(f"baselines.neuroclips.method.{name}", lambda *given: SimpleNamespace(coordinates=None))
    brain = np.zeros((2, 13447, 1), np.float32)
    data = TrainingSet(**{**vars(record(subjects=(1,), clips=2)), "brain": brain, "rois": {1: ("V1",) * 13447}})
    made = NeuroClips(suite=suite, **find_profile("neuroclips", "paper"))
    with torch.device("meta"):
        made.fit(data, data)
    assert made.parameter_count == counts["all"]
