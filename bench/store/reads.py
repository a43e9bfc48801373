"""Reads: the data files that a method's process opened by itself, and which of them have changed since.

A method may read what no key knows of: weights or a table beside its file. The path and sha256 of each stand in the
cell's manifest, and whatever shows the cell compares them with what lies there now. Seen is what is opened through
Python for reading; a library that opens files below it (safetensors, pyarrow) is not seen. Code, installed packages,
the system's files, hidden folders (caches, settings), what the process wrote itself and the benchmark's own homes are
left out: code and networks are in the key, and what lies in a home is checked when it is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.core.paths import homes
from bench.core.sources import INSTALLED, OURS, is_installed

MOST_FILES = 64
SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64", "/opt", "/run", "/var")
CODE = (".py", ".pyc", ".so", ".pth")

OPENED: set[str] = set()  # absolute paths, in a method's process
WRITTEN: set[str] = set()
LOOKED_AT: dict[str, tuple[tuple[int, ...], str]] = {}  # what a file was when its digest was made


def watch() -> None:
    """From now on, remember what this process opens for reading. It lasts as long as the process does."""
    sys.addaudithook(notice)


def notice(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes) and len(OPENED) < 10_000:
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        reading = flags & os.O_ACCMODE == os.O_RDONLY
        with contextlib.suppress(OSError):  # its working folder may be gone
            (OPENED if reading else WRITTEN).add(str(Path(os.fsdecode(arguments[0])).absolute()))


def list_reads(leave: Collection[Path] = ()) -> dict[str, str]:
    """sha256 of the data files that were opened, by path, of the first 64; nothing below the folders in `leave`."""
    project = Path(__file__).resolve().parents[2]
    left = [*(project / package for package in OURS), *homes(), *map(Path, SYSTEM), *INSTALLED, *leave]
    folders = [folder.resolve() for folder in left]
    reads = {}
    for name in sorted(filter(str.isprintable, OPENED - WRITTEN)):
        path = Path(name)
        if path.suffix in CODE or any(part.startswith(".") for part in path.parts) or is_installed(path):
            continue
        if not any(map(path.resolve().is_relative_to, folders)) and (value := digest_file(path)):
            reads[name] = value
        if len(reads) == MOST_FILES:
            break
    return reads


def digest_file(path: Path) -> str | None:
    """The sha256 of a regular file that can be read; None for anything else. Unchanged files are read once."""
    try:
        about = path.stat()
        state = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        if not stat.S_ISREG(about.st_mode):
            return None
        if LOOKED_AT.get(str(path), ((), ""))[0] != state:
            with path.open("rb") as file:
                LOOKED_AT[str(path)] = state, hashlib.file_digest(file, "sha256").hexdigest()
        return LOOKED_AT[str(path)][1]
    except OSError:
        return None


def list_changed(reads: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[str]:
    """A line for each file that is no longer what a cell of the method named first was made with."""
    told = {(method, path, value) for method, files in reads for path, value in files.items()}
    for method, path, value in sorted(told):
        now = digest_file(Path(path))
        if now != value:
            how = "is not there now" if now is None else "has changed since"
            yield f"{method} was made with {path}, which {how}: --runs of another folder makes it anew"
