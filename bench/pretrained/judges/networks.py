"""The networks behind the judges: each loaded by its official class from its official format, with one call.

A network has a `preparation` (what is done to a frame first) and `see`, which takes prepared pixels [n, f, 3, H, W] of
whole clips and gives its outputs by name, float32. The exceptions are RAFT and AMT, which look at the bytes themselves.

VideoMAE looks at clips of any length: its position embedding is a fixed table of sines, so the table is made for the
clip's own number of frames, which is what the published scripts get by overriding `num_frames` when they load it. With
an odd number the last frame is not seen, because a patch spans two frames.
"""

from __future__ import annotations

import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from bench.core.errors import BenchError
from bench.pretrained.judges.preparation import Preparation, read_open_clip, read_processor
from bench.pretrained.roles import MissingWeights, Role

Outputs = dict[str, Tensor]
FLOW_UPDATES = 20  # of RAFT, as VBench asks; torchvision's default is 12
SMALLEST_FLOW = 128  # pixels: RAFT's correlation pyramid needs them


class BadClip(BenchError):
    """A clip that a judge cannot look at."""


def load_transformer(loader: Any, role: Role, dtype: torch.dtype, device: torch.device, **options: Any) -> Any:
    from transformers.utils import logging

    logging.disable_progress_bar()  # its bars of a few milliseconds would bury the harness's own progress
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # heads that a checkpoint has and a judge does not use are no news
    try:
        network = loader.from_pretrained(role.locate(), dtype=dtype, **(role.settings or {}), **options)
    finally:
        logging.set_verbosity(verbosity)
    return network.to(device).eval().requires_grad_(False)


def load_preparation(role: Role) -> Preparation:
    from transformers import AutoImageProcessor

    folder = role.locate()
    return read_processor(AutoImageProcessor.from_pretrained(folder, backend="pil"), folder)


