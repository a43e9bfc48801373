"""`bench pack`: a method's cells in one file to submit."""

from __future__ import annotations

from typing import Any

import click

import bench
from bench.cli import options
from bench.cli.options import FILE, Name


@click.command(epilog="Example: python -m bench pack --method sam_net --split cross_subject")
@click.option("--method", type=Name("methods"), required=True, help="A name, or file.py:Class.")
@click.option("--variant", default="base", metavar="NAME", help="Which variant of it.")
@click.option("--split", type=Name("splits"), show_default="all in the store", help="Only this split.")
@click.option("--bundle", type=FILE, metavar="FILE", show_default="<method>.<variant>.zip", help="The file to write.")
@click.option("--no-video", "video", flag_value=False, default=True, help="Its embeddings alone.")
@options.setting
@options.chosen_precision
def pack(method: str, classes: str, **asked: Any) -> int:
    """Put a method's cells into one file: manifests, scores, lossless videos."""
    bench.pack(method, classes=int(classes), **asked)
    return 0
