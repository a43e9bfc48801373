"""The command line. The only module above `leaderboard` and `methods`; each verb loads what it needs when it is asked.

Results go to standard output (or `--output`), progress and errors to standard error. Exit code 1: a cell failed or the
user's input was refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.progress import say
from bench.core.registry import names
from bench.parser import build_parser

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.job import Job

PUBLISHED = {"eeg": "eeg2video", "fmri": "cinebrain"}  # the field's own protocol, scored beside `corrected`


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return find_verb(options.verb)(options)
    except BenchError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped; the same command goes on at the next cell")
        return 130


def run_method(options: argparse.Namespace) -> int:
    if options.paper:
        from bench.cli_papers import run_paper

        return run_paper(options)
    from bench.core.job import Run
    from bench.harness.executor import default_processes, execute, take_shard
    from bench.harness.plan import plan
    from bench.scoring.lookup import find_protocols
    from bench.scoring.stored import unfinished
    from bench.scoring.views import Jury
    from bench.store.cells import Store
    from bench.toolbox.parameters import try_parameters

    find_protocols(options.protocol)  # a wrong name is refused before anything runs
    options.dataset = options.dataset or default_dataset(options.method)
    if options.quick:
        options.dataset = options.dataset.partition(":")[0] + ":tiny"
    dataset, suite = open_setting(options)
    variants = chosen_variants(options)
    for parameters in variants.values():
        try_parameters(options.method, parameters)
    run = Run(
        method=options.method,
        split=options.split,
        variants=variants,
        dataset=options.dataset,
        suite=options.suite,
        classes=options.classes,
        seeds=options.seeds,
        data_root=options.data_root,
        protocols=tuple(dict.fromkeys(("corrected", PUBLISHED[dataset.modality], *options.protocol))),
    )
    jobs = plan(run, dataset, suite.digest)
    store = Store(options.runs)
    jury = Jury(suite.judges, dataset.concepts)
    todo = unfinished(jobs, store, jury)
    if options.dry_run:
        for job in jobs:
            state = "to do" if job in todo else "there"
            print(f"{job.spec.key}  {state}  {job.spec.method} {job.variant} {job.spec.split}/{job.spec.fold}")
        return 0
    if options.shard:
        todo = take_shard(todo, options.shard)
    say(f"{len(jobs)} cells, {len(todo)} to do, in {options.runs}")
    processes = min(options.jobs or default_processes(), max(1, len(todo)))
    failures = [
        outcome.error
        for outcome in execute(todo, options.runs, processes=processes, threads=options.threads)
        if outcome.error
    ]
    show_results(jobs, store, jury, options)
    for failure in failures:
        say(f"failed: {failure}")
    return 1 if failures else 0


def default_dataset(method: str) -> str:
    """The phantom of the kind of recordings that a method decodes."""
    from bench.core.registry import resolve

    return "phantom_fmri" if resolve("methods", method).modality == "fmri" else "phantom_eeg"


def open_setting(options: argparse.Namespace) -> tuple[Any, Any]:
    from bench.datasets.catalogue import open_dataset
    from bench.pretrained.suite import load_suite

    suite = load_suite(options.suite)
    return open_dataset(options.dataset, data_root=options.data_root), suite


def chosen_variants(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Named parameter sets: the base, those named by --variant, those of --ablation; --set changes each of them."""
    from bench.core.variants import find_group, find_variant, parse_settings

    if options.ablation:
        chosen = find_group(options.method, options.ablation)
    elif options.variant:
        chosen = {name: find_variant(options.method, name) for name in options.variant}
    else:
        chosen = {"base": {}}
    settings = parse_settings(options.set)
    if not settings:
        return chosen
    suffix = ",".join(options.set)
    return {f"{name}[{suffix}]": {**parameters, **settings} for name, parameters in chosen.items()}


def show_results(jobs: list[Job], store: Any, jury: Any, options: argparse.Namespace) -> None:
    from bench.scoring.lookup import find_protocols
    from bench.scoring.stored import read_scores
    from leaderboard.tables import result_table

    protocols = jobs[0].protocols
    scores = read_scores(store, [job.spec.key for job in jobs], jury, protocols)
    if scores.empty:
        say("no scores to show yet")
        return
    table = result_table(scores, protocols=find_protocols(protocols))
    rows = table[(table["method"] == jobs[0].spec.method) | options.references]
    if rows.empty:
        say(f"no scores of {jobs[0].spec.method} yet; --references shows those of floors and ceilings")
        return
    show(rows, options)


def score_folder(options: argparse.Namespace) -> int:
    import pandas as pd

    from bench.doors.video_pairs import find_pairs, parse_rule
    from bench.doors.videos import score_videos
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Jury
    from leaderboard.clips import clip_table, summary_table
    from leaderboard.rendering import render, write

    pairs = find_pairs(
        options.predictions,
        options.targets,
        target_name=options.target_name,
        side=options.side_by_side,
        rule=parse_rule(options.frames),
    )
    jury = Jury(load_suite(options.suite, precision=options.precision, threads=options.threads).judges)
    if options.suite == "mini":
        say("suite mini: its judges know drawn clips only; on real videos they mean nothing (--suite paper)")
    protocols = tuple(names("protocols")) if options.protocol == "all" else (options.protocol,)
    if options.protocol == "all" and not pairs.has_truth:
        protocols = ("vbench",)
    scored = pd.concat(
        [
            score_videos(pairs, jury, protocol=protocol, metrics=options.metrics, floors=not options.no_floors)
            for protocol in protocols
        ],
        ignore_index=True,
    )
    whole = options.format in ("csv", "json")
    wanted = [options.table] if options.table else ["clips"] if whole else ["summary", "clips"]
    tables = {"summary": summary_table, "clips": (lambda rows: rows) if whole else clip_table}
    write("\n".join(render(tables[name](scored), options.format) for name in wanted), options.output)
    return 0


def show(table: pd.DataFrame, options: argparse.Namespace) -> None:
    """Print the table in the format asked for, or write it to --output."""
    from leaderboard.rendering import render, write

    write(render(table, options.format), options.output)
    if options.output is not None:
        say(f"written: {options.output}")


VERBS = {verb.__name__: verb for verb in (run_method, score_folder)}


def find_verb(name: str) -> Callable[[argparse.Namespace], int]:
    """The function of a verb, from here or from one of the other `cli_*` modules."""
    if name in VERBS:
        return VERBS[name]
    from bench import cli_board, cli_human, cli_inspect, cli_tables

    return (cli_tables.VERBS | cli_board.VERBS | cli_human.VERBS | cli_inspect.VERBS)[name]
