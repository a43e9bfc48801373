"""Running a method: its cells with their floors, baselines and ceilings, made, scored and put into one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api import names
from bench.api.setting import Setting
from bench.core.errors import BenchError
from bench.core.job import Job, Run
from bench.core.progress import say

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision
    from bench.harness.executor import Outcome
    from bench.scoring.views import Viewer
    from bench.store.cells import Store


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run came to."""

    table: pd.DataFrame  # a row for each variant, protocol and metric: value, interval, floor, ceiling, brain share
    references: pd.DataFrame  # the same of the floors, baselines and ceilings beside it
    scores: pd.DataFrame  # a row for each clip, subject and metric
    failures: tuple[str, ...] = ()  # a line for each cell that failed


class CellsFailed(BenchError):
    """Some cells of a run failed; `result` holds what the others came to."""

    def __init__(self, result: RunResult) -> None:
        super().__init__("\n".join(f"failed: {failure}" for failure in result.failures))
        self.result = result


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The cells of a run, and those of them that are still to be made or scored."""

    jobs: list[Job]
    todo: list[Job]
    store: Store
    viewer: Viewer
    dataset: Any


def run(
    method: str | type,
    *,
    split: str = "cross_subject",
    variant: Sequence[str] = (),
    ablation: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    profile: str = "mini",
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    seeds: int = 1,
    runs: str | Path = "runs",
    protocol: Sequence[str] = (),
    quick: bool = False,
    video: bool = True,
    jobs: int | None = None,
    threads: int = 1,
    time_limit: str | float | None = None,
    shard: str | None = None,
    scheduler: str | None = None,
    keep_weights: bool = False,
    weights_of: str | Path | None = None,
    device: str = "auto",
    precision: Precision = "fp32",
    memory: str | int | None = None,
    log: Sequence[str] = (),
) -> RunResult:
    """Make, reconstruct and score the cells of a method on a split; what is in the store already is not made again.

    `method` is a name (`python -m bench list methods`), `path/file.py:Class`, or a class itself. `variant` names
    variants, `ablation` a group of them with its base; `parameters` changes parameters of each. `profile` is the
    size of the method's networks and training: `mini`, its defaults, or `paper`, as its paper states them. Without
    `dataset` it is the phantom of the kind that the method decodes.
    `quick` is the same chain on the tiny phantom. Without `video` the
    methods only embed, which costs no generator, and are scored by retrieval (protocol `embedding`). `seeds` is how
    many, from 0. `jobs` is how many processes (default: one a core) of `threads` threads each. `time_limit` ("2h",
    "90s", or seconds) is what the method of one cell may take. `shard` ("2/8") runs a part. With `scheduler`
    (`tcp://host:8786`, the file of a scheduler, or `local:N`) the workers of a Dask cluster make the cells, in place of
    `jobs` processes.

    `keep_weights` keeps what each fit of the method came to with its cell. With `weights_of` (a cell's key in `runs`, a
    cell's folder, or another folder of runs) such weights stand for the training, where only parameters that the method
    draws by, or settings of the suite, are others.

    `device` is where methods and judges compute: "cpu", "cuda", "cuda:N" or, by default, a GPU where there is one.
    Several ("cuda:0,cuda:1") work on each cell together, one cell after another; judges compute on the first.
    `precision` ("fp32", "bf16", "fp16") is that of the generators, of the networks that train and of the judges that a
    method asks, and a part of a cell's key; scores are given by exact judges. `memory` ("24GiB", or bytes) is what of
    the device each process may use.

    Each cell keeps its training curve (`training.csv`: loss and rate by step and phase) where its method trains by the
    toolbox's loops. `log` ("tensorboard", "wandb") sends the curves of the cells that are made here on.

    Each cell's method runs in a process of its own: whatever it does there, the others go on.

    Raises BenchError for a name or choice that is not there, before anything is made, and CellsFailed, which carries
    the result of the others, where cells failed.
    """
    names.check_processes(jobs, threads, scheduler, device=device)
    names.check_loggers(log)
    seconds = names.parse_time_limit(time_limit)
    planned = plan_run(
        method,
        split=split,
        variant=variant,
        ablation=ablation,
        parameters=parameters,
        profile=profile,
        dataset=dataset,
        data_root=data_root,
        suite=suite,
        classes=classes,
        seeds=seeds,
        runs=runs,
        protocol=protocol,
        quick=quick,
        video=video,
        shard=shard,
        keep_weights=keep_weights,
        weights_of=weights_of,
        device=device,
        precision=precision,
        memory=memory,
        here=scheduler is None,
    )
    failures = make_cells(
        planned.todo,
        len(planned.jobs),
        Path(runs),
        jobs=jobs,
        threads=threads,
        time_limit=seconds,
        scheduler=scheduler,
        log=log,
    )
    result = collect(planned, failures)
    if failures:
        raise CellsFailed(result)
    return result


def plan_run(
    method: str | type,
    *,
    split: str = "cross_subject",
    variant: Sequence[str] = (),
    ablation: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    profile: str = "mini",
    dataset: str | None = None,
    data_root: str | Path | None = None,
    suite: str = "mini",
    classes: int = 40,
    seeds: int = 1,
    runs: str | Path = "runs",
    protocol: Sequence[str] = (),
    quick: bool = False,
    video: bool = True,
    shard: str | None = None,
    keep_weights: bool = False,
    weights_of: str | Path | None = None,
    shapes: bool = False,
    device: str = "auto",
    precision: Precision = "fp32",
    memory: str | int | None = None,
    here: bool = True,
) -> Planned:
    """The cells that `run` would make with the same arguments. A phantom that is not there is made.

    `shapes` plans without the suite's weights too: what is not on this machine is taken to be to do. `here` asks
    whether the device is on this machine, and not on the workers of a cluster.
    """
    from bench.harness.facts import ask_files
    from bench.toolbox.parameters import try_parameters

    name = names.name_of(method)
    names.check_split(split)
    names.check_seeds(seeds)
    size = names.check_hardware(device, precision, memory, here=here, several=True)
    ask_files([name, *(parameters or {}).values()])
    part, parts = names.parse_shard(shard)
    if keep_weights and weights_of is not None:
        raise BenchError("with weights_of nothing is trained, so there is nothing to keep: leave out one of the two")
    dataset = dataset or names.default_dataset(name)
    setting = Setting(
        dataset=names.shrink(dataset) if quick else dataset,
        data_root=data_root,
        suite=suite,
        classes=classes,
        runs=runs,
    )
    names.check_modality(name, setting.dataset)
    names.check_metric(None, protocol)
    names.check_output_kind(protocol, video=video)
    variants = names.choose_variants(name, variant, ablation, parameters, profile)
    for changed in variants.values():
        try_parameters(name, changed)

    from bench.datasets.copies import refuse_copies
    from bench.harness.plan import plan
    from bench.harness.weights import give_weights, keep_weights_of
    from bench.scoring.stored import unfinished
    from bench.scoring.views import Viewer
    from bench.store.cells import Store

    opened, loaded = setting.open_shapes() if shapes else setting.open(make=True)
    refuse_copies(opened, split, classes)
    asked = Run(
        method=name,
        split=split,
        variants=variants,
        dataset=setting.dataset,
        suite=suite,
        classes=classes,
        seeds=seeds,
        data_root=None if data_root is None else str(data_root),
        protocols=names.default_protocols(opened.modality, protocol) if video else ("embedding",),
        video=video,
        device=device,
        precision=precision,
        memory=size,
    )
    planned = plan(asked, opened, loaded)
    if weights_of is not None:
        planned = give_weights(planned, name, weights_of, runs)
    store, viewer = Store(runs), Viewer(loaded.judges, opened.concepts)
    if keep_weights:
        planned = keep_weights_of(planned, name, store)
    todo = [job for job in unfinished(planned, store, viewer) if int(job.spec.key, 16) % parts == part - 1]
    return Planned(jobs=planned, todo=todo, store=store, viewer=viewer, dataset=opened)


def make_cells(
    todo: Sequence[Job],
    planned: int,
    runs: Path,
    *,
    jobs: int | None,
    threads: int,
    time_limit: float | None,
    scheduler: str | None = None,
    log: Sequence[str] = (),
) -> tuple[str, ...]:
    """Make and score the cells, here or on a cluster, and send their curves on; returns a line for each that failed."""
    say(f"{planned} cells, {len(todo)} to do, in {runs}")
    outcomes: Iterator[Outcome]
    if scheduler is not None:
        from bench.harness.cluster import execute_on_cluster

        outcomes = execute_on_cluster(todo, runs, scheduler=scheduler, threads=threads, time_limit=time_limit)
    else:
        from bench.core.hardware import list_devices
        from bench.core.paths import available_cores
        from bench.harness.executor import execute

        together = any(len(list_devices(job.device)) > 1 for job in todo)
        processes = 1 if together else min(jobs or available_cores(), max(1, len(todo)))
        outcomes = execute(todo, runs, processes=processes, threads=threads, time_limit=time_limit)
    failures = []
    for outcome in outcomes:
        if outcome.error:
            failures.append(outcome.error)
        elif log:
            from bench.harness.loggers import send_curve
            from bench.store.cells import Store

            send_curve(log, Store(runs).find(outcome.job.spec.key))
    return tuple(failures)


def collect(planned: Planned, failures: tuple[str, ...] = ()) -> RunResult:
    """The tables of what the store holds of the planned cells; empty where nothing is scored yet."""
    from bench.scoring.lookup import find_protocols
    from bench.scoring.stored import compare_makings, count_folds, read_scores
    from leaderboard.narrow import note_verdicts
    from leaderboard.tables import result_table

    protocols = planned.jobs[0].protocols
    with planned.store.reading():
        cells = [cell for job in planned.jobs if (cell := planned.store.find(job.spec.key)) is not None]
        scores = read_scores(cells, planned.viewer, protocols)
    if scores.empty:
        return RunResult(table=scores, references=scores, scores=scores, failures=failures)
    scores = count_folds(scores, planned.dataset)
    rules = find_protocols(protocols)
    rows = result_table(scores, protocols=rules)
    rows.attrs["notes"] = compare_makings(cells, planned.viewer, protocols)
    ours = rows["method"] == planned.jobs[0].spec.method
    note_verdicts(rows, scores, rules, asked=planned.jobs[0].spec.method)
    return RunResult(
        table=rows[ours].reset_index(drop=True),  # pandas keeps the notes
        references=rows[~ours].reset_index(drop=True),
        scores=scores,
        failures=failures,
    )
