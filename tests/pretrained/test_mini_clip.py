"""The mini CLIP: how its space is laid out and learned, and what a ridge from the brain finds in it."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
import torch
from open_clip import SimpleTokenizer

from bench.datasets.phantom.stimuli import FRAME_TIMES, describe, draw_recipe, render
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.mini_build import reading, train_clip
from bench.pretrained.mini_build.card import suite_table
from bench.pretrained.mini_build.measures import PROMPT
from bench.pretrained.mini_build.networks import make_clip
from bench.pretrained.mini_build.reading import Reader, find_nearest, score_space
from bench.pretrained.mini_build.train_clip import LEFT_OUT, OPENINGS, SHARES, WORDS, draw_texts, spread_words
from bench.pretrained.roles import HERE
from bench.pretrained.suite import load_suite
from bench.scoring import views


@pytest.fixture(scope="module")
def mini():
    return load_suite("mini")


@pytest.fixture(scope="module")
def vectors():
    return spread_words(np.random.default_rng(3), 64)


# The space


def test_words_stand_as_far_apart_as_they_can(vectors):
    """In a regular simplex of n corners of squared length s, two corners have the product -s / (n - 1)."""
    assert sum(SHARES.values()) == pytest.approx(1)
    for kind, words in WORDS.items():
        n, share = len(words), SHARES[kind]
        expected = share * (np.eye(n) - (1 - np.eye(n)) / (n - 1))
        np.testing.assert_allclose(vectors[kind] @ vectors[kind].T, expected, atol=1e-12)
        np.testing.assert_allclose(vectors[kind].sum(axis=0), 0, atol=1e-12)
    for one, other in combinations(vectors.values(), 2):
        np.testing.assert_allclose(one @ other.T, 0, atol=1e-12)


def test_kinds_of_words_are_half_equalised_in_the_distance(vectors):
    longer = train_clip.equalise(vectors).double().numpy()
    for kind, words in WORDS.items():
        n = len(words)
        product = (vectors[kind] @ longer) @ (vectors[kind] @ longer).T
        expected = SHARES[kind] ** 0.5 * (np.eye(n) - (1 - np.eye(n)) / (n - 1))
        np.testing.assert_allclose(product, expected, atol=1e-5)
    _, _, axes = np.linalg.svd(np.concatenate(list(vectors.values())))
    spare = axes[53:]  # directions of no word: 39 + 9 + 3 + 1 + 1 are taken
    np.testing.assert_allclose(spare @ longer, spare, atol=1e-5)


def test_a_caption_is_the_sum_of_its_words(vectors):
    texts, targets = draw_texts(np.random.default_rng(0), 400, vectors)
    kept = dict.fromkeys(WORDS, 0)
    for text, target in zip(texts, targets.double().numpy(), strict=True):
        rest, total = text, np.zeros(64)
        for kind in reversed(WORDS):  # a caption ends in its scene
            found = [word for word in WORDS[kind] if f" {rest}".endswith(f" {word}")]
            if found:
                word = max(found, key=len)
                rest = rest.removesuffix(word).strip()
                total += vectors[kind][WORDS[kind].index(word)]
                kept[kind] += 1
        assert rest in OPENINGS
        np.testing.assert_allclose(target, total / np.linalg.norm(total), atol=1e-6)
    assert all(abs(kept[kind] / 400 - 1 + LEFT_OUT[kind]) < 0.1 for kind in WORDS)
    assert kept["concept"] == 400


def test_a_whole_caption_is_worded_as_the_clips_captions(vectors, monkeypatch):
    monkeypatch.setattr(train_clip, "LEFT_OUT", dict.fromkeys(WORDS, 0.0))
    monkeypatch.setattr(train_clip, "OPENINGS", ("a",))
    texts, _ = draw_texts(np.random.default_rng(0), 3000, vectors)
    rng = np.random.default_rng(1)
    captions = {describe(draw_recipe(rng, int(rng.integers(40)))) for _ in range(3000)}  # of 6,400
    assert len(captions & set(texts)) > 600
    assert {len(text.split()) for text in texts} == {len(caption.split()) for caption in captions}


def test_the_prompts_of_the_metrics_are_taught():
    assert PROMPT == views.PROMPT and PROMPT.removesuffix(" {}") in OPENINGS


# Training


def test_texts_are_learned_first_and_then_left_alone(vectors, monkeypatch, tmp_path):
    monkeypatch.setattr(train_clip, "TEXT_BATCH", 32)
    monkeypatch.setattr(train_clip, "TEXT_RATE", 8e-3)
    monkeypatch.setattr(train_clip, "CLIP_BATCH", 8)
    torch.manual_seed(0)
    model, tokenizer, rng = make_clip(), SimpleTokenizer(context_length=24), np.random.default_rng(0)
    unseen, places = draw_texts(np.random.default_rng(9), 50, vectors)

    def weights(part: str) -> dict[str, torch.Tensor]:
        return {
            name: w.clone()
            for name, w in model.state_dict().items()
            if name.startswith("visual.") == (part == "visual")
        }

    def miss() -> float:
        with torch.no_grad():
            return float((model.encode_text(tokenizer(unseen)) - places).square().sum(dim=1).mean())

    seeing, before = weights("visual"), miss()
    train_clip.train_texts(model, tokenizer, vectors, rng, 50)
    assert all(torch.equal(w, seeing[name]) for name, w in weights("visual").items())
    assert miss() < min(1, before / 4)  # a network that says nothing misses by 1
    told = weights("text")
    train_clip.train_pictures(model, tokenizer, vectors, rng, 2, tmp_path)
    moved = [name for name, w in weights("text").items() if not torch.equal(w, told[name])]
    assert moved == ["logit_scale"]
    assert any(not torch.equal(w, seeing[name]) for name, w in weights("visual").items())
    assert (tmp_path / "open_clip_model.safetensors").exists()


# What the committed one is


def test_captions_of_the_mini_clip_are_spread_as_they_were_taught(mini):
    names = np.stack([mini.embed_texts([f"a {concept}"])[0] for concept in CONCEPTS]).astype(np.float64)
    product = reading.unit(names) @ reading.unit(names).T
    np.testing.assert_allclose(product, (41 * np.eye(40) - 1) / 40 * 40 / 39 - np.eye(40) / 39, atol=0.12)
    rng = np.random.default_rng(0)
    recipes = [draw_recipe(rng, index % 40) for index in range(800)]
    concepts = np.array([recipe.concept for recipe in recipes])
    texts = reading.unit(mini.embed_texts([describe(recipe) for recipe in recipes])).astype(np.float64)
    texts -= texts.mean(axis=0)
    middles = np.stack([texts[concepts == concept].mean(axis=0) for concept in range(40)])
    assert np.square(middles[concepts]).sum() / np.square(texts).sum() == pytest.approx(SHARES["concept"], abs=0.04)
    share = np.linalg.eigvalsh(texts.T @ texts)[::-1]
    assert share[:39].min() > 0.5 * share[:39].mean()  # no direction of the concepts is lost


def test_any_wording_of_a_concept_finds_its_pictures(mini):
    rng = np.random.default_rng(5)
    recipes = [draw_recipe(rng, concept) for concept in range(40)]
    looks = reading.unit(mini.embed_images(np.stack([render(recipe, FRAME_TIMES[2:3])[0] for recipe in recipes])))
    for opening in ("a", "a video of a", "the"):
        names = mini.embed_texts([f"{opening} {concept}" for concept in CONCEPTS])
        assert (find_nearest(looks, names) == np.arange(40)).mean() > 0.9, opening


# Reading the brain


def test_the_dual_ridge_is_the_primal_one():
    rng = np.random.default_rng(0)
    x, other, described = rng.normal(size=(30, 7)) + 2, rng.normal(size=(9, 7)) + 2, rng.normal(size=(12, 3)) + 1
    clip = {"train": rng.integers(0, 12, 30), "test": np.zeros(9, int)}
    centred, beside = x - x.mean(axis=0), other - x.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    reader = Reader(clip=clip, values=values, vectors=vectors, others={"test": beside @ centred.T @ vectors})
    y = described[clip["train"]]
    penalty = 0.3 * np.trace(centred @ centred.T) / 30
    weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(7), centred.T @ (y - y.mean(axis=0)))
    np.testing.assert_allclose(reader.predict("test", described, 0.3), beside @ weights + y.mean(axis=0), atol=1e-9)


@pytest.mark.parametrize("chosen", [0, 4])
def test_the_strength_is_validations_and_entries_are_of_training_clips(chosen):
    """A reader that is right on validation with one strength alone, and on test always but with the first."""
    concepts, good = np.arange(4) % 3, reading.STRENGTHS[chosen]

    class Oracle:
        def __init__(self):
            self.clip = {"train": np.array([0, 1, 2]), "validation": np.array([3, 1]), "test": np.array([3, 2])}

        def predict(self, part, described, strength):
            right = strength == good if part == "validation" else strength != reading.STRENGTHS[0]
            return described[self.clip[part]] * (1 if right else -1)

    expected = float(chosen != 0)
    labels = np.eye(3)[concepts]
    assert score_space([Oracle()], concepts, labels, None) == expected
    assert score_space([Oracle(), Oracle()], concepts, labels, 5 * labels) == expected
    near = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]])  # clip 3, untrained, lies nearest to clips 1 and 2
    if chosen:
        assert score_space([Oracle()], concepts, near, near) == 1 / 2


def test_the_nearest_is_by_cosine():
    known = np.array([[10.0, 1.0], [0.1, 0.1], [0.0, 3.0]])
    assert find_nearest(np.array([[1.0, 0.9], [5.0, 0.0], [0.0, 0.2]]), known).tolist() == [1, 0, 2]


@pytest.mark.parametrize("channels", [5, 300])
def test_channels_are_whitened_where_they_are_few(channels):
    rng = np.random.default_rng(0)
    x = np.einsum("dc,nct->ndt", rng.normal(size=(channels, channels)), rng.normal(size=(400, channels, 3))) + 7
    mixed = (x - x.mean(axis=0)).transpose(0, 2, 1) @ reading.measure_whitener(x)
    covariance = np.einsum("ntc,ntd->cd", mixed, mixed) / mixed[..., 0].size
    np.testing.assert_allclose(np.diag(covariance), 1, atol=0.2)
    others = np.abs(covariance - np.diag(np.diag(covariance))).max()
    assert others < 0.1 if channels == 5 else others > 0.15


def test_the_card_says_what_a_ridge_finds_in_todays_phantoms():
    """Where a phantom has changed, `python -m bench.pretrained.mini_build.measures reading` measures it again."""

    card = json.loads((HERE / "mini" / "card.json").read_text(encoding="utf-8"))
    if "phantoms" not in card:
        pytest.skip("no ridge is on the card yet: python -m bench.pretrained.mini_build.measures reading")
    assert card["phantoms"] == reading.list_phantoms()
    table = suite_table("mini").set_index("measure")
    assert table.loc["most lost by ridge to captions (seeds 101-103)", "reached"]
    for modality in ("fMRI", "EEG"):
        assert table.loc[f"{modality}: ridge to labels (seeds 101-103)", "value"] > 0.1  # chance .025
