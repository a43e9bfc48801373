"""`bench check`: every contract of a method, tried."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli import options
from bench.cli.options import Name, show
from bench.cli.sentences import tell_checks


@click.command(epilog="Example: python -m bench check my_method.py:MyMethod")
@click.argument("method", type=Name("methods"))
@options.settings
@options.suite
@options.output
def check(method: str, settings: tuple[str, ...], suite: str, format: str, output: Path | None) -> int:
    """Try every contract of a method on the tiny phantom; exit 1 if one is not kept."""
    from bench.core.variants import parse_settings

    report = bench.check_method(method, suite=suite, parameters=parse_settings(settings))
    show(report, format, output, verdict=tell_checks(report, about=method))
    return 0 if (report["status"] == "ok").all() else 1
