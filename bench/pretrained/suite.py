"""A suite: the pretrained networks that methods build on and metrics judge by, behind one set of calls.

`load_suite("mini")` and `load_suite("paper")` go through the same code: every role is loaded when first used by the
`from_pretrained` of its official class, from a folder of the package or from the local Hugging Face cache. Nothing is
downloaded unless `fetch_suite` is called; a missing role raises `MissingWeights`, which says what to fetch.

The pipelines are imported when first used: a run that finds all its cells in the store asks for the digest alone.

Latents are the posterior mean times the autoencoder's `scaling_factor`, so they have about unit variance. A generated
sample depends on its own seed and inputs; sharing a batch changes it by float rounding at most.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from bench.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.models import UNetMotionModel

    from bench.pretrained.generators import Start

HERE = Path(__file__).parent
CATALOGUE = HERE / "suites.toml"
ROLES = (
    *("vae", "tokenizer", "text_encoder", "unet", "scheduler"),
    *("motion_adapter", "sparse_control", "video_judge", "frame_judge"),
)
UNPINNED = "unpinned"
FRAME_CHUNK, CLIP_CHUNK = 96, 16  # frames through the autoencoder and clips through the generators at a time


class MissingWeights(BenchError):
    """A role of a suite is not on this machine."""


class UnknownSuite(BenchError):
    """No suite of that name, and no folder either."""


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


@dataclass(frozen=True, kw_only=True)
class Role:
    """Where one network of a suite comes from."""

    name: str
    id: str  # a Hugging Face repository, or a folder relative to `base`
    base: Path
    subfolder: str = ""
    revision: str | None = None
    licence: str = "not stated"
    megabytes: float | None = None
    settings: dict[str, Any] | None = None  # overrides of the network's config

    @property
    def files(self) -> list[Path]:
        """The role's files on this machine, sorted; empty where it is absent."""
        folder = self.find()
        return sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []

    def find(self) -> Path | None:
        """The role's folder on this machine, or None."""
        if (self.base / self.id).is_dir():
            folder = self.base / self.id / self.subfolder
            return folder if folder.is_dir() else None
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            root = Path(snapshot_download(self.id, revision=self.pinned, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError):
            return None
        return root / self.subfolder if any((root / self.subfolder).glob("*.json")) else None

    @property
    def pinned(self) -> str | None:
        return None if self.revision in (None, UNPINNED) else self.revision

    def locate(self) -> Path:
        folder = self.find()
        if folder is None:
            where = f"{self.id}/{self.subfolder}".rstrip("/")
            size = f"about {self.megabytes:g} MB" if self.megabytes else "small"
            raise MissingWeights(
                f"the {self.name} of this suite, {where} (revision {self.revision or UNPINNED}, {size}, licence "
                f"{self.licence}), is not on this machine; fetch it with `python -m bench suite fetch paper`, or build "
                "the small suite with `python -m bench suite build mini`"
            )
        return folder


class Suite:
    """Networks by role, loaded when first used; arrays in and out, float32 inside."""

    def __init__(self, name: str, settings: dict[str, Any], base: Path) -> None:
        self.name = name
        self.settings = settings
        self.roles = {
            role: Role(name=role, base=base, **source) for role, source in settings["roles"].items() if role in ROLES
        }
        absent = [role for role in ROLES if role not in self.roles]
        if absent:
            raise MissingWeights(f"suite {name!r} names no {', '.join(absent)}; a suite needs {', '.join(ROLES)}")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def __repr__(self) -> str:
        return f"Suite({self.name!r}, {self.digest[:12]})"

    # Identity

    @cached_property
    def digest(self) -> str:
        """Of all files of all roles and of the settings that change outputs; a pinned revision stands for its files."""
        total = hashlib.sha256()
        for key in ("height", "width", "frames", "fps", "repeat_captions"):
            total.update(f"{key}={self.settings[key]}\n".encode())
        for role in self.roles.values():
            folder = role.locate()
            for path in role.files:
                content = role.pinned or hashlib.sha256(path.read_bytes()).hexdigest()
                total.update(f"{role.name}/{path.relative_to(folder).as_posix()} {content}\n".encode())
            total.update(f"{role.name} {sorted((role.settings or {}).items())}\n".encode())
        return total.hexdigest()

    @cached_property
    def geometry(self) -> SuiteGeometry:
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
        source = self.roles[role]
        return loader.from_pretrained(source.locate(), **(source.settings or {}), **options)

    def _load_network(self, loader: Any, role: str, **options: Any) -> Any:
        network = self._load(loader, role, torch_dtype=torch.float32, **options)
        return network.to(self.device).eval().requires_grad_(False)

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
        unet = UNetMotionModel.from_unet2d(self.unet, adapter).to(torch.float32)
        return unet.to(self.device).eval().requires_grad_(False)

    @cached_property
    def video_judge(self) -> Any:
        from transformers import VideoMAEForVideoClassification

        # Positions are sinusoidal and not stored, so a checkpoint made for 16 frames loads with 6 (EEG2Video's choice)
        return self._load_network(VideoMAEForVideoClassification, "video_judge", num_frames=self.settings["frames"])

    @cached_property
    def frame_judge(self) -> Any:
        from transformers import ViTForImageClassification

        return self._load_network(ViTForImageClassification, "frame_judge")

    @cached_property
    def _processors(self) -> dict[str, Any]:
        from transformers import AutoImageProcessor

        roles = ("video_judge", "frame_judge")
        return {role: AutoImageProcessor.from_pretrained(self.roles[role].locate(), backend="pil") for role in roles}

    @cached_property
    def _image_pipeline(self) -> Any:
        from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline

        pipeline = StableDiffusionImg2ImgPipeline(
            vae=self.vae,
            text_encoder=None,
            tokenizer=None,
            unet=self.unet,
            scheduler=self._load(DDIMScheduler, "scheduler"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def _video_pipeline(self) -> Any:
        from diffusers import AnimateDiffPipeline

        from bench.pretrained.generators import PartialDDIMScheduler

        pipeline = AnimateDiffPipeline(
            vae=self.vae,
            text_encoder=None,
            tokenizer=None,
            unet=self.video_unet,
            motion_adapter=None,
            scheduler=self._load(PartialDDIMScheduler, "scheduler"),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def _keyframe_pipeline(self) -> Any:
        from diffusers import SparseControlNetModel

        from bench.pretrained.generators import KeyframeVideoPipeline, PartialDDIMScheduler

        pipeline = KeyframeVideoPipeline(
            vae=self.vae,
            text_encoder=None,
            tokenizer=None,
            unet=self.video_unet,
            motion_adapter=None,
            controlnet=self._load_network(SparseControlNetModel, "sparse_control"),
            scheduler=self._load(PartialDDIMScheduler, "scheduler"),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    # Calls

    def encode_text(self, captions: Sequence[str]) -> Float[Tensor, "n 77 D"]:
        """Last hidden state of the CLIP text encoder."""
        from bench.pretrained.text import encode_captions

        parts = [torch.zeros(0, self.geometry.tokens, self.geometry.text_width)]
        repeat = self.settings["repeat_captions"]
        for start in range(0, len(captions), 64):
            chunk = list(captions[start : start + 64])
            parts.append(encode_captions(self.tokenizer, self.text_encoder, chunk, repeat=repeat).cpu())
        return torch.cat(parts)

    @cached_property
    def negative_embedding(self) -> Float[Tensor, "1 77 D"]:
        """Of the empty caption, the other side of classifier-free guidance."""
        return self.encode_text([""])

    @torch.no_grad()
    def encode_video(self, video: UInt8[np.ndarray, "n f h w 3"]) -> Float[Tensor, "n f c lh lw"]:
        """Posterior mean times the scaling factor, of each frame."""
        from bench.pretrained.generators import BadGeneration, encode_pixels

        g = self.geometry
        if video.shape[2:] != (g.height, g.width, 3):
            raise BadGeneration(f"video is {video.shape}; this suite needs (n, f, {g.height}, {g.width}, 3)")
        frames = video.reshape(-1, *video.shape[2:])
        parts = [torch.zeros(0, g.latent_channels, g.latent_height, g.latent_width)]
        for start in range(0, len(frames), FRAME_CHUNK):
            parts.append(encode_pixels(self.vae, frames[start : start + FRAME_CHUNK]).float().cpu())
        return torch.cat(parts).unflatten(0, video.shape[:2])

    @torch.no_grad()
    def decode_latents(self, latents: Float[Tensor, "n f c lh lw"]) -> UInt8[np.ndarray, "n f H W 3"]:
        from bench.pretrained.generators import quantise

        frames = latents.flatten(0, 1)
        g = self.geometry
        parts = [np.zeros((0, g.height, g.width, 3), np.uint8)]
        for start in range(0, len(frames), FRAME_CHUNK):
            chunk = frames[start : start + FRAME_CHUNK].to(self.device, self.vae.dtype)
            parts.append(quantise(self.vae.decode(chunk / self.vae.config.scaling_factor).sample.add(1).div(2)))
        return np.concatenate(parts).reshape(*latents.shape[:2], g.height, g.width, 3)

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
        from bench.pretrained.generators import refine_images

        parts = [np.zeros((0, self.geometry.height, self.geometry.width, 3), np.uint8)]
        for start in range(0, len(seeds), CLIP_CHUNK):
            rows = slice(start, start + CLIP_CHUNK)
            parts.append(
                refine_images(
                    self._image_pipeline,
                    embeddings[rows].to(self.device, torch.float32),
                    self.negative_embedding.to(self.device),
                    images[rows],
                    seeds[rows],
                    strength=self.settings["strength"] if strength is None else strength,
                    steps=self.settings["steps"] if steps is None else steps,
                    guidance=self.settings["guidance"] if guidance is None else guidance,
                )
            )
        return np.concatenate(parts)

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

        `start` says what latents do (`bench.pretrained.generators`); `strength`, `steps` and `guidance` default to the
        suite's own. Raises `BadGeneration` where the arguments do not go together.
        """
        from bench.pretrained.generators import draw_noise, make_videos, start_latents

        g = self.geometry
        steps = self.settings["steps"] if steps is None else steps
        strength = self.settings["strength"] if strength is None else strength
        guidance = self.settings["guidance"] if guidance is None else guidance
        pipeline = self._video_pipeline if keyframes is None else self._keyframe_pipeline
        shape = (g.latent_channels, g.frames, g.latent_height, g.latent_width)
        parts = [np.zeros((0, g.frames, g.height, g.width, 3), np.uint8)]
        for first in range(0, len(seeds), CLIP_CHUNK):
            rows = slice(first, first + CLIP_CHUNK)
            noise = draw_noise(seeds[rows], shape)
            given = None if latents is None else latents[rows].float().transpose(1, 2)
            initial = start_latents(start, noise, given, pipeline.scheduler, steps=steps, strength=strength)
            parts.append(
                make_videos(
                    pipeline,
                    embeddings[rows].to(self.device, torch.float32),
                    self.negative_embedding.to(self.device),
                    initial.to(self.device),
                    None if keyframes is None else keyframes[rows],
                    share=strength if start == "renoised" else 1.0,
                    steps=steps,
                    guidance=guidance,
                )
            )
        return np.concatenate(parts)

    def video_logits(self, videos: UInt8[np.ndarray, "n f h w 3"]) -> Float32[np.ndarray, "n classes"]:
        """Logits of the video judge (400 classes)."""
        from bench.pretrained.judges import classify_videos

        return classify_videos(self.video_judge, self._processors["video_judge"], videos)

    def frame_logits(self, frames: UInt8[np.ndarray, "m h w 3"]) -> Float32[np.ndarray, "m classes"]:
        """Logits of the frame judge."""
        from bench.pretrained.judges import classify_frames

        return classify_frames(self.frame_judge, self._processors["frame_judge"], frames)


def suite_names() -> tuple[str, ...]:
    return tuple(tomllib.loads(CATALOGUE.read_text()))


def load_suite(name: str | Path) -> Suite:
    """The suite of that name, or the one that `<folder>/suite.toml` describes; networks load when first used."""
    catalogue = tomllib.loads(CATALOGUE.read_text())
    if str(name) in catalogue:
        return Suite(str(name), catalogue[str(name)], HERE)
    folder = Path(name)
    if not (folder / "suite.toml").is_file():
        raise UnknownSuite(
            f"no suite {str(name)!r}; known are {', '.join(catalogue)}, or give a folder that holds a suite.toml"
        )
    return Suite(folder.name, tomllib.loads((folder / "suite.toml").read_text()), folder)


def verify_suite(name: str | Path) -> pd.DataFrame:
    """A row for each role: where it comes from, whether it is on this machine, its size and licence."""
    import pandas as pd

    rows = []
    for role in load_suite(name).roles.values():
        files = role.files
        size = sum(path.stat().st_size for path in files) / 1e6 if files else role.megabytes
        rows.append(
            {
                "role": role.name,
                "source": f"{role.id}/{role.subfolder}".rstrip("/"),
                "revision": role.revision or "in the package",
                "present": bool(files),
                "megabytes": None if size is None else round(size, 2),
                "licence": role.licence,
            }
        )
    return pd.DataFrame(rows)


def fetch_suite(name: str) -> None:
    """Download the roles of a suite that are missing from the Hugging Face hub; only ever called on request."""
    from huggingface_hub import snapshot_download

    for role in load_suite(name).roles.values():
        if role.find() is None and not (role.base / role.id).is_dir():
            patterns = [f"{role.subfolder}/*"] if role.subfolder else ["*.json", "*.safetensors", "*.txt"]
            unwanted = ["*.bin", "*.ckpt", "*.fp16.*", "*non_ema*"]
            snapshot_download(role.id, revision=role.pinned, allow_patterns=patterns, ignore_patterns=unwanted)
