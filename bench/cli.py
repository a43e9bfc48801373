"""The command line. The only module above `leaderboard` and `methods`; each verb loads what it needs when it is asked.

Results go to standard output (or `--output`), progress and errors to standard error. Exit code 1: a cell failed or the
user's input was refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.progress import say
from bench.registry import describe, names

if TYPE_CHECKING:
    import pandas as pd

    from bench.runner import Job

FORMATS = ("md", "csv", "json", "latex")
CLASSES = (10, 20, 30, 40)
KINDS = ("methods", "datasets", "splits", "protocols", "suites")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.verb(options)
    except BenchError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped; the same command goes on at the next cell")
        return 130


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Brain2Video Bench")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    run = verbs.add_parser("run", help="make, reconstruct and score the cells of a method, with floors and ceilings")
    run.add_argument("--method", required=True, help="a name of `list methods`, or path/file.py:Class")
    run.add_argument("--split", default="cross_subject", help="single_subject, cross_subject or new_subject")
    run.add_argument("--variant", action="append", default=[], help="a named variant (again for more)")
    run.add_argument("--ablation", help="every variant of a group, with its base")
    run.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the method")
    add_setting(run)
    run.add_argument("--seeds", type=positive, default=1, help="how many seeds, from 0 (3 before a difference is one)")
    run.add_argument("--jobs", type=positive, help="local processes (default: one a core)")
    run.add_argument("--threads", type=positive, default=1, help="threads a cell computes with")
    run.add_argument("--shard", metavar="i/n", help="only this part of the cells, for several machines")
    run.add_argument("--dry-run", action="store_true", help="print the cells and whether they are there")
    run.add_argument("--quick", action="store_true", help="the same chain on the tiny phantom")
    add_references(run)
    add_output(run)
    run.set_defaults(verb=run_method)

    table = verbs.add_parser("table", help="tables of what the store holds")
    table.add_argument("--ablation", help="paired differences between a group's base and its variants")
    table.add_argument("--method", help="only this method (with --ablation: default sam_net)")
    table.add_argument("--split", help="only this split")
    add_setting(table)
    table.add_argument("--protocol", default="corrected", help="eeg2video, corrected or all")
    table.add_argument("--metric", help="only this metric")
    add_references(table)
    add_output(table)
    table.set_defaults(verb=print_table)

    score = verbs.add_parser("score", help="score videos made elsewhere (mp4, gif, webm, npy, frame folders)")
    score.add_argument("--predictions", required=True, type=Path, metavar="DIR")
    score.add_argument("--targets", required=True, type=Path, metavar="DIR", help="true videos, named alike")
    score.add_argument("--protocol", default="eeg2video")
    score.add_argument("--metrics", default="all", help="names, separated by commas; or all")
    score.add_argument("--suite", default="mini")
    add_output(score)
    score.set_defaults(verb=score_folder)

    listing = verbs.add_parser("list", help="what there is to run")
    listing.add_argument("kind", nargs="?", choices=KINDS)
    listing.set_defaults(verb=list_names)

    data = verbs.add_parser("data", help="make, verify and describe data sets")
    data.add_argument("action", choices=("make", "verify", "info"))
    data.add_argument("dataset", help="seed_dv, phantom_eeg, phantom_eeg:tiny, phantom_eeg:full")
    data.add_argument("--root", dest="data_root", type=Path, metavar="DIR", help="where the data set lies")
    data.add_argument("--jobs", type=positive)
    add_output(data)
    data.set_defaults(verb=handle_data)

    suite = verbs.add_parser("suite", help="build, fetch, verify and describe suites of pretrained networks")
    suite.add_argument("action", choices=("build", "fetch", "verify", "info"))
    suite.add_argument("suite", help="mini, paper or a folder")
    suite.add_argument("--only", help="build one network only")
    add_output(suite)
    suite.set_defaults(verb=handle_suite)

    doctor = verbs.add_parser("doctor", help="check this machine")
    doctor.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    add_output(doctor)
    doctor.set_defaults(verb=examine)
    return parser


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def add_setting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="phantom_eeg")
    parser.add_argument("--data-root", metavar="DIR", help="where a real data set lies")
    parser.add_argument("--suite", default="mini", help="mini, paper or a folder")
    parser.add_argument("--classes", type=int, default=40, choices=CLASSES, help="subset of concepts")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="the store")


def add_references(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--references", action="store_true", help="also a row for each floor and ceiling")


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=FORMATS, default="md")
    parser.add_argument("--output", type=Path, metavar="FILE")


def run_method(options: argparse.Namespace) -> int:
    from bench.executor import default_processes, execute, take_shard
    from bench.runner import Run, plan
    from bench.scoring import unfinished
    from bench.store import Store

    if options.quick:
        options.dataset = "phantom_eeg:tiny"
    dataset, suite = open_setting(options)
    run = Run(
        method=options.method,
        split=options.split,
        variants=chosen_variants(options),
        dataset=options.dataset,
        suite=options.suite,
        classes=options.classes,
        seeds=options.seeds,
        data_root=options.data_root,
    )
    jobs = plan(run, dataset, suite.digest)
    store = Store(options.runs)
    todo = unfinished(jobs, store, suite.digest)
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
    show_results(jobs, store, suite.digest, options)
    for failure in failures:
        say(f"failed: {failure}")
    return 1 if failures else 0


def open_setting(options: argparse.Namespace) -> tuple[Any, Any]:
    from bench.datasets.catalogue import open_dataset
    from bench.pretrained.suite import load_suite

    suite = load_suite(options.suite)
    return open_dataset(options.dataset, data_root=options.data_root), suite


def chosen_variants(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Named parameter sets: the base, those named by --variant, those of --ablation; --set changes each of them."""
    from bench.spec import find_group, find_variant, parse_settings

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


