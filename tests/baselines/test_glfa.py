"""GLFA against closed forms, planted correspondence of subjects, and a painted world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import hide_answers
from painted import PaintedDecoder, PaintedSuite, record, share_right, share_right_shuffled

from baselines.encoders import brain_tokens
from baselines.encoders.brain_tokens import Recipe, Targets, measure_alignment
from baselines.glfa import method as method_module
from baselines.glfa.alignment import (
    WHOLE,
    CannotAlign,
    FunctionalAlignment,
    cross_map,
    factor,
    find_template,
    solve_ridge,
)
from baselines.glfa.atlas import FunctionalMap, encode_grid, measure_map
from baselines.glfa.encoder import TextProjection
from baselines.glfa.method import Glfa, build_alignment, build_atlas, build_encoder, match_capacity
from baselines.glfa.parameters import Parameters
from bench.core.errors import BenchError
from bench.core.spec import check_plain
from bench.core.variants import find_profile, read_group, read_toml
from bench.pretrained.suite import load_suite
from bench.toolbox import rows as toolbox_rows
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.parameters import take_fields
from bench.toolbox.rows import Chosen
from bench.toolbox.sizes import count_paper_size, count_parameters
from bench.toolbox.training import make_generator

SMALL: dict[str, Any] = {
    "patch": 4, "global_patches": 2, "width": 16, "layers": 1, "heads": 2, "feedforward": 24, "dropout": 0.0,
    "text_rank": 3, "train_epochs": 12, "batch_size": 32, "learning_rate": 5e-3, "joint_epochs": 0.15,
    "joint_batch_size": 8, "use_validation": False,
}  # fmt: skip


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> PaintedSuite:
    monkeypatch.setattr(method_module, "AnimateDiffDecoder", PaintedDecoder)
    return PaintedSuite()


def fit(suite: PaintedSuite, *, seed: int = 0, **changes: Any) -> Glfa:
    made = Glfa(suite=suite, seed=seed, **{**SMALL, **changes})
    made.fit(record(), record(seed=1))
    return made


# Functional alignment


def test_two_subjects_with_a_common_signal_get_the_canonical_correlations() -> None:
    """Without ridge, MAXVAR of two views is canonical correlation: the maps of both correlate as CCA says."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((300, 3))
    views = [common @ rng.standard_normal((3, 8)) + rng.standard_normal((300, 8)) for _ in range(2)]
    views = [view - view.mean(axis=0) for view in views]
    bases = [np.linalg.qr(view)[0] for view in views]
    expected = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)[:3]  # Björck and Golub
    factors = [factor(view, 0.0) for view in views]
    template = find_template(factors, [np.arange(300)] * 2, 300, 3)
    maps = [view @ one.project(template) for view, one in zip(views, factors, strict=True)]
    found = [np.corrcoef(maps[0][:, k], maps[1][:, k])[0, 1] for k in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_template_minimises_what_it_is_said_to_minimise() -> None:
    rng = np.random.default_rng(1)
    labels = [rng.integers(0, 30, 70), rng.integers(0, 25, 60)]  # repeats, and clips that one subject never saw
    views = [rng.standard_normal((70, 6)), rng.standard_normal((60, 9))]
    ridge, rows = 0.2, 130
    factors = [factor(view, ridge) for view in views]
    template = find_template(factors, labels, 30, 2)
    counts = sum(np.bincount(own, minlength=30) for own in labels)
    np.testing.assert_allclose((template * counts[:, None]).T @ template, rows * np.eye(2), atol=1e-8)

    def cost(g: np.ndarray) -> float:
        total = 0.0
        for view, own, one in zip(views, labels, factors, strict=True):
            weights = one.project(g[own])
            np.testing.assert_allclose(weights, solve_ridge(view, g[own], ridge * len(view)), atol=1e-8)
            total += ((g[own] - view @ weights) ** 2).sum() + ridge * len(view) * (weights**2).sum()
        return total

    best = cost(template)
    seen = counts > 0
    for _ in range(20):  # other templates of the same size cost more
        other = np.where(seen[:, None], template + 0.1 * rng.standard_normal(template.shape), 0.0)
        gram = (other * counts[:, None]).T @ other / rows
        other = other @ np.linalg.inv(np.linalg.cholesky(gram)).T
        assert cost(other) > best


def test_aligned_subjects_answer_the_same_clip_alike_and_padding_is_never_read() -> None:
    train, test = record(), record(seed=5)
    alignment = FunctionalAlignment(sites=3, global_sites=3, ridge=0.3, global_ridge=0.3)
    made = alignment.fit(train.brain, train.subject, train.clip, 40, regions_of(train), folds=4)
    assert alignment.parts == ("V1", "LOC", "mPFC", WHOLE) and made.shape == (160, 12, 2)
    maps = alignment.apply(test.brain, test.subject)
    first, second = maps[test.subject == 1], maps[test.subject == 2]  # the same clips in the same order
    correlation = np.corrcoef(first[:, :3].ravel(), second[:, :3].ravel())[0, 1]
    raw = np.corrcoef(test.brain[:80, :3].ravel(), test.brain[80:, :3].ravel())[0, 1]
    assert correlation > 0.6 > 0.2 > abs(raw)
    assert np.corrcoef(first[:, 6:9].ravel(), second[:, 6:9].ravel())[0, 1] < 0.3  # mPFC knows nothing
    changed = test.brain.copy()
    changed[:80, 40:] = 100.0  # behind subject 1's voxels
    np.testing.assert_array_equal(alignment.apply(changed, test.subject), maps)
    assert alignment.parameter_count == (40 + 52) * 6 == alignment.count(regions_of(train))


def test_one_subject_s_signals_are_read_at_a_time_and_the_map_lies_in_a_file(monkeypatch, tmp_path) -> None:
    train, asked = record(), []
    sizes: dict[str, Any] = {"sites": 3, "global_sites": 3, "ridge": 0.3, "global_ridge": 0.3}
    about = train.subject, train.clip, 40, regions_of(train)
    plain = FunctionalAlignment(**sizes).fit(train.brain, *about, folds=4)

    class Read(Chosen):
        def __getitem__(self, key: Any) -> np.ndarray:
            asked.append(len(made := super().__getitem__(key)))
            return made

    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    monkeypatch.setattr(toolbox_rows, "HELD", 0)
    made = Glfa(suite=PaintedSuite(), patch=3, global_patches=1, local_patches=1, ridge=0.3, global_ridge=0.3, folds=4)
    read, _ = made.align(
        replace(train, brain=Read(train.brain, np.arange(160))), volumes=2, embedding=24, text_tokens=6, text=10
    )
    np.testing.assert_array_equal(read(np.arange(160))[0].numpy(), plain)
    assert set(asked) == {80}  # of 160
    assert isinstance(FunctionalAlignment(**sizes).fit(train.brain, *about, folds=4), np.memmap)


def regions_of(data: Any) -> dict[int, Any]:
    return method_module.name_regions(data, method_module.Parameters())


def test_trials_are_mapped_without_their_own_clips() -> None:
    rng = np.random.default_rng(2)
    x, y, clip = rng.standard_normal((24, 40)), rng.standard_normal((24, 2)), np.repeat(np.arange(8), 3)
    made = cross_map(x, y, clip, 0.1, folds=4)
    own = slice(6, 12)  # clips 2 and 3
    rest = np.r_[0:6, 12:24]
    np.testing.assert_allclose(made[own], x[own] @ solve_ridge(x[rest], y[rest], 0.1 * 18))
    y[own] += 100.0
    np.testing.assert_allclose(cross_map(x, y, clip, 0.1, folds=4)[own], made[own])


def test_a_new_subject_needs_common_clips_and_regions() -> None:
    train = record()
    alignment = FunctionalAlignment(sites=2, global_sites=0, ridge=0.3, global_ridge=0.3)
    alignment.fit(train.brain, train.subject, train.clip, 40, regions_of(train), folds=1)
    with pytest.raises(CannotAlign, match="subject 9 has no map; there are 1, 2"):
        alignment.apply(train.brain[:1], np.array([9]))
    with pytest.raises(CannotAlign, match="saw no clip that the known subjects saw"):
        alignment.add_subject(9, train.brain[:4], np.full(4, -1), train.rois[2])
    with pytest.raises(CannotAlign, match="no voxels in LOC"):
        alignment.add_subject(9, train.brain[:4], np.arange(4), ["V1"] * 26 + ["mPFC"] * 26)
    with pytest.raises(CannotAlign, match="share no region"):
        alignment.plan({1: ["V1"], 2: ["MT"]})


# Encoder and losses


def test_the_text_projection_spans_the_captions() -> None:
    tokens = torch.randn(30, 5, 4, generator=torch.Generator().manual_seed(0))
    made = TextProjection(width=3, rank=20, text_tokens=5, text=4)
    made.learn_axes(CaptionTokens(tokens, 5), torch.arange(len(tokens)))
    assert torch.allclose(made(torch.randn(2, 3)), tokens.mean(0).expand(2, 5, 4), atol=1e-6)  # at first the mean
    flat = (tokens - tokens.mean(0)).flatten(1)
    axes = made.axes.flatten(1)
    torch.testing.assert_close(axes.T @ axes, flat.T @ flat / 30, atol=1e-4, rtol=1e-4)


def test_losses_of_the_right_answer_are_lowest() -> None:
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(6, 8, generator=generator), dim=1)
    tokens = torch.randn(6, 3, 4, generator=generator)
    targets = Targets(image=unit, text=unit, tokens=CaptionTokens(tokens, 3), caption=torch.arange(6), spread=0.5)
    recipe = take_fields(Recipe, Parameters(temperature=0.1, image_weight=1.0, text_weight=0.0, token_weight=2.0))
    weights, right = zip(*measure_alignment(unit, tokens, torch.arange(6), targets, recipe), strict=True)
    _, wrong = zip(*measure_alignment(unit.flip(0), tokens + 1, torch.arange(6), targets, recipe), strict=True)
    assert weights == (1.0, 2.0) and float(right[0]) < 0.5 < 5 < float(wrong[0])
    assert float(right[1]) == 0 and float(wrong[1]) == pytest.approx(1.0 / 0.5)


