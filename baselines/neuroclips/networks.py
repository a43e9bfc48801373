"""The untrained networks that NeuroClips' parameters describe."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from baselines.neuroclips.parameters import Parameters
from baselines.neuroclips.perception import PerceptionReconstructor
from baselines.neuroclips.prior import DiffusionPrior
from baselines.neuroclips.semantic import SemanticReconstructor
from bench.core.errors import BenchError
from bench.toolbox.sizes import PaperPart
from bench.toolbox.voxels import Voxels


def build_networks(
    parameters: Parameters,
    *,
    volumes: int,
    voxels: Voxels,
    embedding: int,
    latent: tuple[int, ...],
    targets: int = 1,
) -> Any:
    """The untrained networks, a ModuleDict of `semantic`, `prior` and `perception` as far as these parameters use them.

    `targets` is the number of CLIP tokens that the prior draws: 1 is the pooled embedding. Raises BenchError for sizes
    that do not go together.
    """
    if embedding % parameters.prior_heads:
        raise BenchError(f"prior_heads={parameters.prior_heads} does not divide {embedding}; take another number")
    made: dict[str, nn.Module] = {}
    if parameters.reads_meaning:
        made["semantic"] = SemanticReconstructor(
            volumes=volumes,
            hidden=parameters.hidden,
            blocks=parameters.blocks,
            dropout=parameters.dropout,
            tokens=parameters.tokens,
            embedding=embedding,
            wiring=parameters.mixer,
        )
        if parameters.prior:
            made["prior"] = DiffusionPrior(
                tokens=parameters.tokens,
                targets=targets,
                embedding=embedding,
                depth=parameters.prior_depth,
                heads=parameters.prior_heads,
                times=parameters.prior_times,
                dropout=0.0,
            )
    if parameters.reads_sight:
        made["perception"] = PerceptionReconstructor(
            volumes=volumes,
            frames=parameters.blurry_frames,
            bottleneck=parameters.bottleneck,
            hidden=parameters.perception_hidden,
            blocks=parameters.perception_blocks,
            dropout=parameters.dropout,
            channels=parameters.decoder_channels,
            heads=parameters.decoder_heads,
            groups=parameters.decoder_groups,
            latent=(latent[0], latent[1], latent[2]),
            features=parameters.features,
            wiring=parameters.mixer,
        )
    networks = nn.ModuleDict(made)
    for layers in list_subject_layers(networks):
        for number, columns in voxels.items():
            layers.add_subject(number, columns)
    return networks


def list_subject_layers(networks: Any) -> list[Any]:
    """What knows the subjects: the semantic ridge and the perception's regression."""
    found = [networks["semantic"].ridge] if "semantic" in networks else []
    return [*found, networks["perception"].regress] if "perception" in networks else found


def list_paper_parts(parameters: Parameters, *, voxels: int = 13447) -> list[PaperPart]:
    """The parts for one subject of so many voxels (cc2017's first) and one volume a trial.

    Targets are tokens of OpenCLIP's ViT-bigG-14 and Stable Diffusion's latents of 224 pixels.
    """
    networks = build_networks(
        parameters,
        volumes=1,
        voxels={1: np.arange(voxels)},
        embedding=1664,
        latent=(4, 28, 28),
        targets=256,
    )
    semantic, perception = networks["semantic"], networks["perception"]
    [regression] = [one.layer for one in perception.regress.values()]
    backbone = nn.ModuleList([semantic.mixer, semantic.to_tokens, semantic.projector])
    maps = [perception.mixer, perception.to_maps, perception.norm, perception.describe, perception.decoder]
    return [
        ("semantic: ridge", semantic.ridge, "55,083,008 released, for 13,447 voxels"),
        ("semantic: backbone", backbone, "1,887,861,400 released"),
        ("prior", networks["prior"], "259,865,200 trained released, 425,984 of a token that is never asked for"),
        (
            "perception: extension",
            nn.ModuleList([regression.enter, regression.mixer, regression.extend]),
            "24,244,270 released, for 13,447 voxels",
        ),
        ("perception: ridge", regression.ridge, "55,083,008 released, for 13,447 voxels"),
        ("perception: backbone", nn.ModuleList(maps), "149,857,667 released"),
        ("all", networks, ""),
    ]
