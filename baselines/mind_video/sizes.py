"""The full-size configuration on the meta device: no weight is held, so it can be counted on any machine.

python -m baselines.mind_video.sizes [--voxels 6016] [--volumes 2]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from baselines.mind_video.method import build_encoder
from baselines.mind_video.parameters import read_parameters
from bench.core.variants import load_variants
from bench.toolbox.sizes import count_parameters, print_counts

# Stable Diffusion 1.5, from the configuration of its release in diffusers' format
STABLE_DIFFUSION: dict[str, Any] = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
}
TOKENS, TEXT_WIDTH, CLIP_WIDTH = 77, 768, 768


def count_paper_size(*, voxels: int, volumes: int) -> list[tuple[str, int, str]]:
    """Part, its parameters, and what is published of it, for one subject with that many voxels and volumes."""
    from diffusers import UNet2DConditionModel

    from bench.pretrained.generators.tune_a_video import InflatedUNet

    with torch.device("meta"):
        encoder = build_encoder(
            read_parameters(load_variants("mind_video")["size"]["paper"]),
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


def main() -> None:
    parser = argparse.ArgumentParser(description="parameter counts of the full-size configuration")
    parser.add_argument("--voxels", type=int, default=6016, help="of the subject (6016: cc2017's first, as published)")
    parser.add_argument("--volumes", type=int, default=2, help="of a trial (2: the published window)")
    options = parser.parse_args()
    print_counts(count_paper_size(voxels=options.voxels, volumes=options.volumes))


if __name__ == "__main__":
    main()
