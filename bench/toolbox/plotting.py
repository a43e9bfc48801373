"""What figures share: colours, the lines of words around them, and files that are whole or absent.

Figures are matplotlib `Figure` objects that no window shows, so they can be drawn anywhere and examined in tests.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.store import disk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008): eight colours that people with any colour vision tell apart; black and yellow are left out
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # repeats after as many: colour alone must never tell
SUFFIXES = (".png", ".pdf", ".svg")
FOLDER = Path("figures")
RESOLUTION = 150  # dots an inch of a PNG
CHARACTERS = 16  # of an inch of a note


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def describe_setting(dataset: Any, suite: str) -> str:
    """Where a figure's numbers are from; a phantom is labelled as one."""
    phantom = " (phantom: synthetic recordings, they say nothing of real brains)" if dataset.truth is not None else ""
    return f"{dataset.name}{phantom}, suite {suite}"


def add_words(figure: Figure, title: str, notes: str) -> None:
    """A title above the figure, and notes beneath it, broken to its width."""
    width = figure.get_figwidth()
    figure.suptitle("\n".join(textwrap.fill(line, int(11 * width)) for line in title.split("\n")), fontsize=11)
    lines = [textwrap.fill(line, int(CHARACTERS * width)) for line in notes.split("\n")]
    figure.supxlabel("\n".join(lines), fontsize=8, x=0.01, ha="left")


def default_path(name: str, dataset: str) -> Path:
    return FOLDER / f"{name}_{dataset.replace(':', '-')}.png"


def check_path(path: Path) -> None:
    """Refuse what `save_figure` cannot write before hours went into a figure."""
    if path.suffix.lower() not in SUFFIXES:
        raise BenchError(f"--output {path}: a figure ends in one of {', '.join(SUFFIXES)}; name it so")


def save_figure(figure: Figure, path: Path) -> None:
    """Write the figure in the form that its suffix names, whole or not at all; BenchError where that fails.

    No date is written into it: the same figure gives the same file.
    """
    check_path(path)
    dates = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    try:
        with disk.new_file(path) as draft:
            kind = path.suffix.lower()
            figure.savefig(draft, format=kind[1:], dpi=RESOLUTION, metadata=dates[kind])
    except OSError as error:
        raise BenchError(
            f"cannot write {path}: {error.strerror}; name a file in a folder that you may write"
        ) from error