# The whole method


def test_planted_concepts_are_reconstructed_and_shuffled_ones_are_not(painted: PaintedSuite) -> None:
    made, test = fit(painted), record(seed=5)
    video = made.reconstruct(hide_answers(test))
    assert video.shape == (160, 4, 16, 16, 3) and video.dtype == np.uint8
    assert share_right(video, test) > 0.8 > 0.4 > share_right_shuffled(video, test)
    assert made.losses[-1] < 0.7 * made.losses[0]


def test_a_trial_does_not_see_its_batch(painted: PaintedSuite) -> None:
    made, test = fit(painted, train_epochs=1), record(seed=5)
    _, whole = made.read_brain(hide_answers(test), np.arange(160))
    _, alone = made.read_brain(hide_answers(test, slice(100, 101)), np.arange(1))
    torch.testing.assert_close(alone[0], whole[100], atol=1e-4, rtol=1e-4)


def test_the_same_seed_gives_the_same_method(painted: PaintedSuite) -> None:
    tokens = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)  # torch's own generator must not matter
        made = fit(painted, seed=seed, train_epochs=0.8, dropout=0.2)
        tokens.append(made.read_brain(hide_answers(record(seed=5)), np.arange(8))[1])
    assert torch.equal(tokens[0], tokens[1]) and not torch.equal(tokens[0], tokens[2])


