"""Arrays that may be larger than memory: rows that are read when they are indexed, and files in the place of arrays.

Clips of 33 × 480 × 720 pixels are 34 MB each, so nothing may hold all of them. What reads clips indexes some rows, or
walks over all of them in parts of bounded size (`walk`); what makes a row of numbers for each of many clips puts them
together with `collect`, which keeps few in memory and many in a file without a name.
"""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from bench.core.contracts import Dataset
from bench.core.paths import bench_home
from bench.core.progress import warn_once

HELD = 2**28  # bytes of an array up to which it is held in memory
PART = 2**26  # bytes of rows that are read at once; one row may be more
MOST = 256  # rows that are read at once
_DIGESTS: weakref.WeakKeyDictionary[Rows, str] = weakref.WeakKeyDictionary()


class Rows(ABC):
    """An array whose rows are read when they are indexed: by a number, a slice, numbers in an array, or a mask.

    `np.asarray` reads all of it, and iterating reads a part at a time.
    """

    __slots__ = ("__weakref__", "dtype", "shape")

    def __init__(self, shape: Iterable[int], dtype: Any) -> None:
        self.shape: Any = tuple(int(size) for size in shape)
        self.dtype = np.dtype(dtype)

    @abstractmethod
    def read(self, rows: Int64[np.ndarray, " n"]) -> np.ndarray:
        """These rows, of which there are at most `at_once`; each is one that there is."""

    @property
    def at_once(self) -> int:
        """How many rows are read at once, at most."""
        return count_rows(self, PART)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> np.ndarray:
        chosen, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        rows = np.arange(len(self))[chosen]
        flat = np.reshape(rows, -1)
        found = np.empty((flat.size, *self.shape[1:]), self.dtype)
        step = self.at_once
        for start in range(0, flat.size, step):
            found[start : start + step] = self.read(flat[start : start + step])
        found = found.reshape(*np.shape(rows), *self.shape[1:])
        return found[(*(slice(None),) * np.ndim(rows), *rest)] if rest else found

    def __iter__(self) -> Iterator[np.ndarray]:
        for part in walk(self):
            yield from part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in Rows.__slots__:
            raise AttributeError(name)
        raise AttributeError(
            f"these {'×'.join(map(str, self.shape))} numbers are read when they are indexed, so they have no attribute "
            f"{name!r}: index some first, as in rows[:64], or walk over all (bench.toolbox.rows.walk)"
        )


