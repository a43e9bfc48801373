"""The papers' tables: reported beside measured, of a store or of what is committed, and what their ablations claim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.setting import load_or_shape
from bench.core.built_in import STAND_INS
from bench.core.errors import BenchError
from bench.core.job import Job, Run
from bench.core.progress import say
from bench.core.spec import CellSpec, precision_of
from bench.core.variants import MINI, check_profile, find_variant
from leaderboard.papers.measure import Need, Shelf, Survey, find_need, first_part, measure, missing_cells
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
    of each method which has it, `precision` that of the cells.
    Raises BenchError for a table that is not there and for data that it is not about.
    """
    from bench.datasets.catalogue import NotMade
    from bench.harness.shelf import StoreShelf
    from bench.store.cells import Store

    check_profile(profile)
    asked = load_table(name)
    options: dict[str, Any] = {"dataset": dataset, "suite": suite, "profile": profile}
    if published or results is not None:
        committed = read_committed(results)
        surveyed, notes = survey_committed(asked, committed, precision=precision, **options)
        return replace(lay_beside(surveyed, committed), notes=notes)
    if not Path(runs).is_dir():
        say(f"there is no store {runs}: these are the committed results, as `--published` shows them")
        return paper_table(name, published=True, precision=precision, **options)
    try:
        surveyed, viewers = survey(asked, make=False, data_root=data_root, hardware={"precision": precision}, **options)
    except NotMade as error:
        say(f"{error}; these are the committed results, as `--published` shows them")
        return paper_table(name, published=True, precision=precision, **options)
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
    return tuple(tell_hidden(cell.manifest for cell in current))


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
    table: ReportedTable,
    committed: Committed,
    *,
    dataset: str | None,
    suite: str,
    profile: str = MINI,
    precision: Precision = "fp32",
) -> tuple[Survey, tuple[str, ...]]:
    """What of ours a table needs, as far as it is committed: the manifests name the cells, so no data set is opened.

    And what is said of its cells that are committed in another precision.
    """
    from bench.datasets.catalogue import concept_names
    from bench.harness.shelf import tell_hidden
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Viewer

    judges = load_suite(suite).judges
    needs = list_needs(table, dataset, profile)
    jobs: dict[Need, list[Job]] = {}
    absent: dict[Need, str] = {}
    videos = [one for one in committed.manifests() if not one["spec"].get("output")]  # as a paper's are
    manifests, others = part_precisions(videos, precision)
    hidden: list[Mapping[str, Any]] = []
    for need in needs:
        try:
            parameters = find_variant(need.method, need.variant)
            names.check_modality(need.method, need.dataset)
        except BenchError as error:
            absent[need] = first_part(str(error))
            continue
        wanted = (need.dataset, need.method, need.split, need.classes, suite, parameters)
        jobs[need] = [job_of(one, table.protocols) for one in manifests if describe(one["spec"]) == wanted]
        hidden += [one for one in others if describe(one["spec"]) == wanted]
    sets = dict.fromkeys(need.dataset for need in needs)
    beside = [one for one in manifests if one["role"] != "method" and one["spec"]["suite"] == suite]
    surveyed = Survey(
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
    return surveyed, tuple(tell_hidden(hidden))


def part_precisions(
    manifests: Iterable[Mapping[str, Any]], precision: Precision
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The manifests of cells in this precision, references without such a cell by their exact one; and the others."""
    from bench.harness.shelf import name_apart_from_precision

    every = list(manifests)
    kept = [one for one in every if precision_of(one["spec"]) == precision]
    there = {name_apart_from_precision(one["spec"]) for one in kept}
    exact = [one for one in every if one["role"] != "method" and precision_of(one["spec"]) == "fp32"]
    kept += [one for one in exact if name_apart_from_precision(one["spec"]) not in there]
    keys = {one["key"] for one in kept}
    return kept, [one for one in every if one["key"] not in keys]


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
