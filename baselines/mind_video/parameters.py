"""MinD-Video's parameters and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut, check_heads, limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of MinD-Video with its default; a variant is a change of these and of nothing else."""

    # Input: the paper reads the visual cortex; names of regions match whatever their case
    leave_out: tuple[str, ...] = ("auditory", "mPFC", "hippocampus")

    # Encoder; the paper's values in the comments
    window: int = 0  # volumes of a trial that are read, from its first; 0: all (2)
    temporal: bool = True  # attention over the window
    patch: int = 16  # 16 voxels
    own_patches: bool = False  # True: each patch has weights of its parameters
    width: int = 64  # 1,024
    layers: int = 2  # 24
    heads: int = 4  # 16
    feedforward: int = 128  # 4,096
    dropout: float = limited(0.1, least=0, most=1)

    weights: str | None = None  # the authors' encoder to start from, of the paper's size; {subject} for each its own

    # Masked brain modelling
    masked_epochs: float = limited(10.0, least=0)  # 0: none
    mask_ratio: float = limited(0.75, least=0, below=1)  # share of patches that are hidden
    mask_width: int = 32  # of the decoder (512)

    # Alignment
    alignment_epochs: float = limited(20.0, above=0)
    alignment_frames: int = 3  # frames of a clip that CLIP sees
    temperature: float = limited(0.07, above=0)
    contrast_weight: float = 1.0  # 0: no contrastive learning
    token_weight: float = 1.0  # 0: no path from the caption's embedding to text tokens, as published

    # Generator
    read_out: ReadOut = "nearest_concept"
    tuning_epochs: float = limited(0.1, least=0)  # of clips and captions, before co-training
    together_epochs: float = limited(0.5, least=0)  # 0: none
    together_batch_size: int = 4
    generator_learning_rate: float = 1e-4
    together_learning_rate: float = 1e-4  # of the encoder in co-training
    drop: float = limited(0.1, least=0, most=1)  # share of trials whose condition is the mean fMRI's
    steps: int | None = None  # None: the suite's parameters (200)
    guidance: float | None = None  # None: the suite's parameters (12.5)

    # Training
    use_validation: bool = True  # learn from the validation trials too: nothing is chosen by them
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    calibration_epochs: float = limited(60.0, above=0)
    calibration_learning_rate: float = 2e-3


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="mind_video")
    check_heads(parameters, "width", "mask_width")
    if parameters.weights is not None and (parameters.token_weight or parameters.own_patches):
        raise BenchError(
            "released weights have no path from a caption's embedding and one filter for all patches; set "
            "token_weight=0 and own_patches=False, as the profile `paper` does"
        )
    return parameters
