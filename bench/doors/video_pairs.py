"""Predicted and true videos that others made, found in folders and brought to what a protocol compares.

Two folders whose videos carry the same names; one folder in which true videos are named after their predictions
(`--target-name gt_{}`); one folder of side-by-side videos, truth and prediction in one picture; or predictions alone,
for the metrics that need no truth. A name that no target has is refused, because it is most likely a misnamed clip.

Which frames are compared is never guessed: unless a rule is named, prediction and truth must have the same number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from bench.core.errors import BenchError
from bench.core.progress import say
from bench.store.video import VideoError, find_videos, read_video
from metrics.protocols import Protocol, ShapeMismatch

Video = UInt8[np.ndarray, "frame height width 3"]
Side = Literal["truth-left", "truth-right"]
SIDES = ("truth-left", "truth-right")
GRID = 2  # pixels around and between the pictures of torchvision's `make_grid`
DARK = 24  # a palette's black may be this bright


class BrokenTruth(BenchError):
    """A true video that cannot be read, or is shorter than the frame rule asks."""


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """Which frames of a video are compared: all ("same"), the first `count`, or `count` equally spaced ones."""

    kind: Literal["same", "first", "even"] = "same"
    count: int = 0

    def pick(self, video: Video) -> Video:
        """Raises ShapeMismatch where the video is shorter than the rule asks."""
        if self.kind == "same":
            return video
        if len(video) < self.count:
            raise ShapeMismatch(f"it has {len(video)} frames, the rule {self.kind}:{self.count} needs more")
        if self.kind == "first":
            return video[: self.count]
        return video[np.linspace(0, len(video) - 1, self.count).round().astype(int)]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One clip: its name, the prediction and the truth (None where it is not there), and its status."""

    name: str
    prediction: Video | None
    target: Video | None
    status: str  # ok, missing or invalid
    why: str = ""
    broken_truth: bool = False  # whether it is the true video that cannot be used


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Where the videos of each clip lie, and how they are read."""

    predictions: dict[str, Path]
    targets: dict[str, Path] | None  # None: side by side, or no truth at all
    side: Side | None = None
    rule: FrameRule = FrameRule()

    @property
    def names(self) -> list[str]:
        return list(self.predictions if self.targets is None else self.targets)

    @property
    def has_truth(self) -> bool:
        return self.targets is not None or self.side is not None

    def read(self, protocol: Protocol) -> Iterator[Pair]:
        """Each clip in turn, one decoded at a time."""
        for name in self.names:
            yield self.read_one(name, protocol)

    def read_one(self, name: str, protocol: Protocol) -> Pair:
        """The clip's videos, or why they cannot be compared: that costs this clip and no other."""
        if name not in self.predictions:
            return Pair(name=name, prediction=None, target=None, status="missing", why="no such file")
        try:
            prediction, target = self.read_sides(name, protocol)
            prediction = self.rule.pick(prediction)
            if target is not None:
                target = self.rule.pick(target)
                protocol.check(prediction, target, clip=name)
                if target.shape != prediction.shape:  # the protocol resizes the truth
                    size = prediction.shape[2], prediction.shape[1]
                    target = np.stack([cv2.resize(frame, size) for frame in target])
        except BrokenTruth as error:
            return Pair(name=name, prediction=None, target=None, status="invalid", why=str(error), broken_truth=True)
        except (VideoError, ShapeMismatch, cv2.error) as error:
            return Pair(name=name, prediction=None, target=None, status="invalid", why=str(error))
        return Pair(name=name, prediction=prediction, target=target, status="ok")

    def read_sides(self, name: str, protocol: Protocol) -> tuple[Video, Video | None]:
        """Prediction and truth (None where there is none). Raises VideoError, and BrokenTruth for a true video."""
        path = self.predictions[name]
        if self.side is not None:
            return split_sides(read_video(path), self.side, border=protocol.border)
        if self.targets is None:
            return read_video(path), None
        try:
            target = read_video(self.targets[name])
            self.rule.pick(target)
        except (VideoError, ShapeMismatch) as error:
            raise BrokenTruth(f"the true video: {error}") from error
        return read_video(path), target


