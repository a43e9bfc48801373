"""Fixtures that several test modules share: a home of its own, one thread, and the tiny phantom."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch: many tiny steps are fastest on one thread

# Cells of the tests are of no commit: those of a developer's changed tree could not be published.
os.environ["GIT_CEILING_DIRECTORIES"] = str(Path(__file__).parents[1])

import pytest
from filelock import FileLock
from hypothesis import settings

settings.register_profile("bench", deadline=None)  # a slow machine is no failure
settings.load_profile("bench")

REAL = Path(__file__).parents[1].parent / "shared" / "real"


@pytest.fixture(scope="session", autouse=True)
def bench_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENCH_HOME that no test shares with the user's."""
    home = tmp_path_factory.mktemp("home")
    os.environ["BENCH_HOME"] = str(home)
    return home


@pytest.fixture(scope="session")
def phantom(bench_home: Path):
    """The tiny phantom, made once for all tests."""
    from bench.datasets.catalogue import open_dataset

    return open_dataset("phantom_eeg:tiny")


@pytest.fixture(scope="session")
def finished(phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the floors, baselines and ceilings of `--quick`, to copy: they take most of its time.

    Made once for all processes of the tests, by the first that asks.
    """
    import bench

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place = base / "finished" / "runs"
    with FileLock(base / "finished.lock"):
        bench.run("retrieval", quick=True, runs=place, jobs=1)  # the second finds all cells there
    return place


@pytest.fixture(scope="session")
def real() -> Path:
    """Real reconstructions and metadata that the project may read but not ship."""
    if not REAL.is_dir():
        pytest.skip(f"needs the real files beside the checkout, and {REAL.name}/ is not there")
    return REAL
