"""The generative calls of a suite, run by the official diffusers pipelines.

Two things the pipelines do not offer are added by small subclasses. `KeyframeVideoPipeline` gives every sample of a
batch its own key frame and encodes it by the posterior's mode: the official pipeline takes one key frame a call,
samples its latent from the global generator and assumes four latent channels. `PartialDDIMScheduler` starts a video
part of the way down (strength), which the video pipelines lack.

Where a video starts (`start`):
- `noise`: pure noise, latents unused;
- `latents`: the given latents in place of the noise, as SAM-Net and EEG2Video describe it;
- `mixture`: sqrt(1 - strength) latents + sqrt(strength) noise in place of the noise, which keeps unit variance;
- `renoised`: the latents with noise of the time at `strength`, denoised from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from diffusers import (
    AnimateDiffPipeline,
    AnimateDiffSparseControlNetPipeline,
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
)
from diffusers.utils.torch_utils import randn_tensor
from jaxtyping import Float, UInt8
from torch import Tensor

from bench.core.errors import BenchError
from bench.core.progress import say
from bench.toolbox.budget import is_full, run_parts

MOST_FRAMES = 16  # decoded at once, as AnimateDiff's pipeline does

Made = TypeVar("Made")
Start = Literal["noise", "latents", "mixture", "renoised"]


class BadGeneration(BenchError):
    """A call of a generator with arguments that do not go together."""


class PartialDDIMScheduler(DDIMScheduler):
    """DDIM that runs only the last `share` of its steps."""

    share: float = 1.0

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        super().set_timesteps(num_inference_steps, device=device)
        skipped = num_inference_steps - count_steps(num_inference_steps, self.share)
        self.timesteps: Tensor = self.timesteps[skipped:]


class KeyframeVideoPipeline(AnimateDiffSparseControlNetPipeline):
    """SparseCtrl with one key frame for each sample of the batch, given as u8 images."""

    def prepare_image(self, image, width, height, device, dtype):
        latents = encode_pixels(self.vae, image)[:, :, None]  # (B, C, 1, y, x)
        return torch.cat([latents] * 2) if self.do_classifier_free_guidance else latents


class RefiningPipeline(StableDiffusionImg2ImgPipeline):
    """Image-to-image whose noise is drawn in float32, each image's by its own generator, whatever the precision.

    The official pipeline draws in the networks' precision, where a seed gives other numbers. In float32 this is it.
    """

    def prepare_latents(self, image, timestep, batch_size, num_images_per_prompt, dtype, device, generator=None):
        drawn = []
        for one, own in zip(image.to(device, dtype).split(1), generator, strict=True):
            seen = self.vae.encode(one).latent_dist
            drawn.append(seen.mean + seen.std * randn_tensor(seen.mean.shape, own, seen.mean.device).to(dtype))
        clean = self.vae.config.scaling_factor * torch.cat(drawn)
        noise = randn_tensor(clean.shape, generator, clean.device).to(dtype)
        return self.scheduler.add_noise(clean, noise, timestep)


def count_steps(steps: int, strength: float) -> int:
    """Denoising steps left at `strength`, as the image-to-image pipeline counts them."""
    return min(int(steps * strength), steps)


def encode_pixels(vae: AutoencoderKL, images: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n c y x"]:
    """Posterior mode times the scaling factor."""
    pixels = torch.from_numpy(images).to(vae.device, torch.float32).movedim(-1, 1).div(127.5).sub(1)
    return vae.encode(pixels.to(vae.dtype)).latent_dist.mode() * vae.config.scaling_factor


def quantise(pixels: Float[Tensor, "*batch 3 h w"]) -> UInt8[np.ndarray, "*batch h w 3"]:
    """Pixels in [0, 1] to u8, channels last."""
    return pixels.float().mul(255).round_().clamp_(0, 255).byte().movedim(-3, -1).contiguous().cpu().numpy()


def draw_noise(seeds: Sequence[int], shape: Sequence[int]) -> Float[Tensor, "n ..."]:
    """Standard normal noise, a generator for each sample, on the CPU so that any device starts alike."""
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds])


def start_latents(
    start: Start, noise: Tensor, latents: Tensor | None, scheduler: DDIMScheduler, *, steps: int, strength: float
) -> Float[Tensor, "n c f y x"]:
    """What the denoising begins with; `noise` and `latents` are (n, c, f, y, x)."""
    if start not in get_args(Start):
        raise BadGeneration(f"start={start!r} is unknown; use one of {', '.join(get_args(Start))}")
    if start == "noise":
        return noise
    if latents is None:
        raise BadGeneration(f"start={start!r} needs latents; give them or use start='noise'")
    if latents.shape != noise.shape:
        raise BadGeneration(f"latents are {tuple(latents.shape)}, the generator needs {tuple(noise.shape)} (n c f y x)")
    if start == "latents":
        return latents
    if not 0 < strength <= 1:
        raise BadGeneration(f"strength={strength} is outside (0, 1]")
    if start == "mixture":
        return (1 - strength) ** 0.5 * latents + strength**0.5 * noise
    if not count_steps(steps, strength):
        raise BadGeneration(f"strength={strength} of {steps} steps leaves none; raise strength or steps")
    scheduler.share = 1.0  # whatever the call before this one left: the step is counted among all steps
    scheduler.set_timesteps(steps)
    first = scheduler.timesteps[steps - count_steps(steps, strength)]
    return scheduler.add_noise(latents, noise, first.expand(len(noise)))


@torch.no_grad()
def refine_images(
    pipeline: StableDiffusionImg2ImgPipeline,
    embeddings: Float[Tensor, "n t d"],
    negative: Float[Tensor, "1 t d"],
    images: UInt8[np.ndarray, "n h w 3"],
    seeds: Sequence[int],
    *,
    strength: float,
    steps: int,
    guidance: float,
) -> UInt8[np.ndarray, "n h w 3"]:
    """Image-to-image: noise the images to `strength` and denoise them under the embeddings."""
    if not count_steps(steps, strength):
        raise BadGeneration(f"strength={strength} of {steps} steps leaves none; raise strength or steps")
    made = pipeline(
        image=torch.from_numpy(images).movedim(-1, 1).float().div(255),
        prompt_embeds=embeddings,
        negative_prompt_embeds=negative.expand_as(embeddings),
        generator=[torch.Generator().manual_seed(int(seed)) for seed in seeds],
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="pt",
    ).images
    return quantise(made)


@torch.no_grad()
def denoise_clips(
    pipeline: AnimateDiffPipeline | KeyframeVideoPipeline,
    embeddings: Float[Tensor, "n t d"],
    negative: Float[Tensor, "1 t d"],
    initial: Float[Tensor, "n c f y x"],
    keyframes: UInt8[np.ndarray, "n h w 3"] | None,
    *,
    share: float,
    steps: int,
    guidance: float,
) -> Float[Tensor, "n c f y x"]:
    """Denoise `initial` under the embeddings; a key frame, if any, conditions frame 0."""
    given = {} if keyframes is None else {"conditioning_frames": keyframes, "controlnet_frame_indices": [0]}
    pipeline.scheduler.share = share
    factor = pipeline.vae_scale_factor
    return pipeline(
        prompt_embeds=embeddings,
        negative_prompt_embeds=negative.expand_as(embeddings),
        latents=initial,
        num_frames=initial.shape[2],
        height=initial.shape[3] * factor,
        width=initial.shape[4] * factor,
        num_inference_steps=steps,
        guidance_scale=guidance,
        output_type="latent",
        **given,
    ).frames


@torch.no_grad()
def decode_clips(
    pipeline: AnimateDiffPipeline | KeyframeVideoPipeline,
    latents: Float[Tensor, "n c f y x"],
    *,
    memory: int | None = None,
) -> UInt8[np.ndarray, "n f h w 3"]:
    """Pixels of latents, by the pipelines' own arithmetic, as many frames at once as fit the memory.

    AnimateDiff's pipeline decodes 16 frames at once and SparseCtrl's all, which at most that many are here too.
    """
    vae = pipeline.vae
    frames = (1 / vae.config.scaling_factor * latents).transpose(1, 2).flatten(0, 1)

    def decode(rows: slice) -> np.ndarray:
        pixels = vae.decode(frames[rows].to(vae.dtype)).sample.float()
        return quantise((pixels * 0.5 + 0.5).clamp(0, 1))

    what = f"decode frames of {tuple(frames.shape[1:])} in {vae.dtype}"
    most = len(frames) if isinstance(pipeline, KeyframeVideoPipeline) else MOST_FRAMES
    parts = run_parts(what, len(frames), or_in_tiles(vae, decode), device=vae.device, most=most, memory=memory)
    made = np.concatenate(list(parts))
    return made.reshape(len(latents), -1, *made.shape[1:])


def or_in_tiles(vae: Any, make: Callable[[slice], Made]) -> Callable[[slice], Made]:
    """`make`, but one item that does not fit the memory goes through the autoencoder in tiles, from then on all do.

    Tiles overlap and are blended, which changes pixels near their edges a little, so it is said.
    """

    def make_so(rows: slice) -> Made:
        try:
            return make(rows)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_full(error) or rows.stop - rows.start > 1 or vae.use_tiling:
                raise
        say(f"one item does not fit the memory of {vae.device}: the autoencoder works in tiles, blended at their edges")
        vae.enable_tiling()
        return make(rows)

    return make_so
