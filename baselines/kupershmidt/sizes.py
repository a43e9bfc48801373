"""The variant `paper` on the meta device: no weight is held, so it can be counted on any machine.

python -m baselines.kupershmidt.sizes [--voxels 13447]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from baselines.kupershmidt.method import build_networks
from baselines.kupershmidt.networks import FrameDecoder, VoxelEncoder
from baselines.kupershmidt.parameters import read_parameters
from bench.core.variants import load_variants
from bench.toolbox.sizes import count_parameters, print_counts

FEATURES = 768 + 4 * 36 * 64  # CLIP L/14 and Stable Diffusion's latents of 288 × 512 pixels
FRAMES = 6


def build_paper_size(*, voxels: int) -> tuple[VoxelEncoder, FrameDecoder]:
    """Encoder and decoder for one subject of so many voxels and one volume a trial, on the meta device."""
    own = read_parameters(load_variants("kupershmidt")["size"]["paper"])
    with torch.device("meta"):
        return build_networks(own, volumes=1, frames=FRAMES, features=FEATURES, voxels={1: np.arange(voxels)})


def count_paper_size(*, voxels: int) -> list[tuple[str, int]]:
    """Parts and their parameters."""
    encoder, decoder = build_paper_size(voxels=voxels)
    parts = {"encoder": encoder, "decoder: input layer": decoder.regress, "decoder": decoder}
    return [(name, count_parameters(part)) for name, part in parts.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description="parameter counts of the full-size configuration")
    parser.add_argument("--voxels", type=int, default=13447, help="of the subject (13447: cc2017's first)")
    print_counts(count_paper_size(voxels=parser.parse_args().voxels))


if __name__ == "__main__":
    main()
