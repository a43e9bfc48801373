"""Verbs that look at what there is: names, data, suites, audits, speed, figures and the machine."""

from __future__ import annotations

import argparse

from bench.cli import show
from bench.core.progress import say
from bench.core.registry import describe, names
from bench.parser import KINDS


def draw_figure(options: argparse.Namespace) -> int:
    from bench.cli_figures import draw

    return draw(options)


def list_names(options: argparse.Namespace) -> int:
    """Print names with a line each; loads none of what it lists."""
    from bench.core.variants import load_variants

    if options.kind == "protocols":
        explain_protocols()
        return 0
    for kind in [options.kind] if options.kind else filter(names, KINDS):
        print(f"{kind}:")
        for name in names(kind):
            print(f"  {name:18} {describe(kind, name)}")
            if kind == "methods":
                for group, variants in load_variants(name).items():
                    print(f"  {'':18}   --ablation {group}: {', '.join(variants)}")
    return 0


def explain_protocols() -> None:
    """Print what each protocol computes and how it differs from ours."""
    from bench.scoring.lookup import find_protocols

    for protocol in find_protocols(names("protocols")).values():
        print(f"{protocol.name}: {protocol.summary}")
        if protocol.differs:
            print(f"  beside corrected: {protocol.differs}")
        frames = f"exactly {protocol.frames}" if protocol.frames else "any shared number"
        print(
            f"  frames: {frames} (published: {protocol.published}); side-by-side videos: grid border {protocol.border}"
        )
        for metric in protocol.metrics:
            arrow = "↑" if metric.direction == "higher" else "↓"
            chance = "" if metric.chance == "measured" else f"; chance {metric.chance:.3g}"
            judge = f" [{metric.judge}]" if metric.judge else ""
            print(f"    {metric.name} {arrow}{judge}: {metric.summary}{chance}")


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
        from bench.pretrained.mini_build.build import build_suite

        build_suite(options.suite, only=options.only)
        return 0
    if options.action == "fetch":
        from bench.pretrained.roles import fetch_suite

        fetch_suite(options.suite)
        return 0
    if options.action == "verify":
        from bench.pretrained.roles import verify_suite

        show(verify_suite(options.suite), options)
        return 0
    from bench.pretrained.mini_build.card import suite_table

    show(suite_table(options.suite), options)
    return 0


def audit_data(options: argparse.Namespace) -> int:
    from bench import audit
    from bench.datasets.catalogue import open_dataset

    if options.measure:
        show(audit.measure_audits(options.seeds, processes=options.jobs), options)
        return 0
    dataset = open_dataset(options.dataset, data_root=options.data_root)
    report = audit.audit_dataset(dataset, runs=options.runs)
    show(report, options)
    return 1 if (report["verdict"] == "found").any() else 0


def measure_speed(options: argparse.Namespace) -> int:
    if options.what == "statistics":
        from leaderboard.stats.speed import measure_statistics

        show(measure_statistics(), options)
        return 0
    from bench.audit import speed

    if options.what == "memory":
        show(speed.measure_memory(), options)
    else:
        show(speed.measure_scoring(options.clips, precision=options.precision, threads=options.threads), options)
    return 0


def examine(options: argparse.Namespace) -> int:
    from bench.audit.doctor import examine_machine

    report = examine_machine(options.runs)
    show(report, options)
    return 0 if (report["status"] != "bad").all() else 1


VERBS = {
    verb.__name__: verb
    for verb in (draw_figure, list_names, handle_data, handle_suite, audit_data, measure_speed, examine)
}
