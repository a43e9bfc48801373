"""The published size on the meta device: no weight is held, so it can be counted on any machine.

    python -m baselines.eeg2video.sizes

prints each network's parameter count beside the published one.
"""

from __future__ import annotations

from typing import Any

import torch

from baselines.eeg2video.glmnet import GLMNet
from baselines.eeg2video.method import build_networks
from baselines.eeg2video.parameters import read_parameters
from bench.core.variants import load_variants
from bench.toolbox.sizes import count_parameters, print_counts

# The cap of SEED-DV, as far as GLMNet asks: 50 electrodes, then 12 over visual cortex
CAP = (*(f"E{place}" for place in range(50)), *(f"O{place}" for place in range(12)))
LATENTS, TEXT = (6, 4, 36, 64), (77, 768)  # Stable Diffusion at 512 × 288, six frames
UNET: dict[str, Any] = {"cross_attention_dim": 768, "sample_size": 64, "attention_head_dim": 8}  # its image UNet


def count_paper_size() -> list[tuple[str, int, str]]:
    """Part, its parameters, and the published count."""
    from diffusers import UNet2DConditionModel

    from bench.pretrained.generators.tune_a_video import inflate

    own = read_parameters(load_variants("eeg2video")["size"]["paper"])
    with torch.device("meta"):
        networks = build_networks(
            own, channels=CAP, windows=7, samples=100, rate=200.0, latent_shape=LATENTS, text_shape=TEXT
        )
        classifier = GLMNet(CAP, 40)
        video = inflate(UNet2DConditionModel(**UNET))
    counted = [networks.seq2seq, networks.semantic, classifier, networks.dynamic]
    seq2seq, semantic, forty, dynamic = (count_parameters(part) for part in counted if part)
    return [
        ("seq2seq", seq2seq, "32,611,917, with three layers that nothing reads"),
        ("semantic predictor", semantic, "894,559,136"),
        ("GLMNet, 40 classes", forty, "491,176"),
        ("GLMNet, fast or slow", dynamic, "not given"),
        ("video model, trained", sum(one.numel() for one in video.trained_parameters()), "not given"),
        ("video model, all", count_parameters(video), "not given"),
    ]


def main() -> None:
    print_counts(count_paper_size())


if __name__ == "__main__":
    main()