def test_a_new_subject_is_decoded_by_common_clips_and_the_known_ones_as_before(painted: PaintedSuite) -> None:
    made, known = fit(painted), hide_answers(record(seed=5), slice(0, 6))
    before, count = made.reconstruct(known), made.parameter_count
    newcomer = {"first_subject": 9}
    with pytest.raises(CannotAlign, match="call adapt"):
        made.reconstruct(hide_answers(record((36,), **newcomer)))
    made.adapt(record((36,), **newcomer))
    assert made.parameter_count == count + 36 * (4 + 8)
    test = record((36,), seed=5, **newcomer)
    assert share_right(made.reconstruct(hide_answers(test)), test) > 0.7
    assert np.array_equal(made.reconstruct(known), before)


def test_a_decoder_given_the_true_tokens_is_right(painted: PaintedSuite) -> None:
    test = record(seed=5)
    tokens = painted.encode_text([test.captions[clip] for clip in test.clip])
    assert share_right(PaintedDecoder(painted).generate(tokens, [0] * len(tokens)), test) == 1.0


def test_validation_trials_that_are_left_out_do_not_matter(painted: PaintedSuite) -> None:
    brief = {**SMALL, "train_epochs": 0.4}
    one, other = Glfa(suite=painted, **brief), Glfa(suite=painted, **brief)
    one.fit(record(), record(seed=1))
    other.fit(record(), replace(record(seed=1), captions=("a pizza",) * 40))
    asked = hide_answers(record(seed=5))
    assert torch.equal(one.read_brain(asked, np.arange(3))[1], other.read_brain(asked, np.arange(3))[1])


