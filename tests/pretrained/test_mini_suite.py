"""The mini suite: how it is trained and built, and what its networks do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from bench.datasets.phantom.stimuli import FRAME_CLASSES, FRAME_TIMES, VIDEO_CLASSES, describe, draw_recipe, render
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.generators.text import tokenize
from bench.pretrained.mini_build import build
from bench.pretrained.mini_build.batches import PatchBasis, draw_recipes, render_frames, to_images, to_pixels
from bench.pretrained.mini_build.build import build_suite
from bench.pretrained.mini_build.card import suite_table
from bench.pretrained.mini_build.measures import marginal
from bench.pretrained.mini_build.networks import make_tokenizer
from bench.pretrained.mini_build.train_dino import change_scene, crop_frame, match_views, vote_neighbours
from bench.pretrained.mini_build.train_generators import shard_recipes
from bench.pretrained.mini_build.train_judges import fold_heads
from bench.pretrained.mini_build.training import train_steps
from bench.pretrained.roles import suite_names, verify_suite
from bench.pretrained.suite import load_suite


@pytest.fixture(scope="module")
def mini():
    return load_suite("mini")


@pytest.fixture(scope="module")
def clips():
    """Eight unseen clips with captions."""
    rng = np.random.default_rng(11)
    recipes = [draw_recipe(rng, concept, pool="benchmark") for concept in range(0, 40, 5)]
    return recipes, np.stack([render(recipe, FRAME_TIMES) for recipe in recipes])


# Training material


def test_no_training_clip_is_a_benchmark_clip():
    assert not any(recipe.is_reserved for shard in range(3) for recipe in shard_recipes(shard, clips=500))
    assert not any(recipe.is_reserved for recipe in draw_recipes(np.random.default_rng(0), 500))


@pytest.mark.parametrize("averaged", [False, True])
def test_the_loop_cuts_gradients_follows_its_rate_and_reports(averaged):
    """Plain descent on one weight, whose gradient of 5 is cut to 1, by hand: a warm-up of two steps, then a cosine."""
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 2.0)
    seen: list[tuple] = []
    done: list[int] = []
    train_steps(
        network, torch.optim.SGD(network.parameters(), lr=0.1), lambda step: 5 * network.weight.sum(), phase="descent",
        steps=7, every=3, warmup=2, averaged=averaged, after=done.append,
        report=lambda step, loss: seen.append((step, loss, network.weight.item(), network.training)),
    )  # fmt: skip
    rates = [0.05, 0.1, *(0.1 * (1 + np.cos(np.pi * step / 5)) / 2 for step in range(5))]
    weights = 2 - np.cumsum(rates)
    shown, average = [], 2.0
    for step, weight in enumerate(weights):
        decay = min(0.998, 1 - (1 + step) ** -0.75)  # of the first step 0: the average starts at the weight
        average = decay * average + (1 - decay) * weight
        shown.append(average if averaged else weight)
    losses = 5 * np.array([2, *weights[:-1]])  # of the weight before the step
    expected = [(step, losses[step - 1], shown[step - 1]) for step in (3, 6, 7)]
    np.testing.assert_allclose([row[:3] for row in seen], expected, rtol=1e-5)
    assert not any(row[3] for row in seen) and not network.training
    assert network.weight.item() == pytest.approx(weights[-1]) and done == list(range(7))


def test_a_full_patch_basis_loses_nothing():
    frames = render_frames(np.random.default_rng(0), draw_recipes(np.random.default_rng(1), 12))
    full = PatchBasis(frames, 4, 48)
    assert np.array_equal(to_images(full.decode(full.encode(to_pixels(frames)))), frames)
    few = full.decode(full.encode(to_pixels(frames))[:, :4])
    lost = (few - to_pixels(frames)).square().sum((1, 2, 3)).mean() / 256  # of the patches
    assert torch.isclose(lost, full.variance[4:].sum(), rtol=1e-3)  # the variance of the components left out


def test_dino_matches_other_crops_only():
    """Three student views and two teacher views: the loss is the mean over the four pairs of different crops."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        torch.nn.functional.normalize(torch.randn(k, 5, 7, generator=generator), dim=-1) for k in (3, 2)
    )
    chances = [
        (student[j] @ teacher[i].T / 0.1).softmax(1).diagonal().log().neg().mean()
        for i, j in ((0, 1), (0, 2), (1, 0), (1, 2))
    ]
    assert torch.isclose(match_views(list(student), list(teacher)), torch.stack(chances).mean(), rtol=1e-4)