def show_results(jobs: list[Job], store: Any, suite_digest: str, options: argparse.Namespace) -> None:
    from bench.scoring import read_scores
    from leaderboard.tables import result_table

    protocols = jobs[0].protocols
    scores = read_scores(store, [job.spec.key for job in jobs], suite_digest, protocols)
    if scores.empty:
        say("no scores to show yet")
        return
    table = result_table(scores)
    rows = table[(table["method"] == jobs[0].spec.method) | options.references]
    if rows.empty:
        say(f"no scores of {jobs[0].spec.method} yet; --references shows those of floors and ceilings")
        return
    show(rows, options)


def print_table(options: argparse.Namespace) -> int:
    from bench.scoring import read_scores
    from bench.spec import find_group
    from bench.store import Store
    from leaderboard.tables import ablation_table, result_table
    from metrics.protocols import PROTOCOLS

    protocols = tuple(PROTOCOLS) if options.protocol == "all" else (options.protocol,)
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise BenchError(f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}, or all")
    dataset, suite = open_setting(options)
    store = Store(options.runs)
    keys = [cell.key for cell in store.cells() if is_current(cell.manifest, dataset, suite, options.classes)]
    scores = read_scores(store, keys, suite.digest, protocols)
    if scores.empty:
        raise BenchError(
            f"{options.runs} holds no scores for {options.dataset} with suite {options.suite} and {options.classes} "
            "classes; make them with `python -m bench run --method sam_net --split cross_subject`"
        )
    if options.metric:
        known = sorted(scores["metric"].unique())
        if options.metric not in known:
            raise BenchError(f"unknown metric {options.metric!r}; {', '.join(protocols)} has {', '.join(known)}")
        scores = scores[scores["metric"] == options.metric]
    references = scores["role"] != "method"
    if options.ablation:
        method = options.method or "sam_net"
        group = find_group(method, options.ablation)
        split = options.split or find_split(method, options.ablation)
        mine = (scores["method"] == method) & (scores["split"] == split)
        missing = [name for name in group if name not in set(scores["variant"][mine])]
        if missing:
            say(
                f"not in {options.runs}: {', '.join(missing)}; fill in with `python -m bench run --method {method} "
                f"--split {split} --classes {options.classes} --ablation {options.ablation} --seeds 3`"
            )
        base = next(iter(group))
        if base in missing:
            raise BenchError(f"the base of {options.ablation} has no scores, so there is nothing to compare with")
        beside = references & scores["split"].isin([split, "clips"])
        variants = [name for name in group if name not in (*missing, base)]
        show(ablation_table(scores[mine | beside], base, variants), options)
        return 0
    chosen = scores["role"] == "method"
    if options.method:
        chosen = scores["method"] == options.method
    if options.split:
        references &= scores["split"].isin([options.split, "clips"])
        chosen &= scores["split"].isin([options.split, "clips"])
    table = result_table(scores[chosen | references])
    asked = table["method"] == options.method if options.method else table["role"] == "method"
    show(table[asked | options.references], options)
    return 0


