"""`bench speed`: how fast scoring and the board's statistics are here."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import POSITIVE, refuse, show


@click.command(epilog="Example: python -m bench speed scoring --precision bf16")
@click.argument("what", type=click.Choice(("scoring", "memory", "statistics")))
@click.option("--clips", type=POSITIVE, default=16, help="With scoring: how many.")
@click.option(
    "--precision", type=click.Choice(("fp32", "bf16")), default="fp32", help="With scoring: beside exact fp32."
)
@click.option("--threads", type=POSITIVE, show_default="all cores", help="With scoring: threads of the judges.")
@options.output
def speed(what: str, clips: int, precision: str, threads: int | None, format: str, output: Path | None) -> int:
    """Time scoring beside a plain script, measure its memory, or time the board's statistics."""
    if what != "scoring":
        refuse(("clips", "precision", "threads"), f"goes with `speed scoring`, not with `speed {what}`")
    if what == "statistics":
        measures = bench.measure_statistics()
    elif what == "memory":
        measures = bench.measure_memory()
    else:
        measures = bench.measure_scoring(clips, precision=precision, threads=threads)  # type: ignore[arg-type]
    show(measures, format, output)
    return 0
