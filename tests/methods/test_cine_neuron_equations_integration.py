"""CineNeuron's equations (6) to (10), integration and the losses of stage 2, against formulas written anew in numpy.

(9) is an expectation over noise and time: it is compared at the noise and the time that were drawn, for both decoders,
with networks that are themselves a formula.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw
from cine_world import CAPTION, CLIP, SMALL, FakeSuite, World, make_entries, make_networks, make_recipe, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from written_anew import attend, linear, mix_scores, number, scatter_weights

from bench.pretrained.decoders import AnimateDiffDecoder, WanDecoder
from bench.toolbox.encoded import CaptionTokens
from methods.cine_neuron import method as method_module
from methods.cine_neuron.alignment import Alignment
from methods.cine_neuron.integration import Fusion
from methods.cine_neuron.memory import make_pool
from methods.cine_neuron.networks import Memories
from methods.cine_neuron.targets import Targets
from methods.cine_neuron.training import measure_stage1, train_stage2

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
    decoder.dtype = torch.float32
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
    memories = Memories(make_pool(embeddings), CaptionTokens(draw(4, 6, 5, seed=5), 6), CAPTION)
    signals, latents = draw(6, 10, 2, seed=6), draw(5, 3, seed=7)
    recipe = make_recipe(action_weight=0.5, category_weight=2.0, router_weight=router_weight)
    subject = torch.ones(6, dtype=torch.int64)
    losses: list[float] = []

    class Watch:
        def __init__(self, groups: Any, **options: Any) -> None:
            self.rates = [rate for _, rate in groups]

        def walk(self, items: Any, *_: Any, **__: Any) -> Any:
            return enumerate(items)

        def step(self, loss: torch.Tensor) -> None:
            losses.append(float(loss.detach()))

    monkeypatch.setattr("methods.cine_neuron.training.Optimiser", Watch)
    order: list[np.ndarray] = []

    def look(rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        order.append(rows)
        return networks.brain(signals[rows], subject[rows])

    decoder = PlainDecoder()
    own = train_stage2(
        networks, decoder, look, CLIP, targets, latents, memories, recipe, steps=1, batch_size=6, learning_rate=1e-3,
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
        scores = mix_scores(plain[0], weights, {name: one[shown] for name, one in plain[1].items()}) / 0.2
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
    quick = {**SMALL, "stage1_steps": 2, "joint_epochs": 0.5, "first_layer": "learned"}
    method = method_module.CineNeuron(suite=FakeSuite(), **quick)
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
