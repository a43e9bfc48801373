"""Suites: official formats in, one set of calls out; randomness, batches, starts, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, SparseControlNetModel, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from bench.pretrained.generators.pipelines import BadGeneration, PartialDDIMScheduler, draw_noise, start_latents
from bench.pretrained.mini_build.build import CannotBuild, build_suite, describe_folder
from bench.pretrained.mini_build.networks import make_scheduler, make_tokenizer
from bench.pretrained.roles import MissingWeights, UnknownSuite, verify_suite
from bench.pretrained.suite import load_suite

WIDTH = 16


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    """A random checkpoint of every role in its official format: SD-like with factor 4, a 16-frame video judge."""
    folder = tmp_path_factory.mktemp("suites") / "tiny"
    torch.manual_seed(0)
    tokenizer = make_tokenizer(["a cat", "a dog in a meadow"])
    tokenizer.save_pretrained(folder / "tokenizer")
    AutoencoderKL(
        block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3, norm_num_groups=4, latent_channels=4,
    ).save_pretrained(folder / "vae")  # fmt: skip
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, cross_attention_dim=WIDTH,
        attention_head_dim=2, norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).save_pretrained(folder / "unet")  # fmt: skip
    MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=4,
        motion_num_attention_heads=2, use_motion_mid_block=False,
    ).save_pretrained(folder / "motion_adapter")  # fmt: skip
    control = SparseControlNetModel(
        block_out_channels=(8, 16), down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        layers_per_block=1, norm_num_groups=4, cross_attention_dim=WIDTH, attention_head_dim=2,
        motion_num_attention_heads=2,
    )  # fmt: skip
    for weight in control.parameters():  # its outputs start at zero: a key frame would change nothing
        weight.data.add_(0.05 * torch.randn_like(weight))
    control.save_pretrained(folder / "sparse_control")
    scheduler = DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1)
    scheduler.save_pretrained(folder / "scheduler")
    small = {"image_size": 32, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "intermediate_size": 16}
    VideoMAEForVideoClassification(VideoMAEConfig(num_frames=16, num_labels=400, **small, **heads)).save_pretrained(
        folder / "video_judge"
    )
    crop = {"height": 32, "width": 32}
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder / "video_judge")
    ViTForImageClassification(ViTConfig(num_labels=1000, **small, **heads)).save_pretrained(folder / "frame_judge")
    ViTImageProcessor(size=crop).save_pretrained(folder / "frame_judge")
    text = describe_folder("mini").replace("height = 64", "height = 32").replace("steps = 5", "steps = 2")
    (folder / "suite.toml").write_text(text.replace("width = 64", "width = 48"))
    return folder


@pytest.fixture(scope="module")
def tiny(tiny_folder):
    return load_suite(tiny_folder)


# Any suite, through the official formats


def test_geometry_is_read_from_the_networks(tiny):
    g = tiny.geometry
    assert (g.height, g.width, g.frames, g.tokens, g.text_width) == (32, 48, 6, 77, WIDTH)
    assert (g.latent_channels, g.latent_height, g.latent_width) == (4, 8, 12)


def test_every_call_has_its_shape(tiny):
    video = np.random.default_rng(0).integers(0, 256, (2, 6, 32, 48, 3), dtype=np.uint8)
    embeddings = tiny.encode_text(["a cat", "a dog"])
    assert embeddings.shape == (2, 77, WIDTH) and tiny.negative_embedding.shape == (1, 77, WIDTH)
    latents = tiny.encode_video(video)
    assert latents.shape == (2, 6, 4, 8, 12)
    assert tiny.decode_latents(latents).shape == video.shape
    assert tiny.refine_keyframe(embeddings, video[:, 0], [0, 1], strength=0.5).shape == (2, 32, 48, 3)
    made = tiny.generate_video(embeddings, [0, 1], latents=latents, keyframes=video[:, 0], start="renoised")
    assert made.shape == video.shape and made.dtype == np.uint8
    assert tiny.video_logits(video).shape == (2, 400) and tiny.frame_logits(video[:, 0]).shape == (2, 1000)


def test_latents_are_scaled_as_stable_diffusion_scales_them(tiny, tiny_folder):
    """Against the autoencoder and its image processor alone, with the factor that its checkpoints are known for."""
    vae, processor, factor = AutoencoderKL.from_pretrained(tiny_folder / "vae"), VaeImageProcessor(), 0.18215
    video = np.random.default_rng(0).integers(0, 256, (1, 6, 32, 48, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = factor * vae.encode(processor.preprocess(video[0] / np.float32(255))).latent_dist.mode()
        shown = processor.postprocess(vae.decode(wanted / factor).sample, output_type="np")
    latents = tiny.encode_video(video)
    torch.testing.assert_close(latents[0], wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(tiny.decode_latents(latents)[0] - 255 * shown).max() <= 0.51


def test_no_samples_give_empty_results(tiny):
    nothing = tiny.encode_text([])
    assert nothing.shape == (0, 77, WIDTH)
    assert tiny.generate_video(nothing, []).shape == (0, 6, 32, 48, 3)
    assert tiny.video_logits(np.zeros((0, 6, 32, 48, 3), np.uint8)).shape == (0, 400)


def test_each_sample_has_its_own_keyframe(tiny):
    """The official pipeline knows one key frame a call; with a batch of two, each must act on its own clip only."""
    embeddings = tiny.encode_text(["a cat", "a dog"])
    keys = np.stack([np.full((32, 48, 3), 30, np.uint8), np.full((32, 48, 3), 220, np.uint8)])
    both = tiny.generate_video(embeddings, [4, 5], keyframes=keys)
    other = tiny.generate_video(embeddings, [4, 5], keyframes=keys[[0, 0]])
    assert np.array_equal(both[0], other[0]) and not np.array_equal(both[1], other[1])
    alone = tiny.generate_video(embeddings[1:], [5], keyframes=keys[1:])
    assert np.abs(alone[0].astype(int) - both[1]).max() <= 1


def test_the_global_generator_plays_no_part(tiny):
    embeddings = tiny.encode_text(["a cat"])
    key = np.random.default_rng(1).integers(0, 256, (1, 32, 48, 3), dtype=np.uint8)
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made.append(tiny.generate_video(embeddings, [9], keyframes=key))
        made.append(tiny.refine_keyframe(embeddings, key, [9], strength=1.0)[:, None])
    assert np.array_equal(made[0], made[2]) and np.array_equal(made[1], made[3])


def test_guidance_one_ignores_the_negative(tiny):
    embeddings = tiny.encode_text(["a cat"])
    plain = tiny.generate_video(embeddings, [3], guidance=1.0)
    strong = tiny.generate_video(embeddings, [3], guidance=7.0)
    assert plain.shape == strong.shape and not np.array_equal(plain, strong)


def test_the_digest_follows_the_files(tiny_folder, tmp_path):
    import shutil

    before = load_suite(tiny_folder).digest
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_folder, copy)
    assert load_suite(copy).digest == before
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace("0.02", "0.03"))
    assert load_suite(copy).digest != before


def test_the_digest_is_of_generators_alone(tiny_folder, tmp_path):
    """A judge changes no prediction, so a suite with other judges, or none, has the same predictions."""
    import shutil

    suite = load_suite(tiny_folder)
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_folder, copy)
    config = copy / "frame_judge" / "preprocessor_config.json"
    config.write_text(config.read_text().replace("0.5", "0.4"))
    other = load_suite(copy)
    assert other.digest == suite.digest
    assert other.judges.digest("frame") != suite.judges.digest("frame")
    assert other.judges.digest("video") == suite.judges.digest("video")
    shutil.rmtree(copy / "frame_judge")
    without = load_suite(copy)
    assert without.digest == suite.digest and not without.judges.available("frame")
    with pytest.raises(MissingWeights, match="frame_judge"):
        without.frame_logits(np.zeros((1, 32, 48, 3), np.uint8))


# Errors


def test_missing_weights_say_what_to_fetch(tiny_folder, tmp_path):
    folder = tmp_path / "half"
    folder.mkdir()
    text = (tiny_folder / "suite.toml").read_text()
    row = 'unet = { id = "nobody/no-such-network", subfolder = "unet", licence = "MIT", megabytes = 12 }'
    own = 'unet = { id = ".", subfolder = "unet", licence = "Apache-2.0" }'
    (folder / "suite.toml").write_text(text.replace(own, row))
    with pytest.raises(MissingWeights, match=r"unet.*nobody/no-such-network.*12 MB.*MIT"):
        _ = load_suite(folder).unet
    table = verify_suite(folder).set_index("role")
    assert not table.loc["unet", "present"]
    assert table.loc["unet", "kind"] == "generator" and table.loc["frame_judge", "kind"] == "judge"


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(UnknownSuite, match="mini, light, paper"):
        load_suite("midi")
    with pytest.raises(CannotBuild, match="only 'mini'"):
        build_suite("paper")
    with pytest.raises(CannotBuild, match="frame_judge"):
        build_suite("mini", only="frame_jugde", folder=tmp_path / "x")


def test_starts_that_do_not_fit_are_refused(tiny):
    embeddings = tiny.encode_text(["a cat"])
    latents = torch.zeros(1, 6, 4, 8, 12)
    with pytest.raises(BadGeneration, match="needs latents"):
        tiny.generate_video(embeddings, [0], start="latents")
    with pytest.raises(BadGeneration, match="n c f y x"):
        tiny.generate_video(embeddings, [0], latents=latents[:, :5], start="latents")
    with pytest.raises(BadGeneration, match="noise, latents, mixture, renoised"):
        tiny.generate_video(embeddings, [0], latents=latents, start="middle")  # type: ignore[arg-type]
    with pytest.raises(BadGeneration, match="leaves none"):
        tiny.generate_video(embeddings, [0], latents=latents, start="renoised", steps=2, strength=0.3)
    with pytest.raises(BadGeneration, match="leaves none"):
        tiny.refine_keyframe(embeddings, np.zeros((1, 32, 48, 3), np.uint8), [0], steps=2, strength=0.3)


# Where a video starts


def test_starts_are_what_they_are_called():
    scheduler = PartialDDIMScheduler.from_config(make_scheduler().config)
    noise = draw_noise([1, 2], (8, 6, 4, 4))
    latents = torch.randn(2, 8, 6, 4, 4, generator=torch.Generator().manual_seed(3))
    options = {"steps": 8, "strength": 0.5}
    assert start_latents("noise", noise, latents, scheduler, **options) is noise
    assert start_latents("latents", noise, latents, scheduler, **options) is latents
    mixed = start_latents("mixture", noise, latents, scheduler, steps=8, strength=0.36)
    assert torch.allclose(mixed, 0.8 * latents + 0.6 * noise, atol=1e-6)
    renoised = start_latents("renoised", noise, latents, scheduler, **options)
    alpha = scheduler.alphas_cumprod[499]  # trailing: 999, 874, 749, 624, 499, ...; half of eight steps are left
    assert torch.allclose(renoised, alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise, atol=1e-6)
    scheduler.share = 0.5
    scheduler.set_timesteps(8)
    assert scheduler.timesteps.tolist() == [499, 374, 249, 124]
    again = start_latents("renoised", noise, latents, scheduler, **options)  # whatever the last share
    assert torch.equal(again, renoised)


def test_noise_belongs_to_its_seed():
    first, again = draw_noise([5, 6, 7], (4, 3)), draw_noise([7, 5], (4, 3))
    assert torch.equal(first[[2, 0]], again)
