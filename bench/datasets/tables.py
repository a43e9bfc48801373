"""Tables of a data set, kept as memory-mapped Arrow files in the cache, and the ROI names of voxels.

The ROI names lie in a text file of ours, a name a line: no release says which voxel of its arrays belongs to which
region. Without it every voxel is in one region, `cortex`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.progress import track
from bench.core.spec import digest
from bench.datasets.seed_dv.geometry import DatasetError

if TYPE_CHECKING:
    import datasets

UNKNOWN_REGION = "cortex"
UNLABELLED = "film"  # the one concept of data whose clips carry no label


def cached_table(folder: Path, columns: Callable[[], Mapping[str, Sequence[Any]]]) -> datasets.Dataset:
    """The table in `folder`, made of `columns()` and put there in one rename where it is absent."""
    import datasets

    if not folder.is_dir():
        datasets.disable_progress_bars()
        made = {key: list(column) for key, column in columns().items()}
        publish_folder(folder, datasets.Dataset.from_dict(made).save_to_disk)
    return datasets.load_from_disk(str(folder))


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


def publish_folder(path: Path, write: Callable[[str], None]) -> None:
    """Let `write` fill a folder and rename it; where another process was faster, its folder stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".tmp-{os.getpid()}-", dir=path.parent))
    write(str(draft))
    try:
        draft.rename(path)
    except OSError:
        shutil.rmtree(draft)
        if not path.is_dir():
            raise


def hash_files(files: Sequence[Path], root: Path, memory: Path) -> str:
    """Digest of names and contents; contents hashed before are remembered by path, size and time of change."""
    known: dict[str, str] = json.loads(memory.read_text()) if memory.is_file() else {}
    hashes = {}
    for path in track(files, "hashing the data, once"):
        status = path.stat()
        key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        if key not in known:
            with path.open("rb") as file:
                known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        hashes[path.relative_to(root).as_posix()] = known[key]
    memory.parent.mkdir(parents=True, exist_ok=True)
    draft = memory.with_name(f".tmp-{os.getpid()}-{memory.name}")
    draft.write_text(json.dumps(known))
    draft.replace(memory)
    return digest(hashes)
