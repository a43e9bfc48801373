"""DynaMind's parts against closed forms, other libraries and planted truth: regions, mapper, prior, aligner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from dynamind_world import CAPTIONS, build
from scipy.spatial.distance import cdist
from torch.nn import functional

from baselines.dynamind.aligner import SpectralFilter, TemporalAligner, measure_alignment, measure_distances
from baselines.dynamind.mapper import RegionalMapper, info_nce
from baselines.dynamind.prior import Prior, TokenCode, draw_code, measure_prior, mix
from baselines.dynamind.regions import assign_regions
from bench.core.errors import BenchError, UnknownElectrode
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.pretrained.suite import load_suite
from bench.toolbox.training import Optimiser


@pytest.fixture(scope="module")
def suite():
    return load_suite("mini")


# Regions


def test_regions_are_those_of_the_names_or_the_released_runs():
    named = assign_regions(CHANNELS, "anatomical")
    assert {name: len(rows) for name, rows in named.items()} == {
        "frontal": 21, "temporal": 8, "parietal": 21, "occipital": 12,
    }  # fmt: skip
    assert {CHANNELS[row] for row in named["temporal"]} == {"FT7", "FT8", "T7", "T8", "TP7", "TP8", "P7", "P8"}
    runs = assign_regions(CHANNELS, "released")
    assert [(rows[0], rows[-1]) for rows in runs.values()] == [(0, 16), (17, 34), (35, 50), (51, 61)]
    for layout in (named, runs):
        assert sorted(row for rows in layout.values() for row in rows) == list(range(62))


def test_names_that_say_nothing_are_told_from_regions():
    with pytest.raises(UnknownElectrode, match=r"'E1'.*layout=released"):
        assign_regions([f"E{number}" for number in range(1, 65)], "anatomical")
    assert sum(map(len, assign_regions([f"E{number}" for number in range(1, 65)], "released").values())) == 64
    with pytest.raises(BenchError, match="leave_out names central; layout 'anatomical' has frontal"):
        build({"leave_out": ["central"]})


# Mapper


def test_info_nce_is_cross_entropy_both_ways():
    said, true = torch.randn(5, 7), torch.randn(5, 7)
    scores = functional.cosine_similarity(said[:, None], true[None], dim=2) / 0.07
    own = torch.arange(5)
    expected = (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(info_nce(said, true, own, 0.07), expected)


def test_trials_of_one_caption_are_no_wrong_answers():
    """Two trials with the same answer, both answered: the best loss is that of even odds between the two."""
    true = torch.eye(3)[[0, 0, 1, 2]]
    found = info_nce(true, true, torch.tensor([0, 0, 1, 2]), 0.01)
    torch.testing.assert_close(found, torch.tensor(np.log(2) / 2, dtype=torch.float32))


def test_released_filters_begin_as_one_and_the_same():
    mapper = build({"init": "ones"}).mapper.eval()
    features = mapper.stacks["frontal"](torch.randn(2, 21, 100)).unflatten(1, (-1, 1))
    torch.testing.assert_close(features, features[:, :1].expand_as(features), atol=1e-3, rtol=1e-3)
    assert build({}).mapper.stacks["frontal"](torch.randn(2, 21, 100)).std(dim=1).min() > 1e-3


def test_a_region_left_out_is_not_read():
    mapper: RegionalMapper = build({"leave_out": ["occipital"]}).mapper.eval()
    signals = torch.randn(3, 62, 100)
    changed = signals.clone()
    changed[:, 50:] += 5
    assert torch.equal(mapper(signals).common, mapper(changed).common)
    changed[:, 0] += 5
    assert not torch.equal(mapper(signals).common, mapper(changed).common)


# Prior


def test_code_is_the_tokens_in_their_principal_directions(suite):
    tokens = suite.encode_text([*CAPTIONS, "a dog", "a drum", "a beach"])
    code = TokenCode(77, tokens.shape[2], rank=16, length=8)
    code.learn(tokens)
    made = code.encode(tokens)
    assert made.shape == (7, 2, 8)
    torch.testing.assert_close(made.square().mean(), torch.tensor(1.0))
    torch.testing.assert_close(code.decode(made), tokens, atol=1e-3, rtol=1e-3)  # seven captions span six directions
    singular = torch.linalg.svdvals((tokens - tokens.mean(0)).flatten(1))[:6]
    torch.testing.assert_close((made.flatten(1) * code.scale).norm(dim=0)[:6], singular, atol=1e-2, rtol=1e-3)
    whole = TokenCode(77, tokens.shape[2], rank=0, length=8)
    whole.learn(tokens)
    assert whole.encode(tokens).shape == tokens.shape
    torch.testing.assert_close(whole.decode(whole.encode(tokens)), tokens, atol=1e-4, rtol=1e-4)


def test_drawing_with_a_perfect_prior_ends_at_the_truth():
    clean, noise = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    for steps in (1, 5):
        made = draw_code(lambda code, time, conditions: clean, [], noise, steps=steps)  # type: ignore[arg-type]
        torch.testing.assert_close(made, clean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mix(clean, noise, torch.ones(4)), noise)


def test_prior_finds_the_caption_of_an_exact_embedding(suite):
    """A perfect decoder: from a vector of its own the prior draws each caption's tokens, whatever the seed."""
    captions = [f"a {name}" for name in ("cat", "dog", "car", "ship", "pizza", "cake", "drum", "guitar")]
    tokens = suite.encode_text(captions)
    code = TokenCode(77, tokens.shape[2], rank=8, length=4)
    code.learn(tokens)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = Prior(code.shape, [16, 8], width=32, depth=2, heads=4, head_width=8, dropout=0.0)
        given = [torch.randn(8, 16), torch.randn(8, 8)]
    optimise, draw = Optimiser([(list(prior.parameters()), 3e-3)], steps=200, weight_decay=0.0), torch.Generator()
    rows = torch.arange(8).repeat(4)
    losses = [
        optimise.step(measure_prior(prior, code.encode(tokens)[rows], [one[rows] for one in given], draw))
        for _ in range(200)
    ]
    assert np.mean(losses[-20:]) < 0.15 * np.mean(losses[:10])
    with torch.no_grad():
        for seed in range(3):
            noise = torch.randn(8, *code.shape, generator=torch.Generator().manual_seed(seed))
            made = code.decode(draw_code(prior, given, noise, steps=8))
            assert torch.cdist(made.flatten(1), tokens.flatten(1)).argmin(dim=1).tolist() == list(range(8))


