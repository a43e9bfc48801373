"""Cells on a Dask cluster: the same cells as here, whatever becomes of a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import bench
from bench.api.run import plan_run
from bench.core.errors import BenchError
from bench.harness.cluster import connect, execute_on_cluster, explain
from bench.store.cells import Store

ENDS = '''
import os, signal

class Ends:
    """Ends the process that it runs in, and whatever else it can reach of it."""

    modality = "eeg"
    version = 1
    parameter_count = 0

    def __init__(self, *, suite, seed):
        pass

    def fit(self, train, validation):
        os.killpg(os.getpgrp(), signal.SIGKILL)

    def reconstruct(self, brain):
        pass
'''


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers, each a process of its own that is started again when it ends."""
    options: dict[str, Any] = {"dashboard_address": None, "memory_limit": None, "silence_logs": 50}
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **options) as running:
        yield running


def test_a_killed_worker_loses_no_cell(cluster, phantom, finished: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    methods = ("train_mean", "retrieval", "noise_brain", "codec")
    jobs = [job for job in plan_run("retrieval", quick=True, runs=runs).todo if job.spec.method in methods]
    assert len(jobs) >= 4
    outcomes = execute_on_cluster(jobs, runs, scheduler=cluster.scheduler_address, threads=1)
    done = [next(outcomes)]
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        groups = client.run_on_scheduler(lambda dask_scheduler: list(map(len, dask_scheduler.task_groups.values())))
        busy = {address for address, tasks in client.processing().items() if tasks}
        pids = client.run(os.getpid, workers=sorted(busy))
        assert pids
        os.kill(min(pids.values()), signal.SIGKILL)
    done += list(outcomes)
    assert groups == [len(jobs)]  # Dask queues, and moves to an idle worker, what is of one group
    assert sorted(one.job.spec.key for one in done) == sorted(job.spec.key for job in jobs)
    assert [one.error for one in done if one.error] == []
    here, there = Store(finished), Store(runs)
    for job in jobs:
        ours, theirs = here.find(job.spec.key), there.find(job.spec.key)
        assert ours is not None and theirs is not None
        assert ours.manifest["prediction_digest"] == theirs.manifest["prediction_digest"]
    assert [path.name for path in runs.iterdir() if path.name.startswith(".tmp")] == []


def test_a_method_that_ends_its_process_ends_no_worker(cluster, phantom, tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(ENDS)
    asked: dict[str, Any] = {"quick": True, "runs": tmp_path / "runs"}
    jobs = [job for job in plan_run(f"{tmp_path / 'ends.py'}:Ends", **asked).todo if "Ends" in job.spec.method]
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        before = client.run(os.getpid)
        (outcome,) = execute_on_cluster(jobs, tmp_path / "runs", scheduler=cluster.scheduler_address, threads=1)
        assert "was killed by SIGKILL" in str(outcome.error) and "in fit" in str(outcome.error)
        assert client.run(os.getpid) == before


def test_what_is_no_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="local:N, an address like tcp"):
        bench.run("retrieval", quick=True, runs=tmp_path, scheduler="locl:2")
    with pytest.raises(BenchError, match="--jobs counts processes of this machine"):
        bench.run("retrieval", quick=True, runs=tmp_path, scheduler="local:2", jobs=2)
    assert not list(tmp_path.iterdir())


def test_a_cell_that_ends_every_worker_is_told_as_such(phantom, tmp_path: Path) -> None:
    class KilledWorker(Exception):
        pass

    class Future:
        status = "error"

        def exception(self, timeout: float) -> Exception:
            return KilledWorker("no more")

    (job, *_) = plan_run("retrieval", quick=True, runs=tmp_path).todo
    assert "every worker that was to make it" in explain(job, Future()) and job.spec.method in explain(job, Future())


def test_no_cell_waits_behind_another_while_a_worker_is_idle() -> None:
    with connect("local:1") as client:
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.WORKER_SATURATION) == 1.0
