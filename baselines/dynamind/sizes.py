"""The paper's size on the meta device: no weight is held, so it can be counted on any machine.

python -m baselines.dynamind.sizes
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from baselines.dynamind.networks import Parameters, build_networks, read_parameters
from bench.datasets.geometry import CHANNELS
from bench.pretrained.tune_a_video import InflatedUNet

TOKENS, LATENT, IMAGE, CATEGORIES, SAMPLES = (77, 768), (6, 4, 36, 64), 768, 40, 400  # SEED-DV and Stable Diffusion 1.x
UNET: dict[str, Any] = {  # Stable Diffusion 1.x, from the configuration of its release in diffusers' format
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}


def read_paper_size() -> Parameters:
    """The variant `paper` of ablations.toml."""
    table = tomllib.loads((Path(__file__).parent / "ablations.toml").read_text())
    return read_parameters(table["size"]["variants"]["paper"]["parameters"])


def count_paper_size() -> list[tuple[str, int]]:
    """Parts and their parameters, for SEED-DV's 62 channels and 400 samples."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        networks = build_networks(
            read_paper_size(), CHANNELS, SAMPLES, tokens=TOKENS, latent=LATENT, image=IMAGE, categories=CATEGORIES
        )
        inflated = InflatedUNet(UNet2DConditionModel(**UNET))
    mapper, aligner = networks.mapper, networks.aligner
    return [
        ("mapper, region stacks", count_parameters(mapper.stacks)),
        ("mapper, common embedding", count_parameters(mapper.common)),
        ("mapper, text head", count_parameters(mapper.text)),
        ("mapper, image head", count_parameters(mapper.image)),
        ("mapper, category head (in training alone)", count_parameters(mapper.category)),
        ("prior", count_parameters(networks.prior)),
        ("aligner", count_parameters(aligner)),
        ("Tune-A-Video, tuned", sum(one.numel() for one in inflated.trained_parameters())),
        ("Tune-A-Video, all", count_parameters(inflated)),
    ]


def count_parameters(module: nn.Module | None) -> int:
    return 0 if module is None else sum(one.numel() for one in module.parameters())


def main() -> None:
    for part, count in count_paper_size():
        print(f"{part:45} {count:>15,}")


if __name__ == "__main__":
    main()
