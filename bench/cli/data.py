"""`bench data`: make, verify and describe data sets."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import FOLDER, POSITIVE, Name, refuse, show
from bench.cli.sentences import tell_checks, tell_figures


@click.command(epilog="Example: python -m bench data verify seed_dv --root DIR")
@click.argument("action", type=click.Choice(("make", "verify", "info")))
@click.argument("dataset", type=Name("datasets"))
@click.option("--root", type=FOLDER, metavar="DIR", show_default="BENCH_DATA", help="Where the data set lies.")
@click.option("--jobs", type=POSITIVE, show_default="one a core", help="Processes that make a phantom.")
@options.output
def data(action: str, dataset: str, root: Path | None, jobs: int | None, format: str, output: Path | None) -> int:
    """Make a phantom; verify a data set file by file (exit 1 if something is wrong); describe one in figures.

    Files that are not there and that others can do without are "absent", which is no fault.
    """
    if action == "make":
        refuse(("format", "output"), "is about a table, and `data make` prints none")
        bench.make_dataset(dataset, data_root=root, jobs=jobs)
        return 0
    if action == "info":
        report = bench.describe_dataset(dataset, data_root=root, jobs=jobs)
        show(report, format, output, verdict=tell_figures(report, dataset))
        return 0
    refuse(("jobs",), "is about making, and `data verify` only looks")
    report = bench.verify_dataset(dataset, data_root=root)
    show(report, format, output, verdict=tell_checks(report, about=dataset))
    return 0 if report["status"].isin(["ok", "absent"]).all() else 1