def parse_rule(text: str) -> FrameRule:
    """`same`, `first:6` or `even:6`; BenchError for anything else."""
    if text == "same":
        return FrameRule()
    found = re.fullmatch(r"(first|even):([1-9][0-9]{0,5})", text)
    if found is None:
        raise BenchError(f"--frames {text!r}: allowed are same, first:N and even:N, such as even:6")
    return FrameRule(kind="first" if found[1] == "first" else "even", count=int(found[2]))


def find_pairs(
    predictions: Path,
    targets: Path | None,
    *,
    target_name: str = "{}",
    side: Side | None = None,
    rule: FrameRule | None = None,
) -> Pairs:
    """The clips of the folders by name; raises BenchError for folders without videos and names without a partner."""
    rule = rule or FrameRule()
    given = find_videos(predictions)
    if not given:
        raise BenchError(f"{predictions} holds no videos; name the folder of predictions (mp4, gif, webm, npy, frames)")
    if side is not None:
        if targets is not None:
            raise BenchError(f"--side-by-side {side} reads the truth from the same video: leave --targets away")
        return Pairs(predictions=given, targets=None, side=side, rule=rule)
    if targets is None:
        return Pairs(predictions=given, targets=None, rule=rule)
    if target_name.count("{}") != 1:
        raise BenchError(f"target name {target_name!r}: it needs {{}} once, for the clip's name, such as gt_{{}}")
    before, after = unicodedata.normalize("NFC", target_name).split("{}")
    pattern = re.compile(re.escape(before) + "(.+)" + re.escape(after))
    found = find_videos(targets)
    expected = {match[1]: path for name, path in found.items() if (match := pattern.fullmatch(name))}
    if not expected:
        raise BenchError(f"{targets} holds no videos named {target_name!r}; name the folder of true clips")
    if predictions.resolve() == targets.resolve() and target_name != "{}":
        given = {name: path for name, path in given.items() if not pattern.fullmatch(name)}
    extra = sorted(set(given) - set(expected))
    if extra:
        raise BenchError(
            f"{predictions} holds {len(extra)} videos that no target is named after: {', '.join(extra[:5])}; "
            f"rename or remove them (targets are named like {next(iter(found.values())).stem!r})"
        )
    return Pairs(predictions=given, targets=expected, rule=rule)


def split_sides(video: Video, side: Side, *, border: str) -> tuple[Video, Video]:
    """Prediction and truth of a side-by-side video; with border "cut", without the dark grid between and around them.

    A grid of two pictures is (2 + width + 2 + width + 2) wide. Cut in the middle, as the scripts do, the left picture
    begins in column 2 of its half and the right one in column 1: its content is shifted by one pixel.
    """
    width = video.shape[2]
    if width % 2:
        raise ShapeMismatch(f"a side-by-side video is {width} pixels wide: two halves need an even width")
    left, right = video[:, :, : width // 2], video[:, :, width // 2 :]
    if border == "cut" and is_grid(video):
        left, right = left[:, GRID:-GRID, GRID : 1 - GRID], right[:, GRID:-GRID, GRID - 1 : -GRID]
    return (right, left) if side == "truth-left" else (left, right)


def is_grid(video: Video) -> bool:
    """Whether two dark lines run around both pictures and between them."""
    middle = video.shape[2] // 2
    lines = [video[:, :GRID], video[:, -GRID:], video[:, :, :GRID], video[:, :, -GRID:]]
    lines.append(video[:, :, middle - 1 : middle + 1])
    return all(int(np.median(line)) <= DARK and np.quantile(line, 0.99) <= DARK for line in lines)


def report(pairs: list[Pair]) -> None:
    """Say on standard error how many clips could not be scored, and why the first of them."""
    for bad in ("missing", "invalid"):
        reasons = [pair.why for pair in pairs if pair.status == bad and not pair.broken_truth]
        if reasons:
            say(f"{len(reasons)} clips {bad}: they score the worst value of each metric ({reasons[0]})")
    if broken := [pair for pair in pairs if pair.broken_truth]:
        named = ", ".join(pair.name for pair in broken[:5])
        say(
            f"{len(broken)} clips invalid, because their true videos cannot be used: {named}; they score the worst "
            f"value until those are mended ({broken[0].why})"
        )
