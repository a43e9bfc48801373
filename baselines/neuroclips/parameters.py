"""NeuroClips' parameters and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut, limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter with its default; the released code's values in the comments."""

    leave_out: tuple[str, ...] = ("auditory", "hippocampus", "mPFC")  # the paper reads visual cortex

    target: Literal["pooled", "tokens"] = "pooled"  # of key frames: CLIP's embedding, or its patches' tokens ("tokens")
    mixer: Literal["residual", "released"] = "residual"  # wiring of the mixer blocks ("released")

    # The authors' numbers to start from, of the paper's size; {subject} in a path is the subject's number
    semantic_weights: str | None = None  # with the prior's, where the file has them
    perception_weights: str | None = None

    # Semantic reconstructor
    hidden: int = 256  # 4,096
    blocks: int = 2  # 4
    dropout: float = limited(0.15, least=0, most=1)
    tokens: int = 4  # 256
    mix: bool = True  # BiMixCo; False: no mixtures
    temperature: float = limited(0.05, above=0)  # of stage A; 0.006
    text_weight: float = 0.25
    semantic_epochs: float = limited(40.0, above=0)  # 30
    semantic_batch_size: int = 128  # 720
    semantic_learning_rate: float = 1e-3  # 1e-4

    # Prior
    prior: bool = True  # False: the projector's output in its place
    prior_depth: int = 2  # 6
    prior_heads: int = 4  # 32
    prior_times: int = 100
    prior_samples: int = 20  # steps of sampling
    prior_drop: float = limited(0.2, least=0, most=1)
    prior_scale: float = 30.0
    prior_text_weight: float = 1.0
    soft_temperatures: tuple[float, float] = limited((0.05, 0.1), above=0)  # from, to; 0.004 to 0.0075
    prior_epochs: float = limited(40.0, above=0)  # 150
    prior_batch_size: int = 64
    prior_learning_rate: float = 1e-3  # 3e-4

    # Perception reconstructor
    blurry_frames: int = 6
    bottleneck: int = 64  # 256
    perception_hidden: int = 256  # 4,096
    perception_blocks: int = 2  # 4
    decoder_channels: tuple[int, int, int] = (64, 32, 16)  # 128, 64, 32
    decoder_heads: int = 2  # 1
    decoder_groups: int = 1  # of the decoder's norms; 32, which leave a flat frame one value whatever the brain says
    features: int = 64  # width of what the contrastive loss compares; 512
    contrast: float = 0.1
    contrast_temperature: float = limited(0.2, above=0)
    perception_epochs: float = limited(8.0, above=0)  # 80
    perception_batch_size: int = 32  # 40
    perception_learning_rate: float = 1e-3  # 3e-4

    weight_decay: float = 0.1
    calibration_epochs: float = limited(60.0, above=0)
    use_validation: bool = True  # learn from the validation trials too: nothing is chosen by them

    # Video
    keyframe: bool = True
    caption: bool = True
    read_out: ReadOut = "nearest_concept"  # of the caption
    start: Literal["renoised", "noise"] = "renoised"  # "noise": no blurry video
    strength: float = limited(0.3, above=0, most=1)
    steps: int | None = 10  # 25; None is the suite's parameters, here and below
    guidance: float | None = None  # 8.5
    keyframe_steps: int | None = None  # 38, of unCLIP
    prompt_suffix: str = ""
    shared_noise: bool = False

    @property
    def reads_meaning(self) -> bool:
        return self.keyframe or self.caption

    @property
    def reads_sight(self) -> bool:
        return self.start != "noise"


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="neuroclips")
    if not parameters.reads_meaning and not parameters.reads_sight:
        raise BenchError("without key frame, caption and blurry video no brain is left; keep one of them")
    if parameters.semantic_weights is not None and not parameters.reads_meaning:
        raise BenchError("semantic_weights are for the semantic reconstructor, which these parameters have none of")
    if parameters.perception_weights is not None and not parameters.reads_sight:
        raise BenchError("perception_weights are for the perception reconstructor, which start='noise' has none of")
    channels = parameters.decoder_channels
    for name, divisor in (("decoder_heads", parameters.decoder_heads), ("decoder_groups", parameters.decoder_groups)):
        if any(width % divisor for width in channels):
            raise BenchError(f"decoder_channels={channels}: all must be multiples of {name} ({divisor})")
    return parameters
