"""Submissions: videos that others made become a cell of a store, with where they come from and without any truth.

A *whole* set has a video of every clip that a fold of the data set tests, and the data set lies here: its cell is like
any other, but that its `source` says "submitted", which no digest of code says, and its parameters say where the videos
lie. Clips without a video can be declared missing: they score the worst value and are counted. A set is *chosen* where
its authors picked clips, where it lacks some, and where the data set does not lie here, so that nobody can tell: its
cell is of no fold (`bench.doors.chosen`), and nothing ranks it with whole ones.

Frames and size are brought to the data set's by rules that are named, or refused. One video is in memory at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from bench.core.errors import BenchError
from bench.core.progress import say, track
from bench.core.registry import role_of
from bench.core.spec import SUBMITTED, CellSpec
from bench.core.splits import Fold, describe_rules
from bench.doors.clip_names import Naming
from bench.doors.video_pairs import FrameRule, Side, Video, split_sides
from bench.harness.inputs import describe_trials
from bench.scoring.likeness import compare, see, transform
from bench.store import provenance
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions
from bench.store.video import VideoError, list_images, read_video
from metrics.protocols import ShapeMismatch

BROKEN = np.zeros((0, 0, 0, 3), np.uint8)  # stands for a video that is there and cannot be used
ALIKE = 0.7  # likeness from which a true video is that of a clip, as in `bench.scoring.flags`
APART = 0.1  # by which it must be more alike to another clip to be that one's

PLAIN = ((1.0, 0, "", ""),)  # of the changes of `bench.scoring.likeness`: none

Place = tuple[int, int]  # subject, clip


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where submitted videos come from, and how they were brought to what is compared."""

    method: str
    source: str  # URL
    licence: str
    submitter: str
    naming: Naming
    rule: FrameRule
    resize: bool = False
    side: Side | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What was done to the pixels."""
        rule = self.rule.kind if self.rule.kind == "same" else f"{self.rule.kind}:{self.rule.count}"
        return {"frames": rule, "resize": self.resize, "side": self.side or ""}

    @property
    def told(self) -> dict[str, Any]:
        """What is told of the videos."""
        about = {name: getattr(self, name) for name in ("source", "licence", "submitter")}
        return {**about, "names": self.naming.pattern, "base": self.naming.base, "order": self.naming.order}


@dataclass
class Brought(Sequence[np.ndarray | None]):
    """The submitted videos of trials, read one at a time; None where there is none, `BROKEN` for what cannot be used.

    With a `shape` (frame, height, width) they are brought to it by the origin's rules; without one they stay as they
    are. `reasons` says why each broken one is.
    """

    paths: Sequence[Path | None]
    origin: Origin
    shape: Sequence[int] | None = None
    reasons: dict[Path, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> np.ndarray | None:  # type: ignore[override]  # one at a time, no slices
        path = self.paths[place]
        if path is None:
            return None
        try:
            return self.read(path)
        except (VideoError, ShapeMismatch, cv2.error) as error:
            self.reasons[path] = f"{path.name}: {error}" if path.name not in str(error) else str(error)
            return BROKEN

    def read(self, path: Path) -> Video:
        """Raises VideoError or ShapeMismatch for a video that cannot be used."""
        video = read_video(path)
        if self.shape is None:
            return video if self.origin.side is None else cut_half(video, self.origin.side)
        if self.origin.side is not None:
            video, _ = split_sides(video, self.origin.side, border="cut")
        return fit_video(self.origin.rule.pick(video), self.shape, resize=self.origin.resize)


def fit_video(video: Video, shape: Sequence[int], *, resize: bool) -> Video:
    """The video at (frame, height, width): averaged where it shrinks, bilinear where it grows. Raises ShapeMismatch."""
    frames, height, width = shape[:3]
    if len(video) != frames:
        raise ShapeMismatch(
            f"it has {len(video)} frames, clips here have {frames}, and which belong together is never guessed; name a "
            f"rule, such as --frames even:{frames} or --frames first:{frames}"
        )
    if video.shape[1:3] == (height, width):
        return video
    if not resize:
        raise ShapeMismatch(
            f"it is {video.shape[2]}×{video.shape[1]}, clips here are {width}×{height}; --resize brings it to that"
        )
    method = cv2.INTER_AREA if height < video.shape[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (width, height), interpolation=method) for frame in video])


def cut_half(video: Video, side: Side) -> Video:
    """The prediction's half of a side-by-side video with whatever border it has, so that protocols may keep it."""
    if video.shape[2] % 2:
        raise ShapeMismatch(f"a side-by-side video is {video.shape[2]} pixels wide: two halves need an even width")
    left, right = np.split(video, 2, axis=2)
    return right if side == "truth-left" else left


