"""NeuroClips' parameters, and the untrained networks that they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from baselines.neuroclips.perception import GROUPS, PerceptionReconstructor
from baselines.neuroclips.prior import DiffusionPrior
from baselines.neuroclips.semantic import SemanticReconstructor
from bench.core.errors import BenchError
from bench.toolbox.parameters import check_choices, check_strength, read_given
from bench.toolbox.voxels import Voxels

STARTS = ("renoised", "noise")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter with its default; the released code's values in the comments."""

    leave_out: tuple[str, ...] = ("auditory", "hippocampus", "mPFC")  # the paper reads visual cortex

    # Semantic reconstructor
    hidden: int = 256  # 4,096
    blocks: int = 2  # 4
    dropout: float = 0.15
    tokens: int = 4  # 256
    mix: bool = True  # BiMixCo; False: no mixtures
    temperature: float = 0.05  # of stage A; 0.006
    text_weight: float = 0.25
    semantic_steps: int = 300  # 30 epochs
    semantic_batch_size: int = 128  # 720
    semantic_learning_rate: float = 1e-3  # 1e-4

    # Prior
    prior: bool = True  # False: the projector's output in its place
    prior_depth: int = 2  # 6
    prior_heads: int = 4  # 32
    prior_times: int = 100
    prior_samples: int = 20  # steps of sampling
    prior_drop: float = 0.2
    prior_scale: float = 30.0
    prior_text_weight: float = 1.0
    soft_temperatures: tuple[float, float] = (0.05, 0.1)  # from, to; 0.004 to 0.0075
    prior_steps: int = 600  # 150 epochs
    prior_batch_size: int = 64
    prior_learning_rate: float = 1e-3  # 3e-4

    # Perception reconstructor
    blurry_frames: int = 6
    bottleneck: int = 64  # 256
    perception_hidden: int = 256  # 4,096
    perception_blocks: int = 2  # 4
    decoder_channels: tuple[int, ...] = (64, 32, 16)  # 128, 64, 32
    decoder_heads: int = 2
    contrast: float = 0.1
    contrast_temperature: float = 0.2
    perception_steps: int = 200  # 80 epochs
    perception_batch_size: int = 32  # 40
    perception_learning_rate: float = 1e-3  # 3e-4

    weight_decay: float = 0.1
    calibration_steps: int = 150

    # Video
    keyframe: bool = True
    caption: bool = True
    start: str = "renoised"  # or "noise": no blurry video
    strength: float = 0.3
    steps: int | None = 10  # 25; None is the suite's own, here and below
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
    own = read_given(Parameters, given, method="neuroclips")
    check_choices(own, start=STARTS)
    check_strength(own)
    if not own.reads_meaning and not own.reads_sight:
        raise BenchError("without key frame, caption and blurry video no brain is left; keep one of them")
    return own


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
    for name, heads, widths in (
        ("prior_heads", own.prior_heads, (embedding,)),
        ("decoder_heads", own.decoder_heads, own.decoder_channels),
    ):
        if any(width % heads for width in widths):
            raise BenchError(f"{name}={heads} does not divide {' and '.join(map(str, widths))}; take another number")
    if len(own.decoder_channels) != 3 or any(width % GROUPS for width in own.decoder_channels):
        raise BenchError(f"decoder_channels {own.decoder_channels}: three numbers are needed, multiples of {GROUPS}")
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
