"""CineNeuron's equations (1) to (5), one test or more each, against formulas written anew in numpy.

All ten of CineNeuron's equations have a closed form, given the weights; (6) to (10) are in
`test_cine_neuron_equations_integration.py`. What no formula says is looked at by its effect: that the router learns
which modality to trust. The losses of actions and categories, which stand between (2) and (3) without numbers, and the
choice of memories after (5) are here too.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from asking import draw
from cine_world import CAPTION, CLIP, WIDTHS, make_entries, make_networks, make_recipe, seeded
from hypothesis import given
from hypothesis import strategies as st
from written_anew import gelu, linear, mix_scores, number, scatter_weights, sigmoid, softmax

from bench.toolbox.encoded import CaptionTokens
from methods.cine_neuron.alignment import Alignment, info_nce
from methods.cine_neuron.categories import category_loss, focal_loss
from methods.cine_neuron.memory import Router, make_pool, retrieve, score_entries
from methods.cine_neuron.networks import Memories
from methods.cine_neuron.targets import Targets
from methods.cine_neuron.training import measure_mixture, measure_stage1


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).sum(axis=-1, keepdims=True))


def contrast(queries: np.ndarray, targets: np.ndarray, warmth: float, same: np.ndarray | None = None) -> float:
    """(2): −1/B Σ_i log exp(f_i·e_i/τ) / Σ_j exp(f_i·e_j/τ). `same` [B]: others of one's own kind are no j."""
    f, e, total = unit(queries), unit(targets), 0.0
    for i in range(len(f)):
        others = [j for j in range(len(e)) if j == i or same is None or same[j] != same[i]]
        total -= math.log(math.exp(f[i] @ e[i] / warmth) / sum(math.exp(f[i] @ e[j] / warmth) for j in others))
    return total / len(f)


def cross_entropy(logits: np.ndarray, labels: np.ndarray, gamma: float = 0.0) -> float:
    """BCE, or with gamma the focal loss: −(1 − p)^gamma log p of the truth's probability p, the mean."""
    p = np.where(labels == 1, sigmoid(logits), 1 - sigmoid(logits))
    return float(np.mean(-((1 - p) ** gamma) * np.log(p)))


# (1) to (3): semantic enrichment


def make_alignment() -> tuple[Alignment, torch.Tensor, Targets]:
    alignment = Alignment(embedding=8, action=5, categories=3, dropout=0.5)
    targets = Targets(
        frames=draw(5, 4, 8, seed=1).double(),
        text=draw(4, 8, seed=2).double()[CAPTION],
        action=draw(5, 5, seed=3).double(),
        labels=(draw(5, 3, seed=4) > 0).double(),
        caption=CAPTION,
    )
    return scatter_weights(alignment), draw(6, 8).double(), targets


def measure_parts(alignment: Alignment, f_c: torch.Tensor, targets: Targets) -> dict[str, float]:
    """L_clip of (1), L_action and L_cls, at τ = 0.2 and gamma = 2."""
    f, clip, caption = f_c.numpy(), CLIP.numpy(), CAPTION[CLIP].numpy()
    frames, head = targets.frames.numpy()[clip], alignment.frames
    centred = frames - frames.mean(axis=2, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + head.norm.eps)
    normed = number(head.norm.weight) * normed + number(head.norm.bias)
    image = (frames + linear(gelu(linear(normed, head.enter)), head.leave)).mean(axis=1)  # phi_v
    action = linear(gelu(linear(f, alignment.action[0])), alignment.action[3])  # phi_a
    logits, labels = linear(f, alignment.categories), targets.labels.numpy()[clip]  # phi_c
    return {
        "clip": contrast(f, image, 0.2, clip) + contrast(f, targets.text.numpy()[clip], 0.2, caption),
        "action": contrast(action, targets.action.numpy()[clip], 0.2, clip),
        "cls": cross_entropy(logits, labels) + cross_entropy(logits, labels, gamma=2.0),
    }


def test_equation_1_is_the_contrast_with_images_plus_that_with_texts() -> None:
    alignment, f_c, targets = make_alignment()
    made = measure_stage1(alignment, f_c, CLIP, targets, make_recipe())
    assert made.item() == pytest.approx(measure_parts(alignment, f_c, targets)["clip"], rel=1e-9)


def test_equation_2_by_its_definition() -> None:
    f, e = draw(5, 8).double(), draw(5, 8, seed=1).double()
    assert float(info_nce(3 * f, e, 0.07)) == pytest.approx(contrast(f.numpy(), e.numpy(), 0.07), rel=1e-9)
    assert float(info_nce(f, e, 0.07)) != pytest.approx(float(info_nce(e, f, 0.07)), rel=1e-3)  # it looks one way


