"""Mind-Animator's parameters and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut, limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of Mind-Animator with its default; a variant is a change of these and of nothing else."""

    # Input; names of regions match whatever their case
    leave_out: tuple[str, ...] = ("auditory", "mPFC", "hippocampus")

    # Which decoders there are (the paper's ablations)
    semantic: bool = True
    structure: bool = True
    motion: bool = True

    # The authors' numbers to start from, of the paper's size; {subject} in a path is the subject's number
    semantic_weights: str | None = None
    structure_weights: str | None = None
    motion_weights: str | None = None

    # Sizes; the released values in the comments
    width: int = 256  # of the semantic decoder, and of CLIP's embedding (512)
    blocks: int = 3  # 3
    text_hidden: tuple[int, int] = (256, 256)  # of the MLP to the text tokens (2,048 and 4,096)
    tokens: int | None = None  # text tokens that are decoded behind the start token; None: all (19)
    structure_width: int = 256  # 1,024
    structure_blocks: int = 2  # 2
    motion_width: int = 128  # between voxels and the motion decoder (768)
    motion_blocks: int = 1  # 1
    motion_layers: int = 2  # 2
    motion_attention: int = 64  # width of its queries, keys and values (1,024)
    motion_heads: int = 4  # 4
    motion_feedforward: int = 512  # 768
    fmri_tokens: int = 4  # 1
    dropout: float = limited(0.3, least=0, most=1)  # at the entrance, half of it in the blocks (0.3)
    structure_dropout: float = limited(0.2, least=0, most=1)  # 0.2
    motion_dropout: float = limited(0.2, least=0, most=1)  # 0.2

    # Losses
    alignment_frames: int = 3  # frames of a clip that CLIP sees
    contrast_weight: float = 1.0  # 0.01
    embedding_weight: float = 0.0  # 1
    token_weight: float = 1.0  # 0.5
    barred: float = limited(0.4, least=0, most=1)  # chance that a frame may not ask an earlier one in training (0.4)
    barred_in_use: float = limited(1.0, least=0, most=1)  # 1: it asks the first alone (1)
    predict: Literal["change", "frame"] = "change"  # what the motion decoder says of the next frame ("frame")

    # Generator
    read_out: ReadOut = "nearest_concept"
    start: Literal["inversion", "renoised"] = "inversion"
    iterations: int = 1  # of the fixed point in each step of the inversion
    noise_time: int = limited(200, least=0, most=999)  # of the noise on inverted latents; 0: none (200)
    strength: float = limited(0.6, above=0, most=1)  # of "renoised"
    negative: str = ""  # the text that guidance leads away from
    steps: int | None = None  # these two: None is the suite's parameters
    guidance: float | None = None

    # Training
    use_validation: bool = True  # learn from the validation trials too: nothing is chosen by them
    semantic_epochs: float = limited(20.0, above=0)
    structure_epochs: float = limited(15.0, above=0)
    motion_epochs: float = limited(4.0, above=0)
    batch_size: int = 64
    motion_batch_size: int = 16
    learning_rate: float = 1e-3
    motion_learning_rate: float = 3e-3
    weight_decay: float = 0.01
    calibration_epochs: float = limited(30.0, above=0)  # of a new subject's own trials, for its input layers

    @property
    def weights(self) -> dict[str, str]:
        """The files that are named, by decoder."""
        named = {name: getattr(self, f"{name}_weights") for name in ("semantic", "structure", "motion")}
        return {name: path for name, path in named.items() if path is not None}


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="mind_animator")
    if parameters.motion_attention % parameters.motion_heads:
        raise BenchError(f"motion_heads={parameters.motion_heads} does not divide {parameters.motion_attention}")
    if not (parameters.semantic or parameters.structure or parameters.motion):
        raise BenchError("semantic, structure and motion are all off: nothing would see the brain; leave one on")
    if without := [name for name in parameters.weights if not getattr(parameters, name)]:
        raise BenchError(f"{without[0]}_weights are for the {without[0]} decoder, which {without[0]}=False leaves out")
    return parameters
