"""Protocols: which metrics are computed, and exactly how.

`eeg2video` is the script that the SEED-DV papers were scored with (EEG2Video, `40_class_run_metrics.py`): the judge's
three best classes of the true clip all count as right, N−1 distractors come from the judge's other classes (so "40-way"
is not over the 40 concepts of SEED-DV), six frames, frame metrics averaged over the frames, SSIM as scikit-image
computes it by default. Left out of it on purpose: the random drawing (its exact expectation is taken) and the
rounding of probabilities to half precision before they are ranked (it only makes ties among the least likely classes,
which an unstable sort then broke arbitrarily). PSNR is what the newer script of those authors intends: the mean over
frames.

`corrected` asks what the first one seems to ask: only the judge's best class of the true clip is right, so chance is
1/N, and each accuracy is also given normalised by chance. Pixel metrics are the same.

A metric is a pure function of a `Scored` prediction and a `Scored` target, row by row, so any pairing of rows (the
shuffled floor) is computed by `take` from the same judge outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from metrics import pixel, semantic

Array = npt.NDArray[np.float64]
Judge = Literal["video", "frame"]


class ShapeMismatch(ValueError):
    """Prediction and target cannot be compared; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Clips with what the judges said of them; only what the metrics asked for read needs to be there.

    video: u8 [n, f, h, w, 3]; video_logits: f [n, C]; frame_logits: f [n, f, C], one row a frame.
    """

    video: npt.NDArray[np.uint8] | None = None
    video_logits: npt.NDArray[np.floating] | None = None
    frame_logits: npt.NDArray[np.floating] | None = None

    def take(self, rows: npt.ArrayLike) -> Scored:
        """The clips `rows` (an index array, a mask or a slice), in that order."""
        rows = rows if isinstance(rows, slice) else np.asarray(rows)
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return Scored(**{name: None if part is None else part[rows] for name, part in parts.items()})


Compute = Callable[[Scored, Scored], Array]


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """One metric of a protocol. `compute(prediction, target)` is f64 [n], one value a clip, NaN where logits are NaN.

    `worst` is what a missing, broken or NaN clip scores. `chance` is exact for exchangeable scores, or "measured" by
    the floors. `version` is raised whenever values for the same input change.
    """

    name: str
    version: int
    direction: Literal["higher", "lower"]
    lo: float
    hi: float
    worst: float
    level: Literal["clip"] = "clip"
    judge: Judge | None
    chance: float | Literal["measured"]
    compute: Compute


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A named set of metrics. All `frames` frames of a clip are used, at the size that both videos share."""

    name: str
    summary: str
    frames: int
    metrics: tuple[MetricSpec, ...]

    def __getitem__(self, metric: str) -> MetricSpec:
        """The metric of that name; KeyError names those there are."""
        for spec in self.metrics:
            if spec.name == metric:
                return spec
        names = ", ".join(spec.name for spec in self.metrics)
        raise KeyError(f"protocol {self.name!r} has no metric {metric!r}: it has {names}")

    @property
    def judges(self) -> tuple[Judge, ...]:
        """The judges that its metrics need."""
        return tuple(sorted({spec.judge for spec in self.metrics if spec.judge}))

    def check(self, predicted: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], *, clip: object = "") -> None:
        """Raises ShapeMismatch unless both u8 [..., f, h, w, 3] have the protocol's frames and one common size."""
        which = f"clip {clip}: " if clip != "" else ""
        for side, video in (("prediction", predicted), ("target", target)):
            if video.dtype != np.uint8 or video.ndim < 4 or video.shape[-1] != 3:
                raise ShapeMismatch(
                    f"{which}the {side} is {video.dtype} {list(video.shape)}: "
                    "allowed is uint8 RGB [frame, height, width, 3]"
                )
        if predicted.shape[-4:] != target.shape[-4:]:
            raise ShapeMismatch(
                f"{which}the prediction has {_words(predicted)}, the target {_words(target)}: protocol {self.name!r} "
                f"compares {self.frames} frames at one size; write predictions with the target's frames and size"
            )
        if target.shape[-4] != self.frames:
            raise ShapeMismatch(
                f"{which}prediction and target have {_words(target)}: protocol {self.name!r} uses {self.frames}; "
                f"keep {self.frames} equally spaced frames of each"
            )


def _words(video: npt.NDArray) -> str:
    frames, height, width, _ = video.shape[-4:]
    return f"{frames} frames of {height}×{width} pixels (height×width)"


