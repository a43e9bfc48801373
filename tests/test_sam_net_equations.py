"""SAM-Net's equations (1) to (11), one test or more each, against formulas written anew in numpy or plain autograd.

All eleven have a closed form, given the weights. Where an equation only names a goal, the test is of its solution: (9)
and (11) are least squares, solved here by another routine; the game of (7) and (8) has no solution to compare with, so
the gradient of every step is compared, and its effect is looked at in a world of two channels. What the paper does not
number is here where it stands between two equations: the augmentation, f_i and d(i, j), the loss of stage 1, and our
`rescale` of New2Source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw, hide_answers
from sam_world import FakeSuite, World
from torch import nn
from written_anew import (
    attend,
    batch_norm,
    convolve,
    gelu,
    layer_norm,
    linear,
    number,
    relu,
    scatter_weights,
    sigmoid,
    softmax,
    transform,
)

from methods.sam_net.augmentation import augment
from methods.sam_net.covariance import ChannelMap, apply_map
from methods.sam_net.hrt import ElectrodeAttention, HybridRegionTemporalEncoder, RegionExtractors, TemporalPerception
from methods.sam_net.method import SamNet
from methods.sam_net.new2source import Sources, fit_channel_map, gather_sources, map_new_to_source
from methods.sam_net.subjects import (
    Stage,
    SubjectClassifier,
    find_centre,
    mean_trials,
    measure_similarity,
    order_subjects,
    plan_stages,
    reverse_gradient,
    subject_loss,
)
from methods.sam_net.training import Examples, Recipe, train_decoder

# Two electrodes and more a region, in no order of regions
ELECTRODES = ("OZ", "FZ", "C3", "P4", "T7", "CZ", "F3", "O1", "PZ", "FP1", "TP8")
REGIONS = (("FZ", "F3", "FP1"), ("P4", "PZ"), ("C3", "CZ"), ("T7", "TP8"), ("OZ", "O1"))  # Fro, Par, Cen, Tem, Occ


def draw_signals(trials: int = 4, samples: int = 40, channels: int = len(ELECTRODES)) -> torch.Tensor:
    return draw(trials, channels, samples).double() + 0.3


# The augmentation: RD(E + N(mu, sigma^2))


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


# (1) electrode attention


def weigh(signals: np.ndarray, attention: ElectrodeAttention) -> np.ndarray:
    """σ(L(ReLU(L(AP(E))))), AP the mean over time: a weight for each electrode."""
    return sigmoid(linear(relu(linear(signals.mean(axis=2), attention.gate[0])), attention.gate[2]))


def test_equation_1_weighs_each_electrode_of_each_trial() -> None:
    attention, signals = scatter_weights(ElectrodeAttention(8, pool="mean")), draw_signals(channels=8)
    weights = weigh(signals.numpy(), attention)
    assert np.ptp(weights, axis=0).min() > 1e-4  # they differ from trial to trial
    np.testing.assert_allclose(number(attention.weigh(signals)), weights)
    np.testing.assert_allclose(number(attention(signals)), weights[:, :, None] * signals.numpy())


def test_mean_pooling_cannot_see_a_change_of_power_and_log_power_can() -> None:
    wave = torch.sin(torch.linspace(0, 2 * torch.pi, 101)[:-1]).expand(1, 62, 100)
    gates = {pool: ElectrodeAttention(62, pool=pool) for pool in ("mean", "log_power")}
    with torch.no_grad():
        gain = {pool: gate(3 * wave).abs().max() / gate(wave).abs().max() for pool, gate in gates.items()}
    assert float(gain["mean"]) == pytest.approx(3, abs=1e-4)
    assert abs(float(gain["log_power"]) - 3) > 1e-2


# (2) division into regions


def make_encoder(**changes: Any) -> HybridRegionTemporalEncoder:
    options: dict[str, Any] = {
        "regions": ("frontal", "parietal", "central", "temporal", "occipital"), "attention_pool": "mean", "filters": 3,
        "kernel": 5, "stride": 2, "width": 8, "queries": 3, "layers": 2, "heads": 2, "dropout": 0.4,
    }  # fmt: skip
    encoder = HybridRegionTemporalEncoder(ELECTRODES, 40, **{**options, **changes})
    return scatter_weights(encoder)


def test_equation_2_gives_each_extractor_its_own_region_s_weighted_electrodes() -> None:
    encoder, signals = make_encoder(), draw_signals()
    received: list[np.ndarray] = []
    for extractor in encoder.extractors.extractors:
        extractor.register_forward_pre_hook(lambda module, given: received.append(number(given[0])))
    encoder(signals)
    columns = [ELECTRODES.index(name) for region in REGIONS for name in region]
    weighted = signals.numpy()[:, columns] * weigh(signals.numpy()[:, columns], encoder.attention)[:, :, None]
    ends = np.cumsum([len(region) for region in REGIONS])
    for got, expected in zip(received, np.split(weighted, ends[:-1], axis=1), strict=True):
        np.testing.assert_allclose(got, expected)


def test_a_region_that_is_left_out_is_not_read() -> None:
    encoder, signals = make_encoder(regions=("frontal", "occipital")), draw_signals().requires_grad_()
    encoder(signals).square().sum().backward()
    assert signals.grad is not None
    read = {name for name, one in zip(ELECTRODES, signals.grad.abs().sum(dim=(0, 2)), strict=True) if one > 0}
    assert read == {*REGIONS[0], *REGIONS[4]}


# (3) extractors of the regions


def extract(signals: np.ndarray, extractors: RegionExtractors) -> np.ndarray:
    """L(‖ D(BN(GELU(Conv(E_i))))), D the identity outside of training: [n, step, width]."""
    parts, start = [], 0
    for (conv, _, norm, _), size in zip(extractors.extractors, extractors.sizes, strict=True):
        parts.append(batch_norm(gelu(convolve(signals[:, start : start + size], conv)), norm))
        start += size
    return linear(np.concatenate(parts, axis=1).transpose(0, 2, 1), extractors.project)


def make_extractors(**changes: Any) -> RegionExtractors:
    options: dict[str, Any] = {"filters": 4, "kernel": 5, "stride": 3, "width": 6, "dropout": 0.5}
    return scatter_weights(RegionExtractors((3, 2, 4), **{**options, **changes}))


def test_equation_3_is_convolution_gelu_batch_norm_then_one_linear_layer_over_all_regions() -> None:
    extractors, signals = make_extractors(), draw_signals(channels=9)
    made = number(extractors(signals))
    assert made.shape == (4, 14, 6)  # ⌈40 / 3⌉ steps
    np.testing.assert_allclose(made, extract(signals.numpy(), extractors))


def test_in_training_equation_3_normalises_by_the_batch_and_drops_out() -> None:
    extractors, signals = make_extractors(dropout=0.0).train(), draw_signals(channels=9)
    with torch.no_grad():
        made = number(extractors(signals))
        for _, _, norm, _ in extractors.extractors:  # a plain reading of the statistics that training used
            norm.running_mean.zero_(), norm.running_var.fill_(1)
        start = 0
        for (conv, _, norm, _), size in zip(extractors.extractors, extractors.sizes, strict=True):
            seen = gelu(convolve(signals.numpy()[:, start : start + size], conv))
            norm.running_mean.copy_(torch.from_numpy(seen.mean(axis=(0, 2))))
            norm.running_var.copy_(torch.from_numpy(seen.var(axis=(0, 2))))
            start += size
    np.testing.assert_allclose(made, extract(signals.numpy(), extractors))


def test_in_training_equation_3_drops_half_of_the_regions_features_and_doubles_the_others() -> None:
    extractors, signals, seen = make_extractors(dropout=0.5).train(), draw_signals(channels=9), []
    extractors.project.register_forward_pre_hook(lambda module, given: seen.append(number(given[0])))
    extractors(signals)
    for _, _, _, dropout in extractors.extractors:
        dropout.p = 0.0
    extractors(signals)
    thinned, whole = seen
    dropped = thinned == 0
    assert abs(dropped.mean() - 0.5) < 0.08
    np.testing.assert_allclose(thinned[~dropped], 2 * whole[~dropped])


# (4) multi-scale temporal perception


def perceive(spatial: np.ndarray, temporal: TemporalPerception) -> np.ndarray:
    """Learned queries attend to keys convolved by kernels of 5, 11 and 21, then to each other; L times."""
    key = linear(spatial, temporal.key).transpose(0, 2, 1)
    scales = dict(zip((5, 11, 21), temporal.scales, strict=True))
    assert all(layer.kernel_size == (kernel,) for kernel, layer in scales.items())
    key = np.concatenate([convolve(key, layer) for layer in scales.values()], axis=1).transpose(0, 2, 1)
    key = key + number(temporal.position)  # ours: the paper's keys do not know when they are
    value = linear(spatial, temporal.value)
    state = np.repeat(number(temporal.queries)[None], len(spatial), axis=0)
    for norm, layer in zip(temporal.norms, temporal.layers, strict=True):
        state = transform(state + attend(layer_norm(state, norm), key, value, temporal.heads), layer)
    return state


@pytest.mark.parametrize(("heads", "layers"), [(1, 1), (2, 3)])
def test_equation_4_attends_to_keys_of_three_time_scales(heads: int, layers: int) -> None:
    temporal = TemporalPerception(14, width=8, queries=3, layers=layers, heads=heads, dropout=0.4)
    scatter_weights(temporal)
    spatial = draw(4, 14, 8).double()
    np.testing.assert_allclose(number(temporal(spatial)), perceive(spatial.numpy(), temporal))


def test_equations_1_to_4_in_a_row_are_the_encoder() -> None:
    encoder, signals = make_encoder(), draw_signals()
    mine = signals.numpy()[:, [ELECTRODES.index(name) for region in REGIONS for name in region]]
    mine = mine * weigh(mine, encoder.attention)[:, :, None]
    np.testing.assert_allclose(number(encoder(signals)), perceive(extract(mine, encoder.extractors), encoder.temporal))


# f_i and d(i, j), (5) and (6): the centre and the order of joining


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_f_i_is_the_mean_of_the_subject_s_own_trials() -> None:
    signals = torch.arange(24.0).reshape(4, 2, 3)
    means = mean_trials(signals, torch.tensor([0, 1, 0, 1]), 2)
    assert np.allclose(means, [[6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17]])


@pytest.mark.parametrize("seed", range(5))
def test_equations_5_and_6_by_their_definition(seed: int) -> None:
    features = np.random.default_rng(seed).normal(size=(7, 5)) + 0.5
    similarity = measure_similarity(features)
    sim = [[cosine(a, b) for b in features] for a in features]
    np.testing.assert_allclose(similarity, sim)
    averages = [sum(sim[i][j] for j in range(7) if j != i) / 6 for i in range(7)]
    centre = averages.index(max(averages))
    assert find_centre(similarity) == centre
    joined, rest = [centre], [one for one in range(7) if one != centre]
    while rest:
        nearest = min(rest, key=lambda r: min(1 - sim[r][c] for c in joined))
        joined.append(nearest)
        rest.remove(nearest)
    assert order_subjects(similarity, centre) == joined


def test_equations_5_and_6_on_paper() -> None:
    angles = np.deg2rad([0.0, 10.0, 70.0, 35.0])  # subject 3 lies in the middle; then 1, 0, 2 are 25, 10 and 35 away
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([[1.0], [5.0], [2.0], [0.1]])
    similarity = measure_similarity(features)
    assert similarity[0, 2] == pytest.approx(np.cos(np.deg2rad(70)))
    assert find_centre(similarity) == 3
    assert order_subjects(similarity, 3) == [3, 1, 0, 2]
    assert order_subjects(similarity, 2) == [2, 3, 1, 0]


TINY: dict[str, Any] = {
    "epochs": 0.2, "width": 8, "queries": 2, "layers": 1, "heads": 2, "filters": 2, "adversary_width": 4,
    "concept_rank": 3, "text_rank": 4, "latent_rank": 4,
}  # fmt: skip


@pytest.mark.parametrize(("centred", "order"), [(True, (7, 2, 1, 5)), (False, (1, 2, 7, 5))])
def test_fitting_starts_with_the_central_subject_and_goes_on_to_the_nearest(
    centred: bool, order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Subjects whose mean trials lie at 0, 10, 70 and 35 degrees, as on paper above; without a centre 1 is first."""
    recorded = World(subjects=(1, 2, 5, 7), clips=8, noise=0.1).record()
    axes = 30 * np.random.default_rng(3).standard_normal((2, 62, 80))
    angles = np.deg2rad([{1: 0.0, 2: 10.0, 5: 70.0, 7: 35.0}[one] for one in recorded.subject.tolist()])
    brain = recorded.brain + np.einsum("na,act->nct", np.stack([np.cos(angles), np.sin(angles)], 1), axes)
    train = replace(recorded, brain=brain.astype(np.float32))
    planned: list[Any] = []
    monkeypatch.setattr("methods.sam_net.method.train_decoder", lambda *given, **options: planned.append(given))
    method = SamNet(suite=FakeSuite(), centred=centred, **TINY)
    method.fit(train, train)
    assert method.order == order
    ((_, classifier, examples, stages, _),) = planned
    assert isinstance(classifier, SubjectClassifier) and classifier.layers[-1].out_features == 4
    numbers = {one: int(train.subject[(examples.subject == one).nonzero()[0, 0]]) for one in range(4)}
    joined = [{numbers[one] for one in stage.subjects} for stage in stages]
    assert joined == [set(order[: size + 1]) for size in range(4)]


