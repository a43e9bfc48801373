"""`bench new`: a method to start from."""

from __future__ import annotations

from pathlib import Path

import click

import bench
from bench.cli.options import FOLDER
from bench.core.progress import say


@click.command(epilog="Example: python -m bench new my_method")
@click.argument("name")
@click.option("--folder", type=FOLDER, default=Path(), metavar="DIR", help="Where to write it.")
@click.option("--modality", type=click.Choice(("eeg", "fmri")), default="eeg", help="What the method reads.")
def new(name: str, folder: Path, modality: str) -> int:
    """Write a method of one screen that runs, and its test, to start from."""
    files = bench.write_method(name, folder, modality=modality)  # type: ignore[arg-type]
    title = "".join(part.capitalize() for part in name.split("_"))
    say(f"written: {', '.join(map(str, files))}; next: python -m bench check {files[0]}:{title}")
    return 0
