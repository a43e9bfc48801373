"""Training of the `mini` generators: the autoencoder, images from captions, then motion and key frames on top.

Two choices decide the autoencoder's quality. Its latents are warm-started on principal components of 8 x 8 patches: for
the first quarter of the steps the encoder is regressed on the components while the decoder learns to decode them, so
both agree on colour and layout before they are trained end to end. The components are only half whitened
(`PatchBasis.half_whiten`).

The image UNet and the text encoder are trained together on single frames. Then both are frozen and the motion adapter
and the sparse control network are trained together on clips, with the key frame given in every other step; so one
image UNet serves image-to-image refinement and video. Images are trained in float32, because the backward of fused
attention in bf16 is slow on a CPU; motion in bf16 with plain attention, 1.6 times as fast, because only small layers
are trained. All learn to predict velocity under a schedule that ends in pure noise, at times drawn towards noise, where
it is decided what is drawn; what is saved is the moving average of the weights. The loss says little: the share of
generated frames whose object a judge recognises is reported instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from jaxtyping import Float, Float16, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedModel, ViTForImageClassification

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.stimuli import SCENES, Recipe, describe
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.generators.text import encode_captions, tokenize
from bench.pretrained.mini_build.batches import PatchBasis, draw_frames, draw_recipes, render_clips, to_pixels
from bench.pretrained.mini_build.networks import (
    FACTOR,
    LATENT_CHANNELS,
    LATENT_SIZE,
    make_autoencoder,
    make_motion_adapter,
    make_scheduler,
    make_sparse_control,
    make_text_encoder,
    make_tokenizer,
    make_unet,
)
from bench.pretrained.mini_build.training import (
    measure_psnr,
    pixel_loss,
    sample_guided,
    save_half,
    seed_training,
    train_steps,
)
from bench.store.cache import Cache, digest_code

AUTOENCODER_STEPS, AUTOENCODER_BATCH, AUTOENCODER_RATE = 3000, 8, 2e-3
WARM_SHARE, WARM_WEIGHT, WARM_NOISE = 0.25, 0.5, 0.05
KL_WEIGHT = 1e-6
IMAGE_STEPS, IMAGE_BATCH, IMAGE_RATE = 5200, 16, 1.5e-3
VIDEO_STEPS, VIDEO_BATCH, VIDEO_RATE = 3400, 6, 1e-3
SHARDS, SHARD = 3, 2000  # parts of the pool of encoded clips, and clips in each
CAPTION_DROPOUT, WARMUP, HOLD = 0.1, 200, 0.4
REPORT_EVERY = 850


def train_autoencoder(folder: Path, *, seed: int = 0, steps: int = AUTOENCODER_STEPS) -> None:
    """Train and save to `folder` in the official format; the config's `scaling_factor` gives latents unit variance."""
    rng = seed_training("autoencoder", seed)
    basis = PatchBasis(draw_frames(rng, 1500), FACTOR, LATENT_CHANNELS)
    unseen = to_pixels(draw_frames(rng, 96))
    vae = make_autoencoder()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=AUTOENCODER_RATE, betas=(0.9, 0.99), weight_decay=1e-4)

    def measure(step: int) -> Float[Tensor, ""]:
        pixels = to_pixels(draw_frames(rng, AUTOENCODER_BATCH))
        warm = step < WARM_SHARE * steps
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pixels).latent_dist
            if warm:
                target = basis.half_whiten(pixels)
                latents = target + WARM_NOISE * torch.randn_like(target)
            else:
                latents = posterior.sample()
            rebuilt = vae.decode(latents).sample
        loss = pixel_loss(rebuilt, pixels) + KL_WEIGHT * posterior.kl().mean()
        return loss + WARM_WEIGHT * (posterior.mean.float() - target).square().mean() if warm else loss

    def report(step: int, loss: float) -> None:
        rebuilt = vae.decode(vae.encode(unseen).latent_dist.mode()).sample.clamp(-1, 1)
        say(f"autoencoder: step {step}, loss {loss:.4f}, PSNR {measure_psnr(rebuilt, unseen):.2f} dB")

    train_steps(vae, optimiser, measure, phase="training the autoencoder", steps=steps, report=report, every=250)
    with torch.no_grad():
        latents = vae.encode(to_pixels(draw_frames(rng, 512))).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
    save_half(vae, folder)


def shard_recipes(shard: int, *, seed: int = 0, clips: int = SHARD) -> list[Recipe]:
    return draw_recipes(np.random.default_rng(derive_seed("suite", "generators", "clips", shard, seed)), clips)


