"""`bench human`: people's judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import bench
from bench.cli import options
from bench.cli.options import FILE, FOLDER, POSITIVE, Name, show


@click.group(epilog="Example: python -m bench human build --method sam_net --method retrieval --output study")
def human() -> None:
    """A page for raters, and what they answered."""


@human.command(epilog="Example: python -m bench human build --method sam_net --method retrieval --output study")
@click.option("--method", "methods", type=Name("methods"), multiple=True, required=True, help="Or method:variant.")
@click.option("--split", type=Name("splits"), default="cross_subject", help="On which split they were run.")
@options.seed
@click.option("--count", type=POSITIVE, default=12, help="How many clips the hash chooses.")
@click.option(
    "--form",
    type=click.Choice(("ratings", "preference")),
    default="ratings",
    help="Judge each video from 1 to 5, or choose the best of each clip's.",
)
@click.option("--each", type=POSITIVE, show_default="all", help="Clips that a rater is shown, of a preference.")
@click.option("--no-shuffled", is_flag=True, help="Leave the shuffled brains out: half as many videos.")
@click.option("--name-seed", type=int, show_default="drawn; the key has it", help="Of the videos' names.")
@click.option("--output", type=FOLDER, required=True, metavar="DIR", help="A new folder.")
@options.setting
def build(methods: tuple[str, ...], output: Path, no_shuffled: bool, classes: str, **asked: Any) -> int:
    """A static page that shows truth and anonymous methods; runs nothing."""
    bench.build_study(methods, output, shuffled=not no_shuffled, classes=int(classes), **asked)
    return 0


@human.command(epilog="Example: python -m bench human tally study/key.json answers-*.json")
@click.argument("key", type=FILE)
@click.argument("answers", type=FILE, nargs=-1, required=True)
@options.output
def tally(key: Path, answers: tuple[Path, ...], format: str, output: Path | None) -> int:
    """Means with intervals, and the raters' agreement, of their answers."""
    show(bench.tally_study(key, answers), format, output)
    return 0
