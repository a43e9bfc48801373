"""Wan in a suite: official formats in, tokens as Wan's own pipeline makes them; what the small ones are trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan, WanPipeline, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from bench.datasets.phantom.stimuli import CLIP_SECONDS, FRAME_TIMES, describe, render
from bench.pretrained.mini_build.batches import PatchBasis, draw_recipes, to_pixels
from bench.pretrained.mini_build.networks import make_wan_autoencoder, make_wan_text_encoder, make_wan_tokenizer
from bench.pretrained.mini_build.train_clip import train_action_encoder
from bench.pretrained.mini_build.train_wan import (
    PICKED,
    LatentBasis,
    draw_clips,
    encode_words,
    fit_autoencoder,
    list_captions,
    see_six,
    stack_four,
)
from bench.pretrained.roles import GENERATORS, WAN, MissingWeights
from bench.pretrained.suite import Suite

WIDTH = 24
CAPTIONS = ["a cat", "a big hot air balloon moving right in a meadow"]


def make_suite(folder, roles) -> Suite:
    named = {role: {"id": role, "licence": "none"} for role in (*GENERATORS, *roles)}
    settings = {"height": 32, "width": 32, "frames": 6, "fps": 3.0, "repeat_captions": False, "wan_tokens": 16}
    return Suite("random", {**settings, "roles": named}, folder)


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """Random networks of other sizes than mini's, each in its official format."""
    folder = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    tokenizer = make_wan_tokenizer(list_captions())
    tokenizer.save_pretrained(folder / "wan_tokenizer")
    text = UMT5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    UMT5EncoderModel(text).save_pretrained(folder / "wan_text_encoder")
    WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=24, text_dim=WIDTH, freq_dim=32, ffn_dim=32, num_layers=1,
        in_channels=4, out_channels=4, rope_max_seq_len=32,
    ).save_pretrained(folder / "wan_transformer")  # fmt: skip
    AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    ).save_pretrained(folder / "wan_vae")
    return make_suite(folder, WAN)


def test_roles_load_through_their_official_classes(suite):
    assert suite.wan.config.text_dim == WIDTH
    assert suite.wan_vae.config.z_dim == 4
    assert all(suite.has(role) for role in WAN)
    assert len({suite.digest_role(role) for role in WAN}) == len(WAN)


def test_tokens_are_those_of_wans_own_pipeline(suite):
    tokens, mask = suite.wan_text(CAPTIONS)
    pipeline = WanPipeline(
        tokenizer=suite._wan_tokenizer, text_encoder=suite._wan_text_encoder, vae=suite.wan_vae,
        transformer=suite.wan, scheduler=None,
    )  # fmt: skip
    expected = pipeline._get_t5_prompt_embeds(CAPTIONS, max_sequence_length=16)
    torch.testing.assert_close(tokens * mask[..., None], expected)
    assert mask.sum(1).tolist() == [3, 11]


def test_the_trainer_encodes_words_as_the_suite_does(suite):
    tokenizer, network = suite._wan_tokenizer, suite._wan_text_encoder
    ids = tokenizer(CAPTIONS, padding="max_length", max_length=16, return_tensors="pt").input_ids
    tokens, mask = suite.wan_text(CAPTIONS)
    torch.testing.assert_close(encode_words(network, ids, tokenizer.pad_token_id), tokens * mask[..., None])


def test_a_suite_without_wan_says_what_to_fetch(tmp_path):
    suite = make_suite(tmp_path, ())
    with pytest.raises(MissingWeights, match=r"names no wan_transformer.*Wan-AI/Wan2.1-T2V-1.3B-Diffusers.*5676 MB"):
        _ = suite.wan
    with pytest.raises(MissingWeights, match=r"the wan_vae, wan_vae .* is not on this machine"):
        _ = make_suite(tmp_path, WAN).wan_vae


def test_every_word_is_one_token():
    tokenizer = make_wan_tokenizer(list_captions())
    recipes = draw_recipes(np.random.default_rng(0), 200)
    captions = [describe(recipe) for recipe in recipes]
    ids = tokenizer(captions).input_ids
    assert [len(one) for one in ids] == [len(caption.split()) + 1 for caption in captions]
    assert tokenizer.unk_token_id not in {number for one in ids for number in one}
    assert len(tokenizer("zebra").input_ids) == 7  # letters, with a mark where the word begins
    assert make_wan_text_encoder(tokenizer).config.vocab_size == len(tokenizer)


@pytest.fixture(scope="module")
def basis():
    return LatentBasis()


def test_latents_are_components_of_unit_variance(basis):
    video = draw_clips(np.random.default_rng(1), draw_recipes(np.random.default_rng(2), 60))
    latents = basis.encode(video)
    assert latents.shape == (60, 16, 3, 8, 8)
    assert float(latents.std()) == pytest.approx(1, abs=0.1)
    spread = latents[:, :, 0].std(dim=(0, 2, 3))
    assert bool((spread.diff() < 0.1).all())  # components in order of their variance, but for chance


def test_the_basis_draws_what_it_encoded(basis):
    recipes = draw_recipes(np.random.default_rng(3), 30)
    video = np.stack([render(recipe, FRAME_TIMES) for recipe in recipes])
    drawn = see_six(basis, basis.encode(video[:, PICKED]))
    error = (drawn - to_pixels(video)).square().mean()
    assert 10 * np.log10(4 / float(error)) > 21  # dB, by 16 numbers a patch of 768


def test_stacked_frames_keep_their_order():
    video = np.arange(2 * 9 * 4 * 4 * 3, dtype=np.uint32).reshape(2, 9, 4, 4, 3) % 251
    stacked = stack_four(video.astype(np.uint8), 1)
    assert stacked.shape == (2, 4, 4, 12)
    np.testing.assert_array_equal(stacked[1, 2, 3].reshape(4, 3), video[1, 5:9, 2, 3])


def test_patches_of_stacked_frames_are_rebuilt_by_all_components():
    frames = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 12), dtype=np.uint8)
    basis = PatchBasis(frames, 4, 4 * 4 * 12)
    pixels = to_pixels(frames)
    torch.testing.assert_close(basis.decode(basis.encode(pixels)), pixels, atol=1e-3, rtol=0)


def test_even_clips_end_where_the_recipe_ends():
    recipe = draw_recipes(np.random.default_rng(0), 1)[0]
    drawn = {draw_clips(np.random.default_rng(seed), [recipe])[0, -1].tobytes() for seed in range(20)}
    assert drawn == {render(recipe, [time])[0].tobytes() for time in (FRAME_TIMES[-1], CLIP_SECONDS)}


def test_trainers_save_official_formats(tmp_path, basis):
    vae = make_wan_autoencoder()
    before = vae.encoder.conv_in.weight.detach().clone()
    fit_autoencoder(vae, basis, tmp_path / "vae", list(vae.decoder.parameters()), 1, np.random.default_rng(0))
    torch.testing.assert_close(vae.encoder.conv_in.weight.detach(), before.half().float())
    AutoencoderKLWan.from_pretrained(tmp_path / "vae")
    train_action_encoder(tmp_path / "random" / "action", steps=1)
    named = {role: {"id": role, "licence": "none"} for role in (*GENERATORS, "action")}
    made = Suite("random", {"height": 64, "width": 64, "roles": named}, tmp_path / "random")
    seen = made.embed_actions(np.zeros((2, 6, 64, 64, 3), np.uint8))
    assert seen.shape == (2, 64)