def test_without_lambda_there_is_no_classifier_and_without_progress_one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, planned = World(subjects=(1, 2, 5), clips=8).record(), []
    monkeypatch.setattr("methods.sam_net.method.train_decoder", lambda *given, **options: planned.append(given))
    method = SamNet(suite=FakeSuite(), adversary=0.0, progressive=False, **TINY)
    method.fit(recorded, recorded)
    ((decoder, classifier, examples, stages, _),) = planned
    assert classifier is None
    assert [set(stage.subjects) for stage in stages] == [{0, 1, 2}]
    captions = [recorded.captions[clip] for clip in recorded.clip]  # each trial learns its own clip's text
    torch.testing.assert_close(decoder.text.expand(examples.text), FakeSuite().encode_text(captions), atol=1e-4, rtol=0)


class Recorder(nn.Module):
    """In the decoder's place: features are a mixture of a trial's channels; what goes in and comes back is kept."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.mixture = nn.Parameter(draw(channels, features, seed=1).double())
        self.read = scatter_weights(nn.Linear(features, 1))
        self.text = self.latents = SimpleNamespace(weights=torch.ones(1, dtype=torch.float64))
        self.rows: list[torch.Tensor] = []
        self.features: list[torch.Tensor] = []
        self.gradients: list[torch.Tensor] = []
        self.text_gradients: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, signals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features = (signals.mean(dim=2) @ self.mixture)[:, None]
        text = self.read(features[:, 0])
        self.rows.append(signals.detach())
        self.features.append(features.detach().clone())
        if features.requires_grad:
            features.register_hook(self.gradients.append)
            text.register_hook(lambda gradient: self.text_gradients.append((text.detach(), gradient)))
        return features, text, text


def make_recipe(**changes: Any) -> Recipe:
    plain: dict[str, Any] = {
        "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.0, "adversary": 0.4, "text_weight": 0.0,
        "latent_weight": 0.0, "noise_mean": 0.0, "noise_deviation": 0.0, "electrode_dropout": 0.0,
    }  # fmt: skip
    return Recipe(**{**plain, **changes})


def train(
    decoder: Recorder, classifier: nn.Module | None, examples: Examples, stages: Sequence[Stage], recipe: Recipe
) -> None:
    generators = {name: torch.Generator().manual_seed(7) for name in ("batches", "augmentation")}
    train_decoder(decoder, classifier, examples, stages, recipe, **generators, phase="training")  # type: ignore[arg-type]


def make_examples(subjects: int = 3, trials: int = 8) -> Examples:
    """The last channel of a trial holds its subject's number, and each subject lies elsewhere in the others."""
    subject = torch.arange(subjects).repeat_interleave(trials)
    signals = draw(len(subject), 5, 6).double() + draw(subjects, 5, 1, seed=9).double()[subject]
    signals[:, -1] = subject[:, None].double()
    target = draw(len(subject), 1, seed=2).double()
    return Examples(signals=signals, subject=subject, text=target, latents=target)


