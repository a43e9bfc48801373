"""Random checkpoints of every judge in its official format, at a tiny size, and clips for them to see."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft_large
from transformers import (
    BitImageProcessor,
    Dinov2Config,
    Dinov2Model,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
    XCLIPConfig,
    XCLIPModel,
)

from bench.pretrained.roles import JUDGES

SMALL = {"image_size": 32, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "intermediate_size": 16}
CLIP_CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
RAW = {"resize_mode": "shortest", "interpolation": "bicubic"}
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def save_open_clip(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    preprocessing = {"mean": MEAN, "std": STD, **RAW}
    config = {"model_cfg": CLIP_CONFIG, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(open_clip.CLIP(**CLIP_CONFIG).state_dict(), folder / "open_clip_model.safetensors")


def save_judges(folder: Path) -> Path:
    """A random checkpoint of every judge as its repository holds it, in the folder, which is returned."""
    torch.manual_seed(0)
    crop = {"height": 32, "width": 32}
    config = VideoMAEConfig(num_frames=16, num_labels=7, tubelet_size=2, use_mean_pooling=True, **SMALL, **HEADS)
    VideoMAEForVideoClassification(config).save_pretrained(folder / "video_judge")
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder / "video_judge")
    ViTForImageClassification(ViTConfig(num_labels=9, **SMALL, **HEADS)).save_pretrained(folder / "frame_judge")
    ViTImageProcessor(size=crop).save_pretrained(folder / "frame_judge")
    ViTModel(ViTConfig(**SMALL, **HEADS)).save_pretrained(folder / "dino")
    ViTImageProcessor(size=crop, image_mean=MEAN, image_std=STD).save_pretrained(folder / "dino")
    Dinov2Model(Dinov2Config(**{**SMALL, "image_size": 64}, num_attention_heads=2)).save_pretrained(folder / "dinov2")
    BitImageProcessor(size={"shortest_edge": 40}, crop_size=crop).save_pretrained(folder / "dinov2")
    for seed, role in enumerate(("clip", "clip_large", "vifi", "clip_big")):
        save_open_clip(folder / role, seed)
    vision = {**SMALL, **HEADS, "num_frames": 4, "mit_hidden_size": 16, "mit_intermediate_size": 16}
    vision |= {"mit_num_attention_heads": 2}
    text = {"vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 1, "eos_token_id": 98, **HEADS}
    action = XCLIPConfig(text_config=text, vision_config=vision, projection_dim=16, prompt_num_attention_heads=2)
    XCLIPModel(action).save_pretrained(folder / "action")
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder / "action")
    (folder / "raft").mkdir()
    torch.save(raft_large(weights=None).state_dict(), folder / "raft" / "raft_large_C_T_V1-22a6c225.pth")
    return folder


def describe(folder: Path, roles=JUDGES) -> SimpleNamespace:
    """What `Judges` asks of a suite."""
    sources = {role: {"id": ".", "subfolder": role, "licence": "MIT"} for role in roles if role != "amt"}
    return SimpleNamespace(name="random", settings={"roles": sources}, base=folder, device=torch.device("cpu"))


def draw_video() -> np.ndarray:
    """Four clips of eight frames, wider than high."""
    return np.random.default_rng(0).integers(0, 256, (4, 8, 40, 54, 3), dtype=np.uint8)
