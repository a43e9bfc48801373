"""The verb `table`, and what is read for tables and comparisons: the store's scores, or the committed ones."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.cli import default_dataset, open_setting, show
from bench.core.errors import BenchError
from bench.core.progress import say
from bench.core.registry import names

if TYPE_CHECKING:
    import pandas as pd


def print_table(options: argparse.Namespace) -> int:
    if options.paper:
        from bench.cli_papers import print_paper

        return print_paper(options)
    if options.differences:
        raise BenchError("--differences is about a paper's table; name it with --paper, or ask for --ablation")
    from bench.core.variants import find_group, find_owner
    from bench.scoring.lookup import find_protocols
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
    from bench.scoring.stored import read_scores
    from bench.scoring.views import Jury
    from bench.store.cells import Store
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
    from bench.store.cells import Store
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
    from bench.core.registry import UnknownName, resolve
    from bench.core.variants import find_variant
    from bench.harness.plan import identify_source

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


def find_split(method: str, group: str) -> str:
    from bench.core.variants import group_split

    return group_split(method, group) or "cross_subject"


VERBS = {"print_table": print_table}
