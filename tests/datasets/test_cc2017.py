"""The cc2017 loader against files written here as NeuroClips' scripts write and read them, and against broken ones."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import DatasetError
from bench.core.splits import make_folds
from bench.datasets.catalogue import open_dataset, verify
from bench.datasets.cc2017.layout import CC2017, find_test_clip
from bench.datasets.seed_dv.concepts import CONCEPTS

VOXELS = {1: 5, 2: 7, 3: 3}
TRAIN, TEST = 12, 6  # clips of the small release: three segments of four, and one test segment and a half


def write_release(root: Path, *, train: int, test: int, frames: str = "uint8", test_pixels: int = 8) -> None:
    """As in the scripts: torch.save of plain tensors, captions stacked into a NumPy array."""
    rng = np.random.default_rng(0)
    root.mkdir()
    for subject, voxels in VOXELS.items():
        for part, clips, repeats in (("train", train, 2), ("test", test, 10)):
            fmri = torch.from_numpy(rng.standard_normal((clips, repeats, voxels)).astype(np.float32))
            torch.save(fmri, root / f"subj0{subject}_{part}_fmri.pt")
    for part, clips, pixels in (("train", train, 8), ("test", test, test_pixels)):
        video = rng.integers(0, 256, (clips, 6, 3, pixels, pixels), dtype=np.uint8)
        stored = torch.from_numpy(video) if frames == "uint8" else torch.from_numpy(video / np.float32(255))
        torch.save(stored.to(getattr(torch, frames)), root / f"GT_{part}_3fps.pt")
        captions = np.array([])
        for clip in range(clips):
            captions = np.hstack((captions, f"a {part} clip, number {clip}"))
        torch.save(captions, root / f"GT_{part}_caption.pt")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "release"
    write_release(root, train=TRAIN, test=TEST)
    geometry = {"segment_clips": 4, "tr": 2.0, "clips": {"train": TRAIN, "test": TEST}}
    (root / "geometry.json").write_text(json.dumps(geometry))
    return root


OPENED = itertools.count()


def load(root: Path, **options: str) -> CC2017:
    """The folder as one who has not read it before opens it: each test changes files as it goes."""
    return CC2017(root, cache=root.parent / f"cache {next(OPENED)}", **options)  # type: ignore[arg-type]


def change(path: Path, values: np.ndarray) -> None:
    torch.save(torch.from_numpy(values), path)


def read(path: Path) -> np.ndarray:
    return torch.load(path, weights_only=True).numpy()


def test_the_official_release_with_its_official_split(tmp_path: Path) -> None:
    root = tmp_path / "official"
    write_release(root, train=4320, test=1200)
    labels = np.arange(5520) % 40
    concepts = {"names": list(CONCEPTS), "train": labels[:4320].tolist(), "test": labels[4320:].tolist()}
    (root / "concepts.json").write_text(json.dumps(concepts))
    dataset = load(root)
    assert dataset.modality == "fmri" and dataset.sampling_rate == 0.5 and dataset.subjects == (1, 2, 3)
    stimuli, trials = dataset.stimuli.to_pandas(), dataset.trials.to_pandas()
    assert len(stimuli) == 5520 and len(trials) == 3 * (8640 + 1200)
    assert stimuli["block"].value_counts().loc[list(range(1, 19))].tolist() == [240] * 18
    fold = make_folds(dataset, "single_subject")[1]
    clip = trials["clip"].to_numpy()
    assert sorted(clip[fold.test]) == list(range(4320, 5520))  # the official test clips, once each
    assert sorted(clip[fold.train]) == sorted([*range(4080)] * 2)  # 17 segments, both repeats
    assert sorted(set(clip[fold.validation])) == list(range(4080, 4320))
    assert set(trials["subject"].to_numpy()[fold.test]) == {2}


def test_signals_are_what_the_scripts_feed(root: Path) -> None:
    dataset = load(root)
    trials = dataset.trials.to_pandas()
    assert len(dataset.channels) == 7 and dataset.voxels == VOXELS
    for subject, voxels in VOXELS.items():
        train, test = read(root / f"subj0{subject}_train_fmri.pt"), read(root / f"subj0{subject}_test_fmri.pt")
        own = trials["subject"] == subject
        second = dataset.signals(trials["trial"][own & (trials["repeat"] == 2)])
        assert second.dtype == np.float32 and second.shape == (TRAIN, 7, 1)
        assert np.array_equal(second[:, :voxels, 0], train[:, 1])
        averaged = dataset.signals(trials["trial"][own & (trials["repeat"] == 0)])
        np.testing.assert_allclose(averaged[:, :voxels, 0], torch.from_numpy(test).mean(dim=1), rtol=1e-5, atol=1e-6)
        assert not averaged[:, voxels:].any()  # padding


def test_repeats_may_be_averaged_everywhere_or_nowhere(root: Path) -> None:
    everywhere, nowhere = load(root, average="all"), load(root, average="none")
    assert len(everywhere.trials) == 3 * (TRAIN + TEST) and len(nowhere.trials) == 3 * (2 * TRAIN + 10 * TEST)
    assert len({load(root).digest, everywhere.digest, nowhere.digest}) == 3
    table = nowhere.trials.to_pandas()
    row = table[(table["subject"] == 2) & (table["clip"] == TRAIN + 3) & (table["repeat"] == 7)]["trial"]
    assert np.array_equal(nowhere.signals(row)[0, :, 0], read(root / "subj02_test_fmri.pt")[3, 6])
    with pytest.raises(DatasetError, match="'mean' is not known"):
        load(root, average="mean")


def test_tables_and_regions(root: Path) -> None:
    (root / "subj03_rois.txt").write_text("V1\nV1\nhippocampus\n")
    dataset = load(root)
    assert dataset.stimuli.column_names == ["clip", "block", "slot", "position", "concept", "caption"]
    assert dataset.stimuli["block"][:] == [1] * 4 + [2] * 4 + [3] * 4 + [4] * TEST
    assert dataset.stimuli["slot"][:] == [0, 1, 2, 3] * 3 + list(range(TEST))
    assert dataset.stimuli["caption"][TRAIN] == "a test clip, number 0"
    assert dataset.concepts == ("film",)  # the release has no labels
    assert dataset.rois[3] == ("V1", "V1", "hippocampus") and dataset.rois[1] == ("visual",) * 5
    assert dataset.truth is None and open_dataset("cc2017", data_root=root).digest == dataset.digest
    (root / "subj03_rois.txt").write_text("V1\n")
    with pytest.raises(DatasetError, match="names 1 voxels, the data have 3"):
        _ = load(root).rois


@pytest.mark.parametrize("frames", ["uint8", "float16", "float32"])
def test_frames_of_any_type_and_of_two_sizes(tmp_path: Path, frames: str) -> None:
    root = tmp_path / "release"
    write_release(root, train=TRAIN, test=TEST, frames=frames, test_pixels=16)
    (root / "geometry.json").write_text(json.dumps({"segment_clips": 4, "tr": 2.0, "clips": {"train": 12, "test": 6}}))
    plain = tmp_path / "plain"
    write_release(plain, train=TRAIN, test=TEST, test_pixels=16)
    video = load(root).video([3, TRAIN + 1])
    assert video.shape == (2, 6, 8, 8, 3) and video.dtype == np.uint8
    assert np.array_equal(video[0], read(plain / "GT_train_3fps.pt")[3].transpose(0, 2, 3, 1))
    shown = read(plain / "GT_test_3fps.pt")[1].transpose(0, 2, 3, 1).astype(float)
    halved = shown.reshape(6, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    assert np.abs(video[1] - halved).max() <= 1


def test_test_clips_are_numbered_from_0_or_from_1(root: Path) -> None:
    dataset = load(root)
    assert find_test_clip(dataset, 0, base=0) == find_test_clip(dataset, 1, base=1) == TRAIN
    assert find_test_clip(dataset, TEST - 1, base=0) == find_test_clip(dataset, TEST, base=1) == TRAIN + TEST - 1
    for number, base in ((TEST, 0), (0, 1), (TEST + 1, 1), (-1, 0)):
        with pytest.raises(DatasetError, match="the numbers go from"):
            find_test_clip(dataset, number, base=base)  # type: ignore[arg-type]


@pytest.mark.parametrize("base", [0, 1])
def test_captions_of_neurons_in_both_id_bases(root: Path, base: int) -> None:
    (root / "qwen_annotation").mkdir()
    for part, count in (("train", TRAIN), ("test", TEST)):
        (root / f"GT_{part}_caption.pt").unlink()
        items = [{"idx": base + clip, "caption": f"{part} {clip}", "category_id": []} for clip in range(count)]
        path = root / "qwen_annotation" / f"qwen_{part}_caption_tag_category_id.json"
        path.write_text(json.dumps(items[::-1]))
    assert load(root).stimuli["caption"][TRAIN - 1 : TRAIN + 1] == [f"train {TRAIN - 1}", "test 0"]
    path.write_text(json.dumps([*items[:-1], {"idx": 99, "caption": ""}]))
    with pytest.raises(DatasetError, match="expected 6 from 0 or from 1"):
        _ = load(root).stimuli


def test_repeats_that_were_not_measured_are_left_out(root: Path) -> None:
    test, train = read(root / "subj03_test_fmri.pt"), read(root / "subj03_train_fmri.pt")
    test[2, 8] = np.nan  # as Mind-Animator drops repeat 9 of a run
    train[5, 1] = np.nan
    change(root / "subj03_test_fmri.pt", test)
    change(root / "subj03_train_fmri.pt", train)
    dataset = load(root)
    trials = dataset.trials.to_pandas()
    own = trials[trials["subject"] == 3]
    assert len(own) == 2 * TRAIN - 1 + TEST
    assert own[own["clip"] == 5]["repeat"].tolist() == [1]
    averaged = dataset.signals(own[own["clip"] == TRAIN + 2]["trial"])[0, :3, 0]
    np.testing.assert_allclose(averaged, np.delete(test[2], 8, axis=0).mean(axis=0), rtol=1e-5)
    report: Any = verify("cc2017", root).set_index("file")
    assert "1 repeats not measured" in report.loc["subj03_test_fmri.pt", "detail"]
    assert report.loc["subj03_test_fmri.pt", "status"] == "ok"
    test[2] = np.nan
    change(root / "subj03_test_fmri.pt", test)
    with pytest.raises(DatasetError, match=r"subj03_test_fmri\.pt: no repeat of clip 2"):
        _ = load(root).trials


def test_a_nan_voxel_is_an_error_that_says_where(root: Path) -> None:
    broken = read(root / "subj02_test_fmri.pt")
    broken[4, 6, 3] = np.nan
    change(root / "subj02_test_fmri.pt", broken)
    dataset = load(root)
    trials = dataset.trials.to_pandas()
    own = trials[(trials["subject"] == 2) & (trials["clip"] >= TRAIN)]
    assert np.isfinite(dataset.signals(own["trial"].iloc[:4])).all()
    with pytest.raises(DatasetError, match=r"subj02_test_fmri\.pt.*clip 4, repeat 7.*voxel 3"):
        dataset.signals(own["trial"].iloc[4:])
    detail: Any = verify("cc2017", root).set_index("file").loc["subj02_test_fmri.pt"]
    assert detail["status"] == "malformed" and "clip 4, repeat 7, voxel 3" in detail["detail"]


def test_truncated_and_foreign_files(root: Path) -> None:
    path = root / "subj01_train_fmri.pt"
    whole = path.read_bytes()
    values = read(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(DatasetError, match=r"subj01_train_fmri\.pt is no whole tensor file"):
        _ = load(root).trials
    for wrong, words in ((values[:-1], r"\[11, 2, 5\], expected \[12"), (values[:, 0], r"\[12, 5\], expected \[12")):
        change(path, wrong)
        with pytest.raises(DatasetError, match=words):
            _ = load(root).trials
    torch.save({"fmri": torch.from_numpy(values)}, path)
    with pytest.raises(DatasetError, match="holds a dict"):
        _ = load(root).trials
    change(path, values[:, :, :4])
    with pytest.raises(DatasetError, match="has 5 voxels, the training tensor 4"):
        load(root).signals([0])
    report: Any = verify("cc2017", root)
    assert (report[report["file"] == "subj01_test_fmri.pt"]["status"] == "malformed").any()


def test_captions_load_nothing_but_strings(root: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "trapped",))

    path = root / "GT_test_caption.pt"
    torch.save([Trap()], path)
    with pytest.raises(DatasetError, match="no array or list of strings"):
        _ = load(root).stimuli
    path.write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(DatasetError, match="no array or list of strings"):
        _ = load(root).stimuli
    assert not (tmp_path / "trapped").exists()
    torch.save(np.array(["one"]), path)
    with pytest.raises(DatasetError, match="1 captions, expected 6"):
        _ = load(root).stimuli


def test_missing_files(root: Path) -> None:
    for name in ("subj01_train_fmri.pt", "subj01_test_fmri.pt"):
        (root / name).unlink()
    assert load(root).subjects == (2, 3)  # whoever is wholly there
    report: Any = verify("cc2017", root)
    missing = report[(report["status"] == "absent") & ~report["file"].str.endswith("_rois.txt")]
    assert set(missing["file"]) == {"subj01_train_fmri.pt", "subj01_test_fmri.pt", "cc2017"}
    assert "gongzx/cc2017_dataset" in missing["detail"].iloc[-1]
    (root / "subj02_test_fmri.pt").unlink()
    with pytest.raises(DatasetError, match=r"lacks subj02_test_fmri\.pt.*data verify"):
        load(root)
    assert verify("cc2017", root).set_index("file").loc["subj02_test_fmri.pt", "status"] == "missing"
    with pytest.raises(DatasetError, match="no folder"):
        load(root / "nowhere")
    with pytest.raises(DatasetError, match="no folder"):
        verify("cc2017", root / "nowhere")
