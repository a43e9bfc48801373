"""The full-size configuration on the meta device: no weight is held, so it can be counted on any machine.

    python -m methods.cine_neuron.sizes [--voxels 8405] [--volumes 5]

prints the parts' parameter counts beside what the paper says of them.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

from bench.core.variants import load_variants
from bench.pretrained.decoders import attach_lora, list_lora
from bench.toolbox.sizes import count_parameters, print_counts
from methods.cine_neuron.networks import build_networks
from methods.cine_neuron.parameters import read_parameters

# Wan 2.1 1.3B, from the configuration of its release in diffusers' format
WAN: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
}
CLIP_WIDTH, ACTION_WIDTH, CATEGORIES = 768, 768, 20  # CLIP L/14, ViCLIP L/14; the paper does not give its superclasses


def count_paper_size(*, voxels: int, volumes: int) -> list[tuple[str, int, str]]:
    """Part, its parameters, and what the paper says of it, for one subject with that many voxels and volumes."""
    from diffusers import WanTransformer3DModel

    own = read_parameters(load_variants("cine_neuron")["size"]["paper"])
    with torch.device("meta"):
        networks = build_networks(
            own,
            volumes=volumes,
            voxels={1: np.arange(voxels)},
            embedding=CLIP_WIDTH,
            action=ACTION_WIDTH,
            categories=CATEGORIES,
            text=WAN["text_dim"],
        )
        wan = WanTransformer3DModel(**WAN)
        with_lora = attach_lora(wan, rank=own.lora_rank, scale=own.lora_scale)
    brain = networks.brain
    first = count_parameters(brain.inputs)
    lora = sum(one.numel() for one in list_lora(with_lora))
    return [
        ("Brain Model, transformer", count_parameters(brain) - first, "24 layers, width 2048, 512 + 1 tokens"),
        (f"Brain Model, input layer of {voxels:,} voxels", first, "a first regression layer"),
        ("heads: frames, actions, categories", count_parameters(networks.alignment), "not given"),
        ("router", count_parameters(networks.router), "not given"),
        ("fusion", count_parameters(networks.fusion), "two cross-attentions, two zero-convolutions"),
        (f"LoRA, rank {own.lora_rank}", lora, "rank 16, scale 16"),
        ("Wan 2.1, frozen", count_parameters(wan), "1.3B"),
        ("trained together", count_parameters(networks) + lora, "not given"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="parameter counts of the full-size configuration")
    parser.add_argument("--voxels", type=int, default=8405, help="of the subject (8405: CineBrain's visual cortex)")
    parser.add_argument("--volumes", type=int, default=5, help="of a trial (5: CineBrain's 4 s at TR 0.8 s)")
    options = parser.parse_args()
    print_counts(count_paper_size(voxels=options.voxels, volumes=options.volumes), "paper")


if __name__ == "__main__":
    main()
