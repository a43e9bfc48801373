"""The small configurations of the `mini` suite: the same classes as the real ones, sized for two CPU cores.

Sizes were chosen by measuring (see the suite's card): an autoencoder of factor 8 with 8 latent channels, because the
cost of everything generative grows with the 8 x 8 latent grid and 4 channels cannot carry 25 dB at this size; one
norm group in the autoencoder, because with few channels a group GroupNorm erases the mean colour.
"""

from __future__ import annotations

from diffusers import AutoencoderKL

SIZE, FACTOR = 64, 8
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
