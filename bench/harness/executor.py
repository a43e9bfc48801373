"""The executor: runs jobs here or in local processes, and lets one broken job not stop the others."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.job import Job
from bench.core.progress import say
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
        yield from Parallel(return_as="generator_unordered")(delayed(attempt)(job, runs, threads) for job in jobs)


def attempt(job: Job, runs: Path, threads: int) -> Outcome:
    """Run one job; any failure of it becomes an outcome, with the traceback in the store's log of failures."""
    import torch

    torch.set_num_threads(threads)
    name = f"{job.spec.method} {job.variant} {job.spec.split}/{job.spec.fold} seed {job.spec.seed}"
    try:
        run_job(job, Store(runs))
    except BenchError as error:
        return Outcome(job, f"{name}: {error}")
    except (ArithmeticError, LookupError, OSError, RuntimeError, TypeError, ValueError, AssertionError) as error:
        log = runs / "failures" / f"{job.spec.key}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc())
        return Outcome(job, f"{name}: {type(error).__name__}: {error} (traceback in {log})")
    say(f"done: {name} [{job.spec.key}]")
    return Outcome(job, None)


def take_shard(jobs: Sequence[Job], shard: str) -> list[Job]:
    """The jobs of shard `i/n` (1-based), by key, so that n machines share a run without talking to each other."""
    part, _, count = shard.partition("/")
    if not (part.isdigit() and count.isdigit() and 1 <= int(part) <= int(count)):
        raise BenchError(f"--shard {shard!r} is not i/n with 1 <= i <= n, for example 2/8")
    return [job for job in jobs if int(job.spec.key, 16) % int(count) == int(part) - 1]


def default_processes() -> int:
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
