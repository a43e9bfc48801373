"""The ablation study of a paper's table: what decides each of its rows, planned, run and judged.

`leaderboard/papers/study.toml` declares which level decides a row. Of a row that the encoder decides no video is made;
of the others videos are, rows that differ in the generator alone from one shared fit. Floors and ceilings decide no
difference and are left to `run --paper`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.papers import describe, job_of, load_table, note_hidden, quick_datasets, read_committed
from bench.api.run import make_cells
from bench.api.setting import load_or_shape
from bench.core.errors import BenchError
from bench.core.job import Job, Run
from bench.core.progress import say
from bench.core.spec import EMBEDDING
from bench.core.variants import MINI, check_profile, find_variant
from leaderboard.papers.declared import LEVELS, Level, load_declared
from leaderboard.papers.measure import Need, first_part

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision
    from bench.harness.shared_fits import Shared
    from bench.scoring.views import Viewer
    from leaderboard.papers.study import StudySurvey
    from leaderboard.results import Committed

EMBEDDED = (EMBEDDING,)  # the protocol of the encoder


@dataclass(frozen=True, kw_only=True)
class Study:
    """A table's differences with their verdicts."""

    survey: StudySurvey
    table: pd.DataFrame  # a row for each difference: `leaderboard.papers.study.COLUMNS`
    notes: tuple[str, ...] = ()  # of cells that the store holds in another precision

    @property
    def sentence(self) -> str:
        """What the study comes to."""
        from leaderboard.papers.study import summarise

        return summarise(self.table) if len(self.table) else f"{self.survey.table.name} claims no difference."


@dataclass(frozen=True, kw_only=True)
class PlannedStudy:
    """The cells of a study, those that are still to be made or scored, and how they share fits."""

    survey: StudySurvey
    jobs: list[Job]
    todo: list[Job]
    shared: Shared


def study(
    name: str,
    *,
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    profile: str = MINI,
    runs: str | Path = "runs",
    published: bool = False,
    results: str | Path | Committed | None = None,
    precision: Precision = "fp32",
) -> Study:
    """The study of a table such as "sam_net.3" with what the store, or what is committed, holds; nothing is run.

    Arguments and errors as those of `paper_table`; without a `dataset` it is the one that `study.toml` declares.
    """
    from bench.datasets.catalogue import NotMade
    from bench.harness.shelf import StoreShelf
    from bench.store.cells import Store
    from leaderboard.papers.study import study_table

    check_profile(profile)
    dataset = dataset or load_declared().data.get(name)
    options: dict[str, Any] = {"dataset": dataset, "suite": suite, "profile": profile}
    if published or results is not None or not Path(runs).is_dir():
        if not published and results is None:
            say(f"there is no store {runs}: these are the committed results, as `--published` shows them")
        committed = read_committed(results)
        surveyed = survey_committed(name, committed, **options)
        return Study(survey=surveyed, table=study_table(surveyed, committed, find_planted))
    try:
        hardware = {"precision": precision}
        surveyed, viewers = survey(name, data_root=data_root, make=False, seeds=1, hardware=hardware, **options)
    except NotMade as error:
        say(f"{error}; these are the committed results, as `--published` shows them")
        return study(name, published=True, **options)
    store = Store(runs)
    hidden = note_hidden(store, (job for jobs in surveyed.jobs.values() for job in jobs), data_root)
    shelf = StoreShelf(store, viewers.__getitem__)
    return Study(survey=surveyed, table=study_table(surveyed, shelf, find_planted), notes=hidden)


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


