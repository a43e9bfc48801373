"""How much faster cells are made by several workers of a cluster than by one.

The cells are whole ones of the tiny phantom: a method that computes for some seconds on one core in a process of its
own, whose videos go into the store. Of each number of workers the first cell of each worker does not count: a worker
that has just started imports what it needs. On a machine with fewer free cores than workers there is nothing to gain.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.contracts import BrainData, TrainingSet, VideoBatch
from bench.core.errors import BenchError
from bench.core.job import Run
from bench.datasets.catalogue import open_dataset
from bench.harness.cluster import execute_on_cluster
from bench.harness.plan import plan
from bench.pretrained.suite import load_suite

CELLS = 6  # that count, for each worker
PRODUCTS, SIDE = 150, 1000  # some seconds on one core


class Computes:
    """Multiplies matrices, then shows the first training clip for every trial."""

    modality, version, parameter_count = "eeg", 1, 0

    def __init__(self, *, suite: Any, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        import torch  # whose threads are those of the cell

        matrix = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(self.seed))
        product = matrix
        for _ in range(PRODUCTS):
            product = product @ matrix
            product /= product.norm()
        self.clip = train.video[0]

    def adapt(self, calibration: TrainingSet) -> None:
        pass

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        return np.broadcast_to(self.clip, (len(brain.subject), *self.clip.shape))


def measure_scale(workers: Sequence[int] = (1, 2), cells: int = CELLS) -> pd.DataFrame:
    """A row for each number of workers: seconds a cell, and how many times as fast as the first row.

    Raises BenchError where a cell fails.
    """
    dataset, suite = open_dataset("phantom_eeg:tiny"), load_suite("mini")
    rows: list[dict[str, float]] = []
    for count in workers:
        run = Run(
            method=f"{__file__}:{Computes.__name__}",
            split="cross_subject",
            dataset="phantom_eeg:tiny",
            seeds=count * (cells + 1),
            protocols=(),
        )
        jobs = [job for job in plan(run, dataset, suite) if job.spec.method == run.method]
        with tempfile.TemporaryDirectory() as runs:
            times = []
            for outcome in execute_on_cluster(jobs, Path(runs), scheduler=f"local:{count}", threads=1):
                if outcome.error is not None:
                    raise BenchError(outcome.error)
                times.append(time.monotonic())
        seconds = (times[-1] - times[count - 1]) / (len(times) - count)
        first = rows[0]["seconds_a_cell"] if rows else seconds
        rows.append({"workers": count, "seconds_a_cell": seconds, "times_one": first / seconds})
    return pd.DataFrame(rows)
