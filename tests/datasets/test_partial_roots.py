"""A folder that holds part of a release works as far as it goes, and what is not there is named by what asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from roots import lay_out_root, replace_array

import bench
from bench.audit import audit_dataset
from bench.cli import main
from bench.core.errors import DatasetError
from bench.core.splits import SplitError, make_folds
from bench.datasets.catalogue import open_dataset, verify


@pytest.fixture
def root(tmp_path: Path, phantom: Any) -> Path:
    return lay_out_root("phantom_eeg:tiny", tmp_path / "root")


def keep(root: Path, subjects: Sequence[int]) -> None:
    for path in (root / "EEG").iterdir():
        if path.name not in {f"sub{subject}.npy" for subject in subjects}:
            path.unlink()


@pytest.mark.parametrize("held", [(1,), (3,), (2, 4)])
def test_subjects_are_those_that_are_there(root: Path, held: tuple[int, ...], phantom: Any) -> None:
    keep(root, held)
    dataset = open_dataset("seed_dv", data_root=root)
    assert dataset.subjects == held and len(dataset.trials) == 70 * len(held)
    folds = make_folds(dataset, "single_subject")
    assert [fold.name for fold in folds] == [f"sub{subject:02d}" for subject in held]
    trials = phantom.trials.to_pandas()
    whole = trials.index[trials["subject"] == held[-1]].to_numpy()[[0, 69]]
    assert np.array_equal(dataset.signals([len(dataset.trials) - 70, len(dataset.trials) - 1]), phantom.signals(whole))
    if len(held) == 1:
        with pytest.raises(SplitError, match="new_subject needs at least 2"):
            make_folds(dataset, "new_subject")
    else:
        (fold,) = make_folds(dataset, "new_subject")
        assert len(fold.test) == 10 and len(fold.train) == 50


def test_what_is_not_there_is_absent_and_no_fault(root: Path) -> None:
    keep(root, [1])
    report = verify("seed_dv", root).set_index("file")["status"]
    assert set(report[report == "absent"].index) >= {"EEG/sub2.npy", "EEG/sub20.npy", "SEED-DV"} - {"EEG/sub20.npy"}
    assert report.isin(["ok", "absent"]).all() and report["EEG/sub1.npy"] == "ok"
    assert main(["data", "verify", "seed_dv", "--root", str(root)]) == 0


def test_one_subject_is_audited_and_planned(root: Path) -> None:
    keep(root, [3])
    table = audit_dataset(open_dataset("seed_dv", data_root=root))
    assert not (table["verdict"] == "found").any()
    planned = bench.plan_run(
        "retrieval", split="single_subject", dataset="seed_dv", data_root=root, runs=root.parent / "runs"
    )
    assert {job.spec.fold for job in planned.jobs if job.spec.method == "retrieval"} == {"sub03"}


def test_a_second_session_alone_is_a_subject(root: Path) -> None:
    keep(root, [3])
    (root / "EEG" / "sub3.npy").rename(root / "EEG" / "sub1_session2.npy")
    dataset = open_dataset("seed_dv", data_root=root)
    assert dataset.subjects == (1,) and set(dataset.trials["session"]) == {2}
    (fold,) = make_folds(dataset, "single_subject")
    assert len(fold.train) == 50 and dataset.hints(1).shape[:2] == (7, 10)
    assert verify("seed_dv", root).set_index("file").loc["EEG/sub1_session2.npy", "status"] == "ok"


def test_every_broken_block_is_named(root: Path) -> None:
    recording = np.load(root / "EEG" / "sub2.npy")
    recording[1, 5, 100] = np.inf
    recording[4] = 0.25
    replace_array(root / "EEG" / "sub2.npy", recording)
    row = verify("seed_dv", root).set_index("file").loc["EEG/sub2.npy"]
    assert row["status"] == "malformed"
    assert "values of block 2 are NaN" in row["detail"] and "block 5 is constant in every channel" in row["detail"]


def test_videos_and_captions_are_asked_for_by_what_needs_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "Video" / "2nd_10min.mp4").unlink()
    dataset = open_dataset("seed_dv", data_root=root)
    assert len(dataset.trials) == 280 and dataset.signals([0]).shape == (1, 62, 400)
    assert dataset.video([0, 69]).shape[0] == 2  # blocks that are there
    with pytest.raises(DatasetError, match=r"lacks Video/2nd_10min\.mp4"):
        dataset.video([10])
    shared = {"dataset": "seed_dv", "data_root": root}
    with pytest.raises(DatasetError, match=r"lacks Video/2nd_10min\.mp4"):
        bench.plan_run("train_mean", split="cross_subject", runs=root.parent / "runs", **shared)
    with pytest.raises(DatasetError, match=r"lacks Video/2nd_10min\.mp4"):
        bench.audit_dataset(**shared)
    assert not (root.parent / "runs").exists()
    for path in (root / "Video" / "BLIP-caption").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"1st_10min\.txt is gone, and was there when the data were first read here"):
        _ = open_dataset("seed_dv", data_root=root).stimuli
    monkeypatch.setenv("BENCH_HOME", str(root.parent / "another home"))  # of one who never had them
    with pytest.raises(DatasetError, match=r"lacks Video/BLIP-caption/1st_10min\.txt.* and 4 more"):
        _ = open_dataset("seed_dv", data_root=root).stimuli
    report = verify("seed_dv", root).set_index("file")["status"]
    assert report["Video/2nd_10min.mp4"] == report["Video/BLIP-caption/3rd_10min.txt"] == "absent"
    assert report["duplicates"] == "ok"  # the recordings are compared all the same


def test_a_phantom_is_whole_or_refused(root: Path, phantom: Any) -> None:
    (root / "manifest.json").symlink_to(phantom.root / "manifest.json")
    keep(root, [1, 2, 3])
    with pytest.raises(DatasetError, match=r"EEG/sub4\.npy is missing|lacks EEG/sub4\.npy"):
        open_dataset("phantom_eeg:tiny", data_root=root)
    assert verify("seed_dv", root).set_index("file").loc["EEG/sub4.npy", "status"] == "missing"


def test_films_without_pictures_or_captions(tmp_path: Path) -> None:
    root = lay_out_root("phantom_fmri:tiny", tmp_path / "cc2017")
    (root / "GT_test_3fps.pt").unlink()
    (root / "GT_train_caption.pt").unlink()
    (root / "subj03_rois.txt").unlink()
    dataset = open_dataset("cc2017", data_root=root)
    assert len(dataset.trials) and dataset.signals([0]).shape[0] == 1
    with pytest.raises(DatasetError, match=r"lacks GT_train_caption\.pt"):
        bench.audit_dataset("cc2017", data_root=root)
    report = verify("cc2017", root).set_index("file")["status"]
    assert [report[name] for name in ("GT_test_3fps.pt", "GT_train_caption.pt", "subj03_rois.txt")] == ["absent"] * 3


@pytest.mark.parametrize("name", ["seed_dv", "cc2017", "cinebrain"])
def test_a_folder_that_holds_nothing_of_a_release_is_a_fault(name: str, tmp_path: Path) -> None:
    report = verify(name, tmp_path)
    assert report.iloc[-1][["file", "status"]].tolist() == [name, "missing"]
    assert main(["data", "verify", name, "--root", str(tmp_path)]) == 1
