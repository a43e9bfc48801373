"""A suite: the pretrained networks that methods build on, behind one set of calls, and the judges that metrics ask.

`load_suite("mini")` and `load_suite("paper")` go through the same code: here are the calls, and in
`bench.pretrained.networks` which networks there are and how they are loaded. Nothing is downloaded unless `fetch_suite`
is called.

What goes in is brought to the suite's device and precision, and latents and embeddings come out in float32, on the CPU.
Noise is drawn in float32 on the CPU and then cast, so that a seed starts alike on every device and in every precision.

The pipelines are imported when first used: a run that finds all its cells in the store asks for the digest alone.

Latents are the posterior mean times the autoencoder's `scaling_factor`, so they have about unit variance. A generated
sample depends on its own seed and inputs; sharing a batch changes it by float rounding at most. How many go at once is
what fits the memory of the device (`bench.toolbox.budget`), and never more than the numbers below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from bench.core.hardware import Precision
from bench.pretrained.networks import Networks
from bench.pretrained.roles import find_suite
from bench.toolbox.budget import run_parts

if TYPE_CHECKING:
    from bench.pretrained.generators.pipelines import Start

MOST_FRAMES, MOST_CLIPS = 96, 16  # at once through the autoencoder, and through the generators
MOST_CAPTIONS = 64

Made = TypeVar("Made")


class Suite(Networks):
    """Networks by role, and what they are asked for: arrays in and out."""

    def run_parts(self, what: str, count: int, make: Callable[[slice], Made], *, most: int) -> Iterator[Made]:
        """`make(rows)` of slices from 0 to `count`, each of as many items as the device's memory holds."""
        what = f"{self.name}: {what} in {self.precision}"
        return run_parts(what, count, make, device=self.device, most=most, memory=self.memory)

    def encode_text(self, captions: Sequence[str]) -> Float[Tensor, "n 77 D"]:
        """Last hidden state of the CLIP text encoder."""
        from bench.pretrained.generators.text import encode_captions

        def encode(rows: slice) -> Tensor:
            read = encode_captions(self.tokenizer, self.text_encoder, list(captions[rows]), repeat=repeat)
            return read.float().cpu()

        self.require_generators()
        repeat = self.settings["repeat_captions"]
        empty = torch.zeros(0, self.geometry.tokens, self.geometry.text_width)
        return torch.cat([empty, *self.run_parts("read captions", len(captions), encode, most=MOST_CAPTIONS)])

    @torch.no_grad()
    def wan_text(self, captions: Sequence[str]) -> tuple[Float[Tensor, "n token D"], Bool[Tensor, "n token"]]:
        """Tokens of UMT5, as many as the suite's `wan_tokens`, and which of them belong to the caption."""
        options: dict[str, Any] = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        read = self._wan_tokenizer(list(captions), max_length=self.settings["wan_tokens"], **options)
        ids, mask = read.input_ids.to(self.device), read.attention_mask.to(self.device)

        def encode(rows: slice) -> Tensor:
            return self._wan_text_encoder(ids[rows], mask[rows]).last_hidden_state.float()

        parts = self.run_parts(f"read captions of {ids.shape[1]} tokens", len(ids), encode, most=MOST_CAPTIONS)
        return torch.cat(list(parts)), mask.bool()

    def embed_images(self, frames: UInt8[np.ndarray, "m h w 3"]) -> Float32[np.ndarray, "m d"]:
        """The large CLIP's embedding of each frame, not of unit length."""
        return self.judges.observe("clip_large", frames[:, None])[:, 0]

    def embed_patches(self, frames: UInt8[np.ndarray, "m h w 3"]) -> Float32[np.ndarray, "m token d"]:
        """The largest CLIP's tokens of each frame's patches."""
        return self.judges.observe("clip_big_tokens", frames[:, None])[:, 0]

    def embed_texts(self, captions: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Captions in the space of `embed_images`."""
        return self.judges.embed_captions("clip_large", captions)

    def embed_actions(self, video: UInt8[np.ndarray, "n f h w 3"]) -> Float32[np.ndarray, "n d"]:
        """X-CLIP's embedding of each clip."""
        return self.judges.observe("action", video)

    @cached_property
    def negative_embedding(self) -> Float[Tensor, "1 77 D"]:
        """Of the empty caption, the other side of classifier-free guidance."""
        return self.encode_text([""])

    @torch.no_grad()
    def encode_video(self, video: UInt8[np.ndarray, "n f h w 3"]) -> Float[Tensor, "n f c lh lw"]:
        """Posterior mean times the scaling factor, of each frame."""
        from bench.pretrained.generators.pipelines import BadGeneration, encode_pixels, or_in_tiles

        g = self.geometry
        if video.shape[2:] != (g.height, g.width, 3):
            raise BadGeneration(f"video is {video.shape}; this suite needs (n, f, {g.height}, {g.width}, 3)")
        frames = video.reshape(-1, *video.shape[2:])

        def encode(rows: slice) -> Tensor:
            return encode_pixels(self.vae, frames[rows]).float().cpu()

        empty = torch.zeros(0, g.latent_channels, g.latent_height, g.latent_width)
        parts = self.run_parts("encode frames", len(frames), or_in_tiles(self.vae, encode), most=MOST_FRAMES)
        return torch.cat([empty, *parts]).unflatten(0, video.shape[:2])

    @torch.no_grad()
    def decode_latents(self, latents: Float[Tensor, "n f c lh lw"]) -> UInt8[np.ndarray, "n f H W 3"]:
        from bench.pretrained.generators.pipelines import or_in_tiles, quantise

        frames = latents.flatten(0, 1)
        g = self.geometry

        def decode(rows: slice) -> np.ndarray:
            chunk = frames[rows].to(self.device, self.vae.dtype)
            return quantise(self.vae.decode(chunk / self.vae.config.scaling_factor).sample.float().add(1).div(2))

        empty = np.zeros((0, g.height, g.width, 3), np.uint8)
        parts = self.run_parts("decode latents", len(frames), or_in_tiles(self.vae, decode), most=MOST_FRAMES)
        return np.concatenate([empty, *parts]).reshape(*latents.shape[:2], g.height, g.width, 3)

    def refine_keyframe(
        self,
        embeddings: Float[Tensor, "n 77 D"],
        images: UInt8[np.ndarray, "n H W 3"],
        seeds: Sequence[int],
        *,
        strength: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> UInt8[np.ndarray, "n H W 3"]:
        """Image-to-image: a clearer picture of what the embeddings say, near the given one.

        `strength` in (0, 1] is how much is drawn anew; it, `steps` and `guidance` default to the suite's own.
        """
        from bench.pretrained.generators.pipelines import refine_images

        guidance = self.settings["guidance"] if guidance is None else guidance

        def refine(rows: slice) -> np.ndarray:
            return refine_images(
                self._image_pipeline,
                embeddings[rows].to(self.device, self.dtype),
                self.negative_embedding.to(self.device, self.dtype),
                images[rows],
                seeds[rows],
                strength=self.settings["strength"] if strength is None else strength,
                steps=self.settings["steps"] if steps is None else steps,
                guidance=guidance,
            )

        empty = np.zeros((0, self.geometry.height, self.geometry.width, 3), np.uint8)
        what = f"refine key frames{' under guidance' * (guidance > 1)}"
        return np.concatenate([empty, *self.run_parts(what, len(seeds), refine, most=MOST_CLIPS)])

    def generate_video(
        self,
        embeddings: Float[Tensor, "n 77 D"],
        seeds: Sequence[int],
        *,
        latents: Float[Tensor, "n f c lh lw"] | None = None,
        keyframes: UInt8[np.ndarray, "n H W 3"] | None = None,
        start: Start = "noise",
        strength: float | None = None,
        steps: int | None = None,
        guidance: float | None = None,
    ) -> UInt8[np.ndarray, "n f H W 3"]:
        """AnimateDiff from embeddings, with SparseCtrl where key frames are given (they condition frame 0).

        `start` says what latents do (`bench.pretrained.generators.pipelines`); `strength`, `steps` and `guidance`
        default to the suite's own. Raises `BadGeneration` where the arguments do not go together.
        """
        from bench.pretrained.generators.pipelines import decode_clips, denoise_clips, draw_noise, start_latents

        g = self.geometry
        steps = self.settings["steps"] if steps is None else steps
        strength = self.settings["strength"] if strength is None else strength
        guidance = self.settings["guidance"] if guidance is None else guidance
        pipeline = self._video_pipeline if keyframes is None else self._keyframe_pipeline
        shape = (g.latent_channels, g.frames, g.latent_height, g.latent_width)

        def denoise(rows: slice) -> Tensor:
            noise = draw_noise(seeds[rows], shape).to(self.device)
            given = None if latents is None else latents[rows].to(self.device, torch.float32).transpose(1, 2)
            initial = start_latents(start, noise, given, pipeline.scheduler, steps=steps, strength=strength)
            return denoise_clips(
                pipeline,
                embeddings[rows].to(self.device, self.dtype),
                self.negative_embedding.to(self.device, self.dtype),
                initial.to(self.dtype),
                None if keyframes is None else keyframes[rows],
                share=strength if start == "renoised" else 1.0,
                steps=steps,
                guidance=guidance,
            )

        parts = [np.zeros((0, g.frames, g.height, g.width, 3), np.uint8)]
        what = f"draw clips{' from key frames' * (keyframes is not None)}{' under guidance' * (guidance > 1)}"
        for made in self.run_parts(what, len(seeds), denoise, most=MOST_CLIPS):
            parts.append(decode_clips(pipeline, made, memory=self.memory))
            del made
        return np.concatenate(parts)

    def video_logits(self, videos: UInt8[np.ndarray, "n f h w 3"]) -> Float32[np.ndarray, "n classes"]:
        """Logits of the video judge (400 classes)."""
        return self.judges.observe("video", videos)

    def frame_logits(self, frames: UInt8[np.ndarray, "m h w 3"]) -> Float32[np.ndarray, "m classes"]:
        """Logits of the frame judge."""
        return self.judges.observe("frame", frames[:, None])[:, 0]


def load_suite(
    name: str | Path,
    *,
    device: str | torch.device | None = None,
    precision: Precision = "fp32",
    memory: int | None = None,
    threads: int | None = None,
) -> Suite:
    """The suite of that name, or the one that `<folder>/suite.toml` describes; networks load when first used.

    `device` is "cpu", "cuda", "cuda:N" or, by default, a GPU where there is one. `precision` is "fp32", exact, "bf16"
    or "fp16". `memory` is how many bytes of the device may be used, `threads` (None: torch's own number) the judges'.
    """
    return Suite(*find_suite(name), device=device, precision=precision, memory=memory, threads=threads)
