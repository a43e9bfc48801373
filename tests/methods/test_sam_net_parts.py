"""SAM-Net's parts besides its numbered equations: regions, heads, sphering, the stages of C-SA, what is refused."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from asking import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from sam_world import CAP, FakeSuite

from bench.core.errors import BenchError
from bench.toolbox import rows as toolbox_rows
from bench.toolbox.encoded import CaptionTokens
from methods.sam_net.covariance import measure_covariance, recolour, sphere_groups
from methods.sam_net.heads import LowRankHead, measure_error
from methods.sam_net.hrt import assign_regions
from methods.sam_net.method import Parameters, SamNet, build_decoder
from methods.sam_net.new2source import gather_sources, map_new_to_source
from methods.sam_net.subjects import plan_stages
from methods.sam_net.training import walk_stages
from methods.sam_net.views import Views

# ---- regions and heads


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


@pytest.mark.parametrize("kind", ["tokens", "latents"])
@pytest.mark.parametrize("part", [1, 40 * 3 * 4, 2**26])
def test_a_basis_is_learned_from_some_numbers_of_all_clips_at_a_time(monkeypatch, part: int, kind: str) -> None:
    """Of captions that several clips share, and of a plain tensor; as numpy finds it in the clips' whole targets."""
    monkeypatch.setattr(toolbox_rows, "PART", part)
    rng = np.random.default_rng(0)
    said, caption = rng.normal(size=(30, 4, 5)), rng.integers(0, 30, 40)
    groups = caption % 3 * 7
    head = LowRankHead(4, (6, 5), rank=3, group_rank=2)
    tokens = CaptionTokens(torch.from_numpy(said).float(), 6)
    padded = np.pad(said, [(0, 0), (0, 2), (0, 0)])[caption]
    targets, of = (tokens, torch.from_numpy(caption)) if kind == "tokens" else (torch.from_numpy(padded).float(), None)
    made = head.learn_basis(targets, torch.from_numpy(groups), caption=of, group_share=0.7)
    flat = padded.reshape(40, -1)
    means = np.stack([flat[groups == one].mean(axis=0) for one in groups])
    np.testing.assert_allclose(head.mean, flat.mean(axis=0), atol=1e-6)
    for block, deviations in ((slice(0, 2), means - flat.mean(axis=0)), (slice(2, 5), flat - means)):
        count = block.stop - block.start
        _, lengths, directions = np.linalg.svd(deviations, full_matrices=False)
        basis = head.basis[block].numpy()
        np.testing.assert_allclose(np.linalg.norm(basis, axis=1), lengths[:count] / 40**0.5, rtol=1e-5)
        np.testing.assert_allclose(abs(basis @ directions[:count].T), np.diag(lengths[:count] / 40**0.5), atol=1e-5)
        rebuilt, share = made[:, block].numpy() @ basis, directions[:count]
        np.testing.assert_allclose(rebuilt, deviations @ share.T @ share, atol=1e-5)


def test_it_is_built_at_the_papers_sizes() -> None:
    geometry = SimpleNamespace(
        frames=6, latent_channels=4, latent_height=36, latent_width=64, tokens=77, text_width=768
    )
    with torch.device("meta"):
        decoder = build_decoder(Parameters(sampling_rate=200.0), CAP, 400, 200.0, geometry)
        _, text, latents = decoder(Views(torch.zeros(2, 62, 400), torch.zeros(2, 3, 62, 25)))
        assert decoder.text.expand(text).shape == (2, 77, 768)
        assert decoder.latents.expand(latents).shape == (2, 6, 4, 36, 64)
    print(f"SAM-Net at the paper's sizes: {decoder.parameter_count:,} parameters")
    assert 100_000 < decoder.parameter_count < 10_000_000


@pytest.mark.parametrize("sphering", ["all", "regions"])
def test_sphering_whitens_the_electrodes_in_use_together_or_by_region(sphering: str) -> None:
    rng = np.random.default_rng(0)
    mixture = np.eye(62) + 0.2 * rng.standard_normal((62, 62))
    covariance = torch.from_numpy(mixture @ mixture.T)
    seen = ["occipital", "temporal"]
    method = SamNet(suite=FakeSuite(), sphering=sphering, regions=seen)
    groups = method.group_electrodes(CAP)
    sphere = sphere_groups(covariance, groups, 0.0)
    whitened = sphere @ covariance @ sphere.T
    members = assign_regions(CAP)
    used = sorted(index for region in seen for index in members[region])
    assert sorted(index for group in groups for index in group) == used
    assert len(groups) == (1 if sphering == "all" else 2)
    unused = sorted(set(range(62)) - set(used))
    assert (sphere[unused] == 0).all() and (sphere[:, unused] == 0).all()  # a region that is taken away is not seen
    for own in groups:
        assert torch.allclose(whitened[own][:, own], torch.eye(len(own), dtype=torch.float64), atol=1e-8)
        others = sorted(set(used) - set(own))
        assert (sphere[own][:, others] == 0).all()
    plain = SamNet(suite=FakeSuite(), sphering=sphering, encoder="plain", regions=seen)
    assert sum(map(len, plain.group_electrodes(CAP))) == 62  # it has no regions


# ---- stages of C-SA


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


# ---- maps of new subjects


def test_recolouring_gives_the_known_subjects_covariance() -> None:
    known, own = measure_covariance(draw(9, 6, 50)), measure_covariance(3 * draw(9, 6, 50, seed=1))
    coloured = recolour(own, known, shrinkage=0.0)
    assert torch.allclose(coloured @ own @ coloured.T, known, atol=1e-6)


def test_new2source_without_a_shared_clip_says_what_to_do() -> None:
    signals = torch.randn(4, 3, 5)
    sources = gather_sources(signals, None, list("abcd"), torch.zeros(4, dtype=torch.int64), source="mean")
    with pytest.raises(BenchError, match="recolour"):
        map_new_to_source(sources, signals, None, list("efgh"), ridge=0.1, rescale=True)
