"""SAM-Net's parameters and what they may be. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.core.errors import BenchError
from bench.toolbox.parameters import ReadOut, check_heads, limited, read_given

Region = Literal["frontal", "parietal", "central", "temporal", "occipital"]
REGIONS: tuple[Region, ...] = get_args(Region)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of SAM-Net with its default; an ablation is a change of these and of nothing else."""

    # Input
    sampling_rate: float = limited(50.0, above=0)  # Hz; signals above it are low-passed and resampled
    power_bands: tuple[tuple[float, float], ...] = ((8.0, 13.0), (14.0, 30.0), (35.0, 80.0))  # Hz; () is the paper's
    sphering: Literal["all", "regions", "none"] = "all"  # the electrodes that are used, by the known subjects' mean
    # covariance: all of them together, or within regions
    sphering_shrinkage: float = limited(0.01, least=0, most=1)
    band_shrinkage: float = limited(0.1, least=0, most=1)  # the same for powers, where a band has its own covariance
    noise_mean: float = limited(0.0, least=None)  # augmentation, in deviations of the signal
    noise_deviation: float = 1.2
    electrode_dropout: float = limited(0.05, least=0, most=1)  # share of electrodes silenced in a training trial

    # HRT (§3.1)
    encoder: Literal["hrt", "plain"] = "hrt"  # "plain" is what stands in for HRT in "w/o HRT"
    encoders: Literal["two", "one"] = "two"  # one for E and one for L (Figure 2b), or one for both
    regions: tuple[Region, ...] = REGIONS
    attention_pool: Literal["mean", "log_power"] = "mean"
    filters: int = 24  # of each region's extractor ("plain": of the one extractor)
    kernel_seconds: float = limited(0.25, above=0)  # of the extractors
    stride_seconds: float = limited(0.08, above=0)
    width: int = 64
    queries: int = 16
    layers: int = 2
    heads: int = 4
    dropout: float = limited(0.2, least=0, most=1)
    concept_rank: int = 39  # directions of E between concepts, then within them
    text_rank: int = 64
    latent_rank: int = 64

    # C-SA (§3.2)
    centred: bool = True  # False: another than the most central subject starts, drawn with the seed
    progressive: bool = True  # False: all subjects train from the first step
    adversary: float = 0.05  # lambda; 0 trains no subject classifier
    adversary_width: int = 64
    last_share: float = limited(0.75, least=0, most=1)  # of the steps that are made with all subjects

    # Training stage 1 (§3.5)
    epochs: float = limited(20.0, above=0)  # steps = epochs × training trials / batch_size, whatever the stages
    alone: float = limited(3.0, above=0)  # times as many epochs where one subject has only its own trials
    use_validation: bool = True  # train on the validation block too: nothing is chosen on it
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 2.0
    text_weight: float = 1.0
    concept_share: float = limited(0.9, least=0, most=1)  # of the loss of E, borne by the concepts' mean embeddings
    latent_weight: float = 1.0

    # New2Source (§3.3), training stage 2
    adaptation: Literal["new2source", "recolour", "none"] = "new2source"
    mapping_source: Literal["mean", "each"] = "mean"
    mapping_ridge: float = 0.1
    mapping_rescale: bool = False  # of waveforms; powers always are brought to unit deviation, which HRT is used to
    recolour_shrinkage: float = limited(0.01, least=0, most=1)

    # Video (§3.4)
    use_latents: bool = True  # False, with the two below: rows G, H and I of Table 3
    use_embeddings: bool = True
    use_keyframe: bool = True
    start: Literal["latents", "mixture", "renoised", "noise"] = "renoised"  # what the video model starts from
    strength: float = limited(0.8, above=0, most=1)  # of the start's noise where `start` mixes any in
    steps: int | None = None  # these four: None is the suite's parameters
    guidance: float | None = None
    keyframe_steps: int | None = None
    keyframe_guidance: float | None = None
    keyframe_strength: float = limited(0.4, above=0, most=1)
    read_out: ReadOut = "nearest_concept"  # of E; "regressed" is the paper's


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    parameters = read_given(Parameters, given, method="sam_net")
    check_heads(parameters, "width")
    if not parameters.regions:
        raise BenchError(f"regions=[] leaves no electrode; name one or more of {', '.join(REGIONS)}")
    return parameters
