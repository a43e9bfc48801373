"""The encoders' parameters and what they may be: the same for all of a kind. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.toolbox.parameters import ReadOut, limited, read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What every encoder takes, plain regression too. Published values, where there are some, in comments."""

    read_out: ReadOut = "nearest_concept"
    use_validation: bool = True  # learn from the validation trials too: nothing is chosen by them
    steps: int | None = None  # of the generator; None is the suite's
    guidance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Trained(Parameters):
    """What encoders take that are trained by steps."""

    epochs: float = limited(15.0, above=0)  # walks through the trials that are learned from, whatever the split
    batch_size: int = 64
    learning_rate: float = limited(2e-3, above=0)
    weight_decay: float = 0.01


@dataclass(frozen=True, kw_only=True)
class EEGParameters(Trained):
    """What encoders of EEG take that are trained by steps."""

    sampling_rate: float = limited(200.0, above=0)  # Hz
    components: int = limited(24, least=0)  # of the electrodes, the strongest of the known subjects; 0: all electrodes
    alignment: Literal["subject", "common"] = "subject"  # whose covariance whitens the components


@dataclass(frozen=True, kw_only=True)
class ContrastiveParameters(EEGParameters):
    """What the contrastive encoder takes beside that."""

    contrast_share: float = limited(0.5, least=0, most=1)  # of the loss; the rest is squared error
    temperature: float = limited(0.2, above=0)


@dataclass(frozen=True, kw_only=True)
class FmriParameters(Trained):
    """What encoders of fMRI take that are trained by steps."""

    width: int = 256  # of the space that subjects share; 4096
    dropout: float = limited(0.5, least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class BackboneParameters(FmriParameters):
    """What the MLP backbone takes beside that."""

    blocks: int = 2  # 4


def make_reader(method: str, Kind: type[Parameters]) -> Callable[[Mapping[str, Any]], Any]:
    """What reads a method's parameters; it raises BenchError for those that do not exist."""
    return lambda given: read_given(Kind, given, method=method)


READERS = {  # by class
    "EEGNet": make_reader("eegnet", EEGParameters),
    "ShallowConvNet": make_reader("shallow_convnet", EEGParameters),
    "Deep4": make_reader("deep4", EEGParameters),
    "EEGConformer": make_reader("eeg_conformer", EEGParameters),
    "ATCNet": make_reader("atcnet", EEGParameters),
    "ContrastiveEEG": make_reader("contrastive_eeg", ContrastiveParameters),
    "RidgeEEG": make_reader("ridge_eeg", Parameters),
    "RidgeFmri": make_reader("ridge_fmri", Parameters),
    "SharedRidge": make_reader("shared_ridge", FmriParameters),
    "MLPBackbone": make_reader("mlp_backbone", BackboneParameters),
}
