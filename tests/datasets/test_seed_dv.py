"""The loader against the published layout, against real files, and against files that are broken."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from bench.core.errors import BenchError, DatasetError
from bench.datasets.catalogue import open_dataset, read_dataset, verify
from bench.datasets.seed_dv.geometry import BLOCK_NAMES, CHANNELS, GT_LABEL, Geometry
from bench.datasets.seed_dv.layout import SeedDV, read_caption_file, read_captions
from bench.datasets.seed_dv.verify import check_captions, check_meta, verify_seed_dv

# `indices` of the published metric script: block-7 slot of concept 1…40
TEST_SLOTS = (
    *(6, 19, 25, 31, 11, 16, 5, 24, 9, 3, 33, 12, 29, 28, 17, 10, 35, 22, 27, 14),
    *(30, 8, 26, 23, 32, 21, 39, 4, 37, 15, 20, 34, 38, 1, 18, 13, 7, 0, 36, 2),
)


@pytest.fixture
def copy(phantom: SeedDV, tmp_path: Path) -> Path:
    """A phantom whose files may be broken; the big ones are links until a test replaces them."""
    root = tmp_path / "copy"
    shutil.copytree(phantom.root, root, copy_function=lambda source, target: Path(target).symlink_to(source))
    (root / "manifest.json").unlink()
    shutil.rmtree(root / "truth")
    return root


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_official_geometry_is_the_published_one() -> None:
    geometry = Geometry()
    assert geometry.shape == (7, 62, 104_000)
    assert geometry.block_seconds == 520 and geometry.block_frames == 12_480
    slot, position = 17, 3
    assert geometry.onset(slot, position) * 200 == 2600 * slot + 600 + 400 * position
    assert geometry.onset(slot, position) * 24 == 312 * slot + 72 + 48 * position
    assert (geometry.width, geometry.height, geometry.frames) == (512, 288, (0, 8, 16, 24, 32, 40))
    assert len(set(CHANNELS)) == 62
    assert (CHANNELS.index("T7"), CHANNELS.index("CB1"), CHANNELS.index("CB2")) == (23, 57, 61)
    assert all(sorted(row) == list(range(1, 41)) for row in GT_LABEL)


def test_test_clips_pair_in_concept_order_as_published() -> None:
    geometry = Geometry()
    assert geometry.concept_slots(7).tolist() == list(TEST_SLOTS)
    expected = [1200 + slot * 5 + clip for slot in TEST_SLOTS for clip in range(5)]
    assert geometry.concept_order(7).tolist() == expected
    concepts = geometry.clip_table()["concept"][geometry.concept_order(7)]
    assert concepts.tolist() == np.repeat(np.arange(40), 5).tolist()


def test_concept_order_equals_the_release(real: Path) -> None:
    label = np.load(real / "seed_dv" / "meta_info" / "All_video_label.npy")
    assert np.array_equal(label, GT_LABEL)
    assert np.array_equal(label - 1, Geometry().order)


def test_real_captions_and_meta_info_pass(real: Path) -> None:
    folder, geometry = real / "seed_dv", Geometry()
    captions = [caption for name in BLOCK_NAMES for caption in read_caption_file(folder / "BLIP" / f"{name}.txt")]
    assert len(captions) == 1400 and len(set(captions)) == 1195
    assert sum(caption in set(captions[:1200]) for caption in captions[1200:]) == 39
    for path in (folder / "BLIP").glob("*.txt"):
        assert check_captions(path, geometry)[0] == "ok"
    for path in (folder / "meta_info").glob("*.npy"):
        assert check_meta(path, geometry)[0] == "ok", path
    fast = np.load(folder / "meta_info" / "All_video_optical_flow_score.npy") >= 1.799
    assert fast.sum() == 700


def test_signals_are_cut_where_the_clips_were_shown(phantom: SeedDV) -> None:
    trials = phantom.trials.to_pandas()
    stimuli = phantom.stimuli.to_pandas()
    chosen = np.array([0, 83, 279, 83])
    signals = phantom.signals(chosen)
    assert signals.dtype == np.float32 and signals.shape == (4, 62, 400)
    for signal, trial in zip(signals, chosen, strict=True):
        row = stimuli.loc[trials.loc[trial, "clip"]]
        recording = np.load(phantom.root / "EEG" / f"sub{trials.loc[trial, 'subject']}.npy")
        start = 600 * row["slot"] + 200 + 400 * row["position"]  # hint 1 s, one clip of 2 s
        assert np.array_equal(signal, recording[row["block"] - 1, :, start : start + 400])


def test_frames_are_those_of_the_block_videos(phantom: SeedDV) -> None:
    clips = np.array([25, 3, 69])
    video = phantom.video(clips)
    assert video.shape == (3, 6, 64, 64, 3) and video.dtype == np.uint8
    table = phantom.geometry.clip_table()
    for clip, frames in zip(clips, video, strict=True):
        with av.open(str(phantom.root / "Video" / f"{BLOCK_NAMES[table['block'][clip] - 1]}.mp4")) as container:
            block = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        first = 24 * (3 * table["slot"][clip] + 1)
        assert np.array_equal(frames, [block[first + offset] for offset in (0, 8, 16, 24, 32, 40)])


def test_tables(phantom: SeedDV) -> None:
    assert phantom.trials.column_names == ["trial", "subject", "session", "clip"]
    assert phantom.stimuli.column_names == ["clip", "block", "slot", "position", "concept", "caption"]
    assert len(phantom.stimuli) == 70 and len(phantom.trials) == 280
    assert phantom.stimuli["caption"][:] == read_captions(phantom.root)
    shown = np.array(phantom.stimuli["concept"]).reshape(7, 10)
    assert all(sorted(row) == list(range(10)) for row in shown.tolist())


def test_second_session_adds_trials(copy: Path, tmp_path: Path) -> None:
    (copy / "EEG" / "sub1_session2.npy").symlink_to((copy / "EEG" / "sub3.npy").resolve())
    dataset = SeedDV(copy, cache=tmp_path / "cache")
    trials = dataset.trials.to_pandas()
    assert len(trials) == 350 and (trials["session"] == 2).sum() == 70
    assert set(trials["subject"][trials["session"] == 2]) == {1}
    third = trials.index[(trials["subject"] == 3) & (trials["clip"] == 12)]
    again = trials.index[(trials["session"] == 2) & (trials["clip"] == 12)]
    assert np.array_equal(dataset.signals(third), dataset.signals(again))


def test_digest_follows_the_content(copy: Path, tmp_path: Path) -> None:
    before = SeedDV(copy, cache=tmp_path / "cache").digest
    assert SeedDV(copy, cache=tmp_path / "other").digest == before
    path = copy / "Video" / "BLIP-caption" / "3rd_10min.txt"
    rewrite(path, path.read_bytes().replace(b"a", b"the", 1))
    assert SeedDV(copy, cache=tmp_path / "elsewhere").digest != before


def test_recordings_that_changed_are_refused_by_name_until_they_are_verified(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where size and time of modification are put back: whoever damages a file may do that."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    before = read_dataset("seed_dv", copy).digest
    path = copy / "EEG" / "sub2.npy"
    told, content = path.stat(), bytearray(path.read_bytes())
    content[-1000] ^= 1
    rewrite(path, bytes(content))
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"sub2\.npy has another content than when it was first read"):
            _ = read_dataset("seed_dv", copy).digest
    report = verify("seed_dv", copy)
    assert report[report["status"] == "changed"]["file"].tolist() == ["EEG/sub2.npy"]
    assert (verify("seed_dv", copy)["status"] == "ok").all()
    assert read_dataset("seed_dv", copy).digest not in (before, "")


def test_missing_root_and_missing_files(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_DATA", raising=False)
    with pytest.raises(BenchError, match="--data-root"):
        open_dataset("seed_dv")
    with pytest.raises(BenchError, match="no folder"):
        open_dataset("seed_dv", data_root=tmp_path / "nowhere")
    with pytest.raises(BenchError, match=r"phantom_egg.*phantom_eeg"):
        open_dataset("phantom_egg")
    with pytest.raises(BenchError, match="no folder"):
        verify("seed_dv", tmp_path / "nowhere")
    for path in (copy / "EEG").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"sub1\.npy.*data verify"):
        SeedDV(copy, cache=tmp_path / "cache")


def test_nan_names_file_and_trial(copy: Path, tmp_path: Path) -> None:
    path = copy / "EEG" / "sub2.npy"
    broken = np.load(path)
    broken[2, 57, 900] = np.nan  # block 3, slot 1: its clip is samples 800 to 1199
    path.unlink()
    np.save(path, broken)
    dataset = SeedDV(copy, cache=tmp_path / "cache")
    assert np.isfinite(dataset.signals([70, 71])).all()
    with pytest.raises(DatasetError, match=r"sub2\.npy: trial 91 .*CB1"):
        dataset.signals([70, 91])
    report = verify_seed_dv(copy).set_index("file")
    assert report.loc["EEG/sub2.npy", "status"] == "malformed"
    assert "CB1" in report.loc["EEG/sub2.npy", "detail"]


def test_verify_finds_everything_that_is_wrong(copy: Path) -> None:
    assert (verify_seed_dv(copy)["status"] == "ok").all()
    eeg, video = copy / "EEG", copy / "Video"
    rewrite(eeg / "sub1.npy", (eeg / "sub1.npy").read_bytes()[:5000])
    short = np.load(eeg / "sub3.npy")[:, :, :-1]
    (eeg / "sub3.npy").unlink()
    np.save(eeg / "sub3.npy", short)
    (eeg / "sub4.npy").unlink()
    rewrite(video / "2nd_10min.mp4", (video / "2nd_10min.mp4").read_bytes()[:20_000])
    rewrite(video / "BLIP-caption" / "1st_10min.txt", b"one caption\r\n")
    label = np.load(video / "meta-info" / "All_video_label.npy")[::-1]
    (video / "meta-info" / "All_video_label.npy").unlink()
    np.save(video / "meta-info" / "All_video_label.npy", label)
    report = verify_seed_dv(copy)
    status = dict(zip(report["file"], report["status"], strict=True))
    assert {name for name, state in status.items() if state == "malformed"} == {
        "EEG/sub1.npy",
        "EEG/sub3.npy",
        "Video/2nd_10min.mp4",
        "Video/BLIP-caption/1st_10min.txt",
        "Video/meta-info/All_video_label.npy",
    }
    assert {name for name, state in status.items() if state == "absent"} == {"EEG/sub4.npy", "SEED-DV"}
    assert "bcmi.sjtu.edu.cn" in report["detail"].iloc[-1]


def test_truncated_recording_is_a_clear_error(copy: Path, tmp_path: Path) -> None:
    rewrite(copy / "EEG" / "sub1.npy", (copy / "EEG" / "sub1.npy").read_bytes()[:-4])
    with pytest.raises(DatasetError, match=r"sub1\.npy is no whole \.npy"):
        SeedDV(copy, cache=tmp_path / "cache").signals([0])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_any_float_type_is_read(copy: Path, tmp_path: Path, dtype: type) -> None:
    path = copy / "EEG" / "sub1.npy"
    values = np.load(path) * np.float32(1e6)
    path.unlink()
    np.save(path, values.astype(dtype))
    signals = SeedDV(copy, cache=tmp_path / "cache").signals([3])
    assert signals.dtype == np.float32
    np.testing.assert_allclose(signals[0], values[0, :, 2000:2400], rtol=2e-3, atol=1e-3)


def test_smaller_geometry_keeps_the_official_order() -> None:
    geometry = replace(Geometry(), concepts=(9, 0, 38), clips=2, hint_seconds=1)
    shown = np.array(geometry.concepts)[geometry.order]
    official = [[number - 1 for number in row if number - 1 in (9, 0, 38)] for row in GT_LABEL]
    assert shown.tolist() == official
    assert geometry.block_samples == 3 * 5 * 200