def encode_pool(
    vae: AutoencoderKL, work: Path, *, seed: int = 0, clips: int = SHARD
) -> tuple[Float[Tensor, "clip f c y x"], list[Recipe]]:
    """The training clips: latents in half precision, posterior mode times the scaling factor, and recipes.

    Each shard of `clips` is kept in a cache in the folder `work`, so that encoding goes on where it stopped.
    """
    weights = [tensor.detach().float().cpu().numpy() for tensor in vae.state_dict().values()]
    network = hashlib.sha256(b"".join(weight.tobytes() for weight in weights)).hexdigest()
    latents, recipes = [], []
    for shard in range(SHARDS):
        drawn = shard_recipes(shard, seed=seed, clips=clips)
        made_from = {
            "what": f"latents of shard {shard}",
            "recipes": [recipe.digest for recipe in drawn],
            "network": f"{network} scaled by {vae.config.scaling_factor}",
            "code": digest_code(__name__),
        }
        encode = partial(encode_shard, vae, drawn, f"encoding clips, part {shard + 1}")
        latents.append(torch.from_numpy(np.array(Cache(work / "cache").array(made_from, encode))))
        recipes += drawn
    return torch.cat(latents), recipes


def encode_shard(vae: AutoencoderKL, recipes: list[Recipe], phase: str) -> Float16[np.ndarray, "clip f c y x"]:
    """The latents of the recipes' clips."""
    parts = []
    for start in track(range(0, len(recipes), 8), phase):
        pixels = to_pixels(render_clips(recipes[start : start + 8]))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            mode = vae.encode(pixels.flatten(0, 1)).latent_dist.mode()
        parts.append((mode.float() * vae.config.scaling_factor).half().unflatten(0, pixels.shape[:2]))
    return torch.cat(parts).numpy()


def draw_noisy(
    rng: np.random.Generator, scheduler: DDIMScheduler, clean: Float[Tensor, "n ..."]
) -> tuple[Int[Tensor, " n"], Float[Tensor, "n ..."], Float[Tensor, "n ..."]]:
    """Diffusion times, their density growing towards pure noise; the latents at those times; their velocity."""
    uniform = rng.random(len(clean))
    times = torch.from_numpy((scheduler.config.num_train_timesteps * uniform**0.7).astype(np.int64))
    noise = torch.randn_like(clean)
    return times, scheduler.add_noise(clean, noise, times), scheduler.get_velocity(clean, noise, times)


@torch.no_grad()
def decode_frames(vae: AutoencoderKL, latents: Float[Tensor, "n c y x"]) -> Float[Tensor, "n 3 h w"]:
    return vae.decode(latents / vae.config.scaling_factor).sample.clamp(-1, 1)


@torch.no_grad()
def judge_frames(judge: PreTrainedModel, frames: Float[Tensor, "n 3 h w"]) -> Int[Tensor, " n"]:
    """The object that a frame judge sees in each frame."""
    return judge(frames).logits.unflatten(1, (len(CONCEPTS), len(SCENES))).logsumexp(2).argmax(1)


