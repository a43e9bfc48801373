"""CineSync's parameters and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut, check_heads, limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of CineSync with its default; the paper's values in the comments."""

    # Input
    # regions beside the visual: auditory is CineSync⋆, hippocampus what CineNeuron calls CineSync*
    regions: Literal["visual", "visual_auditory", "visual_hippocampus"] = "visual"
    channels: int = 16  # numbers of a token at a volume (fMRI; paper: 1)
    windows: int = 5  # of an EEG trial, stacked as channels (paper: 5)
    kernel: int = 1  # samples, of the convolution over EEG (1)
    noise: float = 0.3  # deviation of the noise that training adds to the signals

    # Transformer
    weights: str | None = None  # the authors' checkpoint to start from, of the paper's size; {subject} for each its own
    width: int = 128  # paper: 2048
    layers: int = 2  # paper: 12
    heads: int = 4  # paper: 32
    feedforward: int = 512
    dropout: float = limited(0.1, least=0, most=1)

    # Video model
    read_out: ReadOut = "nearest_concept"
    lora_rank: int = limited(16, least=0)  # 0: none (paper: 64, its code 128)
    lora_scale: int = 16  # paper: 64
    flow_shift: float = limited(3.0, above=0)  # of Wan's noise levels
    steps: int | None = None  # None: the suite's parameters (paper: 50)
    guidance: float | None = None  # (paper: 6, dynamic)
    checkpointing: bool = False  # less memory in training, more time

    # Training
    alignment_frames: int = 2  # frames of a clip that CLIP sees
    temperature: float = limited(0.07, above=0)
    image_weight: float = 1.0
    text_weight: float = 1.0
    token_weight: float = 1.0  # paper: 0
    use_validation: bool = True  # learn from the validation trials too: nothing is chosen by them
    align_epochs: float = limited(30.0, above=0)  # paper: 50
    batch_size: int = 64  # paper: 16
    learning_rate: float = 5e-4  # paper: 1e-4
    joint_epochs: float = limited(1.5, least=0)  # 0: none (paper: 5,000 steps, its code 10,000)
    joint_batch_size: int = 16  # paper: 2 on each of 4 GPUs
    joint_learning_rate: float = 1e-5  # paper: 1e-4
    decoder_learning_rate: float = 3e-4  # paper: 1e-4
    weight_decay: float = 0.05  # paper: 1e-4
    calibration_epochs: float = limited(80.0, above=0)
    calibration_learning_rate: float = 1e-3


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="cinesync")
    check_heads(parameters, "width")
    if parameters.kernel % 2 == 0:
        raise BenchError(f"kernel {parameters.kernel} has no middle; take an odd number of samples")
    return parameters
