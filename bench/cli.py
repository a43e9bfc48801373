"""The command line. The only module above `leaderboard` and `methods`; each verb loads what it needs when it is asked.

Results go to standard output (or `--output`), progress and errors to standard error. Exit code 1: a cell failed or the
user's input was refused.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.parser import build_parser
from bench.progress import say
from bench.registry import names

if TYPE_CHECKING:
    import pandas as pd

    from bench.runner import Job

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
    from bench.executor import default_processes, execute, take_shard
    from bench.jury import Jury
    from bench.parameters import try_parameters
    from bench.protocols import find_protocols
    from bench.runner import Run, plan
    from bench.scoring import unfinished
    from bench.store import Store

    find_protocols(options.protocol)  # a wrong name is refused before anything runs
    options.dataset = options.dataset or default_dataset(options.method)
    if options.quick:
        options.dataset = options.dataset.partition(":")[0] + ":tiny"
    dataset, suite = open_setting(options)
    variants = chosen_variants(options)
    for parameters in variants.values():
        try_parameters(options.method, parameters, suite)
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
    from bench.registry import resolve

    return "phantom_fmri" if resolve("methods", method).modality == "fmri" else "phantom_eeg"


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


def show_results(jobs: list[Job], store: Any, jury: Any, options: argparse.Namespace) -> None:
    from bench.protocols import find_protocols
    from bench.scoring import read_scores
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


def print_table(options: argparse.Namespace) -> int:
    if options.paper:
        from bench.cli_papers import print_paper

        return print_paper(options)
    if options.differences:
        raise BenchError("--differences is about a paper's table; name it with --paper, or ask for --ablation")
    from bench.protocols import find_protocols
    from bench.spec import find_group, find_owner
    from leaderboard.ablations import ablation_table
    from leaderboard.tables import SEES_BRAIN, result_table

    protocols = tuple(names("protocols")) if options.protocol == "all" else (options.protocol,)
    rules = find_protocols(protocols)
    method: str | None = options.method or (find_owner(options.ablation) if options.ablation else None)
    options.dataset = options.dataset or (default_dataset(method) if method else "phantom_eeg")
    scores = read_shelf(options, protocols)
    if scores.empty:
        raise BenchError(
            f"{name_shelf(options)} holds no scores for {options.dataset} with suite {options.suite} and "
            f"{options.classes} classes (it holds cells of {', '.join(list_datasets(options)) or 'nothing'}: "
            "--dataset, --suite and --classes choose); make them with "
            f"`python -m bench run --method {method or 'METHOD'} --split {options.split or 'cross_subject'} "
            f"{repeat_setting(options)}`"
        )
    if options.metric:
        known = sorted(scores["metric"].unique())
        if options.metric not in known:
            raise BenchError(f"unknown metric {options.metric!r}; {', '.join(protocols)} has {', '.join(known)}")
        scores = scores[scores["metric"] == options.metric]
    references = scores["role"] != "method"
    if method and options.ablation:
        group = find_group(method, options.ablation)
        split = options.split or find_split(method, options.ablation)
        mine = (scores["method"] == method) & (scores["split"] == split)
        missing = [name for name in group if name not in set(scores["variant"][mine])]
        if missing:
            say(
                f"not in {name_shelf(options)}: {', '.join(missing)}; fill in with "
                f"`python -m bench run --method {method} --split {split} {repeat_setting(options)} "
                f"--ablation {options.ablation} --seeds 3`"
            )
        base = next(iter(group))
        if base in missing:
            raise BenchError(f"the base of {options.ablation} has no scores, so there is nothing to compare with")
        if len(missing) == len(group) - 1:
            raise BenchError(f"{options.ablation} has scores of its base alone, so there is nothing to compare it with")
        beside = references & scores["split"].isin([split, "clips"])
        variants = [name for name in group if name not in (*missing, base)]
        show(ablation_table(scores[mine | beside], base, variants, protocols=rules), options)
        return 0
    chosen = scores["role"].isin(SEES_BRAIN)
    if options.method:
        chosen = scores["method"] == options.method
    if options.split:
        references &= scores["split"].isin([options.split, "clips"])
        chosen &= scores["split"].isin([options.split, "clips"])
    table = result_table(scores[chosen | references], protocols=rules)
    asked = table["method"] == options.method if options.method else table["role"].isin(SEES_BRAIN)
    rows = table[asked | options.references]
    if rows.empty:
        wanted = f"of {options.method}" if options.method else "of a method"
        where = f" on {options.split}" if options.split else ""
        raise BenchError(
            f"{name_shelf(options)} holds no scores {wanted}{where} for {options.dataset}; it holds those of "
            f"{', '.join(dict.fromkeys(scores['method']))}; --method NAME or --references shows these"
        )
    show(rows, options)
    return 0


def read_shelf(options: argparse.Namespace, protocols: tuple[str, ...]) -> pd.DataFrame:
    """Score rows of the setting that was asked for: of the store, or with --published those that are committed."""
    from bench.jury import Jury
    from bench.scoring import read_scores
    from bench.store import Store
    from leaderboard.results import read_results

    if options.published:
        scores = read_results(dataset=options.dataset)
        if scores.empty:
            return scores
        asked = (scores["suite"] == options.suite) & (scores["classes"] == options.classes)
        return scores[asked & scores["protocol"].isin(protocols)]
    dataset, suite = open_setting(options)
    store = Store(options.runs)
    keys = [cell.key for cell in store.cells() if is_current(cell.manifest, dataset, suite, options.classes)]
    return read_scores(store, keys, Jury(suite.judges, dataset.concepts), protocols)


def list_datasets(options: argparse.Namespace) -> list[str]:
    """What there are cells of, in the store or committed."""
    from bench.store import Store
    from leaderboard.results import read_manifests

    cells = read_manifests() if options.published else (cell.manifest for cell in Store(options.runs).cells())
    return sorted({str(manifest["spec"]["dataset"]) for manifest in cells})


def name_shelf(options: argparse.Namespace) -> str:
    return "what is committed" if options.published else str(options.runs)


def repeat_setting(options: argparse.Namespace) -> str:
    """The options of a command that asks for the same data, suite, classes and store."""
    root = f" --data-root {options.data_root}" if options.data_root else ""
    return (
        f"--dataset {options.dataset}{root} --suite {options.suite} --classes {options.classes} --runs {options.runs}"
    )


def is_current(manifest: Mapping[str, Any], dataset: Any, suite: Any, classes: int) -> bool:
    """Whether a cell was made from this data and suite by the method and variant as they are now, not as they were."""
    from bench.registry import UnknownName, resolve
    from bench.runner import identify_source
    from bench.spec import find_variant

    spec = manifest["spec"]
    setting = (dataset.digest, suite.digest, classes)
    if (spec["data_digest"], spec["suite_digest"], spec["classes"]) != setting:
        return False
    try:
        if spec["method_version"] != resolve("methods", spec["method"]).version:
            return False
        if spec["source"] != identify_source(spec["method"], spec["parameters"], spec["suite"]):
            return False
        variant, changed, _ = manifest["variant"].partition("[")
        return bool(changed) or spec["parameters"] == find_variant(spec["method"], variant)
    except UnknownName:  # a method or variant that is gone
        return False


def score_folder(options: argparse.Namespace) -> int:
    import pandas as pd

    from bench.jury import Jury
    from bench.pairs import find_pairs, parse_rule
    from bench.pretrained.suite import load_suite
    from bench.submissions import score_videos
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


def find_split(method: str, group: str) -> str:
    from bench.spec import group_split

    return group_split(method, group) or "cross_subject"


def show(table: pd.DataFrame, options: argparse.Namespace) -> None:
    """Print the table in the format asked for, or write it to --output."""
    from leaderboard.rendering import render, write

    write(render(table, options.format), options.output)
    if options.output is not None:
        say(f"written: {options.output}")


VERBS = {verb.__name__: verb for verb in (run_method, print_table, score_folder)}


def find_verb(name: str) -> Callable[[argparse.Namespace], int]:
    """The function of a verb, from here or from one of the other `cli_*` modules."""
    if name in VERBS:
        return VERBS[name]
    from bench import cli_board, cli_human, cli_inspect

    return (cli_board.VERBS | cli_human.VERBS | cli_inspect.VERBS)[name]
