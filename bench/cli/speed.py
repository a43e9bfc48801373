"""`bench speed`: how fast scoring, several workers and the board's statistics are here, and whether memory grows."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import POSITIVE, refuse, show

OPTIONS = {"scoring": ("clips", "precision", "threads"), "streams": ("many",), "scale": ("workers",)}


@click.command(epilog="Example: python -m bench speed scoring --precision bf16")
@click.argument("what", type=click.Choice(("scoring", "memory", "streams", "scale", "statistics")))
@click.option("--clips", type=POSITIVE, default=16, help="With scoring: how many.")
@click.option(
    "--precision", type=click.Choice(("fp32", "bf16")), default="fp32", help="With scoring: beside exact fp32."
)
@click.option("--threads", type=POSITIVE, show_default="all cores", help="With scoring: threads of the judges.")
@click.option("--many", type=POSITIVE, default=5000, help="With streams: how many clips, beside 100.")
@click.option("--workers", type=POSITIVE, default=2, help="With scale: how many, beside one.")
@options.output
def speed(
    what: str,
    clips: int,
    precision: str,
    threads: int | None,
    many: int,
    workers: int,
    format: str,
    output: Path | None,
) -> int:
    """Time scoring beside a plain script, several workers, or the board's statistics; measure memory.

    `memory` is of scoring, `streams` of cells of 100 and 5,000 clips of 33×480×720 pixels.
    """
    for kind, names in OPTIONS.items():
        if what != kind:
            refuse(names, f"goes with `speed {kind}`, not with `speed {what}`")
    if what == "statistics":
        measures = bench.measure_statistics()
    elif what == "memory":
        measures = bench.measure_memory()
    elif what == "streams":
        measures = bench.measure_streams(many)
    elif what == "scale":
        measures = bench.measure_scale(workers)
    else:
        measures = bench.measure_scoring(clips, precision=precision, threads=threads)  # type: ignore[arg-type]
    show(measures, format, output)
    return 0