def test_with_the_networks_that_ship() -> None:
    """AnimateDiff of the mini suite: a step of LoRA and two videos, the second by itself as in its batch."""
    suite, train = load_suite("mini"), record(clips=8)
    train = replace(train, video=np.repeat(np.repeat(train.video, 4, axis=2), 4, axis=3), captions=CAPTIONS)
    made = Glfa(suite=suite, **{**SMALL, "train_epochs": 0.4, "joint_epochs": 0.01, "joint_batch_size": 2, "steps": 1})
    made.fit(train, train)
    asked = hide_answers(train, slice(0, 2))
    video = made.reconstruct(asked)
    assert video.shape == (2, 4, 64, 64, 3)
    alone = made.reconstruct(replace(asked, brain=asked.brain[1:], subject=asked.subject[1:], seed=asked.seed[1:]))
    assert np.abs(alone[0].astype(int) - video[1]).max() <= 1
    true = suite.encode_text(CAPTIONS[:1])
    drawn = suite.generate_video(true, [0], steps=1)
    np.testing.assert_array_equal(made_without_lora(suite).generate(true, [0]), drawn)


CAPTIONS = tuple(f"a {name} moving {way}" for name in ("cat", "car", "pizza", "piano") for way in ("left", "right"))


def made_without_lora(suite: Any) -> Any:
    return method_module.AnimateDiffDecoder(suite, clip_shape=(6, 64, 64), rank=0, scale=1, steps=1)


# Parameters, variants, sizes


def variants() -> dict[str, dict[str, Any]]:
    path = Path(method_module.__file__).parent / "ablations.toml"
    groups = [read_group(path, name, table) for name, table in read_toml(path).items() if name != "profile"]
    return {variant: parameters for group in groups for variant, parameters in group.items()}


@pytest.mark.parametrize("name", variants())
def test_every_variant_trains_and_makes_videos(painted: PaintedSuite, name: str) -> None:
    check_plain(variants()[name], name)
    made = fit(painted, **{"train_epochs": 0.4, **variants()[name]})
    assert made.reconstruct(hide_answers(record(seed=5), slice(0, 2))).shape == (2, 4, 16, 16, 3)
    parts = set(made.alignment.parts)
    assert (WHOLE in parts) == (name != "wo_global" and name != "wo_global_matched")
    assert ("V1" in parts) == (name != "wo_local" and name != "wo_local_matched")


@pytest.mark.parametrize("name", ["wo_local_matched", "wo_global_matched"])
def test_matched_variants_have_the_base_s_parameters(name: str) -> None:
    regions = {1: ["V1"] * 300 + ["MT"] * 200}
    widths = {"volumes": 1, "embedding": 64, "text_tokens": 77, "text": 48}

    def count(own: Parameters) -> int:
        return build_alignment(own).count(regions) + count_parameters(build_encoder(own, regions, **widths))

    own = method_module.read_parameters(variants()[name])
    base = count(Parameters())
    assert count(own) < 0.98 * base
    assert abs(count(match_capacity(own, regions, **widths)) - base) < 0.003 * base


