"""What fMRI baselines share: the voxels that are read, and a linear layer for each subject.

A data set pads its signals with zeros to the widest subject and names the region of each voxel (`rois`). A subject's
layer reads its own voxels alone, so the padding never counts, and it is all that a network knows of the subject: a new
one needs a new layer and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bench.core.contracts import TrainingSet
from bench.core.errors import BenchError, UnknownSubject

Voxels = Mapping[int, Int64[np.ndarray, " voxel"]]  # subject -> columns of the signals


class NoVoxels(BenchError):
    """A subject of whom nothing is left to read."""


def choose_voxels(data: TrainingSet, *, leave_out: Sequence[str]) -> dict[int, Int64[np.ndarray, " voxel"]]:
    """Columns of each subject here whose region is not left out; all of them where the data names no regions.

    Names match whatever their case; one that is not in the data leaves nothing out. Raises NoVoxels.
    """
    dropped = {name.lower() for name in leave_out}
    chosen = {}
    for subject in np.unique(data.subject).tolist():
        regions = data.rois.get(subject, ("",) * data.brain.shape[1])
        kept = np.array([place for place, name in enumerate(regions) if name.lower() not in dropped], np.int64)
        if not len(kept):
            raise NoVoxels(f"subject {subject} has no voxel outside {', '.join(leave_out)}; leave out fewer regions")
        chosen[int(subject)] = kept
    return chosen


class PerSubject(nn.Module):
    """A module for each subject, from its voxels in all volumes of a trial, flattened, to features."""

    def __init__(self, make: Callable[[int], nn.Module], *, volumes: int, shape: Sequence[int]) -> None:
        """`make(voxels × volumes)` gives a subject's module, which maps (B, voxels × volumes) to (B, *shape)."""
        super().__init__()
        self.make, self.volumes, self.shape = make, volumes, tuple(shape)
        self.modules_of = nn.ModuleDict()
        self.columns: dict[int, Tensor] = {}

    def add_subject(self, number: int, columns: Int64[np.ndarray, " voxel"]) -> nn.Module:
        """A fresh module for the subject, in place of one that is there; initial weights from torch's generator."""
        self.columns[number] = torch.from_numpy(columns)
        self.modules_of[str(number)] = self.make(len(columns) * self.volumes)
        return self.modules_of[str(number)]

    def flatten(
        self, signals: Float[Tensor, "trial column time"], number: int
    ) -> Float[Tensor, "trial voxel_and_volume"]:
        return signals[:, self.columns[number].to(signals.device)].flatten(1)

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial ..."]:
        """Each trial through its subject's module. Raises UnknownSubject."""
        made = signals.new_empty(len(signals), *self.shape)
        for number in subject.unique().tolist():
            if str(number) not in self.modules_of:
                raise UnknownSubject(
                    f"subject {number} has no layer; there are {', '.join(self.modules_of) or 'none'}; "
                    "call adapt with calibration trials of the new subject first"
                )
            rows = (subject == number).nonzero()[:, 0]
            own = self.modules_of[str(number)](self.flatten(signals[rows], number))
            made = made.index_copy(0, rows, own.to(made.dtype))
        return made
