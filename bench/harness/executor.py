"""The executor: runs jobs here or in local processes, and lets one broken job not stop the others."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.job import Job
from bench.core.progress import say
from bench.core.registry import LIVE
from bench.harness.run_cell import run_job
from bench.store.cells import Store


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `error` is None, or what the user is told."""

    job: Job
    error: str | None


def execute(jobs: Sequence[Job], runs: Path, *, processes: int, threads: int) -> Iterator[Outcome]:
    """Run the jobs and yield their outcomes as they come. Cells are idempotent, so order and place do not matter.

    Each cell computes with `threads` threads whatever `processes` is: the result must not depend on the machine's
    load, and the small networks are fastest on one.
    """
    if processes == 1:
        for job in jobs:
            yield attempt(job, runs, threads)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", n_jobs=processes, inner_max_num_threads=threads):
        yield from Parallel(return_as="generator_unordered")(
            delayed(attempt)(job, runs, threads, dict(LIVE)) for job in jobs
        )


def attempt(job: Job, runs: Path, threads: int, classes: Mapping[str, type] | None = None) -> Outcome:
    """Run one job; any failure of it becomes an outcome, with the traceback in the store's log of failures.

    `classes` are the methods whose class itself was handed over: another process does not have them yet.
    """
    import torch

    LIVE.update(classes or {})
    torch.set_num_threads(threads)
    name = f"{job.spec.method} {job.variant} {job.spec.split}/{job.spec.fold} seed {job.spec.seed}"
    try:
        run_job(job, Store(runs))
    except BenchError as error:
        return Outcome(job, f"{name}: {error}")
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        log = runs / "failures" / f"{job.spec.key}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc(), encoding="utf-8")
        return Outcome(job, f"{name}: {type(error).__name__}: {error} (traceback in {log})")
    say(f"done: {name} [{job.spec.key}]")
    return Outcome(job, None)
