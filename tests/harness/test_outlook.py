"""How far a run has come is reckoned from what is done, and what is under way is said while it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from test_isolation import FILE, plan_fine

from bench.core.job import Job
from bench.harness.executor import execute
from bench.harness.outlook import Outlook, read_last_line


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def jobs(phantom) -> list[Job]:
    """Three cells of one method, and one of another, the second."""
    job = plan_fine(phantom, "cross_subject")
    names = ("slow", "quick", "slow", "slow")
    return [replace(job, spec=replace(job.spec, method=name, seed=seed)) for seed, name in enumerate(names)]


def test_what_is_left_is_that_of_cells_of_the_same_kind(jobs) -> None:
    clock = Clock()
    outlook = Outlook(jobs, 1, clock=clock)
    outlook.start(jobs[0])
    clock.now = 100.0
    assert outlook.seconds_left() is None
    assert outlook.finish(jobs[0]) == "cell 1 of 4, about 5 min left for all"  # three more of 100 s
    outlook.start(jobs[1])
    clock.now += 10.0
    assert outlook.finish(jobs[1]) == "cell 2 of 4, about 3 min left for all"
    assert outlook.seconds_left() == 200.0  # two slow ones, whatever the quick one took
    outlook.start(jobs[2])
    clock.now += 30.0
    assert outlook.seconds_left() == 170.0  # 70 of this one and 100
    outlook.start(jobs[3])
    outlook.finish(jobs[3])
    assert outlook.finish(jobs[2]) == "cell 4 of 4"


def test_two_processes_share_what_is_left(jobs) -> None:
    clock = Clock()
    outlook = Outlook(jobs, 2, clock=clock)
    for job in jobs[:2]:
        outlook.start(job)
    clock.now = 60.0
    for job in jobs[:2]:
        outlook.finish(job)
    assert outlook.seconds_left() == pytest.approx(60.0)


def test_what_is_under_way_is_said_with_the_last_line_of_its_log(jobs, tmp_path) -> None:
    clock = Clock()
    outlook = Outlook(jobs, 1, clock=clock)
    outlook.start(jobs[0])
    clock.now = 95.0
    (tmp_path / f"{jobs[0].spec.key}.log").write_bytes(b"first\ntraining: 3/9\x1b[2J\xff\n\n")
    (line,) = outlook.tell(lambda job: job.spec.method, tmp_path)
    assert line == "under way for 95 s: slow: training: 3/9[2J\N{REPLACEMENT CHARACTER}"
    assert read_last_line(tmp_path / "none.log") == ""


def test_a_run_says_what_it_does_while_it_does_it(phantom, tmp_path, capfd) -> None:
    job = plan_fine(phantom, "cross_subject")
    (outcome,) = execute([job], tmp_path / "runs", processes=1, threads=1, beat=0.2)
    said = capfd.readouterr().err
    assert outcome.error is None and f"{FILE}:Fine base" in said.partition("done: ")[0]
    assert said.count("under way for ") >= 1 and said.rstrip().endswith("cell 1 of 1")
