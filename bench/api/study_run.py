"""What the ablation study of a paper's table lacks: planned with what it costs, and run, rows that differ in the
generator alone from one shared fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.paper_run import quick_datasets
from bench.api.paper_study import Study, study, survey
from bench.api.run import make_cells
from bench.core.job import Job
from bench.core.progress import say
from bench.core.variants import MINI, check_profile
from leaderboard.papers.declared import Level, load_declared
from leaderboard.papers.measure import Need
from leaderboard.papers.reported import load_table

if TYPE_CHECKING:
    from bench.core.hardware import Precision
    from bench.harness.shared_fits import Shared
    from leaderboard.papers.study import StudySurvey


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """The cells of a study, those that are still to be made or scored, and how they share fits."""

    survey: StudySurvey
    jobs: list[Job]
    todo: list[Job]
    shared: Shared


def plan_study(
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
) -> PlannedStudy:
    """The cells that decide a table's differences. At least as many seeds as are declared, but with `quick`.

    A shard holds whole fits with all that share them.
    """
    from bench.harness.shared_fits import name_fit, share_fits
    from bench.scoring.stored import unfinished
    from bench.store.cells import Store

    names.check_seeds(seeds)
    check_profile(profile)
    part, parts = names.parse_shard(shard)
    if quick:
        dataset = quick_datasets(load_table(name), dataset)
    else:
        seeds, dataset = max(seeds, load_declared().seeds), dataset or load_declared().data.get(name)
    size = names.check_hardware(device, precision, memory, here=here, several=True)
    hardware: dict[str, Any] = {"device": device, "precision": precision, "memory": size}
    options: dict[str, Any] = {"dataset": dataset, "data_root": data_root, "suite": suite, "profile": profile}
    surveyed, viewers = survey(name, seeds=seeds, make=True, shapes=shapes, hardware=hardware, **options)
    asked = {job.spec.key: job for key in choose_cells(surveyed) for job in surveyed.jobs.get(key, ())}
    jobs = list(asked.values())
    store = Store(runs)
    todo = [one for job in jobs for one in unfinished([job], store, viewers[job.spec.dataset])]
    todo = [job for job in todo if int(name_fit(job)[:16], 16) % parts == part - 1]
    return PlannedStudy(survey=surveyed, jobs=jobs, todo=todo, shared=share_fits(todo, jobs, store))


def run_study(
    name: str,
    *,
    runs: str | Path = "runs",
    jobs: int | None = None,
    threads: int = 1,
    time_limit: str | float | None = None,
    scheduler: str | None = None,
    log: Sequence[str] = (),
    **asked: Any,
) -> tuple[Study, tuple[str, ...]]:
    """Make and score the cells that a study lacks; returns it and a line for each cell that failed.

    The other arguments are those of `plan_study`. What is in the store is not made again, so a run that was broken off
    goes on.
    """
    from bench.harness.shared_fits import give
    from bench.store.cells import Store

    names.check_processes(jobs, threads, scheduler, device=asked.get("device", "auto"))
    names.check_loggers(log)
    seconds = names.parse_time_limit(time_limit)
    planned = plan_study(name, runs=runs, here=scheduler is None, **asked)
    for line in tell_study_plan(planned, runs):
        say(line)
    how: dict[str, Any] = {"jobs": jobs, "threads": threads, "time_limit": seconds, "scheduler": scheduler, "log": log}
    failures: tuple[str, ...] = ()
    if planned.jobs:
        failures = make_cells([publishable(job) for job in planned.shared.first], len(planned.jobs), Path(runs), **how)
        ready, lost = give(planned.shared.then, Store(runs))
        failures += tuple(lost)
        if ready:
            say("the fits that are shared are there; now what is drawn from them")
            failures += make_cells([publishable(job) for job in ready], len(planned.jobs), Path(runs), **how)
    options = {key: asked[key] for key in ("data_root", "suite", "profile", "precision") if key in asked}
    return study(name, dataset=planned.survey.asked, runs=runs, **options), failures


def publishable(job: Job) -> Job:
    """The job scored by the board's protocol too, if it makes videos."""
    return job if job.spec.output else replace(job, protocols=tuple(dict.fromkeys((*job.protocols, "corrected"))))


