"""What decoders of fMRI share: the voxels that are read, and layers of which each subject has its own.

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

from bench.core.contracts import UNKNOWN_REGION, TrainingSet
from bench.core.errors import BenchError, UnknownRegion, UnknownSubject

Voxels = Mapping[int, Int64[np.ndarray, " voxel"]]  # subject -> columns of the signals


class NoVoxels(BenchError):
    """A subject of whom nothing is left to read."""


def choose_voxels(
    data: TrainingSet, *, leave_out: Sequence[str], usual: Sequence[str] = ()
) -> dict[int, Int64[np.ndarray, " voxel"]]:
    """Columns of each subject here whose region is not left out; all of them where the data names no regions at all.

    Names match whatever their case. Those in `usual` need not be in the data: a method leaves out what another data set
    has beside what it reads. Others must be, or a variant would be the base under another name. Raises UnknownRegion
    for one that is not, and where regions are to be left out of voxels of which nobody says where they are; NoVoxels
    where no voxel is left.
    """
    subjects = np.unique(data.subject).tolist()
    require_regions(data, leave_out)
    present = {name.lower() for subject in subjects for name in data.rois.get(subject, ())}
    if absent := [name for name in leave_out if name not in usual and name.lower() not in present]:
        there = ", ".join(sorted(present)) or "no regions at all"
        raise UnknownRegion(f"region {', '.join(absent)} is not in this data, which has {there}; take another variant")
    dropped = {name.lower() for name in leave_out}
    chosen = {}
    for subject in subjects:
        regions = data.rois.get(subject, ("",) * data.brain.shape[1])
        kept = np.array([place for place, name in enumerate(regions) if name.lower() not in dropped], np.int64)
        if not len(kept):
            raise NoVoxels(f"subject {subject} has no voxel outside {', '.join(leave_out)}; leave out fewer regions")
        chosen[int(subject)] = kept
    return chosen


def require_regions(data: TrainingSet, wanted: Sequence[str]) -> None:
    """Raise UnknownRegion where regions are wanted and nobody says which voxels of a subject are in them."""
    for subject in np.unique(data.subject).tolist() if wanted and data.rois else []:
        if UNKNOWN_REGION in data.rois.get(subject, (UNKNOWN_REGION,)):
            raise UnknownRegion(
                f"{', '.join(wanted)}: of subject {subject} nobody says which voxel is in which region; write the file "
                "of its regions (`data verify` names it: a region a line, a line a voxel), or read all voxels with "
                "leave_out=[] where the method has it"
            )


class SubjectLayers(nn.ModuleDict):
    """A layer for each subject, under its number: a trial goes through that of its own subject."""

    def put(self, number: int, layer: nn.Module) -> None:
        """Give the subject this layer, in place of one that is there."""
        self[str(number)] = layer

    def find(self, number: int) -> nn.Module:
        """A subject's layer. Raises UnknownSubject."""
        if str(number) not in self:
            raise UnknownSubject(
                f"subject {number} has no layer; there are {', '.join(self) or 'none'}; "
                "call adapt with calibration trials of the new subject first"
            )
        return self[str(number)]

    def forward(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial ..."]:
        """Each trial, at least one, through its subject's layer. Raises UnknownSubject."""
        parts = []
        for number in subject.unique().tolist():
            layer, rows = self.find(number), (subject == number).nonzero()[:, 0]
            parts.append((rows, layer(signals[rows])))
        features = parts[0][1].new_empty(len(signals), *parts[0][1].shape[1:])
        for rows, part in parts:
            features = features.index_copy(0, rows, part)
        return features


class FlatLayer(nn.Module):
    """A subject's voxels in all volumes of a trial, flattened, through `layer`."""

    columns: Tensor  # (V,): which columns of the padded signals are the subject's voxels

    def __init__(self, columns: Int64[Tensor, " voxel"], layer: nn.Module) -> None:
        super().__init__()
        self.register_buffer("columns", columns)
        self.layer = layer

    def forward(self, signals: Float[Tensor, "trial column time"]) -> Float[Tensor, "trial ..."]:
        return self.layer(signals[:, self.columns].flatten(1))


class FlatLayers(SubjectLayers):
    """For each subject a layer that `make(voxels × volumes)` gives: (B, voxels × volumes) to (B, *shape)."""

    def __init__(self, make: Callable[[int], nn.Module], *, volumes: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.make, self.volumes, self.shape = make, volumes, tuple(shape)

    def add_subject(self, number: int, columns: Int64[np.ndarray, " voxel"]) -> nn.Module:
        """A fresh layer for the subject, in place of one that is there; initial weights from torch's generator."""
        self.put(number, FlatLayer(torch.from_numpy(columns), self.make(len(columns) * self.volumes)))
        return self.find(number)


class TokenLayer(nn.Module):
    """A subject's voxels to `channels` numbers for each token and volume; its weights start at zero."""

    columns: Tensor  # (V,): which columns of the padded signals are the subject's voxels

    def __init__(self, columns: Int64[Tensor, " voxel"], *, tokens: int, channels: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.register_buffer("columns", columns)
        self.regress = nn.Linear(len(columns), tokens * channels)
        nn.init.zeros_(self.regress.weight)

    def forward(self, signals: Float[Tensor, "trial column time"]) -> Float[Tensor, "trial token feature"]:
        """Features of a token: `channels` numbers for each volume."""
        numbers = self.regress(signals[:, self.columns].transpose(1, 2))  # (n, T, tokens × channels)
        return numbers.unflatten(2, (self.tokens, -1)).transpose(1, 2).flatten(2)

    @torch.no_grad()
    def set_weights(self, weights: Float[Tensor, "voxel number"], offset: Float[Tensor, " number"]) -> None:
        """Weights and offset of the tokens × channels numbers, token by token."""
        self.regress.weight.copy_(weights.T)
        self.regress.bias.copy_(offset)
