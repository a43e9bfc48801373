"""The small configurations of the `mini` suite: the same classes as the real ones, sized for two CPU cores.

Sizes were chosen by measuring (see the suite's card): an autoencoder of factor 8 with 8 latent channels, because the
cost of everything generative grows with the 8 x 8 latent grid and 4 channels cannot carry 25 dB at this size; one
norm group in the autoencoder, because with few channels a group GroupNorm erases the mean colour.
"""

from __future__ import annotations

from diffusers import AutoencoderKL
from transformers import VideoMAEConfig, VideoMAEForVideoClassification, ViTConfig, ViTForImageClassification

from bench.datasets.phantom.stimuli import FRAME_CLASSES, FRAME_TIMES, VIDEO_CLASSES

SIZE, FACTOR, FRAMES = 64, 8, len(FRAME_TIMES)
LATENT_SIZE = SIZE // FACTOR
LATENT_CHANNELS = 8
TEXT_WIDTH = 48
TOKENS = 77


def make_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        sample_size=SIZE,
    )


def make_video_judge() -> VideoMAEForVideoClassification:
    """Six frames, tubelets of two; labels are the 400 object-action classes."""
    return VideoMAEForVideoClassification(
        VideoMAEConfig(
            image_size=SIZE,
            patch_size=8,
            num_frames=FRAMES,
            tubelet_size=2,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=384,
            use_mean_pooling=True,
            **_labels(VIDEO_CLASSES),
        )
    )


def make_frame_judge() -> ViTForImageClassification:
    """Labels are the object-scene classes: the published metrics need more than 42 of them (top three of 40-way)."""
    return ViTForImageClassification(
        ViTConfig(
            image_size=SIZE,
            patch_size=8,
            hidden_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=256,
            **_labels(FRAME_CLASSES),
        )
    )


def _labels(names: tuple[str, ...]) -> dict[str, dict]:
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
