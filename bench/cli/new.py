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
@click.option("--package", is_flag=True, help="As a package to install: only what has a name can be published.")
def new(name: str, folder: Path, modality: str, package: bool) -> int:
    """Write a method of one screen that runs, and its test, to start from."""
    files = bench.write_method(name, folder, modality=modality, package=package)  # type: ignore[arg-type]
    say(f"written: {', '.join(map(str, files))}")
    if package:
        place = folder / name if folder.is_absolute() else f"./{folder / name}"
        say(f"next: pip install -e {place}, then python -m bench check {name}")
    else:
        title = "".join(part.capitalize() for part in name.split("_"))
        say(f"next: python -m bench check {files[0]}:{title}")
    return 0
