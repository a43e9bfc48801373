"""The full-size configuration on the meta device: no weight is held, so it can be counted on any machine.

python -m baselines.neuroclips.sizes [--voxels 13447]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import nn

from baselines.neuroclips.networks import build_networks
from baselines.neuroclips.parameters import read_parameters
from bench.core.variants import load_variants
from bench.toolbox.sizes import count_parameters, print_counts

TOKENS, EMBEDDING = 256, 1664  # OpenCLIP ViT-bigG-14
LATENT = (4, 28, 28)  # Stable Diffusion's, of 224 pixels
FEATURES = 2048  # ConvNeXt-XL, last width


def build_paper_size(*, voxels: int) -> Any:
    """The paper's networks for one subject of so many voxels and one volume a trial, on the meta device."""
    with torch.device("meta"):
        return build_networks(
            read_parameters(load_variants("neuroclips")["size"]["paper"]),
            volumes=1,
            voxels={1: np.arange(voxels)},
            embedding=EMBEDDING,
            latent=LATENT,
            features=FEATURES,
            targets=TOKENS,
        )


def count_paper_size(*, voxels: int) -> list[tuple[str, int]]:
    """Parts and their parameters."""
    networks = build_paper_size(voxels=voxels)
    semantic, perception = networks["semantic"], networks["perception"]
    parts = {
        "semantic: ridge": semantic.ridge,
        "semantic: mixer": semantic.mixer,
        "semantic: to tokens": semantic.to_tokens,
        "semantic: projector": semantic.projector,
        "prior": networks["prior"],
        "perception: extension and ridge": perception.regress,
        "perception: mixer": perception.mixer,
        "perception: decoder and heads": nn.ModuleList(
            [perception.describe, perception.to_maps, perception.decoder, perception.to_latents]
        ),
        "all": networks,
    }
    return [(name, count_parameters(part)) for name, part in parts.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description="parameter counts of the full-size configuration")
    parser.add_argument("--voxels", type=int, default=13447, help="of the subject (13447: cc2017's first)")
    print_counts(count_paper_size(voxels=parser.parse_args().voxels))


if __name__ == "__main__":
    main()
