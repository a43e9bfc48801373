"""`bench audit`: what could make a score look like brain and is none."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import FOLDER, POSITIVE, Name, refuse, show
from bench.cli.sentences import tell_audit, tell_simulated


@click.command(epilog="Example: python -m bench audit --dataset phantom_eeg --runs runs")
@click.option("--dataset", type=Name("datasets"), default="phantom_eeg", help="Which data set is examined.")
@options.data_root
@click.option("--runs", type=FOLDER, metavar="DIR", show_default="none", help="A store whose results are examined too.")
@click.option("--measure", is_flag=True, help="Instead: detection and false alarms on phantoms with confounds.")
@click.option(
    "--study", is_flag=True, help="Instead: whether the ablation study's intervals hold, on simulated scores."
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 10_000),
    show_default="50; 200 with --study",
    help="With --measure how many phantoms, with --study how many studies.",
)
@click.option("--jobs", type=POSITIVE, show_default="one a core", help="With --measure: local processes.")
@options.output
def audit(
    dataset: str,
    data_root: Path | None,
    runs: Path | None,
    measure: bool,
    study: bool,
    seeds: int | None,
    jobs: int | None,
    format: str,
    output: Path | None,
) -> int:
    """Look for leaks and confounds in a data set, its splits and its results; exit 1 if something is found."""
    if study:
        refuse(("dataset", "data_root", "runs", "measure", "jobs"), "is about data, and --study simulates scores")
        measured = bench.measure_study(seeds or 200)
        show(measured, format, output, verdict=tell_simulated(measured))
        return 0
    if measure:
        refuse(("dataset", "data_root", "runs"), "is about one data set, and --measure makes phantoms of its own")
        show(bench.measure_audits(seeds or 50, jobs=jobs), format, output)
        return 0
    refuse(("seeds", "jobs"), "goes with --measure, and --seeds with --study too")
    report = bench.audit_dataset(dataset, data_root=data_root, runs=runs)
    show(report, format, output, verdict=tell_audit(report))
    return 1 if (report["verdict"] == "found").any() else 0
