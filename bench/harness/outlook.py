"""How far a run has come: which cells are under way, in which phase, and how long all may still take.

    done: sam_net base single_subject/sub05 seed 0 [8b643bdc4a6fce93]; cell 5 of 27, about 1 h 2 min left for all
    under way for 95 s: sam_net base single_subject/sub06 seed 0: training HRT on 1 subject: 210/480, about 80 s left

What is left is reckoned from the cells of this run that are done: those of the same method, variant and split where
there are some, else all. Before the first is done nothing is said of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.core.job import Job

BEAT = 30.0  # seconds without a word, at most
TAIL, MOST = 2000, 120  # bytes of a log that are looked at, and characters of its last line that are shown

Kind = tuple[str, str, str]


class Outlook:
    """The cells of a run, by what became of them; `clock` tells seconds."""

    def __init__(self, jobs: Sequence[Job], processes: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.total = len(jobs)
        self.processes = processes
        self.waiting = {job.spec.key: job for job in jobs}
        self.started: dict[str, float] = {}
        self.took: dict[Kind, list[float]] = defaultdict(list)

    def start(self, job: Job) -> None:
        self.started[job.spec.key] = self.clock()

    def finish(self, job: Job) -> str:
        """Count a cell as done; returns `cell k of n, about t left for all`."""
        took = self.clock() - self.started.pop(job.spec.key, self.clock())
        self.took[kind_of(job)].append(took)
        self.waiting.pop(job.spec.key, None)
        left = self.seconds_left()
        rest = f", about {tell_time(left)} left for all" if left and self.waiting else ""
        return f"cell {self.total - len(self.waiting)} of {self.total}{rest}"

    def seconds_left(self) -> float | None:
        """Of all cells that are not done; None while none is."""
        known = [took for times in self.took.values() for took in times]
        if not known:
            return None
        now, left = self.clock(), 0.0
        for key, job in self.waiting.items():
            times = self.took.get(kind_of(job)) or known
            spent = now - self.started[key] if key in self.started else 0.0
            left += max(0.0, sum(times) / len(times) - spent)
        return left / max(1, min(self.processes, len(self.waiting)))

    def tell(self, name: Callable[[Job], str], logs: Path) -> list[str]:
        """A line for each cell that is under way: for how long, and the last line of its method's log."""
        now, lines = self.clock(), []
        for key, since in self.started.items():
            last = read_last_line(logs / f"{key}.log")
            lines.append(f"under way for {tell_time(now - since)}: {name(self.waiting[key])}{last and f': {last}'}")
        return lines


def kind_of(job: Job) -> Kind:
    return job.spec.method, job.variant, job.spec.split


def read_last_line(path: Path) -> str:
    """The last line of a log with something in it, as far as it can be printed; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(one for one in lines[-1][:MOST] if one.isprintable()) if lines else ""


def tell_time(seconds: float) -> str:
    """
    >>> tell_time(42.3), tell_time(125), tell_time(3725), tell_time(200_000)
    ('42 s', '2 min', '1 h 2 min', '2 d 7 h')
    """
    minutes, hours = round(seconds / 60), seconds / 3600
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{int(hours // 24)} d {int(hours % 24)} h"
