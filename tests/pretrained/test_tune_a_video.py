"""Tune-A-Video against the image network it is made of, and against its own inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.pretrained.generators.pipelines import draw_noise
from bench.pretrained.generators.tune_a_video import (
    BadTuning,
    denoise,
    encode_clips,
    inflate,
    invert,
    load_scheduler,
    measure_loss,
    sample,
    tune,
)
from bench.pretrained.suite import load_suite
from bench.toolbox.training import make_generator

CAPTIONS = ["a cat", "a red car moving right", "a pizza", "a ship on the sea"]


@pytest.fixture(scope="module")
def suite():
    return load_suite("mini")


@pytest.fixture(scope="module")
def clips():
    """Bright squares that move, on grounds of four colours."""
    rng = np.random.default_rng(0)
    video = np.empty((4, 6, 64, 64, 3), np.uint8)
    for clip in video:
        clip[:] = rng.integers(0, 128, 3)
        y, x, dy, dx = rng.integers(8, 32, 2).tolist() + rng.integers(-1, 5, 2).tolist()
        for number, frame in enumerate(clip):
            frame[y + number * dy :, x + number * dx :][:12, :12] = 255
    return video


@pytest.fixture(scope="module")
def inflated(suite):
    return inflate(suite.unet)


@pytest.fixture(scope="module")
def tuned(suite, clips):
    return tune(suite, clips, CAPTIONS, epochs=15, batch_size=2, learning_rate=2e-3, seed=1)


def draw(clips: int, frames: int) -> torch.Tensor:
    return draw_noise(range(clips), (8, frames, 8, 8))


@torch.no_grad()
def test_one_frame_is_the_image_networks(suite, inflated):
    noisy, times, text = draw(3, 1), torch.tensor([900, 400, 20]), suite.encode_text(CAPTIONS[:3])
    expected = suite.unet(noisy[:, :, 0], times, text).sample
    torch.testing.assert_close(inflated(noisy, times, text)[:, :, 0], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_still_frames_stay_still_and_are_the_image_networks(suite, inflated):
    """Equal frames ask equal frames: sparse-causal attention is then the image's own."""
    noisy, text = draw(1, 1).expand(-1, -1, 6, -1, -1), suite.encode_text(CAPTIONS[:1])
    made = inflated(noisy, torch.tensor([500]), text)
    expected = suite.unet(noisy[:, :, 0], torch.tensor([500]), text).sample
    for frame in range(6):
        torch.testing.assert_close(made[:, :, frame], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_frame_asks_the_first_and_the_previous_one_only(suite, inflated):
    """Frame 3 changes itself and, of the others in one attention, frame 4; frames before it never."""
    text, times = suite.encode_text(CAPTIONS[:1]), torch.tensor([500])
    base = draw(1, 6)
    changed = base.clone()
    changed[:, :, 3] += 1
    moved = (inflated(changed, times, text) - inflated(base, times, text)).abs().amax(dim=(0, 1, 3, 4))
    assert (moved[:3] < 1e-6).all()
    assert (moved[3:] > 1e-3).all()  # frame 5 through frame 4, layers deeper
    attention = inflated.blocks[0].block.attn1
    attention.frames = 6
    hidden = torch.randn(6, 16, attention.attention.to_q.in_features, generator=make_generator("test"))
    other = hidden.clone()
    other[3] += 1
    moved = (attention(other) - attention(hidden)).abs().amax(dim=(1, 2))
    assert (moved[[0, 1, 2, 5]] == 0).all()
    assert (moved[[3, 4]] > 1e-3).all()
    other = hidden.clone()
    other[0] += 1
    assert ((attention(other) - attention(hidden)).abs().amax(dim=(1, 2)) > 1e-4).all()


def test_the_suites_network_is_untouched(suite, tuned):
    assert not any("temporal" in name for name, _ in suite.unet.named_parameters())
    assert not any(parameter.requires_grad for parameter in [*suite.unet.parameters(), *tuned.parameters()])
    ours = dict(tuned.unet.named_parameters())
    trained = {id(parameter) for parameter in tuned.trained_parameters()}
    for name, given in suite.unet.named_parameters():
        name = name.replace(".attn1.", ".block.attn1.attention.").replace(".attn2.", ".block.attn2.")
        for part in ("norm1.", "norm2.", "norm3.", "ff."):
            name = name.replace(f"transformer_blocks.0.{part}", f"transformer_blocks.0.block.{part}")
        same = torch.equal(given, ours[name])
        assert same != (id(ours[name]) in trained), name
    queries = sum(name.endswith("to_q.weight") for name, _ in suite.unet.named_parameters())
    assert len(trained) == queries + 5 * len(tuned.blocks)  # over time: q, k, v, output and its bias


@torch.no_grad()
def test_tuning_lowers_the_loss_and_is_kept(suite, clips, inflated, tuned):
    latents, text = encode_clips(suite, clips).transpose(1, 2), suite.encode_text(CAPTIONS)
    scheduler = load_scheduler(suite)

    def measure(network):
        losses = [measure_loss(network, scheduler, latents, text, make_generator("check", n)) for n in range(8)]
        return float(torch.stack(losses).mean())

    assert measure(tuned) < 0.9 * measure(inflated)
    assert len(tuned.losses) == 30
    settings = {"epochs": 15, "batch_size": 2, "learning_rate": 2e-3}
    assert tune(suite, clips, CAPTIONS, seed=1, **settings) is tuned
    with pytest.raises(BadTuning, match="4 clips and 3 texts"):
        tune(suite, clips, CAPTIONS[:3], seed=1, **settings)


def test_tuning_repeats_itself_on_the_texts_given(suite, clips):
    settings = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-3, "seed": 3}
    with_captions = tune(suite, clips, CAPTIONS, **settings)
    with_text = tune(suite, clips, (), text=suite.encode_text(CAPTIONS), **settings)
    assert with_text is not with_captions
    for one, other in zip(with_captions.parameters(), with_text.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_sampling_is_deterministic_and_alone(suite, tuned):
    text, start = suite.encode_text(CAPTIONS), draw(4, 6)
    made = sample(suite, tuned, text, start)
    assert made.shape == (4, 6, 64, 64, 3)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, sample(suite, tuned, text, start))
    alone = sample(suite, tuned, text[2:3], start[2:3])
    assert np.abs(made[2:3].astype(int) - alone).max() <= 1
    guided = denoise(suite, tuned, text, start, guidance=3.0)
    same = denoise(suite, tuned, text, start, guidance=3.0, negative=suite.encode_text([""]))
    torch.testing.assert_close(guided, same)
    assert (guided - denoise(suite, tuned, text, start)).abs().max() > 1e-2
    with pytest.raises(BadTuning, match="4 starts and 3 texts"):
        sample(suite, tuned, text[:3], start)
    with pytest.raises(BadTuning, match="leaves none"):
        sample(suite, tuned, text, start, share=0.1)


def test_inversion_finds_the_start_of_a_sample(suite, clips, tuned):
    latents, text = encode_clips(suite, clips[:1]).transpose(1, 2), suite.encode_text(CAPTIONS[:1])

    def come_back(steps, iterations):
        start = invert(suite, tuned, latents, text, steps=steps, iterations=iterations)
        made = denoise(suite, tuned, text, start, steps=steps, guidance=1.0)
        return float((made - latents).pow(2).mean() / latents.var())

    usual = come_back(5, 1)
    assert come_back(20, 1) < 0.5 * usual  # finer steps, smaller error
    assert come_back(5, 8) < 0.2 * usual  # so do more iterations
