"""Scores that are stored: which a cell should have, which it lacks, and the rows of those that are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.core.spec import digest, precision_of
from bench.core.splits import make_folds
from bench.scoring.answers import answers_of
from bench.scoring.flags import read_flags
from bench.scoring.identity import identify_score
from bench.scoring.lookup import find_protocol
from bench.scoring.views import BEHIND, Viewer
from bench.store.cells import Cell, Store
from bench.store.provenance import list_differences
from bench.store.reads import list_changed
from metrics.embedding import EMBEDDING
from metrics.specs import MetricSpec

if TYPE_CHECKING:
    from bench.core.job import Job

Wanted = tuple[str, MetricSpec, str]  # protocol, metric, key of its scores


def list_scores(cell: Cell, viewer: Viewer, protocols: Sequence[str]) -> Iterator[Wanted]:
    """The scores that a cell should have: of each metric that this suite and data set can be asked for."""
    embedding = None if cell.shows_videos else cell.manifest["embedding"]
    scored = cell.manifest["prediction_digest"]
    if embedding is not None:  # what it is compared with is made by the suite of the clips
        spec = cell.manifest["spec"]
        judge = BEHIND.get(embedding["space"])
        scored = digest([scored, spec["data_digest"], viewer.judges.digest(judge) if judge else spec["suite_digest"]])
    if answers_of(cell):  # chosen on the known clips of its data and split, which its key tells
        scored = digest([scored, cell.key])
    for name in protocols:
        protocol = find_protocol(name)
        if (protocol.name == EMBEDDING.name) != (embedding is not None):
            continue
        for metric in protocol.metrics:
            if not viewer.missing(metric) and not (embedding and too_few(metric, embedding["concepts"])):
                yield protocol.name, metric, identify_score(scored, protocol, metric, viewer).key


def too_few(metric: MetricSpec, concepts: int) -> bool:
    """Whether the metric chooses among more concepts than the test clips have."""
    return isinstance(metric.chance, float) and round(1 / metric.chance) > concepts


def unfinished(jobs: Sequence[Job], store: Store, viewer: Viewer) -> list[Job]:
    """The jobs whose cell is not in the store or lacks a score."""
    todo = []
    for job in jobs:
        cell = store.find(job.spec.key)
        if cell is None or not all(cell.has_scores(key) for _, _, key in list_scores(cell, viewer, job.protocols)):
            todo.append(job)
    return todo


def read_scores(cells: Iterable[Cell], viewer: Viewer, protocols: Sequence[str]) -> pd.DataFrame:
    """Score rows of the cells; scores that are not there are left out.

    Columns: cell, method, variant, role, dataset, split, fold, classes, suite, seed, parameters, phantom, precision,
    dirty, flags, and those of `bench.scoring.score_cell.describe_scores` with protocol and metric. Raises DamagedStore
    where some are there and damaged.
    """
    cells = list(cells)
    if not cells:
        return pd.DataFrame()
    with cells[0].store.reading():
        return join_rows(read_rows(cell, viewer, protocols) for cell in cells)


def compare_makings(cells: Sequence[Cell], viewer: Viewer, protocols: Sequence[str]) -> list[str]:
    """In what the cells, and their scores, were not made alike, and what they read that has changed since."""
    scored = (
        (metric.name, cell.how_scored(key)) for cell in cells for _, metric, key in list_scores(cell, viewer, protocols)
    )
    return [
        *list_differences((cell.manifest["spec"]["method"], cell.manifest.get("provenance", {})) for cell in cells),
        *list_differences(scored, doing="scored"),
        *list_changed((cell.manifest["spec"]["method"], cell.manifest.get("reads", {})) for cell in cells),
    ]


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
        "precision": precision_of(spec),
        "dirty": bool(cell.manifest.get("provenance", {}).get("dirty")),
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
