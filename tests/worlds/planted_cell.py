"""A planted cell: two subjects, six clips, a missing clip and a broken view; and all that is known of each video.

A *planted* video comes with the views that the judges give of it, so a judge here is a table. Nothing in this module
knows how anything is scored: it holds what was shown, what was predicted, and in which order the trials stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions

FRAMES, SIDE = 6, 16
CLIPS = (20, 21, 22, 23, 24, 25)
CONCEPT = {20: 7, 21: 3, 22: 39, 23: 3, 24: 39, 25: 7}  # two clips a concept, no two neighbours alike
CONCEPTS = tuple(f"thing{number}" for number in range(40))
CLASSES = 60  # of the video and the frame judge
# (subject, clip) of each trial as the cell lists them: subjects alternate, and see the clips in different orders
TRIALS = (
    (2, 23), (1, 25), (1, 20), (2, 20), (1, 23), (2, 25), (1, 21), (2, 21), (2, 24), (1, 22), (1, 24), (2, 22),
)  # fmt: skip
MISSING = (1, 23)  # has no prediction
BROKEN = (2, 24)  # the video judge answers NaN
UNDECIDED = (2, 21)  # the video judge likes all classes alike
PERFECT = (1, 21)  # the prediction is the truth
FLAT = ((1, 22), (2, 25))  # one colour a frame


@dataclass(frozen=True, eq=False)
class Planted:
    """A video with all views of it."""

    video: np.ndarray  # u8 (frame, height, width, 3)
    views: dict[str, np.ndarray]


def draw_views(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Views of a true clip. Frames of one clip are alike, as a judge finds them."""
    widths = {"clip": 5, "clip_large_neurons": 4, "vifi_mind_animator": 3, "dino_vbench": 4, "dinov2": 6}
    views = {name: rng.normal(size=width) + 0.5 * rng.normal(size=(FRAMES, width)) for name, width in widths.items()}
    views["video"], views["frame"] = rng.normal(size=CLASSES), rng.normal(size=(FRAMES, CLASSES))
    views["features"] = rng.normal(size=2)
    views["raft_vbench"] = draw_flow(rng)
    own = rng.spawn(1)[0]  # the same judges' of frames prepared in other ways
    for name in ("clip_vbench", "clip_dynamind", "dinov2_dynamind"):
        views[name] = own.normal(size=5) + 0.5 * own.normal(size=(FRAMES, 5))
    views["frame_features"] = own.normal(size=3) + 0.5 * own.normal(size=(FRAMES, 3))
    return {name: view.astype(np.float32) for name, view in views.items()}


def draw_flow(rng: np.random.Generator) -> np.ndarray:
    """Half of the pairs of frames are nearly still."""
    fast = rng.integers(0, 2, (FRAMES - 1, 1, 1, 1))
    return (0.1 + 0.6 * fast) * rng.normal(size=(FRAMES - 1, SIDE, SIDE, 2))


def blur_views(views: dict[str, np.ndarray], rng: np.random.Generator, amount: float) -> dict[str, np.ndarray]:
    """Views of a prediction: those of a true clip, and noise."""
    seen = {
        name: (view + amount * rng.normal(size=view.shape)).astype(np.float32)
        for name, view in views.items()
        if name != "raft_vbench"
    }
    return seen | {"raft_vbench": draw_flow(rng).astype(np.float32)}


