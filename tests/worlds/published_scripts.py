"""The metrics of published scripts, written anew from those scripts for clips of one prediction and its truth.

Nothing of the project is imported: transforms are torchvision's, PIL's and OpenCV's, networks are read from their files
(`save_networks`: random, of few layers, at the papers' side of 224) and called as the script calls them. `ROWS` are the
metrics whose pixels a publisher prepares in a way of its own: protocol, metric and the script's value for
(predicted, true), each u8 [frame, height, width, 3].
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models.optical_flow import raft_large
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Lambda, Normalize, Resize, ToTensor
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model, ViTConfig, ViTImageProcessor, ViTModel

SIDE = 224
IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
BICUBIC = InterpolationMode.BICUBIC
UPDATES = 20  # of RAFT
SIZES = (  # height, width
    (288, 512), (256, 256), (225, 225), (181, 321), (512, 288), (321, 180), (72, 128), (64, 64), (97, 51), (224, 301)
)  # fmt: skip

Value = Callable[[Path, np.ndarray, np.ndarray], float]


def save_networks(folder: Path) -> Path:
    """Random judges as their repositories hold them, for frames of 224 x 224; each a few layers. Returns the folder."""
    torch.manual_seed(7)
    small = {"image_size": SIDE, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3}
    vit = ViTModel(ViTConfig(**small, patch_size=16, intermediate_size=64, layer_norm_eps=1e-6))
    scatter(vit).save_pretrained(folder / "dino")
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder / "dino")
    scatter(Dinov2Model(Dinov2Config(**small | {"image_size": 518}, patch_size=14))).save_pretrained(folder / "dinov2")
    crop = {"height": SIDE, "width": SIDE}
    BitImageProcessor(size={"shortest_edge": 256}, crop_size=crop).save_pretrained(folder / "dinov2")
    for role, patch in (("clip", 32), ("clip_large", 14), ("vifi", 16)):
        vision = {"image_size": SIDE, "layers": 2, "width": 48, "head_width": 16, "patch_size": patch}
        text = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
        config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True}
        preprocessing = {"mean": OPENAI.mean, "std": OPENAI.std, "interpolation": "bicubic", "resize_mode": "shortest"}
        (folder / role).mkdir(parents=True)
        about = {"model_cfg": config, "preprocess_cfg": preprocessing}
        (folder / role / "open_clip_config.json").write_text(json.dumps(about))
        save_file(scatter(open_clip.CLIP(**config)).state_dict(), folder / role / "open_clip_model.safetensors")
    (folder / "raft").mkdir()
    torch.save(raft_large(weights=None).state_dict(), folder / "raft" / "raft_large_C_T_V1-22a6c225.pth")
    return folder


def scatter(network: torch.nn.Module) -> torch.nn.Module:
    """The network with larger weights than it starts with, so that what it says depends on what it sees, and where."""
    with torch.no_grad():
        for weight in network.parameters():
            if weight.ndim > 1:
                weight.mul_(3.0)
    return network.eval()


def draw_clip(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    """A coloured texture of many scales that moves and flickers: what a resize does to it shows."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (max(2, height // 24), max(2, width // 24), 3)).astype(np.float32)
    base = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 50, (height, width, 3))
    drift = rng.uniform(0, 255, (2, *coarse.shape)).astype(np.float32)
    ends = [cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in drift]
    clip = [
        np.roll(0.5 * base + fine, (i, 2 * i), (0, 1)) + 0.5 * ends[0] * (1 - i / frames) + 0.5 * ends[1] * (i / frames)
        for i in range(frames)
    ]
    return np.clip(np.stack(clip), 0, 255).astype(np.uint8)


# Networks


@functools.cache
def read_dino(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "dino" / "model.safetensors")


@torch.no_grad()
def see_dino(folder: Path, image: Tensor) -> Tensor:
    """`VisionTransformer.forward` of facebookresearch/dino, of one image [1, 3, h, w], by the names of ViTModel."""
    weights = read_dino(folder)
    config = json.loads((folder / "dino" / "config.json").read_text())
    heads, width = config["num_attention_heads"], config["hidden_size"]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (width,), weights[name + ".weight"], weights[name + ".bias"], eps=1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[name + ".weight"], weights[name + ".bias"])

    patch = "embeddings.patch_embeddings.projection"
    x = F.conv2d(image, weights[patch + ".weight"], weights[patch + ".bias"], stride=16).flatten(2).transpose(1, 2)
    x = torch.cat([weights["embeddings.cls_token"], x], dim=1)
    positions = weights["embeddings.position_embeddings"]
    count, (high, wide) = positions.shape[1] - 1, image.shape[-2:]
    if not (x.shape[1] - 1 == count and high == wide):
        root = math.sqrt(count)
        grid = positions[:, 1:].reshape(1, int(root), int(root), width).permute(0, 3, 1, 2)
        scale = ((high // 16 + 0.1) / root, (wide // 16 + 0.1) / root)
        grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
        assert grid.shape[-2:] == (high // 16, wide // 16)
        positions = torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, -1, width)], dim=1)
    x = x + positions
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}."
        seen = norm(x, layer + "layernorm_before")
        parts = [linear(seen, f"{layer}attention.attention.{one}") for one in ("query", "key", "value")]
        query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
        weight = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        x = x + linear((weight @ value).transpose(1, 2).flatten(2), layer + "attention.output.dense")
        inner = F.gelu(linear(norm(x, layer + "layernorm_after"), layer + "intermediate.dense"))
        x = x + linear(inner, layer + "output.dense")
    return norm(x, "layernorm")[:, 0]


