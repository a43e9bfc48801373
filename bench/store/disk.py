"""Files that are whole or absent: written under a temporary name, flushed to the disk, put in place by one rename.

A temporary name says who writes: `.tmp-<key>-<origin>-<process>-<start>-<random>`. The origin is the host's name, its
boot and the namespace that its processes are numbered in, since two containers may share a host's name and numbers of
processes; the start tells a process from an earlier one of its number. So what a killed process of this origin left is
known for what it is and removed. What comes from elsewhere (another host or container, this host before it was started
anew) may be written this very moment: it is removed only where nothing in it has changed for `AGE` and nobody holds
its lock. Other users' are never touched.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

LIVE: set[str] = set()  # temporary names of this very process that are in use: no leftovers
AGE = 30 * 24 * 3600.0  # seconds without a change after which what comes from elsewhere is a leftover
UNKNOWN = "0"  # the start of a process, where the system does not tell


def temporary_name(key: str) -> str:
    """A name that no other process has; in `LIVE` until it is taken out."""
    name = f".tmp-{key}-{origin()}-{os.getpid()}-{started(os.getpid())}-{secrets.token_hex(4)}"
    LIVE.add(name)
    return name


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder. What cannot be looked at or removed stays."""
    with contextlib.suppress(OSError):
        for leftover in folder.glob(".tmp-*"):
            if is_abandoned(leftover):
                remove(leftover)


def is_abandoned(leftover: Path) -> bool:
    """Whether nobody writes a temporary file or folder any more; False where that is not certain."""
    try:
        if hasattr(os, "geteuid") and leftover.lstat().st_uid != os.geteuid():
            return False
    except OSError:
        return False
    parts = leftover.name.split("-")
    if len(parts) != 6 or parts[2] != origin() or not parts[3].isdigit():
        return time.time() - last_change(leftover) > AGE and not is_locked(leftover)
    if int(parts[3]) == os.getpid() and parts[4] == started(os.getpid()):
        return leftover.name not in LIVE
    return is_abandoned_by(int(parts[3]), parts[4])


def is_abandoned_by(process: int, start: str) -> bool:
    """Whether the process of this number that was started then has ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return started(process) not in (start, UNKNOWN)


@functools.cache
def origin() -> str:
    """Where processes are numbered as they are here: host, boot, namespace; in characters that a file name takes."""
    told = [socket.gethostname()]
    with contextlib.suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip())
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    name = re.sub(r"[^0-9a-z]", "_", told[0].lower())[:32]
    return f"{name}_{hashlib.sha256(' '.join(told).encode()).hexdigest()[:12]}"


def started(process: int) -> str:
    """When a process was started, in ticks since the boot; `ended` for one that only waits to be collected."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:  # no such process, or no system that tells
        return UNKNOWN
    return "ended" if fields[0] in "ZX" else fields[19]


def last_change(path: Path) -> float:
    """The youngest time of change below a path, in seconds since 1970; now where it cannot be told."""
    try:
        inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
        return max(one.lstat().st_mtime for one in (path, *inside))
    except OSError:
        return time.time()


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which other containers of this machine see too; where there are none, go on."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        take_lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock; False too where the file system knows no locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        return not take_lock(descriptor)
    finally:
        os.close(descriptor)


def take_lock(descriptor: int) -> bool:
    """Take the lock unless somebody holds it: False then."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # neither every system nor every file system has them
        return True
    return True


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write a file under; put in its place, whole, when the block ends, removed if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
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
        with locked(draft):
            yield draft
            sync_tree(draft)
            move_new(draft, path)
        sync_folder(path.parent)
    finally:
        remove(draft)
        LIVE.discard(draft.name)


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


def digest_file(path: Path) -> str:
    """sha256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk; without it a rename may be lost with the power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot do it for folders
            raise
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder below `folder` is on the disk."""
    for place, _, files in os.walk(folder):
        for name in files:
            sync_file(Path(place) / name)
        sync_folder(Path(place))


def move_new(source: Path, place: Path) -> None:
    """Rename a folder to a name that nobody has; where somebody was faster, theirs stays."""
    try:
        source.replace(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def remove(path: Path) -> None:
    """Remove a temporary folder or file; another process may be removing it too, or it is not ours to remove."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def quarantine(path: Path, pen: Path, reason: str) -> str:
    """Move what is damaged below `pen`, with the reason beside it, or remove it; says in words where it went.

    Neither is possible in a folder of another user's, or one that is read-only: then it stays, which is said.
    """
    try:
        place = new_place(pen, path.stem)
        try:
            path.rename(place / path.name)
        except FileNotFoundError:  # another process was faster
            place.rmdir()
            return "another process has taken it away"
        (place / "reason.txt").write_text(f"{path}: {reason}\n", encoding="utf-8")
        return f"moved to {place}"
    except OSError:
        remove(path)
    return "it cannot be moved away" if os.path.lexists(path) else "removed"


def new_place(pen: Path, name: str) -> Path:
    """A new folder below `pen`, named after what it is to hold. Raises OSError."""
    pen.mkdir(parents=True, exist_ok=True)
    for number in range(10_000):
        with contextlib.suppress(FileExistsError):
            (pen / f"{name}-{number}").mkdir()
            return pen / f"{name}-{number}"
    raise FileExistsError(errno.EEXIST, f"10,000 copies of {name} are there; find out why, then empty it", str(pen))
