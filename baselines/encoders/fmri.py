"""Encoders of fMRI that are trained by steps: a linear layer of each subject's own into one shared space, then one head
for all subjects, as MindEye2 (Scotti et al. 2024) has it.

A new subject's layer is trained on its calibration trials, with the head as it is.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from baselines.encoders.door import Encoder, Lesson
from bench.core.contracts import BrainData, Modality, TrainingSet
from bench.core.errors import require_fitted
from bench.toolbox.read_signals import Reader, read_trials
from bench.toolbox.sizes import count_parameters
from bench.toolbox.training import seeded
from bench.toolbox.voxels import FlatLayers, choose_voxels


class SharedSpace(nn.Module):
    """Subjects' layers, then what all of them share."""

    def __init__(self, layers: FlatLayers, head: nn.Module) -> None:
        super().__init__()
        self.layers, self.head = layers, head

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial rank"]:
        return self.head(self.layers(signals, subject))


class SharedEncoder(Encoder):
    """A kind defines `build_head`, from the shared space to coordinates."""

    modality: Modality = "fmri"
    network: SharedSpace | None = None

    def build_head(self, width: int, outputs: int) -> nn.Module:
        raise NotImplementedError

    def learn(self, lesson: Lesson) -> None:
        width, volumes = self.parameters.width, lesson.parts[0].brain.shape[2]

        def make(inputs: int) -> nn.Module:
            return nn.Sequential(nn.Dropout(self.parameters.dropout), nn.Linear(inputs, width))

        with seeded(self.device, self.name, "network", self.seed):
            layers = FlatLayers(make, volumes=volumes, shape=(width,))
            for subject, columns in choose_voxels(lesson.parts[0], leave_out=()).items():
                layers.add_subject(subject, columns)
            network = SharedSpace(layers, self.build_head(width, lesson.targets.shape[1])).to(self.device)
        read = join([read_trials(part, self.device) for part in lesson.parts], [len(p.subject) for p in lesson.parts])
        self.losses = self.train(
            network, read, lesson.targets, lesson.caption, parameters=network.parameters(), purpose="network"
        )
        self.network = network.requires_grad_(False)

    def adapt(self, calibration: TrainingSet) -> None:
        """A layer of each new subject's own, trained on its trials alone."""
        network, lesson = require_fitted(self.network, self.name), self.make_lesson(calibration)
        for subject, columns in choose_voxels(calibration, leave_out=()).items():
            rows, purpose = np.flatnonzero(calibration.subject == subject), f"layer of {subject}"
            with seeded(self.device, self.name, purpose, self.seed):
                layer = network.layers.add_subject(subject, columns).to(self.device)
            own = read_trials(calibration, self.device, rows), lesson.targets[rows], lesson.caption[rows]
            self.train(network, *own, parameters=layer.parameters(), purpose=purpose)
        network.requires_grad_(False)

    def predict(self, brain: BrainData) -> Float[Tensor, "trial rank"]:
        return self.run(require_fitted(self.network, self.name), read_trials(brain, self.device), len(brain.subject))

    @property
    def parameter_count(self) -> int:
        return count_parameters(require_fitted(self.network, self.name))


def join(reads: list[Reader], counts: list[int]) -> Reader:
    """Reads trials by their place in several sets in a row, in the order in which they are asked for."""
    starts = np.cumsum([0, *counts])

    def read(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        whose = np.searchsorted(starts, rows, side="right") - 1
        order = np.argsort(whose, kind="stable")
        parts = [reads[one](rows[whose == one] - starts[one]) for one in np.unique(whose)]
        signals, subject = (torch.cat(some) for some in zip(*parts, strict=True))
        back = torch.from_numpy(np.argsort(order)).to(signals.device)
        return signals[back], subject[back]

    return read


class SharedRidge(SharedEncoder):
    """Linear throughout; the weight decay of the subjects' layers is what makes it a ridge."""

    name: ClassVar[str] = "shared_ridge"

    def build_head(self, width: int, outputs: int) -> nn.Module:
        return nn.Linear(width, outputs)


class MLPBackbone(SharedEncoder):
    """The same with MindEye2's backbone of residual blocks between the shared space and the caption."""

    name: ClassVar[str] = "mlp_backbone"

    def build_head(self, width: int, outputs: int) -> nn.Module:
        blocks = [Residual(width, self.parameters.dropout) for _ in range(self.parameters.blocks)]
        return nn.Sequential(*blocks, nn.Linear(width, outputs))


class Residual(nn.Module):
    """x + MLP(x)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, features: Float[Tensor, "trial width"]) -> Float[Tensor, "trial width"]:
        return features + self.layers(features)
