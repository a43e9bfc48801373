"""The full-size configuration on the meta device: no weight is held, so it can be counted on any machine.

python -m baselines.mind_animator.sizes [--voxels 4500] [--frames 8] [--latent 64]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from baselines.mind_animator.method import build_decoders
from baselines.mind_animator.parameters import read_parameters
from bench.core.variants import load_variants
from bench.toolbox.sizes import count_parameters, print_counts

TOKENS, TEXT_WIDTH, CLIP_WIDTH, CHANNELS = 77, 768, 512, 4  # Stable Diffusion 1.5's text and latents, CLIP B/32


def count_paper_size(*, voxels: int, frames: int, latent: int) -> list[tuple[str, int, str]]:
    """Part, its parameters, and what is published of it, for one subject with that many voxels (one volume a trial).

    `latent`: height and width of a frame's latent.
    """
    with torch.device("meta"):
        decoders = build_decoders(
            read_parameters(load_variants("mind_animator")["size"]["paper"]),
            volumes=1,
            voxels={1: np.arange(voxels)},
            embedding=CLIP_WIDTH,
            mean_text=torch.zeros(TOKENS, TEXT_WIDTH),
            mean_first=torch.zeros(CHANNELS, latent, latent),
            frames=frames,
        )
    said = {
        "semantic": f"{voxels:,} → 512, 3 blocks, → 19 × 768",
        "structure": f"{voxels:,} → 1,024 → 4 × 64 × 64",
        "motion": "2 layers, width 4,096 · 4, 4 heads, 8 frames",
    }
    return [(name, count_parameters(decoder), said[name]) for name, decoder in decoders.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description="parameter counts of the full-size configuration")
    parser.add_argument("--voxels", type=int, default=4500, help="of the subject (4500: as published)")
    parser.add_argument("--frames", type=int, default=8, help="of a clip (8: as published)")
    parser.add_argument("--latent", type=int, default=64, help="height and width of a latent (64: of 512 pixels)")
    options = parser.parse_args()
    print_counts(count_paper_size(voxels=options.voxels, frames=options.frames, latent=options.latent))


if __name__ == "__main__":
    main()
