"""`bench verify`: a submission, taken on no trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import bench
from bench.cli import options
from bench.cli.options import FILE, show
from bench.cli.sentences import tell_bundle


@click.command(epilog="Example: python -m bench verify sam_net.base.zip")
@click.argument("bundle", type=FILE)
@options.data_root
@options.truth
@options.output
def verify(bundle: Path, format: str, output: Path | None, **asked: Any) -> int:
    """Check a bundle offline and score it again; a chosen set against the true videos that are named."""
    report = bench.verify(bundle, **asked)
    show(report, format, output, verdict=tell_bundle(report, bundle.name))
    return 0