@functools.cache
def load_clip(folder: Path, role: str) -> torch.nn.Module:
    config = json.loads((folder / role / "open_clip_config.json").read_text())["model_cfg"]
    network = open_clip.CLIP(**config)
    network.load_state_dict(load_file(folder / role / "open_clip_model.safetensors"))
    return network.eval()


@functools.cache
def load_dinov2(folder: Path) -> torch.nn.Module:
    return Dinov2Model.from_pretrained(folder / "dinov2").eval()


@functools.cache
def load_raft(folder: Path) -> torch.nn.Module:
    network = raft_large(weights=None)
    network.load_state_dict(torch.load(folder / "raft" / "raft_large_C_T_V1-22a6c225.pth", weights_only=True))
    return network.eval()


@torch.no_grad()
def embed(network: torch.nn.Module, images: Tensor) -> Tensor:
    return network.encode_image(images)


# VBench


def vbench_files(frames: np.ndarray) -> Tensor:
    """`load_video`: float32 [frame, 3, h, w], 0 to 255."""
    return torch.Tensor(frames).permute(0, 3, 1, 2)


def consistency(features: Tensor) -> float:
    """The loop of `subject_consistency.py` and `background_consistency.py`."""
    features = F.normalize(features, dim=-1, p=2)
    total = 0.0
    for i in range(1, len(features)):
        previous = max(0.0, F.cosine_similarity(features[i - 1 : i], features[i : i + 1]).item())
        first = max(0.0, F.cosine_similarity(features[:1], features[i : i + 1]).item())
        total += (previous + first) / 2
    return total / (len(features) - 1)