def test_equation_2_on_paper() -> None:
    """Two trials whose tokens are the embeddings, at right angles, τ = 1: −log e / (e + 1)."""
    assert float(info_nce(torch.eye(2), torch.eye(2), 1.0)) == pytest.approx(math.log(1 + math.exp(-1)))
    assert float(info_nce(torch.eye(2), torch.eye(2).flip(0), 1.0)) == pytest.approx(math.log(1 + math.e))


def test_trials_of_the_same_clip_are_no_wrong_answers() -> None:
    queries, targets, groups = draw(4, 8).double(), draw(4, 8, seed=1).double(), [5, 2, 5, 7]
    by_hand = contrast(queries.numpy(), targets.numpy(), 0.1, np.array(groups))
    assert float(info_nce(queries, targets, 0.1, torch.tensor(groups))) == pytest.approx(by_hand, rel=1e-9)


def test_the_category_loss_is_bce_plus_focal_loss() -> None:
    logits, labels = draw(6, 3).double(), (draw(6, 3, seed=1) > 0).double()
    plain, focal = (cross_entropy(logits.numpy(), labels.numpy(), gamma) for gamma in (0.0, 2.0))
    assert float(focal_loss(logits, labels, gamma=0.0)) == pytest.approx(plain, rel=1e-9)
    assert float(focal_loss(logits, labels)) == pytest.approx(focal, rel=1e-9)
    assert float(category_loss(logits, labels)) == pytest.approx(plain + focal, rel=1e-9)
    p = 1 / (1 + math.exp(-2.0))
    one = focal_loss(torch.tensor([[2.0]]), torch.tensor([[1.0]]))
    assert float(one) == pytest.approx(-((1 - p) ** 2) * math.log(p), rel=1e-5)


@pytest.mark.parametrize(("actions", "categories"), [(0.5, 0.0), (0.0, 3.0), (0.5, 3.0)])
def test_equation_3_weighs_actions_and_categories(actions: float, categories: float) -> None:
    alignment, f_c, targets = make_alignment()
    made = measure_stage1(alignment, f_c, CLIP, targets, make_recipe(action_weight=actions, category_weight=categories))
    parts = measure_parts(alignment, f_c, targets)
    by_hand = parts["clip"] + actions * parts["action"] + categories * parts["cls"]
    assert made.item() == pytest.approx(by_hand, rel=1e-9)


# (4) and (5): the router and the mixture score


def make_queries(trials: int, seed: int = 3) -> dict[str, torch.Tensor]:
    return {name: draw(trials, width, seed=seed + i).double() for i, (name, width) in enumerate(WIDTHS.items())}


def test_equation_4_is_the_softmax_of_a_linear_layer_of_the_mean_token() -> None:
    router, tokens = scatter_weights(Router(8, 3)), draw(4, 5, 8).double()
    made = number(router(tokens))
    np.testing.assert_allclose(made, softmax(linear(tokens.numpy().mean(axis=1), router.route)))
    np.testing.assert_allclose(made.sum(axis=1), 1)
    assert np.ptp(made, axis=0).min() > 1e-3  # it depends on the trial


def test_the_router_starts_with_equal_weights() -> None:
    assert torch.equal(Router(8, 3)(draw(4, 5, 8)), torch.full((4, 3), 1 / 3))


@given(seed=st.integers(0, 2**31), scale=st.floats(0.0, 50.0))
def test_router_weights_are_positive_and_sum_to_1(seed: int, scale: float) -> None:
    router = Router(8, 3)
    torch.nn.init.normal_(router.route.weight, std=scale, generator=seeded(seed))
    weights = router(draw(7, 5, 8, seed=seed % 1000))
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(7))


@given(entries=st.integers(1, 20), k=st.integers(1, 20), seed=st.integers(0, 1000))
def test_equation_5_and_its_k_best_entries_by_their_definition(entries: int, k: int, seed: int) -> None:
    embeddings, queries = make_entries(entries, seed), make_queries(3, seed)
    weights = draw(3, 3, seed=seed).double().softmax(dim=1)
    plain = [{name: one.numpy() for name, one in side.items()} for side in (queries, embeddings)]
    scores = mix_scores(plain[0], weights.numpy(), plain[1])
    k = min(k, entries)
    best = np.argsort(-scores, axis=1)[:, :k]
    single = ({name: one.float() for name, one in queries.items()}, weights.float(), make_pool(embeddings))
    np.testing.assert_allclose(score_entries(*single).numpy(), scores, atol=1e-6)
    found = retrieve(*single, k=k)
    np.testing.assert_allclose(found[0].numpy(), np.take_along_axis(scores, best, axis=1), atol=1e-6)
    assert np.array_equal(found[1].numpy(), best)


