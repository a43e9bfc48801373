"""Training and validation trials as one training set, still read when they are indexed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.core.contracts import TrainingSet


class Joined:
    """Several arrays, or what is read like them, as one behind the other."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])
        self.shape = (int(self.ends[-1]), *parts[0].shape[1:])
        self.dtype = np.dtype(getattr(parts[0], "dtype", np.float32))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        chosen = np.arange(len(self))[rows]
        which = np.searchsorted(self.ends, chosen, side="right")
        made: np.ndarray | None = None
        for part in np.unique(which):
            here = which == part
            start = self.ends[part] - len(self.parts[part])
            read = np.asarray(self.parts[part][chosen[here] - start])
            made = np.empty((len(chosen), *read.shape[1:]), read.dtype) if made is None else made
            made[here] = read
        return np.empty((0, *self.shape[1:]), self.dtype) if made is None else made

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def join_sets(parts: Sequence[TrainingSet]) -> TrainingSet:
    """One training set of all trials and clips; of a clip that several parts have, an entry in each."""
    first = parts[0]
    starts = np.cumsum([0, *(len(part.captions) for part in parts)])
    joined: dict[str, Any] = {name: Joined([getattr(part, name) for part in parts]) for name in ("brain", "video")}
    return replace(
        first,
        **joined,
        subject=np.concatenate([part.subject for part in parts]),
        clip=np.concatenate([part.clip + start for part, start in zip(parts, starts, strict=False)]),
        captions=tuple(caption for part in parts for caption in part.captions),
        concepts=np.concatenate([part.concepts for part in parts]),
    )
