"""Training: the backbone (stage A), the prior (stage B), the perception reconstructor.

| | loss |
|---|---|
| stage A | BiMixCo to the key frame's embedding + text weight × BiMixCo to the caption's |
| stage B, only the prior | prior scale × MSE + SoftCLIP of its output to the key frame + text weight × to the caption |
| perception | (L1 of the latents + contrast × SoftCLIP of the features) × 0.5 |

In stage B the backbone is frozen: the contrastive losses can reach nothing but the prior and are taken on its output.
What CLIP gives is one embedding, which the mean of the brain's tokens is compared with, or as many tokens as the
brain's, which are compared place by place. Captions are compared with what `pool` makes of tokens. The temperature of
SoftCLIP rises evenly over stage B. Batches, mixtures and noise have generators of their own. Where a batch does not fit
the device, its parts go one after the other (`bench.toolbox.parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.neuroclips.losses import bimixco, mix_trials, soft_clip
from baselines.neuroclips.perception import PerceptionReconstructor
from baselines.neuroclips.prior import DiffusionPrior
from baselines.neuroclips.semantic import SemanticReconstructor
from bench.toolbox.parts import run_in_parts
from bench.toolbox.read_signals import Reader
from bench.toolbox.training import train_steps

Pool = Callable[[Float[Tensor, "trial token width"]], Float[Tensor, "trial embedding"]]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """One phase of training, as `train_steps` takes it: what is trained, for how long, what draws its batches."""

    parameters: Sequence[nn.Parameter]
    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    batches: torch.Generator
    phase: str
    memory: int | None = None


def train_backbone(
    semantic: SemanticReconstructor,
    read: Reader,
    clip: Int64[Tensor, " trial"],
    images: Float[Tensor, "clip 2 token width"],
    texts: Float[Tensor, "clip embedding"],
    schedule: Schedule,
    *,
    pool: Pool,
    temperature: float,
    text_weight: float,
    mixtures: np.random.Generator | None,
) -> list[float]:
    """Stage A, in place; `mixtures` None: trials are not mixed. Returns the loss of each step."""
    seen: list[float] = []  # one entry a step

    def measure(rows: np.ndarray) -> Float[Tensor, ""]:
        signals, subject = read(rows)
        other = share = None
        if mixtures is not None:
            signals, other, share = mix_trials(signals, subject, mixtures)
        shown = clip[rows]
        targets = pick_images(images, shown, choose_view(len(seen), schedule, len(clip)))
        single, aims = targets.shape[1] == 1, functional.normalize(targets.flatten(1), dim=1)
        del targets  # 720 trials' tokens are 1.2 GB
        words = functional.normalize(texts[shown], dim=1)
        seen.append(0.0)

        # whole, or each part would make a gradient of 1.7 billion weights; row by row, or one of all tokens
        hidden = semantic.read(signals, subject).unbind()

        def compare(part: slice) -> tuple[Tensor, ...]:
            tokens = semantic.projector(torch.stack(hidden[part]))
            said = (match_tokens(tokens, single=single), pool(tokens))
            return tuple(functional.normalize(one, dim=1) @ aim.T for one, aim in zip(said, (aims, words), strict=True))

        what = f"NeuroClips' tokens: {tuple(hidden[0].shape)} of {len(rows)}"
        options: Any = {"through": hidden[:1], "device": signals.device, "memory": schedule.memory}
        cosines = run_in_parts(what, len(rows), compare, **options)
        losses = [
            weight * bimixco(found, shown, temperature=temperature, other=other, share=share)
            for weight, found in zip((1.0, text_weight), cosines, strict=True)
        ]
        return torch.stack(losses).sum()

    return train_steps(semantic, measure, trials=len(clip), lists=[seen], **vars(schedule))


def train_prior(
    semantic: SemanticReconstructor,
    prior: DiffusionPrior,
    read: Reader,
    clip: Int64[Tensor, " trial"],
    images: Float[Tensor, "clip 2 token width"],
    texts: Float[Tensor, "clip embedding"],
    schedule: Schedule,
    *,
    pool: Pool,
    temperatures: tuple[float, float],
    text_weight: float,
    scale: float,
    drop: float,
    noise: torch.Generator,
) -> list[float]:
    """Stage B, in place, the backbone as it is. Returns the squared error of each step."""
    errors: list[float] = []

    def measure(rows: np.ndarray) -> Float[Tensor, ""]:
        step = len(errors)
        signals, subject = read(rows)
        shown = clip[rows]
        targets = pick_images(images, shown, choose_view(step, schedule, len(clip)))
        with torch.no_grad():
            brain = semantic(signals, subject)
        noisy, time, told = prior.disturb(targets, brain, noise, drop=drop)

        def denoise(part: slice) -> tuple[Tensor, ...]:
            return (prior(noisy[part], time[part], told[part]),)

        options: Any = {"through": [prior.places], "device": signals.device, "memory": schedule.memory}
        (clean,) = run_in_parts(f"NeuroClips' prior: {tuple(noisy.shape[1:])}", len(rows), denoise, **options)
        error = functional.mse_loss(clean, targets)
        warmth = temperatures[0] + (temperatures[1] - temperatures[0]) * step / max(1, schedule.steps - 1)
        contrast = soft_clip(clean.flatten(1), targets.flatten(1), temperature=warmth)
        contrast = contrast + text_weight * soft_clip(pool(clean), texts[shown], temperature=warmth)
        errors.append(float(error.detach()))
        return scale * error + contrast

    train_steps(prior, measure, trials=len(clip), lists=[errors], **vars(schedule))
    return errors


def train_perception(
    perception: PerceptionReconstructor,
    read: Reader,
    clip: Int64[Tensor, " trial"],
    latents: Float[Tensor, "clip frame c y x"],
    features: Float[Tensor, "clip feature"],
    schedule: Schedule,
    *,
    contrast: float,
    temperature: float,
) -> list[float]:
    """In place. Returns the L1 of each step."""
    errors: list[float] = []

    def measure(rows: np.ndarray) -> Float[Tensor, ""]:
        signals, subject = read(rows)
        shown = clip[rows]

        def see(part: slice) -> tuple[Tensor, ...]:
            return perception(signals[part], subject[part])

        first = [*schedule.parameters[:1], *(one for one in perception.mixer.parameters() if one.requires_grad)][:2]
        options: Any = {"through": first, "device": signals.device, "memory": schedule.memory}
        made, described = run_in_parts(f"NeuroClips' frames: {tuple(latents.shape[1:])}", len(rows), see, **options)
        error = functional.l1_loss(made, latents[shown])
        errors.append(float(error.detach()))
        return 0.5 * (error + contrast * soft_clip(described, features[shown], temperature=temperature))

    train_steps(perception, measure, trials=len(clip), lists=[errors], **vars(schedule))
    return errors


def choose_view(step: int, schedule: Schedule, trials: int) -> int:
    """Which of the two key frames: they alternate from epoch to epoch."""
    return step * min(schedule.batch_size, trials) // trials % 2


def pick_images(
    images: Float[Tensor, "clip 2 token width"], shown: Int64[Tensor, " trial"], view: int
) -> Float[Tensor, "trial token width"]:
    """One of the two key frames of each trial's clip, on the trials' device in single precision."""
    return images[shown.to(images.device), view].to(shown.device, torch.float32)


def match_tokens(tokens: Float[Tensor, "trial token width"], *, single: bool) -> Float[Tensor, "trial numbers"]:
    """The brain's tokens as a vector to compare with the targets': their mean where each is a `single` token."""
    return tokens.mean(dim=1) if single else tokens.flatten(1)