def is_current(manifest: Mapping[str, Any], dataset: Any, suite: Any, classes: int) -> bool:
    """Whether a cell was made from this data and suite by the method and variant as they are now, not as they were."""
    from bench.registry import UnknownName, digest_source, resolve
    from bench.spec import find_variant

    spec = manifest["spec"]
    setting = (dataset.digest, suite.digest, classes)
    if (spec["data_digest"], spec["suite_digest"], spec["classes"]) != setting:
        return False
    try:
        if spec["method_version"] != resolve("methods", spec["method"]).version:
            return False
        if spec["source"] != digest_source("methods", spec["method"]):
            return False
        variant, changed, _ = manifest["variant"].partition("[")
        return bool(changed) or spec["parameters"] == find_variant(spec["method"], variant)
    except UnknownName:  # a method or variant that is gone
        return False


def score_folder(options: argparse.Namespace) -> int:
    from bench.submissions import score_videos
    from leaderboard.tables import clip_table

    scored = score_videos(
        options.predictions,
        options.targets,
        protocol=options.protocol,
        metrics=options.metrics,
        suite_name=options.suite,
    )
    show(clip_table(scored), options)
    return 0


def list_names(options: argparse.Namespace) -> int:
    """Print names with a line each; loads none of what it lists."""
    from bench.spec import load_variants

    for kind in [options.kind] if options.kind else KINDS:
        print(f"{kind}:")
        for name in names(kind):
            print(f"  {name:18} {describe(kind, name)}")
            if kind == "methods":
                for group, variants in load_variants(name).items():
                    print(f"  {'':18}   --ablation {group}: {', '.join(variants)}")
    return 0


def handle_data(options: argparse.Namespace) -> int:
    from bench.datasets import catalogue

    if options.action == "verify":
        report = catalogue.verify(options.dataset, options.data_root)
        show(report, options)
        return 0 if (report["status"] == "ok").all() else 1
    dataset = catalogue.open_dataset(options.dataset, data_root=options.data_root, processes=options.jobs)
    if options.action == "make":
        say(f"{options.dataset}: {len(dataset.trials)} trials of {len(dataset.subjects)} subjects, {dataset.digest}")
        return 0
    show(catalogue.info(dataset), options)
    return 0


def handle_suite(options: argparse.Namespace) -> int:
    if options.action == "build":
        from bench.pretrained.build import build_suite

        build_suite(options.suite, only=options.only)
        return 0
    if options.action == "fetch":
        from bench.pretrained.suite import fetch_suite

        fetch_suite(options.suite)
        return 0
    if options.action == "verify":
        from bench.pretrained.suite import verify_suite

        show(verify_suite(options.suite), options)
        return 0
    from bench.pretrained.card import suite_table

    show(suite_table(options.suite), options)
    return 0


def examine(options: argparse.Namespace) -> int:
    from bench.doctor import examine_machine

    report = examine_machine(options.runs)
    show(report, options)
    return 0 if (report["status"] != "bad").all() else 1


def find_split(method: str, group: str) -> str:
    from bench.spec import group_split

    return group_split(method, group) or "cross_subject"


def show(table: pd.DataFrame, options: argparse.Namespace) -> None:
    """Print the table in the format asked for, or write it to --output."""
    from leaderboard.rendering import render, write

    write(render(table, options.format), options.output)
    if options.output is not None:
        say(f"written: {options.output}")
