"""Training of the `mini` AutoencoderKL.

Two choices decide its quality. Its latents are warm-started on principal components of 8 x 8 patches: for the first
quarter of the steps the encoder is regressed on the components while the decoder learns to decode them, so both agree
on colour and layout before they are trained end to end. The components are only half whitened (divided by the fourth
root of their variance), so that colour and luminance keep most of the latents' variance: diffusion then learns objects
before texture.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn

from bench.core.progress import say, track
from bench.core.seeds import derive_seed
from bench.pretrained.mini_build.batches import PatchBasis, draw_recipes, render_frames, to_pixels
from bench.pretrained.mini_build.networks import FACTOR, LATENT_CHANNELS, make_autoencoder

STEPS, BATCH, LEARNING_RATE = 3000, 8, 2e-3
WARM_SHARE, WARM_WEIGHT, WARM_NOISE = 0.25, 0.5, 0.05
KL_WEIGHT = 1e-6


def cosine(step: int, steps: int, *, warmup: int = 100, hold: float = 0.0) -> float:
    """Learning rate factor: linear warm-up, constant for the share `hold`, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    start = max(warmup, int(hold * steps))
    return 0.5 * (1 + math.cos(math.pi * max(0, step - start) / max(1, steps - start)))


def measure_psnr(vae: AutoencoderKL, frames: np.ndarray) -> float:
    """Pooled PSNR (dB) of reconstructions from the posterior mean."""
    with torch.no_grad():
        pixels = to_pixels(frames)
        rebuilt = vae.decode(vae.encode(pixels).latent_dist.mode()).sample.clamp(-1, 1)
        return float(10 * torch.log10(4 / (rebuilt - pixels).square().mean()))


def train_autoencoder(folder: Path, *, seed: int = 0, steps: int = STEPS) -> None:
    """Train and save to `folder` in the official format; the config's `scaling_factor` gives latents unit variance."""
    rng = np.random.default_rng(derive_seed("suite", "autoencoder", seed))
    torch.manual_seed(derive_seed("suite", "autoencoder", "weights", seed))
    basis = PatchBasis(render_frames(rng, draw_recipes(rng, 1500)), FACTOR, LATENT_CHANNELS)
    spread = (basis.variance * basis.variance[0]).pow(0.25)[:, None, None]
    unseen = render_frames(rng, draw_recipes(rng, 96))
    vae = make_autoencoder().train()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine(step, steps))
    for step in track(range(steps), "training the autoencoder"):
        pixels = to_pixels(render_frames(rng, draw_recipes(rng, BATCH)))
        warm = step < WARM_SHARE * steps
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(pixels).latent_dist
            if warm:
                target = basis.encode(pixels) / spread
                latents = target + WARM_NOISE * torch.randn_like(target)
            else:
                latents = posterior.sample()
            rebuilt = vae.decode(latents).sample
        error = rebuilt.float() - pixels
        loss = error.abs().mean() + 2 * error.square().mean() + KL_WEIGHT * posterior.kl().mean()
        if warm:
            loss = loss + WARM_WEIGHT * (posterior.mean.float() - target).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % 250 == 0:
            say(f"autoencoder: step {step + 1}, loss {loss.item():.4f}, PSNR {measure_psnr(vae.eval(), unseen):.2f} dB")
            vae.train()
    vae.eval()
    with torch.no_grad():
        latents = vae.encode(to_pixels(render_frames(rng, draw_recipes(rng, 512)))).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
    vae.half().save_pretrained(folder)
