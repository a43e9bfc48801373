"""`bench doctor`: is this machine fit?"""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import show
from bench.cli.sentences import tell_checks


@click.command(epilog="Example: python -m bench doctor")
@options.runs
@options.output
def doctor(runs: Path, format: str, output: Path | None) -> int:
    """Check this machine: packages, accelerator, room, weights; exit 1 if something is bad."""
    report = bench.examine_machine(runs)
    show(report, format, output, verdict=tell_checks(report, about="This machine"))
    return 0 if (report["status"] != "bad").all() else 1