def video_accuracy(prediction: Scored, target: Scored, *, n_way: int, right: int) -> Array:
    """N-way accuracy of the video judge; the judge's `right` best classes of the true clip are right. f64 [n]."""
    assert prediction.video_logits is not None and target.video_logits is not None, "needs the video judge's logits"
    return _accuracy(prediction.video_logits, target.video_logits, n_way=n_way, right=right)


def frame_accuracy(prediction: Scored, target: Scored, *, n_way: int, right: int) -> Array:
    """The same of the frame judge, each frame against the true frame of its time, the mean over frames. f64 [n]."""
    assert prediction.frame_logits is not None and target.frame_logits is not None, "needs the frame judge's logits"
    n, frames, classes = prediction.frame_logits.shape
    flat = (logits.reshape(-1, classes) for logits in (prediction.frame_logits, target.frame_logits))
    return _accuracy(*flat, n_way=n_way, right=right).reshape(n, frames).mean(axis=1)


def _accuracy(predicted: npt.NDArray, true: npt.NDArray, *, n_way: int, right: int) -> Array:
    targets = semantic.top_classes(true, right)
    accuracy = semantic.n_way_accuracy(predicted, targets, n_way=n_way, top_k=1)
    return np.where(np.isnan(true).any(axis=1), np.nan, accuracy)


def ssim(prediction: Scored, target: Scored) -> Array:
    """`pixel.ssim` of the two videos. f64 [n]."""
    assert prediction.video is not None and target.video is not None, "needs the videos"
    return pixel.ssim(prediction.video, target.video)


def psnr(prediction: Scored, target: Scored) -> Array:
    """`pixel.psnr` of the two videos, dB. f64 [n]."""
    assert prediction.video is not None and target.video is not None, "needs the videos"
    return pixel.psnr(prediction.video, target.video)


def _accuracy_spec(judge: Judge, n_way: int, right: int) -> MetricSpec:
    compute = partial(video_accuracy if judge == "video" else frame_accuracy, n_way=n_way, right=right)
    return MetricSpec(
        name=f"{judge}_{n_way}way",
        version=1,
        direction="higher",
        lo=0.0,
        hi=1.0,
        worst=0.0,
        judge=judge,
        chance=semantic.chance(n_way, targets_per_clip=right),
        compute=compute,
    )


def _normalised(spec: MetricSpec) -> MetricSpec:
    """The same accuracy as (accuracy − chance) / (1 − chance)."""
    assert spec.chance != "measured", "only an exact chance level normalises"
    level = spec.chance
    worst = float(semantic.normalise_by_chance(0.0, level))
    return MetricSpec(
        name=f"{spec.name}_normalised",
        version=spec.version,
        direction="higher",
        lo=worst,
        hi=1.0,
        worst=worst,
        judge=spec.judge,
        chance=0.0,
        compute=lambda prediction, target: semantic.normalise_by_chance(spec.compute(prediction, target), level),
    )


SSIM = MetricSpec(
    name="ssim", version=1, direction="higher", lo=-1.0, hi=1.0, worst=-1.0, judge=None, chance="measured", compute=ssim
)
PSNR = MetricSpec(
    name="psnr",
    version=1,
    direction="higher",
    lo=0.0,
    hi=pixel.PSNR_CAP,
    worst=0.0,
    judge=None,
    chance="measured",
    compute=psnr,
)

_PAIRS: tuple[tuple[Judge, int], ...] = (("video", 2), ("video", 40), ("frame", 2), ("frame", 40))
_TOP_THREE = tuple(_accuracy_spec(judge, n_way, right=3) for judge, n_way in _PAIRS)
_TOP_ONE = tuple(_accuracy_spec(judge, n_way, right=1) for judge, n_way in _PAIRS)

EEG2VIDEO = Protocol(
    name="eeg2video",
    summary="the SEED-DV papers' script: the judge's three best classes of the true clip count as right, six frames",
    frames=6,
    metrics=(*_TOP_THREE, SSIM, PSNR),
)
CORRECTED = Protocol(
    name="corrected",
    summary="only the judge's best class of the true clip is right; raw and normalised by chance; six frames",
    frames=6,
    metrics=(*_TOP_ONE, *(_normalised(spec) for spec in _TOP_ONE), SSIM, PSNR),
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (EEG2VIDEO, CORRECTED)}
