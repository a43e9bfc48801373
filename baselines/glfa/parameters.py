"""GLFA's parameters and what they may be. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut, check_heads, limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of GLFA with its default; the paper's values in the comments."""

    # Functional alignment
    form: Literal["canonical", "atlas"] = "canonical"  # "atlas": map and encoder as released
    side: int = 256  # of the atlas, in pixels; these five are of the released form alone
    kernel: int = 13  # of its local map, in pixels
    move_weight: float = 1.0  # of the loss on what the map moves, beside the video model's
    align_weight: float = 0.1  # of the loss on what differs between subjects
    weights: str | None = None  # a released encoder to start from
    patch: int = 16  # sites of a patch (paper: 256, a square of 16 × 16 pixels)
    # the next five: of the canonical form
    local_patches: int = limited(1, least=0)  # of each region; 0: no local part
    global_patches: int = limited(4, least=0)  # of the whole cortex; 0: no global part (all together, paper: 256)
    ridge: float = 0.3  # in variances of a voxel
    global_ridge: float = 1.0
    folds: int = 5  # training trials are mapped by the clips of the other folds; 1: by all
    match_base: bool = False  # True: `feedforward` is set so that there are as many parameters as in the base

    # Encoder
    width: int = 64  # paper: 1024
    layers: int = 2  # paper: 24
    heads: int = 4  # paper: 16
    feedforward: int = 256
    dropout: float = limited(0.1, least=0, most=1)
    noise: float = 0.3  # deviation of the noise that training adds to a map of unit deviation
    text_rank: int = 64  # axes of the text tokens; of the canonical form

    # Video model
    read_out: ReadOut = "nearest_concept"
    lora_rank: int = limited(4, least=0)  # 0: none (paper: 4)
    lora_scale: int = 16  # paper: 16
    steps: int | None = None  # None: the suite's parameters (paper: 30)
    guidance: float | None = None  # (paper: 6)

    # Training
    alignment_frames: int = 2  # frames of a clip that CLIP sees
    temperature: float = limited(0.1, above=0)
    image_weight: float = 1.0
    text_weight: float = 1.0
    token_weight: float = 1.0
    use_validation: bool = True  # learn from the validation trials too: nothing is chosen by them
    train_epochs: float = limited(30.0, above=0)
    batch_size: int = 64
    learning_rate: float = 1e-3
    joint_epochs: float = limited(0.3, least=0)  # 0: none
    joint_batch_size: int = 8
    joint_learning_rate: float = 1e-5
    decoder_learning_rate: float = 3e-4
    weight_decay: float = 0.05


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="glfa")
    check_heads(parameters, "width")
    if parameters.form == "atlas":
        side = math.isqrt(parameters.patch)
        if side**2 != parameters.patch or parameters.side % side or not parameters.kernel % 2 or parameters.width % 4:
            raise BenchError(
                f"an atlas of {parameters.side} pixels a side cannot be cut into patches of {parameters.patch}, with a "
                f"kernel of {parameters.kernel} and a width of {parameters.width}: a patch is a square whose side "
                "divides the atlas, a kernel has a middle, a width divides by 4"
            )
    elif parameters.weights is not None:
        raise BenchError("weights are of the released form; set form='atlas', as the profile `paper` does")
    elif parameters.local_patches + parameters.global_patches == 0:
        raise BenchError("local_patches=0 and global_patches=0 leave no map; raise one of them")
    return parameters
