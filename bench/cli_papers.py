"""`table --paper` and `run --paper`: verbs of `bench.cli` about a paper's table as a whole."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from bench.cli import show
from bench.core.errors import BenchError
from bench.core.progress import say

if TYPE_CHECKING:
    from bench.core.job import Job
    from leaderboard.papers.measure import Shelf, Survey
    from leaderboard.papers.reported import ReportedTable

ALL = "all"
PAPERS = ("sam_net.", "cine_neuron.")


def print_paper(options: argparse.Namespace) -> int:
    """The table with what the store, or what is committed, holds of it, and the command that fills what it lacks."""
    refuse_choices(options)
    shelf = open_shelf(options)
    if options.paper == ALL:
        return print_papers(shelf, options)
    found = look_up(options)
    if options.differences:
        show_differences(found, shelf, options)
    else:
        show_paper(found, shelf, options)
    return 0


def open_shelf(options: argparse.Namespace) -> Shelf:
    """The committed results with --published, else the store."""
    from bench.store.cells import Store
    from leaderboard.results import Committed

    return Committed() if options.published else Store(options.runs)


def print_papers(shelf: Shelf, options: argparse.Namespace) -> int:
    """The tables of both papers in one page of Markdown, each with its ablations' differences."""
    from leaderboard.papers.differences import compare_differences
    from leaderboard.papers.layout import lay_out
    from leaderboard.papers.measure import measure, missing_cells
    from leaderboard.papers.reported import table_names
    from leaderboard.rendering import render, write
    from leaderboard.results import Committed

    if options.format != "md" or options.differences:
        raise BenchError("--paper all is one page of Markdown with the differences in it; leave the other options out")
    made = f" from the committed results ({shelf.digest})" if isinstance(shelf, Committed) else ""
    parts = [f"# The tables of both papers, reported beside measured\n\nMade by `{repeat(options)}`{made}.\n"]
    unrun = 0
    for name in (one for one in table_names() if one.startswith(PAPERS)):
        options.paper = name
        found = look_up(options)
        records = measure(found, shelf)
        parts.append(f"## {name}: {found.table.title}\n\n{render(lay_out(records, found.table))}")
        if lacking := len(missing_cells(records)):
            parts.append(f"{lacking} of {len(records)} numbers are not run, or only in part: `{fill_in(options)}`.\n")
            unrun += lacking
        claims = compare_differences(found, shelf)
        if len(claims):
            shown = claims.drop(columns=["method", "split", "dataset", "suite", "classes", "metric"])
            parts.append(f"What its ablations claim, and whether it was measured:\n\n{render(shown)}")
    write("\n".join(parts), options.output)
    say(f"{unrun} numbers are not run, or only in part")
    return 0


def show_differences(found: Survey, shelf: Shelf, options: argparse.Namespace) -> None:
    """What a paper's ablations claim, and whether it was measured."""
    from leaderboard.papers.differences import compare_differences

    claims = compare_differences(found, shelf)
    show(claims, options)
    lacking = int((claims["verdict"] == "not run").sum())
    if lacking:
        say(f"{lacking} of {len(claims)} differences are not run; fill in with `{fill_in(options)} --seeds 3`")


def show_paper(found: Survey, shelf: Shelf, options: argparse.Namespace) -> None:
    """Reported beside measured, and the command that fills what is not."""
    from leaderboard.papers.layout import lay_out
    from leaderboard.papers.measure import measure, missing_cells
    from leaderboard.rendering import render, write

    records = measure(found, shelf)
    if options.format in ("csv", "json"):
        text = render(records, options.format)
    else:
        text = render(lay_out(records, found.table), options.format)
        text = f"{found.table.name}: {found.table.title}\n\n{text}" if options.format == "md" else text
    write(text, options.output)
    if options.output is not None:
        say(f"written: {options.output}")
    unrun = missing_cells(records)
    if len(unrun):
        say(f"{len(unrun)} of {len(records)} numbers are not run, or only in part; fill in with `{fill_in(options)}`")
    tell_absent(found)


