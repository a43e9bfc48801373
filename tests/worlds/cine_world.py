"""A little world for CineNeuron's tests: subjects of known tuning, and a suite of Wan's own classes at a tiny size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from asking import draw
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from written_anew import scatter_weights

from bench.core.contracts import TrainingSet
from methods.cine_neuron.networks import Networks, Parameters, build_networks
from methods.cine_neuron.training import Recipe

TEXT_TOKENS, TEXT_WIDTH = 12, 16
NAMES = ("cat", "car", "pizza", "piano")
SMALL: dict[str, Any] = {
    "tokens": 6, "token_channels": 4, "width": 32, "layers": 2, "heads": 2, "feedforward": 48, "dropout": 0.0,
    "alignment_frames": 2, "category_least": 2, "memories": 3, "lora_rank": 4, "lora_scale": 4, "steps": 2,
    "stage1_steps": 80, "batch_size": 32, "learning_rate": 3e-3, "joint_epochs": 0.5, "joint_batch_size": 8,
    "calibration_steps": 120, "calibration_learning_rate": 5e-3,
}  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_wan() -> tuple[WanTransformer3DModel, AutoencoderKLWan]:
    """The official classes at a tiny size, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wan = WanTransformer3DModel(
            patch_size=(1, 2, 2),
            num_attention_heads=2,
            attention_head_dim=24,
            text_dim=TEXT_WIDTH,
            freq_dim=32,
            ffn_dim=64,
            num_layers=2,
            rope_max_seq_len=64,
        )
        vae = AutoencoderKLWan(
            base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        )
    return wan.eval().requires_grad_(False), vae.eval().requires_grad_(False)


class FakeSuite:
    """A suite with Wan's own classes, and encoders that read what the little world paints: brightness is concept."""

    name = "fake"
    device = "cpu"

    def __init__(self) -> None:
        self.settings = {"steps": 2, "guidance": 1.0}
        self.wan, self.wan_vae = make_wan()
        self.concepts = draw(4, 24, seed=1)  # an embedding for each brightness
        self.actions = draw(4, 10, seed=2)

    def embed_images(self, frames: np.ndarray) -> torch.Tensor:
        return self.concepts[torch.from_numpy(frames.mean(axis=(1, 2, 3)) // 64).long()]

    def embed_actions(self, video: np.ndarray) -> torch.Tensor:
        return self.actions[torch.from_numpy(video.mean(axis=(1, 2, 3, 4)) // 64).long()]

    def embed_texts(self, captions: list[str]) -> torch.Tensor:
        return torch.stack([self.concepts[NAMES.index(caption.split()[1])] for caption in captions])

    def wan_text(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        made = [draw(TEXT_TOKENS, TEXT_WIDTH, seed=sum(map(ord, caption))) for caption in captions]
        used = torch.tensor([[token <= len(caption.split()) for token in range(TEXT_TOKENS)] for caption in captions])
        return torch.stack(made), used


@dataclass(frozen=True)
class World:
    """Subjects with voxel counts of their own who respond linearly to four concepts; V1 knows them, noise does not."""

    voxels: tuple[int, ...] = (30, 40)
    clips: int = 24

    def record(self, *, first_subject: int = 1, seed: int = 0) -> TrainingSet:
        rng = np.random.default_rng((seed, first_subject))
        concepts = np.arange(self.clips) % 4
        widest = max(self.voxels)
        brain = np.zeros((len(self.voxels) * self.clips, widest, 2), np.float32)
        rois, subject = {}, []
        for index, count in enumerate(self.voxels):
            number = first_subject + index
            pattern = np.random.default_rng((7, number)).standard_normal((4, count // 2))
            rows = slice(index * self.clips, (index + 1) * self.clips)
            brain[rows, :count] = rng.standard_normal((self.clips, count, 2))
            brain[rows, : count // 2] += 2 * pattern[concepts][:, :, None]
            rois[number] = ("V1",) * (count // 2) + ("hippocampus",) * (count - count // 2)
            subject += [number] * self.clips
        video = np.broadcast_to((32 + 64 * concepts)[:, None, None, None, None], (self.clips, 4, 32, 32, 3))
        return TrainingSet(
            brain=brain,
            subject=np.array(subject),
            clip=np.tile(np.arange(self.clips), len(self.voxels)),
            video=video.astype(np.uint8),
            captions=tuple(f"a {NAMES[concept]} number {clip}" for clip, concept in enumerate(concepts)),
            concepts=concepts,
            channels=tuple(f"voxel{voxel:05}" for voxel in range(widest)),
            sampling_rate=0.5,
            rois=rois,
        )


# Parts for tests of equations

CLIP = torch.tensor([0, 3, 1, 0, 2, 4])  # of six trials: the first clip was seen twice
CAPTION = torch.tensor([0, 1, 0, 2, 3])  # of five clips: two have the same words
WIDTHS = {"text": 6, "image": 6, "action": 4}


def make_entries(entries: int, seed: int = 9) -> dict[str, torch.Tensor]:
    return {name: draw(entries, width, seed=seed + i).double() for i, (name, width) in enumerate(WIDTHS.items())}


def make_recipe(**changes: Any) -> Recipe:
    plain: dict[str, Any] = {
        "temperature": 0.2, "action_weight": 0.0, "category_weight": 0.0, "focal_gamma": 2.0, "router_weight": 0.0,
        "own_clip": False, "true_text": 0.0, "weight_decay": 0.0,
    }  # fmt: skip
    return Recipe(**{**plain, **changes})


def make_networks(**changes: Any) -> Networks:
    """Brain Model, heads, router and fusion of a tiny size, every number random; one subject of ten voxels."""
    options: dict[str, Any] = {
        "tokens": 3, "token_channels": 2, "width": 8, "layers": 1, "heads": 2, "feedforward": 8, "dropout": 0.0,
        "memories": 2, "first_layer": "learned",
    }  # fmt: skip
    own = Parameters(**{**options, **changes})
    networks = build_networks(own, volumes=2, voxels={1: np.arange(10)}, embedding=6, action=4, categories=3, text=5)
    scatter_weights(networks)
    return networks.float()
