"""`bench speed`: how fast scoring, generators, training and several workers are here, whether memory grows, and what
cells were to cost beside what they took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import bench
from bench.cli import options
from bench.cli.options import POSITIVE, refuse, show

# option: what it goes with
OPTIONS = {
    "clips": ("scoring", "generate"),
    "precision": ("scoring", "generate", "fit"),
    "threads": ("scoring",),
    "suite": ("generate",),
    "steps": ("generate", "fit"),
    "device": ("scoring", "generate", "fit"),
    "memory": ("scoring", "generate"),
    "many": ("streams",),
    "workers": ("scale",),
    "runs": ("cost",),
    "data_root": ("cost",),
}
KINDS = ("scoring", "generate", "fit", "memory", "streams", "scale", "cost", "statistics")


@click.command(epilog="Example: python -m bench speed scoring --precision bf16")
@click.argument("what", type=click.Choice(KINDS), metavar="WHAT")
@click.option("--clips", type=POSITIVE, show_default="16; 4 with generate", help="Scored, or drawn at once.")
@click.option(
    "--precision",
    type=click.Choice(("fp32", "bf16", "fp16")),
    default="fp32",
    help="With scoring: beside exact fp32; with generate and fit: of what is timed.",
)
@options.suite
@click.option("--steps", type=POSITIVE, show_default="the suite's; 30 with fit", help="With generate and fit.")
@options.device
@options.memory
@click.option("--threads", type=POSITIVE, show_default="all cores", help="With scoring: threads of the judges.")
@click.option("--many", type=POSITIVE, default=5000, help="With streams: how many clips, beside 100.")
@click.option("--workers", default="2", metavar="N,N", help="With scale: how many, beside one; 2,4 takes both.")
@options.runs
@options.data_root
@options.output
def speed(
    what: str,
    clips: int | None,
    precision: str,
    suite: str,
    steps: int | None,
    device: str,
    memory: str | None,
    threads: int | None,
    many: int,
    workers: str,
    runs: Path,
    data_root: Path | None,
    format: str,
    output: Path | None,
) -> int:
    """Time scoring, generators and training, each beside the plain way, or several workers; measure memory.

    WHAT is scoring, generate, fit, memory, streams, scale, cost or statistics.
    `memory` is of scoring, `streams` of cells of 100 and 5,000 clips of 33×480×720 pixels. `cost` makes nothing: it
    holds what `run --dry-run --cost` says of the cells of --runs beside what they took.
    """
    for name, kinds in OPTIONS.items():
        if what not in kinds:
            goes = " and ".join(f"`speed {kind}`" for kind in kinds)
            refuse((name,), f"goes with {goes}, not with `speed {what}`")
    hardware: dict[str, Any] = {"device": device, "precision": precision, "memory": memory}
    if what == "generate":
        measures = bench.measure_generating(clips=clips or 4, steps=steps, suite=suite, **hardware)
    elif what == "fit":
        measures = bench.measure_fitting(steps=steps or 30, device=device, precision=hardware["precision"])
    elif what == "statistics":
        measures = bench.measure_statistics()
    elif what == "memory":
        measures = bench.measure_memory()
    elif what == "streams":
        measures = bench.measure_streams(many)
    elif what == "scale":
        measures = bench.measure_scale(workers)
    elif what == "cost":
        measures = bench.compare_costs(runs=runs, data_root=data_root)
    else:
        measures = bench.measure_scoring(clips or 16, threads=threads, **hardware)
    show(measures, format, output)
    return 0
