"""Scores that are stored: which a cell should have, which it lacks, and the rows of those that are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from bench.core.registry import digest_source
from bench.core.spec import ScoreSpec, digest
from bench.scoring.lookup import find_protocol
from bench.scoring.views import Jury
from bench.store.cells import Cell, Store
from metrics.specs import MetricSpec

if TYPE_CHECKING:
    from bench.core.job import Job

Wanted = tuple[str, MetricSpec, str]  # protocol, metric, key of its scores


def list_scores(cell: Cell, jury: Jury, protocols: Sequence[str]) -> Iterator[Wanted]:
    """The scores that a cell should have: of each metric that this suite and data set can be asked for.

    Of a protocol in a file, whose metrics nobody versions while trying them out, the key also holds the file's content.
    """
    for name in protocols:
        rules, source = find_protocol(name), digest_source("protocols", name)
        for metric in rules.metrics:
            if jury.missing(metric):
                continue
            spec = ScoreSpec(
                prediction_digest=cell.manifest["prediction_digest"],
                protocol=rules.name,
                metric=metric.name,
                metric_version=metric.version,
                judge_digest=digest([jury.digest(metric), source]) if source else jury.digest(metric),
            )
            yield rules.name, metric, spec.key


def unfinished(jobs: Sequence[Job], store: Store, jury: Jury) -> list[Job]:
    """The jobs whose cell is not in the store or lacks a score."""
    todo = []
    for job in jobs:
        cell = store.find(job.spec.key)
        if cell is None or not all(cell.has_scores(key) for _, _, key in list_scores(cell, jury, job.protocols)):
            todo.append(job)
    return todo


def read_scores(store: Store, keys: list[str], jury: Jury, protocols: tuple[str, ...]) -> pd.DataFrame:
    """Score rows of the cells, each with what its manifest says of it; cells or scores that are not there are left out.

    Columns: method, variant, role, dataset, split, fold, classes, suite, seed, parameters, phantom, and those of
    `describe_scores` with protocol and metric.
    """
    parts = []
    for key in keys:
        cell = store.find(key)
        if cell is None:
            continue
        spec = cell.manifest["spec"]
        about = {
            "cell": key,
            **{name: spec[name] for name in ("method", "dataset", "split", "fold", "classes", "suite", "seed")},
            "variant": cell.manifest["variant"],
            "role": cell.manifest["role"],
            "parameters": cell.manifest["parameter_count"],
            "phantom": cell.manifest["phantom"],
        }
        scores = [cell.scores(score_key) for _, _, score_key in list_scores(cell, jury, protocols)]
        there = [table for table in scores if table is not None]
        if there:
            parts.append(pd.concat(there, ignore_index=True).assign(**about))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
