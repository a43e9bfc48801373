"""The parameters of Kupershmidt et al. and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.core.errors import BenchError
from bench.toolbox.parameters import limited, read_given

GROUPS = 8  # of the normalisation


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter with its default."""

    leave_out: tuple[str, ...] = ("auditory", "hippocampus", "mPFC")  # visual cortex is read

    # Networks
    side: int = 32  # pixels of the decoder's frames
    hidden: int = 256
    channels: int = 32
    dropout: float = limited(0.2, least=0, most=1)
    encoder_hidden: int = 64
    encoder_dropout: float = limited(0.3, least=0, most=1)

    # Losses
    cosine_weight: float = 0.1  # of the encoder
    cycle_weight: float = 1.0  # 0: recordings alone
    cycle_noise: float = 1.0  # in residual deviations of each voxel
    perceptual_weight: float = 0.5
    perceptual_depth: int = 2  # blocks of the autoencoder's encoder
    temporal_weight: float = 1.0

    # Training
    encoder_steps: int = 300
    encoder_batch_size: int = 64
    decoder_steps: int = 250
    batch_size: int = 24
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    calibration_steps: int = 120


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="kupershmidt")
    channels, step = parameters.channels, 4 * GROUPS
    if channels % step:
        raise BenchError(f"channels={channels} is no multiple of {step}; take {step} or {2 * step}")
    return parameters
