"""The untrained networks that NeuroClips' parameters describe."""

from __future__ import annotations

from typing import Any

from torch import nn

from baselines.neuroclips.parameters import Parameters
from baselines.neuroclips.perception import PerceptionReconstructor
from baselines.neuroclips.prior import DiffusionPrior
from baselines.neuroclips.semantic import SemanticReconstructor
from bench.core.errors import BenchError
from bench.toolbox.voxels import Voxels


def build_networks(
    own: Parameters,
    *,
    volumes: int,
    voxels: Voxels,
    embedding: int,
    latent: tuple[int, ...],
    features: int,
    targets: int = 1,
) -> Any:
    """The untrained networks, a ModuleDict of `semantic`, `prior` and `perception` as far as these parameters use them.

    `targets` is the number of CLIP tokens that the prior draws: 1 is the pooled embedding. Raises BenchError for sizes
    that do not go together.
    """
    if embedding % own.prior_heads:
        raise BenchError(f"prior_heads={own.prior_heads} does not divide {embedding}; take another number")
    made: dict[str, nn.Module] = {}
    if own.reads_meaning:
        made["semantic"] = SemanticReconstructor(
            volumes=volumes,
            hidden=own.hidden,
            blocks=own.blocks,
            dropout=own.dropout,
            tokens=own.tokens,
            embedding=embedding,
        )
        if own.prior:
            made["prior"] = DiffusionPrior(
                tokens=own.tokens,
                targets=targets,
                embedding=embedding,
                depth=own.prior_depth,
                heads=own.prior_heads,
                times=own.prior_times,
                dropout=0.0,
            )
    if own.reads_sight:
        made["perception"] = PerceptionReconstructor(
            volumes=volumes,
            frames=own.blurry_frames,
            bottleneck=own.bottleneck,
            hidden=own.perception_hidden,
            blocks=own.perception_blocks,
            dropout=own.dropout,
            channels=own.decoder_channels,
            heads=own.decoder_heads,
            latent=(latent[0], latent[1], latent[2]),
            features=features,
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