def encode_positions(count: int, width: int) -> Float32[np.ndarray, "count width"]:
    """VideoMAE's table of sines, the same to the bit as transformers', which needs seconds for a long clip."""
    column = np.arange(width)
    angle = np.arange(count)[:, None] / np.power(10000, 2 * (column // 2) / width)
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


class VideoClassifier:
    """VideoMAE: `logits` [n, classes], and `pooled` [n, width], the mean of its last hidden states."""

    def __init__(self, role: Role, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import VideoMAEForVideoClassification

        self.preparation = load_preparation(role)
        options = {"num_frames": 2, "attn_implementation": "sdpa"}  # a short table at first: `see` makes its own
        self.module = load_transformer(VideoMAEForVideoClassification, role, dtype, device, **options)
        self.tables: dict[int, Tensor] = {}

    def see(self, pixels: Float[Tensor, "n f 3 H W"]) -> Outputs:
        frames = pixels.shape[1]
        config = self.module.config
        tubes = frames // config.tubelet_size
        if tubes == 0:
            raise BadClip(f"VideoMAE needs clips of {config.tubelet_size} frames or more, not {frames}")
        embeddings = self.module.videomae.embeddings
        if tubes not in self.tables:
            patches = (pixels.shape[3] // config.patch_size) * (pixels.shape[4] // config.patch_size) * tubes
            table = torch.from_numpy(encode_positions(patches, config.hidden_size))
            self.tables[tubes] = table[None].to(pixels.device, pixels.dtype)
        embeddings.position_embeddings = self.tables[tubes]
        hidden = self.module.videomae(pixels).last_hidden_state
        pooled = hidden.mean(1)
        chosen = hidden[:, 0] if self.module.fc_norm is None else self.module.fc_norm(pooled)
        return {"logits": self.module.classifier(chosen), "pooled": pooled}


class FrameNetwork(ABC):
    """A network that looks at one frame at a time: `output` is [n, f, width]."""

    module: Any
    preparation: Preparation
    output: str

    @abstractmethod
    def look(self, frames: Float[Tensor, "m 3 H W"]) -> Float[Tensor, "m width"]: ...

    def see(self, pixels: Float[Tensor, "n f 3 H W"]) -> Outputs:
        return {self.output: self.look(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])}


class DinoEncoder(FrameNetwork):
    """DINO v1 (a ViT) or v2: `embedding` [n, f, width], the class token after the last norm. Frames of any size."""

    output = "embedding"

    def __init__(self, role: Role, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import AutoConfig, AutoModel

        self.preparation = load_preparation(role)
        plain = AutoConfig.from_pretrained(role.locate()).model_type == "vit"
        options = {"add_pooling_layer": False} if plain else {}  # DINO has none; a random one would be made
        self.module = load_transformer(AutoModel, role, dtype, device, attn_implementation="sdpa", **options)
        if plain:
            self.module.embeddings.interpolate_pos_encoding = self.stretch_positions
        self.plain = plain

    def look(self, frames: Float[Tensor, "m 3 H W"]) -> Float[Tensor, "m width"]:
        options = {"interpolate_pos_encoding": True} if self.plain else {}  # DINOv2 always does
        return self.module(frames, **options).last_hidden_state[:, 0]

    def stretch_positions(self, tokens: Tensor, height: int, width: int) -> Float[Tensor, "1 token width"]:
        """DINO's positions for frames of this size, bicubic, by DINO's own scale: a tenth of a patch more than there
        are (`interpolate_pos_encoding` of its `vision_transformer.py`; transformers leaves the tenth out)."""
        known: Tensor = self.module.embeddings.position_embeddings  # (1, 1 + side², width)
        if tokens.shape[1] == known.shape[1] and height == width:
            return known
        side, patch = round((known.shape[1] - 1) ** 0.5), self.module.config.patch_size
        grid = known[:, 1:].float().unflatten(1, (side, side)).movedim(-1, 1)
        scale = tuple((length // patch + 0.1) / side for length in (height, width))
        stretched = F.interpolate(grid, scale_factor=scale, mode="bicubic").flatten(2).mT
        return torch.cat([known[:, :1], stretched.to(known.dtype)], dim=1)


class ClipEncoder(FrameNetwork):
    """open_clip: `embedding` [n, f, width], as the network gives it (not of unit length); captions alike."""

    output = "embedding"

    def __init__(self, role: Role, dtype: torch.dtype, device: torch.device) -> None:
        import open_clip

        self.name = f"local-dir:{role.locate()}"
        module, _, _ = open_clip.create_model_and_transforms(self.name, device="cpu", require_pretrained=True)
        self.preparation = read_open_clip(open_clip.get_model_preprocess_cfg(module))
        self.module = module.to(device, dtype).eval().requires_grad_(False)

    def look(self, frames: Float[Tensor, "m 3 H W"]) -> Float[Tensor, "m width"]:
        return self.module.encode_image(frames)

    @cached_property
    def tokenizer(self) -> Callable[[list[str]], Tensor]:
        import open_clip

        return open_clip.get_tokenizer(self.name)

    def read(self, captions: Sequence[str]) -> Float[Tensor, "n width"]:
        device = next(self.module.parameters()).device
        return self.module.encode_text(self.tokenizer(list(captions)).to(device))


class PatchEncoder(ClipEncoder):
    """open_clip: `tokens` [n, f, token, width], what its image tower says of each patch, before any projection."""

    output = "tokens"

    def __init__(self, role: Role, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(role, dtype, device)
        self.module.visual.output_tokens = True

    def look(self, frames: Float[Tensor, "m 3 H W"]) -> Float[Tensor, "m token width"]:
        return self.module.visual(frames)[1]


class ActionEncoder:
    """X-CLIP: `embedding` [n, width] of as many frames as it was made for, taken evenly from the clip."""

    def __init__(self, role: Role, dtype: torch.dtype, device: torch.device) -> None:
        from transformers import XCLIPModel

        self.preparation = load_preparation(role)
        self.module = load_transformer(XCLIPModel, role, dtype, device)
        self.frames = self.module.config.vision_config.num_frames

    def see(self, pixels: Float[Tensor, "n f 3 H W"]) -> Outputs:
        chosen = np.linspace(0, pixels.shape[1] - 1, self.frames).round().astype(int)
        seen = self.module.get_video_features(pixels[:, chosen])
        return {"embedding": seen if isinstance(seen, Tensor) else seen.pooler_output}


class FlowEstimator:
    """RAFT (torchvision's large one, weights C_T_V1): flow in pixels from each frame to the next, always in float32.

    Frames below 128 pixels are enlarged (bilinear), sides that 8 does not divide are continued by their edge; the flow
    is cut, reduced and scaled back, so it is in pixels of the frame as given. With `padding` "vbench_raft" the frame is
    continued on both sides alike and the flow is neither cut nor reduced, as in VBench's `dynamic_degree.py`. Frames
    that are below 128 pixels with that padding are enlarged here too: in VBench they have no flow (its coarsest level
    of correlations has one pixel, and divides by 0).
    """

    def __init__(self, role: Role, device: torch.device) -> None:
        from torchvision.models.optical_flow import raft_large

        self.module = raft_large(weights=None)
        self.module.load_state_dict(load_state(role.locate()))
        self.module = self.module.to(device).eval().requires_grad_(False)
        self.device = device

    def measure(
        self, video: UInt8[np.ndarray, "n f h w 3"], padding: str = "cut"
    ) -> Float32[np.ndarray, "n f-1 H W 2"]:
        n, frames, height, width = video.shape[:4]
        pixels = torch.from_numpy(np.ascontiguousarray(video)).to(self.device).movedim(-1, -3).float()
        pixels = pixels.div_(255).sub_(0.5).div_(0.5).flatten(0, 1)
        shorter = min(height, width)
        padded = shorter + -shorter % 8 if padding == "vbench_raft" else shorter
        scale = max(1.0, SMALLEST_FLOW / shorter) if padded < SMALLEST_FLOW else 1.0
        tall, wide = round(height * scale), round(width * scale)
        if scale > 1:
            pixels = F.interpolate(pixels, (tall, wide), mode="bilinear", align_corners=False)
        across, down = -wide % 8, -tall % 8
        sides = (0, across, 0, down)
        if padding == "vbench_raft":
            sides = (across // 2, across - across // 2, down // 2, down - down // 2)
        pixels = F.pad(pixels, sides, mode="replicate").unflatten(0, (n, frames))
        first, second = pixels[:, :-1].flatten(0, 1), pixels[:, 1:].flatten(0, 1)
        flow = self.module(first, second, num_flow_updates=FLOW_UPDATES)[-1]
        if padding == "cut":
            flow = flow[..., :tall, :wide]
        if padding == "cut" and scale > 1:
            flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False, antialias=True)
        flow = flow * torch.tensor([width / wide, height / tall], device=self.device)[None, :, None, None]
        return flow.movedim(1, -1).unflatten(0, (n, frames - 1)).cpu().numpy()


def load_state(place: Path) -> dict[str, Tensor]:
    """The weights in a file, or in the only file of weights of a folder; nothing is unpickled but tensors."""
    from safetensors.torch import load_file

    if place.is_dir():
        found = sorted([*place.glob("*.safetensors"), *place.glob("*.pth")])
        if not found:
            raise MissingWeights(f"{place} holds no .safetensors and no .pth file; put the weights there")
        place = found[0]
    if place.suffix == ".safetensors":
        return load_file(place)
    state = torch.load(place, map_location="cpu", weights_only=True)
    return state.get("state_dict", state)


class Interpolator:
    """AMT-S (Li et al. 2023) from the user's own checkout, by the checkout's own code: the frame between two frames.

    The checkout is that of github.com/MCG-NKU/AMT with `amt-s.pth` anywhere in it. Its licence allows no commercial use
    and so none of it is here. Sides are continued to multiples of 16; the result is cut to bytes as VBench does.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        code, weights = folder / "networks" / "AMT-S.py", sorted(folder.rglob("amt-s.pth"))
        if not code.is_file() or not weights:
            raise MissingWeights(
                f"{folder} is no checkout of AMT with its weights: needs networks/AMT-S.py (github.com/MCG-NKU/AMT) "
                "and amt-s.pth (huggingface.co/lalala125/AMT, about 12 MB, CC-BY-NC-4.0)"
            )
        self.module = import_checkout(code, folder).Model(corr_radius=3, corr_lvls=4, num_flows=3)  # cfgs/AMT-S.yaml
        self.module.load_state_dict(load_state(weights[0]))
        self.module = self.module.to(device).eval().requires_grad_(False)
        self.device = device

    def __call__(
        self, first: UInt8[np.ndarray, "n h w 3"], second: UInt8[np.ndarray, "n h w 3"]
    ) -> UInt8[np.ndarray, "n h w 3"]:
        height, width = first.shape[1:3]
        down, across = -height % 16, -width % 16
        sides = (across // 2, across - across // 2, down // 2, down - down // 2)
        made = []
        middle = torch.full((1, 1, 1, 1), 0.5, device=self.device)
        with torch.inference_mode():
            for pair in zip(first, second, strict=True):
                pixels = (torch.from_numpy(np.array(frame)).to(self.device).movedim(-1, 0) / 255 for frame in pair)
                padded = [F.pad(frame[None], sides, mode="replicate") for frame in pixels]
                drawn = self.module(*padded, middle, scale_factor=1.0, eval=True)["imgt_pred"]
                cut = drawn[0, :, sides[2] : sides[2] + height, sides[0] : sides[0] + width]
                made.append((cut * 255).clamp(0, 255).byte().movedim(0, -1).cpu().numpy())
        return np.stack(made) if made else np.zeros_like(first)


def import_checkout(code: Path, folder: Path) -> ModuleType:
    """The module in `code`, which imports others from `folder` by absolute names."""
    spec = importlib.util.spec_from_file_location("amt_s", code)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module