def test_training_sees_the_centre_first_and_the_others_as_they_join() -> None:
    decoder, examples = Recorder(5, 3), make_examples()
    stages = plan_stages([2, 0, 1], steps=24, progressive=True, last_share=0.5)
    train(decoder, None, examples, stages, make_recipe())
    seen = [set(signals[:, -1, 0].int().tolist()) for signals in decoder.rows]
    steps = [stage.steps for stage in stages]
    assert steps == [4, 8, 12] and len(seen) == 24
    assert set.union(*seen[:4]) == {2} and set.union(*seen[4:12]) == {2, 0} and set.union(*seen[12:]) == {0, 1, 2}


# (7) and (8): the adversary


def test_equation_7_is_the_cross_entropy_over_the_subjects_of_the_stage() -> None:
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


def test_equation_8_is_the_identity_forward_and_minus_lambda_backward() -> None:
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.arange(15.0).reshape(5, 3)
    reversed_features = reverse_gradient(features, 0.3)
    assert torch.equal(reversed_features, features)
    (reversed_features * weights).sum().backward()
    assert features.grad is not None
    assert torch.allclose(features.grad, -0.3 * weights)


def classify(features: np.ndarray, weights: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The classifier's hidden layer and its logits."""
    hidden = relu(features @ weights["layers.0.weight"].T + weights["layers.0.bias"])
    return hidden, hidden @ weights["layers.2.weight"].T + weights["layers.2.bias"]


def test_the_encoder_climbs_the_subject_loss_that_the_classifier_descends() -> None:
    """At every step, by the chain rule on paper: dL/df is −λ times what it would be, dL/dW of the classifier is itself.

    λ grows along 2 / (1 + exp(−10 p)) − 1, and subjects that have not joined have no part in the softmax.
    """
    decoder, examples = Recorder(5, 3), make_examples()
    classifier = scatter_weights(SubjectClassifier(3, 3, hidden=6))
    weights: list[dict[str, np.ndarray]] = []
    own: list[np.ndarray] = []
    classifier.register_forward_pre_hook(
        lambda module, given: weights.append({n: number(one).copy() for n, one in module.state_dict().items()})
    )
    classifier.layers[2].weight.register_hook(lambda gradient: own.append(number(gradient).copy()))
    stages = [Stage((2,), 3), Stage((2, 0), 5), Stage((2, 0, 1), 8)]
    train(decoder, classifier, examples, stages, make_recipe())
    assert len(decoder.gradients) == 16 and len(own) == 13  # alone, the centre has nothing to hide
    for step, gradient in enumerate(decoder.gradients):
        if step < 3:
            assert (gradient == 0).all()
            continue
        features, at = number(decoder.features[step][:, 0]), weights[step - 3]
        joined = [0, 2] if step < 8 else [0, 1, 2]
        subject = decoder.rows[step][:, -1, 0].int().numpy()
        hidden, logits = classify(features, at)
        wrong = np.zeros((len(features), 3))
        wrong[:, joined] = softmax(logits[:, joined]) - (subject[:, None] == joined)
        wrong /= len(features)
        plain = (wrong @ at["layers.2.weight"] * (hidden > 0)) @ at["layers.0.weight"]
        growth = 2 / (1 + np.exp(-10 * step / 16)) - 1
        np.testing.assert_allclose(number(gradient[:, 0]), -0.4 * growth * plain, atol=1e-12)
        np.testing.assert_allclose(own[step - 3], wrong.T @ hidden, atol=1e-12)
        assert (number(gradient[:, 0]) * plain).sum() < 0


def test_without_an_adversary_no_subject_s_gradient_reaches_the_features() -> None:
    decoder, examples = Recorder(5, 3), make_examples()
    train(decoder, None, examples, [Stage((0, 1, 2), 5)], make_recipe())
    assert all((gradient == 0).all() for gradient in decoder.gradients)


def test_the_encoder_moves_away_from_what_a_classifier_knows_and_keeps_the_target() -> None:
    """Channel 0 tells the target, channel 1 the subject, and a classifier that is held fast reads the subject well."""
    trials = 64
    subject = torch.arange(2).repeat_interleave(trials // 2)
    target = draw(trials, 1, seed=3).double()
    signals = torch.stack([target[:, 0], 2.0 * subject - 1], dim=1)[:, :, None].expand(-1, -1, 4).clone()
    examples = Examples(signals=signals, subject=subject, text=target, latents=target)
    confusion, error = {}, {}
    for adversary in (0.0, 1.0):
        decoder, classifier = Recorder(2, 4), SubjectClassifier(4, 2, hidden=2).double().requires_grad_(False)
        side = decoder.mixture[1].detach()  # where the features of subject 1 lie, those of 0 on the other side
        classifier.layers[0].weight.copy_(torch.stack([-side, side]))
        classifier.layers[0].bias.zero_()
        classifier.layers[2].weight.copy_(torch.eye(2))
        recipe = make_recipe(adversary=adversary, text_weight=1.0, batch_size=trials, learning_rate=0.03)
        train(decoder, classifier, examples, [Stage((0, 1), 200)], recipe)
        with torch.no_grad():
            features, text, _ = decoder(signals)
            confusion[adversary] = float(nn.functional.cross_entropy(classifier(features), subject))
            error[adversary] = float((text - target).square().mean())
    assert confusion[0.0] < np.log(2) and confusion[1.0] > 3  # log 2: knowing nothing; above it: surely wrong
    assert max(error.values()) < 0.01


def test_the_loss_of_stage_1_adds_the_errors_of_both_targets() -> None:
    """d/dtext of text_weight MSE + latent_weight MSE, both read from the same output here, is their sum's."""
    decoder, examples = Recorder(5, 3), make_examples()
    train(decoder, None, examples, [Stage((0, 1, 2), 3)], make_recipe(text_weight=0.5, latent_weight=2.0))
    assert len(decoder.text_gradients) == 3
    for signals, (text, gradient) in zip(decoder.rows, decoder.text_gradients, strict=True):
        shown = [int((examples.signals == one).all(dim=(1, 2)).nonzero()[0, 0]) for one in signals]
        expected = (0.5 + 2.0) * 2 * (text - examples.text[shown]) / len(text)
        torch.testing.assert_close(gradient, expected)


# (9) to (11): New2Source


def flatten(signals: torch.Tensor) -> np.ndarray:
    return np.concatenate(list(signals.double().numpy()), axis=1)  # [channel, trial × time]


def solve_map(inputs: torch.Tensor, targets: torch.Tensor, ridge: float) -> np.ndarray:
    """argmin MSE of a channel map, by least squares over the samples and over `ridge` samples that say "identity"."""
    x, y = flatten(inputs), flatten(targets)
    pull = np.sqrt(ridge * (x**2).mean() * x.shape[1]) * np.eye(len(x))
    return np.linalg.lstsq(np.hstack([x, pull]).T, np.hstack([y, pull]).T, rcond=None)[0].T


def make_pairs() -> tuple[torch.Tensor, torch.Tensor, list[str], list[str]]:
    """Three known subjects on eight clips, a new one on three of them: signals and names of the clips of both."""
    names = [f"clip{number}" for number in range(8)]
    known = draw(8, 5, 30, seed=1).repeat(3, 1, 1) + draw(24, 5, 30, seed=2)
    mixture = torch.eye(5) + 0.4 * draw(5, 5, seed=3)
    calibrated = [5, 0, 2]
    new = mixture @ known[calibrated] + 0.5 * draw(3, 5, 30, seed=4)
    return known, new, names * 3, [names[clip] for clip in calibrated]


def gather(known: torch.Tensor, clips: list[str], source: str = "mean") -> Sources:
    return gather_sources(known, clips, torch.arange(3).repeat_interleave(8), source=source)


def test_equation_9_is_the_least_squares_map_between_trials_of_the_same_clip() -> None:
    x, y = draw(5, 4, 30).double(), draw(5, 4, 30, seed=1).double()
    made = fit_channel_map(x, y, ridge=0.2).numpy()
    np.testing.assert_allclose(made, solve_map(x, y, 0.2), atol=1e-10)
    errors = [np.mean((flatten(y) - near @ flatten(x)) ** 2) for near in (made, made + 1e-3, made - 1e-3, np.eye(4))]
    exact = fit_channel_map(x, y, ridge=0.0).numpy()
    assert np.mean((flatten(y) - exact @ flatten(x)) ** 2) < min(errors)  # the MSE of (9) itself, without the ridge


@pytest.mark.parametrize("source", ["mean", "each"])
def test_equations_9_to_11_by_hand(source: str) -> None:
    """Source2New on the calibrated clips, simulated trials of all other clips, New2Source on both kinds together."""
    known, new, clips, calibrated = make_pairs()
    sources = gather(known, clips, source)
    made = map_new_to_source(sources, new, calibrated, ridge=0.1, rescale=False).numpy()
    by_clip = known.reshape(3, 8, 5, 30)
    shared, others = [5, 0, 2], [1, 3, 4, 6, 7]
    if source == "mean":
        paired, rest, real = by_clip.mean(dim=0)[shared], by_clip.mean(dim=0)[others], new
    else:
        paired, rest = by_clip[:, shared].flatten(0, 1), by_clip[:, others].flatten(0, 1)
        real = new.repeat(3, 1, 1)
    to_new = solve_map(paired, real, 0.1)  # (9)
    simulated = torch.from_numpy(to_new).float() @ rest  # (10)
    expected = solve_map(torch.cat([simulated, real]), torch.cat([rest, paired]), 0.1)  # (11)
    np.testing.assert_allclose(made, expected, atol=1e-5)


def test_equation_11_without_other_clips_is_the_map_of_the_real_trials() -> None:
    known, new, clips, calibrated = make_pairs()
    few = [row for row, clip in enumerate(clips) if clip in calibrated]
    subject = torch.arange(3).repeat_interleave(3)
    sources = gather_sources(known[few], [clips[row] for row in few], subject, source="mean")
    made = map_new_to_source(sources, new, calibrated, ridge=0.1, rescale=False).numpy()
    np.testing.assert_allclose(made, solve_map(new, known.reshape(3, 8, 5, 30).mean(dim=0)[[5, 0, 2]], 0.1), atol=1e-5)


def test_new2source_recovers_a_planted_mixture() -> None:
    generator = torch.Generator().manual_seed(0)
    clips = [f"clip{n}" for n in range(60)]
    shared = torch.randn(60, 10, 50, generator=generator)
    signals = torch.cat([shared + 0.1 * torch.randn(60, 10, 50, generator=generator) for _ in range(3)])
    sources = gather_sources(signals, clips * 3, torch.arange(3).repeat_interleave(60), source="mean")
    mixture = torch.eye(10) + 0.1 * torch.randn(10, 10, generator=generator)
    new = apply_map(mixture, shared + 0.1 * torch.randn(60, 10, 50, generator=generator))
    learned = map_new_to_source(sources, new[:9], clips[:9], ridge=1e-3, rescale=False)
    assert (learned.float() @ mixture - torch.eye(10)).abs().max() < 0.05
    rest = slice(9, None)
    error = (apply_map(learned, new[rest]) - shared[rest]).square().mean()
    assert error < 0.2 * (new[rest] - shared[rest]).square().mean()


def spread(signals: torch.Tensor) -> np.ndarray:
    return np.sqrt((flatten(signals) ** 2).mean(axis=1))


def test_rescaled_new2source_gives_each_channel_the_known_subjects_deviation() -> None:
    """After the map the calibration trials deviate as single trials of the known subjects do, channel by channel.

    Known subjects differ in gain, so their covariances are averaged and not their trials; the new one has other gains.
    """
    known, new, clips, calibrated = make_pairs()
    gains = torch.tensor([0.5, 1.0, 3.0]).repeat_interleave(8)[:, None, None]
    channels = torch.tensor([0.2, 1.0, 2.0, 5.0, 0.7])[:, None]
    known, new = known * gains * channels.flip(0), new * channels
    wanted = np.sqrt(np.mean([spread(part) ** 2 for part in known.split(8)], axis=0))
    maps: dict[bool, ChannelMap] = {
        rescale: map_new_to_source(gather(known, clips), new, calibrated, ridge=0.1, rescale=rescale)
        for rescale in (True, False)
    }
    np.testing.assert_allclose(spread(apply_map(maps[True], new)), wanted, rtol=1e-5)
    plain = spread(apply_map(maps[False], new))
    assert (abs(plain / wanted - 1) > 0.1).all()  # which a regression alone does not give
    np.testing.assert_allclose(maps[True], (wanted / plain)[:, None] * maps[False].numpy(), rtol=1e-5)


def test_a_new_subject_s_trials_and_no_others_are_mapped_before_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(subjects=(1, 2), clips=8)
    method = SamNet(suite=FakeSuite(), **TINY)
    method.fit(world.record(), world.record(first_clip=50))
    calibration = world.record(subjects=(9,))
    method.adapt(calibration)
    assert set(method.maps) == {9}
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(method, "to_encoder", lambda signals: seen.append(signals.clone()) or signals)
    both = world.record(first_clip=70, subjects=(2, 9))
    method.decode(hide_answers(both))
    plain = method.prepare(both.brain, both.sampling_rate)
    mapped = torch.from_numpy(np.einsum("dc,nct->ndt", method.maps[9].numpy(), plain[8:].numpy())).float()
    torch.testing.assert_close(seen[0], torch.cat([plain[:8], mapped]), atol=1e-4, rtol=1e-4)
    trained = method.prepare(world.record().brain, 40.0).split(8)
    known = np.mean([spread(part) ** 2 for part in trained], axis=0)
    own = spread(apply_map(method.maps[9], method.prepare(calibration.brain, 40.0)))
    np.testing.assert_allclose(own, np.sqrt(known), rtol=1e-4)
