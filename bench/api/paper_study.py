"""The ablation study of a paper's table: what decides each of its rows, and how. `study_run` plans and runs it.

`leaderboard/papers/study.toml` declares which level decides a row. Of a row that the encoder decides no video is made;
of the others videos are, rows that differ in the generator alone from one shared fit. Floors and ceilings decide no
difference and are left to `run --paper`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.papers import describe, job_of, note_hidden, part_precisions, read_committed
from bench.api.setting import load_or_shape
from bench.core.errors import BenchError
from bench.core.job import Job, Run
from bench.core.progress import say
from bench.core.spec import EMBEDDING
from bench.core.variants import MINI, check_profile, find_variant
from leaderboard.papers.declared import LEVELS, Level, load_declared
from leaderboard.papers.measure import Need, first_part
from leaderboard.papers.reported import load_table

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision
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
        surveyed, notes = survey_committed(name, committed, precision=precision, **options)
        return Study(survey=surveyed, table=study_table(surveyed, committed, find_planted), notes=notes)
    try:
        hardware = {"precision": precision}
        surveyed, viewers = survey(name, data_root=data_root, make=False, seeds=1, hardware=hardware, **options)
    except NotMade as error:
        say(f"{error}; these are the committed results, as `--published` shows them")
        return study(name, published=True, precision=precision, **options)
    store = Store(runs)
    hidden = note_hidden(store, (job for jobs in surveyed.jobs.values() for job in jobs), data_root)
    shelf = StoreShelf(store, viewers.__getitem__)
    return Study(survey=surveyed, table=study_table(surveyed, shelf, find_planted), notes=hidden)


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


def survey_committed(
    name: str, committed: Committed, *, dataset: str | None, suite: str, profile: str, precision: Precision
) -> tuple[StudySurvey, tuple[str, ...]]:
    """As `survey`, of the cells that are committed, of either output; no data set is opened.

    And what is said of its cells that are committed in another precision.
    """
    from bench.datasets.catalogue import concept_names
    from bench.harness.shelf import tell_hidden
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Viewer
    from leaderboard.papers.study import StudySurvey

    table = load_table(name)
    needs = list_variants(name, dataset, profile)
    judges = load_suite(suite).judges
    manifests, others = part_precisions(committed.manifests(), precision)
    hidden: list[Mapping[str, Any]] = []
    jobs: dict[tuple[Need, Level], list[Job]] = {}
    for need in needs:
        wanted = (need.dataset, need.method, need.split, need.classes, suite, find_variant(need.method, need.variant))
        own = [one for one in manifests if describe(one["spec"]) == wanted]
        hidden += [one for one in others if describe(one["spec"]) == wanted]
        for level in LEVELS:
            output = EMBEDDING if level == "encoder" else ""
            protocols = EMBEDDED if level == "encoder" else table.protocols
            jobs[need, level] = [job_of(one, protocols) for one in own if one["spec"].get("output", "") == output]
    sets = dict.fromkeys(need.dataset for need in needs)
    surveyed = StudySurvey(
        table=table,
        asked=dataset,
        suite=suite,
        profile=profile,
        declared=load_declared(),
        missing={one: Viewer(judges, concept_names(one)).missing for one in sets},
        jobs=jobs,
        absent={},
    )
    return surveyed, tuple(tell_hidden(hidden))


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


def find_planted(dataset: str, figure: str) -> list[float]:
    """Each subject's figure of a phantom's card that ships with the code; none where there is no such card or row."""
    from bench.datasets.catalogue import shipped_card

    card = shipped_card(dataset)
    rows = [] if card is None else card[card["figure"] == figure].to_dict("records")
    return [float(value) for row in rows for value in str(row["by subject"] or row["mean"]).split()]
