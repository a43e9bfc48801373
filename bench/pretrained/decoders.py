"""Video decoders that a method trains: Wan's transformer with LoRA, by flow matching; AnimateDiff in its place.

CineNeuron and the baseline CineSync hand a decoder tokens in place of those of a caption. Both decoders answer the same
calls, so that one can be swapped for the other: encode captions and clips, a loss for a condition, and videos from a
condition. CineNeuron calls its framework "model-agnostic" and its loss equation (9). CineSync used CogVideoX-5B, a
video transformer that Wan stands in for.

Where the papers leave a choice, or contradict themselves:

- CineNeuron's (9) predicts the noise. Wan was trained by flow matching: it predicts the velocity `noise - clip` at
  `(1 - sigma) clip + sigma noise`, so that is its loss. AnimateDiff predicts the noise, as (9) is written.
- Sigma is uniform and then shifted by 3, as the scheduler does in sampling: Wan's own value for 480 lines.
- LoRA is on queries, keys, values and outputs of all attentions, its usual place: at CineNeuron's rank of 16 that is
  11.8 million numbers on Wan 2.1 1.3B.
- A copy of the suite's network carries LoRA and shares its frozen weights: the suite's own draws as it did for whoever
  uses it next, and Wan is in memory once. LoRA's numbers are in float32, whatever the precision of the network.
- Wan's clips have 4k + 1 frames and sides that are multiples of 16. A clip of another shape is brought to the next such
  number of frames (picked evenly, some twice) and to the nearest such sides, and back after decoding. A clip of more
  frames than the suite's Wan was trained on (`wan_frames`) is made at that many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from bench.core.errors import BenchError
from bench.toolbox.budget import release, run_parts
from bench.toolbox.parts import mean_in_parts
from bench.toolbox.resize import fit_clips
from bench.toolbox.sharing import copy_sharing

LORA_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]
LORA_FILE = "pytorch_lora_weights.safetensors"
MOST_CLIPS = 16  # generated at once
Clips = UInt8[np.ndarray, "clip frame height width 3"]
Made = TypeVar("Made")


class BadDecoder(BenchError):
    """A decoder that the suite does not have, or that a condition does not fit."""


class Decoder(Protocol):
    """What training and reconstruction ask of a decoder."""

    network: Any
    shape: tuple[int, int, int]  # frames, height, width of what it makes

    def encode_text(self, captions: Sequence[str]) -> Float[Tensor, "n token text"]: ...

    def release_text(self) -> None: ...

    def encode_video(self, video: Clips) -> Float[Tensor, "n ..."]: ...

    def release_autoencoder(self) -> None: ...

    def measure_loss(
        self, latents: Float[Tensor, "n ..."], condition: Float[Tensor, "n token text"], generator: torch.Generator
    ) -> Float[Tensor, ""]: ...

    def generate(self, condition: Float[Tensor, "n token text"], seeds: Sequence[int]) -> Clips: ...


class WanDecoder:
    """Wan of the suite: `suite.wan`, `suite.wan_vae`, `suite.wan_text`."""

    def __init__(
        self,
        suite: Any,
        *,
        clip_shape: Sequence[int],
        rank: int,
        scale: int,
        shift: float = 3.0,
        steps: int | None = None,
        guidance: float | None = None,
        checkpointing: bool = False,
    ) -> None:
        """`clip_shape`: frames, height, width wanted. `rank` 0: no LoRA, the frozen network."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        if getattr(suite, "wan", None) is None:
            raise BadDecoder(f"suite {suite.name!r} has no Wan; take decoder='animatediff', or fetch its wan role")
        self.suite, self.shift = suite, shift
        self.network, self.dtype = (
            attach_lora(suite.wan, rank=rank, scale=scale, checkpointing=checkpointing),
            suite.wan.dtype,
        )
        self.scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
        own = suite.settings  # Wan's own length, steps and guidance, where the suite has them
        frames = min(clip_shape[0], own.get("wan_frames", clip_shape[0]))
        self.shape = fit_wan((frames, *clip_shape[1:]), self.vae, self.network.config.patch_size)
        self.steps = own.get("wan_steps", own["steps"]) if steps is None else steps
        self.guidance = own.get("wan_guidance", own["guidance"]) if guidance is None else guidance
        c = self.vae.config
        self.mean, self.deviation = (
            torch.tensor(x, device=suite.device)[:, None, None, None] for x in (c.latents_mean, c.latents_std)
        )

    @property
    def vae(self) -> Any:
        """The suite's own, which it may have let go and loads again."""
        return self.suite.wan_vae

    def encode_text(self, captions: Sequence[str]) -> Float[Tensor, "n token text"]:
        """Tokens of Wan's text encoder, zero behind a caption's end: Wan attends without a mask."""
        embeddings, mask = self.suite.wan_text(list(captions))
        return embeddings.float() * mask[..., None].to(embeddings.device, torch.float32)

    @cached_property
    def negative(self) -> Float[Tensor, "1 token text"]:
        """Tokens of the empty caption, the other side of guidance."""
        return self.encode_text([""])

    def release_text(self) -> None:
        """All captions are read: let the text encoder go, which at the papers' size is the largest network by far."""
        if self.guidance > 1:
            _ = self.negative
        release(self.suite, "wan_text_encoder")

    @torch.no_grad()
    def encode_video(self, video: Clips) -> Float[Tensor, "n c f y x"]:
        """Mode of the posterior, standardised as Wan was trained."""
        from bench.pretrained.generators.pipelines import or_in_tiles

        def encode(rows: slice) -> Tensor:
            pixels = torch.from_numpy(fit_clips(video[rows], self.shape)).to(self.suite.device).float()
            latents = self.vae.encode(pixels.div(127.5).sub(1).permute(0, 4, 1, 2, 3)).latent_dist.mode()
            return (latents - self.mean) / self.deviation

        return torch.cat(list(self.walk("encode clips", len(video), or_in_tiles(self.vae, encode), most=len(video))))

    def release_autoencoder(self) -> None:
        """All clips are encoded; what is drawn asks for it again."""
        release(self.suite, "wan_vae")

    def walk(self, what: str, clips: int, make: Callable[[slice], Made], *, most: int) -> Iterator[Made]:
        """`make(rows)` of all clips, of as many at once as fit."""
        what = f"Wan: {what} of {self.shape} in {self.dtype}"
        return run_parts(
            what, clips, make, device=self.suite.device, most=most, memory=getattr(self.suite, "memory", None)
        )

    def measure_loss(
        self, latents: Float[Tensor, "n c f y x"], condition: Float[Tensor, "n token text"], generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """The loss of flow matching; mean over everything."""
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        sigma = shift_sigma(torch.rand(len(latents), generator=generator), self.shift).to(latents)
        broad = sigma[:, None, None, None, None]
        noisy = (1 - broad) * latents + broad * noise
        wanted = noise - latents

        def measure(rows: slice) -> Float[Tensor, ""]:
            velocity = self.network(
                noisy[rows].to(self.dtype), sigma[rows] * 1000, condition[rows].to(self.dtype), return_dict=False
            )[0]
            return functional.mse_loss(velocity.float(), wanted[rows])

        return measure_in_parts(f"Wan: {tuple(latents.shape[1:])} in {noisy.dtype}", measure, latents, self)

    @torch.inference_mode()
    def generate(self, condition: Float[Tensor, "n token text"], seeds: Sequence[int]) -> Clips:
        """A video of `shape` for each condition, from its own seed's noise."""
        from diffusers import WanPipeline

        from bench.pretrained.generators.pipelines import draw_noise, or_in_tiles, quantise

        pipeline = WanPipeline(
            tokenizer=None, text_encoder=None, vae=self.vae, transformer=self.network, scheduler=self.scheduler
        )
        pipeline.set_progress_bar_config(disable=True)
        frames, height, width = self.shape
        c = self.vae.config
        factors = (c.scale_factor_temporal, c.scale_factor_spatial)
        latent = (c.z_dim, (frames - 1) // factors[0] + 1, height // factors[1], width // factors[1])
        negative = self.negative.to(condition) if self.guidance > 1 else None

        def denoise(rows: slice) -> Tensor:
            return pipeline(
                prompt_embeds=condition[rows],
                negative_prompt_embeds=None if negative is None else negative.expand_as(condition[rows]),
                latents=draw_noise(seeds[rows], latent).to(self.suite.device),
                num_frames=frames,
                height=height,
                width=width,
                num_inference_steps=self.steps,
                guidance_scale=self.guidance,
                output_type="latent",
            ).frames

        def decode(latents: Tensor) -> np.ndarray:
            """As the pipeline does, whose arithmetic this is."""
            latents = latents.to(self.vae.dtype)
            mean, deviation = self.mean.to(latents), self.deviation.to(latents)
            pixels = self.vae.decode(latents / (1.0 / deviation) + mean, return_dict=False)[0]
            return quantise((pixels * 0.5 + 0.5).clamp(0, 1).transpose(1, 2))

        parts = [np.zeros((0, frames, height, width, 3), np.uint8)]
        for made in self.walk("draw clips", len(seeds), denoise, most=MOST_CLIPS):
            take = or_in_tiles(self.vae, lambda rows, made=made: decode(made[rows]))  # type: ignore[misc]
            parts += self.walk("decode clips", len(made), take, most=MOST_CLIPS)
        return np.concatenate(parts)


class AnimateDiffDecoder:
    """AnimateDiff of the suite, in Wan's place: `suite.video_unet`, `suite.vae`, `suite.encode_text`."""

    def __init__(
        self,
        suite: Any,
        *,
        clip_shape: Sequence[int],
        rank: int,
        scale: int,
        steps: int | None = None,
        guidance: float | None = None,
        checkpointing: bool = False,
    ) -> None:
        from bench.pretrained.generators.pipelines import PartialDDIMScheduler

        self.suite = suite
        self.network = attach_lora(suite.video_unet, rank=rank, scale=scale, checkpointing=checkpointing)
        self.dtype = suite.video_unet.dtype
        self.scheduler = suite.make_scheduler(PartialDDIMScheduler)
        g = suite.geometry
        self.shape = (g.frames, g.height, g.width)
        self.steps = suite.settings["steps"] if steps is None else steps
        self.guidance = suite.settings["guidance"] if guidance is None else guidance

    def encode_text(self, captions: Sequence[str]) -> Float[Tensor, "n token text"]:
        return self.suite.encode_text(list(captions)).to(self.suite.device)

    def release_text(self) -> None:
        release(self.suite, "text_encoder")

    def encode_video(self, video: Clips) -> Float[Tensor, "n f c y x"]:
        return self.suite.encode_video(fit_clips(video, self.shape)).to(self.suite.device)

    def release_autoencoder(self) -> None:
        release(self.suite, "vae")

    def measure_loss(
        self, latents: Float[Tensor, "n f c y x"], condition: Float[Tensor, "n token text"], generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """Squared error of the predicted noise; mean over everything."""
        clips = latents.transpose(1, 2)
        noise = torch.randn(clips.shape, generator=generator).to(clips)
        times = torch.randint(self.scheduler.config.num_train_timesteps, (len(clips),), generator=generator)
        times = times.to(clips.device)
        noisy = self.scheduler.add_noise(clips, noise, times)

        def measure(rows: slice) -> Float[Tensor, ""]:
            repeated = (
                condition[rows].repeat_interleave(clips.shape[2], dim=0).to(self.dtype)
            )  # the UNet wants one a frame
            return functional.mse_loss(
                self.network(noisy[rows].to(self.dtype), times[rows], repeated).sample.float(), noise[rows]
            )

        return measure_in_parts(f"AnimateDiff: {tuple(latents.shape[1:])} in {noisy.dtype}", measure, latents, self)

    @torch.inference_mode()
    def generate(self, condition: Float[Tensor, "n token text"], seeds: Sequence[int]) -> Clips:
        from diffusers import AnimateDiffPipeline

        from bench.pretrained.generators.pipelines import decode_clips, denoise_clips, draw_noise

        pipeline = AnimateDiffPipeline(
            vae=self.suite.vae,
            text_encoder=None,
            tokenizer=None,
            unet=self.network,
            motion_adapter=None,
            scheduler=self.scheduler,
        )
        pipeline.set_progress_bar_config(disable=True)
        g = self.suite.geometry
        latent = (g.latent_channels, g.frames, g.latent_height, g.latent_width)
        condition = condition.to(self.dtype)
        negative = self.suite.negative_embedding.to(condition)

        def denoise(rows: slice) -> Tensor:
            noise = draw_noise(seeds[rows], latent).to(self.suite.device, self.dtype)
            ways: dict[str, Any] = {"share": 1.0, "steps": self.steps, "guidance": self.guidance}
            return denoise_clips(pipeline, condition[rows], negative, noise, None, **ways)

        memory = getattr(self.suite, "memory", None)
        what = f"AnimateDiff: draw clips of {self.shape} in {self.dtype}"
        drawn = run_parts(what, len(seeds), denoise, device=self.suite.device, most=MOST_CLIPS, memory=memory)
        empty = np.zeros((0, *self.shape, 3), np.uint8)
        return np.concatenate([empty, *(decode_clips(pipeline, made, memory=memory) for made in drawn)])


def measure_in_parts(
    what: str, measure: Callable[[slice], Float[Tensor, ""]], latents: Float[Tensor, "n ..."], decoder: Any
) -> Float[Tensor, ""]:
    """The mean of a decoder's loss over a batch, in parts that fit the device."""
    trained = list_lora(decoder.network) if isinstance(decoder.network, torch.nn.Module) else []
    return mean_in_parts(
        what,
        len(latents),
        measure,
        through=trained[:1],
        device=latents.device,
        memory=getattr(getattr(decoder, "suite", None), "memory", None),
    )


def attach_lora(network: Any, *, rank: int, scale: int, checkpointing: bool = False) -> Any:
    """A copy of the frozen network with LoRA of this rank and scale (alpha) in float32; rank 0: the copy alone.

    The copy shares the frozen weights, so that the network is in memory once. The first factors are random (from
    torch's own generator), the second zero, so the copy draws as the network does.
    """
    from peft import LoraConfig

    made = copy_sharing(network.requires_grad_(False))
    if checkpointing:
        made.enable_gradient_checkpointing()
    if rank:
        made.add_adapter(LoraConfig(r=rank, lora_alpha=scale, target_modules=LORA_TARGETS))
        for parameter in list_lora(made):
            parameter.data = parameter.data.float()
    return made


def list_lora(network: Any) -> list[torch.nn.Parameter]:
    """LoRA's numbers, the only ones of the network that are trained."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def save_lora(network: Any, folder: Path) -> None:
    """LoRA's weights and configuration as one safetensors file, `pytorch_lora_weights.safetensors`."""
    network.save_lora_adapter(folder, weight_name=LORA_FILE)


def load_lora(network: Any, folder: Path) -> None:
    """Put saved LoRA weights into a network without LoRA, bit by bit. Raises BadDecoder where there is no such file."""
    if not (folder / LORA_FILE).is_file():
        raise BadDecoder(f"no {LORA_FILE} in {folder}; save_lora writes it")
    network.load_lora_adapter(folder, prefix=None, weight_name=LORA_FILE, adapter_name="default")


def shift_sigma(uniform: Float[Tensor, " n"], shift: float) -> Float[Tensor, " n"]:
    """Noise shares in [0, 1], moved towards noise as the flow-matching scheduler moves its steps."""
    return shift * uniform / (1 + (shift - 1) * uniform)


def fit_wan(clip_shape: Sequence[int], vae: Any, patch: Sequence[int]) -> tuple[int, int, int]:
    """Frames, height and width nearest to the clip's that Wan can make: frames rounded up, sides to the nearest."""
    frames, height, width = clip_shape
    every = vae.config.scale_factor_temporal
    sides = [vae.config.scale_factor_spatial * size for size in patch[1:]]
    rounded = [max(side, round(size / side) * side) for size, side in zip((height, width), sides, strict=True)]
    return 1 + -(-(frames - 1) // every) * every, rounded[0], rounded[1]
