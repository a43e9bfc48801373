"""Training and validation trials as one training set, for a method that chooses nothing by validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from bench.core.contracts import Signals, TrainingSet


@dataclass(frozen=True)
class JoinedSignals:
    """Signals of several sets in a row, read when indexed."""

    parts: tuple[Signals, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        return (len(self), *self.parts[0].shape[1:])

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, rows: slice | np.ndarray) -> Float32[np.ndarray, "trial channel time"]:
        chosen = np.arange(len(self))[rows]
        made = np.empty((len(chosen), *self.shape[1:]), np.float32)
        start = 0
        for part in self.parts:
            here = (chosen >= start) & (chosen < start + len(part))
            if here.any():
                made[here] = part[chosen[here] - start]
            start += len(part)
        return made


def join_sets(parts: Sequence[TrainingSet]) -> TrainingSet:
    """All trials of some sets of the same recordings, in a row, and all their clips; signals are read when indexed."""
    first, *others = parts
    if not others:
        return first
    starts = np.cumsum([0, *(len(part.captions) for part in parts)])
    return replace(
        first,
        brain=JoinedSignals(tuple(part.brain for part in parts)),
        subject=np.concatenate([part.subject for part in parts]),
        clip=np.concatenate([part.clip + start for part, start in zip(parts, starts, strict=False)]),
        video=np.concatenate([part.video[:] for part in parts]),
        captions=tuple(caption for part in parts for caption in part.captions),
        concepts=np.concatenate([part.concepts for part in parts]),
    )
