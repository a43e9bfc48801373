"""The untrained networks that DynaMind's parameters describe."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from baselines.dynamind.aligner import TemporalAligner
from baselines.dynamind.mapper import RegionalMapper
from baselines.dynamind.parameters import Parameters
from baselines.dynamind.prior import Prior, TokenCode
from bench.toolbox.sizes import STABLE_DIFFUSION, PaperPart, count_parameters


class Networks(nn.Module):
    """All that is trained on brains."""

    def __init__(self, mapper: RegionalMapper, code: TokenCode, prior: Prior, aligner: TemporalAligner | None) -> None:
        super().__init__()
        self.mapper, self.code, self.prior, self.aligner = mapper, code, prior, aligner

    @property
    def parameter_count(self) -> int:
        prior = count_parameters(self.prior)
        return self.mapper.parameter_count + prior + (self.aligner.parameter_count if self.aligner else 0)


def build_networks(
    parameters: Parameters,
    channels: Sequence[str],
    samples: int,
    *,
    tokens: Sequence[int],  # token, width
    latent: Sequence[int],  # frame, channel, y, x
    image: int,
    categories: int,
) -> Networks:
    """The untrained networks for these electrodes, `samples` a trial, and widths of what the suite gives."""
    code = TokenCode(tokens[0], tokens[1], rank=parameters.token_rank, length=parameters.code_length)
    text = torch.Size(code.shape).numel() if parameters.text_weight > 0 else 0
    mapper = RegionalMapper(
        channels,
        layout=parameters.layout,
        leave_out=parameters.leave_out,
        filters=parameters.filters,
        hidden=parameters.hidden,
        width=parameters.width,
        dropout=parameters.dropout,
        text=text,
        text_hidden=parameters.text_hidden,
        image=image if parameters.image_weight > 0 else 0,
        categories=categories if parameters.category_weight > 0 else 0,
        init=parameters.init,
    )
    given = [parameters.width, *([text] if text else []), *([image] if parameters.image_weight > 0 else [])]
    prior = Prior(
        code.shape,
        given,
        width=parameters.prior_width,
        depth=parameters.prior_depth,
        heads=parameters.prior_heads,
        head_width=parameters.prior_head_width,
        dropout=parameters.prior_dropout,
    )
    aligner = None
    if parameters.use_aligner:
        aligner = TemporalAligner(
            len(channels),
            samples,
            latent=latent,
            filters=parameters.aligner_filters,
            width=parameters.aligner_width,
            dropout=parameters.aligner_dropout,
            patch_dropout=parameters.aligner_patch_dropout,
            released_axes=parameters.released_axes,
        )
    return Networks(mapper, code, prior, aligner)


def list_paper_parts(parameters: Parameters) -> list[PaperPart]:
    """The parts for SEED-DV's 62 electrodes and 400 samples, and Stable Diffusion 1.x."""
    from diffusers import UNet2DConditionModel

    from bench.pretrained.generators.tune_a_video import InflatedUNet

    channels = [*("F1",) * 21, *("FT7",) * 8, *("CP1",) * 21, *("O1",) * 12]  # as many of a region as SEED-DV's cap has
    networks = build_networks(
        parameters, channels, 400, tokens=(77, 768), latent=(6, 4, 36, 64), image=768, categories=40
    )
    mapper, generator = networks.mapper, InflatedUNet(UNet2DConditionModel(**STABLE_DIFFUSION))
    return [
        ("mapper, region stacks", mapper.stacks, "508,800 released"),
        ("mapper, common embedding", mapper.common, "1,836,800 released"),
        ("mapper, text head", mapper.text, ""),
        ("mapper, image head", mapper.image, "592,128 released"),
        ("mapper, category head (in training alone)", mapper.category, ""),
        ("prior", networks.prior, ""),
        ("aligner", networks.aligner, "15,208,048 released, but for a head that no loss reaches"),
        ("Tune-A-Video, tuned", generator.trained_parameters(), ""),
        ("Tune-A-Video, all", generator, ""),
    ]
