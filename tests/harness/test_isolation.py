"""Whatever a method does is one line for its own cell and nothing for any other, and the truth is out of its reach."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import misbehaviours
import psutil
import pytest

from bench.core.job import Job, Run
from bench.harness import supervise
from bench.harness.executor import Outcome, execute
from bench.harness.plan import plan
from bench.pretrained.suite import load_suite
from bench.store.cells import Store

FILE = Path(misbehaviours.__file__)


def plan_one(name: str, phantom, split: str = "cross_subject") -> Job:
    """The cell of a class of that file, without scores: all are planned as `Fine` is."""
    job = plan_fine(phantom, split)
    return replace(job, spec=replace(job.spec, method=f"{FILE}:{name}"))


@functools.cache
def plan_fine(phantom, split: str) -> Job:
    method = f"{FILE}:Fine"
    run = Run(method=method, split=split, dataset="phantom_eeg:tiny", protocols=())
    return next(job for job in plan(run, phantom, load_suite("mini")) if job.spec.method == method)


def name_of(job: Job) -> str:
    return job.spec.method.rpartition(":")[2]


def run(jobs: list[Job], runs: Path, **how) -> dict[str, str | None]:
    """What became of each class."""
    outcomes: list[Outcome] = list(execute(jobs, runs, **{"processes": 2, "threads": 1, **how}))
    assert len(outcomes) == len(jobs)
    return {name_of(outcome.job): outcome.error for outcome in outcomes}


@pytest.fixture(scope="module")
def together(phantom, tmp_path_factory) -> tuple[Path, dict[str, str | None], dict[str, Job]]:
    """All that end by themselves and all that are harmless, in one run with `Fine` between them."""
    runs, folder = tmp_path_factory.mktemp("isolation") / "runs", Path.cwd()
    jobs = [plan_one(name, phantom) for name in (*misbehaviours.ENDS, "Fine", *misbehaviours.HARMLESS)]
    jobs.append(plan_one("Fine", phantom, "new_subject"))
    before = sorted(path.name for path in folder.iterdir())
    os.environ["BENCH_DATA"] = str(runs)
    try:
        outcomes = run(jobs, runs)
    finally:
        del os.environ["BENCH_DATA"]
    assert sorted(path.name for path in folder.iterdir()) == before
    return runs, outcomes, {f"{name_of(job)} {job.spec.split}": job for job in jobs}


@pytest.mark.parametrize("name", list(misbehaviours.ENDS))
def test_every_end_is_one_line_with_the_place_of_its_log(together, name):
    runs, outcomes, jobs = together
    told, job = outcomes[name], jobs[f"{name} cross_subject"]
    assert told is not None and misbehaviours.ENDS[name] in told
    assert told.isprintable() and len(told) < 3000
    log = Path(re.search(r"\(log: (.*)\)$", told)[1])
    assert log == runs / "logs" / f"{job.spec.key}.log" and log.is_file()
    assert not (runs / job.spec.key).exists()
    if "(misbehaviours.py:" in told:
        assert "Traceback" in log.read_text()


@pytest.mark.parametrize("name", misbehaviours.HARMLESS)
def test_what_a_method_does_to_its_process_ends_with_it(together, name):
    runs, outcomes, jobs = together
    assert outcomes[name] is None
    if name != "ChangesTheHarness":  # which blackens what it was given
        fine, changed = (Store(runs).find(jobs[f"{one} cross_subject"].spec.key) for one in ("Fine", name))
        assert changed.manifest["prediction_digest"] == fine.manifest["prediction_digest"]


def test_other_cells_are_what_they_are_without_misbehaving_ones(together, phantom, tmp_path):
    runs, outcomes, jobs = together
    assert outcomes["Fine"] is None
    for split in ("cross_subject", "new_subject"):
        job = jobs[f"Fine {split}"]
        run([job], tmp_path / "alone", processes=1)
        alone, beside = (Store(place).find(job.spec.key).manifest for place in (tmp_path / "alone", runs))
        assert alone["prediction_digest"] == beside["prediction_digest"]
        assert alone["peak_memory_bytes"] > 1 << 26
        assert set(alone["phases"]) == {"fit", "reconstruct"} | ({"adapt"} if split == "new_subject" else set())


def test_nothing_is_left_over(together):
    runs = together[0]
    assert not list(runs.glob(".tmp-*"))
    assert not [one for one in psutil.process_iter(["cmdline"]) if misbehaviours.mark() in (one.info["cmdline"] or ())]


def test_a_log_keeps_the_first_and_the_last_of_much(together):
    runs, _, jobs = together
    log = runs / "logs" / f"{jobs['Prints cross_subject'].spec.key}.log"
    assert log.stat().st_size < 2 << 20
    text = log.read_text()
    assert text.startswith("first words") and text.endswith("last words\n") and "bytes left out" in text


def list_running() -> list[psutil.Process]:
    """What the nursery of this process has forked and is alive: workers, methods, and their keepers."""
    running = []
    for nursery in psutil.Process().children():
        for one in nursery.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if one.status() != psutil.STATUS_ZOMBIE:
                    running.append(one)
    return running


def test_a_killed_keeper_or_worker_costs_its_own_cell(phantom, tmp_path):
    jobs = [plan_one(name, phantom) for name in ("KillsItsKeeper", "KillsTheWorker", "Fine")]
    outcomes = run(jobs, tmp_path / "runs", processes=1)
    assert "its process was lost with the process that kept it in fit" in outcomes["KillsItsKeeper"]
    assert "the process that made and scored it was killed by SIGKILL" in outcomes["KillsTheWorker"]
    assert outcomes["Fine"] is None
    names = {path.name for path in (tmp_path / "runs").iterdir()}
    assert names == {jobs[2].spec.key, "logs"}


def test_a_stopped_run_leaves_nothing(phantom, tmp_path, monkeypatch):
    """Ctrl-C while methods are at work: their processes, and what they started, are gone when the run has ended."""
    jobs = [plan_one(name, phantom) for name in ("Sleeps", "Fine")]
    with contextlib.ExitStack() as stopping, monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
        stopping.callback(signal.signal, signal.SIGINT, before)
        patch.setattr("bench.harness.executor.say", lambda text: signal.raise_signal(signal.SIGINT))
        run(jobs, tmp_path / "runs")
    _, alive = psutil.wait_procs(list_running(), timeout=2)  # seconds that a process takes to end, once it is at it
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]
    assert not list((tmp_path / "runs").glob(".tmp-*"))
    assert run(jobs[1:], tmp_path / "runs") == {"Fine": None}


def test_what_does_not_end_meets_the_time_limit(phantom, tmp_path):
    jobs = [plan_one(name, phantom) for name in misbehaviours.ENDLESS]
    outcomes = run(jobs, tmp_path / "runs", time_limit=2)
    for name in misbehaviours.ENDLESS:
        assert "passed the time limit of 2 s in " in outcomes[name], outcomes[name]


def test_what_is_freed_is_kept_for_the_next_and_the_user_s_word_goes_first(monkeypatch):
    started = []

    def stop(command, *, env, **options):
        started.append(env)
        raise OSError("no process is started here")

    monkeypatch.setattr(supervise.subprocess, "Popen", stop)
    for environment in ({}, {"MALLOC_TRIM_THRESHOLD_": "7"}):
        with pytest.raises(OSError, match="no process is started"):
            supervise.start_nursery(environment)
    assert [env["MALLOC_TRIM_THRESHOLD_"] for env in started] == [str(512 << 20), "7"]
    assert all(env["MALLOC_MMAP_THRESHOLD_"] == str(32 << 20) for env in started)
