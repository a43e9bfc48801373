"""Training of the `mini` generators: first images from captions, then motion and key frames on top.

Stage one trains the image UNet and the text encoder together on single frames. Stage two freezes both and trains the
motion adapter and the sparse control network together on clips, with the key frame given in every other step; so one
image UNet serves image-to-image refinement and video. The first stage computes in float32, because the backward of
fused attention in bf16 is slow on a CPU; the second in bf16 with plain attention, 1.6 times as fast, because only
small layers are trained. All learn to predict velocity under a schedule that ends in pure noise, at times drawn
towards noise, where it is decided what is drawn; what is saved is the moving average of the weights. The loss says
little: the share of generated frames whose object a judge recognises is reported instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer, PreTrainedModel, ViTForImageClassification

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.datasets.phantom.stimuli import SCENES, describe
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.pretrained.generators.text import encode_captions, tokenize
from bench.pretrained.mini_build.batches import draw_recipes, render_clips, to_pixels
from bench.pretrained.mini_build.networks import (
    make_motion_adapter,
    make_scheduler,
    make_sparse_control,
    make_text_encoder,
    make_tokenizer,
    make_unet,
)
from bench.pretrained.mini_build.train_autoencoder import cosine

IMAGE_STEPS, IMAGE_BATCH, IMAGE_RATE = 5200, 16, 1.5e-3
VIDEO_STEPS, VIDEO_BATCH, VIDEO_RATE = 3400, 6, 1e-3
SHARDS, SHARD = 3, 2000  # parts of the pool of encoded clips, and clips in each
CAPTION_DROPOUT, HOLD = 0.1, 0.4
REPORT_EVERY = 850


@dataclass(frozen=True, kw_only=True)
class LatentPool:
    """Clips of the suite's pool as scaled latents, with their captions and concepts."""

    latents: Float[Tensor, "clip f c y x"]  # stored in half precision
    captions: tuple[str, ...]
    concepts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.captions)


def encode_shard(vae: AutoencoderKL, shard: int, *, seed: int = 0, clips: int = SHARD) -> Float[Tensor, "clip f c y x"]:
    """Latents of the clips that `shard_recipes` lists, posterior mean times the scaling factor, in half precision."""
    parts = []
    recipes = shard_recipes(shard, seed=seed, clips=clips)
    for start in track(range(0, clips, 8), f"encoding clips, part {shard + 1}"):
        pixels = to_pixels(render_clips(recipes[start : start + 8]))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            mode = vae.encode(pixels.flatten(0, 1)).latent_dist.mode()
        parts.append((mode.float() * vae.config.scaling_factor).half().unflatten(0, pixels.shape[:2]))
    return torch.cat(parts)


def shard_recipes(shard: int, *, seed: int = 0, clips: int = SHARD) -> list:
    return draw_recipes(np.random.default_rng(derive_seed("suite", "generators", "clips", shard, seed)), clips)


def make_pool(shards: Sequence[Tensor], *, seed: int = 0) -> LatentPool:
    recipes = [recipe for k, part in enumerate(shards) for recipe in shard_recipes(k, seed=seed, clips=len(part))]
    return LatentPool(
        latents=torch.cat(list(shards)),
        captions=tuple(describe(recipe) for recipe in recipes),
        concepts=tuple(recipe.concept for recipe in recipes),
    )


def draw_times(rng: np.random.Generator, count: int, scheduler: DDIMScheduler) -> Tensor:
    """Diffusion times, density growing towards pure noise."""
    return torch.from_numpy((scheduler.config.num_train_timesteps * rng.random(count) ** 0.7).astype(np.int64))


def velocity_pair(scheduler: DDIMScheduler, clean: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    noise = torch.randn_like(clean)
    return scheduler.add_noise(clean, noise, times), scheduler.get_velocity(clean, noise, times)


@torch.no_grad()
def judge_frames(judge: PreTrainedModel, vae: AutoencoderKL, latents: Float[Tensor, "n c y x"]) -> Tensor:
    """The object a frame judge sees in each latent."""
    pixels = vae.decode(latents / vae.config.scaling_factor).sample.clamp(-1, 1)
    return judge(pixels).logits.unflatten(1, (len(CONCEPTS), len(SCENES))).logsumexp(2).argmax(1)


@torch.no_grad()
def sample_frames(
    unet: UNet2DConditionModel, embeddings: Tensor, negative: Tensor, *, steps: int = 8, guidance: float = 3.0
) -> Float[Tensor, "n c y x"]:
    """Plain guided DDIM on single frames, for reports during training."""
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps)
    size, channels = unet.config.sample_size, unet.config.in_channels
    latents = torch.randn(len(embeddings), channels, size, size, generator=torch.Generator().manual_seed(0))
    context = torch.cat([negative.expand_as(embeddings), embeddings])
    for time in scheduler.timesteps:
        without, with_ = unet(torch.cat([latents] * 2), time, context).sample.chunk(2)
        latents = scheduler.step(without + guidance * (with_ - without), time, latents).prev_sample
    return latents


