"""The notebook of the Python door, run as a script and cell by cell: the same frames come out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from copied import copy_store

NOTEBOOK = Path(__file__).with_name("notebook.py")
CELLS = r"""
import pathlib, re, sys
text = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
for number, cell in enumerate(re.split(r"^# %%.*$", text, flags=re.MULTILINE)):  # all in one namespace, of no file
    exec(compile(cell, f"<cell {number}>", "exec"), sys.modules["__main__"].__dict__)
"""


def follow(folder: Path, *arguments: str) -> tuple[str, str]:
    """What Python prints and says on the way, run in a folder with two cores, as on a small machine."""
    path = os.pathsep.join([str(NOTEBOOK.parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.mark.slow  # the floors and ceilings of one --quick
def test_the_notebook_runs_as_cells_and_as_a_script(tmp_path, finished):
    copy_store(finished, tmp_path / "runs", without=("constant_grey", "train_mean"))
    shown, said = follow(tmp_path, "-c", CELLS, str(NOTEBOOK))
    assert "11 cells, 3 to do" in said  # in two processes, which have the class from here alone
    assert "done: NearestMean base[shrinkage=0.0] cross_subject/known" in said
    for word in ("NearestMean", "codec", "smallest_detectable", "did you mean sam_net?"):
        assert word in shown, word
    again, said = follow(tmp_path, str(NOTEBOOK))  # known by its file now, so the class is made anew, and it alone
    assert said.count("11 cells, 1 to do") == 2
    assert numbers(again) == numbers(shown)


def numbers(text: str) -> list[str]:
    """The printed lines in any order: cells of a store come in that of their keys, which the class's source decides."""
    return sorted(line.lstrip("0123456789 ") for line in text.splitlines())
