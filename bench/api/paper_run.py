"""What a paper's table lacks: planned, and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.papers import PaperTable, paper_table, survey
from bench.api.run import make_cells
from bench.core.job import Job
from bench.core.progress import say
from bench.core.variants import MINI, check_profile
from leaderboard.papers.measure import Survey, place
from leaderboard.papers.reported import ReportedTable, load_table

if TYPE_CHECKING:
    from bench.core.hardware import Precision


def plan_paper(
    name: str,
    *,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    profile: str = MINI,
    seeds: int = 1,
    runs: str | Path = "runs",
    quick: bool = False,
    shard: str | None = None,
    shapes: bool = False,
    device: str = "auto",
    precision: Precision = "fp32",
    memory: str | int | None = None,
    here: bool = True,
) -> tuple[Survey, list[Job], list[Job]]:
    """What of ours a table needs: the survey, its cells (references once), and those still to be made or scored.

    `shapes` is as in `plan_run`.
    """
    from bench.scoring.stored import unfinished
    from bench.store.cells import Store

    names.check_seeds(seeds)
    check_profile(profile)
    part, parts = names.parse_shard(shard)
    table = load_table(name)
    if quick:
        dataset = quick_datasets(table, dataset)
    size = names.check_hardware(device, precision, memory, here=here, several=True)
    hardware: dict[str, Any] = {"device": device, "precision": precision, "memory": size}
    options: dict[str, Any] = {"dataset": dataset, "data_root": data_root, "suite": suite, "profile": profile}
    surveyed, viewers = survey(table, seeds=seeds, make=True, shapes=shapes, hardware=hardware, **options)
    store = Store(runs)
    planned: list[Job] = []
    todo: list[Job] = []
    for dataset_name, jobs in surveyed.planned.items():
        planned += jobs
        todo += unfinished(jobs, store, viewers[dataset_name])
    return surveyed, planned, [job for job in todo if int(job.spec.key, 16) % parts == part - 1]


def run_paper(
    name: str,
    *,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    profile: str = MINI,
    seeds: int = 1,
    runs: str | Path = "runs",
    quick: bool = False,
    jobs: int | None = None,
    threads: int = 1,
    time_limit: str | float | None = None,
    shard: str | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    memory: str | int | None = None,
    log: Sequence[str] = (),
) -> tuple[PaperTable, tuple[str, ...]]:
    """Make and score the cells that a table lacks; returns the table and a line for each cell that failed."""
    names.check_processes(jobs, threads, scheduler, device=device)
    names.check_loggers(log)
    seconds = names.parse_time_limit(time_limit)
    surveyed, planned, todo = plan_paper(
        name,
        dataset=dataset,
        data_root=data_root,
        suite=suite,
        profile=profile,
        seeds=seeds,
        runs=runs,
        quick=quick,
        shard=shard,
        device=device,
        precision=precision,
        memory=memory,
        here=scheduler is None,
    )
    failures: tuple[str, ...] = ()
    if planned or surveyed.absent:
        ours = [replace(job, protocols=tuple(dict.fromkeys((*job.protocols, "corrected")))) for job in todo]
        failures = make_cells(
            ours,
            len(planned),
            Path(runs),
            jobs=jobs,
            threads=threads,
            time_limit=seconds,
            scheduler=scheduler,
            log=log,
        )
    else:
        say(f"{name} is reported only: nothing of it is run")
    options: dict[str, Any] = {"dataset": surveyed.asked, "data_root": data_root, "suite": suite, "profile": profile}
    table = paper_table(name, runs=runs, precision=precision, **options)
    return table, failures


def quick_datasets(table: ReportedTable, asked: str | None) -> str | None:
    """The tiny phantoms that stand for a table's data sets."""
    places = (place(cell.dataset, asked) for row in table.rows for cell in row.cells if cell.method)
    tiny = dict.fromkeys(names.shrink(name) for name in places if name)
    return ",".join(tiny) or None
