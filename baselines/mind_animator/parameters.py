"""Mind-Animator's parameters and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.toolbox.parameters import limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of Mind-Animator with its default; a variant is a change of these and of nothing else."""

    # Input; names of regions match whatever their case
    leave_out: tuple[str, ...] = ("auditory", "mPFC", "hippocampus")

    # Which decoders there are (the paper's ablations)
    semantic: bool = True
    structure: bool = True
    motion: bool = True

    # Sizes; the paper's values in the comments
    width: int = 256  # of the semantic decoder (512)
    blocks: int = 3  # 3
    tokens: int | None = None  # text tokens that are decoded; None: all (19)
    structure_width: int = 256  # 1,024
    motion_width: int = 128  # between voxels and the motion decoder
    motion_layers: int = 2  # 2
    motion_heads: int = 4  # 4
    motion_feedforward: int = 512
    fmri_tokens: int = 4
    dropout: float = limited(0.3, least=0, most=1)

    # Losses
    alignment_frames: int = 3  # frames of a clip that CLIP sees
    temperature: float = limited(0.07, above=0)
    contrast_weight: float = 1.0

    # Generator
    start: Literal["inversion", "renoised"] = "inversion"
    iterations: int = 1  # of the fixed point in each step of the inversion
    strength: float = limited(0.6, above=0, most=1)  # of "renoised"
    steps: int | None = None  # these two: None is the suite's parameters
    guidance: float | None = None

    # Training
    semantic_steps: int = 300
    structure_steps: int = 200
    motion_steps: int = 80
    batch_size: int = 64
    motion_batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    calibration_share: float = 0.5  # of the steps above, for a new subject's input layers


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="mind_animator")
    if not (parameters.semantic or parameters.structure or parameters.motion):
        raise BenchError("semantic, structure and motion are all off: nothing would see the brain; leave one on")
    return parameters