def train_image_generator(
    folder: Path, pool: Float[Tensor, "clip f c y x"], recipes: Sequence[Recipe], vae: AutoencoderKL,
    judge: ViTForImageClassification, *, seed: int = 0, steps: int = IMAGE_STEPS,
) -> None:  # fmt: skip
    """Train UNet and text encoder; saves `unet`, `text_encoder`, `tokenizer` and `scheduler` under `folder`."""
    rng = seed_training("image_generator", seed)
    captions = [describe(recipe) for recipe in recipes]
    tokenizer = make_tokenizer(sorted(set(captions)))
    text_encoder, unet, scheduler = make_text_encoder(tokenizer), make_unet(), make_scheduler()
    tokens = tokenize(tokenizer, captions, repeat=True)
    empty = tokenize(tokenizer, [""])[0]
    both = nn.ModuleList([text_encoder, unet])
    optimiser = torch.optim.AdamW(both.parameters(), lr=IMAGE_RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    tested = draw_recipes(rng, 80)

    def measure(step: int) -> Float[Tensor, ""]:
        rows = rng.integers(len(pool), size=IMAGE_BATCH)
        clean = pool[rows, rng.integers(pool.shape[1], size=IMAGE_BATCH)].float()
        ids = tokens[rows].clone()
        ids[torch.from_numpy(rng.random(IMAGE_BATCH) < CAPTION_DROPOUT)] = empty
        times, noisy, velocity = draw_noisy(rng, scheduler, clean)
        return F.mse_loss(unet(noisy, times, text_encoder(ids).last_hidden_state).sample, velocity)

    def report(step: int, loss: float) -> None:
        context = encode_captions(tokenizer, text_encoder, [describe(recipe) for recipe in tested], repeat=True)
        negative = encode_captions(tokenizer, text_encoder, [""])
        latents = sample_guided(
            lambda *given: unet(*given).sample, make_scheduler(), context, negative,
            (LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE), steps=8, guidance=3.0,
        )  # fmt: skip
        seen = judge_frames(judge, decode_frames(vae, latents))
        share = (seen == torch.tensor([recipe.concept for recipe in tested])).float().mean()
        say(f"images: step {step}, loss {loss:.3f}, objects recognised {share:.3f}")
        save_half(unet, folder / "unet")
        save_half(text_encoder, folder / "text_encoder")
        tokenizer.save_pretrained(folder / "tokenizer")
        scheduler.save_pretrained(folder / "scheduler")

    train_steps(
        both, optimiser, measure, phase="training images", steps=steps, report=report, every=REPORT_EVERY,
        warmup=WARMUP, hold=HOLD, averaged=True,
    )  # fmt: skip


def train_video_generator(
    folder: Path, pool: Float[Tensor, "clip f c y x"], recipes: Sequence[Recipe], vae: AutoencoderKL,
    judge: ViTForImageClassification, images: Path, *, seed: int = 0, steps: int = VIDEO_STEPS,
) -> None:  # fmt: skip
    """Train motion adapter and sparse control on the frozen image generator in `images`; saves both under `folder`."""
    rng = seed_training("video_generator", seed)
    tokenizer = CLIPTokenizer.from_pretrained(images / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(images / "text_encoder", torch_dtype=torch.float32).eval()
    unet2d = UNet2DConditionModel.from_pretrained(images / "unet", torch_dtype=torch.float32)
    unet = UNetMotionModel.from_unet2d(unet2d, make_motion_adapter()).requires_grad_(False)
    control, scheduler = make_sparse_control(), make_scheduler()
    for part in ("conv_in", "time_embedding", "down_blocks", "mid_block"):  # start from what the UNet knows
        getattr(control, part).load_state_dict(getattr(unet2d, part).state_dict(), strict=False)
    motion = [weight.requires_grad_(True) for name, weight in unet.named_parameters() if "motion_modules" in name]
    trained = [*motion, *control.parameters()]
    optimiser = torch.optim.AdamW(trained, lr=VIDEO_RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    unet.set_attn_processor(AttnProcessor())
    control.set_attn_processor(AttnProcessor())
    captions = [describe(recipe) for recipe in recipes]
    chunks = [captions[start : start + 50] for start in range(0, len(captions), 50)]
    texts = torch.cat([encode_captions(tokenizer, text_encoder, chunk, repeat=True).half() for chunk in chunks])
    negative = encode_captions(tokenizer, text_encoder, [""])
    frames = pool.shape[1]
    shown = slice(0, 24)  # the clips that reports draw
    concepts = torch.tensor([recipe.concept for recipe in recipes[shown]]).repeat_interleave(frames)

    def read_latents(rows: np.ndarray | slice) -> Float[Tensor, "n c f y x"]:
        return pool[rows].float().transpose(1, 2)

    def predict(
        noisy: Float[Tensor, "n c f y x"], times: Tensor, context: Tensor, key: Float[Tensor, "n c y x"] | None
    ) -> Float[Tensor, "n c f y x"]:
        context = context.repeat_interleave(frames, dim=0)
        if key is None:
            return unet(noisy, times, context).sample
        given, mask = torch.zeros_like(noisy), torch.zeros_like(noisy[:, :1])
        given[:, :, 0], mask[:, :, 0] = key, 1
        down, middle = control(noisy, times, context, given, conditioning_mask=mask, return_dict=False)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return unet(noisy, times, context, **residuals).sample

    def measure(step: int) -> Float[Tensor, ""]:
        rows = rng.integers(len(pool), size=VIDEO_BATCH)
        clean, context = read_latents(rows), texts[rows].float()
        context[torch.from_numpy(rng.random(VIDEO_BATCH) < CAPTION_DROPOUT)] = negative[0]
        times, noisy, velocity = draw_noisy(rng, scheduler, clean)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = predict(noisy, times, context, clean[:, :, 0] if step % 2 else None)
        return F.mse_loss(predicted.float(), velocity)

    def report(step: int, loss: float) -> None:
        clean, context = read_latents(shown), texts[shown].float()
        target = decode_frames(vae, clean.transpose(1, 2).flatten(0, 1))
        for kind, key in (("caption", None), ("caption and key frame", torch.cat([clean[:, :, 0]] * 2))):
            latents = sample_guided(
                partial(predict, key=key), make_scheduler(), context, negative, clean.shape[1:], steps=6, guidance=3.0
            )
            made = decode_frames(vae, latents.transpose(1, 2).flatten(0, 1))
            share, psnr = (judge_frames(judge, made) == concepts).float().mean(), measure_psnr(made, target)
            say(f"video: step {step}, loss {loss:.3f}, {kind}: objects recognised {share:.3f}, {psnr:.2f} dB")
        adapter = make_motion_adapter()
        adapter.load_state_dict({k: v for k, v in unet.state_dict().items() if "motion_modules" in k})
        save_half(adapter, folder / "motion_adapter")
        save_half(control, folder / "sparse_control")

    train_steps(
        nn.ModuleList([unet, control]), optimiser, measure, phase="training motion", steps=steps, report=report,
        every=REPORT_EVERY, warmup=WARMUP, hold=HOLD, averaged=True,
    )  # fmt: skip
