"""Files that are whole or absent: written under a temporary name, flushed to the disk, put in place by one rename.

Temporary names say which machine and process writes: `.tmp-<key>-<host>-<pid>-<random>`. What a killed process left is
recognised by that and removed; what another machine is writing on a shared disk is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LIVE: set[str] = set()  # temporary names of this very process that are in use: no leftovers


def temporary_name(key: str) -> str:
    """A name that no other process has; in `LIVE` until it is taken out."""
    name = f".tmp-{key}-{host()}-{os.getpid()}-{secrets.token_hex(4)}"
    LIVE.add(name)
    return name


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left half-written in a folder."""
    for leftover in folder.glob(".tmp-*"):
        if is_abandoned(leftover):
            remove(leftover)


def is_abandoned(leftover: Path) -> bool:
    """Whether the process that wrote a temporary folder is dead. Those of other machines are left alone."""
    parts = leftover.name.split("-")
    if len(parts) != 5 or parts[2] != host() or not parts[3].isdigit():
        return False
    process = int(parts[3])
    if process == os.getpid():
        return leftover.name not in LIVE
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@functools.cache
def host() -> str:
    """This machine's name, in characters that a folder name takes."""
    return re.sub(r"[^0-9a-z]", "_", socket.gethostname().lower())


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file under; put in its place, whole, when the block ends, removed if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(temporary_name("file"))
    try:
        yield draft
        sync_file(draft)
        draft.replace(path)
        sync_folder(path.parent)
    finally:
        remove(draft)
        LIVE.discard(draft.name)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` to fill; put in its place when the block ends, removed if it fails.

    Where another process was faster, its folder stays. What killed processes left beside it is removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    draft = path.with_name(temporary_name("folder"))
    try:
        draft.mkdir()
        yield draft
        move_new(draft, path)
        sync_folder(path.parent)
    finally:
        remove(draft)
        LIVE.discard(draft.name)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an `.npy` whole or not at all (caches shared by processes). No pickled objects."""
    import numpy as np

    with new_file(path) as draft, draft.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def publish_file(path: Path, content: bytes, workplace: Path) -> None:
    """Write a file in `workplace` (on the same disk), flush it, and put it in place by one rename."""
    temporary = workplace / temporary_name("file")
    try:
        write_through(temporary, content)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        LIVE.discard(temporary.name)


def write_through(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk; without it a rename may be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_new(source: Path, place: Path) -> None:
    """Rename a folder to a name that nobody has; where somebody was faster, theirs stays."""
    try:
        source.replace(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def remove(path: Path) -> None:
    """Remove a temporary folder or file; another process may be removing it too."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
