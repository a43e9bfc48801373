"""`bench run`: make, reconstruct and score the cells of a method, or all that a paper's table lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import bench
from bench.cli import options
from bench.cli.options import Name, refuse, show
from bench.cli.paper import show_paper, show_study, tell_absent
from bench.core.errors import BenchError
from bench.core.job import Job
from bench.core.progress import complain, say

if TYPE_CHECKING:
    import pandas as pd

RESOURCES = ("jobs", "threads", "time_limit", "scheduler", "log")
HARDWARE = ("device", "precision", "memory")
SHARED = ("dataset", "data_root", "suite", "profile", "seeds", "runs", "quick", "shard", *HARDWARE)
SETTLED = (
    "split",
    "variant",
    "ablation",
    "settings",
    "classes",
    "protocol",
    "references",
    "video",
    "keep_weights",
    "weights_of",
)


@click.command(epilog="Example: python -m bench run --method sam_net --split cross_subject --ablation hrt --seeds 3")
@click.option("--method", type=Name("methods"), show_default="none", help="A name of `list methods`, or file.py:Class.")
@click.option(
    "--paper", metavar="TABLE", show_default="none", help="Instead: all that a paper's table lacks (sam_net.3)."
)
@click.option(
    "--study", is_flag=True, help="With --paper: what decides its ablations alone, encoders without videos, five seeds."
)
@click.option(
    "--split", type=Name("splits"), default="cross_subject", help="single_subject, cross_subject, new_subject."
)
@click.option("--variant", multiple=True, metavar="NAME", show_default="base", help="A named variant (again for more).")
@click.option(
    "--ablation",
    metavar="GROUP",
    show_default="none",
    help="Every variant of a group, with its base: readouts, of most methods.",
)
@options.settings
@options.profile
@options.setting
@click.option("--seeds", type=int, default=1, help="How many seeds, from 0; 3 before a difference is one.")
@click.option("--jobs", type=options.POSITIVE, show_default="one a core", help="Local processes.")
@click.option("--threads", type=options.POSITIVE, default=1, help="Threads that a cell computes with.")
@click.option(
    "--time-limit", metavar="TIME", show_default="none", help="Of the method of one cell: 90s, 30m, 2h, 1h30m."
)
@click.option("--shard", metavar="i/n", show_default="all", help="Only this part of the cells, for several machines.")
@click.option(
    "--scheduler",
    metavar="WHERE",
    show_default="none: --jobs here",
    help="A Dask cluster makes the cells: tcp://host:8786, the file of a scheduler, or local:N.",
)
@click.option(
    "--log",
    multiple=True,
    type=click.Choice(("tensorboard", "wandb")),
    show_default="each cell's training.csv alone",
    help="Send training curves on, too.",
)
@click.option("--keep-weights", is_flag=True, help="Keep what each fit of the method came to with its cell.")
@click.option(
    "--weights-of",
    metavar="CELL",
    show_default="none: fit",
    help="Draw again by weights that were kept: a cell's key or folder, or another --runs.",
)
@options.hardware
@click.option("--dry-run", is_flag=True, help="Print the cells, and whether they are there.")
@click.option("--cost", is_flag=True, help="With --dry-run: memory, disk and hours, counted without computing.")
@click.option("--quick", is_flag=True, help="The same chain on the tiny phantom.")
@click.option("--no-video", "video", flag_value=False, default=True, help="Embeddings alone, scored by retrieval.")
@click.option(
    "--protocol",
    type=Name("protocols"),
    multiple=True,
    show_default="corrected, and the field's own",
    help="Score by this one too; a name, or file.py:NAME.",
)
@options.references
@options.output
def run(
    method: str | None,
    paper: str | None,
    study: bool,
    dry_run: bool,
    cost: bool,
    format: str,
    output: Path | None,
    **asked: Any,
) -> int:
    """Make, reconstruct and score the cells of a method, with floors and ceilings beside it."""
    if (method is None) == (paper is None):
        raise BenchError("name what to run: --method NAME, or --paper TABLE, and not both")
    if cost and not dry_run:
        raise BenchError("--cost is told with --dry-run, before anything is made; give both")
    if paper is not None:
        refuse(SETTLED, "is settled by --paper, which names methods, variants, splits and classes itself")
        if study:
            return run_study(paper, dry_run, cost, format, output, asked)
        return run_paper(paper, dry_run, cost, format, output, asked)
    if study:
        raise BenchError("--study decides the ablations of a paper's table; name it with --paper")
    return run_method(str(method), dry_run, cost, format, output, asked)


def run_method(method: str, dry_run: bool, cost: bool, format: str, output: Path | None, asked: dict[str, Any]) -> int:
    from bench.core.variants import parse_settings

    references = asked.pop("references")
    resources = {name: asked.pop(name) for name in RESOURCES}
    asked |= {"classes": int(asked["classes"]), "parameters": parse_settings(asked.pop("settings"))}
    if dry_run:
        planned = bench.plan_run(method, **asked, shapes=True)
        tell_work(planned.todo, len(planned.jobs), cost, asked)
        keys = {job.spec.key for job in planned.todo}
        for job in planned.jobs:
            spec = job.spec
            print(f"{spec.key}  {tell_state(job, keys)}  {spec.method} {job.variant} {spec.split}/{spec.fold}")
        return 0
    try:
        result, code = bench.run(method, **resources, **asked), 0
    except bench.CellsFailed as error:
        result, code = error.result, 1
    if result.scores.empty:
        say("no scores to show yet")
    elif result.table.empty and not references:
        say(f"no scores of {method} yet; --references shows those of floors and ceilings")
    else:
        import pandas as pd

        rows = pd.concat([result.table, result.references], ignore_index=True) if references else result.table
        show(leave_field(rows, asked["protocol"]) if format == "text" else rows, format, output)
    for failure in result.failures:
        complain(f"failed: {failure}")
    return code


def leave_field(rows: pd.DataFrame, asked: Sequence[str]) -> pd.DataFrame:
    """The rows of the project's own protocol and of what was asked for: those of the field's own are many."""
    from bench.core.registry import names

    field = set(names("protocols")) - {"corrected", *asked}
    kept = rows[~rows["protocol"].isin(field)]
    if kept.empty or len(kept) == len(rows):
        return rows
    left = ", ".join(dict.fromkeys(rows.loc[rows["protocol"].isin(field), "protocol"]))
    kept = kept.reset_index(drop=True)
    kept.attrs["notes"] = [*rows.attrs.get("notes", []), f"Scored by {left} too: --wide."]
    return kept


def run_paper(paper: str, dry_run: bool, cost: bool, format: str, output: Path | None, asked: dict[str, Any]) -> int:
    shared = {name: asked[name] for name in SHARED}
    if shared["data_root"] and not shared["dataset"]:
        raise BenchError("--data-root is the folder of a real data set: name it with --dataset")
    if dry_run:
        survey, planned, todo = bench.plan_paper(paper, **shared, shapes=True)
        tell_work(todo, len(planned), cost, asked)
        keys = {job.spec.key for job in todo}
        for job in planned:
            spec = job.spec
            about = f"{spec.method} {job.variant} {spec.dataset} {spec.classes} {spec.split}/{spec.fold} {spec.seed}"
            print(f"{spec.key}  {tell_state(job, keys)}  {about}")
        tell_absent(survey)
        return 0
    table, failures = bench.run_paper(paper, **{name: asked[name] for name in RESOURCES}, **shared)
    shown = {name: asked[name] for name in ("runs", "data_root", "precision")}
    show_paper(table, format, output, **shown)
    for failure in failures:
        complain(f"failed: {failure}")
    return 1 if failures else 0


def run_study(paper: str, dry_run: bool, cost: bool, format: str, output: Path | None, asked: dict[str, Any]) -> int:
    """The ablation study of a table: what it makes, how long that takes, then the verdicts."""
    shared = {name: asked[name] for name in SHARED}
    if shared["data_root"] and not shared["dataset"]:
        raise BenchError("--data-root is the folder of a real data set: name it with --dataset")
    if dry_run:
        planned = bench.plan_study(paper, **shared, shapes=True)
        for line in bench.tell_study_plan(planned, asked["runs"]):
            say(line)
        if cost:
            tell_work(planned.todo, len(planned.jobs), cost, asked)
        keys = {job.spec.key for job in planned.todo}
        waits = {job.spec.key: f"  fit of {key}" for job, key in planned.shared.then}
        for job in planned.jobs:
            spec = job.spec
            about = f"{spec.method} {job.variant} {spec.dataset} {spec.split}/{spec.fold} {spec.seed}"
            at = "encoder" if spec.output else "video"
            print(f"{spec.key}  {tell_state(job, keys)}  {at}  {about}{waits.get(spec.key, '')}")
        return 0
    made, failures = bench.run_study(paper, **{name: asked[name] for name in RESOURCES}, **shared)
    show_study(made, format, output)
    for failure in failures:
        complain(f"failed: {failure}")
    return 1 if failures else 0


def tell_work(todo: Sequence[Job], planned: int, cost: bool, asked: dict[str, Any]) -> None:
    """How many cells are to do, and, where it was asked for, what they cost."""
    if not cost:
        say(f"{len(todo)} of {planned} cells to do; --cost tells memory, disk and hours")
        return
    costs = bench.estimate_cost(todo, **{name: asked[name] for name in ("suite", "runs", *HARDWARE)})
    for line in bench.tell_cost(costs, planned):
        say(line)


def tell_state(job: Job, todo: set[str]) -> str:
    return "to do" if job.spec.key in todo else "there"
