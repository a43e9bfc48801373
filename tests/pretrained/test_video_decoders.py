"""Decoders tuned by LoRA: Wan (CineNeuron's equation 9) beside its official scheduler and autoencoder; AnimateDiff."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from asking import draw
from cine_world import TEXT_TOKENS, TEXT_WIDTH, FakeSuite, seeded
from diffusers import FlowMatchEulerDiscreteScheduler

from bench.core.errors import BenchError
from bench.pretrained.decoders import (
    AnimateDiffDecoder,
    WanDecoder,
    attach_lora,
    fit_wan,
    list_lora,
    load_lora,
    save_lora,
    shift_sigma,
)


@pytest.fixture(scope="module")
def suite() -> FakeSuite:
    return FakeSuite()


def make_decoder(suite: Any, **changes: Any) -> WanDecoder:
    return WanDecoder(suite, **{"clip_shape": (5, 32, 32), "rank": 4, "scale": 4, **changes})


def test_noising_is_the_official_scheduler_s() -> None:
    official = FlowMatchEulerDiscreteScheduler(shift=3.0)
    uniform = torch.linspace(1, 1 / 1000, 1000)
    torch.testing.assert_close(shift_sigma(uniform, 3.0), official.sigmas[:1000], atol=1e-6, rtol=1e-5)
    clip, noise = draw(2, 3, 4), draw(2, 3, 4, seed=1)
    sigma, times = official.sigmas[[100, 700]], official.timesteps[[100, 700]]
    expected = official.scale_noise(clip, times, noise)
    torch.testing.assert_close((1 - sigma[:, None, None]) * clip + sigma[:, None, None] * noise, expected)
    torch.testing.assert_close(times, sigma * 1000)


def test_the_flow_matching_loss_is_0_for_the_true_velocity(suite: FakeSuite) -> None:
    decoder = make_decoder(suite)
    latents = draw(3, 16, 2, 4, 4)
    noise = torch.randn(latents.shape, generator=seeded(5))
    decoder.network = lambda noisy, times, condition, return_dict: (noise - latents,)
    assert float(decoder.measure_loss(latents, draw(3, TEXT_TOKENS, TEXT_WIDTH), seeded(5))) == 0
    decoder.network = lambda noisy, times, condition, return_dict: (noisy / (times[0] / 1000),)
    alone = decoder.measure_loss(torch.zeros(1, 16, 2, 4, 4), draw(1, TEXT_TOKENS, TEXT_WIDTH), seeded(6))
    assert float(alone) == pytest.approx(0, abs=1e-10)  # of a black clip, noisy = sigma × noise


def test_lora_changes_nothing_at_first_and_leaves_the_suite_s_network_alone(suite: FakeSuite) -> None:
    made = attach_lora(suite.wan, rank=4, scale=4)
    given = (draw(2, 16, 2, 4, 4), torch.tensor([300.0, 900.0]), draw(2, TEXT_TOKENS, TEXT_WIDTH))
    with torch.no_grad():
        assert torch.equal(made(*given).sample, suite.wan(*given).sample)
    assert not any("lora" in name for name, _ in suite.wan.named_parameters())
    # two layers × (self, cross) × (q, k, v, out) × two factors; 48 wide, text brought to 48 before
    assert sum(one.numel() for one in list_lora(made)) == 2 * 2 * 4 * 2 * 4 * 48
    assert all("lora" in name for name, one in made.named_parameters() if one.requires_grad)
    assert not list_lora(attach_lora(suite.wan, rank=0, scale=4))


def test_lora_saves_and_loads_bit_for_bit(suite: FakeSuite, tmp_path: Any) -> None:
    made = attach_lora(suite.wan, rank=4, scale=4)
    for index, one in enumerate(list_lora(made)):
        torch.nn.init.normal_(one, std=0.3, generator=seeded(index))
    save_lora(made, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]
    again = attach_lora(suite.wan, rank=0, scale=4)
    load_lora(again, tmp_path)
    saved = {name: one for name, one in made.named_parameters() if "lora" in name}
    loaded = {name: one for name, one in again.named_parameters() if "lora" in name}
    assert saved.keys() == loaded.keys() and all(torch.equal(saved[name], loaded[name]) for name in saved)
    given = (draw(2, 16, 2, 4, 4), torch.tensor([300.0, 900.0]), draw(2, TEXT_TOKENS, TEXT_WIDTH))
    with torch.no_grad():
        assert torch.equal(made(*given).sample, again(*given).sample)
        assert not torch.equal(made(*given).sample, suite.wan(*given).sample)
    with pytest.raises(BenchError, match="save_lora writes it"):
        load_lora(again, tmp_path / "nowhere")


def test_a_video_depends_on_its_own_seed_and_condition_alone(suite: FakeSuite) -> None:
    decoder = make_decoder(suite)
    condition = draw(3, TEXT_TOKENS, TEXT_WIDTH)
    whole = decoder.generate(condition, [3, 4, 5])
    assert whole.shape == (3, 5, 32, 32, 3)
    alone = decoder.generate(condition[1:2], [4])
    assert np.abs(alone[0].astype(int) - whole[1]).max() <= 1
    assert (decoder.generate(condition[1:2], [9]) != alone).any()


def test_guidance_asks_for_the_empty_caption(suite: FakeSuite) -> None:
    condition = draw(1, TEXT_TOKENS, TEXT_WIDTH)
    plain, guided = (make_decoder(suite, guidance=one).generate(condition, [0]) for one in (1.0, 6.0))
    assert (plain != guided).any()


@pytest.mark.parametrize(
    ("clip", "made"),
    [
        ((6, 64, 64), (9, 64, 64)),
        ((33, 480, 720), (33, 480, 720)),
        ((1, 10, 50), (1, 16, 48)),
        ((5, 288, 512), (5, 288, 512)),
    ],
)
def test_clips_are_brought_to_shapes_that_wan_makes(suite: FakeSuite, clip: Any, made: Any) -> None:
    assert fit_wan(clip, suite.wan_vae, suite.wan.config.patch_size) == made


def test_wan_s_latents_decode_to_what_its_own_autoencoder_gives(suite: FakeSuite) -> None:
    video = np.random.default_rng(0).integers(0, 256, (1, 5, 32, 32, 3), dtype=np.uint8)
    decoder = make_decoder(suite)
    latents = decoder.encode_video(video)
    c = suite.wan_vae.config
    mean, deviation = (torch.tensor(x)[:, None, None, None] for x in (c.latents_mean, c.latents_std))
    pixels = torch.from_numpy(video).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    with torch.no_grad():
        expected = suite.wan_vae.encode(pixels).latent_dist.mode()
    torch.testing.assert_close(latents * deviation + mean, expected)


def test_a_suite_without_wan_is_refused() -> None:
    with pytest.raises(BenchError, match="suite 'bare' has no Wan"):
        make_decoder(SimpleNamespace(name="bare", device="cpu"))


def test_animatediff_takes_wan_s_place() -> None:
    from bench.pretrained.suite import load_suite

    suite = load_suite("mini")
    decoder = AnimateDiffDecoder(suite, clip_shape=(6, 64, 64), rank=2, scale=2)
    condition = decoder.encode_text(["a small dark cat moving left in a meadow"])
    made = decoder.generate(condition, [7])
    assert np.abs(made.astype(int) - suite.generate_video(condition, [7])).max() <= 1  # LoRA changes nothing at first
    loss = decoder.measure_loss(decoder.encode_video(made), condition.requires_grad_(), seeded())
    loss.backward()
    assert 0 < loss.item() < 2 and condition.grad is not None and condition.grad.any()
    assert any(one.grad is not None and one.grad.any() for one in list_lora(decoder.network))
