"""The CineBrain loader against files written here as the release and its scripts have them, and against broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import DatasetError
from bench.core.splits import make_folds
from bench.datasets.catalogue import verify
from bench.datasets.cinebrain.layout import CineBrain, find_base, place_clips
from bench.datasets.seed_dv.concepts import CONCEPTS
from bench.store.video import write_lossless

VOXELS = {1: 6, 3: 4}
EACH = 2  # clips of an episode
FRAMES = 5
SEEN = {1: [0, 1, 2, 3, 4], 3: [0, 1, 2, 5, 6]}  # episodes; the last two are tested
AUTHORS = "/inspire/hdd/project/somebody/CineBrain"  # the lists hold paths of the authors' machine


def write_release(root: Path, *, base: int = 0) -> None:
    rng = np.random.default_rng(0)
    root.mkdir()
    (root / "videos").mkdir()
    (root / "geometry.json").write_text(json.dumps({"episode_clips": EACH, "tr": 0.8, "frames": FRAMES}))
    for clip in range(7 * EACH):
        frames = np.full((FRAMES + 2, 16, 24, 3), 10 * clip, np.uint8)
        frames[:, 0, 0] = np.arange(FRAMES + 2)[:, None]
        write_lossless(root / "videos" / f"{clip + base:06d}.mp4", frames, fps=8)
    for subject, episodes in SEEN.items():
        for kind in ("visual_audio", "eeg"):
            (root / f"sub-000{subject}" / kind).mkdir(parents=True)
        tr = 0
        for part, own in (("train", episodes[:-2]), ("test", episodes[-2:])):
            items = []
            for clip in (episode * EACH + place for episode in own for place in range(EACH)):
                fmri, eeg = [], []
                for _ in range(5):
                    np.save(root / f"sub-000{subject}/visual_audio/{tr}.npy", rng.standard_normal(VOXELS[subject]))
                    np.save(root / f"sub-000{subject}/eeg/{tr}.npy", rng.standard_normal((66, 8)).astype(np.float32))
                    fmri.append(f"{AUTHORS}/sub-000{subject}/visual_audio/{tr}.npy")
                    eeg.append(f"{AUTHORS}/sub-000{subject}/eeg/{tr}.npy")
                    tr += 1
                video = f"{AUTHORS}/videos/{clip + base:06d}.mp4"
                items.append({"fmri": fmri, "eeg": eeg, "text": f"clip {clip}", "video": video})
            (root / f"sub-000{subject}_{part}_va.json").write_text(json.dumps(items[::-1]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_release(tmp_path / "release")
    return tmp_path / "release"


def load(root: Path, **options: str) -> CineBrain:
    return CineBrain(root, cache=root.parent / "cache", **options)  # type: ignore[arg-type]


def test_signals_are_the_files_one_after_the_other(root: Path) -> None:
    dataset = load(root)
    assert dataset.subjects == (1, 3) and dataset.modality == "fmri" and dataset.sampling_rate == 1.25
    assert len(dataset.channels) == 6 and dataset.voxels == VOXELS
    trials = dataset.trials.to_pandas()
    row = trials[(trials["subject"] == 3)].iloc[7]  # its eighth clip: TRs 35 to 39
    signals = dataset.signals([row["trial"]])
    assert signals.dtype == np.float32 and signals.shape == (1, 6, 5)
    files = [np.load(root / f"sub-0003/visual_audio/{tr}.npy") for tr in range(35, 40)]
    assert np.array_equal(signals[0, :4], np.stack(files, axis=1).astype(np.float32))
    assert not signals[0, 4:].any()  # padding
    assert dataset.stimuli[int(row["clip"])]["caption"] == "clip 11"


def test_the_eeg_view_of_the_same_files(root: Path) -> None:
    dataset = load(root, kind="eeg")
    assert dataset.modality == "eeg" and dataset.sampling_rate == 10.0 and len(dataset.channels) == 64
    assert dataset.digest != load(root).digest
    files = [np.load(root / f"sub-0001/eeg/{tr}.npy")[:64] for tr in range(5, 10)]
    assert np.array_equal(dataset.signals([1])[0], np.concatenate(files, axis=1))  # the script's [:64]
    assert dataset.rois[1] == ("scalp",) * 64
    with pytest.raises(DatasetError, match="'ecg' is not known"):
        load(root, kind="ecg")


@pytest.mark.parametrize("base", [0, 1])
def test_blocks_hold_each_subjects_own_test_clips(tmp_path: Path, base: int) -> None:
    root = tmp_path / "release"
    write_release(root, base=base)
    names = {"names": list(CONCEPTS), "clips": {str(clip + base): clip for clip in range(7 * EACH)}}
    (root / "concepts.json").write_text(json.dumps(names))
    dataset = load(root)
    stimuli, trials = dataset.stimuli.to_pandas(), dataset.trials.to_pandas()
    assert stimuli["number"].tolist() == list(range(base, 14 + base))
    assert stimuli["concept"].tolist() == list(range(14))
    assert stimuli["block"].tolist() == [1, 1, 2, 2, 3, 3, *[4] * 8]
    assert stimuli["slot"].tolist() == [0, 1, 0, 1, 0, 1, *[0, 1, 2, 3] * 2]
    for fold, clips in zip(make_folds(dataset, "single_subject"), ([6, 7, 8, 9], [10, 11, 12, 13]), strict=True):
        assert trials["clip"].to_numpy()[fold.test].tolist() == clips
        assert trials["clip"].to_numpy()[fold.train].tolist() == [0, 1, 2, 3]
        assert trials["clip"].to_numpy()[fold.validation].tolist() == [4, 5]


def test_the_official_numbers_make_the_official_split() -> None:
    """Subjects 3, 4 and 5 are tested on 007560-008099 (the authors' get_metric.py), 1, 2 and 6 on S9's last two."""
    items = {}
    for subject in range(1, 7):
        own = range(2700, 5400) if subject in (1, 2, 6) else range(5400, 8100)
        numbers = [*range(2700), *own]
        items[subject] = [{"number": n, "part": "test" if i >= 4860 else "train"} for i, n in enumerate(numbers)]
    places = place_clips(items, 270)
    tested = sorted(number for number, (block, _) in places.items() if block == 19)
    assert tested == [*range(4860, 5400), *range(7560, 8100)]
    assert places[0] == (1, 0) and places[269] == (1, 269) and places[4859][0] == places[7559][0] == 18
    assert [places[number][1] for number in (4860, 5399, 7560, 8099)] == [0, 539, 0, 539]
    items[2][-1] = {"number": 5399, "part": "train"}
    with pytest.raises(DatasetError, match=r"video 0\d+ is in block"):
        place_clips(items, 270)


def test_numbers_start_at_0_or_at_1() -> None:
    assert find_base(range(8100), 270) == 0 and find_base(range(1, 8101), 270) == 1
    assert find_base(range(270, 540), 270) == 0  # some subjects saw late episodes only


def test_videos_are_the_first_frames_at_the_size_of_the_file(root: Path) -> None:
    video = load(root).video([3, 13])
    assert video.shape == (2, FRAMES, 16, 24, 3)
    assert video[:, 0, 5, 5, 0].tolist() == [30, 130] and video[1, :, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    short = np.zeros((3, 16, 24, 3), np.uint8)
    (root / "videos/000003.mp4").unlink()
    write_lossless(root / "videos/000003.mp4", short, fps=8)
    with pytest.raises(DatasetError, match=r"000003\.mp4 has another content than when it was first read here"):
        load(root).video([3])
    with pytest.raises(DatasetError, match=r"000003\.mp4 has 3 frames, expected 5"):
        CineBrain(root, cache=root.parent / "another cache").video([3])


def test_broken_files_name_themselves(root: Path) -> None:
    folder = root / "sub-0001/visual_audio"
    values = np.load(folder / "7.npy")
    values[2] = np.nan
    np.save(folder / "7.npy", values)
    with pytest.raises(DatasetError, match=r"7\.npy: trial 1 \(subject 1, video 000001\).*voxel00002"):
        load(root).signals([1])
    np.save(folder / "7.npy", np.zeros(9))
    with pytest.raises(DatasetError, match=r"7\.npy is \[9, 1\], the first of subject 1 is \[6, 1\]"):
        load(root).signals([0, 1])
    (folder / "7.npy").write_bytes((folder / "8.npy").read_bytes()[:-8])
    with pytest.raises(DatasetError, match=r"7\.npy is no whole \.npy"):
        load(root).signals([1])
    (folder / "7.npy").unlink()
    with pytest.raises(DatasetError, match=r"there is no .*7\.npy"):
        load(root).signals([1])
    np.save(root / "sub-0003/eeg/0.npy", np.zeros((40, 8)))
    with pytest.raises(DatasetError, match=r"0\.npy is float64 \[40, 8\], expected a float \[64 or more"):
        view = load(root, kind="eeg")
        view.signals([len(view.trials) // 2])
    with pytest.raises(DatasetError, match="trials go from 0 to 19"):
        load(root).signals([20])


def test_verify_looks_at_every_file(root: Path) -> None:
    report: Any = verify("cinebrain", root).set_index("file")
    assert report.loc["sub-0001 fmri", "status"] == "ok" and "50 files" in report.loc["sub-0001 fmri", "detail"]
    assert set(report[report["status"] == "absent"].index) == {
        *(f"sub-000{subject}_rois.txt" for subject in (1, 3)),
        *(f"sub-000{subject}_{part}_va.json" for subject in (2, 4, 5, 6) for part in ("train", "test")),
        "cinebrain",
    }
    (root / "sub-0003/eeg/11.npy").unlink()
    (root / "videos/000004.mp4").write_bytes(b"no video")
    values = np.load(root / "sub-0001/visual_audio/49.npy")
    np.save(root / "sub-0001/visual_audio/49.npy", values * np.inf)
    report = verify("cinebrain", root).set_index("file")
    assert report.loc["sub-0003 eeg", "status"] == "missing" and "11.npy" in report.loc["sub-0003 eeg", "detail"]
    assert report.loc["videos", "status"] == report.loc["sub-0001 fmri", "status"] == "malformed"


def test_a_part_of_the_release_works_and_videos_are_asked_for(root: Path) -> None:
    (root / "sub-0003_test_va.json").unlink()
    report: Any = verify("cinebrain", root).set_index("file")
    assert report.loc["sub-0003_test_va.json", "status"] == "missing"
    with pytest.raises(DatasetError, match=r"there is no .*sub-0003_test_va\.json"):
        _ = load(root).trials
    (root / "sub-0003_train_va.json").unlink()
    for path in (root / "videos").iterdir():
        path.unlink()
    dataset = load(root)
    assert dataset.subjects == (1,) and len(dataset.trials) == 10 and dataset.signals([9]).shape == (1, 6, 5)
    with pytest.raises(DatasetError, match=r"there is no .*\.mp4 and 9 more videos"):
        dataset.require_stimuli()
    report = verify("cinebrain", root).set_index("file")
    assert report.loc["videos", "status"] == report.loc["sub-0003_train_va.json", "status"] == "absent"
    (root / "sub-0001/visual_audio/7.npy").unlink()
    with pytest.raises(DatasetError, match=r"there is no .*7\.npy"):
        _ = load(root).digest


def test_lists_that_cannot_be_used(root: Path) -> None:
    path = root / "sub-0003_test_va.json"
    items = json.loads(path.read_text())
    taken = json.loads((root / "sub-0003_train_va.json").read_text())[0]
    for content, words in (
        ("{", "is no list of"),
        (json.dumps([{"fmri": []}]), "is no list of"),
        ("[]", "is an empty list"),
        (json.dumps([*items, taken]), r"names video \d+, which is there already"),
    ):
        path.write_text(content)
        with pytest.raises(DatasetError, match=words):
            _ = load(root).trials
    path.unlink()
    with pytest.raises(DatasetError, match="there is no"):
        _ = load(root).trials
    with pytest.raises(DatasetError, match="lacks sub-0001_train_va"):
        load(root / "videos")
    with pytest.raises(DatasetError, match="no folder"):
        load(root / "nowhere")