def test_a_new_scene_leaves_the_object_and_the_pool():
    rng = np.random.default_rng(0)
    for recipe in draw_recipes(rng, 60):
        other = change_scene(rng, recipe)
        assert not other.is_reserved and other != recipe
        assert all(
            getattr(other, key) == getattr(recipe, key) for key in ("concept", "action", "size", "tilt", "phase")
        )


def test_neighbours_vote_by_likeness():
    known, labels = torch.eye(3).repeat(2, 1), torch.tensor([0, 1, 2, 0, 1, 1])
    votes = vote_neighbours(known, labels, torch.tensor([[0.0, 0.0, 5.0]]), 3)
    likeness = torch.tensor([1.0, 0.0]).div(0.07).exp()
    expected = [2 * likeness[1], 2 * likeness[1] + likeness[0], likeness[0]]
    assert torch.allclose(votes[0], torch.stack(expected), rtol=1e-4)


def test_crops_are_square_and_of_one_size():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for area, size in (((0.45, 1.0), 64), ((0.12, 0.45), 32)):
        crops = [crop_frame(rng, frame, area, size) for _ in range(20)]
        assert all(crop.shape == (size, size, 3) and crop.dtype == np.uint8 for crop in crops)


def test_folded_heads_are_the_sum_of_both():
    torch.manual_seed(0)
    objects, others = torch.nn.Linear(8, 5), torch.nn.Linear(8, 3)
    weight, bias = fold_heads(objects.weight, others.weight, (objects.bias, others.bias))
    hidden = torch.randn(4, 8)
    expected = objects(hidden)[:, :, None] + others(hidden)[:, None]
    assert torch.allclose(hidden @ weight.T + bias, expected.flatten(1), atol=1e-6)


def test_the_tokenizer_is_a_clip_tokenizer(tmp_path):
    captions = ["a big bright cat rising at night", "a small dark hot air balloon spinning in a studio"]
    tokenizer = make_tokenizer(captions)
    tokenizer.save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path)
    for text in (*captions, "xylophone, 42!"):
        assert loaded(text).input_ids == tokenizer(text).input_ids
        assert loaded.decode(loaded(text).input_ids, skip_special_tokens=True).replace(" ", "") == text.replace(" ", "")
    ids = tokenize(loaded, captions, repeat=True)
    assert ids.shape == (2, 77)
    assert (ids[:, 0] == loaded.bos_token_id).all() and (ids[:, -1] == loaded.eos_token_id).all()
    words = len(captions[0].split())
    assert torch.equal(ids[0, 1 : 1 + words], ids[0, 1 + words : 1 + 2 * words])  # every word one token, said again


def test_a_build_continues_where_it_stopped(tmp_path, monkeypatch):
    made: list[str] = []

    def fake(stage: str):
        def make(out, folder, work, seed):
            if stage == "images" and made.count("images") == 0:
                made.append("images")
                raise KeyboardInterrupt
            made.append(stage)
            for role in build.STAGES[stage]:
                (out / role).mkdir()
                (out / role / "config.json").write_text("{}")

        return make

    monkeypatch.setattr(build, "BUILDERS", {stage: fake(stage) for stage in build.STAGES})
    folder = tmp_path / "suite"
    with pytest.raises(KeyboardInterrupt):
        build_suite("mini", folder=folder)
    assert not (folder / "unet").exists()
    build_suite("mini", folder=folder)
    stages = list(build.STAGES)
    cut = stages.index("images")
    assert made == [*stages[: cut + 1], *stages[cut:]]  # what was made before the interruption is not made again
    assert set(json.loads((folder / "build.json").read_text())) == set(build.STAGES)
    assert verify_suite(folder)["present"].all() and not (tmp_path / "suite.partial").exists()


