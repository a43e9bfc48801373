"""The networks of a suite: which there are, what tells one suite from another, how they are loaded and let go.

Every role is loaded when first used by the `from_pretrained` of its official class, from a folder of the package or
from the local Hugging Face cache; a missing one raises `MissingWeights`, which says what to fetch
(`bench.pretrained.roles`). What is computed with them is in `bench.pretrained.suite`.

Networks are on the device and in the precision that the suite is loaded with. In half precision Wan's autoencoder stays
in float32, as diffusers' own examples load it: what it makes of a frame is handed on to the frames behind it.

Libraries of networks are imported when first used: a run that finds all its cells in the store asks for the digest
alone.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from bench.core.hardware import AUTO, Precision, check_device, check_precision
from bench.pretrained.judges.observe import Judges
from bench.pretrained.roles import GENERATORS, MissingWeights, find_suite, loading, make_roles
from bench.toolbox.budget import empty_cache
from bench.toolbox.precision import DTYPES
from bench.toolbox.sharing import share_numbers

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, AutoencoderKLWan, UNet2DConditionModel, WanTransformer3DModel
    from diffusers.models import UNetMotionModel

HELD = {  # where a suite holds what it can let go: under the first name, and with it under the others
    "text_encoder": ("text_encoder",),
    "wan_text_encoder": ("_wan_text_encoder",),
    "vae": ("vae", "_image_pipeline", "_video_pipeline", "_keyframe_pipeline"),
    "wan_vae": ("wan_vae",),
    "judges": ("judges",),
}
OUTLAST = {"text_encoder": ("geometry", "negative_embedding"), "vae": ("geometry",)}  # what is read before they go


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


class Networks:
    """Networks by role, loaded when first used."""

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
        self._others: dict[Precision, Self] = {}

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

    def at(self, precision: Precision) -> Self:
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

        Text encoders and autoencoders go by their roles, all judges by "judges". Where memory is not bounded, on a
        processor without a limit, they stay: loading takes time.
        """
        if self.device.type == "cpu" and self.memory is None:
            return
        for role in roles:
            for name in OUTLAST.get(role, ()) if HELD[role][0] in self.__dict__ else ():
                getattr(self, name)
            for name in HELD[role]:
                self.__dict__.pop(name, None)
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
        """The image UNet with the motion adapter between its layers; the image network's weights are in memory once."""
        from diffusers import MotionAdapter, UNetMotionModel
        from diffusers.utils import logging

        adapter = self._load_network(MotionAdapter, "motion_adapter")
        logging.set_verbosity_error()  # a warning about float32 modules that names none
        unet = UNetMotionModel.from_unet2d(self.unet, adapter).to(self.dtype)
        share_numbers(unet, self.unet)
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
