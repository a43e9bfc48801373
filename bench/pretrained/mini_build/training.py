"""What the training of every mini network shares: seeds, the loop, losses of pixels, and what reports draw.

The loop of `bench.toolbox.training` walks a fixed set of trials at a rate of one cycle; here each step draws its own
batch, most often of clips that were never drawn before, and the rate follows a cosine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import ModelMixin, SchedulerMixin
from diffusers.training_utils import EMAModel
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from bench.core.progress import track
from bench.core.seeds import derive_seed


def seed_training(purpose: str, seed: int) -> np.random.Generator:
    """Seed torch's own generator, from which weights and noise come, and return the one from which clips are drawn."""
    torch.manual_seed(derive_seed("suite", purpose, "weights", seed))
    return np.random.default_rng(derive_seed("suite", purpose, seed))


def cosine(step: int, steps: int, *, warmup: int = 100, hold: float = 0.0) -> float:
    """Learning rate factor: linear warm-up, constant for the share `hold`, then a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    start = max(warmup, int(hold * steps))
    return 0.5 * (1 + math.cos(math.pi * max(0, step - start) / max(1, steps - start)))


def train_steps(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    measure: Callable[[int], Float[Tensor, ""]],
    *,
    phase: str,
    steps: int,
    report: Callable[[int, float], None],
    every: int,
    warmup: int = 100,
    hold: float = 0.0,
    averaged: bool = False,
    after: Callable[[int], None] | None = None,
) -> None:
    """Train the optimiser's parameters in place by `measure`, the loss of a step, with gradients cut at norm 1.

    `measure` draws its own batch. `after` is called with each step once it is done. `report` is called with the number
    of steps done and the last loss, after every `every` steps and at the end, without gradients and with `network`
    evaluating; it may save a draft. If `averaged`, it finds the moving average of the weights in their place.
    """
    trained = [weight for group in optimiser.param_groups for weight in group["params"]]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: cosine(step, steps, warmup=warmup, hold=hold))
    average = EMAModel(trained, decay=0.998, use_ema_warmup=True, power=0.75) if averaged else None
    network.train()
    for step in track(range(steps), phase):
        loss = measure(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        if average is not None:
            average.step(trained)
        if after is not None:
            after(step)
        if (step + 1) % every == 0 or step + 1 == steps:
            network.eval()
            if average is not None:
                average.store(trained)
                average.copy_to(trained)
            with torch.no_grad():
                report(step + 1, loss.item())
            if average is not None:
                average.restore(trained)
            network.train()
    network.eval()


def save_half(network: ModelMixin | PreTrainedModel, folder: Path) -> None:
    """Save in the official format and in fp16. The network stays in fp32, its weights rounded to what was saved."""
    network.half().save_pretrained(folder)
    network.float()


def pixel_loss(made: Float[Tensor, "*shape"], true: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Absolute error and twice the squared error of pixels in [-1, 1]."""
    error = made.float() - true
    return error.abs().mean() + 2 * error.square().mean()


def measure_psnr(made: Float[Tensor, "*shape"], true: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """PSNR in dB over all pixels together, both in [-1, 1]."""
    return 10 * torch.log10(4 / (made - true).square().mean())


@torch.no_grad()
def sample_guided(
    predict: Callable[[Tensor, Tensor, Tensor], Tensor],
    scheduler: SchedulerMixin,
    context: Float[Tensor, "n token text"],
    negative: Float[Tensor, "#n token text"],
    shape: Sequence[int],
    *,
    steps: int,
    guidance: float,
) -> Float[Tensor, "n c *size"]:
    """Latents of `shape` each, from the same noise at every call, by classifier-free guidance (Ho & Salimans 2022).

    `predict` maps noisy latents, their time and their context, without captions in the first half of the batch and
    with them in the second, to what the scheduler's step takes.
    """
    scheduler.set_timesteps(steps)
    latents = torch.randn(len(context), *shape, generator=torch.Generator().manual_seed(0))
    double = torch.cat([negative.expand_as(context), context])
    for time in scheduler.timesteps:
        without, with_ = predict(torch.cat([latents] * 2), time, double).chunk(2)
        latents = scheduler.step(without + guidance * (with_ - without), time, latents).prev_sample
    return latents
