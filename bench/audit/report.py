"""The report: every audit of a data set, its splits and, where a store is named, its results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.audit.collapse import audit_collapse, describe_rows, pick_trials
from bench.audit.copies import audit_copies
from bench.audit.disjointness import audit_disjointness
from bench.audit.findings import Finding, dismiss
from bench.audit.fitting import audit_fitting
from bench.audit.recordings import audit_recordings
from bench.core.contracts import Dataset
from bench.core.errors import BenchError
from bench.core.progress import track
from bench.datasets.duplicates import compare_trials
from bench.store.cells import Cell, Store

VIEW = "video"  # of the judges: logits of the video classifier


def audit_dataset(dataset: Dataset, *, runs: Path | None = None) -> pd.DataFrame:
    """All audits as a table: audit, subject_of, statistic, value, null, p_value, verdict, meaning.

    `verdict` is "ok", "found" or "not applicable"; `p_value` is NaN where nothing is left to chance. With `runs`, the
    predictions that this store holds for exactly this data set are examined too, those of the controls apart: they
    are meant to be the same for all. Raises BenchError where there is no such folder.
    """
    copies = compare_trials(dataset)
    findings = audit_copies(dataset, copies)
    findings += audit_disjointness(dataset, copies=copies)
    findings += audit_fitting(dataset)
    findings += audit_recordings(dataset)
    if runs is None:
        findings.append(dismiss("output collapse", "no results", "name a store of results with --runs"))
    else:
        findings += audit_runs(dataset, runs)
    return tabulate(findings)


def tabulate(findings: list[Finding]) -> pd.DataFrame:
    return pd.DataFrame([asdict(one) for one in findings], columns=[field.name for field in fields(Finding)])


def audit_runs(dataset: Dataset, runs: Path) -> list[Finding]:
    """Output collapse of every cell of this data set in a store, controls apart."""
    if not runs.is_dir():
        raise BenchError(f"there is no store {runs}; name with --runs the folder that `bench run` wrote, e.g. runs")
    cells = [cell for cell in Store(runs).cells() if belongs(cell, dataset)]
    if not cells:
        return [dismiss("output collapse", str(runs), f"the store holds no result of {dataset.name}")]
    findings = []
    named: dict[tuple[str, int], int] = {}
    for cell in track(cells, "audit: reading results"):
        findings += audit_cell(cell, dataset, named)
    return findings


def belongs(cell: Cell, dataset: Dataset) -> bool:
    spec = cell.manifest.get("spec", {})
    return cell.shows_videos and spec.get("data_digest") == dataset.digest and cell.manifest.get("role") != "control"


def audit_cell(cell: Cell, dataset: Dataset, named: dict[tuple[str, int], int]) -> list[Finding]:
    """Output collapse of one cell; "not applicable" where fewer than two trials have a prediction.

    `named` remembers, from cell to cell, the class that a suite's judge names for a true clip.
    """
    spec = cell.manifest["spec"]
    name = f"{spec['method']} {cell.manifest.get('variant', '')} {spec['split']}/{spec['fold']} seed {spec['seed']}"
    trials = cell.trials()
    there = np.flatnonzero(trials["status"] == "ok")
    clips = trials["clip"].to_numpy()
    if len(there) < 2 or len(np.unique(clips[there])) < 2:
        return [dismiss("output collapse", name, "fewer than two clips have a prediction")]
    rows = there[pick_trials(len(there))]
    judge = open_judge(spec["suite"])

    def show(some: np.ndarray) -> np.ndarray:
        return dataset.video(clips[some])

    classes = None
    if judge is not None:
        new = [row for row in rows if (spec["suite"], clips[row]) not in named]
        if new:
            keys = ((spec["suite"], int(clips[row])) for row in new)
            named.update(zip(keys, name_classes(judge, show, np.array(new)).tolist(), strict=True))
        true = np.array([named[spec["suite"], clips[row]] for row in rows])
        classes = (name_classes(judge, cell.read, rows), true)
    return audit_collapse(
        describe_rows(cell.read, rows),
        describe_rows(show, rows),
        concepts=trials["concept"].nunique(),
        subject_of=name,
        classes=classes,
    )


def open_judge(suite: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """Logits of the suite's video classifier, None where it is not on disk."""
    from bench.harness.inputs import load_once
    from bench.pretrained.suite import load_suite

    judges: Any = load_once(load_suite, suite).judges
    if not judges.available(VIEW):
        return None
    return lambda video: judges.observe(VIEW, video)


def name_classes(
    judge: Callable[[np.ndarray], np.ndarray], read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray
) -> np.ndarray:  # i64 (row,)
    return np.concatenate([judge(read(part)).argmax(axis=-1) for part in parts(rows)])


def parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    yield from np.array_split(rows, max(1, -(-len(rows) // 64)))