def subject_consistency(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    transform = Compose([Resize(size=SIDE, antialias=False), Lambda(lambda x: x.float().div(255.0)), IMAGENET])
    images = transform(vbench_files(predicted))
    return consistency(torch.cat([see_dino(folder, image[None]) for image in images]))


def background_consistency(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    resize = Resize(SIDE, interpolation=BICUBIC, antialias=False)
    transform = Compose([resize, CenterCrop(SIDE), Lambda(lambda x: x.float().div(255.0)), OPENAI])
    return consistency(embed(load_clip(folder, "clip"), transform(vbench_files(predicted))))


def openai_pictures(frames: np.ndarray) -> Tensor:
    """`_transform(224)` of OpenAI's `clip/clip.py`."""
    transform = Compose([Resize(SIDE, interpolation=BICUBIC), CenterCrop(SIDE), ToTensor(), OPENAI])
    return torch.stack([transform(Image.fromarray(frame)) for frame in frames])


def background_consistency_of_pictures(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    """VBench's other mode, `read_frame`: folders of pictures, by the transform that `clip.load` gives."""
    return consistency(embed(load_clip(folder, "clip"), openai_pictures(predicted)))


@torch.no_grad()
def raft_scores(folder: Path, frames: np.ndarray) -> list[float]:
    """`DynamicDegree.infer` up to its list of scores: the fastest 5 % over the padded frame."""
    images = [torch.from_numpy(frame).permute(2, 0, 1).float()[None] for frame in frames]
    scores = []
    for one, two in itertools.pairwise(images):
        high, wide = one.shape[-2:]
        down, across = (((high // 8) + 1) * 8 - high) % 8, (((wide // 8) + 1) * 8 - wide) % 8
        pad = [across // 2, across - across // 2, down // 2, down - down // 2]
        one, two = (2 * (F.pad(x, pad, mode="replicate") / 255.0) - 1.0 for x in (one, two))
        flow = load_raft(folder)(one, two, num_flow_updates=UPDATES)[-1][0].permute(1, 2, 0).numpy()
        speed = np.sqrt(np.square(flow[..., 0]) + np.square(flow[..., 1])).flatten()
        scores.append(float(np.mean(abs(np.sort(-speed))[: int(len(speed) * 0.05)])))
    return scores


def dynamic_degree(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    threshold, needed, count = 6.0 * (min(predicted.shape[1:3]) / 256.0), round(4 * (len(predicted) / 16.0)), 0
    for score in raft_scores(folder, predicted):
        count += score > threshold
        if count >= needed:
            return 1.0
    return 0.0


# Mind-Animator


def avi_frames(frames: np.ndarray) -> list[np.ndarray]:
    """What decord reads of RGB frames that OpenCV wrote as BGR, at the 512 x 512 of all its videos."""
    return [cv2.cvtColor(cv2.resize(frame, (512, 512)), cv2.COLOR_RGB2BGR) for frame in frames]


def sample_frames(total: int) -> list[int]:
    """mmaction's `SampleFrames(clip_len=8, frame_interval=1, num_clips=32, test_mode=True)`, looped out of bounds."""
    average = (total - 8 + 1) / 32.0
    offsets = [int(i * average + average / 2.0) if total > 7 else 0 for i in range(32)]
    return [(offset + j) % total for offset in offsets for j in range(8)]


def vifi_feature(folder: Path, frames: np.ndarray) -> Tensor:
    """The val_pipeline of `VIFI_CLIP_score.py`, and ViFi-CLIP's mean of its frames."""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    made = []
    for image in avi_frames(frames):
        image = cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR)
        left = (256 - SIDE) // 2
        image = image[left : left + SIDE, left : left + SIDE].astype(np.float32)
        cv2.subtract(image, np.float64(mean.reshape(1, -1)), image)
        cv2.multiply(image, 1 / np.float64(std.reshape(1, -1)), image)
        made.append(torch.from_numpy(image).permute(2, 0, 1))
    features = embed(load_clip(folder, "vifi"), torch.stack(made))[sample_frames(len(made))].mean(dim=0, keepdim=True)
    return features / features.norm(dim=-1, keepdim=True)


def vifi_score(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    return float(torch.cosine_similarity(vifi_feature(folder, true), vifi_feature(folder, predicted)))


def clip_pcc_gated(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    if vifi_score(folder, predicted, true) <= 0.6:
        return 0.0
    features = embed(load_clip(folder, "clip"), openai_pictures(predicted))
    pairs = itertools.pairwise(features.split(1))
    return float(np.mean([torch.cosine_similarity(one, two) for one, two in pairs]))


def hue_pcc(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    values = []
    for j in range(6):
        one, two = (cv2.cvtColor(side[j], cv2.COLOR_BGR2HSV)[:, :, 0] / 360.0 for side in (predicted, true))
        values.append(np.sum(one * two) / (np.sqrt(np.sum(one**2)) * np.sqrt(np.sum(two**2))))
    return float(np.mean(values))


# NEURONS, DynaMind


def transformers_pictures(frames: np.ndarray) -> Tensor:
    """CLIPImageProcessor of transformers 4.47: PIL's resize, and a crop whose corner is rounded down."""
    made = []
    for frame in frames:
        high, wide = frame.shape[:2]
        short, long = min(high, wide), max(high, wide)
        longer = int(SIDE * long / short)
        size = (longer, SIDE) if wide >= high else (SIDE, longer)  # width, height
        picture = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
        top, left = (picture.shape[0] - SIDE) // 2, (picture.shape[1] - SIDE) // 2
        picture = (picture[top : top + SIDE, left : left + SIDE].astype(np.float64) * (1 / 255)).astype(np.float32)
        picture = (picture - np.array(OPENAI.mean, np.float32)) / np.array(OPENAI.std, np.float32)
        made.append(torch.from_numpy(picture).permute(2, 0, 1))
    return torch.stack(made)


def clip_pcc_all_pairs(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    features = embed(load_clip(folder, "clip_large"), transformers_pictures(predicted)).double()
    features = features / features.norm(dim=-1, keepdim=True)
    cosines = (features @ features.T).numpy()
    np.fill_diagonal(cosines, 0)
    return float(cosines.sum() / (len(cosines) * (len(cosines) - 1)))


def temporal_consistency(features: Tensor) -> float:
    features = F.normalize(features, p=2, dim=1)
    return F.cosine_similarity(features[:-1], features[1:], dim=1).mean().item()


def ctc(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    return temporal_consistency(embed(load_clip(folder, "clip"), transformers_pictures(predicted)))


@torch.no_grad()
def dtc(folder: Path, predicted: np.ndarray, true: np.ndarray) -> float:
    transform = Compose([Resize(256), CenterCrop(SIDE), ToTensor(), IMAGENET])
    images = torch.stack([transform(Image.fromarray(frame)) for frame in predicted])
    return temporal_consistency(load_dinov2(folder)(images).last_hidden_state[:, 0])


ROWS: tuple[tuple[str, str, Value], ...] = (
    ("vbench", "subject_consistency", subject_consistency),
    ("vbench", "background_consistency", background_consistency),
    ("vbench", "dynamic_degree", dynamic_degree),
    ("mind_animator", "vifi_score", vifi_score),
    ("mind_animator", "clip_pcc", clip_pcc_gated),
    ("mind_animator", "hue_pcc", hue_pcc),
    ("neurons", "clip_pcc", clip_pcc_all_pairs),
    ("cinebrain", "dtc", dtc),
    ("cinebrain", "ctc", ctc),
)
