"""Scoring: every metric of a protocol for every clip of a cell, and the same for the cell's own shuffled brain.

`shuffled_brain` is the floor that a method brings itself: its reconstructions, paired with the clips of other trials
of the same subject. A reconstruction depends on its own trial and seed alone, so permuting the brain trials is
permuting the predictions: no second generation is needed, and the score is averaged over several permutations.

A floor that answers as well as can be known (`bench.scoring.answers`) is scored by another answer under each metric.

One subject is in memory at a time: its predictions, the true clips, and what the judges say of both.
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
from bench.scoring.views import Viewer, Views, make_galleries
from bench.store.cells import Cell, Store
from metrics.specs import Scored


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
    subjects = trials["subject"].to_numpy()
    parts: dict[str, list[pd.DataFrame]] = {key: [] for _, _, key in wanted}
    for subject in np.unique(subjects):
        rows = np.flatnonzero(subjects == subject)
        status = trials["status"].to_numpy()[rows]
        there = np.flatnonzero(status == "ok")
        video = cell.read(rows[there])
        seen = viewer.compare(views, viewer.look(views, video), galleries)
        prediction = Scored(video=video, views=seen)
        pairings = [np.arange(len(rows)), *permute(len(rows), int(subject))]
        computed: dict[int, pd.DataFrame] = {}  # protocols share metrics
        for _, metric, key in wanted:
            if id(metric) not in computed:
                told, at = prediction, there
                if answers is not None and chooses(metric) and not metric.refuses(shape):
                    told, at = answers.give(metric, clips[place[rows]], galleries), np.arange(len(rows))
                values = score_pairings(metric, told, target, place[rows], at, pairings)
                computed[id(metric)] = describe_scores(trials.iloc[rows], metric, values)
            parts[key].append(computed[id(metric)])
    for protocol, metric, key in wanted:
        cell.add_scores(key, pd.concat(parts[key], ignore_index=True).assign(protocol=protocol, metric=metric.name))


@functools.cache
def make_viewer(judges: Any, concepts: tuple[str, ...]) -> Viewer:
    """One viewer a process: it reads the concepts' names once."""
    return Viewer(judges, concepts)


def show_targets(clips: np.ndarray, dataset: Dataset, viewer: Viewer, views: set[str]) -> tuple[Scored, Views]:
    """The true clips with the judges' views of them, and the summaries of each that metrics retrieve clips by."""
    video = dataset.video(clips)
    seen = viewer.look_once(views, video)
    galleries = make_galleries(views, seen)
    concepts = dataset.stimuli.to_pandas().set_index("clip")["concept"] if "concept" in views else None
    target = Scored(
        video=video,
        views=viewer.compare(views, seen, galleries),
        concept=None if concepts is None else concepts.loc[clips].to_numpy(np.int64),
        clip=np.arange(len(clips)),
    )
    return target, galleries
