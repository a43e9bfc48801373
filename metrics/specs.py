"""What a metric is: a function of two sets of clips, with its direction, bounds, worst value and chance level.

`Scored` holds clips with what was seen in them. A *view* is one judge's opinion of each clip, a row a clip:

    video       logits of the video judge             f [n, C]
    frame       logits of the frame judge             f [n, f, C]
    clip, clip_large, vifi     CLIP image embeddings  f [n, f, d]
    dino, dinov2               DINO embeddings        f [n, f, d]
    features    mean hidden state of the video judge  f [n, d]
    concept     likeness to each of the benchmark's concepts, by CLIP      f [n, K]
    gallery     likeness to each of the true clips that are scored, by CLIP f [n, m]

A clip-level metric gives one value a clip, so any pairing of rows (the shuffled floor) is computed by `take` from the
same views. `metrics.catalogue` has the metrics themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Clips with the views of them; only what the metrics asked for read needs to be there.

    video: u8 [n, f, h, w, 3]. Of targets also `concept`, i64 [n], the column of view "concept" that is right, and
    `clip`, i64 [n], the column of view "gallery" that is right.
    """

    video: npt.NDArray[np.uint8] | None = None
    views: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    concept: npt.NDArray[np.int64] | None = None
    clip: npt.NDArray[np.int64] | None = None

    def take(self, rows: npt.ArrayLike) -> Scored:
        """The clips `rows` (an index array, a mask or a slice), in that order."""
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        return Scored(
            video=None if self.video is None else self.video[rows],
            views={name: view[rows] for name, view in self.views.items()},
            concept=None if self.concept is None else self.concept[rows],
            clip=None if self.clip is None else self.clip[rows],
        )

    def __getitem__(self, view: str) -> npt.NDArray[np.floating]:
        if view not in self.views:
            raise KeyError(f"no view {view!r} of these clips; there are {', '.join(self.views) or 'none'}")
        return self.views[view]


Compute = Callable[[Scored, Scored], Array]


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric. `compute(prediction, target)` is f64 [n], one value a clip, NaN where a view is NaN; [1] for a set.

    `worst` is what a missing, broken or NaN clip scores. `chance` is exact for exchangeable scores, or "measured" by
    the floors. `version` is raised whenever values for the same input change. A metric that is not `paired` never
    looks at the target, so a shuffled brain scores the same. `shuffles` is over how many permutations of the brain
    its shuffled floor is averaged: few where every pair is dear.
    """

    name: str
    compute: Compute
    summary: str
    version: int = 1
    direction: Literal["higher", "lower"] = "higher"
    lo: float = 0.0
    hi: float = 1.0
    worst: float = 0.0
    level: Literal["clip", "set"] = "clip"
    views: tuple[str, ...] = ()
    pixels: bool = False  # whether it reads the videos themselves
    paired: bool = True
    shuffles: int = 10
    chance: float | Literal["measured"] = "measured"

    @property
    def judge(self) -> str:
        """The views that it needs as one word, for tables; empty for a metric without a judge."""
        return "+".join(self.views)
