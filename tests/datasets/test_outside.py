"""Metrics, protocols and data sets from outside: what is not what it must be is refused in words, nothing is run."""

from __future__ import annotations

from types import SimpleNamespace

import datasets
import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.core.spec import CellSpec
from bench.datasets.catalogue import open_dataset
from bench.datasets.outside import examine
from bench.doors.bundles import BadBundle, read_spec
from bench.scoring.lookup import check_metric, find_protocol
from metrics.protocols import PROTOCOLS
from metrics.specs import MetricSpec, Scored

PROTOCOL = """
from dataclasses import replace
from metrics.pixel import PSNR
from metrics.protocols import Protocol
from metrics.ssim import SSIM
MINE = Protocol(name={name!r}, summary="", differs="", metrics={metrics})
"""


@pytest.mark.parametrize(
    ("name", "metrics", "words"),
    [
        ("corrected", "(SSIM,)", "a protocol of the project"),
        ("mine", "()", "needs some"),
        ("mine", "(SSIM, replace(PSNR, name='ssim'))", "each of another name"),
        ("mine", "('ssim',)", "metric 0 is str"),
        ("mine", "(replace(SSIM, worst=float('nan')),)", "finite and within"),
        ("mine", "(replace(SSIM, direction='up'),)", "higher and lower"),
    ],
)
def test_a_protocol_that_is_none_is_refused(tmp_path, name, metrics, words):
    path = tmp_path / "mine.py"
    path.write_text(PROTOCOL.format(name=name, metrics=metrics))
    with pytest.raises(BenchError, match=words):
        find_protocol(f"{path}:MINE")


def test_ours_are_found_as_they_are():
    for name, protocol in PROTOCOLS.items():
        assert find_protocol(name) is protocol


@pytest.mark.parametrize("value", [np.zeros(2), 0.5, np.array(["a", "b", "c"]), np.zeros((3, 1))])
def test_a_metric_that_returns_another_shape_is_named(value):
    metric = check_metric(MetricSpec(name="odd", compute=lambda one, other: value, summary=""), "here")
    clips = Scored(video=np.zeros((3, 2, 4, 4, 3), np.uint8))
    with pytest.raises(BenchError, match=r"odd returned .* for 3 clips"):
        metric.compute(clips, clips)


def make_study(**changes) -> SimpleNamespace:
    """A data set of three clips and two subjects that keeps every contract, but for the changes."""
    stimuli = {"clip": [0, 1, 2], "block": [1, 2, 3], "concept": [0, 1, 0], "caption": ["a", "b", "c"]}
    trials = {"trial": range(6), "subject": [1, 1, 1, 2, 2, 2], "session": [1] * 6, "clip": [0, 1, 2] * 2}
    content = {
        "name": "study", "digest": "d", "licence": "CC0-1.0", "subjects": (1, 2), "channels": ("O1", "O2"),
        "concepts": ("cat", "car"), "sampling_rate": 200.0, "rois": {}, "truth": None, "modality": "eeg",
        "signals": lambda rows: np.zeros((len(rows), 2, 5), np.float32),
        "video": lambda rows: np.zeros((len(rows), 6, 64, 64, 3), np.uint8),
    }  # fmt: skip
    stimuli |= changes.pop("in_stimuli", {})
    trials |= changes.pop("in_trials", {})
    tables = {"stimuli": datasets.Dataset.from_dict(stimuli), "trials": datasets.Dataset.from_dict(trials)}
    return SimpleNamespace(**content | tables | changes)


def test_a_whole_data_set_passes():
    assert [status for _, status, _ in examine(make_study())] == ["ok"] * 5


@pytest.mark.parametrize(
    ("changes", "part", "words"),
    [
        ({"licence": ""}, "attributes", "licence is ''"),
        ({"digest": None}, "attributes", "digest is None"),
        ({"subjects": (1, 1)}, "attributes", "names one twice"),
        ({"modality": "meg"}, "attributes", "'eeg' and 'fmri'"),
        ({"in_stimuli": {"clip": [1, 2, 3]}}, "stimuli", "number of the row, from 0"),
        ({"in_stimuli": {"concept": [0, 1, 2]}}, "stimuli", "allowed are 0 to 1"),
        ({"in_stimuli": {"caption": ["a", "", "c"]}}, "stimuli", "no caption"),
        ({"in_stimuli": {"block": [1, 1, 2]}}, "stimuli", "3 at least"),
        ({"in_trials": {"trial": [0, 1, 2, 4, 3, 5]}}, "trials", "number of the row"),
        ({"in_trials": {"clip": [0, 1, 2, 0, 1, 3]}}, "trials", "allowed are 0 to 2"),
        ({"in_trials": {"subject": [1] * 6}}, "trials", "subject 2"),
        ({"in_trials": {"session": [0] * 6}}, "trials", "session 1"),
        ({"signals": lambda rows: np.zeros((len(rows), 2, 5))}, "signals", "float32"),
        ({"signals": lambda rows: np.full((len(rows), 2, 5), np.nan, np.float32)}, "signals", "NaN"),
        ({"video": lambda rows: np.zeros((len(rows), 64, 64, 3), np.uint8)}, "video", "uint8 RGB"),
        ({"stimuli": [{"clip": 0}]}, "stimuli", "datasets.Dataset"),
    ],
)
def test_a_broken_contract_is_named(changes, part, words):
    last = list(examine(make_study(**changes)))[-1]
    assert last[:2] == (part, "malformed") and words in last[2], last


def test_a_data_set_that_is_not_there_says_what_is_allowed(tmp_path):
    with pytest.raises(BenchError, match="there is no file"):
        open_dataset(f"{tmp_path}/none.py:Study")
    with pytest.raises(BenchError, match=r"phantom_eeg.*path/file.py:Class"):
        open_dataset("my_study")


def test_a_bundle_never_has_a_file_run(tmp_path):
    spec = CellSpec(
        dataset=f"{tmp_path}/evil.py:Study", data_digest="d", split="cross_subject", fold="known", classes=40,
        method="one", method_version=1, parameters={}, suite="mini", suite_digest="s", seed=0,
    )  # fmt: skip
    with pytest.raises(BadBundle, match="of data set"):
        read_spec(SimpleNamespace(key=spec.key, manifest={"spec": spec.as_dict()}))