def choose_cells(surveyed: StudySurvey) -> Iterator[tuple[Need, Level]]:
    """Which variants the study makes at which level: each where its row is decided, its base with it."""
    from leaderboard.papers.study import list_needs, matched_of

    chosen: dict[tuple[Need, Level], None] = {}
    for need, base in list_needs(surveyed.table, surveyed.asked, surveyed.profile):
        level = surveyed.declared.find(need.method, need.variant).read_at
        chosen |= dict.fromkeys(((base, level), (need, level), (matched_of(need), level)))
    yield from chosen


def tell_study_plan(planned: PlannedStudy, runs: str | Path) -> list[str]:
    """What the study makes, how many cells and fits, and hours as far as such cells were measured."""
    surveyed, shared = planned.survey, planned.shared
    if not planned.jobs:
        return [f"{surveyed.table.name} claims no difference of variants: there is nothing to decide"]
    todo = {job.spec.key for job in planned.todo}
    lines = [
        f"the study of {surveyed.table.name}: {len(planned.jobs)} cells, {len(planned.todo)} to do, by "
        f"{shared.fits} fits ({len(shared.then)} cells wait for one that they share)"
    ]
    for (place, method, split, level), jobs in group_jobs(planned.jobs).items():
        variants = ", ".join(dict.fromkeys(job.variant for job in jobs))
        left = sum(job.spec.key in todo for job in jobs)
        seeds = len({job.spec.seed for job in jobs})
        lines.append(f"  at the {level}, {method} on {place}, {split}, seeds {seeds}: {left} cells to do: {variants}")
    lines.append(f"  {tell_hours(planned, runs)}")
    return lines


def group_jobs(jobs: Sequence[Job]) -> dict[tuple[str, str, str, Level], list[Job]]:
    groups: dict[tuple[str, str, str, Level], list[Job]] = {}
    for job in jobs:
        level: Level = "encoder" if job.spec.output else "video"
        groups.setdefault((job.spec.dataset, job.spec.method, job.spec.split, level), []).append(job)
    return groups


def tell_hours(planned: PlannedStudy, runs: str | Path) -> str:
    """Core-hours of what is to do, by what cells of the same method, data set and split took here or where the
    committed ones were made.
    """
    from bench.api.cost import committed, stored
    from bench.store.cells import Store

    measured: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for manifest in (*stored(runs), *committed()):
        spec = manifest["spec"]
        phases = measured.setdefault((spec["dataset"], spec["method"], spec["split"]), {})
        for phase, seconds in manifest.get("phases", {}).items():
            if phase != "fit" or "weights_of" not in manifest:
                phases.setdefault(phase, []).append(float(seconds))
    store, hours, unknown = Store(runs), 0.0, 0
    for job in (*planned.shared.first, *(job for job, _ in planned.shared.then)):
        phases = measured.get((job.spec.dataset, job.spec.method, job.spec.split), {})
        if store.find(job.spec.key) is not None:
            continue  # it is scored alone
        waits = job.weights is not None or any(job is one for one, _ in planned.shared.then)
        needed = ["embed"] if job.spec.output else ["embed", "reconstruct"]
        needed += [] if waits else ["fit"]
        if not all(phases.get(phase) for phase in needed if phase != "embed"):
            unknown += 1
            continue
        hours += sum(sum(phases[phase]) / len(phases[phase]) for phase in needed if phases.get(phase)) / 3600
    if unknown:
        return f"hours are not known: {unknown} cells whose like was never made here; --dry-run --cost counts them"
    return f"about {hours:.2g} core-hours, by what such cells took, scoring and loading aside"
