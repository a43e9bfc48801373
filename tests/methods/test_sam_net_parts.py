"""SAM-Net's parts against closed forms and hand-computed examples: HRT, heads, C-SA, New2Source."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam_world import CAP

from bench.core.errors import BenchError
from methods.sam_net.augmentation import augment
from methods.sam_net.covariance import apply_map, measure_covariance, recolour, sphere_regions
from methods.sam_net.heads import LowRankHead, measure_error
from methods.sam_net.hrt import ElectrodeAttention, assign_regions
from methods.sam_net.method import build_decoder, nearest_concepts
from methods.sam_net.new2source import fit_channel_map, gather_sources, map_new_to_source
from methods.sam_net.parameters import Parameters
from methods.sam_net.subjects import (
    find_centre,
    mean_trials,
    measure_similarity,
    order_subjects,
    plan_stages,
    reverse_gradient,
    subject_loss,
)
from methods.sam_net.training import walk_stages

# ---- augmentation and HRT


def test_augmentation_has_the_declared_moments_and_drops_whole_electrodes() -> None:
    signals = torch.ones(64, 62, 100)
    options = {"noise_mean": 0.5, "noise_deviation": 0.3, "electrode_dropout": 0.25}
    made = augment(signals, **options, generator=torch.Generator().manual_seed(0))
    silent = (made == 0).all(dim=2)
    assert abs(float(silent.float().mean()) - 0.25) < 0.03
    assert ((made == 0).any(dim=2) == silent).all()
    kept = made[~silent]
    assert abs(float(kept.mean()) - 1.5) < 0.01
    assert abs(float(kept.std()) - 0.3) < 0.01
    assert torch.equal(made, augment(signals, **options, generator=torch.Generator().manual_seed(0)))


def test_the_regions_hold_every_electrode_of_the_cap_once() -> None:
    members = assign_regions(CAP)
    assert sorted(itertools.chain(*members.values())) == list(range(62))
    assert {region: len(indices) for region, indices in members.items()} == {
        "frontal": 14, "parietal": 16, "central": 14, "temporal": 6, "occipital": 12,
    }  # fmt: skip
    place = {CAP[index]: region for region, indices in members.items() for index in indices}
    expected = {"FPZ": "frontal", "AF3": "frontal", "FCZ": "central", "CPZ": "parietal", "FT7": "temporal"}
    expected |= {"TP8": "temporal", "POZ": "occipital", "CB1": "occipital", "OZ": "occipital", "P8": "parietal"}
    assert {name: place[name] for name in expected} == expected


def test_an_electrode_of_no_region_is_refused_by_name() -> None:
    with pytest.raises(BenchError, match="EOG1"):
        assign_regions(("CZ", "EOG1"))


def test_mean_pooling_cannot_see_a_change_of_power_and_log_power_can() -> None:
    wave = torch.sin(torch.linspace(0, 2 * torch.pi, 101)[:-1]).expand(1, 62, 100)
    gates = {pool: ElectrodeAttention(62, pool=pool) for pool in ("mean", "log_power")}
    with torch.no_grad():
        gain = {pool: gate(3 * wave).abs().max() / gate(wave).abs().max() for pool, gate in gates.items()}
    assert float(gain["mean"]) == pytest.approx(3, abs=1e-4)
    assert abs(float(gain["log_power"]) - 3) > 1e-2


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_error_of_a_low_rank_head_is_that_of_the_full_targets(clips: int, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(clips, 3, 5, generator=generator)
    head = LowRankHead(4, (3, 5), rank=rank)
    true = head.learn_basis(targets)
    predicted = torch.randn(clips, rank, generator=generator)
    variance = (targets - targets.mean(dim=0)).flatten(1).square().sum(dim=1).mean()
    outside = (head.expand(true) - targets).flatten(1).square().sum(dim=1).mean()
    full = (head.expand(predicted) - targets).flatten(1).square().sum(dim=1).mean()
    inside = (variance - outside) * measure_error(head, predicted, true)
    assert torch.allclose(full, inside + outside, rtol=1e-3, atol=1e-4)
    if rank >= clips - 1:
        assert torch.allclose(head.expand(true), targets, atol=1e-4)


def test_a_head_with_groups_spans_their_means_first_and_rebuilds_the_targets() -> None:
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(12) % 3
    targets = 3 * torch.randn(3, 20, generator=generator)[groups] + torch.randn(12, 20, generator=generator)
    head = LowRankHead(4, (20,), rank=9, group_rank=2)
    coefficients = head.learn_basis(targets, groups, group_share=0.7)
    assert torch.allclose(head.expand(coefficients), targets, atol=1e-4)
    means = torch.stack([targets[groups == group].mean(dim=0) for group in groups.tolist()])
    assert torch.allclose(head.expand(coefficients * (torch.arange(11) < 2)), means, atol=1e-4)
    assert head.weights[:2].sum().item() == pytest.approx(0.7)
    assert torch.allclose(coefficients.square().mean(dim=0), torch.ones(11), atol=1e-4)


def test_a_concept_is_read_as_the_nearest_of_the_training_concepts():
    concepts = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))[0]
    shrunk = 0.1 * concepts[[3, 0, 5]] + 0.01  # a regression shrinks; the direction tells
    torch.testing.assert_close(nearest_concepts(shrunk, concepts), concepts[[3, 0, 5]])


def test_it_is_built_at_the_papers_sizes() -> None:
    geometry = SimpleNamespace(
        frames=6, latent_channels=4, latent_height=36, latent_width=64, tokens=77, text_width=768
    )
    with torch.device("meta"):
        decoder = build_decoder(Parameters(sampling_rate=200.0), CAP, 400, 200.0, geometry)
        _, text, latents = decoder(torch.zeros(2, 62, 400))
        assert decoder.text.expand(text).shape == (2, 77, 768)
        assert decoder.latents.expand(latents).shape == (2, 6, 4, 36, 64)
    print(f"SAM-Net at the paper's sizes: {decoder.parameter_count:,} parameters")
    assert 100_000 < decoder.parameter_count < 10_000_000


def test_sphering_whitens_each_region_and_mixes_none_with_another() -> None:
    rng = np.random.default_rng(0)
    mixture = np.eye(62) + 0.2 * rng.standard_normal((62, 62))
    covariance = torch.from_numpy(mixture @ mixture.T)
    sphere = sphere_regions(covariance, CAP, shrinkage=0.0)
    whitened = sphere @ covariance @ sphere.T
    members = assign_regions(CAP)
    for region, own in members.items():
        assert torch.allclose(whitened[own][:, own], torch.eye(len(own), dtype=torch.float64), atol=1e-8)
        others = [index for other, indices in members.items() if other != region for index in indices]
        assert (sphere[own][:, others] == 0).all()


# ---- C-SA


def test_centre_and_order_are_those_computed_by_hand() -> None:
    angles = np.deg2rad([0.0, 10.0, 70.0, 35.0])  # subject 3 lies in the middle; then 1, 0, 2 are 25, 10 and 35 away
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1.0], [5.0], [2.0], [0.1]])
    similarity = measure_similarity(features)
    assert similarity[0, 2] == pytest.approx(np.cos(np.deg2rad(70)))
    assert find_centre(similarity) == 3
    assert order_subjects(similarity, 3) == [3, 1, 0, 2]
    assert order_subjects(similarity, 2) == [2, 3, 1, 0]


def test_mean_trials_are_the_mean_of_each_subjects_own() -> None:
    signals = torch.arange(24.0).reshape(4, 2, 3)
    means = mean_trials(signals, torch.tensor([0, 1, 0, 1]), 2)
    assert np.allclose(means, [[6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17]])


@given(st.integers(1, 15), st.integers(20, 3000), st.booleans(), st.floats(0.1, 0.9))
@settings(max_examples=50, deadline=None)
def test_stages_grow_by_one_subject_and_spend_the_same_steps(
    subjects: int, steps: int, progressive: bool, last_share: float
) -> None:
    order = list(range(subjects))[::-1]
    stages = plan_stages(order, steps=steps, progressive=progressive, last_share=last_share)
    assert sum(stage.steps for stage in stages) == steps
    assert min(stage.steps for stage in stages) >= 0
    assert stages[-1].subjects == tuple(order)
    assert [len(stage.subjects) for stage in stages] == (list(range(1, subjects + 1)) if progressive else [subjects])
    if progressive and subjects > 1:
        assert stages[-1].steps == pytest.approx(last_share * steps, abs=1)


def test_a_stage_draws_its_own_subjects_each_trial_once_a_round() -> None:
    subject = torch.tensor([0] * 8 + [1] * 8 + [2] * 8)
    stages = plan_stages([2, 0, 1], steps=30, progressive=True, last_share=0.5)
    seen: dict[int, list[int]] = {}
    for rows, stage in walk_stages(stages, subject, 8, torch.Generator().manual_seed(0)):
        assert set(subject[rows].tolist()) <= set(stage.subjects)
        seen.setdefault(len(stage.subjects), []).extend(rows.tolist())
    assert sorted(seen[1][:8]) == list(range(16, 24))
    assert sorted(seen[3][:24]) == list(range(24))


def test_gradient_reversal_is_the_identity_forward_and_minus_lambda_backward() -> None:
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.arange(15.0).reshape(5, 3)
    reversed_features = reverse_gradient(features, 0.3)
    assert torch.equal(reversed_features, features)
    (reversed_features * weights).sum().backward()
    assert features.grad is not None
    assert torch.allclose(features.grad, -0.3 * weights)


def test_the_subject_softmax_leaves_absent_subjects_out() -> None:
    logits = torch.tensor([[1.0, 9.0, 2.0], [0.5, 9.0, 0.0]], requires_grad=True)
    present = torch.tensor([True, False, True])
    loss = subject_loss(logits, torch.tensor([0, 2]), present)
    by_hand = -(np.log(np.e / (np.e + np.e**2)) + np.log(1 / (np.exp(0.5) + 1))) / 2
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[:, 1] == 0).all()
    alone = subject_loss(logits.detach()[:1], torch.tensor([0]), torch.tensor([True, False, False]))
    assert alone.item() == pytest.approx(0.0, abs=1e-6)


# ---- New2Source


def test_a_channel_map_is_the_ridge_solution_of_another_library() -> None:
    scipy_linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.standard_normal((5, 4, 30))) for _ in range(2))
    flat_x, flat_y = (s.transpose(0, 1).flatten(1).numpy() for s in (x, y))
    power = np.mean(flat_x**2)
    root = np.sqrt(0.2 * power * flat_x.shape[1])
    stacked = np.hstack([flat_x, root * np.eye(4)]), np.hstack([flat_y, root * np.eye(4)])
    expected = scipy_linalg.lstsq(stacked[0].T, stacked[1].T)[0].T
    assert np.allclose(fit_channel_map(x, y, ridge=0.2).numpy(), expected)


def test_new2source_recovers_a_planted_mixture_and_recolouring_only_the_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    clips = [f"clip{n}" for n in range(60)]
    shared = torch.randn(60, 10, 50, generator=generator)
    signals = torch.cat([shared + 0.1 * torch.randn(60, 10, 50, generator=generator) for _ in range(3)])
    sources = gather_sources(signals, clips * 3, torch.arange(3).repeat_interleave(60), source="mean")
    mixture = torch.eye(10) + 0.1 * torch.randn(10, 10, generator=generator)
    new = apply_map(mixture, shared + 0.1 * torch.randn(60, 10, 50, generator=generator))
    learned = map_new_to_source(sources, new[:9], clips[:9], ridge=1e-3, rescale=False)
    assert (learned.float() @ mixture - torch.eye(10)).abs().max() < 0.05
    own = measure_covariance(new[:9])
    coloured = recolour(own, sources.covariance, shrinkage=0.0)
    assert torch.allclose(coloured @ own @ coloured.T, sources.covariance, atol=1e-6)
    rest = slice(9, None)
    error = (apply_map(learned, new[rest]) - shared[rest]).square().mean()
    assert error < 0.2 * (new[rest] - shared[rest]).square().mean()


def test_new2source_without_a_shared_clip_says_what_to_do() -> None:
    signals = torch.randn(4, 3, 5)
    sources = gather_sources(signals, list("abcd"), torch.zeros(4, dtype=torch.int64), source="mean")
    with pytest.raises(BenchError, match="recolour"):
        map_new_to_source(sources, signals, list("efgh"), ridge=0.1, rescale=True)
