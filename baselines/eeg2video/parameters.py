"""EEG2Video's parameters and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut, check_heads, limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of EEG2Video with its default; an ablation is a change of these. Published values in comments."""

    # Numbers that the authors' code saved, of the paper's size, to start from
    seq2seq_weights: str | None = None
    semantic_weights: str | None = None
    dynamic_weights: str | None = None

    # Seq2seq: EEG windows to frame latents
    seq2seq: bool = True  # False: the video starts from noise alone
    sampling_rate: float = limited(50.0, above=0)  # Hz, of the raw signal; 200
    window_seconds: float = limited(0.5, above=0)
    hop_seconds: float = limited(0.25, above=0)
    filters: int = 8  # 16
    depth: int = 2  # 4
    pointwise: int = 16  # 16
    width: int = 64  # 512
    heads: int = 4  # 4
    encoder_layers: int = 2  # 2
    decoder_layers: int = 2  # 4
    feedforward: int = 256  # 2048
    dropout: float = limited(0.1, least=0, most=1)  # 0.1
    window_dropout: float = limited(0.5, least=0, most=1)  # 0.5
    first_token: Literal[0, 1] = 1  # 0: the released form, whose first frame is the same for all EEG
    seq2seq_epochs: float = limited(20.0, above=0)  # 200
    seq2seq_learning_rate: float = 1e-3  # 5e-4

    # Band powers, and the semantic predictor
    whole_trial: bool = True  # False: the released form, which reads the first second
    semantic_targets: Literal["clip", "concept"] = "clip"
    read_out: ReadOut = "nearest_concept"
    hidden: int = 512  # 10000
    layers: int = 4  # 4
    semantic_dropout: float = limited(0.0, least=0, most=1)  # 0
    semantic_epochs: float = limited(50.0, above=0)  # 200
    semantic_learning_rate: float = 5e-4  # 5e-4

    # Dynamic predictor and DANA
    dana: bool = True  # False: each frame its parameters noise
    glmnet_hidden: tuple[int, int] = (64, 32)  # (512, 256)
    glmnet_embedding: int = 16  # 64
    dynamic_epochs: float = limited(20.0, above=0)  # 100
    dynamic_learning_rate: float = 1e-3  # 1e-3
    # shared part of the noise; in the released script .3, and .2 for slow clips
    beta_fast: float = limited(0.2, least=0, most=1)
    beta_slow: float = limited(0.3, least=0, most=1)
    permuted_flags: bool = False  # True: fast and slow are learned from the wrong clips
    start: Literal["renoised", "released"] = "renoised"
    strength: float = limited(0.8, above=0, most=1)  # share of the steps that "renoised" runs

    # Training of the networks on EEG
    use_validation: bool = True  # learn from the validation trials too: nothing is chosen by them
    batch_size: int = 32  # 32, and 256 for the dynamic predictor
    weight_decay: float = 0.0  # 0

    # Tune-A-Video
    tuning_epochs: float = limited(0.5, above=0)  # of the clips; 200, of 200 clips
    tuning_batch_size: int = 6  # 10
    tuning_learning_rate: float = 1e-3  # 3e-5
    steps: int | None = None  # 100; None is the suite's parameters
    guidance: float | None = None  # 12.5


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="eeg2video")
    check_heads(parameters, "width")
    if parameters.seq2seq_weights is not None and not parameters.seq2seq:
        raise BenchError("seq2seq_weights are for the seq2seq model, which seq2seq=False leaves out")
    if parameters.dynamic_weights is not None and not (parameters.seq2seq and parameters.dana):
        raise BenchError("dynamic_weights are for the dynamic predictor, which DANA with seq2seq alone has")
    return parameters
