"""The one cache: what is derived from data, networks and code, kept under the digest of all that it was made from.

    <cache>/entries/<key>      a line with the sha256 of all that follows, one with what it was made from, content
    <cache>/quarantine/…       damaged entries, with the reason; never read again

Content is an array (`.npy`, memory-mapped), a table (an Arrow stream) or bytes. The key is the digest of plain values
that the caller names, among them the digest of the code (`digest_code`) where that matters, so another version of the
code asks for another entry. All of an entry is compared with its sha256 before anything in it is read: in each process
once, and again when the file is another one or has changed (`State`). A damaged one is put into quarantine and made
again. There is no pickle.

A cache never stops anybody. Where the folder is full, read-only, another user's or cannot be made, entries are kept in
the spare home (`bench.core.paths.spare_home`), and where that takes none either, in memory: that costs time, and one
warning says so.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from bench.core.errors import BenchError
from bench.core.paths import bench_home, spare_home
from bench.core.progress import warn_once
from bench.core.sources import trace
from bench.core.spec import canonical_json, digest
from bench.store import disk

if TYPE_CHECKING:
    import datasets

RACY = 2_000_000_000  # nanoseconds: a file that young may change again without its times showing it
IN_MEMORY = 2**30  # bytes of what no disk keeps that a process remembers
ALIGNED = 64  # bytes: what `.npy` aligns its numbers to
VERIFIED: dict[Path, State] = {}  # entries whose content was compared with its sha256 in this process
REMEMBERED: dict[tuple[Path, str], Any] = {}  # what could not be kept on any disk


class State(NamedTuple):
    """What of a file changes whenever it does: no program can set its time of change (`ctime`) back."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @property
    def is_settled(self) -> bool:
        """Whether a later change must show: the clocks of some file systems tick in seconds."""
        return abs(time.time_ns() - self.changed) > RACY


class Damaged(Exception):
    """An entry whose content is not that of its sha256."""


class Cache:
    """The cache in a folder, which need not be there and may not be written to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def array(self, made_from: Mapping[str, Any], make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array made of `made_from`, read-only: kept, or made and kept."""
        kept = self.find_array(made_from)
        return self.keep_array(made_from, make()) if kept is None else kept

    def find_array(self, made_from: Mapping[str, Any], *, writable: bool = False) -> np.ndarray | None:
        """The array, memory-mapped, or None. What is written into a `writable` one changes no other's."""
        return self._find(made_from, functools.partial(map_array, mode="c") if writable else map_array)

    def keep_array(self, made_from: Mapping[str, Any], array: np.ndarray) -> np.ndarray:
        """Keep an array and give it back as `find_array` does. Raises ValueError for objects, which are no numbers."""
        if array.dtype.hasobject:
            raise ValueError(f"an array of {array.dtype} holds objects; only numbers, texts and times are kept")
        array = np.asarray(array, order="C")
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
        self._keep(made_from, [head.getvalue(), array.reshape(-1).view(np.uint8).data], array)
        kept = self.find_array(made_from)
        return array if kept is None else kept

    def content(self, made_from: Mapping[str, Any], make: Callable[[], bytes]) -> bytes:
        """The bytes made of `made_from`: kept, or made and kept."""
        kept = self.find_content(made_from)
        if kept is None:
            kept = make()
            self.keep_content(made_from, kept)
        return kept

    def find_content(self, made_from: Mapping[str, Any]) -> bytes | None:
        """The bytes, or None."""
        return self._find(made_from, lambda file: file.read())

    def keep_content(self, made_from: Mapping[str, Any], content: bytes) -> None:
        """Keep bytes; those that are there under the same name are replaced."""
        self._keep(made_from, [content], content)

    def table(
        self, made_from: Mapping[str, Any], columns: Callable[[], Mapping[str, Sequence[Any]]]
    ) -> datasets.Dataset:
        """The table of `columns()`: kept, or made and kept."""
        import datasets
        import pyarrow as pa

        def make() -> bytes:
            made = datasets.Dataset.from_dict({name: list(column) for name, column in columns().items()})
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, made.data.schema) as stream:
                stream.write_table(made.data.table)
            return sink.getvalue().to_pybytes()

        return datasets.Dataset.from_buffer(pa.py_buffer(self.content(made_from, make)))

    @property
    def places(self) -> list[Path]:
        """Folders of entries, in the order in which they are looked into and written to."""
        spare = spare_home()
        return [self.folder / "entries"] + ([] if spare is None else [spare / "cache" / "entries"])

    def _find(self, made_from: Mapping[str, Any], read: Callable[[io.BufferedReader], Any]) -> Any | None:
        key, line = digest(dict(made_from)), describe(made_from)
        for place in self.places:
            path = place / key
            try:
                return read_entry(path, line, read)
            except FileNotFoundError:
                continue
            except NotADirectoryError:  # a file lies where the cache should: warned of when something is to be kept
                continue
            except (OSError, Damaged) as error:
                self._set_aside(path, str(error))
        return REMEMBERED.get((self.folder, key))

    def _keep(self, made_from: Mapping[str, Any], parts: Sequence[Any], value: Any) -> None:
        key, line = digest(dict(made_from)), describe(made_from)
        state = hashlib.sha256(line)
        for part in parts:
            state.update(part)
        for number, place in enumerate(self.places):
            if number:
                spare_home(make=True)
            try:
                with disk.new_file(place / key) as draft, draft.open("xb") as file:
                    for part in (state.hexdigest().encode(), b"\n", line, *parts):
                        file.write(part)
                return
            except OSError as error:
                if not number:
                    warn_once(
                        f"{place} cannot keep what is made ({error.strerror or error}): that costs time and nothing "
                        "else. Free some space, or set BENCH_HOME to a folder of yours"
                    )
        remember(self.folder, key, value)

    def _set_aside(self, path: Path, reason: str) -> None:
        """Move a damaged entry where nobody reads it, or remove it, and say so (once, where it stays)."""
        where = disk.quarantine(path, path.parent.with_name("quarantine"), reason)
        warn_once(f"{path} in the cache is damaged ({reason}): {where}; what it held is made again")