def survey(
    name: str,
    *,
    dataset: str | None,
    suite: str,
    profile: str,
    seeds: int,
    data_root: str | Path | None = None,
    make: bool,
    shapes: bool = False,
    hardware: Mapping[str, Any],
) -> tuple[StudySurvey, dict[str, Viewer]]:
    """The cells of each variant of a table at each level, and a viewer for each data set; as `papers.survey`."""
    from bench.datasets.catalogue import open_dataset, require_stimuli
    from bench.datasets.copies import refuse_copies
    from bench.harness.plan import plan
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Viewer
    from leaderboard.papers.study import StudySurvey

    table = load_table(name)
    needs = list_variants(name, dataset, profile)
    loaded = load_or_shape(suite) if shapes else load_suite(suite)
    opened = {one: open_dataset(one, data_root=data_root, make=make) for one in dict.fromkeys(n.dataset for n in needs)}
    jobs: dict[tuple[Need, Level], list[Job]] = {}
    absent: dict[tuple[Need, Level], str] = {}
    for (place, method, split, classes), together in group_needs(needs).items():
        for level in LEVELS:
            run = Run(
                method=method,
                split=split,
                variants={need.variant: find_variant(method, need.variant) for need in together},
                dataset=place,
                suite=suite,
                classes=classes,
                seeds=seeds,
                data_root=None if data_root is None else str(data_root),
                protocols=EMBEDDED if level == "encoder" else table.protocols,
                video=level == "video",
                **hardware,
            )
            try:
                if make:
                    require_stimuli(opened[place])
                    refuse_copies(opened[place], split, classes)
                planned = plan(run, opened[place], loaded)
            except BenchError as error:
                absent |= {(need, level): first_part(str(error)) for need in together}
                continue
            for need in together:
                own = [job for job in planned if (job.spec.method, job.variant) == (method, need.variant)]
                jobs[need, level] = own
    viewers = {one: Viewer(loaded.judges, data.concepts) for one, data in opened.items()}
    surveyed = StudySurvey(
        table=table,
        asked=dataset,
        suite=suite,
        profile=profile,
        declared=load_declared(),
        missing={one: viewer.missing for one, viewer in viewers.items()},
        jobs=jobs,
        absent=absent,
    )
    return surveyed, viewers


def survey_committed(name: str, committed: Any, *, dataset: str | None, suite: str, profile: str) -> StudySurvey:
    """As `survey`, of the cells that are committed, of either output; no data set is opened."""
    from bench.datasets.catalogue import concept_names
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Viewer
    from leaderboard.papers.study import StudySurvey

    table = load_table(name)
    needs = list_variants(name, dataset, profile)
    judges, manifests = load_suite(suite).judges, committed.manifests()
    jobs: dict[tuple[Need, Level], list[Job]] = {}
    for need in needs:
        wanted = (need.dataset, need.method, need.split, need.classes, suite, find_variant(need.method, need.variant))
        own = [one for one in manifests if describe(one["spec"]) == wanted]
        for level in LEVELS:
            output = EMBEDDING if level == "encoder" else ""
            protocols = EMBEDDED if level == "encoder" else table.protocols
            jobs[need, level] = [job_of(one, protocols) for one in own if one["spec"].get("output", "") == output]
    sets = dict.fromkeys(need.dataset for need in needs)
    return StudySurvey(
        table=table,
        asked=dataset,
        suite=suite,
        profile=profile,
        declared=load_declared(),
        missing={one: Viewer(judges, concept_names(one)).missing for one in sets},
        jobs=jobs,
        absent={},
    )


def list_variants(name: str, dataset: str | None, profile: str) -> list[Need]:
    """The variants of a table that claim a difference, their bases and their capacity-matched forms, each once."""
    from bench.api.papers import list_needs as check_datasets
    from leaderboard.papers.study import list_needs, matched_of

    table = load_table(name)
    check_datasets(table, dataset, profile)
    found: dict[Need, None] = {}
    for need, base in list_needs(table, dataset, profile):
        for one in (base, need, matched_of(need)):
            if is_known(one):
                found[one] = None
    return list(found)


def is_known(need: Need) -> bool:
    try:
        find_variant(need.method, need.variant)
        names.check_modality(need.method, need.dataset)
    except BenchError:
        return False
    return True


def group_needs(needs: Sequence[Need]) -> dict[tuple[str, str, str, int], list[Need]]:
    groups: dict[tuple[str, str, str, int], list[Need]] = {}
    for need in needs:
        groups.setdefault((need.dataset, need.method, need.split, need.classes), []).append(need)
    return groups


def choose_cells(surveyed: StudySurvey) -> Iterator[tuple[Need, Level]]:
    """Which variants the study makes at which level: each where its row is decided, its base with it."""
    from leaderboard.papers.study import list_needs, matched_of

    chosen: dict[tuple[Need, Level], None] = {}
    for need, base in list_needs(surveyed.table, surveyed.asked, surveyed.profile):
        level = surveyed.declared.find(need.method, need.variant).read_at
        chosen |= dict.fromkeys(((base, level), (need, level), (matched_of(need), level)))
    yield from chosen


def find_planted(dataset: str, figure: str) -> list[float]:
    """Each subject's figure of a phantom's card that ships with the code; none where there is no such card or row."""
    from bench.datasets.catalogue import shipped_card

    card = shipped_card(dataset)
    rows = [] if card is None else card[card["figure"] == figure].to_dict("records")
    return [float(value) for row in rows for value in str(row["by subject"] or row["mean"]).split()]


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
