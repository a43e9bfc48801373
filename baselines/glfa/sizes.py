"""The full-size configuration on the meta device: no weight is held, so it can be counted on any machine.

    python -m baselines.glfa.sizes [--voxels 13447] [--volumes 5]

prints the parts' parameter counts beside what is known of the paper's.
"""

from __future__ import annotations

import argparse

import torch

from baselines.glfa.method import build_alignment, build_encoder
from baselines.glfa.parameters import read_parameters
from bench.core.variants import load_variants
from bench.pretrained.decoders import LORA_TARGETS
from bench.toolbox.sizes import count_parameters, print_counts

REGIONS = 10
CLIP_WIDTH, TEXT_TOKENS, TEXT_WIDTH = 1024, 77, 1024  # of OpenCLIP's ViT-H, zeroscope's text encoder


def count_paper_size(*, voxels: int, volumes: int) -> list[tuple[str, int, str]]:
    """Part, its parameters, and what is known of it, for one subject of that many voxels in ten regions."""
    from diffusers import UNet3DConditionModel

    own = read_parameters(load_variants("glfa")["size"]["paper"])
    regions = {1: [f"region {voxel * REGIONS // voxels}" for voxel in range(voxels)]}
    with torch.device("meta"):
        encoder = build_encoder(
            own, regions, volumes=volumes, embedding=CLIP_WIDTH, text_tokens=TEXT_TOKENS, text=TEXT_WIDTH
        )
        video = UNet3DConditionModel(attention_head_dim=64)  # zeroscope_v2_576w; the rest are the class's defaults
    return [
        (f"map of a subject of {voxels:,} voxels", build_alignment(own).count(regions), "kernels of 13 x 13 pixels"),
        ("vision transformer", count_parameters(encoder), "24 layers, width 1024, patches of 16 x 16"),
        (f"LoRA, rank {own.lora_rank}", count_lora(video, own.lora_rank), "rank 4, scale 16"),
        ("zeroscope's UNet, frozen", count_parameters(video), "zeroscope_v2_576w"),
    ]


def count_lora(network: torch.nn.Module, rank: int) -> int:
    """Numbers of two factors beside each linear layer that LoRA is put on (this class has no adapters of its own)."""
    layers = [
        module
        for name, module in network.named_modules()
        if name.endswith(tuple(LORA_TARGETS)) and isinstance(module, torch.nn.Linear)
    ]
    return sum(rank * (layer.in_features + layer.out_features) for layer in layers)


def main() -> None:
    parser = argparse.ArgumentParser(description="parameter counts of the full-size configuration")
    parser.add_argument("--voxels", type=int, default=13447, help="of the subject (13447: subject 1 of cc2017)")
    parser.add_argument("--volumes", type=int, default=5, help="of the window (5: GLFA's)")
    options = parser.parse_args()
    print_counts(count_paper_size(voxels=options.voxels, volumes=options.volumes), "paper")


if __name__ == "__main__":
    main()
