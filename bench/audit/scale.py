"""How much faster cells are made by several workers of a cluster than by one, and what the machine itself would give.

The cells are whole ones of the tiny phantom: a method that computes for some forty seconds on one core in a process of
its own, whose videos go into the store; cells of the small phantoms take one to twenty minutes. Of each number of
workers the first cell of each does not count: a worker that has just started imports what it needs. How long that took
is a column of its own.

Beside it stands the same arithmetic in as many bare processes, without a harness, a cluster or a store: cores that
share caches, memory and clock, as two threads of one core do, are not twice as fast together either. What is left
between the two is the harness's. On a machine with fewer free cores than workers there is nothing to gain.
"""

from __future__ import annotations

import contextlib
import multiprocessing
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
from bench.core.progress import say
from bench.datasets.catalogue import open_dataset
from bench.harness.cluster import execute_on_cluster
from bench.harness.plan import plan
from bench.pretrained.suite import load_suite

CELLS = 3  # that count, for each worker
PRODUCTS, SIDE = 120_000, 256  # some forty seconds on one core, of matrices that fit its own cache


class Computes:
    """Multiplies matrices, then shows the first training clip for every trial."""

    modality, version, parameter_count = "eeg", 1, 0

    def __init__(self, *, suite: Any, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        multiply(self.seed, PRODUCTS)
        self.clip = train.video[0]

    def adapt(self, calibration: TrainingSet) -> None:
        pass

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        return np.broadcast_to(self.clip, (len(brain.subject), *self.clip.shape))


def multiply(seed: int, products: int) -> None:
    """So many products of matrices, with the threads that torch is set to."""
    import torch  # whose threads are those of the cell

    matrix = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    product = matrix
    for _ in range(products):
        product = product @ matrix
        product /= product.norm()


def measure_scale(workers: Sequence[int] = (1, 2), cells: int = CELLS) -> pd.DataFrame:
    """A row for each number of workers: seconds until all have made their first cell, beyond what a cell takes; seconds
    a cell, with the harness and in bare processes of the same number; how many times as fast as the first row both are.

    Raises BenchError where a cell fails.
    """
    dataset, suite = open_dataset("phantom_eeg:tiny"), load_suite("mini")
    bare = measure_bare(workers)
    rows: list[dict[str, float]] = []
    for count, alone in zip(workers, bare, strict=True):
        run = Run(
            method=f"{__file__}:{Computes.__name__}",
            split="cross_subject",
            dataset="phantom_eeg:tiny",
            seeds=count * (cells + 1),
            protocols=(),
        )
        jobs = [job for job in plan(run, dataset, suite) if job.spec.method == run.method]
        with tempfile.TemporaryDirectory() as runs:
            begun, times = time.monotonic(), []
            for outcome in execute_on_cluster(jobs, Path(runs), scheduler=f"local:{count}", threads=1):
                if outcome.error is not None:
                    raise BenchError(outcome.error)
                times.append(time.monotonic())
        rows.append(describe_row(count, begun, times, alone, rows))
    table = pd.DataFrame(rows)
    table.attrs["digits"] = 3
    return table


def describe_row(
    count: int, begun: float, times: Sequence[float], bare: float, before: Sequence[dict[str, float]]
) -> dict[str, float]:
    """What `count` workers came to, whose cells were done at these times, in order, `before` being the rows above.

    `bare` processes of that number did the arithmetic of so many cells a second.
    """
    seconds = (times[-1] - times[count - 1]) / (len(times) - count)  # wall-clock time over cells: all workers together
    return {
        "workers": count,
        "start_seconds": times[count - 1] - begun - seconds * count,
        "seconds_a_cell": seconds,
        "bare_seconds_a_cell": 1 / bare,
        "times_one": (before[0]["seconds_a_cell"] if before else seconds) / seconds,
        "bare_times_one": bare * (before[0]["bare_seconds_a_cell"] if before else 1 / bare),
    }


def measure_bare(workers: Sequence[int]) -> list[float]:
    """Cells' arithmetic a second by so many bare processes at once, which have started before the clock does."""
    spawned = multiprocessing.get_context("spawn")
    rates, most = [], max(workers)
    with contextlib.ExitStack() as stack:
        lines = []
        for seed in range(most):
            ours, theirs = spawned.Pipe()
            process = spawned.Process(target=compute_when_asked, args=(theirs, seed), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(ours.close)
            theirs.close()
            lines.append(ours)
        for line in lines:
            line.recv()
        for count in workers:
            say(f"{count} bare process{'es' * (count > 1)}")
            begun = time.monotonic()
            for line in lines[:count]:
                line.send(PRODUCTS)
            for line in lines[:count]:
                line.recv()
            rates.append(count / (time.monotonic() - begun))
    return rates


def compute_when_asked(line: Any, seed: int) -> None:
    """The life of a bare process: a word when it is warm, and one behind each number of products."""
    import torch

    torch.set_num_threads(1)
    multiply(seed, 100)
    line.send("warm")
    with contextlib.suppress(EOFError):
        while True:
            multiply(seed, line.recv())
            line.send("done")
