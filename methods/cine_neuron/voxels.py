"""Which voxels of each subject the Brain Model reads (Table 5), and reading them.

A data set names the region of every voxel (`rois`); its signals are padded with zeros to the widest subject. Regions
are left out by name. The paper's input on CineBrain is the visual cortex with the hippocampus, so auditory regions and
mPFC are left out by default; on data that has neither, that changes nothing.

Leaving a region out takes parameters away too. `noise_rois` keeps a region's place and parameters and fills it with
noise of unit variance, which is what a normalised voxel without information looks like: the difference to it is one of
information, not of size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bench.core.contracts import Signals, TrainingSet
from bench.core.errors import UnknownRegion
from bench.toolbox.voxels import choose_voxels, require_regions


@dataclass(frozen=True)
class VoxelChoice:
    """Columns of a subject's signals that are read, and those of them that are noise."""

    columns: Int64[np.ndarray, " voxel"]
    noise: Int64[np.ndarray, " noisy"]
    regions: tuple[str, ...]  # of each column read; empty texts where the data names none


def choose_inputs(
    data: TrainingSet, *, leave_out: Sequence[str] = (), noise_rois: Sequence[str] = (), named: bool = False
) -> dict[int, VoxelChoice]:
    """The voxels of each subject, in the order of the data; names of regions match whatever their case.

    `named`: every region left out must be in the data of some subject (a variant about a region that is not there
    would be the base under another name). Raises UnknownRegion for one that is not, NoVoxels where none is left.
    """
    present = {name.lower(): name for regions in data.rois.values() for name in regions}
    asked = [*(leave_out if named else ()), *noise_rois]
    if absent := [name for name in asked if name.lower() not in present]:
        there = ", ".join(sorted(set(present.values()))) or "no regions at all"
        raise UnknownRegion(f"region {', '.join(absent)} is not in this data, which has {there}; take another variant")
    require_regions(data, noise_rois)
    filled = {name.lower() for name in noise_rois}
    choices = {}
    for subject, columns in choose_voxels(data, leave_out=leave_out, usual=leave_out).items():
        regions = data.rois.get(subject, ("",) * data.brain.shape[1])
        noise = [column for column in columns.tolist() if regions[column].lower() in filled]
        choices[subject] = VoxelChoice(
            columns, np.array(noise, np.int64), tuple(regions[column] for column in columns.tolist())
        )
    return choices


def read_signals(
    brain: Signals,
    rows: Int64[np.ndarray, " row"],
    subject: Int64[np.ndarray, " row"],
    choices: Mapping[int, VoxelChoice],
    seeds: Int64[np.ndarray, " row"],
) -> Float[Tensor, "row column time"]:
    """Signals of the rows, with noise of each row's own seed where a subject's choice says so."""
    signals = np.array(brain[rows], dtype=np.float32)  # a copy: noise is written into it
    for row, (number, seed) in enumerate(zip(subject.tolist(), seeds.tolist(), strict=True)):
        choice = choices.get(number)
        if choice is not None and len(choice.noise):
            shape = (len(choice.noise), signals.shape[2])
            signals[row, choice.noise] = np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(signals)
