"""Training and validation trials as one training set, for a method that chooses nothing by validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.core.contracts import TrainingSet
from bench.toolbox.rows import Joined


def join_sets(parts: Sequence[TrainingSet]) -> TrainingSet:
    """All trials of some sets of the same recordings, in a row, and all their clips; both are read when indexed.

    Clips that the sets hold in memory are so few that they are held together too.
    """
    first, *others = parts
    if not others:
        return first
    clips = [part.video for part in parts]
    held = all(isinstance(video, np.ndarray) for video in clips)
    video: Any = np.concatenate(clips) if held else Joined(clips)
    starts = np.cumsum([0, *(len(part.captions) for part in parts)])
    return replace(
        first,
        brain=Joined(part.brain for part in parts),
        subject=np.concatenate([part.subject for part in parts]),
        clip=np.concatenate([part.clip + start for part, start in zip(parts, starts, strict=False)]),
        video=video,
        captions=tuple(caption for part in parts for caption in part.captions),
        concepts=np.concatenate([part.concepts for part in parts]),
    )
