"""Audits of a data set and its results, of this machine, and of how fast scoring is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.names import check_hardware, check_setting, parse_workers
from bench.core.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.hardware import Precision


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
    clips: int = 16,
    *,
    precision: Precision = "fp32",
    device: str = "auto",
    memory: str | int | None = None,
    threads: int | None = None,
) -> pd.DataFrame:
    """Seconds a clip of a plain script and of the harness on the same clips, and their ratio.

    `device` is that of both, `precision` and `memory` are those of the harness's judges.
    """
    from bench.audit.speed import measure_scoring as measure_it

    size = check_hardware(device, precision, memory)
    return measure_it(clips, precision=precision, device=device, memory=size, threads=threads)


def measure_generating(
    *,
    clips: int = 4,
    steps: int | None = None,
    suite: str = "mini",
    device: str = "auto",
    precision: Precision = "fp32",
    memory: str | int | None = None,
) -> pd.DataFrame:
    """Clips a minute of a suite's generators and of the bare diffusers pipelines, with the same networks.

    `device`, `precision` and `memory` are as in `run`.
    """
    from bench.audit.speed_device import measure_generating as measure_it
    from bench.pretrained.suite import load_suite

    size = check_hardware(device, precision, memory)
    loaded = load_suite(suite, device=device, precision=precision, memory=size)
    return measure_it(loaded, clips=clips, steps=steps)


def measure_fitting(*, steps: int = 30, device: str = "auto", precision: Precision = "fp32") -> pd.DataFrame:
    """Steps a second of the toolbox's training loop and of a plain one, both in this precision."""
    import torch

    from bench.audit.speed_device import measure_fitting as measure_it

    check_hardware(device, precision, None)
    if precision == "fp16":
        raise BenchError("what trains computes in fp32 or bf16: in fp16 gradients vanish; ask for one of these")
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return measure_it(torch.device(found if device == "auto" else device), steps=steps, precision=precision)


def measure_memory() -> pd.DataFrame:
    """Peak memory of scoring 100 and 2,000 clips."""
    from bench.audit.speed import measure_memory as measure_it

    return measure_it()


def measure_streams(many: int = 5000) -> pd.DataFrame:
    """Peak memory of a cell of 100 clips of 33×480×720 pixels and of one of so many, in each phase, and their ratio."""
    from bench.audit.streams import COUNTS
    from bench.audit.streams import measure_streams as measure_it

    return measure_it((COUNTS[0], many))


def measure_scale(workers: int | str = 2) -> pd.DataFrame:
    """Seconds a cell on one worker of a cluster and on so many, and how many times as fast: a row for each number.

    `workers` is one number or several separated by commas, as in "2,4"; one is always measured beside them.
    """
    counts = parse_workers(workers)
    from bench.audit.scale import measure_scale as measure_it

    return measure_it(counts)


def measure_statistics() -> pd.DataFrame:
    """Seconds that the board's statistics take."""
    from leaderboard.stats.speed import measure_statistics as measure_it

    return measure_it()


def measure_study(studies: int = 200) -> pd.DataFrame:
    """Coverage of the ablation study's intervals, and how often a planted zero is called an effect, where the truth is
    known: a row for each design, metric and question.
    """
    from leaderboard.stats.simulated import measure_study as measure_it

    return measure_it(studies)
