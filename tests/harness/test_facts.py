"""A class in a user's file is asked in a process of its own: however importing it ends, it is said in one line."""

from __future__ import annotations

import inspect
import os
import random
import sys
from pathlib import Path

import pytest

from bench.core import registry
from bench.core.registry import UnknownName, resolve
from bench.core.splits import SPLITS
from bench.harness.facts import ask_files
from bench.toolbox.parameters import try_parameters

CLASS = """
class Mine:
    modality, version, uses = "fmri", 7, ("vae",)

    def __init__(self, *, suite, seed=0, width=3):
        raise RuntimeError("made")

    def fit(self, train, validation): ...

    def reconstruct(self, brain): ...
"""
WAYS = {  # the first lines of a file, and what is said of it, in pieces
    "import os; os._exit(0)": "importing it ended the process with exit code 0",
    "import sys; sys.exit(0)": "SystemExit: 0 (… mine.py, line 1)",
    "raise KeyboardInterrupt": "KeyboardInterrupt (mine.py:1)",
    "import os; os.abort()": "importing it ended the process by SIGABRT",
    "print('so far'); 1 / 0": "ZeroDivisionError: division by zero (… mine.py, line 1)",
    "import not_there": "No module named 'not_there'",
    "x = (": "never closed",
    "class Mine: pass\nimport os; os.close(0); del os; raise SystemError": "SystemError: (… mine.py, line 2)",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(registry, "ASKED", {})
    monkeypatch.setattr("bench.harness.facts.ASKED", registry.ASKED)


@pytest.mark.parametrize("way", list(WAYS))
def test_however_importing_ends_it_is_said(way, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f"{way}\n{CLASS}")
    with pytest.raises(UnknownName) as told:
        ask_files([f"{path}:Mine"])
    assert all(piece in str(told.value) for piece in (*WAYS[way].split("… "), str(path)))


def test_the_command_knows_the_class_and_has_not_imported_it(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import os, random, sys\nos.chdir('/')\nos.environ['BENCH_HOME'] = 'elsewhere'\nrandom.seed(0)\n"
        "import bench.core.splits as splits\nsplits.SPLITS = {}\nsys.path.clear()\n" + CLASS
    )
    before = (Path.cwd(), os.environ["BENCH_HOME"], random.getstate(), list(sys.path), set(sys.modules))
    ask_files([3, None, f"{path}:Mine"])
    found = resolve("methods", f"{path}:Mine")
    assert (found.modality, found.version, found.uses, hasattr(found, "wraps")) == ("fmri", 7, ("vae",), False)
    assert list(inspect.signature(found).parameters) == ["suite", "seed", "width"]
    assert callable(found.fit) and not hasattr(found, "adapt")
    try_parameters(f"{path}:Mine", {"width": 2})
    with pytest.raises(Exception, match="no parameter wide, did you mean width"):
        try_parameters(f"{path}:Mine", {"wide": 2})
    assert (Path.cwd(), os.environ["BENCH_HOME"], random.getstate(), list(sys.path)) == before[:4]
    assert not [name for name in set(sys.modules) - before[4] if "mine" in name]
    assert SPLITS


def test_a_changed_file_is_asked_again(tmp_path):
    path = tmp_path / "mine.py"
    for version in (1, 2):
        path.write_text(CLASS.replace("7", str(version)))
        os.utime(path, (1e9, 1e9))  # as when it is changed twice within a second, which a file of bytecode cannot tell
        ask_files([f"{path}:Mine"])
        assert resolve("methods", f"{path}:Mine").version == version