def test_the_global_token_asks_for_images_and_texts_and_its_action_head_for_actions() -> None:
    """The weights of (4) go with the modalities by name: here each trial's score is summed modality by modality."""
    networks, f_c, f_e = make_networks(), draw(3, 6), draw(3, 3, 8, seed=1)
    embeddings = make_entries(7)
    assert networks.router is not None
    weights = softmax(linear(f_e.double().numpy().mean(axis=1), networks.router.route))
    f = f_c.double().numpy()
    action = linear(gelu(linear(f, networks.alignment.action[0])), networks.alignment.action[3])
    queries = {"text": f, "image": f, "action": action}
    by_hand = mix_scores(queries, weights, {name: one.numpy() for name, one in embeddings.items()})
    np.testing.assert_allclose(number(networks.score(f_c, f_e, make_pool(embeddings))), by_hand, atol=1e-5)
    asked = networks.ask(f_c, f_e)
    assert list(asked[0]) == ["text", "image", "action"]


def remember_texts(pool: MemoryPool, texts: torch.Tensor, caption: torch.Tensor) -> Memories:
    return Memories(pool, CaptionTokens(texts, texts.shape[1]), caption)


def test_the_best_entry_gives_its_text_and_the_k_best_their_images_and_actions() -> None:
    """The choice after (5), and what (6) to (8) are given: top-1 text tokens, top-K embeddings, best first."""
    networks, f_c, f_e = make_networks(memories=3), draw(2, 6), draw(2, 3, 8, seed=1)
    embeddings, texts, caption = make_entries(7), draw(4, 9, 5, seed=8), torch.tensor([2, 0, 1, 3, 3, 0, 2])
    pool = make_pool(embeddings)
    scores = number(networks.score(f_c, f_e, pool))
    for own in (None, torch.from_numpy(scores.argmax(axis=1))):
        given: list[torch.Tensor] = []
        hook = networks.fusion.register_forward_pre_hook(lambda module, parts, given=given: given.extend(parts))
        networks.make_condition(f_c, f_e, remember_texts(pool, texts, caption), exclude=own)
        hook.remove()
        best = np.argsort(-scores, axis=1)[:, own is not None :][:, :3]  # in training, without one's own clip
        tokens, images, actions, text = given
        torch.testing.assert_close(tokens, f_e)
        torch.testing.assert_close(text, texts[caption[best[:, 0]]])
        torch.testing.assert_close(images, torch.from_numpy(unit(embeddings["image"].numpy())[best]).float())
        torch.testing.assert_close(actions, torch.from_numpy(unit(embeddings["action"].numpy())[best]).float())


def test_a_trial_that_is_told_its_caption_is_given_that_text_and_the_memories_that_it_found() -> None:
    networks, f_c, f_e = make_networks(memories=3), draw(2, 6), draw(2, 3, 8, seed=1)
    texts, caption = draw(4, 9, 5, seed=8), torch.tensor([2, 0, 1, 3, 3, 0, 2])
    memories = remember_texts(make_pool(make_entries(7)), texts, caption)
    given: list[torch.Tensor] = []
    networks.fusion.register_forward_pre_hook(lambda module, parts: given.extend(parts))
    networks.make_condition(f_c, f_e, memories)
    networks.make_condition(f_c, f_e, memories, told=torch.tensor([2, -1]))
    torch.testing.assert_close(given[5], given[1])
    torch.testing.assert_close(given[7], torch.stack([texts[1], given[3][1]]))
    assert not torch.equal(given[3][0], texts[1])


@pytest.mark.parametrize("honest", ["text", "image", "action"])
def test_the_router_learns_which_modality_to_trust(honest: str) -> None:
    """One modality's queries point at the right entries, the others at random ones; its weight grows towards 1."""
    right, router = make_entries(12), Router(8, 3)
    tokens, queries = draw(12, 2, 8, seed=30), make_queries(12, seed=40)
    queries[honest] = right[honest]
    networks = SimpleNamespace(
        score=lambda f_c, f_e, pool: score_entries({n: one.float() for n, one in queries.items()}, router(f_e), pool)
    )
    memories = remember_texts(make_pool(right), draw(12, 3, 5), torch.arange(12))
    optimiser = torch.optim.Adam(router.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        measure_mixture(networks, tokens, tokens, torch.arange(12), memories, 0.1).backward()  # type: ignore[arg-type]
        optimiser.step()
    place = list(WIDTHS).index(honest)
    assert (router(tokens).argmax(dim=1) == place).all() and router(tokens)[:, place].mean() > 0.8
