"""`bench compare`: two methods on the same clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import bench
from bench.cli import options
from bench.cli.options import Name, refuse, to_text


@click.command(epilog="Example: python -m bench compare sam_net retrieval --split cross_subject --metric video_40way")
@click.argument("a", type=Name("methods"))
@click.argument("b", type=Name("methods"))
@click.option("--split", type=Name("splits"), show_default="all", help="Only this split.")
@click.option("--protocol", type=Name("protocols"), default="corrected", help="A name, or file.py:NAME.")
@click.option("--metric", metavar="NAME", show_default="all", help="Only this one, with the clips that differ most.")
@click.option("--published", is_flag=True, help="Committed results, not those of --runs.")
@click.option(
    "--results",
    type=options.FOLDER,
    metavar="DIR",
    show_default="none",
    help="Of the committed results of this folder.",
)
@options.profile
@options.setting
@options.chosen_precision
@options.output
def compare(a: str, b: str, published: bool, classes: str, format: str, output: Path | None, **asked: Any) -> int:
    """Two methods (or method:variant) on the same clips: differences, their certainty, and the extremes."""
    from leaderboard.rendering import write

    if published or asked["results"]:
        refuse(("runs",), "names a store, and --published and --results read committed results")
        refuse(("precision",), "chooses among the cells of a store; a row of committed results says its own")
    comparison = bench.compare(a, b, published=published, classes=int(classes), **asked)
    tables = [comparison.table] if comparison.extremes is None else [comparison.table, comparison.extremes]
    write("\n".join(to_text(one, format, output) for one in tables), output)
    return 0
