"""CineNeuron's equations (1) to (10), one test or more each, against formulas written anew in numpy.

All have a closed form, given the weights, with two limits. (9) is an expectation over noise and time: it is compared at
the noise and the time that were drawn, for both decoders, with networks that are themselves a formula. What no formula
says is looked at by its effect: that the router learns which modality to trust. The losses of actions and categories,
which stand between (2) and (3) without numbers, and the choice of memories after (5) are here too.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw
from cine_world import SMALL, FakeSuite, World, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from written_anew import attend, gelu, linear, number, scatter_weights, sigmoid, softmax

from bench.pretrained.video_decoders import AnimateDiffDecoder, WanDecoder
from methods.cine_neuron import method as method_module
from methods.cine_neuron.alignment import Alignment, info_nce
from methods.cine_neuron.categories import category_loss, focal_loss
from methods.cine_neuron.integration import Fusion
from methods.cine_neuron.memory import Router, make_pool, retrieve, score_entries
from methods.cine_neuron.networks import Networks, Parameters, build_networks, make_memories
from methods.cine_neuron.targets import Targets
from methods.cine_neuron.training import Recipe, measure_mixture, measure_stage1, train_stage2


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

CLIP = torch.tensor([0, 3, 1, 0, 2, 4])  # of six trials: the first clip was seen twice
CAPTION = torch.tensor([0, 1, 0, 2, 3])  # of five clips: two have the same words


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


def make_recipe(**changes: Any) -> Recipe:
    plain: dict[str, Any] = {
        "temperature": 0.2, "action_weight": 0.0, "category_weight": 0.0, "focal_gamma": 2.0, "router_weight": 0.0,
        "own_clip": False, "weight_decay": 0.0, "precision": "fp32",
    }  # fmt: skip
    return Recipe(**{**plain, **changes})


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

WIDTHS = {"text": 6, "image": 6, "action": 4}


def make_queries(trials: int, seed: int = 3) -> dict[str, torch.Tensor]:
    return {name: draw(trials, width, seed=seed + i).double() for i, (name, width) in enumerate(WIDTHS.items())}


def make_entries(entries: int, seed: int = 9) -> dict[str, torch.Tensor]:
    return {name: draw(entries, width, seed=seed + i).double() for i, (name, width) in enumerate(WIDTHS.items())}


def mix(queries: dict[str, np.ndarray], weights: np.ndarray, entries: dict[str, np.ndarray]) -> np.ndarray:
    """(5): S_i = Σ_m w_m cos(query of m, entry i's embedding of m), entry by entry."""
    scores = np.zeros((len(weights), len(next(iter(entries.values())))))
    for trial, i in np.ndindex(*scores.shape):
        for place, name in enumerate(queries):
            a, b = queries[name][trial], entries[name][i]
            scores[trial, i] += weights[trial, place] * (a @ b) / np.sqrt((a @ a) * (b @ b))
    return scores


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
    scores = mix(plain[0], weights.numpy(), plain[1])
    k = min(k, entries)
    best = np.argsort(-scores, axis=1)[:, :k]
    single = ({name: one.float() for name, one in queries.items()}, weights.float(), make_pool(embeddings))
    np.testing.assert_allclose(score_entries(*single).numpy(), scores, atol=1e-6)
    found = retrieve(*single, k=k)
    np.testing.assert_allclose(found[0].numpy(), np.take_along_axis(scores, best, axis=1), atol=1e-6)
    assert np.array_equal(found[1].numpy(), best)


def make_networks(**changes: Any) -> Networks:
    """Brain Model, heads, router and fusion of a tiny size, every number random; one subject of ten voxels."""
    options: dict[str, Any] = {
        "tokens": 3, "token_channels": 2, "width": 8, "layers": 1, "heads": 2, "feedforward": 8, "dropout": 0.0,
        "memories": 2,
    }  # fmt: skip
    own = Parameters(**{**options, **changes})
    networks = build_networks(own, volumes=2, voxels={1: np.arange(10)}, embedding=6, action=4, categories=3, text=5)
    scatter_weights(networks)
    return networks.float()


def test_the_global_token_asks_for_images_and_texts_and_its_action_head_for_actions() -> None:
    """The weights of (4) go with the modalities by name: here each trial's score is summed modality by modality."""
    networks, f_c, f_e = make_networks(), draw(3, 6), draw(3, 3, 8, seed=1)
    embeddings = make_entries(7)
    assert networks.router is not None
    weights = softmax(linear(f_e.double().numpy().mean(axis=1), networks.router.route))
    f = f_c.double().numpy()
    action = linear(gelu(linear(f, networks.alignment.action[0])), networks.alignment.action[3])
    queries = {"text": f, "image": f, "action": action}
    by_hand = mix(queries, weights, {name: one.numpy() for name, one in embeddings.items()})
    np.testing.assert_allclose(number(networks.score(f_c, f_e, make_pool(embeddings))), by_hand, atol=1e-5)
    asked = networks.ask(f_c, f_e)
    assert list(asked[0]) == ["text", "image", "action"]


def test_the_best_entry_gives_its_text_and_the_k_best_their_images_and_actions() -> None:
    """The choice after (5), and what (6) to (8) are given: top-1 text tokens, top-K embeddings, best first."""
    networks, f_c, f_e = make_networks(memories=3), draw(2, 6), draw(2, 3, 8, seed=1)
    embeddings, texts, caption = make_entries(7), draw(4, 9, 5, seed=8), torch.tensor([2, 0, 1, 3, 3, 0, 2])
    pool = make_pool(embeddings)
    scores = number(networks.score(f_c, f_e, pool))
    for own in (None, torch.from_numpy(scores.argmax(axis=1))):
        given: list[torch.Tensor] = []
        hook = networks.fusion.register_forward_pre_hook(lambda module, parts, given=given: given.extend(parts))
        networks.make_condition(f_c, f_e, make_memories(pool, texts, caption), exclude=own)
        hook.remove()
        best = np.argsort(-scores, axis=1)[:, own is not None :][:, :3]  # in training, without one's own clip
        tokens, images, actions, text = given
        torch.testing.assert_close(tokens, f_e)
        torch.testing.assert_close(text, texts[caption[best[:, 0]]])
        torch.testing.assert_close(images, torch.from_numpy(unit(embeddings["image"].numpy())[best]).float())
        torch.testing.assert_close(actions, torch.from_numpy(unit(embeddings["action"].numpy())[best]).float())


@pytest.mark.parametrize("honest", ["text", "image", "action"])
def test_the_router_learns_which_modality_to_trust(honest: str) -> None:
    """One modality's queries point at the right entries, the others at random ones; its weight grows towards 1."""
    right, router = make_entries(12), Router(8, 3)
    tokens, queries = draw(12, 2, 8, seed=30), make_queries(12, seed=40)
    queries[honest] = right[honest]
    networks = SimpleNamespace(
        score=lambda f_c, f_e, pool: score_entries({n: one.float() for n, one in queries.items()}, router(f_e), pool)
    )
    memories = make_memories(make_pool(right), draw(12, 3, 5), torch.arange(12))
    optimiser = torch.optim.Adam(router.parameters(), lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        measure_mixture(networks, tokens, tokens, torch.arange(12), memories, 0.1).backward()  # type: ignore[arg-type]
        optimiser.step()
    place = list(WIDTHS).index(honest)
    assert (router(tokens).argmax(dim=1) == place).all() and router(tokens)[:, place].mean() > 0.8


# (6) to (8): integration


def make_fusion(**changes: Any) -> Fusion:
    options = {"width": 8, "image": 6, "action": 4, "text": 10, "heads": 2, "alpha": 0.7, "residual": True}
    return scatter_weights(Fusion(**{**options, **changes}))


def draw_memories() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """f^e of five tokens, three images, three actions, and a text of seven tokens."""
    parts = draw(2, 5, 8), draw(2, 3, 6, seed=1), draw(2, 3, 4, seed=2), draw(2, 7, 10, seed=3)
    return tuple(one.double() for one in parts)


def enhance(fusion: Fusion, tokens: np.ndarray, images: np.ndarray, actions: np.ndarray, heads: int) -> np.ndarray:
    """(6): one query for both, softmax(Q Kᵀ / √d) V of images plus that of actions."""
    query, made = linear(tokens, fusion.query), 0.0
    for attention, memories in ((fusion.image, images), (fusion.action, actions)):
        made = made + attend(query, linear(memories, attention.key), linear(memories, attention.value), heads)
    return made


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
def test_equation_6_adds_attention_to_images_and_to_actions(heads: int, residual: bool) -> None:
    fusion, (tokens, images, actions, _) = make_fusion(heads=heads, residual=residual), draw_memories()
    by_hand = enhance(fusion, tokens.numpy(), images.numpy(), actions.numpy(), heads)
    by_hand = by_hand + tokens.numpy() if residual else by_hand  # ours: f^e itself stays in
    np.testing.assert_allclose(number(fusion.enhance(tokens, images, actions)), by_hand)


def normalise(tokens: np.ndarray, fusion: Fusion) -> np.ndarray:
    """Norm of (7): to the text's width, each token over its root mean square, times a gain."""
    made = linear(tokens, fusion.scaled.project)
    return number(fusion.scaled.norm.weight) * made / np.sqrt((made**2).mean(axis=2, keepdims=True) + 1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_equations_7_and_8_add_the_weighed_fmri_stream_to_the_text_stream(alpha: float) -> None:
    fusion, given = make_fusion(alpha=alpha), draw_memories()
    tokens, images, actions, text = (one.numpy() for one in given)
    z_f = linear(normalise(tokens + enhance(fusion, tokens, images, actions, 2), fusion), fusion.zero_fmri)
    z_t = linear(text, fusion.zero_text) + text
    by_hand = z_t.copy()
    by_hand[:, :5] += alpha * z_f  # five fMRI tokens onto the first of seven
    np.testing.assert_allclose(number(fusion(*given)), by_hand)


def test_the_gain_of_equation_7_s_norm_starts_at_the_scale_of_the_text() -> None:
    fusion = Fusion(width=8, image=6, action=4, text=10, heads=2, alpha=1.0, residual=True)
    fusion.set_scale(1.7)
    made = fusion.scaled(100 * draw(2, 5, 8))
    torch.testing.assert_close(made.square().mean(dim=2).sqrt(), torch.full((2, 5), 1.7), atol=1e-4, rtol=1e-4)


@given(seed=st.integers(0, 10_000))
def test_at_initialisation_equation_8_is_the_retrieved_text_exactly(seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fusion = Fusion(width=8, image=6, action=4, text=10, heads=2, alpha=0.7, residual=True)
    given = [one.float() for one in draw_memories()]
    assert torch.equal(fusion(*given), given[3])


def test_the_zero_convolutions_of_equation_7_are_zero_and_learn() -> None:
    fusion = Fusion(width=8, image=6, action=4, text=10, heads=2, alpha=0.7, residual=True)
    zeros = (fusion.zero_fmri, fusion.zero_text)
    assert not any(one.weight.any() or one.bias.any() for one in zeros)
    given = [one.float() for one in draw_memories()]
    (fusion(*given) - given[3] - 1).square().sum().backward()
    assert all(one.weight.grad is not None and one.weight.grad.any() for one in zeros)


# (9): the decoder's loss


def test_equation_9_as_animatediff_has_it_is_the_error_of_the_predicted_noise() -> None:
    """ε is drawn, then t; y_t = √ᾱ y + √(1 − ᾱ) ε; the network sees y_t, t and the condition of the clip's frames."""
    decoder, share = AnimateDiffDecoder.__new__(AnimateDiffDecoder), torch.linspace(0.99, 0.01, 100)

    def add_noise(clips: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        level = share[times][:, None, None, None, None]
        return level.sqrt() * clips + (1 - level).sqrt() * noise

    seen: list[torch.Tensor] = []

    def network(noisy: torch.Tensor, times: torch.Tensor, condition: torch.Tensor) -> Any:
        seen.extend([noisy, times, condition])
        frames = condition.unflatten(0, (len(noisy), -1)).mean(dim=(2, 3))  # (clip, frame)
        return SimpleNamespace(sample=0.5 * noisy + frames[:, None, :, None, None])

    decoder.scheduler = SimpleNamespace(config=SimpleNamespace(num_train_timesteps=100), add_noise=add_noise)
    decoder.network = network
    latents, condition = draw(3, 4, 2, 5, 5), draw(3, 7, 6, seed=1)  # clips of four frames of two channels
    loss = decoder.measure_loss(latents, condition, seeded(3))
    generator = seeded(3)
    noise = torch.randn(3, 2, 4, 5, 5, generator=generator).numpy()
    times = torch.randint(100, (3,), generator=generator).numpy()
    level = share.numpy()[times][:, None, None, None, None]
    noisy = np.sqrt(level) * latents.numpy().transpose(0, 2, 1, 3, 4) + np.sqrt(1 - level) * noise
    predicted = 0.5 * noisy + condition.numpy().mean(axis=(1, 2))[:, None, None, None, None]
    assert float(loss) == pytest.approx(np.mean((noise - predicted) ** 2), rel=1e-5)
    np.testing.assert_allclose(seen[0].numpy(), noisy, rtol=1e-4, atol=1e-6)
    assert seen[1].tolist() == times.tolist()


def test_equation_9_as_wan_has_it_is_the_error_of_the_predicted_velocity() -> None:
    """σ = 3u / (1 + 2u) of a uniform u; the network sees (1 − σ) y + σ ε, 1000 σ and f^fuse; its goal is ε − y."""
    decoder = WanDecoder(FakeSuite(), clip_shape=(5, 32, 32), rank=0, scale=1, shift=3.0)
    seen: list[torch.Tensor] = []

    def network(noisy: torch.Tensor, times: torch.Tensor, condition: torch.Tensor, return_dict: bool) -> Any:
        seen.extend([noisy, times])
        return (0.5 * noisy + condition.mean(dim=(1, 2))[:, None, None, None, None],)

    decoder.network = network
    latents, condition = draw(3, 16, 2, 4, 4), draw(3, 7, 6, seed=1)
    loss = decoder.measure_loss(latents, condition, seeded(3))
    generator = seeded(3)
    noise, uniform = torch.randn(latents.shape, generator=generator).numpy(), torch.rand(3, generator=generator).numpy()
    sigma = 3 * uniform / (1 + 2 * uniform)
    broad = sigma[:, None, None, None, None]
    noisy = (1 - broad) * latents.numpy() + broad * noise
    predicted = 0.5 * noisy + condition.numpy().mean(axis=(1, 2))[:, None, None, None, None]
    assert float(loss) == pytest.approx(np.mean((noise - latents.numpy() - predicted) ** 2), rel=1e-5)
    np.testing.assert_allclose(seen[0].numpy(), noisy, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(seen[1].numpy(), 1000 * sigma, rtol=1e-5)


# (10): stage 2


class PlainDecoder:
    """A decoder whose loss is the mean square of what it is given: its part of (10) is known."""

    def __init__(self) -> None:
        self.network = nn.Linear(1, 1)
        self.conditions: list[torch.Tensor] = []

    def measure_loss(self, latents: torch.Tensor, condition: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.conditions.append(condition.detach())
        return (condition - latents.mean(dim=1)[:, None, None]).square().mean()


@pytest.mark.parametrize("router_weight", [0.0, 0.6])
def test_equation_10_adds_the_loss_of_stage_1_and_the_decoder_s(
    router_weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of the first step, before anything moved, is the sum of its parts; ours is the router's own."""
    networks, labels = make_networks(), (draw(5, 3, seed=4) > 0).float()
    networks.alignment = Alignment(embedding=6, action=4, categories=3, dropout=0.0)
    scatter_weights(networks.alignment).float()
    embeddings = make_entries(5)
    targets = Targets(
        frames=draw(5, 4, 6, seed=1),
        text=draw(4, 6, seed=2)[CAPTION],
        action=draw(5, 4, seed=3),
        labels=labels,
        caption=CAPTION,
    )
    memories = make_memories(make_pool(embeddings), draw(4, 6, 5, seed=5), CAPTION)
    signals, latents = draw(6, 10, 2, seed=6), draw(5, 3, seed=7)
    recipe = make_recipe(action_weight=0.5, category_weight=2.0, router_weight=router_weight)
    subject = torch.ones(6, dtype=torch.int64)
    losses: list[float] = []

    class Watch:
        def __init__(self, groups: Any, **options: Any) -> None:
            self.rates = [rate for _, rate in groups]

        def step(self, loss: torch.Tensor) -> None:
            losses.append(float(loss.detach()))

    monkeypatch.setattr("methods.cine_neuron.training.Optimiser", Watch)
    order: list[np.ndarray] = []

    def read(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        order.append(rows)
        return signals[rows], subject[rows]

    decoder = PlainDecoder()
    own = train_stage2(
        networks, decoder, read, CLIP, targets, latents, memories, recipe, steps=1, batch_size=6, learning_rate=1e-3,
        decoder_learning_rate=1e-3, batches=seeded(), noise=seeded(), phase="stage 2",
    )  # fmt: skip
    (rows,) = order
    shown = CLIP[rows]
    with torch.no_grad():
        f_c, f_e = networks.brain(signals[rows], subject)
        stage1 = float(measure_stage1(networks.alignment, f_c, shown, targets, recipe))
        (condition,) = decoder.conditions
        by_decoder = float((condition - latents[shown].mean(dim=1)[:, None, None]).square().mean())
        weights = number(networks.router(f_e))
        asked = {"text": f_c, "image": f_c, "action": networks.alignment.action(f_c)}
        plain = [{name: number(one) for name, one in side.items()} for side in (asked, embeddings)]
        scores = mix(plain[0], weights, {name: one[shown] for name, one in plain[1].items()}) / 0.2
    same = CAPTION[shown].numpy()
    router = -np.mean(
        [
            scores[i, i] - np.log(sum(np.exp(scores[i, j]) for j in range(6) if j == i or same[j] != same[i]))
            for i in range(6)
        ]
    )
    assert own == [pytest.approx(by_decoder, rel=1e-5)]
    assert losses == [pytest.approx(stage1 + by_decoder + router_weight * router, rel=1e-5)]


def test_stage_2_trains_all_but_phi_v(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder's loss and the stage's reach Brain Model, router, fusion and LoRA; the memories' maker stays."""
    method = method_module.CineNeuron(suite=FakeSuite(), **{**SMALL, "stage1_steps": 2, "joint_epochs": 0.5})
    kept: dict[str, torch.Tensor] = {}
    real = method_module.train_stage2

    def spy(networks: Any, decoder: Any, *given: Any, **options: Any) -> Any:
        kept.update({name: one.detach().clone() for name, one in networks.named_parameters()})
        kept.update({f"lora {name}": one.detach().clone() for name, one in decoder.network.named_parameters()})
        return real(networks, decoder, *given, **options)

    monkeypatch.setattr(method_module, "train_stage2", spy)
    method.fit(World().record(), World().record(seed=1))
    now = dict(method.trained().named_parameters())
    now |= {f"lora {name}": one for name, one in method.decoder.network.named_parameters()}
    moved = {name for name, one in kept.items() if not torch.equal(one, now[name])}
    assert not any(name.startswith("alignment.frames") for name in moved)
    for part in ("brain.inputs", "brain.layers", "brain.project", "alignment.action", "router", "fusion.zero_fmri"):
        assert any(name.startswith(part) for name in moved), part
    lora = {name for name in moved if name.startswith("lora ")}
    assert lora and all("lora_" in name for name in lora)
