"""Provenance: of the harness itself, wherever it is called from, and plain enough for a manifest."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.core.spec import canonical_json
from bench.store import provenance


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    out = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return out.stdout.strip()


@pytest.fixture
def repository(tmp_path) -> Path:
    package = tmp_path / "bench"
    package.mkdir()
    (package / "__init__.py").touch()
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    provenance.find_commit.cache_clear()
    yield package
    provenance.find_commit.cache_clear()


def test_a_manifest_can_hold_it():
    described = provenance.describe()
    canonical_json(described)
    assert described["packages"]["numpy"] == np.__version__ == importlib.metadata.version("numpy")
    assert described["python"] == ".".join(map(str, sys.version_info[:3]))
    assert described["machine"]["cores"] >= 1
    assert described["machine"]["memory_bytes"] > 2**28


def test_commit_and_changes(repository):
    head = git(repository, "rev-parse", "HEAD")
    assert provenance.find_commit(repository) == {"commit": head, "dirty": False}
    for name, dirty in (("bench/notes.txt", False), ("my runs/a/manifest.json", False), ("bench/method.py", True)):
        (repository.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (repository.parent / name).touch()
        provenance.find_commit.cache_clear()
        assert provenance.find_commit(repository) == {"commit": head, "dirty": dirty}


def test_a_repository_around_an_installed_copy_does_not_count(repository):
    installed = repository.parent / "site-packages" / "bench"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert provenance.find_commit(installed) == {"commit": None, "dirty": None}


def test_without_git(repository, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.find_commit(repository) == {"commit": None, "dirty": None}


def test_the_callers_repository_is_not_taken_for_ours(repository, monkeypatch):
    theirs = git(repository, "rev-parse", "HEAD")
    monkeypatch.chdir(repository)
    monkeypatch.setenv("GIT_DIR", str(repository.parent / ".git"))
    assert provenance.describe()["commit"] != theirs


def test_nothing_heavy_is_imported_for_it():
    code = (
        "import sys; from bench.store import provenance; provenance.describe(); "
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_are_those_torch_computes_with():
    code = (
        "import torch; torch.set_num_threads(3); from bench.store import provenance; print(provenance.count_threads())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "3"


def test_peak_memory_grows():
    before = provenance.peak_memory()
    held = np.ones(before // 8 + 2**22)  # as much again, touched
    assert provenance.peak_memory() >= before + held.nbytes // 4


def test_what_was_not_made_alike_is_said():
    """Versions, Python, device, threads and processor that differ, and code in no commit; nothing where all agree."""
    one = {
        "packages": {"torch": "2.11", "numpy": "2"},
        "python": "3.11.7",
        "threads": 1,
        "gpus": [],
        "dirty": False,
        "machine": {"processor": "A"},
    }
    other = {**one, "packages": {"torch": "2.12", "numpy": "2"}, "gpus": ["H100"], "machine": {"processor": "B"}}
    assert provenance.list_differences([("a", one), ("b", one)]) == []
    assert provenance.list_differences([("a", one), ("b", other), ("c", one)]) == [
        "not made alike: device H100 (b); device cpu (a, c)",
        "not made alike: processor A (a, c); processor B (b)",
        "not made alike: torch 2.11 (a, c); torch 2.12 (b)",
    ]
    for name, value in (("threads", 2), ("python", "3.12.1")):
        (line,) = provenance.list_differences([("a", one), ("b", {**one, name: value})])
        assert f"{name} {one[name]} (a)" in line and f"{name} {value} (b)" in line
    (line,) = provenance.list_differences([("a", one), ("b", {**one, "dirty": True})], doing="scored")
    assert line == "scored by code that was changed since its commit (dirty): b"
