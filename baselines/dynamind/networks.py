"""DynaMind's parameters, and the untrained networks that they describe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from baselines.dynamind.aligner import TemporalAligner
from baselines.dynamind.mapper import RegionalMapper
from baselines.dynamind.prior import Prior, TokenCode
from bench.core.errors import BenchError
from bench.toolbox.parameters import read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of DynaMind with its default; an ablation is a change of these and of nothing else."""

    sampling_rate: float = 50.0  # Hz; signals above it are low-passed and resampled (paper: 200)

    # Regional mapper; the paper's sizes in the comments
    layout: str = "anatomical"  # or "released": four runs of electrodes by their order
    leave_out: tuple[str, ...] = ()  # regions
    filters: tuple[int, ...] = (32, 64, 128)  # (64, 128, 256)
    hidden: int = 256  # 1024
    width: int = 192  # 768, of the common embedding
    text_hidden: int = 128  # 512
    dropout: float = 0.3
    init: str = "random"  # or "ones", as released
    text_weight: float = 0.31  # of the loss; 0 takes the head away, as for the next two
    image_weight: float = 0.11
    category_weight: float = 0.48
    temperature: float = 0.07
    mapper_epochs: float = 20.0  # 288
    mapper_batch_size: int = 64  # 120
    mapper_learning_rate: float = 1e-3  # 9.5e-5
    mapper_weight_decay: float = 0.048
    noise: float = 1.0  # on the mapper's training trials, in deviations of the signal (paper: none)

    # Prior
    token_rank: int = 96  # principal coefficients of the 77 tokens; 0: the tokens themselves
    code_length: int = 8  # coefficients a step of the prior's sequence
    prior_width: int = 64  # 768
    prior_depth: int = 2  # 12
    prior_heads: int = 4  # 12
    prior_head_width: int = 16  # 64
    prior_dropout: float = 0.1
    prior_steps: int = 600  # of training; 48 epochs
    prior_batch_size: int = 64  # 14
    prior_learning_rate: float = 2e-3  # 9.5e-5
    prior_weight_decay: float = 0.012
    prior_draws: int = 16  # steps of sampling

    # Temporal aligner
    use_aligner: bool = True  # False: the video starts from noise
    aligner_filters: int = 4
    aligner_width: int = 128  # 256
    aligner_dropout: float = 0.5
    released_axes: bool = False  # True: the scrambled axes of the release
    contrast: float = 0.11
    contrast_temperature: float = 0.072
    aligner_steps: int = 400  # 96 epochs
    aligner_batch_size: int = 64  # 10
    aligner_learning_rate: float = 1e-3  # 9.5e-5
    aligner_weight_decay: float = 0.01

    # Dual-guidance reconstruction
    alpha: float = 0.3  # of the blueprint in the start
    tuning_steps: int = 100  # of Tune-A-Video; the paper: 10 epochs of 1,400 clips, one at a time
    tuning_batch_size: int = 4  # 1
    tuning_learning_rate: float = 3e-4  # 9.5e-6
    steps: int | None = None  # these two: None is the suite's own (48 and 12.2)
    guidance: float | None = None

    # New subjects
    calibration_steps: int = 60
    calibration_learning_rate: float = 1e-3


class Networks(nn.Module):
    """All that is trained on brains."""

    def __init__(self, mapper: RegionalMapper, code: TokenCode, prior: Prior, aligner: TemporalAligner | None) -> None:
        super().__init__()
        self.mapper, self.code, self.prior, self.aligner = mapper, code, prior, aligner

    @property
    def parameter_count(self) -> int:
        prior = sum(one.numel() for one in self.prior.parameters())
        return self.mapper.parameter_count + prior + (self.aligner.parameter_count if self.aligner else 0)


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    own = read_given(Parameters, given, method="dynamind")
    if not 0 <= own.contrast <= 1:
        raise BenchError(f"contrast={own.contrast} is no share; choose it within 0 and 1")
    if own.text_weight <= 0 and own.image_weight <= 0 and own.category_weight <= 0:
        raise BenchError("text_weight, image_weight and category_weight are all 0: nothing would train the mapper")
    return own


def build_networks(
    own: Parameters,
    channels: Sequence[str],
    samples: int,
    *,
    tokens: Sequence[int],  # token, width
    latent: Sequence[int],  # frame, channel, y, x
    image: int,
    categories: int,
) -> Networks:
    """The untrained networks for these electrodes, `samples` a trial, and widths of what the suite gives."""
    code = TokenCode(tokens[0], tokens[1], rank=own.token_rank, length=own.code_length)
    text = torch.Size(code.shape).numel() if own.text_weight > 0 else 0
    mapper = RegionalMapper(
        channels,
        layout=own.layout,
        leave_out=own.leave_out,
        filters=own.filters,
        hidden=own.hidden,
        width=own.width,
        dropout=own.dropout,
        text=text,
        text_hidden=own.text_hidden,
        image=image if own.image_weight > 0 else 0,
        categories=categories if own.category_weight > 0 else 0,
        init=own.init,
    )
    given = [own.width, *([text] if text else []), *([image] if own.image_weight > 0 else [])]
    prior = Prior(
        code.shape,
        given,
        width=own.prior_width,
        depth=own.prior_depth,
        heads=own.prior_heads,
        head_width=own.prior_head_width,
        dropout=own.prior_dropout,
    )
    aligner = None
    if own.use_aligner:
        aligner = TemporalAligner(
            len(channels),
            samples,
            latent=latent,
            filters=own.aligner_filters,
            width=own.aligner_width,
            dropout=own.aligner_dropout,
            released_axes=own.released_axes,
        )
    return Networks(mapper, code, prior, aligner)