ATLAS: dict[str, Any] = {
    "form": "atlas", "side": 8, "patch": 16, "kernel": 3, "width": 16, "heads": 2, "layers": 1, "feedforward": 24,
}  # fmt: skip


def test_what_fit_builds_at_the_paper_s_size_is_the_released_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """GLFA 4536398, `models/utils.py` and `models/transformer_models.py` with the configuration of sub12-funcalign:
    through `fit`, on the meta device. LoRA is peft's, of the layers that the pipeline's loader names."""
    counts = count_paper_size("glfa", volumes=5)
    assert counts["functional map"] == 256**2 * 13**2 + 256**2 == 11_141_120
    assert counts["vision transformer"] == 302_575_616  # forward_encoder_wo_pred's, fixed positions aside
    assert counts["volumes to text tokens"] == 13_036_498  # fmriEncoderProjection(257, 77, window_size=5, with_attn)
    assert counts["tokens to CLIP's embedding, in training alone"] == 1_051_143  # fmri2clip
    assert counts["zeroscope's UNet, frozen"] == pytest.approx(1.41e9, rel=0.01)

    class Decoder(PaintedDecoder):
        def encode_text(self, captions: Any) -> torch.Tensor:
            return torch.zeros(len(captions), 77, 1024)

    class Suite(PaintedSuite):
        device = "meta"

        def embed_images(self, frames: np.ndarray) -> np.ndarray:
            return np.ones((len(frames), 1024), np.float32)

        def embed_texts(self, captions: Any) -> np.ndarray:
            return np.ones((len(captions), 1024), np.float32)

    monkeypatch.setattr(method_module, "AnimateDiffDecoder", Decoder)
    monkeypatch.setattr(method_module, "encode_targets", meta_targets)
    monkeypatch.setattr(method_module, "train_both", lambda *rest, **options: ([], []))
    monkeypatch.setattr(method_module, "learn_captions", lambda *rest: None)  # it looks at numbers
    made = Glfa(suite=Suite(), **find_profile("glfa", "paper"))
    with torch.device("meta"):
        made.fit(record((40, 52), volumes=5), record())
    network = count_parameters(made.decoder.network)
    assert made.parameter_count == 11_141_120 + 302_575_616 + 13_036_498 + network
    assert count_parameters(made.trained()) == 11_141_120 + 302_575_616 + 13_036_498 + 1_051_143


def meta_targets(suite: Any, decoder: Any, data: Any, *, frames: int) -> Targets:
    tokens, unit = CaptionTokens(torch.zeros(4, 77, 1024), 77), torch.zeros(len(data.video), 1024)
    return Targets(image=unit, text=unit, tokens=tokens, caption=torch.zeros(len(data.video)).long(), spread=1.0)


# The released form


