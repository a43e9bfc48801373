"""DynaMind's parameters, those of its ceiling, and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from baselines.dynamind.regions import LAYOUTS
from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut, limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of DynaMind with its default; an ablation is a change of these and of nothing else."""

    sampling_rate: float = limited(50.0, above=0)  # Hz; signals above it are low-passed and resampled (paper: 200)

    # Regional mapper; the paper's sizes in the comments
    layout: Literal["anatomical", "released"] = "anatomical"  # "released": four runs of electrodes by their order
    leave_out: tuple[str, ...] = ()  # regions
    filters: tuple[int, int, int] = (32, 64, 128)  # (64, 128, 256)
    hidden: int = 256  # 1024
    width: int = 192  # 768, of the common embedding
    text_hidden: int = 128  # 512
    dropout: float = limited(0.3, least=0, most=1)
    init: Literal["random", "ones"] = "random"  # "ones": as released
    text_weight: float = 0.31  # of the loss; 0 takes the head away, as for the next two
    image_weight: float = 0.11
    category_weight: float = 0.48
    temperature: float = limited(0.07, above=0)
    mapper_epochs: float = limited(20.0, above=0)  # 288
    mapper_batch_size: int = 64  # 120
    mapper_learning_rate: float = 1e-3  # 9.5e-5
    mapper_weight_decay: float = 0.048
    noise: float = 1.0  # on the mapper's training trials, in deviations of the signal (paper: none)

    # Prior
    token_rank: int = limited(96, least=0)  # principal coefficients of the 77 tokens; 0: the tokens themselves
    code_length: int = 8  # coefficients a step of the prior's sequence
    prior_width: int = 64  # 768
    prior_depth: int = 2  # 12
    prior_heads: int = 4  # 12
    prior_head_width: int = 16  # 64
    prior_dropout: float = limited(0.1, least=0, most=1)
    prior_epochs: float = limited(50.0, above=0)  # 48
    prior_batch_size: int = 64  # 14
    prior_learning_rate: float = 2e-3  # 9.5e-5
    prior_weight_decay: float = 0.012
    prior_draws: int = 16  # steps of sampling

    # Temporal aligner
    use_aligner: bool = True  # False: the video starts from noise
    aligner_filters: int = limited(4, least=2)  # the weight of a single one would be cos(pi / 2)
    aligner_width: int = 128  # 256
    aligner_patch_dropout: float = limited(0.3, least=0, most=1)
    aligner_dropout: float = limited(0.5, least=0, most=1)
    released_axes: bool = False  # True: the scrambled axes of the release
    contrast: float = limited(0.11, least=0, most=1)
    contrast_temperature: float = limited(0.072, above=0)
    aligner_epochs: float = limited(30.0, above=0)  # 96
    aligner_batch_size: int = 64  # 10
    aligner_learning_rate: float = 1e-3  # 9.5e-5
    aligner_weight_decay: float = 0.01

    # Dual-guidance reconstruction
    alpha: float = 0.3  # of the blueprint in the start
    tuning_epochs: float = limited(0.5, above=0)  # of Tune-A-Video, of the clips; 10, of 1,400 clips
    tuning_batch_size: int = 4  # 1
    tuning_learning_rate: float = 3e-4  # 9.5e-6
    read_out: ReadOut = "nearest_concept"  # of the prior's tokens
    steps: int | None = None  # these two: None is the suite's parameters (48 and 12.2)
    guidance: float | None = None

    # Trials that are learned from
    use_validation: bool = True  # of the validation block too; nothing is chosen by it, unless:
    stopping: Literal["none", "validation"] = "none"  # "validation" keeps the weights that did best on it

    # New subjects
    calibration_epochs: float = limited(30.0, above=0)
    calibration_learning_rate: float = 1e-3


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="dynamind")
    layout, left_out = parameters.layout, parameters.leave_out
    if unknown := sorted(set(left_out) - set(LAYOUTS[layout])):
        raise BenchError(f"leave_out names {', '.join(unknown)}; layout {layout!r} has {', '.join(LAYOUTS[layout])}")
    if not set(LAYOUTS[layout]) - set(left_out):
        raise BenchError(f"leave_out={list(left_out)} leaves no region of layout {layout!r}; name fewer")
    rank, length = parameters.token_rank, parameters.code_length
    if rank % length:
        raise BenchError(f"token_rank={rank} is no multiple of code_length={length}; change either")
    if not (parameters.text_weight or parameters.image_weight or parameters.category_weight):
        raise BenchError("text_weight, image_weight and category_weight are all 0: nothing would train the mapper")
    if parameters.stopping == "validation" and parameters.use_validation:
        raise BenchError("stopping='validation' chooses by trials that are learned from; set use_validation=false too")
    return parameters


@dataclass(frozen=True, kw_only=True)
class OracleParameters:
    """Every parameter of `dynamind_oracle` with its default."""

    latents: bool = True  # False: the video starts from noise, and the true caption alone is known
    tuning_epochs: float = limited(Parameters.tuning_epochs, above=0)
    tuning_batch_size: int = Parameters.tuning_batch_size
    tuning_learning_rate: float = Parameters.tuning_learning_rate
    steps: int | None = None  # these two: None is the suite's parameters
    guidance: float | None = None


def read_oracle_parameters(given: Mapping[str, Any]) -> OracleParameters:
    """The ceiling's parameters from keywords. Raises BenchError for what does not exist."""
    return read_given(OracleParameters, given, method="dynamind_oracle")


READERS = {"DynaMindOracle": read_oracle_parameters}
