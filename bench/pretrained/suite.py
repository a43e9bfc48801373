"""A suite: the pretrained networks that methods build on, behind one set of calls, and the judges that metrics ask.

`load_suite("mini")` and `load_suite("paper")` go through the same code: every role is loaded when first used by the
`from_pretrained` of its official class, from a folder of the package or from the local Hugging Face cache. Nothing is
downloaded unless `fetch_suite` is called; a missing role raises `MissingWeights`, which says what to fetch
(`bench.pretrained.roles`).

Networks are on the device and in the precision that the suite is loaded with; what goes in is brought to both, and
latents and embeddings come out in float32, on the CPU. In half precision Wan's autoencoder stays in float32, as
diffusers' own examples load it: what it makes of a frame is handed on to the frames behind it. Noise is drawn in
float32 on the CPU and then cast, so that a seed starts alike on every device and in every precision.

The pipelines are imported when first used: a run that finds all its cells in the store asks for the digest alone.

Latents are the posterior mean times the autoencoder's `scaling_factor`, so they have about unit variance. A generated
sample depends on its own seed and inputs; sharing a batch changes it by float rounding at most. How many go at once is
what fits the memory of the device (`bench.toolbox.budget`), and never more than the numbers below.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor

from bench.core.hardware import AUTO, Precision, check_device, check_precision
from bench.pretrained.judges.observe import Judges
from bench.pretrained.roles import GENERATORS, MissingWeights, find_suite, loading, make_roles
from bench.toolbox.budget import empty_cache, run_parts
from bench.toolbox.precision import DTYPES

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, AutoencoderKLWan, UNet2DConditionModel, WanTransformer3DModel
    from diffusers.models import UNetMotionModel

    from bench.pretrained.generators.pipelines import Start

MOST_FRAMES, MOST_CLIPS = 96, 16  # at once through the autoencoder, and through the generators
MOST_CAPTIONS = 64
HELD = {
    "text_encoder": "text_encoder",
    "wan_text_encoder": "_wan_text_encoder",
}  # where a suite holds what it can let go

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class SuiteGeometry:
    """Sizes that methods adapt to: pixels, frames, latents a frame, tokens a caption."""

    height: int
    width: int
    frames: int
    fps: float
    latent_channels: int
    latent_height: int
    latent_width: int
    tokens: int
    text_width: int


class Suite:
    """Networks by role, loaded when first used; arrays in and out."""

    def __init__(
        self,
        name: str,
        settings: dict[str, Any],
        base: Path,
        *,
        device: str | torch.device | None = None,
        precision: Precision = "fp32",
        memory: int | None = None,
        threads: int | None = None,
    ) -> None:
        """`device` is a name of torch's, or None or "auto" for a GPU where there is one; `memory` is how many bytes of
        it may be used, `threads` how many the judges compute with. Raises BenchError for a device that is not there."""
        check_precision(precision)
        if str(device) != "meta":
            check_device(str(device or AUTO))
        self.name = name
        self.settings = settings
        self.base = base
        self.precision: Precision = precision
        self.dtype = DTYPES[precision]
        self.memory = memory
        self.threads = threads
        self.roles = make_roles(settings, base)
        absent = [role for role in GENERATORS if role not in self.roles]
        if absent and len(absent) < len(GENERATORS):
            raise MissingWeights(
                f"suite {name!r} names no {', '.join(absent)}; a suite needs {', '.join(GENERATORS)}, or none of them "
                "and judges alone"
            )
        found = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(found if device in (None, AUTO) else device)
        self._others: dict[Precision, Suite] = {}

    def __repr__(self) -> str:
        return f"Suite({self.name!r}, {self.digest[:12]})"

    # Identity

    @cached_property
    def digest(self) -> str:
        """Of all files of the generators and of the settings that change what they draw: it keys predictions.

        A judge changes no prediction; `suite.judges.digest(view)` keys the scores that it gives. Suites that have
        judges alone draw nothing, and are one to predictions.
        """
        total = hashlib.sha256()
        if self.draws:
            for key in ("height", "width", "frames", "fps", "repeat_captions"):
                total.update(f"{key}={self.settings[key]}\n".encode())
        for role in GENERATORS if self.draws else ():
            total.update("".join(f"{line}\n" for line in self.roles[role].digest_lines()).encode())
        return total.hexdigest()

    @property
    def draws(self) -> bool:
        """Whether the suite has generators; otherwise it has judges alone."""
        return GENERATORS[0] in self.roles

    def require_generators(self) -> None:
        """Raises MissingWeights for a suite that has judges alone."""
        if not self.draws:
            raise MissingWeights(
                f"suite {self.name!r} has judges alone and draws no videos: a method that asks for a generator "
                "runs with --suite mini or --suite paper"
            )

    @property
    def drawing_settings(self) -> dict[str, Any]:
        """All settings but the roles: sizes, steps, guidance, …, whichever of them a method comes to read.

        The precision is one of them where it is not float32: cells of before there was a choice keep their keys.
        """
        own = {name: value for name, value in self.settings.items() if name not in ("roles", "summary")}
        return own | ({} if self.precision == "fp32" else {"precision": self.precision})

    def at(self, precision: Precision) -> Suite:
        """The same suite in another precision, with networks of its own; itself if it is in that one."""
        if precision == self.precision:
            return self
        if precision not in self._others:
            options: dict[str, Any] = {"device": self.device, "memory": self.memory, "threads": self.threads}
            self._others[precision] = type(self)(self.name, self.settings, self.base, precision=precision, **options)
        return self._others[precision]

    @cached_property
    def contents(self) -> str:
        """Digest of everything that the suite is on this machine: settings, precision and all roles that are here.

        It keys what is encoded by any of them, and changes more often than it must.
        """
        lines = [f"{sorted(self.drawing_settings.items())} {self.precision}"]
        for role in self.roles.values():
            lines += role.digest_lines() if role.files else []
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def has(self, role: str) -> bool:
        """True if the suite names the role and its files are on this machine."""
        return role in self.roles and bool(self.roles[role].files)

    def digest_role(self, role: str) -> str:
        """Of what one role is: keys the predictions of methods that build on it beside the generators."""
        return hashlib.sha256("\n".join(self.roles[role].digest_lines()).encode()).hexdigest()

    @cached_property
    def judges(self) -> Judges:
        """The networks that look at videos."""
        return Judges(self, precision=self.precision, threads=self.threads)

    @cached_property
    def geometry(self) -> SuiteGeometry:
        self.require_generators()
        height, width = self.settings["height"], self.settings["width"]
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return SuiteGeometry(
            height=height,
            width=width,
            frames=self.settings["frames"],
            fps=self.settings["fps"],
            latent_channels=self.vae.config.latent_channels,
            latent_height=height // factor,
            latent_width=width // factor,
            tokens=self.text_encoder.config.max_position_embeddings,
            text_width=self.text_encoder.config.hidden_size,
        )

    # Networks

    def _load(self, loader: Any, role: str, **options: Any) -> Any:
        from transformers.utils import logging

        logging.disable_progress_bar()  # its bars of a few milliseconds would bury the harness's own progress
        if role not in self.roles:
            self.require_generators()
            named = make_roles(*find_suite("paper")[1:], (role,))[role]
            raise MissingWeights(f"suite {self.name!r} names no {role}; in suite 'paper' {named.explain()}")
        source = self.roles[role]
        with loading(source):
            return loader.from_pretrained(source.locate(), **(source.settings or {}), **options)

    def _load_network(self, loader: Any, role: str, *, dtype: torch.dtype | None = None) -> Any:
        self._limit_memory()
        network = self._load(loader, role, torch_dtype=dtype or self.dtype)
        return network.to(self.device).eval().requires_grad_(False)

    @functools.cache  # noqa: B019 (a suite lives as long as its process)
    def _limit_memory(self) -> None:
        """Let torch itself hold to the limit on a GPU. Only when networks come: a process that plans opens no GPU."""
        if self.memory is not None and self.device.type == "cuda":
            _, total = torch.cuda.mem_get_info(self.device)
            torch.cuda.set_per_process_memory_fraction(min(1.0, self.memory / total), self.device)

    def release(self, *roles: str) -> None:
        """Let networks go that a phase is done with; whoever asks again has them loaded again.

        Where memory is not bounded, on a processor without a limit, they stay: loading takes time.
        """
        if self.device.type == "cpu" and self.memory is None:
            return
        for role in roles:
            if role == "text_encoder" and role in self.__dict__:
                _ = self.geometry, self.negative_embedding  # which outlast it
            self.__dict__.pop(HELD[role], None)
        empty_cache(self.device)

    @cached_property
    def vae(self) -> AutoencoderKL:
        from diffusers import AutoencoderKL

        return self._load_network(AutoencoderKL, "vae")

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        return self._load(CLIPTokenizer, "tokenizer")

    @cached_property
    def text_encoder(self) -> Any:
        from transformers import CLIPTextModel

        return self._load_network(CLIPTextModel, "text_encoder")

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        from diffusers import UNet2DConditionModel

        return self._load_network(UNet2DConditionModel, "unet")

    @cached_property
    def video_unet(self) -> UNetMotionModel:
        """The image UNet with the motion adapter between its layers."""
        from diffusers import MotionAdapter, UNetMotionModel
        from diffusers.utils import logging

        adapter = self._load_network(MotionAdapter, "motion_adapter")
        logging.set_verbosity_error()  # a warning about float32 modules that names none
        unet = UNetMotionModel.from_unet2d(self.unet, adapter).to(self.dtype)
        return unet.to(self.device).eval().requires_grad_(False)

    @cached_property
    def wan(self) -> WanTransformer3DModel:
        """Wan's transformer, from text tokens and noise to the velocity of latents."""
        from diffusers import WanTransformer3DModel

        return self._load_network(WanTransformer3DModel, "wan_transformer")

    @cached_property
    def wan_vae(self) -> AutoencoderKLWan:
        from diffusers import AutoencoderKLWan

        return self._load_network(AutoencoderKLWan, "wan_vae", dtype=torch.float32)

    @cached_property
    def _wan_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return self._load(AutoTokenizer, "wan_tokenizer")

    @cached_property
    def _wan_text_encoder(self) -> Any:
        from transformers import UMT5EncoderModel

        return self._load_network(UMT5EncoderModel, "wan_text_encoder")

    def make_scheduler(self, kind: Any) -> Any:
        """A scheduler of this class of diffusers with the suite's own noise levels."""
        return self._load(kind, "scheduler")

    def _make_pipeline(self, kind: Any, scheduler: Any, **parts: Any) -> Any:
        """A diffusers pipeline without a text encoder: prompts come as embeddings."""
        loaded = self.make_scheduler(scheduler)
        pipeline = kind(vae=self.vae, text_encoder=None, tokenizer=None, scheduler=loaded, **parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def _image_pipeline(self) -> Any:
        from diffusers import DDIMScheduler

        from bench.pretrained.generators.pipelines import RefiningPipeline

        unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        return self._make_pipeline(RefiningPipeline, DDIMScheduler, unet=self.unet, **unused)

    @cached_property
    def _video_pipeline(self) -> Any:
        from diffusers import AnimateDiffPipeline

        from bench.pretrained.generators.pipelines import PartialDDIMScheduler

        return self._make_pipeline(AnimateDiffPipeline, PartialDDIMScheduler, unet=self.video_unet, motion_adapter=None)

    @cached_property
    def _keyframe_pipeline(self) -> Any:
        from diffusers import SparseControlNetModel

        from bench.pretrained.generators.pipelines import KeyframeVideoPipeline, PartialDDIMScheduler

        control = self._load_network(SparseControlNetModel, "sparse_control")
        return self._make_pipeline(
            KeyframeVideoPipeline, PartialDDIMScheduler, unet=self.video_unet, motion_adapter=None, controlnet=control
        )

    # Calls

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
