"""CineNeuron's parameters and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.core.errors import BenchError
from bench.toolbox.parameters import check_heads, limited, read_given

POWERS = {"centred": 0.0, "half": 0.5, "full": 1.0}  # of an axis's deviation that it is divided by
Modality = Literal["text", "image", "action"]  # of a memory


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of CineNeuron with its default; an ablation is a change of these and of nothing else."""

    # Input (Table 5); names of regions match whatever their case
    leave_out: tuple[str, ...] = ("auditory", "mPFC")
    noise_rois: tuple[str, ...] = ()  # regions whose voxels are noise: their parameters stay, their information goes

    use_validation: bool = True  # train on the validation trials too: nothing is chosen on them

    # Brain Model (§3.1)
    first_layer: Literal["solved", "learned"] = "solved"  # by ridge regression, or by gradient as in the paper
    tokens: int = 4  # of f^e, at most as many as the decoder's text tokens (paper: 512)
    token_channels: int = 64  # numbers that the input layer gives a token at each volume
    width: int = 128  # paper: 2048
    layers: int = 2  # paper: 24
    heads: int = 4
    feedforward: int = 512
    dropout: float = limited(0.1, least=0, most=1)
    match_base: bool = False  # True: `feedforward` is set so that there are as many parameters as in the base

    # Semantic enrichment, equations (1) to (3)
    whitening: Literal["none", "centred", "half", "full"] = "half"  # of embeddings; "none": as the encoders give them
    alignment_frames: int = 6  # frames of a clip that CLIP sees
    temperature: float = limited(0.07, above=0)
    action_weight: float = 1.0  # lambda_1; 0 trains no action head
    category_weight: float = 1.0  # lambda_2; 0 finds no categories
    category_least: int = 10  # clips that must show a category, or it is merged or dropped
    focal_gamma: float = 2.0

    # Mixture-of-Memories, equations (4) to (8)
    modalities: tuple[Modality, ...] = ("text", "image", "action")  # that the mixture score is made of
    router: Literal["learned", "fixed"] = "learned"  # "fixed": all modalities weigh the same
    query: Literal["global", "embedding"] = "global"
    memories: int = 5  # K
    own_clip: bool = False  # True: in training a trial may retrieve its parameters clip
    router_steps: int = 100  # by that loss alone and all trials, before stage 2 (first_layer="solved")
    router_learning_rate: float = 1e-3  # ten times as much lets it choose what its few trials say
    true_text: float = limited(0.5, least=0, most=1)  # share of stage 2's trials that are given their own caption
    router_weight: float = 1.0  # of the mixture scores' loss, which the paper does not have
    condition: Literal["fused", "text", "fmri"] = "fused"  # "text": no MoM, "fmri": no integration
    alpha: float = 1.0
    residual: bool = True  # False: equation (6) to the letter

    # Decoder (§3.2, equation 9)
    decoder: Literal["wan", "animatediff"] = "wan"
    lora_rank: int = limited(16, least=0)  # 0: none
    lora_scale: int = 16
    flow_shift: float = limited(3.0, above=0)  # of Wan's noise levels
    steps: int | None = None  # these two: None is the suite's parameters
    guidance: float | None = None
    # frames, height and width that are drawn: of several the one whose picture is shaped most as the training clips';
    # none is the clips' own size. Videos are handed back in the clips' size whatever it is
    output: tuple[tuple[int, int, int], ...] = limited((), least=1)
    checkpointing: bool = False  # less memory in training, more time

    # Training; the paper's values in the comments
    stage1_steps: int = 400  # 8,000
    batch_size: int = 64  # 144
    learning_rate: float = 5e-4  # 1e-4
    joint_epochs: float = limited(2.0, above=0)  # 20
    joint_batch_size: int = 32  # 32
    joint_learning_rate: float = 1e-5  # 1e-6, of the Brain Model and its heads
    decoder_learning_rate: float = 3e-4  # 1e-6 for router and fusion; silent on LoRA
    weight_decay: float = 0.01
    calibration_steps: int = 300
    calibration_learning_rate: float = 1e-3


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="cine_neuron")
    check_heads(parameters, "width")
    if not parameters.modalities or len(set(parameters.modalities)) < len(parameters.modalities):
        raise BenchError(f"modalities {list(parameters.modalities)} must be one or more, each once")
    if "action" in parameters.modalities and parameters.action_weight == 0 and parameters.condition != "fmri":
        raise BenchError(
            "action_weight=0 leaves the action head untrained, and modalities ask it; "
            "set action_weight, or modalities without 'action'"
        )
    return parameters