def draw_film(rng: np.random.Generator, speed: int) -> np.ndarray:
    """A coloured texture that moves to the left by `speed` pixels a frame."""
    wide = rng.integers(0, 256, (SIDE // 4, (SIDE + speed * FRAMES) // 4 + 1, 3)).repeat(4, axis=0).repeat(4, axis=1)
    return np.stack([wide[:, speed * frame : speed * frame + SIDE] for frame in range(FRAMES)]).astype(np.uint8)


def plant_truth() -> dict[int, Planted]:
    rng = np.random.default_rng(1)
    return {clip: Planted(draw_film(rng, place % 4), draw_views(rng)) for place, clip in enumerate(CLIPS)}


TRUTH = plant_truth()


def plant_predictions() -> dict[tuple[int, int], Planted | None]:
    """By subject and clip: a still picture of the clip with noise, but for those named above."""
    rng = np.random.default_rng(2)
    planted: dict[tuple[int, int], Planted | None] = {}
    for subject in (1, 2):
        for clip in CLIPS:
            views = blur_views(TRUTH[clip].views, rng, 0.7 + 0.5 * (subject == 2))
            still = TRUTH[clip].video[[2]] * 0.6 + rng.integers(0, 100, (1, SIDE, SIDE, 3))
            video = np.broadcast_to(still.astype(np.uint8), (FRAMES, SIDE, SIDE, 3)).copy()
            if (subject, clip) in FLAT:
                video = np.broadcast_to(rng.integers(0, 256, (FRAMES, 1, 1, 3)), video.shape).astype(np.uint8)
            if (subject, clip) == BROKEN:
                views["video"][3] = np.nan
            if (subject, clip) == UNDECIDED:
                views["video"][:] = 1.5
            planted[subject, clip] = Planted(video, views)
    planted[PERFECT] = TRUTH[PERFECT[1]]
    planted[MISSING] = None
    return planted


PREDICTIONS = plant_predictions()


def plant_floor() -> Planted:
    """A constant grey for every clip."""
    rng = np.random.default_rng(3)
    video = np.full((FRAMES, SIDE, SIDE, 3), 128, np.uint8)
    return Planted(video, blur_views(TRUTH[CLIPS[0]].views, rng, 2.0))


def plant_ceiling() -> dict[int, Planted]:
    """Every clip nearly as it was."""
    rng = np.random.default_rng(4)
    return {
        clip: Planted(
            np.clip(one.video + rng.integers(-3, 4, one.video.shape), 0, 255).astype(np.uint8),
            blur_views(one.views, rng, 0.05),
        )
        for clip, one in TRUTH.items()
    }


FLOOR, CEILING = plant_floor(), plant_ceiling()


def plant_words() -> np.ndarray:
    """What the reader of captions makes of each concept: of one that is shown, nearly what the clips look like."""
    words = np.random.default_rng(5).normal(size=(len(CONCEPTS), 5))
    for clip, concept in CONCEPT.items():
        words[concept] = 0.3 * words[concept] + TRUTH[clip].views["clip"].mean(axis=0)
    return words.astype(np.float32)


WORDS = plant_words()


class PlantedJudges:
    """Answers by looking a video up, byte for byte."""

    def __init__(self) -> None:
        known = [*TRUTH.values(), *PREDICTIONS.values(), FLOOR, *CEILING.values()]
        self.known = {one.video.tobytes(): one for one in known if one is not None}

    def available(self, view: str) -> bool:
        return True

    def digest(self, view: str) -> str:
        return f"planted {view}"

    def observe_many(self, views: Sequence[str], video: np.ndarray) -> dict[str, np.ndarray]:
        seen = [self.known[clip.tobytes()] for clip in video]
        return {view: np.stack([one.views[view] for one in seen]) for view in views}

    def embed_captions(self, view: str, captions: Sequence[str]) -> np.ndarray:
        assert (view, list(captions)) == ("clip", [f"a video of a {concept}" for concept in CONCEPTS])
        return WORDS

    def interpolator(self) -> Any:
        return lambda left, right: left.copy()  # a lazy one: the middle frame is the left one again


def make_dataset() -> Any:
    table = pd.DataFrame({"clip": CLIPS[::-1], "concept": [CONCEPT[clip] for clip in CLIPS[::-1]]})
    return SimpleNamespace(
        name="planted",
        digest="5" * 64,
        concepts=CONCEPTS,
        stimuli=SimpleNamespace(to_pandas=lambda: table),
        video=lambda clips: np.stack([TRUTH[int(clip)].video for clip in clips]),
    )


def publish(
    store: Store,
    key: str,
    trials: Sequence[tuple[int, int]],
    videos: Sequence[np.ndarray | None],
    *,
    method: str,
    role: str,
    split: str = "cross_subject",
) -> Cell:
    table = pd.DataFrame(
        {"trial": place, "subject": subject, "clip": clip, "concept": CONCEPT[clip], "block": 6, "seed": place}
        for place, (subject, clip) in enumerate(trials)
    )
    spec = {"method": method, "dataset": "planted", "split": split, "fold": "all", "classes": 40}
    with store.publishing(key) as draft:
        write_predictions(draft, table, list(videos))
        draft.manifest.update(spec=spec | {"suite": "planted", "seed": 0}, variant="base", role=role)
        draft.manifest.update(parameter_count=7, phantom=True)
    cell = store.find(key)
    assert cell is not None
    return cell


def publish_all(folder: Path) -> tuple[Store, list[Cell]]:
    """The cell, a floor and a ceiling that see no brain."""
    store = Store(folder)
    own = [None if (one := PREDICTIONS[trial]) is None else one.video for trial in TRIALS]
    unseen = [(0, clip) for clip in CLIPS]
    return store, [
        publish(store, "aa", TRIALS, own, method="planted", role="method"),
        publish(store, "bb", unseen, [FLOOR.video] * len(CLIPS), method="constant_grey", role="control", split="clips"),
        publish(
            store,
            "cc",
            unseen,
            [CEILING[clip].video for clip in CLIPS],
            method="codec",
            role="ceiling",
            split="clips",
        ),
    ]
