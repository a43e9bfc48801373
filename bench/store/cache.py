"""What is derived from data once and kept: tables as memory-mapped Arrow files, arrays, digests of files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.progress import track
from bench.core.spec import digest

if TYPE_CHECKING:
    import datasets


def cached_table(folder: Path, columns: Callable[[], Mapping[str, Sequence[Any]]]) -> datasets.Dataset:
    """The table in `folder`, made of `columns()` and put there in one rename where it is absent."""
    import datasets

    if not folder.is_dir():
        datasets.disable_progress_bars()
        made = {key: list(column) for key, column in columns().items()}
        publish_folder(folder, datasets.Dataset.from_dict(made).save_to_disk)
    return datasets.load_from_disk(str(folder))


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


def publish_array(path: Path, array: np.ndarray) -> None:
    """Save an array by one rename, so that no reader meets half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    np.save(draft, array, allow_pickle=False)
    draft.replace(path)