def train_image_generator(
    folder: Path, pool: LatentPool, vae: AutoencoderKL, judge: ViTForImageClassification, *, seed: int = 0,
    steps: int = IMAGE_STEPS,
) -> None:  # fmt: skip
    """Train UNet and text encoder; saves `unet`, `text_encoder`, `tokenizer` and `scheduler` under `folder`."""
    rng = np.random.default_rng(derive_seed("suite", "image_generator", seed))
    torch.manual_seed(derive_seed("suite", "image_generator", "weights", seed))
    tokenizer = make_tokenizer(sorted(set(pool.captions)))
    text_encoder, unet, scheduler = make_text_encoder(tokenizer).train(), make_unet().train(), make_scheduler()
    tokens = tokenize(tokenizer, pool.captions, repeat=True)
    empty = tokenize(tokenizer, [""])[0]
    both = nn.ModuleList([text_encoder, unet])
    average = EMAModel(both.parameters(), decay=0.998, use_ema_warmup=True, power=0.75)
    optimiser = torch.optim.AdamW(both.parameters(), lr=IMAGE_RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine(step, steps, warmup=200, hold=HOLD))
    tested = draw_recipes(rng, 80)

    def report(step: int) -> None:
        average.store(both.parameters())
        average.copy_to(both.parameters())
        both.eval()
        embeddings = encode_captions(tokenizer, text_encoder, [describe(recipe) for recipe in tested], repeat=True)
        latents = sample_frames(unet, embeddings, encode_captions(tokenizer, text_encoder, [""]))
        seen = judge_frames(judge, vae, latents)
        share = (seen == torch.tensor([recipe.concept for recipe in tested])).float().mean()
        say(f"images: step {step}, loss {loss.item():.3f}, objects recognised {share:.3f}")
        for name, network in (("unet", unet), ("text_encoder", text_encoder)):
            network.half().save_pretrained(folder / name)
            network.float()
        tokenizer.save_pretrained(folder / "tokenizer")
        scheduler.save_pretrained(folder / "scheduler")
        average.restore(both.parameters())
        both.train()

    for step in track(range(steps), "training images"):
        rows = rng.integers(len(pool), size=IMAGE_BATCH)
        clean = pool.latents[rows, rng.integers(pool.latents.shape[1], size=IMAGE_BATCH)].float()
        ids = tokens[rows].clone()
        ids[torch.from_numpy(rng.random(IMAGE_BATCH) < CAPTION_DROPOUT)] = empty
        times = draw_times(rng, IMAGE_BATCH, scheduler)
        noisy, velocity = velocity_pair(scheduler, clean, times)
        predicted = unet(noisy, times, text_encoder(ids).last_hidden_state).sample
        loss = F.mse_loss(predicted, velocity)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.step(both.parameters())
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
            report(step + 1)


