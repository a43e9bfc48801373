"""What is derived from data once and kept: tables as memory-mapped Arrow files, and digests of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.progress import track
from bench.core.spec import digest
from bench.store import disk

if TYPE_CHECKING:
    import datasets


def cached_table(folder: Path, columns: Callable[[], Mapping[str, Sequence[Any]]]) -> datasets.Dataset:
    """The table in `folder`, made of `columns()` and put there in one rename where it is absent."""
    import datasets

    if not folder.is_dir():
        datasets.disable_progress_bars()
        table = {key: list(column) for key, column in columns().items()}
        with disk.new_folder(folder) as draft:
            datasets.Dataset.from_dict(table).save_to_disk(str(draft))
    return datasets.load_from_disk(str(folder))


def hash_files(files: Sequence[Path], root: Path, memory: Path) -> str:
    """Digest of names and contents; contents hashed before are remembered by path, size and time of change."""
    known: dict[str, str] = json.loads(memory.read_text(encoding="utf-8")) if memory.is_file() else {}
    hashes = {}
    for path in track(files, "hashing the data, once"):
        status = path.stat()
        key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        if key not in known:
            with path.open("rb") as file:
                known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        hashes[path.relative_to(root).as_posix()] = known[key]
    with disk.new_file(memory) as draft:
        draft.write_text(json.dumps(known), encoding="utf-8")
    return digest(hashes)
