"""Audits of a data set and its results, of this machine, and of how fast scoring is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.api.names import check_setting
from bench.core.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd


def audit_dataset(
    dataset: str = "phantom_eeg", *, data_root: str | Path | None = None, runs: str | Path | None = None
) -> pd.DataFrame:
    """Every audit of a data set and its splits, and with `runs` of the results in that store: a row a finding."""
    check_setting(dataset=dataset, suite="mini", classes=40, data_root=data_root)
    if runs is not None and not Path(runs).is_dir():
        raise BenchError(f"there is no store {runs}; name with --runs the folder that `bench run` wrote, e.g. runs")
    from bench.audit.report import audit_dataset as audit_it
    from bench.datasets.catalogue import open_dataset, require_stimuli

    opened = open_dataset(dataset, data_root=data_root)
    require_stimuli(opened)
    return audit_it(opened, runs=None if runs is None else Path(runs))


def measure_audits(seeds: int = 50, *, jobs: int | None = None) -> pd.DataFrame:
    """How often each audit finds what is planted in a phantom, and cries wolf where nothing is: a row an audit."""
    from bench.audit.measure import measure_audits as measure_it

    return measure_it(seeds, processes=jobs)


def examine_machine(runs: str | Path = "runs") -> pd.DataFrame:
    """What of this machine matters to the bench, and what is wrong with it: what, status (ok, note, bad), detail."""
    from bench.audit.doctor import examine_machine as examine_it

    return examine_it(Path(runs))


def measure_scoring(
    clips: int = 16, *, precision: Literal["fp32", "bf16"] = "fp32", threads: int | None = None
) -> pd.DataFrame:
    """Seconds a clip of a plain script and of the harness on the same clips, and their ratio."""
    from bench.audit.speed import measure_scoring as measure_it

    return measure_it(clips, precision=precision, threads=threads)


def measure_memory() -> pd.DataFrame:
    """Peak memory of scoring 100 and 2,000 clips."""
    from bench.audit.speed import measure_memory as measure_it

    return measure_it()


def measure_streams(many: int = 5000) -> pd.DataFrame:
    """Peak memory of a cell of 100 clips of 33×480×720 pixels and of one of so many, in each phase, and their ratio."""
    from bench.audit.streams import COUNTS
    from bench.audit.streams import measure_streams as measure_it

    return measure_it((COUNTS[0], many))


def measure_scale(workers: int = 2) -> pd.DataFrame:
    """Seconds a cell on one worker of a cluster and on several, and the speed-up."""
    from bench.audit.scale import measure_scale as measure_it

    return measure_it((1, workers))


def measure_statistics() -> pd.DataFrame:
    """Seconds that the board's statistics take."""
    from leaderboard.stats.speed import measure_statistics as measure_it

    return measure_it()
