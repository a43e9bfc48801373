"""`bench verify`: a submission, taken on no trust."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import FILE, show


@click.command(epilog="Example: python -m bench verify sam_net.base.zip")
@click.argument("bundle", type=FILE)
@options.data_root
@options.output
def verify(bundle: Path, data_root: Path | None, format: str, output: Path | None) -> int:
    """Check a bundle offline and score it again."""
    show(bench.verify(bundle, data_root=data_root), format, output)
    return 0