# Aligner

QUIET: dict[str, Any] = {"dropout": 0.0, "patch_dropout": 0.0, "released_axes": False}


def test_spectral_filter_is_a_circular_convolution():
    module, signals = SpectralFilter(2, 12, filters=3), torch.randn(4, 2, 12)
    torch.nn.init.normal_(module.filters)
    weights = np.cos(np.pi / 6 * np.array([1, 3, 5]))
    own = torch.view_as_complex(module.filters.detach().contiguous()).numpy()
    response = np.fft.irfft(np.tensordot(weights, own, 1), n=12)  # (2, 12)
    expected = np.zeros((4, 2, 12))
    for lag in range(12):
        expected += response[:, lag, None] * np.roll(signals.numpy(), lag, axis=2)
    np.testing.assert_allclose(module(signals).detach().numpy(), expected, atol=1e-5)


def test_spectral_filter_begins_as_none():
    module, signals = SpectralFilter(2, 30, filters=4), torch.randn(4, 2, 30)
    assert (module(signals) - signals).square().mean() < 0.01 * signals.square().mean()


def test_patches_are_those_of_the_release():
    aligner = TemporalAligner(2, 400, latent=(6, 4, 2, 2), filters=4, width=4, **QUIET)
    assert (aligner.patch, aligner.starts) == (100, [0, 60, 120, 180, 240, 300])


def test_released_axes_are_viewed_without_being_moved():
    options: dict[str, Any] = {"latent": (6, 4, 2, 3), "filters": 4, "width": 4, **QUIET}
    options.pop("released_axes")
    sound, released = (TemporalAligner(2, 40, released_axes=one, **options).eval() for one in (False, True))
    released.load_state_dict(sound.state_dict())
    signals = torch.randn(5, 2, 40)
    expected = sound(signals).contiguous().view(5, 4, 6, 2, 3)  # the release's line; its axes 1 and 2 are named wrongly
    assert torch.equal(released(signals), expected.transpose(1, 2))


def test_distances_are_those_of_scipy():
    frames = torch.randn(3, 4, 10)
    expected = np.stack([cdist(one, one, "cosine") for one in frames.numpy()])
    np.testing.assert_allclose(measure_distances(frames).numpy(), expected, atol=1e-5)


def test_aligner_learns_a_planted_picture():
    """Latents that lie in the EEG are found again on trials that were not trained on."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        signals, mixing = torch.randn(80, 4, 24), torch.randn(6, 24, 12)
        aligner = TemporalAligner(4, 24, latent=(6, 3, 2, 2), filters=4, width=24, **QUIET)
        patches = torch.stack([signals[:, :, at : at + 6].flatten(1) for at in aligner.starts], 1)  # (B, N, 24)
        latents = torch.einsum("bnc,ncp->bnp", patches, mixing).unflatten(2, (3, 2, 2)) / 5
        optimise = Optimiser([(list(aligner.parameters()), 5e-3)], steps=150, weight_decay=0.0)
        options = {"contrast": 0.5, "temperature": 0.1}
        losses = [
            optimise.step(measure_alignment(aligner, signals[:60], torch.arange(60), latents[:60], **options))
            for _ in range(150)
        ]
        assert losses[-1] < 0.7 * losses[0]
        found = aligner.eval()(signals[60:]).flatten(1).detach()
    own = functional.cosine_similarity(found, latents[60:].flatten(1))
    other = functional.cosine_similarity(found, latents[60:].flatten(1).roll(1, 0))
    assert own.mean() > other.mean() + 0.2