def run_paper(options: argparse.Namespace) -> int:
    """Make and score the cells that a paper's table lacks, references once, then print the table."""
    from bench.harness.executor import default_processes, execute, take_shard
    from bench.scoring.stored import unfinished
    from bench.store.cells import Store

    refuse_choices(options)
    found = look_up(options, seeds=options.seeds)
    store = Store(options.runs)
    jobs: list[Job] = []
    todo: list[Job] = []
    for dataset, planned in found.planned.items():
        jobs += planned
        todo += unfinished(planned, store, found.juries[dataset])
    if not jobs and not found.absent:
        say(f"{found.table.name} is reported only: nothing of it is run")
        show_paper(found, store, options)
        return 0
    if options.dry_run:
        keys = {job.spec.key for job in todo}
        for job in jobs:
            spec, state = job.spec, "to do" if job.spec.key in keys else "there"
            about = f"{spec.method} {job.variant} {spec.dataset} {spec.classes} {spec.split}/{spec.fold} {spec.seed}"
            print(f"{spec.key}  {state}  {about}")
        tell_absent(found)
        return 0
    if options.shard:
        todo = take_shard(todo, options.shard)
    say(f"{len(jobs)} cells, {len(todo)} to do, in {options.runs}")
    ours = [replace(job, protocols=tuple(dict.fromkeys((*job.protocols, "corrected")))) for job in todo]
    processes = min(options.jobs or default_processes(), max(1, len(ours)))
    outcomes = list(execute(ours, options.runs, processes=processes, threads=options.threads))
    show_paper(found, store, options)
    failures = [outcome.error for outcome in outcomes if outcome.error]
    for failure in failures:
        say(f"failed: {failure}")
    return 1 if failures else 0


def look_up(options: argparse.Namespace, *, seeds: int = 1) -> Survey:
    """The paper's table, and the cells that it needs on the data sets asked for."""
    from leaderboard.papers.measure import survey
    from leaderboard.papers.reported import load_table

    table = load_table(options.paper)
    if getattr(options, "quick", False):
        options.dataset = quick_datasets(table, options.dataset)
    if options.data_root and not options.dataset:
        raise BenchError("--data-root is the folder of a real data set: name it with --dataset")
    return survey(table, dataset=options.dataset, suite=options.suite, seeds=seeds, data_root=options.data_root)


def quick_datasets(table: ReportedTable, asked: str | None) -> str | None:
    """The tiny phantoms that stand for a table's data sets."""
    from leaderboard.papers.measure import place

    places = (place(cell.dataset, asked) for row in table.rows for cell in row.cells if cell.method)
    tiny = dict.fromkeys(f"{name.partition(':')[0]}:tiny" for name in places if name)
    return ",".join(tiny) or None


def refuse_choices(options: argparse.Namespace) -> None:
    """Raises BenchError for options that a paper's table settles itself."""
    settled: dict[str, object] = {
        "method": None,
        "ablation": None,
        "variant": [],
        "set": [],
        "metric": None,
        "classes": 40,
    }
    given = [name for name, default in settled.items() if getattr(options, name, default) != default]
    if given:
        raise BenchError(f"--paper names methods, variants, splits and classes itself; leave --{given[0]} out")


def repeat(options: argparse.Namespace) -> str:
    """The command that makes the page of all tables."""
    parts = ["python -m bench table --paper all"]
    parts += ["--published"] if options.published else []
    parts += [f"--dataset {options.dataset}"] if options.dataset else []
    return " ".join(parts)


def fill_in(options: argparse.Namespace) -> str:
    """The command that runs what the table lacks."""
    parts = [f"python -m bench run --paper {options.paper}"]
    parts += [f"--dataset {options.dataset}"] if options.dataset else []
    parts += [f"--data-root {options.data_root}"] if options.data_root else []
    parts += [f"--suite {options.suite}"] if options.suite != "mini" else []
    parts += [f"--runs {options.runs}"] if str(options.runs) != "runs" else []
    return " ".join(parts)


def tell_absent(found: Survey) -> None:
    """Say what of a table cannot be run, and why."""
    for need, reason in found.absent.items():
        say(f"cannot be run: {need.method} {need.variant} on {need.dataset}, {need.split}: {reason}")
