"""Scoring: every metric of a protocol for every clip of a cell, and the same for the cell's own shuffled brain.

`shuffled_brain` is the floor that a method brings itself: its reconstructions, paired with the clips of other trials
of the same subject. A reconstruction depends on its own trial and seed alone, so permuting the brain trials is
permuting the predictions: no second generation is needed, and the score is averaged over several permutations.

A floor that answers as well as can be known (`bench.scoring.answers`) is scored by another answer under each metric.

Few clips are in memory at a time: videos, and what the judges say of each frame, are read where they are compared
(`bench.toolbox.rows`), unless all of a subject's are small.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd

from bench.core.contracts import Dataset
from bench.core.progress import say
from bench.core.seeds import permute
from bench.scoring.answers import Answers, answers_of, chooses
from bench.scoring.embeddings import score_embeddings
from bench.scoring.score_pairings import describe_scores, score_pairings
from bench.scoring.stored import list_scores
from bench.scoring.views import TOO_LARGE, Viewer, Views, make_galleries
from bench.store.cells import Cell, Store
from bench.toolbox.rows import Clips, Made, hold, is_small
from metrics.specs import MetricSpec, Scored


def score_cell(cell: Cell, store: Store, dataset: Dataset, suite: Any, *, protocols: tuple[str, ...]) -> None:
    """Score what is not scored yet. A missing or broken clip scores the metric's worst value and keeps its row."""
    viewer = make_viewer(suite.judges, dataset.concepts)
    wanted = [one for one in list_scores(cell, viewer, protocols) if cell.scores(one[2]) is None]
    if not wanted:
        return
    if not cell.shows_videos:
        score_embeddings(cell, wanted, dataset, suite)
        return
    shape = cell.manifest["video_shape"]
    views = {view for _, metric, _ in wanted if not metric.refuses(shape) for view in metric.views}
    for reason in dict.fromkeys(metric.refuses(shape) for _, metric, _ in wanted):
        if reason and min(shape) > 0:
            say(f"cell {cell.key}: {reason}: its clips are invalid and score the worst value")
    trials = cell.trials()
    clips, place = np.unique(trials["clip"].to_numpy(), return_inverse=True)
    target, galleries = show_targets(clips, dataset, viewer, views)
    metrics = [metric for _, metric, _ in wanted if not metric.refuses(shape)]
    answers = Answers(cell, dataset, viewer, metrics) if answers_of(cell) else None

    def answered(metric: MetricSpec) -> bool:
        return answers is not None and chooses(metric) and not metric.refuses(shape)

    different = list({id(metric): metric for _, metric, _ in wanted}.values())
    subjects = trials["subject"].to_numpy()
    parts: dict[str, list[pd.DataFrame]] = {key: [] for _, _, key in wanted}
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        status = trials["status"].to_numpy()[rows]
        there = np.flatnonzero(status == "ok")
        prediction = show_predictions(cell, rows[there], viewer, views, galleries)
        pairings = [np.arange(len(rows)), *permute(len(rows), int(subject))]
        computed: dict[int, pd.DataFrame] = {}  # protocols share metrics
        plain = [metric for metric in different if not answered(metric)]
        scored = score_pairings(plain, prediction, target, place[rows], there, pairings)
        for metric, values in zip(plain, scored, strict=True):
            computed[id(metric)] = describe_scores(trials.iloc[rows], metric, values)
        for metric in different:
            if answers is not None and answered(metric):
                told = answers.give(metric, clips[place[rows]], galleries)
                (values,) = score_pairings([metric], told, target, place[rows], np.arange(len(rows)), pairings)
                computed[id(metric)] = describe_scores(trials.iloc[rows], metric, values)
        for _, metric, key in wanted:
            parts[key].append(computed[id(metric)])
    for protocol, metric, key in wanted:
        cell.add_scores(key, pd.concat(parts[key], ignore_index=True).assign(protocol=protocol, metric=metric.name))


def show_predictions(cell: Cell, rows: np.ndarray, viewer: Viewer, views: set[str], galleries: Views) -> Scored:
    """The predictions in these rows of the cell's table, which have a video, with the judges' views of them."""
    video = hold(Made(lambda some: cell.read(rows[some]), (len(rows), *cell.manifest["video_shape"]), np.uint8))
    seen = viewer.look(views - set(TOO_LARGE), video) | look_at_flow(viewer, views, video)
    return Scored(video=video, views=viewer.compare(views, seen, galleries))


def look_at_flow(viewer: Viewer, views: set[str], video: Any) -> Views:
    """Views that are larger than the videos: seen as the videos are held, or when a metric reads them."""
    seen: Views = {}
    for view in sorted(views & set(TOO_LARGE)):
        first = viewer.look([view], video[:1])[view]

        def look(rows: np.ndarray, view: str = view) -> np.ndarray:
            return viewer.look([view], video[rows])[view]

        flow: Any = Made(look, (len(video), *first.shape[1:]), first.dtype)
        seen[view] = viewer.look([view], video)[view] if is_small(flow) else flow
    return seen


@functools.cache
def make_viewer(judges: Any, concepts: tuple[str, ...]) -> Viewer:
    """One viewer a process: it reads the concepts' names once."""
    return Viewer(judges, concepts)


def show_targets(clips: np.ndarray, dataset: Dataset, viewer: Viewer, views: set[str]) -> tuple[Scored, Views]:
    """The true clips with the judges' views of them, and the summaries of each that metrics retrieve clips by."""
    video = hold(Clips(dataset, clips))
    seen = viewer.look_once(views - set(TOO_LARGE), video) | look_at_flow(viewer, views, video)
    galleries = make_galleries(views, seen)
    concepts = dataset.stimuli.to_pandas().set_index("clip")["concept"] if "concept" in views else None
    target = Scored(
        video=video,
        views=viewer.compare(views, seen, galleries),
        concept=None if concepts is None else concepts.loc[clips].to_numpy(np.int64),
        clip=np.arange(len(clips)),
    )
    return target, galleries
