"""Voxels by name and by region.

The names of the regions lie in a text file of ours, a name a line: no release says which voxel of its arrays belongs to
which region. Without the file, voxels that a release takes from visual cortex alone are `visual`; of others nobody
knows, and they are in `cortex` (`UNKNOWN_REGION`): methods that choose voxels by region refuse them.
"""

from __future__ import annotations

from pathlib import Path

from bench.core.contracts import UNKNOWN_REGION
from bench.core.errors import DatasetError

VISUAL = "visual"  # of a voxel in visual cortex, whichever area
UNLABELLED = "film"  # the one concept of data whose clips carry no label


def voxel_names(count: int) -> tuple[str, ...]:
    """Names of channels that mean another voxel in each subject."""
    return tuple(f"voxel{number:05d}" for number in range(count))


def read_rois(path: Path, voxels: int, *, without: str = UNKNOWN_REGION) -> tuple[str, ...]:
    """Region of each voxel, `without` where there is no file; raises DatasetError where it names another number."""
    if not path.is_file():
        return (without,) * voxels
    names = tuple(path.read_text(encoding="utf-8").split())
    if len(names) != voxels:
        raise DatasetError(f"{path} names {len(names)} voxels, the data have {voxels}; write one region a line a voxel")
    return names
