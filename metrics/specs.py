"""What a metric is: a function of two sets of clips, with its direction, bounds, worst value and chance level.

`Scored` holds clips and the *views* of them. A view is what one judge says of each clip, a row a clip:

    video       logits of the video judge             f [n, C]
    frame       logits of the frame judge             f [n, f, C]
    frame_features   what its last layer reads        f [n, f, d]
    clip, clip_large, vifi     CLIP image embeddings  f [n, f, d]
    dino, dinov2               DINO embeddings        f [n, f, d]
    features    mean hidden state of the video judge  f [n, d]
    clip_vbench, clip_dynamind, clip_large_neurons, vifi_mind_animator, dino_vbench, dinov2_dynamind
                the same judges' of frames prepared as that publisher's script does   f [n, f, d]
    raft        RAFT's flow between adjacent frames   f [n, f−1, h, w, 2], pixels
    raft_vbench the same over the frames and VBench's padding   f [n, f−1, H, W, 2], pixels of the frame as given
    amt         motion smoothness, frames drawn by AMT                      f [n]
    concept     likeness to each of the benchmark's concepts, by CLIP       f [n, K]
    gallery     likeness to each of the true clips that are scored, by CLIP f [n, m]
    frame_gallery    the same by the frame judge's features                 f [n, m]
    embedding   likeness of the method's own embedding to each test clip    f [n, m]
    embedding_concept          the same to each of the test clips' concepts f [n, K]

A metric of level "clip" gives a value for each clip, so any pairing of rows (the shuffled floor) is computed by `take`
from the same views. Every other file of this folder holds one idea: its functions, and below them their specs.
`metrics.protocols` puts specs together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Video = npt.NDArray[np.uint8]  # [n, f, h, w, 3]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Clips with the views of them; only what the metrics asked for read needs to be there.

    video: u8 [n, f, h, w, 3]. Of targets also `concept`, i64 [n], the column of view "concept" that is right, and
    `clip`, i64 [n], the column of view "gallery" that is right. Indexing by the name of a view gives that view; it
    raises KeyError with the names of those that are there.

    >>> scored = Scored(views={"video": np.array([[0.1, 0.9], [0.6, 0.4]])})
    >>> scored["video"].argmax(axis=1).tolist()
    [1, 0]
    >>> scored["frame"]
    Traceback (most recent call last):
    KeyError: "no view 'frame' of these clips; there are video"
    """

    video: Video | None = None
    views: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)
    concept: npt.NDArray[np.int64] | None = None
    clip: npt.NDArray[np.int64] | None = None

    def take(self, rows: npt.ArrayLike) -> Scored:
        """The clips `rows` (an index array, a mask or a slice), in that order.

        >>> Scored(concept=np.array([7, 8, 9])).take([2, 0]).concept.tolist()
        [9, 7]
        """
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
    """A metric: what computes it, and how its values are to be read.

    `compute(prediction, target)` is f64 [n], a value for each clip and NaN where a view is NaN; f64 [1] for a set.
    `worst` is what a missing, broken or NaN clip scores. `chance` is exact for exchangeable scores, a number or a
    function of how many clips there are, or "measured" by the floors. `version` is raised whenever values for the same
    input change. A metric that is not `paired` never looks at the target, so a shuffled brain scores the same.
    `shuffles` is over how many permutations of the brain its shuffled floor is averaged: few where every pair is dear.
    `across(prediction, target)` is f64 [n, m], every prediction against every target, where that can be had at once;
    it chooses the best answers without a brain (`bench.scoring.answers`), so ties may fall either way.
    `floor` is False where an answer without a brain scores best by definition (a still clip is perfectly consistent,
    and a clip that is drawn to flicker moves most): no floor is held against such values, and no share is taken.
    A clip of fewer than `least_frames` frames, or smaller than `least_size` (height, width in pixels), is none that the
    metric is defined for: it is invalid, and scores `worst`. Whoever scores asks `refuses` before anything is computed.

    >>> SPEC = MetricSpec(name="m", compute=lambda a, b: np.zeros(1), summary="", least_frames=2, least_size=(7, 7))
    >>> SPEC.refuses((6, 5, 9)), SPEC.refuses((2, 7, 7))
    ('m needs 2 frames of 7×7 pixels or more (height×width), not 6 of 5×9', '')
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
    chance: float | Callable[[int], float] | Literal["measured"] = "measured"
    least_frames: int = 1
    least_size: tuple[int, int] = (1, 1)
    across: Compute | None = None
    floor: bool = True

    def refuses(self, shape: Sequence[int]) -> str:
        """Why a clip of this shape (frames, height, width, …) cannot be scored; empty where it can."""
        frames, height, width = shape[:3]
        tall, wide = self.least_size
        if frames >= self.least_frames and height >= tall and width >= wide:
            return ""
        needed = f"{self.least_frames} frames of {tall}×{wide} pixels or more (height×width)"
        return f"{self.name} needs {needed}, not {frames} of {height}×{width}"

    def chance_of(self, clips: int) -> float:
        """The chance level where so many clips are scored; NaN where it is measured.

        >>> MetricSpec(name="m", compute=lambda a, b: np.zeros(1), summary="", chance=lambda n: 1 / n).chance_of(4)
        0.25
        """
        if callable(self.chance):
            return self.chance(clips)
        return float("nan") if self.chance == "measured" else float(self.chance)

    @property
    def judge(self) -> str:
        """The views that it needs, joined to one word for tables; empty for a metric without a judge."""
        return "+".join(self.views)


def on_videos(function: Callable[[Video, Video], Array]) -> Compute:
    """A `compute` that gives a function of two videos the prediction's and the target's.

    >>> equal = on_videos(lambda a, b: (a == b).mean(axis=(1, 2, 3, 4)))
    >>> black = Scored(video=np.zeros((2, 1, 4, 4, 3), np.uint8))
    >>> equal(black, black).tolist()
    [1.0, 1.0]
    """

    def compute(prediction: Scored, target: Scored) -> Array:
        assert prediction.video is not None and target.video is not None, "needs the videos"
        return function(prediction.video, target.video)

    return compute


def on_video(function: Callable[[Video], Array]) -> Compute:
    """A `compute` that gives a function of one video the prediction's; the target is not looked at.

    >>> brightness = on_video(lambda video: video.mean(axis=(1, 2, 3, 4)))
    >>> brightness(Scored(video=np.full((1, 1, 4, 4, 3), 51, np.uint8)), Scored()).tolist()
    [51.0]
    """

    def compute(prediction: Scored, target: Scored) -> Array:
        assert prediction.video is not None, "needs the video"
        return function(prediction.video)

    return compute


def on_view(function: Callable[[npt.NDArray[np.floating]], Array], view: str) -> Compute:
    """A `compute` that gives a function of one view the prediction's; the target is not looked at.

    >>> largest = on_view(lambda logits: logits.max(axis=1), "video")
    >>> largest(Scored(views={"video": np.array([[0.1, 0.9]])}), Scored()).tolist()
    [0.9]
    """
    return lambda prediction, target: function(prediction[view])