def test_a_fresh_map_moves_nothing_and_a_trained_one_mixes_patches_then_neighbours() -> None:
    torch.manual_seed(0)
    pictures, made = torch.randn(3, 8, 8), FunctionalMap(side=8, patch=4, kernel=3)
    pictures[:, 2, 5] = 0.0
    assert (made(pictures) - pictures).abs().max() < 1e-2
    torch.nn.init.normal_(made.among_patches)
    torch.nn.init.normal_(made.around)
    expected = np.zeros((3, 8, 8))
    mixed = np.zeros((3, 8, 8))
    shares = np.eye(4) + made.among_patches.detach().numpy()
    corners = [(y, x) for y in (0, 4) for x in (0, 4)]
    for row, (y, x) in enumerate(corners):
        for column, (v, u) in enumerate(corners):
            mixed[:, y : y + 4, x : x + 4] += shares[row, column] * pictures[:, v : v + 4, u : u + 4].numpy()
    mixed[:, 2, 5] = 0.0  # blank pixels stay blank
    local = made.around.detach().numpy()
    for y in range(8):
        for x in range(8):
            weights = local[y, x].copy()
            weights[4] += 1.0
            weights = np.abs(weights) / np.abs(weights).sum()
            around = [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
            for weight, (v, u) in zip(weights, around, strict=True):
                if 0 <= v < 8 and 0 <= u < 8:
                    expected[:, y, x] += weight * mixed[:, v, u]
    expected[:, 2, 5] = 0.0
    np.testing.assert_allclose(made(pictures).detach().numpy(), expected, atol=1e-5)


def test_losses_of_the_map_are_of_drawn_pixels_alone() -> None:
    encoder = build_atlas(method_module.read_parameters(ATLAS), volumes=2, embedding=3, text=4, text_tokens=5)
    signals, partner = torch.randn(3, 20, 2), torch.randn(2, 30, 2)
    signals[:, 11] = 0.0
    aligned = [encoder.align(one).detach().flatten(2) for one in (signals, partner)]
    own = torch.tensor([column for column in range(20) if column != 11])
    moved = (aligned[0][:, :, own] - signals.transpose(1, 2)[:, :, own]).square().mean()
    apart = (aligned[0][[2, 0]][:, :, own] - aligned[1][:, :, own]).square().mean()
    found = measure_map(encoder, signals, torch.nn.functional.pad(partner, (0, 0, 0, 0)), torch.tensor([2, 0]))
    torch.testing.assert_close(torch.stack(found).detach(), torch.stack([moved, apart]))
    alone = measure_map(encoder, signals, signals[:0], torch.zeros(0, dtype=torch.int64))
    assert float(alone[1]) == 0.0


def test_positions_of_the_atlas_are_masked_autoencoders() -> None:
    made, rate = encode_grid(3, 8), 10000 ** -(1 / 2)
    assert not made[0].any()
    row, column = 2, 1
    place = [np.sin(column), np.sin(column * rate), np.cos(column), np.cos(column * rate)]
    place += [np.sin(row), np.sin(row * rate), np.cos(row), np.cos(row * rate)]
    torch.testing.assert_close(made[1 + 3 * row + column], torch.tensor(place, dtype=torch.float32))


def test_the_released_form_learns_its_map_beside_the_video_model_alone(painted: PaintedSuite) -> None:
    made = Glfa(suite=painted, **{**SMALL, **ATLAS, "joint_learning_rate": 1e-2})
    made.fit(record(), record(seed=1))
    assert made.losses[-1] < 0.7 * made.losses[0]
    video = made.reconstruct(hide_answers(record(seed=5), slice(0, 3)))
    assert video.shape == (3, 4, 16, 16, 3)
    first = Glfa(suite=painted, **{**SMALL, **ATLAS, "joint_epochs": 0})
    first.fit(record(), record(seed=1))
    moved = [one.trained().map.around.abs().max() for one in (made, first)]  # type: ignore[union-attr]
    assert moved[0] > 1e-3 > moved[1]
    before = {name: one.clone() for name, one in made.trained().state_dict().items()}
    made.adapt(record((36,), first_subject=9))  # which a map for all does not need
    assert all(torch.equal(one, before[name]) for name, one in made.trained().state_dict().items())
    assert made.reconstruct(hide_answers(record((36,), first_subject=9), slice(0, 2))).shape == (2, 4, 16, 16, 3)


def test_partners_are_other_subjects_who_saw_the_same_clip(
    painted: PaintedSuite, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, train, seen = Glfa(suite=painted, **ATLAS), record(), []
    train.brain[:, 0, 0] = np.arange(len(train.brain))  # so that a trial is known by its first voxel
    losses = torch.tensor(2.0), torch.tensor(3.0)
    monkeypatch.setattr(method_module, "measure_map", lambda *given: seen.append(given[1:]) or losses)
    read = method_module.read_trials(train, torch.device("cpu"))
    rows = np.array([0, 5, 100, 159])
    assert float(made.pair_subjects(None, train, read)(rows)) == pytest.approx(2.0 + 0.1 * 3.0)  # type: ignore[arg-type]
    [(signals, partner, paired)] = seen
    others = partner[:, 0, 0].numpy().astype(int)
    assert paired.tolist() == [0, 1, 2, 3] and signals[:, 0, 0].tolist() == rows.tolist()
    assert (train.clip[others] == train.clip[rows]).all() and (train.subject[others] != train.subject[rows]).all()
    alone = replace(train, subject=np.ones_like(train.subject))
    made.pair_subjects(None, alone, read)(rows)  # type: ignore[arg-type]
    assert len(seen[1][1]) == 0 == len(seen[1][2])


def test_the_map_s_losses_are_computed_again_of_the_same_partners(painted: PaintedSuite) -> None:
    train, rows, found = record(), np.array([0, 5, 100, 159]), []
    read = method_module.read_trials(train, torch.device("cpu"))
    for memory in (None, 2**60):  # bounded, nothing is kept for the gradient
        torch.manual_seed(0)
        sizes = method_module.read_parameters(ATLAS)
        encoder = build_atlas(sizes, volumes=2, embedding=24, text=10, text_tokens=6)
        made = Glfa(suite=SimpleNamespace(device="cpu", memory=memory), **ATLAS)
        loss = made.pair_subjects(encoder, train, read)(rows)
        loss.backward()
        found.append((loss.detach(), encoder.map.among_patches.grad, encoder.map.around.grad))
    assert all(torch.equal(*both) and both[0].abs().max() > 0 for both in zip(*found, strict=True))


def test_what_is_measured_beside_takes_the_place_of_the_first_stage_s_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    suite, train, stepped = PaintedSuite(), record(), []
    decoder = PaintedDecoder(suite)
    monkeypatch.setattr(PaintedDecoder, "measure_loss", lambda self, *rest: torch.tensor(5.0))
    plain = SimpleNamespace(step=stepped.append, walk=lambda items, *_, **__: enumerate(items))
    monkeypatch.setattr(brain_tokens, "Optimiser", lambda *rest, **options: plain)
    recipe = take_fields(Recipe, method_module.read_parameters({"joint_epochs": 0.05, "joint_batch_size": 4}))
    encoder = build_atlas(method_module.read_parameters(ATLAS), volumes=2, embedding=24, text=10, text_tokens=6)
    read = method_module.read_trials(train, torch.device("cpu"))
    targets = brain_tokens.encode_targets(suite, decoder, train, frames=2)
    options = {"batches": make_generator("a"), "noise": make_generator("b"), "phase": "joint"}
    given = (encoder, decoder, read, torch.from_numpy(train.clip), targets, torch.zeros(40, 1), recipe)
    brain_tokens.train_with_decoder(*given, **options, beside=lambda rows: torch.tensor(float(len(rows))))
    assert [float(one) for one in stepped] == [9.0, 9.0]
    brain_tokens.train_with_decoder(*given, **options)
    assert float(stepped[2].detach()) == pytest.approx(5.0 + 3 * 5.0)  # all three, each as large as the decoder's


def test_more_voxels_than_pixels_are_refused(painted: PaintedSuite) -> None:
    with pytest.raises(BenchError, match="52 voxels do not fit into 4 x 4 pixels; set a larger side"):
        Glfa(suite=painted, **{**SMALL, **ATLAS, "side": 4, "patch": 4}).fit(record(), record())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"widht": 3}, "no parameter widht"),
        ({"heads": 3}, "3 heads do not divide a width of 64"),
        ({"precision": "bf16"}, "no parameter precision; --precision is an option of `run`; it has"),
        ({"local_patches": 0, "global_patches": 0}, "leave no map"),
        ({"form": "atlas", "patch": 12}, "cannot be cut into patches of 12"),
        ({"form": "atlas", "kernel": 4}, "with a kernel of 4"),
        ({"weights": "some.pth"}, "weights are of the released form"),
    ],
)
def test_bad_parameters_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        method_module.read_parameters(given)


def test_what_is_not_fitted_says_so(painted: PaintedSuite) -> None:
    with pytest.raises(BenchError, match="call fit"):
        Glfa(suite=painted).reconstruct(hide_answers(record()))
