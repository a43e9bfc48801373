"""Encoders of EEG: braindecode's networks as they are released, a contrastive one, and what all of them are given.

All are given the same signals: at 200 Hz, since rhythms up to 80 Hz may tell something too, the strongest `components`
of the electrodes, whitened. The components are the known subjects' principal ones; the whitening is each subject's own
by default (`alignment="subject"`, Euclidean alignment of He and Wu 2020), and a new subject's is measured on its
calibration trials. No label enters either.

The networks' own settings are braindecode's defaults, which are the published ones, but for what the rate asks for.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.encoders.contrast import contrast
from baselines.encoders.door import Encoder, Lesson
from bench.core.contracts import BrainData, Modality, Signals, TrainingSet
from bench.core.errors import UnknownSubject, require_fitted
from bench.toolbox.read_signals import read_resampled
from bench.toolbox.sizes import count_parameters
from bench.toolbox.training import seeded

CHUNK = 256  # trials read at once
SHRINKAGE = 0.01  # of a covariance: this share of its mean variance is added before it is inverted

Covariance = Float64[np.ndarray, "channel channel"]


class EEGEncoder(Encoder):
    """A network from [trial, component, sample] to coordinates; a kind defines `build`."""

    modality: Modality = "eeg"
    network: nn.Module | None = None

    def build(self, *, n_chans: int, n_outputs: int, n_times: int, sfreq: float) -> nn.Module:
        raise NotImplementedError

    def learn(self, lesson: Lesson) -> None:
        covariances = measure_covariances([part.brain for part in lesson.parts], lesson.subject)
        mean = np.mean(list(covariances.values()), axis=0)
        components = self.parameters.components or len(mean)
        self.projection = np.linalg.eigh(mean)[1][:, ::-1][:, :components].T
        self.common = whiten(self.projection, mean)
        self.filters: dict[int, Float32[np.ndarray, "component channel"]] = {}
        self.take_filters(covariances)
        signals = torch.cat([self.prepare(part) for part in lesson.parts])
        rate = min(self.parameters.sampling_rate, lesson.parts[0].sampling_rate)
        with seeded(self.device, self.name, "network", self.seed):
            sizes = {"n_chans": signals.shape[1], "n_times": signals.shape[2], "n_outputs": lesson.targets.shape[1]}
            network = self.build(**sizes, sfreq=rate).to(self.device)
        self.losses = self.train(
            network,
            lambda rows: (signals[rows].to(self.device),),
            lesson.targets,
            lesson.caption,
            parameters=network.parameters(),
            purpose="network",
        )
        self.network = network.requires_grad_(False)

    def adapt(self, calibration: TrainingSet) -> None:
        """A filter of each new subject's own; the network stays."""
        require_fitted(self.network, self.name)
        self.take_filters(measure_covariances([calibration.brain], calibration.subject))

    def take_filters(self, covariances: dict[int, Covariance]) -> None:
        own = self.parameters.alignment == "subject"
        for subject, covariance in covariances.items():
            self.filters[subject] = whiten(self.projection, covariance) if own else self.common

    def predict(self, brain: BrainData) -> Float[Tensor, "trial rank"]:
        network, signals = require_fitted(self.network, self.name), self.prepare(brain)
        return self.run(network, lambda rows: (signals[rows].to(self.device),), len(signals))

    def prepare(self, data: TrainingSet | BrainData) -> Float[Tensor, "trial component time"]:
        """All trials in memory at the encoder's rate, through their subjects' filters. Raises UnknownSubject."""
        if missing := sorted(set(data.subject.tolist()) - set(self.filters)):
            raise UnknownSubject(f"{self.name} has no filter of subjects {missing}; call adapt with trials of theirs")
        parts = []
        for rows in walk(len(data.subject)):
            signals = read_resampled(data.brain[rows], data.sampling_rate, self.parameters.sampling_rate)
            filters = np.stack([self.filters[subject] for subject in data.subject[rows].tolist()])
            parts.append(torch.from_numpy(np.matmul(filters, signals)))
        return torch.cat(parts)

    @property
    def parameter_count(self) -> int:
        return count_parameters(require_fitted(self.network, self.name))


def walk(trials: int) -> list[Int64[np.ndarray, " row"]]:
    """Rows of all trials, some at a time."""
    return [np.arange(start, min(start + CHUNK, trials)) for start in range(0, trials, CHUNK)]


def measure_covariances(brain: list[Signals], subject: Int64[np.ndarray, " trial"]) -> dict[int, Covariance]:
    """Each subject's mean product of channels over its trials and their samples; the trials lie in several parts."""
    total: dict[int, Covariance] = {}
    samples: dict[int, int] = {}
    start = 0
    for part in brain:
        for rows in walk(len(part)):
            signals, whose = part[rows], subject[start + rows]
            for one in np.unique(whose).tolist():
                own = signals[whose == one].astype(np.float32)
                product = np.einsum("nct,ndt->cd", own, own, optimize=True)
                total[one] = total.get(one, np.zeros(product.shape)) + product
                samples[one] = samples.get(one, 0) + len(own) * own.shape[2]
        start += len(part)
    return {one: total[one] / samples[one] for one in total}


def whiten(
    projection: Float64[np.ndarray, "component channel"], covariance: Covariance
) -> Float32[np.ndarray, "component channel"]:
    """The projection followed by the symmetric inverse root of the components' covariance, slightly shrunk."""
    reduced = projection @ covariance @ projection.T
    level = np.trace(reduced) / len(reduced)
    values, vectors = np.linalg.eigh(reduced + (SHRINKAGE * level + 1e-12) * np.eye(len(reduced)))
    return ((vectors / np.sqrt(values)) @ vectors.T @ projection).astype(np.float32)


