"""Recordings that are there twice are found whatever was done to the copy, and nothing is found where nothing is.

Copies are planted as they come about: a file under another name, a block saved over another, a repeat, a single trial.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from roots import lay_out_root, replace_array, replace_tensor
from scipy.ndimage import gaussian_filter1d

import bench
from bench.audit import audit_dataset
from bench.cli import main
from bench.core.splits import SplitError, make_folds
from bench.datasets import copies
from bench.datasets.catalogue import open_dataset, verify
from bench.datasets.cinebrain.layout import CineBrain
from bench.datasets.cinebrain.verify import check_copies
from bench.datasets.copies import compare_once, describe_copies, find_leaks
from bench.datasets.duplicates import KEYS, Duplicates, compare_trials, find_duplicates, tabulate_trials
from bench.datasets.fingerprints import DIMENSIONS, Spectra, find_limit, find_near, scale_to_unit

PHANTOMS = ("phantom_eeg:tiny", "phantom_fmri:tiny", "phantom_cinebrain:tiny", "phantom_cinebrain_eeg:tiny")


@pytest.fixture(scope="module")
def opened(bench_home: Path) -> dict[str, Any]:
    """The tiny phantoms, every repeat of a clip by itself."""
    whole = {name: open_dataset(name) for name in PHANTOMS}
    return {name: one.unaveraged() if hasattr(one, "unaveraged") else one for name, one in whole.items()}


class Copied:
    """A data set in which some trials are changed copies of others."""

    def __init__(self, dataset: Any, source: dict[int, int], change: Callable[[np.ndarray], np.ndarray]) -> None:
        self.dataset, self.source, self.change = dataset, source, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def signals(self, trials: Any) -> np.ndarray:
        trials = np.asarray(trials)
        signals = self.dataset.signals(trials)
        for row, trial in enumerate(trials.tolist()):
            if trial in self.source:
                signals[row] = self.change(self.dataset.signals([self.source[trial]])[0])
        return signals


def add_noise(signals: np.ndarray, share: float = 0.1) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(signals.shape)
    spread = signals.std(axis=1, keepdims=True) if signals.shape[1] > 9 else signals.std()
    return signals + share * spread * noise


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda signals: signals,
    "in microvolts, about another reference": lambda signals: 1e6 * signals + 3,
    "in half precision": lambda signals: (signals / np.abs(signals).max()).astype(np.float16),
    "with the other sign": lambda signals: -signals,
    "with a tenth of noise": add_noise,
    "three samples later": lambda signals: np.roll(signals, 3, axis=1) if signals.shape[1] > 9 else signals,
}


@pytest.mark.parametrize("name", PHANTOMS)
def test_nothing_is_found_in_a_phantom(name: str, opened: dict[str, Any]) -> None:
    found = compare_trials(opened[name])
    assert found.pairs.empty and len(found.trials) == len(opened[name].trials) and found.limit <= 0.92


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["phantom_eeg:tiny", "phantom_fmri:tiny"])
def test_a_changed_copy_of_a_block_and_of_a_trial_is_found_and_no_other(
    name: str, change: str, opened: dict[str, Any]
) -> None:
    trials = tabulate_trials(opened[name])
    parts = [part["trial"].tolist() for _, part in trials.groupby(KEYS)]
    source = dict(zip(parts[-1], parts[0][: len(parts[-1])], strict=False))  # another subject's block
    source |= {parts[2][4]: parts[1][7]}  # and one trial of another block
    found = find_duplicates(Copied(opened[name], source, CHANGES[change]), trials)  # type: ignore[arg-type]
    pairs = {frozenset(pair) for pair in zip(found.pairs["trial_one"], found.pairs["trial_other"], strict=True)}
    assert pairs == {frozenset(pair) for pair in source.items()}
    texts = [one.text for one in describe_copies(found)]
    assert len(texts) == 2 and any(f"({len(parts[-1])} of {len(parts[-1])} trials" in text for text in texts)


def test_a_block_under_much_noise_is_found_by_all_its_trials(opened: dict[str, Any]) -> None:
    dataset = opened["phantom_eeg:tiny"]
    trials = tabulate_trials(dataset)
    parts = [part["trial"].tolist() for _, part in trials.groupby(KEYS)]
    source = dict(zip(parts[9], parts[2], strict=True))
    noisy = Copied(dataset, source, lambda signals: add_noise(signals, 0.4))
    found = find_duplicates(noisy, trials)  # type: ignore[arg-type]
    assert len(found.pairs) == len(source) and found.pairs["correlation"].median() < found.limit


def test_volumes_that_come_a_clip_later_are_found(opened: dict[str, Any]) -> None:
    dataset = opened["phantom_cinebrain:tiny"]
    trials = tabulate_trials(dataset)
    first, last = (trials.loc[trials["subject"] == subject, "trial"].tolist() for subject in (1, 6))
    source = dict(zip(last[1:], first[:-1], strict=True))
    found = find_duplicates(Copied(dataset, source, lambda signals: signals), trials)  # type: ignore[arg-type]
    (one,) = describe_copies(found)
    assert one.text.startswith("subject 6 is the same recording as subject 1") and one.trials == len(source)


def test_repeats_that_are_copies_are_told_from_repeats(opened: dict[str, Any]) -> None:
    """Repeats of a clip are alike; here the second training repeat of one block is the first again, in all clips."""
    dataset = opened["phantom_fmri:tiny"]
    trials = tabulate_trials(dataset)
    own = trials[(trials["subject"] == 2) & (trials["block"] == 1)].pivot(
        index="clip", columns="repeat", values="trial"
    )
    source = dict(zip(own[2], own[1], strict=True))
    found = find_duplicates(Copied(dataset, source, lambda signals: signals), trials)  # type: ignore[arg-type]
    (one,) = describe_copies(found)
    assert "repeat 2 of block 1 of subject 2 is repeat 1 of block 1 of subject 2" in one.text


def test_neighbouring_volumes_may_be_alike_and_a_copy_among_them_is_found() -> None:
    """Slow signals, as after smoothing in time: neighbours correlate above the floor, and one volume is there twice."""
    rng = np.random.default_rng(3)
    slow = np.float32(gaussian_filter1d(rng.standard_normal((80, 400)), 3, axis=0))[10:70]

    class Slow:
        modality = "fmri"
        channels = tuple(map(str, range(400)))

        def signals(self, trials: Any) -> np.ndarray:
            return slow[np.asarray(trials)][:, :, None]

    table = {"trial": range(60), "subject": 1, "session": 1, "block": np.repeat([1, 2], 30), "repeat": 0}
    trials = pd.DataFrame({**table, "clip": range(60)})
    assert find_duplicates(Slow(), trials).pairs.empty  # type: ignore[arg-type]
    slow[11] = slow[10]
    pairs = find_duplicates(Slow(), trials).pairs  # type: ignore[arg-type]
    assert pairs[["trial_one", "trial_other"]].to_numpy().tolist() == [[10, 11]]


def test_the_limit_is_where_independent_directions_end() -> None:
    """Of 2,000 random directions in 12 dimensions some pairs are nearer than .9; the limit lies above them all."""
    rng = np.random.default_rng(0)
    prints = scale_to_unit(rng.standard_normal((2000, 12)).astype(np.float32))
    distance, dimensions = find_limit(prints, np.arange(2000), floor=0.5)
    likest = np.abs(prints @ prints.T - np.eye(2000)).max()
    assert 10 < dimensions < 13 and 0.9 < likest < 1 - distance < 0.99
    one, other, _ = find_near(prints, 1 - likest + 1e-6)
    assert len(one) == 1 and abs(prints[one[0]] @ prints[other[0]]) == pytest.approx(likest, abs=1e-6)


def test_a_trial_in_which_nothing_changes_is_no_copy_of_another() -> None:
    signals = np.random.default_rng(1).standard_normal((6, 4, 100)).astype(np.float32)
    signals[2:4] = 1.5
    prints = Spectra.choose(signals).measure(signals)
    assert prints.shape == (6, DIMENSIONS) and not prints[2:4].any() and prints[[0, 1, 4, 5]].any(axis=1).all()
    assert not len(find_near(scale_to_unit(prints), 0.5)[0])


# as files, through the verbs


@pytest.fixture
def duplicated(tmp_path: Path, phantom: Any) -> Path:
    """SEED-DV's layout; the last subject, who is new, is the first one in microvolts."""
    root = lay_out_root("phantom_eeg:tiny", tmp_path / "root")
    replace_array(root / "EEG" / "sub4.npy", (1e6 * np.load(root / "EEG" / "sub1.npy")).astype(np.float64))
    return root