def open_cache() -> Cache:
    """The cache of this user's home."""
    return Cache(bench_home() / "cache")


def describe(made_from: Mapping[str, Any]) -> bytes:
    """The line of an entry that says what it was made from, as long as keeps what follows aligned."""
    line = canonical_json(dict(made_from)).encode()
    return line.ljust(-(-(len(line) + 66) // ALIGNED) * ALIGNED - 66) + b"\n"


def read_entry(path: Path, line: bytes, read: Callable[[io.BufferedReader], Any]) -> Any:
    """What `read` makes of an entry's content, once that is known to be what was written. Raises Damaged, OSError."""
    with open_regular(path) as file:
        state = state_of(file.fileno())
        if VERIFIED.get(path) != state:
            recorded = file.read(65)
            if hashlib.file_digest(file, "sha256").hexdigest().encode() + b"\n" != recorded:
                raise Damaged("its content is not that of its sha256")
            if state.is_settled:
                VERIFIED[path] = state
            file.seek(65)
        else:
            file.seek(65)
        if file.read(len(line)) != line:
            raise Damaged("it is the entry of another key")
        return read(file)


def map_array(file: io.BufferedReader, mode: Literal["r", "c"] = "r") -> np.ndarray:
    """The array that begins where a file stands, memory-mapped; its content has been verified."""
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype=dtype, mode=mode, offset=file.tell(), shape=shape)


def remember(folder: Path, key: str, value: Any) -> None:
    """Put into this process's memory what no disk keeps, and the oldest out of it."""
    REMEMBERED[folder, key] = value
    while sum(len(one) if isinstance(one, bytes) else one.nbytes for one in REMEMBERED.values()) > IN_MEMORY:
        del REMEMBERED[next(iter(REMEMBERED))]


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file for reading; raises OSError for what is no file, a pipe too, which would not answer."""
    file = path.open("rb") if sys.platform == "win32" else os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError("it is no regular file")
    return file


def state_of(file: int | Path) -> State:
    """The state of an open file, or of the file at a path. Raises OSError."""
    told = os.fstat(file) if isinstance(file, int) else file.stat()
    return State(told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns)


@functools.cache
def digest_code(*roots: str | Path) -> str:
    """Digest of the code of modules, by their names, and of files, and of all of ours that they import. Runs none.

    Raises BenchError for a module that is not there.
    """
    sources = trace(*roots)
    if absent := [root for root in roots if isinstance(root, str) and root not in sources]:
        raise BenchError(f"there is no module {absent[0]!r} whose source could be read")
    return digest(sources)
