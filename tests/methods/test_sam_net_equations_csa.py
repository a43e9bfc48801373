"""SAM-Net's equations (5) to (8), C-SA: the centre, the order of joining, and the adversary.

(5) to (7) are compared with their definitions. The game of (7) and (8) has no solution to compare with, so the gradient
of every step is, by the chain rule on paper, and its effect is looked at in a world of two channels. f_i, d(i, j) and
the loss of stage 1, which have no number, are here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw
from sam_world import FakeSuite, World
from torch import nn
from written_anew import (
    number,
    relu,
    scatter_weights,
    softmax,
)

from methods.sam_net.method import SamNet
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
from methods.sam_net.views import Views

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


@pytest.mark.parametrize("centred", [True, False])
def test_fitting_starts_with_the_central_subject_and_goes_on_to_the_nearest(
    centred: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Subjects whose mean trials lie at 0, 10, 70 and 35 degrees, as on paper above; else any other starts."""
    recorded = World(subjects=(1, 2, 5, 7), clips=8, noise=0.1).record()
    axes = 30 * np.random.default_rng(3).standard_normal((2, 62, 80))
    angles = np.deg2rad([{1: 0.0, 2: 10.0, 5: 70.0, 7: 35.0}[one] for one in recorded.subject.tolist()])
    brain = recorded.brain + np.einsum("na,act->nct", np.stack([np.cos(angles), np.sin(angles)], 1), axes)
    train = replace(recorded, brain=brain.astype(np.float32))
    planned: list[Any] = []
    monkeypatch.setattr("methods.sam_net.method.train_decoder", lambda *given, **options: planned.append(given))
    orders = {7: (7, 2, 1, 5), 1: (1, 2, 7, 5), 2: (2, 1, 7, 5), 5: (5, 7, 2, 1)}
    started = set()
    for seed in range(1 if centred else 8):
        method = SamNet(suite=FakeSuite(), seed=seed, centred=centred, **TINY)
        method.fit(train, train)
        assert method.order == orders[method.order[0]]
        started.add(method.order[0])
        _, classifiers, examples, stages, _ = planned.pop()
        assert [one.layers[-1].out_features for one in classifiers] == [4, 4]  # one for each encoder
        numbers = {one: int(train.subject[(examples.subject == one).nonzero()[0, 0]]) for one in range(4)}
        joined = [{numbers[one] for one in stage.subjects} for stage in stages]
        assert joined == [set(method.order[: size + 1]) for size in range(4)]
    assert started == {7} if centred else 7 not in started and len(started) > 1


def test_without_lambda_there_is_no_classifier_and_without_progress_one_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, planned = World(subjects=(1, 2, 5), clips=8).record(), []
    monkeypatch.setattr("methods.sam_net.method.train_decoder", lambda *given, **options: planned.append(given))
    method = SamNet(suite=FakeSuite(), adversary=0.0, progressive=False, **TINY)
    method.fit(recorded, recorded)
    ((decoder, classifiers, examples, stages, _),) = planned
    assert classifiers == []
    assert [set(stage.subjects) for stage in stages] == [{0, 1, 2}]
    captions = 2 * [recorded.captions[clip] for clip in recorded.clip]  # each trial learns its own clip's text
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

    def forward(self, views: Views) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        signals = views.waveforms
        features = (signals.mean(dim=2) @ self.mixture)[:, None]
        text = self.read(features[:, 0])
        self.rows.append(signals.detach())
        self.features.append(features.detach().clone())
        if features.requires_grad:
            features.register_hook(self.gradients.append)
            text.register_hook(lambda gradient: self.text_gradients.append((text.detach(), gradient)))
        return [features], text, text


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
    classifiers = [] if classifier is None else [classifier]
    train_decoder(decoder, classifiers, examples, stages, recipe, **generators, phase="training")  # type: ignore[arg-type]


def make_examples(subjects: int = 3, trials: int = 8) -> Examples:
    """The last channel of a trial holds its subject's number, and each subject lies elsewhere in the others."""
    subject = torch.arange(subjects).repeat_interleave(trials)
    signals = draw(len(subject), 5, 6).double() + draw(subjects, 5, 1, seed=9).double()[subject]
    signals[:, -1] = subject[:, None].double()
    target = draw(len(subject), 1, seed=2).double()
    return Examples(views=Views(signals, None), subject=subject, text=target, latents=target)


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
    examples = Examples(views=Views(signals, None), subject=subject, text=target, latents=target)
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
            (features,), text, _ = decoder(Views(signals, None))
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
        shown = [int((examples.views.waveforms == one).all(dim=(1, 2)).nonzero()[0, 0]) for one in signals]
        expected = (0.5 + 2.0) * 2 * (text - examples.text[shown]) / len(text)
        torch.testing.assert_close(gradient, expected)