# The mini suite


def test_the_mini_suite_is_complete_and_small():
    table = verify_suite("mini")
    assert table["present"].all() and table["megabytes"].sum() <= 80  # a folder that two roles share counts once
    assert suite_names() == ("mini", "light", "paper")
    assert not verify_suite("paper")["licence"].eq("not stated").any()


def test_mini_labels_are_the_drawn_worlds(mini):
    for role, classes in (("video_judge", VIDEO_CLASSES), ("frame_judge", FRAME_CLASSES)):
        config = json.loads((mini.roles[role].locate() / "config.json").read_text())
        assert tuple(config["id2label"].values()) == classes


def test_mini_networks_do_their_work(mini, clips):
    recipes, video = clips
    rebuilt = mini.decode_latents(mini.encode_video(video))
    assert 10 * np.log10(255**2 / np.square(rebuilt.astype(float) - video).mean()) > 20
    concepts = np.array([recipe.concept for recipe in recipes])
    seen = marginal(mini.frame_logits(video[:, 2]), len(CONCEPTS), 2).argmax(1)
    assert (seen == concepts).mean() >= 0.5
    made = mini.generate_video(mini.encode_text([describe(recipe) for recipe in recipes]), range(8), steps=4)
    assert made.shape == video.shape
    again = marginal(mini.frame_logits(made[:, 2]), len(CONCEPTS), 2).argmax(1)
    assert (again == concepts).mean() > 0.2  # chance 0.025


def test_mini_embeddings_know_objects_by_word_and_by_look(mini, clips):
    recipes, video = clips
    words = mini.judges.embed_captions("clip", [f"a {concept}" for concept in CONCEPTS])
    looks = mini.judges.observe("clip", video).mean(1)
    cosines = looks @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T
    assert (cosines.argmax(1) == [recipe.concept for recipe in recipes]).mean() >= 0.5  # chance 0.025
    tokens = mini.judges.observe("dino", video)
    tokens /= np.linalg.norm(tokens, axis=-1, keepdims=True)
    own = (tokens[:, :-1] * tokens[:, 1:]).sum(-1).mean()
    assert own > (tokens * np.roll(tokens, 1, axis=0)).sum(-1).mean() + 0.1
    assert np.array_equal(mini.judges.observe("clip_large", video), mini.judges.observe("clip", video))


def test_mini_samples_depend_on_their_seed_alone(mini, clips):
    recipes, video = clips
    embeddings = mini.encode_text([describe(recipe) for recipe in recipes[:3]])
    options = {"steps": 2, "guidance": 2.0}
    first = mini.generate_video(embeddings, [1, 2, 3], keyframes=video[:3, 0], **options)
    mini.generate_video(embeddings[:1], [77], **options)
    again = mini.generate_video(embeddings, [1, 2, 3], keyframes=video[:3, 0], **options)
    assert np.array_equal(first, again)
    alone = mini.generate_video(embeddings[2:], [3], keyframes=video[2:3, 0], **options)
    assert np.abs(alone[0].astype(int) - first[2]).max() <= 2
    assert not np.array_equal(first, mini.generate_video(embeddings, [4, 5, 6], keyframes=video[:3, 0], **options))


def test_marginal_sums_probabilities():
    logits = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    odds = np.exp(logits).reshape(3, 4, 2)
    np.testing.assert_allclose(np.exp(marginal(logits, 4, 2)), odds.sum(2), rtol=1e-5)
    np.testing.assert_allclose(np.exp(marginal(logits, 4, 1)), odds.sum(1), rtol=1e-5)


def test_the_card_lists_what_was_measured():
    table = suite_table("mini").set_index("measure")
    assert {"autoencoder PSNR (dB)", "video judge top-1", "caption: object (frame judge)"} <= set(table.index)
    assert {"clip: object from one frame", "dino: object by neighbours, degraded"} <= set(table.index)
    assert table["value"].notna().all()
