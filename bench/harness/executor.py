"""The executor: every job ends in an outcome, whatever becomes of the process that runs it, and the others go on."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.job import Job
from bench.core.progress import say
from bench.core.registry import HANDED, find_roots
from bench.harness import method_process
from bench.harness.method_process import MethodError, pickle_classes
from bench.harness.nursery import PATIENCE
from bench.harness.outlook import BEAT, Outlook
from bench.harness.run_cell import Limits, run_job
from bench.harness.supervise import Child, Nursery, close_nursery, find_nursery, use_nursery
from bench.harness.wire import Closed, receive_answer, receive_object, send_answer, send_object
from bench.store import disk
from bench.store.cells import Store


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `error` is None, or what the user is told."""

    job: Job
    error: str | None


def execute(
    jobs: Sequence[Job],
    runs: Path,
    *,
    processes: int,
    threads: int,
    time_limit: float | None = None,
    beat: float | None = BEAT,
) -> Iterator[Outcome]:
    """Run the jobs and yield their outcomes as they come: one for each. Cells are idempotent, so order does not matter.

    Each of `processes` workers makes one cell after another, with the method in a process beside it, which may take
    `time_limit` seconds. Each cell computes with `threads` threads whatever `processes` is: the result must not depend
    on the machine's load, and the small networks are fastest on one. At least every `beat` seconds a line says what is
    under way; None: nothing but that a cell is done.
    """
    if not jobs:
        return
    nursery = find_nursery(threads)
    waiting = deque(jobs)
    outlook = Outlook(jobs, processes)
    workers: list[Worker] = []
    try:
        while waiting or any(worker.job for worker in workers):
            while waiting and len(workers) < processes:
                workers.append(Worker(nursery))
            for worker in workers:
                if waiting and worker.job is None:
                    outlook.start(waiting[0])
                    worker.give(waiting.popleft(), runs, threads, time_limit)
            busy = {worker.child.talk: worker for worker in workers if worker.job}
            ready = select.select(list(busy), [], [], beat)[0]
            for told in outlook.tell(name_job, runs / "logs") if not ready else ():
                say(told)
            for line in ready:
                worker = busy[line]
                outcome = worker.take()
                come = outlook.finish(outcome.job)
                if outcome.error is None:
                    say(f"done: {name_job(outcome.job)} [{outcome.job.spec.key}]{f'; {come}' if beat else ''}")
                yield outcome
                if worker.has_died:
                    workers.remove(worker)
                    disk.remove_leftovers(runs)
    finally:
        for worker in workers:
            worker.child.interrupt()
        for worker in workers:
            if not worker.child.has_ended(PATIENCE + 1):
                close_nursery()  # it is still importing, and would start what was asked for when it has done so
            worker.child.end()
        nursery.wait_for_all()
        if workers:
            disk.remove_leftovers(runs)  # of a worker that had no time to put things away


class Worker:
    """A process that makes one cell after another."""

    def __init__(self, nursery: Nursery) -> None:
        self.child: Child = nursery.start_worker()
        self.job: Job | None = None
        self.has_died = False
        places = [str(Path(place).absolute()) for place in sys.path]
        with contextlib.suppress(Closed):  # noticed when its first job is taken
            send_object(self.child.talk, (dict(os.environ), places, str(Path.cwd())))

    def give(self, job: Job, runs: Path, threads: int, time_limit: float | None) -> None:
        self.job = job
        try:
            pickled = pickle_classes([job.spec.method, *job.spec.parameters.values()])
            classes: Any = {name: (content, find_roots("methods", name)) for name, content in pickled.items()}
        except BenchError as error:
            classes = str(error)
        with contextlib.suppress(Closed):
            send_object(self.child.talk, (job, runs, threads, time_limit, classes))

    def take(self) -> Outcome:
        """The outcome of its job."""
        assert self.job is not None
        job, self.job = self.job, None
        try:
            error = receive_answer(self.child.talk)["error"]
        except Closed:
            self.has_died = True
            self.child.has_ended(5.0)
            error = f"{name_job(job)}: the process that made and scored it {self.child.end()}"
        return Outcome(job, error)


def live(talk: socket.socket, requests: socket.socket, alive: socket.socket) -> None:
    """The life of a worker: an outcome for each job that comes, until the command is gone."""
    use_nursery(requests, alive)
    (environment, places, folder), _ = receive_object(talk)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = places
    os.chdir(folder)
    with contextlib.suppress(Closed, KeyboardInterrupt):
        while True:
            (job, runs, threads, time_limit, classes), _ = receive_object(talk)
            send_answer(talk, {"error": attempt(job, runs, threads, time_limit, classes)})


def attempt(
    job: Job, runs: Path, threads: int, time_limit: float | None, classes: Mapping[str, tuple[bytes, list]] | str
) -> str | None:
    """Run one job, and say in one line what failed, with the place of its log; None where nothing did.

    `classes` are the methods whose class itself was handed over and where their code begins, or why they cannot be.
    """
    import torch

    torch.set_num_threads(threads)
    name = name_job(job)
    if isinstance(classes, str):
        return f"{name}: {classes}"
    for handed, (content, roots) in classes.items():
        method_process.PICKLED[handed], HANDED[handed] = content, roots
    log = runs / "logs" / f"{job.spec.key}.log"
    trace = ""
    try:
        store = Store(runs)
        log.parent.mkdir(exist_ok=True)
        log.write_bytes(b"")
        run_job(job, store, Limits(threads, time_limit, log))
        failure = None
    except MethodError as error:
        failure, trace = f"{name}: {error} (log: {log})", error.traceback
    except BenchError as error:
        failure = f"{name}: {error}"
    except KeyboardInterrupt:
        log.unlink(missing_ok=True)
        raise
    except BaseException as error:
        failure, trace = f"{name}: {type(error).__name__}: {error} (log: {log})", traceback.format_exc()
    with contextlib.suppress(OSError):  # a full disk
        if failure is not None:
            with log.open("a", encoding="utf-8", errors="replace") as file:
                file.write(f"{trace}{failure}\n")
        elif log.stat().st_size == 0:
            log.unlink()
    return failure


def name_job(job: Job) -> str:
    return f"{job.spec.method} {job.variant} {job.spec.split}/{job.spec.fold} seed {job.spec.seed}"
