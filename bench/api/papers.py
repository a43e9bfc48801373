"""The papers' tables: reported beside measured, what is still to be run of them, and what their ablations claim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.run import make_cells
from bench.api.setting import load_or_shape
from bench.core.built_in import STAND_INS
from bench.core.errors import BenchError
from bench.core.job import Job, Run
from bench.core.progress import say
from bench.core.spec import CellSpec
from bench.core.variants import MINI, check_profile, find_variant
from leaderboard.papers.measure import Need, Shelf, Survey, find_need, first_part, measure, missing_cells, place
from leaderboard.papers.reported import ReportedTable, load_table, table_names

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision
    from bench.scoring.views import Viewer
    from bench.store.cells import Store
    from leaderboard.results import Committed

PAPERS = ("sam_net.", "cine_neuron.")


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A paper's table beside what was measured."""

    survey: Survey
    records: pd.DataFrame  # a row for each reported number, with what was measured
    differences: pd.DataFrame  # a row for each difference that its ablations claim, with ours and the verdict
    notes: tuple[str, ...] = ()  # of cells that the store holds in another precision

    @property
    def lacking(self) -> int:
        """How many numbers are not run, or only in part."""
        return len(missing_cells(self.records))

    def lay_out(self) -> pd.DataFrame:
        """The paper's own rows and columns, as text: under each reported row what was measured, and the best floor."""
        from leaderboard.papers.layout import lay_out

        return lay_out(self.records, self.survey.table)


def paper_names() -> list[str]:
    """The tables of both papers, in order."""
    return [name for name in table_names() if name.startswith(PAPERS)]


def paper_table(
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
) -> PaperTable:
    """A table such as "sam_net.3" with what the store, or what is committed, holds of it; nothing is made or run.

    `dataset` names the data sets to measure on, separated by commas; by default the phantoms stand for them. Where the
    store is not there, or the data that its cells were made from, the committed results are shown, and it is said;
    `published` asks for them, and `results` for those of another folder, or for those that were read. `profile` is that
    of each method which has it, `precision` that of the store's cells.
    Raises BenchError for a table that is not there and for data that it is not about.
    """
    from bench.datasets.catalogue import NotMade
    from bench.harness.shelf import StoreShelf
    from bench.store.cells import Store

    check_profile(profile)
    asked = load_table(name)
    if published or results is not None:
        committed = read_committed(results)
        return lay_beside(survey_committed(asked, committed, dataset=dataset, suite=suite, profile=profile), committed)
    if not Path(runs).is_dir():
        say(f"there is no store {runs}: these are the committed results, as `--published` shows them")
        return paper_table(name, dataset=dataset, suite=suite, profile=profile, published=True)
    try:
        hardware = {"precision": precision}
        options: dict[str, Any] = {"dataset": dataset, "data_root": data_root, "suite": suite, "profile": profile}
        surveyed, viewers = survey(asked, make=False, hardware=hardware, **options)
    except NotMade as error:
        say(f"{error}; these are the committed results, as `--published` shows them")
        return paper_table(name, dataset=dataset, suite=suite, profile=profile, published=True)
    store = Store(runs)
    hidden = note_hidden(store, (job for jobs in surveyed.planned.values() for job in jobs), data_root)
    return replace(lay_beside(surveyed, StoreShelf(store, viewers.__getitem__)), notes=hidden)


def note_hidden(store: Store, jobs: Iterable[Job], data_root: str | Path | None) -> tuple[str, ...]:
    """What `tell_hidden` says of the cells that would be these jobs' had another precision been asked for."""
    from bench.datasets.catalogue import open_dataset
    from bench.harness.shelf import find_in_other_precisions, is_current, tell_hidden
    from bench.pretrained.suite import load_suite

    found = find_in_other_precisions(store, jobs)
    specs = [cell.manifest["spec"] for cell in found]
    opened = {spec["dataset"]: open_dataset(spec["dataset"], data_root=data_root, make=False) for spec in specs}
    suites = {spec["suite"]: load_suite(spec["suite"]) for spec in specs}
    current = [
        cell
        for cell, spec in zip(found, specs, strict=True)
        if is_current(cell.manifest, opened[spec["dataset"]], suites[spec["suite"]], spec["classes"])
    ]
    return tuple(tell_hidden(current))


def read_committed(results: str | Path | Committed | None) -> Committed:
    """The committed results of a folder, by default of the project; those that were read before as they are."""
    from leaderboard.results import RESULTS, Committed

    return results if isinstance(results, Committed) else Committed(Path(results or RESULTS))


def lay_beside(surveyed: Survey, shelf: Shelf) -> PaperTable:
    """The table of a survey with what a shelf holds of it."""
    from leaderboard.papers.differences import compare_differences

    return PaperTable(
        survey=surveyed, records=measure(surveyed, shelf), differences=compare_differences(surveyed, shelf)
    )


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


