"""Cells on a Dask cluster: several processes, machines or GPUs, with one shared store and no lock.

A scheduler is an address (`tcp://host:8786`, `tls://…`), a file that a scheduler wrote (`--scheduler-file`), or
`local:N`, N workers started here for as long as the command runs. How workers come to be is Dask's own business: `dask
worker`, SLURM and other queues (dask-jobqueue), Kubernetes (dask-kubernetes), SSH (`dask ssh`).

Each task is one cell and runs `bench.harness.executor.execute`, as a command does for itself: the method is in a
supervised process beside the worker, so a method that crashes, hangs or takes all memory ends a cell and no worker. A
worker that is lost (its machine, its time in a queue) loses the cell that it was making: Dask hands it to another, as
often as the scheduler's setting `allowed-failures` says (3 by default). Cells are idempotent and published by one
rename, so a cell that was made twice is one.

Workers see the same store, data and code as the command does, on a file system that they share: whether the code is
the same is checked for each cell, by digest, before it is published. `BENCH_` variables that a worker lacks are the
command's. Give a worker one thread (`--nthreads 1`): a cell computes with `--threads` of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.job import Job
from bench.core.progress import say
from bench.core.registry import HANDED, find_roots
from bench.harness.executor import Outcome, execute, name_job
from bench.harness.method_process import PICKLED, pickle_classes

if TYPE_CHECKING:
    from distributed import Client

WAIT = 60.0  # seconds for a scheduler to answer
LOCAL = re.compile(r"local:([1-9][0-9]{0,2})")


def execute_on_cluster(
    jobs: Sequence[Job], runs: Path, *, scheduler: str, threads: int, time_limit: float | None = None
) -> Iterator[Outcome]:
    """Run the jobs on a cluster and yield their outcomes as they come: one for each.

    Raises BenchError where there is no such scheduler. When the caller stops early, what is not done is cancelled.
    """
    from distributed import as_completed

    if not jobs:
        return
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(scheduler))
        # a key that another command has used would be answered with its outcome; of one name, Dask knows what such a
        # cell takes, holds back what no worker has room for, and moves what waits behind a long one
        name = f"cells-{secrets.token_hex(4)}"
        futures = {}
        for job in jobs:
            asked = (job, runs.absolute(), threads, time_limit, pack_classes(job), settings())
            future = client.submit(run_here, *asked, key=(name, job.spec.key), pure=False)
            futures[future] = job
        stack.callback(client.cancel, list(futures))
        for count, future in enumerate(as_completed(list(futures), loop=client.loop), start=1):
            job = futures[future]
            error = future.result() if future.status == "finished" else explain(job, future)
            if error is None and not LOCAL.fullmatch(scheduler):  # a local worker says so itself, on the same terminal
                say(f"done: {name_job(job)} [{job.spec.key}]; cell {count} of {len(futures)}")
            yield Outcome(job, error)


@contextlib.contextmanager
def connect(scheduler: str) -> Iterator[Client]:
    """A client of the scheduler; workers of `local:N` live as long as the block."""
    import dask
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        target: Any = scheduler
        if found := LOCAL.fullmatch(scheduler):
            # a cell for each worker and no second in waiting: it would wait for minutes while another worker is idle
            stack.enter_context(dask.config.set({"distributed.scheduler.worker-saturation": 1.0}))
            target = stack.enter_context(
                LocalCluster(
                    n_workers=int(found[1]),
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address=None,
                    memory_limit=None,  # what is large is in the processes beside them
                    silence_logs=50,
                )
            )
        try:
            client = stack.enter_context(Client(**place(target), timeout=WAIT, set_as_default=False))
        except (OSError, ValueError, TimeoutError) as error:
            raise BenchError(
                f"no Dask scheduler answers at {scheduler!r} ({type(error).__name__}: {error}); start one with "
                "`dask scheduler` and workers with `dask worker ADDRESS --nthreads 1`, or use local:N"
            ) from error
        wait_for_workers(client, scheduler)
        yield client


def place(target: Any) -> dict[str, Any]:
    if isinstance(target, str) and "://" not in target:
        if not Path(target).is_file():
            raise BenchError(
                f"--scheduler {target!r}: it is local:N, an address like tcp://host:8786, or the file of a scheduler"
            )
        return {"scheduler_file": target}
    return {"address": target}


def wait_for_workers(client: Client, scheduler: str) -> None:
    """Say once that nobody is there to work: queues may take long to give a first machine."""
    if not client.scheduler_info()["workers"]:
        say(f"{scheduler} has no workers yet; cells wait until one comes")


def pack_classes(job: Job) -> dict[str, tuple[bytes, list[Any]]]:
    """The classes that the job names and that were handed over themselves, as a worker can load them."""
    pickled = pickle_classes([job.spec.method, *job.spec.parameters.values()])
    return {name: (content, find_roots("methods", name)) for name, content in pickled.items()}


def settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}


def run_here(
    job: Job,
    runs: Path,
    threads: int,
    time_limit: float | None,
    classes: dict[str, tuple[bytes, list[Any]]],
    environment: dict[str, str],
) -> str | None:
    """In a worker: make and score one cell as a command does, and say what failed, or None."""
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    for handed, (content, roots) in classes.items():
        PICKLED[handed], HANDED[handed] = content, roots
    (outcome,) = execute([job], runs, processes=1, threads=threads, time_limit=time_limit, beat=None)
    return outcome.error


def explain(job: Job, future: Any) -> str:
    """Why a task came to no outcome: its worker was lost again and again, or it was cancelled."""
    with contextlib.suppress(BaseException):
        error = future.exception(timeout=1)
        if type(error).__name__ == "KilledWorker":
            return f"{name_job(job)}: every worker that was to make it was lost; look into their logs"
        return f"{name_job(job)}: {type(error).__name__}: {error}"
    return f"{name_job(job)}: it was {future.status} on the cluster; give the command again"