def describe_whole(
    dataset: Any,
    suite: Any,
    origin: Origin,
    fold: Fold,
    videos: Mapping[Place, Path],
    *,
    dataset_name: str,
    suite_name: str,
    classes: int,
) -> CellSpec:
    """The spec of a whole set's cell; the names are those that data set and suite were asked for by."""
    return CellSpec(
        dataset=dataset_name,
        suite=suite_name,
        classes=classes,
        data_digest=dataset.digest,
        split=fold.split,
        fold=fold.name,
        method=origin.method,
        method_version=1,
        parameters={**origin.told, "videos": digest_videos(videos)},
        suite_digest=suite.digest,
        seed=0,
        source=SUBMITTED,
        settings=origin.settings,
        rules=describe_rules(),
    )


def digest_videos(videos: Mapping[Place, Path]) -> str:
    """sha256 of the files as they were submitted, by subject and clip."""
    total = hashlib.sha256()
    for (subject, clip), path in sorted(videos.items()):
        for file in sorted(list_images(path)) if path.is_dir() else [path]:
            with file.open("rb") as content:
                total.update(f"{subject} {clip} {hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def put_whole(
    store: Store, dataset: Any, fold: Fold, spec: CellSpec, origin: Origin, videos: Mapping[Place, Path]
) -> Cell:
    """The cell of a whole set, made unless it is there. Raises BenchError where no video of it can be used."""
    trials = describe_trials(dataset, fold.test, spec)
    places = zip(trials["subject"], trials["clip"], strict=True)
    shape = dataset.video(trials["clip"].to_numpy()[:1]).shape[1:]
    brought = Brought([videos.get((int(subject), int(clip))) for subject, clip in places], origin, shape)
    return put_cell(store, spec, trials, brought, phantom=dataset.truth is not None)


def put_cell(store: Store, spec: CellSpec, trials: pd.DataFrame, videos: Brought, *, phantom: bool) -> Cell:
    """The cell of these trials, made unless it is there, and what of it is missing or broken said."""
    cell = store.find(spec.key)
    if cell is None:
        with store.publishing(spec.key) as draft:
            write_predictions(draft, trials, videos)
            counts = draft.manifest["status_counts"]
            if not counts.get("ok"):
                why = next(iter(videos.reasons.values()), "there are none")
                raise BenchError(f"none of the {len(trials)} videos can be used; the first: {why}")
            draft.manifest.update(
                spec=spec.as_dict(),
                variant="base",
                role=role_of(spec.method),
                phantom=phantom,
                sources={},
                reads={},
                parameter_count=0,  # nobody counted them
                phases={},
                provenance=provenance.describe(),
            )
        cell = store.find(spec.key)
    assert cell is not None
    tell_counts(cell, videos)
    return cell


def tell_counts(cell: Cell, videos: Brought) -> None:
    """Say how many clips have no video that can be used, and why the first of them."""
    counts = cell.manifest["status_counts"]
    if missing := counts.get("missing"):
        say(f"{missing} of {cell.manifest['trial_count']} clips have no video: they score the worst and are counted")
    if invalid := counts.get("invalid"):
        other = f"it is of another shape than the first ({cell.manifest['video_shape']})"
        why = next(iter(videos.reasons.values()), other)
        say(f"{invalid} videos are invalid: they score the worst and are counted ({why})")


def refuse_others(store: Store, spec: CellSpec) -> None:
    """Raise BenchError where the store holds other videos of the same method, data and fold: which are meant?"""
    place = ("dataset", "data_digest", "split", "fold", "classes", "method", "suite", "suite_digest", "seed")
    for cell in store.cells():
        held = cell.manifest["spec"]
        if cell.key != spec.key and all(held.get(name) == getattr(spec, name) for name in place):
            raise BenchError(
                f"{store.root / cell.key} holds other videos of {spec.method} on {spec.dataset}, {spec.fold}: give "
                "these another --method, remove that folder, or use another --runs"
            )


def check_shown(dataset: Any, truths: Mapping[int, Path], side: Side | None, clips: np.ndarray) -> None:
    """Raise BenchError where true videos that came along are not those of the clips that their names say.

    `truths` has the true video of each clip, or the side-by-side one; `clips` are all that are tested. The likeliest
    mistake is that all are numbered from another base.
    """
    tested = sorted({int(clip) for clip in clips})
    plain = {clip: transform(see(dataset.video([clip])[0]), PLAIN)[0] for clip in track(tested, "looking at the clips")}
    for clip, path in sorted(truths.items()):
        try:
            video = read_video(path)
            video = video if side is None else split_sides(video, side, border="cut")[1]
        except (VideoError, ShapeMismatch):
            continue  # counted as a broken video elsewhere
        shown = transform(see(video), PLAIN)
        own = compare(plain[clip], shown)
        if own >= ALIKE:
            continue
        other = max(plain, key=lambda one: compare(plain[one], shown))
        if (best := compare(plain[other], shown)) >= max(ALIKE, own + APART):
            raise BenchError(
                f"{path.name} shows the truth of tested clip {tested.index(other)}, and its name says "
                f"{tested.index(clip)} (both counted from 0; likeness {best:.2f} against {own:.2f}): look at --base, "
                "--order and --names"
            )