class Made(Rows):
    """Rows that a function makes of their numbers."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[Int64[np.ndarray, " n"]], np.ndarray], shape: Iterable[int], dtype: Any) -> None:
        super().__init__(shape, dtype)
        self.make = make

    def read(self, rows: Int64[np.ndarray, " n"]) -> np.ndarray:
        return self.make(rows)


class Clips(Rows):
    """Some clips of a data set, u8 (clip, frame, height, width, 3), read when indexed."""

    __slots__ = ("clips", "dataset")

    def __init__(self, dataset: Dataset, clips: Int64[np.ndarray, " clip"]) -> None:
        super().__init__((len(clips), *dataset.video(clips[:1]).shape[1:]), np.uint8)
        self.dataset, self.clips = dataset, clips

    def read(self, rows: Int64[np.ndarray, " n"]) -> UInt8[np.ndarray, "n frame height width 3"]:
        return self.dataset.video(self.clips[rows])


class Chosen(Rows):
    """Some rows of an array, each as often as it is named."""

    __slots__ = ("array", "chosen")

    def __init__(self, array: Any, chosen: Int64[np.ndarray, " n"]) -> None:
        super().__init__((len(chosen), *array.shape[1:]), array.dtype)
        self.array, self.chosen = array, chosen

    def read(self, rows: Int64[np.ndarray, " n"]) -> np.ndarray:
        return np.asarray(self.array[self.chosen[rows]])


class Joined(Rows):
    """Arrays of rows of one shape, one behind the other."""

    __slots__ = ("parts",)

    def __init__(self, parts: Iterable[Any]) -> None:
        self.parts = tuple(parts)
        first = self.parts[0]
        super().__init__((sum(len(part) for part in self.parts), *first.shape[1:]), getattr(first, "dtype", np.float32))

    def read(self, rows: Int64[np.ndarray, " n"]) -> np.ndarray:
        made = np.empty((len(rows), *self.shape[1:]), self.dtype)
        start = 0
        for part in self.parts:
            here = (rows >= start) & (rows < start + len(part))
            if here.any():
                made[here] = part[rows[here] - start]
            start += len(part)
        return made


def rows_at_once(array: Any, *, most: int = MOST, size: int | None = None) -> int:
    """How many rows of an array are read at once: at most `most`, and `size` (`PART`) bytes, but one at least."""
    if size is None and isinstance(array, Rows):
        return min(most, array.at_once) or 1
    return max(1, min(most, count_rows(array, PART if size is None else size)))


def count_rows(array: Any, size: int) -> int:
    """How many rows are so many bytes, from 1 to `MOST`."""
    a_row = math.prod(array.shape[1:]) * np.dtype(array.dtype).itemsize
    return max(1, min(MOST, size // max(1, a_row)))


def fit_part(numbers: int, size: int) -> int:
    """How many times so many numbers of `size` bytes go into `PART` bytes; once at least."""
    return max(1, PART // max(1, numbers * size))


def walk(array: Any, *, most: int = MOST, size: int | None = None) -> Iterator[np.ndarray]:
    """All rows in order, in parts of `rows_at_once`; one empty part where there are none."""
    step = rows_at_once(array, most=most, size=size)
    for start in range(0, max(1, len(array)), step):
        yield np.asarray(array[start : start + step])


def digest_video(video: UInt8[np.ndarray, "clip ..."]) -> str:
    """sha256 of all pixels in order, read a part at a time; of clips that are read when indexed, once."""
    if isinstance(video, Rows) and video in _DIGESTS:
        return _DIGESTS[video]
    state = hashlib.sha256()
    for part in walk(video):
        state.update(np.ascontiguousarray(part).data)
    if isinstance(video, Rows):
        _DIGESTS[video] = state.hexdigest()
    return state.hexdigest()


def collect(parts: Iterable[np.ndarray], count: int) -> np.ndarray:
    """Parts with `count` rows together as one array, at least one part being there. Parts may be made as they come.

    An array of more than `HELD` bytes is memory-mapped from a file without a name, which goes when the array does; the
    system takes its pages back where memory is short.
    """
    return collect_all(({"": part} for part in parts), count)[""]


def collect_all(parts: Iterable[Mapping[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """`collect` of several arrays whose parts come together."""
    whole: dict[str, np.ndarray] = {}
    at = size = 0
    for part in parts:
        for name, some in part.items():
            if name not in whole:
                whole[name] = allocate((count, *some.shape[1:]), some.dtype)
            whole[name][at : at + len(some)] = some
            size = len(some)
        at += size
    if at != count:
        raise ValueError(f"{at} rows came where {count} were told of")
    return whole


def hold(rows: Any) -> Any:
    """The rows in memory where they are `HELD` bytes at most, else as they are."""
    return np.asarray(rows) if is_small(rows) else rows


def is_small(rows: Any) -> bool:
    """Whether an array is held in memory."""
    return bool(rows.nbytes <= HELD)


def allocate(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros: in memory, and more than `HELD` bytes in a file without a name, in the cache's folder or the system's.

    In memory too where neither folder has room.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= HELD:
        return np.zeros(shape, dtype)
    for folder in (bench_home() / "cache", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk would end the process when it writes
                return np.memmap(file, dtype, "r+", shape=shape)
        except (OSError, AttributeError):  # not every system can reserve
            continue
    warn_once(f"no disk takes {size / 2**30:.1f} GiB that are needed for a while: they are held in memory")
    return np.zeros(shape, dtype)
