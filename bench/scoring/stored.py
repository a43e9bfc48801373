"""Scores that are stored: which a cell should have, which it lacks, and the rows of those that are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.core.registry import digest_source
from bench.core.spec import ScoreSpec, digest
from bench.core.splits import make_folds
from bench.scoring.flags import read_flags
from bench.scoring.lookup import find_protocol
from bench.scoring.views import Viewer
from bench.store.cells import Cell, Store
from metrics.specs import MetricSpec

if TYPE_CHECKING:
    from bench.core.job import Job

Wanted = tuple[str, MetricSpec, str]  # protocol, metric, key of its scores


def list_scores(cell: Cell, viewer: Viewer, protocols: Sequence[str]) -> Iterator[Wanted]:
    """The scores that a cell should have: of each metric that this suite and data set can be asked for.

    Of a protocol in a file, whose metrics nobody versions while trying them out, the key also holds the file's content.
    """
    for name in protocols:
        rules, source = find_protocol(name), digest_source("protocols", name)
        for metric in rules.metrics:
            if viewer.missing(metric):
                continue
            spec = ScoreSpec(
                prediction_digest=cell.manifest["prediction_digest"],
                protocol=rules.name,
                metric=metric.name,
                metric_version=metric.version,
                judge_digest=digest([viewer.digest(metric), source]) if source else viewer.digest(metric),
            )
            yield rules.name, metric, spec.key


def unfinished(jobs: Sequence[Job], store: Store, viewer: Viewer) -> list[Job]:
    """The jobs whose cell is not in the store or lacks a score."""
    todo = []
    for job in jobs:
        cell = store.find(job.spec.key)
        if cell is None or not all(cell.has_scores(key) for _, _, key in list_scores(cell, viewer, job.protocols)):
            todo.append(job)
    return todo


def read_scores(store: Store, keys: Sequence[str], viewer: Viewer, protocols: Sequence[str]) -> pd.DataFrame:
    """Score rows of the cells with these keys; cells and scores that are not there are left out.

    Columns: method, variant, role, dataset, split, fold, classes, suite, seed, parameters, phantom, flags, and those of
    `bench.scoring.score_cell.describe_scores` with protocol and metric.
    """
    cells = [cell for key in keys if (cell := store.find(key)) is not None]
    return join_rows(read_rows(cell, viewer, protocols) for cell in cells)


def read_rows(cell: Cell, viewer: Viewer, protocols: Sequence[str]) -> pd.DataFrame | None:
    """Score rows of one cell, each with what its manifest says of it; None where it has no scores yet."""
    scores = [cell.scores(key) for _, _, key in list_scores(cell, viewer, protocols)]
    tables = [table for table in scores if table is not None]
    if not tables:
        return None
    spec = cell.manifest["spec"]
    about = {
        "cell": cell.key,
        **{name: spec[name] for name in ("method", "dataset", "split", "fold", "classes", "suite", "seed")},
        "variant": cell.manifest["variant"],
        "role": cell.manifest["role"],
        "parameters": cell.manifest["parameter_count"],
        "phantom": cell.manifest["phantom"],
        "flags": ", ".join(read_flags(cell)),
    }
    return pd.concat(tables, ignore_index=True).assign(**about)


def join_rows(parts: Iterable[pd.DataFrame | None]) -> pd.DataFrame:
    """The tables that are there as one; empty where there are none."""
    tables = [part for part in parts if part is not None]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def count_folds(scores: pd.DataFrame, dataset: Any) -> pd.DataFrame:
    """Score rows of one data set with the column `folds`: how many folds their split has, run or not."""
    if scores.empty:
        return scores
    counts = {
        (split, classes): len(make_folds(dataset, split, classes=int(classes)))
        for split, classes in scores[["split", "classes"]].drop_duplicates().itertuples(index=False)
    }
    return scores.assign(folds=[counts[one] for one in zip(scores["split"], scores["classes"], strict=True)])