def test_a_duplicated_subject_is_named_by_verify_audit_and_run(
    duplicated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = verify("seed_dv", duplicated)
    (row,) = report[report["status"] == "duplicate"].to_dict("records")
    assert row["file"] == "EEG/sub4.npy" and "is the same recording as EEG/sub1.npy (70 of 70 trials" in row["detail"]
    assert main(["data", "verify", "seed_dv", "--root", str(duplicated)]) == 1
    table = audit_dataset(open_dataset("seed_dv", data_root=duplicated))
    found = table[table["verdict"] == "found"].set_index("audit")
    assert "subject 4 is the same recording as subject 1" in found.loc["duplicates", "meaning"]
    assert found.loc["disjointness", "subject_of"] == "new_subject"
    shared = {"dataset": "seed_dv", "data_root": duplicated, "runs": duplicated.parent / "runs"}
    with pytest.raises(SplitError, match=r"subject 4 is the same recording as subject 1.*Leave one of them out"):
        bench.plan_run("train_mean", split="new_subject", **shared)
    capsys.readouterr()
    assert bench.plan_run("train_mean", split="cross_subject", **shared).jobs
    assert "warning: seed_dv: subject 4 is the same recording as subject 1" in capsys.readouterr().err


def test_a_test_block_that_was_trained_on_stops_every_split(tmp_path: Path, phantom: Any) -> None:
    root = lay_out_root("phantom_eeg:tiny", tmp_path / "root")
    recording = np.load(root / "EEG" / "sub2.npy")
    recording[6, :, 2:] = recording[1, :, :-2]  # the seventh block is the second, two samples later
    replace_array(root / "EEG" / "sub2.npy", recording)
    report = verify("seed_dv", root)
    (detail,) = report.loc[report["status"] == "duplicate", "detail"]
    assert detail.startswith("block 7 of EEG/sub2.npy is block 2 of EEG/sub2.npy (10 of 10 trials")
    dataset = open_dataset("seed_dv", data_root=root)
    found = compare_trials(dataset)
    for split, leaking in (("single_subject", ["sub02"]), ("cross_subject", ["known"]), ("new_subject", [])):
        folds = make_folds(dataset, split)
        assert [fold.name for fold in folds if len(find_leaks(found, dataset, fold))] == leaking
    with pytest.raises(SplitError, match="block 7 of subject 2 is block 2 of subject 2"):
        copies.refuse_copies(dataset, "cross_subject")


def test_copies_in_tensors_and_in_lists_are_named(tmp_path: Path) -> None:
    import torch

    root = lay_out_root("phantom_fmri:tiny", tmp_path / "cc2017")
    path = root / "subj02_test_fmri.pt"
    values = torch.load(path, weights_only=True).numpy().copy()
    values[:, 3] = values[:, 0]  # the fourth test repeat is the first
    replace_tensor(path, values)
    report = verify("cc2017", root)
    (row,) = report[report["status"] == "duplicate"].to_dict("records")
    assert row["file"] == "subj02_*_fmri.pt" and "repeat 4 of block" in row["detail"]
    root = lay_out_root("phantom_cinebrain:tiny", tmp_path / "cinebrain")
    for part in ("train", "test"):  # the fifth subject's list names the second's volumes
        own, other = (json.loads((root / f"sub-000{s}_{part}_va.json").read_text()) for s in (5, 2))
        for mine, theirs in zip(own, other, strict=True):
            mine["fmri"] = theirs["fmri"]
        (root / f"sub-0005_{part}_va.json").unlink()
        (root / f"sub-0005_{part}_va.json").write_text(json.dumps(own))
    for kind, expected in (("fmri", ["sub-0005 fmri"]), ("eeg", [])):
        view = CineBrain(root, cache=root, kind=kind)  # type: ignore[arg-type]
        rows = check_copies(view, list(view.subjects))
        assert [name for name, status, _ in rows if status == "duplicate"] == expected
        assert ("is the same recording as sub-0002 fmri" in rows[0][2]) == (kind == "fmri")


def test_what_cannot_be_read_is_left_out_of_the_comparison(tmp_path: Path, phantom: Any) -> None:
    root = lay_out_root("phantom_eeg:tiny", tmp_path / "root")
    recording = np.load(root / "EEG" / "sub1.npy")
    replace_array(root / "EEG" / "sub3.npy", recording)
    broken = recording.copy()
    broken[2, 7, 900] = np.nan
    replace_array(root / "EEG" / "sub1.npy", broken)
    report = verify("seed_dv", root).set_index("file")
    assert report.loc["EEG/sub1.npy", "status"] == "malformed"
    assert list(report.loc[["EEG/sub3.npy"], "status"]) == ["ok", "duplicate"]


def test_what_was_found_is_remembered_and_a_damaged_memory_is_not_believed(
    duplicated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    dataset = open_dataset("seed_dv", data_root=duplicated)
    first = compare_once(dataset)
    monkeypatch.setattr(copies, "compare_trials", lambda _: Duplicates(first.pairs.iloc[:1], first.trials, 0.5))
    pd.testing.assert_frame_equal(compare_once(dataset).pairs, first.pairs, check_dtype=False)
    entries = list((tmp_path / "home" / "cache" / "entries").iterdir())
    (entry,) = [path for path in entries if b"duplicated recordings" in path.read_bytes()]
    entry.write_bytes(entry.read_bytes().replace(b"subject_one", b"subject_two", 1))
    assert len(compare_once(dataset).pairs) == 1  # looked for again
