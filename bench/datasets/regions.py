"""Voxels by name and by region.

The names of the regions lie in a text file of ours, a name a line: no release says which voxel of its arrays belongs to
which region. Without it every voxel is in one region, `cortex`.
"""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import DatasetError

UNKNOWN_REGION = "cortex"
UNLABELLED = "film"  # the one concept of data whose clips carry no label


def voxel_names(count: int) -> tuple[str, ...]:
    """Names of channels that mean another voxel in each subject."""
    return tuple(f"voxel{number:05d}" for number in range(count))


def read_rois(path: Path, voxels: int) -> tuple[str, ...]:
    """Region of each voxel; raises DatasetError where the file names another number of them."""
    if not path.is_file():
        return (UNKNOWN_REGION,) * voxels
    names = tuple(path.read_text(encoding="utf-8").split())
    if len(names) != voxels:
        raise DatasetError(f"{path} names {len(names)} voxels, the data have {voxels}; write one region a line a voxel")
    return names
