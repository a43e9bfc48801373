"""The full-size configuration on the meta device: no weight is held, so it can be counted on any machine.

python -m baselines.mind_video.sizes [--voxels 6016] [--volumes 2]
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from baselines.mind_video.method import Parameters, build_encoder, read_parameters

# Stable Diffusion 1.5, from the configuration of its release in diffusers' format
STABLE_DIFFUSION: dict[str, Any] = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
}
TOKENS, TEXT_WIDTH, CLIP_WIDTH = 77, 768, 768


def read_paper_size() -> Parameters:
    """The variant `paper` of ablations.toml."""
    table = tomllib.loads((Path(__file__).parent / "ablations.toml").read_text())
    return read_parameters(table["size"]["variants"]["paper"]["parameters"])


def count_paper_size(*, voxels: int, volumes: int) -> list[tuple[str, int, str]]:
    """Part, its parameters, and what is published of it, for one subject with that many voxels and volumes."""
    from diffusers import UNet2DConditionModel

    from bench.pretrained.tune_a_video import InflatedUNet

    with torch.device("meta"):
        encoder = build_encoder(
            read_paper_size(),
            volumes=volumes,
            voxels={1: np.arange(voxels)},
            embedding=CLIP_WIDTH,
            mean_text=torch.zeros(TOKENS, TEXT_WIDTH),
        )
        generator = InflatedUNet(UNet2DConditionModel(**STABLE_DIFFUSION))
    own = count_parameters(encoder.subjects)
    tuned = sum(one.numel() for one in generator.trained_parameters())
    return [
        ("encoder, shared", count_parameters(encoder) - own, "24 layers, width 1,024, 16 heads"),
        ("encoder, a subject's own", own, "patches of 16 voxels, 77 tokens"),
        ("generator, tuned", tuned, "attention heads"),
        ("generator, all", count_parameters(generator), "Stable Diffusion 1.5, inflated"),
    ]


def count_parameters(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description="parameter counts of the full-size configuration")
    parser.add_argument("--voxels", type=int, default=6016, help="of the subject (6016: cc2017's first, as published)")
    parser.add_argument("--volumes", type=int, default=2, help="of a trial (2: the published window)")
    options = parser.parse_args()
    for part, count, said in count_paper_size(voxels=options.voxels, volumes=options.volumes):
        print(f"{part:30} {count:>15,}   published: {said}")


if __name__ == "__main__":
    main()
