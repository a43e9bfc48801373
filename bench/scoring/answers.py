"""The best answers without a brain: under each metric those that would have scored best on the clips that are known.

A floor whose class says `answers` shows a clip for each trial, as any method does, and is held to more: under each
metric that tells how near a clip is to its truth, it scores what someone would who knows the metric and the training
and validation clips, and nothing of the brain or of the test clips. Its own videos are scored by the other metrics.

- "constant": one answer for all trials, the one with the best mean over the known clips;
- "position": an answer for each place in the block (`bench.scoring.best_answer`).

What can be answered: the training clips, their mean (plain, and blurred up to half a frame), and middle grey. No clip
is scored against itself. Where a pair costs a pass over pixels, `FEW` training clips stand for all, at most `COMPARED`
known clips choose, and the place is not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, cast

import numpy as np
from jaxtyping import Int64, UInt8

from bench.core.contracts import Dataset
from bench.core.registry import role_of
from bench.core.splits import make_folds, show_places
from bench.scoring.best_answer import Counts, Values, choose_by_place, choose_constant, smooth, tune
from bench.scoring.score_pairings import clips_at_once
from bench.scoring.views import TOO_LARGE, Viewer, Views, make_galleries
from bench.store.cells import Cell
from bench.toolbox.average import BLURS, average_clips, blur_clip
from bench.toolbox.rows import Chosen, Clips, Joined, collect_all, hold, walk
from metrics.specs import MetricSpec, Scored

MOST = 1500  # training clips, and as many validation clips, that are looked at: evenly spread
FEW = 16  # training clips among the answers where a pair costs pixels
COMPARED = 48  # known clips that they are compared with: of validation, and of training where those are too few
CHUNK = 64  # clips judged at once
GREY = 128  # the middle of 0..255


Video = UInt8[np.ndarray, "n f h w 3"]


def answers_of(cell: Cell) -> str:
    """How the answers of a floor are chosen, "constant" or "position"; empty of any other cell, whatever it says."""
    if cell.manifest.get("role") != "control" or role_of(cell.manifest["spec"]["method"]) != "control":
        return ""
    return str(cell.manifest.get("answers", ""))


def chooses(metric: MetricSpec) -> bool:
    """Whether there is a best answer: where a metric tells how near one clip is to its truth."""
    return metric.paired and metric.level == "clip"


def costs_pixels(metric: MetricSpec) -> bool:
    return metric.pixels or bool(set(metric.views) & set(TOO_LARGE))


class Answers:
    """What a floor can answer to the clips of its fold, and how well each answer did where the truth is known."""

    def __init__(self, cell: Cell, dataset: Dataset, viewer: Viewer, metrics: Iterable[MetricSpec]) -> None:
        self.kind, self.dataset, self.viewer = answers_of(cell), dataset, viewer
        spec = cell.manifest["spec"]
        folds = make_folds(dataset, spec["split"], classes=spec["classes"])
        (fold,) = [one for one in folds if one.name == spec["fold"]]
        shown = np.asarray(dataset.trials["clip"], dtype=np.int64)
        self.train, self.validation = (thin(np.unique(shown[part]), MOST) for part in (fold.train, fold.validation))
        self.known = np.concatenate([self.train, self.validation])
        self.places = show_places(dataset)
        stimuli = dataset.stimuli.to_pandas().set_index("clip")
        self.concept = stimuli["concept"].loc[self.known].to_numpy(np.int64) if "concept" in stimuli else None
        self.drawn = self.draw(self.train)
        judged = [metric for metric in metrics if chooses(metric) and not costs_pixels(metric)]
        self.views = {view for metric in judged for view in metric.views}
        self.of_drawn = viewer.look(self.views, self.drawn)
        self.of_known = self.look(self.known)

    def give(self, metric: MetricSpec, clips: Int64[np.ndarray, " trial"], galleries: Views) -> Scored:
        """The answers to the trials that showed these clips, of which only the places are looked at.

        `galleries` summarise the true clips that views compare with (`bench.scoring.views.GALLERIES`).
        """
        if costs_pixels(metric):
            best = choose_constant(*self.compare_pixels(metric))
            shown = self.show(Joined([self.drawn, Clips(self.dataset, self.few)])[best : best + 1], metric)
            same = np.zeros(len(clips), np.int64)
            views: Any = {view: Chosen(seen, same) for view, seen in shown.views.items()}
            return Scored(video=cast(Any, Chosen(shown.video, same)), views=views)
        chosen = self.choose(metric, clips)
        return Scored(views=self.viewer.compare(metric.views, self.answer(chosen), galleries))

    def choose(self, metric: MetricSpec, clips: Int64[np.ndarray, " trial"]) -> Int64[np.ndarray, " trial"]:
        """The number of each trial's answer: the drawn ones come first, then the training clips."""
        drawn, seen = len(self.drawn), self.of_known
        galleries = make_galleries(metric.views, seen)
        everything = self.answer(np.arange(drawn + len(self.train)))
        prediction = Scored(views=self.viewer.compare(metric.views, everything, galleries))
        target = Scored(
            views=self.viewer.compare(metric.views, seen, galleries),
            concept=self.concept,
            clip=np.arange(len(self.known)),
        )
        values = measure(metric, prediction, target)
        counts = np.ones(values.shape, bool)
        counts[drawn + np.arange(len(self.train)), np.arange(len(self.train))] = False
        if self.kind == "constant":
            return np.full(len(clips), choose_constant(values, counts))
        places, asked = (self.places.loc[some] for some in (self.known, clips))
        blocks = places["block"].to_numpy(np.int64)
        block_of = np.concatenate([np.full(drawn, -1), blocks[: len(self.train)]])
        slots = places["slot"].to_numpy(np.int64)
        concept = self.known  # without concepts each clip is one of its own
        if self.concept is not None and len(np.unique(self.concept)) > 1:
            concept = self.concept
        bandwidth, prior = tune(values, counts, slots, blocks, block_of, concept)
        values, counts = smooth(values, counts, concept)
        return choose_by_place(values, counts, slots, asked["slot"].to_numpy(np.int64), bandwidth)[prior]

    @cached_property
    def few(self) -> Int64[np.ndarray, " clip"]:
        """The training clips among the answers where a pair costs pixels."""
        return thin(self.train, FEW)

    @cached_property
    def compared(self) -> Int64[np.ndarray, " clip"]:
        """The known clips that these answers are compared with."""
        some = thin(self.validation, COMPARED)
        return np.concatenate([some, thin(self.train, min(COMPARED - len(some), len(self.train) // 2))])

    @cached_property
    def pictures(self) -> tuple[Video, Video]:
        """The answers where a pair costs pixels, means being of training clips that are not compared; and the truth."""
        drawn = self.draw(np.setdiff1d(self.train, self.compared))
        return hold(Joined([drawn, Clips(self.dataset, self.few)])), hold(Clips(self.dataset, self.compared))

    def compare_pixels(self, metric: MetricSpec) -> tuple[Values, Counts]:
        """What each of the few answers scores on each clip that it is compared with."""
        answers, truth = self.pictures
        values = measure(metric, self.show(answers, metric), self.show(truth, metric))
        own = np.concatenate([np.full(len(self.drawn), -1), self.few])
        return values, own[:, None] != self.compared

    def show(self, video: Video, metric: MetricSpec) -> Scored:
        """Clips with their pixels, and the judges' views that the metric reads beside them."""
        return Scored(video=video, views=self.viewer.look(metric.views, video))

    def draw(self, clips: Int64[np.ndarray, " clip"]) -> Video:
        """What no clip shows: the mean of some clips with each blur, and grey."""
        mean = average_clips(clip for video in self.read(clips) for clip in video)
        return np.stack([*(blur_clip(mean, blur) for blur in BLURS), np.full(mean.shape, GREY, np.uint8)])

    def answer(self, chosen: Int64[np.ndarray, " n"]) -> Views:
        """The judges' views of answers by number."""
        joined = {}
        for view in self.of_drawn:
            both = np.concatenate([self.of_drawn[view], self.of_known[view][: len(self.train)]])
            joined[view] = both[chosen]
        return joined

    def look(self, clips: Int64[np.ndarray, " clip"]) -> Views:
        """The judges' views of true clips, kept in the cache."""
        if not self.views:
            return {}
        return collect_all((self.viewer.look_once(self.views, video) for video in self.read(clips)), len(clips))

    def read(self, clips: Int64[np.ndarray, " clip"]) -> Iterator[Video]:
        return walk(Clips(self.dataset, clips), most=CHUNK)


def measure(metric: MetricSpec, prediction: Scored, target: Scored) -> Values:
    """What every prediction scores on every target, higher being better; the worst value where a metric gives none."""
    if metric.across is not None:
        values = metric.across(prediction, target)
    else:
        values = np.empty((count(prediction), count(target)))
        step = clips_at_once(target, most=count(target))
        for start in range(0, count(target), step):
            known = target.take(np.arange(start, min(start + step, count(target))))
            for answer in range(count(prediction)):
                same = prediction.take([answer]).take(np.zeros(count(known), np.int64))
                values[answer, start : start + step] = metric.compute(same, known)
    values = np.where(np.isfinite(values), values, metric.worst)
    return values if metric.direction == "higher" else -values


def count(scored: Scored) -> int:
    return len(scored.video) if scored.video is not None else len(next(iter(scored.views.values())))


def thin(clips: Int64[np.ndarray, " clip"], most: int) -> Int64[np.ndarray, " clip"]:
    """At most so many of the clips, evenly spread."""
    return clips[np.unique(np.linspace(0, len(clips) - 1, min(len(clips), most)).round().astype(np.int64))]