class EEGNet(EEGEncoder):
    """Lawhern et al. 2018: temporal, depthwise spatial and separable convolutions."""

    name: ClassVar[str] = "eegnet"

    def build(self, **sizes: Any) -> nn.Module:
        from braindecode.models import EEGNet as Network

        return Network(**sizes)


class ShallowConvNet(EEGEncoder):
    """Schirrmeister et al. 2017: log of the mean squared output of spatio-temporal filters, as band power is."""

    name: ClassVar[str] = "shallow_convnet"

    def build(self, **sizes: Any) -> nn.Module:
        from braindecode.models import ShallowFBCSPNet

        return ShallowFBCSPNet(**sizes)


class Deep4(EEGEncoder):
    """Schirrmeister et al. 2017: four blocks of convolution and maximum.

    Published for 441 samples and more. Trials of 2 s have 400, so the kernels behind the first block have 8 samples
    instead of 10.
    """

    name: ClassVar[str] = "deep4"

    def build(self, **sizes: Any) -> nn.Module:
        from braindecode.models import Deep4Net

        length = 10 if sizes["n_times"] >= 441 else 8
        return Deep4Net(**sizes, filter_length_2=length, filter_length_3=length, filter_length_4=length)


class EEGConformer(EEGEncoder):
    """Song et al. 2023: the shallow network's convolutions, then a transformer over time.

    Its first two layers are one linear map, and braindecode's own `CombinedConv` computes that at a third of the cost.
    """

    name: ClassVar[str] = "eeg_conformer"

    def build(self, **sizes: Any) -> nn.Module:
        from braindecode.models import EEGConformer as Network
        from braindecode.modules import CombinedConv
        from einops.layers.torch import Rearrange

        network = Network(**sizes)
        temporal, spatial, *rest = network.patch_embedding.shallownet
        merged = CombinedConv(sizes["n_chans"], temporal.out_channels, spatial.out_channels, temporal.kernel_size[1])
        merged.conv_time.weight, merged.conv_time.bias = turn(temporal.weight), temporal.bias
        merged.conv_spat.weight, merged.conv_spat.bias = turn(spatial.weight), spatial.bias
        across = Rearrange("trial one component time -> trial one time component")
        back = Rearrange("trial filter time one -> trial filter one time")
        network.patch_embedding.shallownet = nn.Sequential(across, merged, back, *rest)
        return network


def turn(weight: nn.Parameter) -> nn.Parameter:
    """A convolution's weights with height and width exchanged."""
    return nn.Parameter(weight.detach().transpose(2, 3).contiguous())


class ATCNet(EEGEncoder):
    """Altaheri et al. 2023: EEGNet's convolutions, attention in sliding windows, a temporal convolutional network.

    Published for 4.5 s, pooled to 20 steps by 8 and by 7. Of 2 s the second pooling is by 4, so that 12 are left.
    """

    name: ClassVar[str] = "atcnet"

    def build(self, **sizes: Any) -> nn.Module:
        from braindecode.models import ATCNet as Network

        pooling = max(1, min(7, sizes["n_times"] // (8 * 11)))  # braindecode asks for 11 steps
        return Network(**sizes, conv_block_pool_size_2=pooling)


class ContrastiveEEG(EEGEncoder):
    """In the manner of NICE (Song et al. 2024) and ATM (Li et al. 2024): convolutions, a projection, a contrast.

    The temporal-spatial convolution, the projection and the symmetric contrast are NICE's. The squared error beside the
    contrast is ATM's; it gives a reading the length that a condition needs. ATM's attention over electrodes is left
    out.
    """

    name: ClassVar[str] = "contrastive_eeg"

    def build(self, *, n_chans: int, n_outputs: int, n_times: int, sfreq: float) -> nn.Module:
        return TemporalSpatial(n_chans, n_outputs, n_times)

    def measure_loss(
        self, predicted: Float[Tensor, "n rank"], targets: Float[Tensor, "n rank"], caption: Int64[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        share = self.parameters.contrast_share
        apart = contrast(predicted, targets, self.parameters.temperature, caption)
        return share * apart + (1 - share) * functional.mse_loss(predicted, targets)


class TemporalSpatial(nn.Module):
    """NICE's encoder: 40 temporal filters, means of 51 samples every 5, 40 spatial filters, a residual projection."""

    def __init__(self, components: int, outputs: int, samples: int, *, filters: int = 40, dropout: float = 0.5) -> None:
        super().__init__()
        self.convolve = nn.Sequential(
            nn.Conv2d(1, filters, (1, 25)), nn.AvgPool2d((1, 51), (1, 5)), nn.BatchNorm2d(filters), nn.ELU(),
            nn.Conv2d(filters, filters, (components, 1)), nn.BatchNorm2d(filters), nn.ELU(), nn.Dropout(dropout),
            nn.Conv2d(filters, filters, 1), nn.Flatten(),
        )  # fmt: skip
        steps = (samples - 24 - 51) // 5 + 1
        self.project = nn.Linear(filters * steps, outputs)
        self.refine = nn.Sequential(nn.GELU(), nn.Linear(outputs, outputs), nn.Dropout(dropout))

    def forward(self, signals: Float[Tensor, "trial component time"]) -> Float[Tensor, "trial output"]:
        projected = self.project(self.convolve(signals[:, None]))
        return projected + self.refine(projected)
