"""The paper's size on the meta device: no weight is held, so it can be counted on any machine.

python -m baselines.dynamind.sizes
"""

from __future__ import annotations

from typing import Any

import torch

from baselines.dynamind.networks import build_networks
from baselines.dynamind.parameters import read_parameters
from bench.core.variants import load_variants
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.pretrained.generators.tune_a_video import InflatedUNet
from bench.toolbox.sizes import count_parameters, print_counts

TOKENS, LATENT, IMAGE, CATEGORIES, SAMPLES = (77, 768), (6, 4, 36, 64), 768, 40, 400  # SEED-DV and Stable Diffusion 1.x
UNET: dict[str, Any] = {  # Stable Diffusion 1.x, from the configuration of its release in diffusers' format
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}


def count_paper_size() -> list[tuple[str, int]]:
    """Parts and their parameters, for SEED-DV's 62 channels and 400 samples."""
    from diffusers import UNet2DConditionModel

    own = read_parameters(load_variants("dynamind")["size"]["paper"])
    with torch.device("meta"):
        networks = build_networks(
            own, CHANNELS, SAMPLES, tokens=TOKENS, latent=LATENT, image=IMAGE, categories=CATEGORIES
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


def main() -> None:
    print_counts(count_paper_size())


if __name__ == "__main__":
    main()