def train_video_generator(
    folder: Path, pool: LatentPool, vae: AutoencoderKL, judge: ViTForImageClassification, images: Path, *,
    seed: int = 0, steps: int = VIDEO_STEPS,
) -> None:  # fmt: skip
    """Train motion adapter and sparse control on the frozen image generator in `images`; saves both under `folder`."""
    rng = np.random.default_rng(derive_seed("suite", "video_generator", seed))
    torch.manual_seed(derive_seed("suite", "video_generator", "weights", seed))
    tokenizer = CLIPTokenizer.from_pretrained(images / "tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(images / "text_encoder", torch_dtype=torch.float32).eval()
    unet2d = UNet2DConditionModel.from_pretrained(images / "unet", torch_dtype=torch.float32)
    unet = UNetMotionModel.from_unet2d(unet2d, make_motion_adapter()).requires_grad_(False)
    control, scheduler = make_sparse_control(), make_scheduler()
    for part in ("conv_in", "time_embedding", "down_blocks", "mid_block"):  # start from what the UNet knows
        getattr(control, part).load_state_dict(getattr(unet2d, part).state_dict(), strict=False)
    for name, weight in control.named_parameters():
        if "motion_modules" in name and ".proj_out." in name:
            weight.data.zero_()
    motion = [weight.requires_grad_(True) for name, weight in unet.named_parameters() if "motion_modules" in name]
    trained = [*motion, *control.parameters()]
    average = EMAModel(trained, decay=0.998, use_ema_warmup=True, power=0.75)
    optimiser = torch.optim.AdamW(trained, lr=VIDEO_RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine(step, steps, warmup=200, hold=HOLD))
    unet.set_attn_processor(AttnProcessor())
    control.set_attn_processor(AttnProcessor())
    chunks = [pool.captions[start : start + 50] for start in range(0, len(pool), 50)]
    texts = torch.cat([encode_captions(tokenizer, text_encoder, chunk, repeat=True).half() for chunk in chunks])
    negative = encode_captions(tokenizer, text_encoder, [""])[0]
    frames = pool.latents.shape[1]

    def predict(noisy: Tensor, times: Tensor, context: Tensor, key: Tensor | None) -> Tensor:
        context = context.repeat_interleave(frames, dim=0)
        if key is None:
            return unet(noisy, times, context).sample
        given = torch.zeros_like(noisy)
        given[:, :, 0] = key
        mask = torch.zeros_like(noisy[:, :1])
        mask[:, :, 0] = 1
        down, middle = control(noisy, times, context, given, conditioning_mask=mask, return_dict=False)
        return unet(
            noisy, times, context, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample

    @torch.no_grad()
    def sample(context: Tensor, key: Tensor | None, shape: torch.Size) -> Tensor:
        ddim = make_scheduler()
        ddim.set_timesteps(6)
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        double = torch.cat([negative.expand_as(context), context])
        for time in ddim.timesteps:
            keys = None if key is None else torch.cat([key, key])
            without, with_ = predict(torch.cat([latents] * 2), time, double, keys).chunk(2)
            latents = ddim.step(without + 3 * (with_ - without), time, latents).prev_sample
        return latents

    def report(step: int) -> None:
        average.store(trained)
        average.copy_to(trained)
        rows = np.arange(min(24, len(pool)))
        clean = pool.latents[rows].float().transpose(1, 2)
        with torch.no_grad():
            target = vae.decode(clean.transpose(1, 2).flatten(0, 1) / vae.config.scaling_factor).sample.clamp(-1, 1)
        concepts = torch.tensor([pool.concepts[row] for row in rows])
        for kind, key in (("caption", None), ("caption and key frame", clean[:, :, 0])):
            latents = sample(texts[rows].float(), key, clean.shape).transpose(1, 2).flatten(0, 1)
            share = (judge_frames(judge, vae, latents) == concepts.repeat_interleave(frames)).float().mean()
            with torch.no_grad():
                made = vae.decode(latents / vae.config.scaling_factor).sample.clamp(-1, 1)
            psnr = 10 * torch.log10(4 / (made - target).square().mean())
            say(f"video: step {step}, loss {loss.item():.3f}, {kind}: objects recognised {share:.3f}, {psnr:.2f} dB")
        adapter = make_motion_adapter()
        adapter.load_state_dict({k: v for k, v in unet.state_dict().items() if "motion_modules" in k})
        adapter.half().save_pretrained(folder / "motion_adapter")
        control.half().save_pretrained(folder / "sparse_control")
        control.float()
        average.restore(trained)

    for step in track(range(steps), "training motion"):
        rows = rng.integers(len(pool), size=VIDEO_BATCH)
        clean = pool.latents[rows].float().transpose(1, 2)
        context = texts[rows].float()
        context[torch.from_numpy(rng.random(VIDEO_BATCH) < CAPTION_DROPOUT)] = negative
        times = draw_times(rng, VIDEO_BATCH, scheduler)
        noisy, velocity = velocity_pair(scheduler, clean, times)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = predict(noisy, times, context, clean[:, :, 0] if step % 2 else None)
        loss = F.mse_loss(predicted.float(), velocity)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        average.step(trained)
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == steps:
            report(step + 1)
