"""The chain from recordings to scores: controls, a newcomer's method, resume after SIGKILL."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from copied import copy_store

from bench.core.job import Run
from bench.core.splits import make_folds
from bench.harness.inputs import fold_scalings, measured_subject, training_set
from bench.harness.normalise import measure_scalings, normalised
from bench.harness.plan import plan
from bench.pretrained.suite import load_suite
from bench.store.cells import Store

SETTING = ("--split", "cross_subject", "--dataset", "phantom_eeg:tiny")
NEWCOMER = '''
import numpy as np

class Nearest:
    """Shows the training clip of the same subject whose brain signal is nearest."""

    modality = "eeg"
    version = 1
    parameter_count = 0

    def __init__(self, *, suite, seed):
        self.suite = suite

    def fit(self, train, validation):
        self.train = train
        self.known = train.brain[:].reshape(len(train.brain), -1)

    def adapt(self, calibration):
        pass

    def reconstruct(self, brain):
        signals = brain.brain[:].reshape(len(brain.brain), -1)
        distance = ((signals[:, None] - self.known[None]) ** 2).sum(-1)
        return self.train.video[self.train.clip[distance.argmin(1)]]
'''


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("method") / "nearest.py"
    path.write_text(NEWCOMER)
    return f"{path}:Nearest"


def bench(*arguments: str, runs: Path, check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--runs", str(runs), "--jobs", "1"],
        capture_output=True,
        text=True,
        check=check,
    )


def digests(runs: Path) -> dict[str, tuple]:
    """What must be equal between two stores: predictions and scores of every cell, not times or places."""
    content = {}
    for cell in Store(runs).cells():
        scores = sorted((path.name, path.read_bytes()) for path in (runs / cell.key / "scores").glob("*.parquet"))
        content[cell.key] = (cell.manifest["prediction_digest"], scores)
    return content


@pytest.mark.parametrize("split", ["cross_subject", "new_subject"])
def test_normalisation_uses_training_trials_only(phantom, split):
    """A known subject's training trials, and a new one's calibration trials, have mean 0 and deviation 1: no others."""
    (fold,) = make_folds(phantom, split)
    scalings = fold_scalings(phantom, fold)
    for trials in (fold.train, fold.calibration):
        learned = training_set(phantom, trials, scalings) if len(trials) else None
        for subject in np.unique(learned.subject) if learned else ():
            own = learned.brain[learned.subject == subject].astype(np.float64)
            np.testing.assert_allclose(own.mean((0, 2)), 0, atol=1e-4)
            np.testing.assert_allclose(own.std((0, 2)), 1, atol=1e-4)
    # test trials have statistics of their own, which would be seen in the above
    subject = int(measured_subject(phantom, fold.test)[0])
    tested = measure_scalings(phantom, fold.test, measured_subject(phantom, fold.test))[subject]
    assert not np.allclose(scalings[subject].mean / tested.deviation, tested.mean / tested.deviation, atol=1e-2)


def test_a_subject_without_statistics_is_refused(phantom):
    with pytest.raises(Exception, match="no training or calibration trials"):
        normalised(phantom, np.array([0]), np.array([1]), {})


def test_controls_and_codec_run_once_for_a_set_of_clips(phantom):
    run = Run(method="train_mean", split="single_subject", dataset="phantom_eeg:tiny")
    jobs = plan(run, phantom, load_suite("mini"))
    by_method = {}
    for job in jobs:
        by_method.setdefault(job.spec.method, []).append(job.spec.split)
    assert by_method["train_mean"] == ["clips"]
    assert by_method["codec"] == ["clips"]
    assert by_method["best_constant"] == by_method["position_only"] == ["clips"]
    assert by_method["ideal_observer"] == ["single_subject"] * len(phantom.subjects)
    assert by_method["noise_brain"] == by_method["retrieval"] == ["single_subject"] * len(phantom.subjects)
    assert {job.spec.method for job in jobs if job.role == "baseline"} == {"retrieval"}  # sees the brain: no floor


@pytest.fixture(scope="module")
def whole(newcomer, tmp_path_factory) -> tuple[Path, str, float]:
    """The store of an uninterrupted run, what the run printed, and the seconds that it took."""
    runs, started = tmp_path_factory.mktemp("whole") / "runs", time.monotonic()
    printed = bench("run", "--method", newcomer, *SETTING, runs=runs).stdout
    return runs, printed, time.monotonic() - started


def test_a_newcomers_method_runs_and_resumes_after_kills(newcomer, whole, tmp_path):
    """SIGKILL at random moments, then the same command: every prediction and score equals an uninterrupted run's."""
    runs, printed, duration = whole
    arguments = ("run", "--method", newcomer, *SETTING)
    assert "nearest" in printed.lower()

    moments = random.Random(0)
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments, "--runs", str(tmp_path / "killed"), "--jobs", "1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(moments.uniform(0.2, 0.9) * duration)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    resumed = bench(*arguments, runs=tmp_path / "killed")
    assert digests(tmp_path / "killed") == digests(runs)
    assert resumed.stdout == printed
    assert not list((tmp_path / "killed").glob(".tmp-*"))


def test_a_broken_method_fails_alone_and_the_exit_code_says_so(whole, tmp_path):
    copy_store(whole[0], tmp_path / "runs")  # the floors and ceilings are there
    path = tmp_path / "broken.py"
    path.write_text(NEWCOMER.replace("Nearest", "Broken").replace("self.train.video[", "self.train.brain["))
    out = bench(
        *("run", "--method", f"{path}:Broken", *SETTING, "--references"),
        runs=tmp_path / "runs",
        check=False,
    )
    assert out.returncode == 1
    assert "failed: " in out.stderr
    assert "train_mean" in out.stdout  # the floors are there all the same
