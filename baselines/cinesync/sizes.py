"""The full-size configuration on the meta device: no weight is held, so it can be counted on any machine.

    python -m baselines.cinesync.sizes

prints the parts' parameter counts beside what the paper and its code say of them.
"""

from __future__ import annotations

from typing import Any

import torch

from baselines.cinesync.encoders import ChannelLayer, VoxelLayer
from baselines.cinesync.method import build_encoder
from baselines.cinesync.parameters import read_parameters
from bench.core.variants import load_variants
from bench.pretrained.decoders import attach_lora, list_lora
from bench.toolbox.sizes import count_parameters, print_counts

VOXELS, ALL_VOXELS, VOLUMES = 8405, 18946, 5
CHANNELS, SAMPLES = 64, 4000  # of an EEG trial: five volumes of 0.8 s at 1 kHz
TEXT_TOKENS, TEXT_WIDTH, SIGLIP_WIDTH = 226, 4096, 1152
# CogVideoX-5B, from the configuration of its release in diffusers' format
COG_VIDEO: dict[str, Any] = {
    "num_attention_heads": 48,
    "num_layers": 42,
    "text_embed_dim": TEXT_WIDTH,
    "use_rotary_positional_embeddings": True,
}


def count_paper_size() -> list[tuple[str, int, str]]:
    """Part, its parameters, and what is said of it."""
    from diffusers import CogVideoXTransformer3DModel

    own = read_parameters(load_variants("cinesync")["size"]["paper"])
    widths = {"tokens": TEXT_TOKENS, "embedding": SIGLIP_WIDTH, "text": TEXT_WIDTH}
    with torch.device("meta"):
        fmri = build_encoder(own, fmri=True, signals=(VOXELS, VOLUMES), **widths)
        eeg = build_encoder(own, fmri=False, signals=(CHANNELS, SAMPLES), **widths)
        layers = [
            VoxelLayer(torch.arange(voxels), tokens=TEXT_TOKENS, channels=own.channels)
            for voxels in (VOXELS, ALL_VOXELS)
        ]
        video = CogVideoXTransformer3DModel(**COG_VIDEO)
        lora = list_lora(attach_lora(video, rank=own.lora_rank, scale=own.lora_scale))
        mixture = ChannelLayer(CHANNELS)
    count = count_parameters
    return [
        ("fMRI transformer", count(fmri), "12 layers, 32 heads, width 2048"),
        (f"first layer of {VOXELS:,} visual voxels", count(layers[0]), "8,405 to 226 tokens"),
        (f"first layer of {ALL_VOXELS:,} voxels (CineSync*)", count(layers[1]), "18,946 to 226 tokens"),
        ("EEG transformer", count(eeg), "12 layers, convolution of 320 channels"),
        ("first layer of 64 channels", count(mixture), "none"),
        (f"LoRA, rank {own.lora_rank}", sum(one.numel() for one in lora), "rank 64, its code 128"),
        ("CogVideoX-5B, frozen", count(video), "5B"),
    ]


def main() -> None:
    print_counts(count_paper_size(), "paper")


if __name__ == "__main__":
    main()