def survey(
    table: ReportedTable,
    *,
    dataset: str | None,
    suite: str,
    profile: str = MINI,
    seeds: int = 1,
    data_root: str | Path | None = None,
    make: bool,
    shapes: bool = False,
    hardware: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Survey, dict[str, Viewer]]:
    """What of ours a table needs, and a viewer for each data set. dataset: one name or several with commas; None stands
    for the phantoms, which are made where they are not there and `make` says so. `hardware`: device, precision, memory.

    A method or variant that is not there (yet), or that a data set or split does not fit, is `absent`, with the reason.
    Raises BenchError for data sets that the table is not about, and where one cannot be opened.
    """
    from bench.datasets.catalogue import open_dataset, require_stimuli
    from bench.datasets.copies import refuse_copies
    from bench.harness.plan import plan
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Viewer

    needs = list_needs(table, dataset, profile)
    loaded = load_or_shape(suite) if shapes else load_suite(suite)
    opened = {
        name: open_dataset(name, data_root=data_root, make=make)
        for name in dict.fromkeys(need.dataset for need in needs)
    }
    jobs: dict[Need, list[Job]] = {}
    references: dict[str, dict[str, Job]] = {name: {} for name in opened}
    absent: dict[Need, str] = {}
    variants: dict[tuple[str, str, str, int], dict[Need, dict[str, Any]]] = {}  # of the needs that one run covers
    for need in needs:
        try:
            parameters = find_variant(need.method, need.variant)
        except BenchError as error:
            absent[need] = first_part(str(error))
            continue
        variants.setdefault((need.dataset, need.method, need.split, need.classes), {})[need] = parameters
    for (name, method, split, classes), together in variants.items():
        try:
            run = Run(
                method=method,
                split=split,
                variants={need.variant: parameters for need, parameters in together.items()},
                dataset=name,
                suite=suite,
                classes=classes,
                seeds=seeds,
                data_root=None if data_root is None else str(data_root),
                protocols=table.protocols,
                **hardware,
            )
            if make:
                require_stimuli(opened[name])
                refuse_copies(opened[name], split, classes)
            planned = plan(run, opened[name], loaded)
        except BenchError as error:
            absent |= dict.fromkeys(together, first_part(str(error)))
            continue
        for need in together:
            jobs[need] = [job for job in planned if (job.spec.method, job.variant) == (method, need.variant)]
        references[name] |= {job.spec.key: job for job in planned if job.spec.method != method}
    viewers = {name: Viewer(loaded.judges, one.concepts) for name, one in opened.items()}
    surveyed = Survey(
        table=table,
        asked=dataset,
        suite=suite,
        profile=profile,
        missing={name: viewer.missing for name, viewer in viewers.items()},
        jobs=jobs,
        references={name: list(by_key.values()) for name, by_key in references.items()},
        absent=absent,
    )
    return surveyed, viewers


def list_needs(table: ReportedTable, dataset: str | None, profile: str) -> list[Need]:
    """What of ours stands beside a table's numbers. Raises BenchError for data sets that the table is not about."""
    cells = [cell for row in table.rows for cell in row.cells]
    needs = list(dict.fromkeys(need for cell in cells if (need := find_need(cell, dataset, profile))))
    about = {cell.dataset for cell in cells if cell.method}
    if about and not needs:
        allowed = ", ".join(f"{name} or {STAND_INS[name]}" for name in sorted(about))
        raise BenchError(f"{table.name} is about other data than {dataset!r}; allowed are {allowed} (also :tiny)")
    return needs


def survey_committed(
    table: ReportedTable, committed: Committed, *, dataset: str | None, suite: str, profile: str = MINI
) -> Survey:
    """What of ours a table needs, as far as it is committed: the manifests name the cells, so no data set is opened."""
    from bench.datasets.catalogue import concept_names
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Viewer

    judges = load_suite(suite).judges
    needs = list_needs(table, dataset, profile)
    jobs: dict[Need, list[Job]] = {}
    absent: dict[Need, str] = {}
    manifests = [one for one in committed.manifests() if not one["spec"].get("output")]  # videos, as a paper's are
    for need in needs:
        try:
            parameters = find_variant(need.method, need.variant)
            names.check_modality(need.method, need.dataset)
        except BenchError as error:
            absent[need] = first_part(str(error))
            continue
        wanted = (need.dataset, need.method, need.split, need.classes, suite, parameters)
        jobs[need] = [job_of(one, table.protocols) for one in manifests if describe(one["spec"]) == wanted]
    sets = dict.fromkeys(need.dataset for need in needs)
    beside = [one for one in manifests if one["role"] != "method" and one["spec"]["suite"] == suite]
    return Survey(
        table=table,
        asked=dataset,
        suite=suite,
        profile=profile,
        missing={name: Viewer(judges, concept_names(name)).missing for name in sets},
        jobs=jobs,
        references={
            name: [job_of(one, table.protocols) for one in beside if one["spec"]["dataset"] == name] for name in sets
        },
        absent=absent,
    )


def describe(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(spec[name] for name in ("dataset", "method", "split", "classes", "suite", "parameters"))


def job_of(manifest: Mapping[str, Any], protocols: tuple[str, ...]) -> Job:
    """The job that a committed cell came from."""
    return Job(
        spec=CellSpec(**manifest["spec"]),
        variant=manifest["variant"],
        role=manifest["role"],
        data_root=None,
        protocols=protocols,
    )
