"""cc2017 with clips cut from films, held against the frames that the films here were written from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.core.errors import DatasetError
from bench.core.registry import UnknownName
from bench.datasets.catalogue import open_dataset, verify
from bench.datasets.cc2017 import films
from bench.store.video import VideoError, write_lossless

HEIGHT, WIDTH = 12, 16
CLIP = 6  # frames: a volume takes .2 s here
CLIPS = {"train": 4, "test": 3}  # segments of two clips: two training films, and one test film and a half


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder in the layout of the releases, and the frames of its films, each film one clip longer than needed."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    root, rng = tmp_path / "release", np.random.default_rng(0)
    (root / "stimuli").mkdir(parents=True)
    for part, repeats in (("train", 2), ("test", 10)):
        torch.save(torch.from_numpy(rng.standard_normal((CLIPS[part], repeats, 5))), root / f"subj01_{part}_fmri.pt")
        torch.save([f"{part} clip {clip}" for clip in range(CLIPS[part])], root / f"GT_{part}_caption.pt")
    written = {}
    for name in ("seg1", "seg2", "test1", "test2"):
        written[name] = rng.integers(0, 256, (3 * CLIP, HEIGHT, WIDTH, 3), dtype=np.uint8)
        write_lossless(root / "stimuli" / f"{name}.mp4", written[name], fps=30)
    geometry = {"segment_clips": 2, "tr": CLIP / 30, "clips": CLIPS}
    (root / "geometry.json").write_text(json.dumps(geometry), encoding="utf-8")
    return root, written


def open_films(root: Path, shape: str = f"3x{HEIGHT}x{WIDTH}") -> Any:
    return open_dataset(f"cc2017:{shape}", data_root=root)


def test_a_clip_is_the_film_while_its_volume_was_taken(release) -> None:
    root, written = release
    dataset = open_films(root)
    order = [("seg1", 0), ("seg1", 1), ("seg2", 0), ("seg2", 1), ("test1", 0), ("test1", 1), ("test2", 0)]
    clips = np.array([6, 0, 3, 3, 5])
    for clip, frames in zip(clips, dataset.video(clips), strict=True):
        film, place = order[clip]
        assert np.array_equal(frames, written[film][CLIP * place :][[0, 2, 4]])
    whole = open_films(root, f"6x{HEIGHT}x{WIDTH}").video([1])[0]
    assert np.array_equal(whole, written["seg1"][CLIP : 2 * CLIP])
    assert dataset.video([]).shape == (0, 3, HEIGHT, WIDTH, 3)
    assert len(dataset.stimuli) == 7 and dataset.stimuli["caption"][4] == "test clip 0"
    with pytest.raises(DatasetError, match="clips go from 0 to 6"):
        dataset.video([7])


def test_clips_have_the_size_asked_for(release) -> None:
    import cv2

    root, written = release
    (clip,) = open_films(root, "2x6x10").video([2])
    expected = [cv2.resize(written["seg2"][frame], (10, 6), interpolation=cv2.INTER_LINEAR) for frame in (0, 3)]
    assert np.array_equal(clip, np.stack(expected))


def test_a_film_is_decoded_once(release, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = release
    decoded, walk = [], films.walk_clips
    monkeypatch.setattr(films, "walk_clips", lambda path, *a, **o: decoded.append(path.name) or walk(path, *a, **o))
    first = open_films(root).video([0, 2])
    again = open_films(root)
    assert np.array_equal(again.video([0, 2]), first) and len(again.video([1, 3])) == 2
    assert decoded == ["seg1.mp4", "seg2.mp4"]
    open_films(root, "1x6x8").video([1])
    assert decoded[2:] == ["seg1.mp4"]


def test_what_is_cut_is_in_the_digest(release) -> None:
    root, written = release
    three, two = open_films(root), open_films(root, "2x6x8")
    assert three.digest != two.digest and three.digest == open_films(root).digest
    assert three.unaveraged().shape == three.shape and three.unaveraged().digest != three.digest
    verify("cc2017", root)  # as it is from now on
    write_lossless(root / "stimuli" / "test2.mp4", written["test2"][::-1].copy(), fps=30)
    assert open_films(root).digest != three.digest


def test_films_that_are_absent_or_too_short_are_named(release) -> None:
    root, written = release
    (root / "stimuli" / "test1.mp4").unlink()
    write_lossless(root / "stimuli" / "seg2.mp4", written["seg2"][: 2 * CLIP - 2], fps=30)
    dataset = open_films(root)
    for ask in (dataset.require_stimuli, lambda: dataset.video([4])):
        with pytest.raises(DatasetError, match=r"test1\.mp4.*purr\.purdue\.edu/publications/2809.*CC0"):
            ask()
    with pytest.raises(VideoError, match=r"seg2\.mp4: it ends within clip 1 of 2"):
        dataset.video([3])
    report = verify("cc2017", root).set_index("file")
    assert report.loc["stimuli/test1.mp4", "status"] == "absent"
    assert (
        report.loc["stimuli/seg2.mp4", "status"] == "malformed"
        and "10 frames" in report.loc["stimuli/seg2.mp4", "detail"]
    )
    assert report.loc["stimuli/test2.mp4", "status"] == "ok"


def test_other_names_are_refused(release) -> None:
    root, _ = release
    with pytest.raises(UnknownName, match="cc2017:FRAMESxHEIGHTxWIDTH"):
        open_films(root, "films")
    with pytest.raises(DatasetError, match="a clip has 6 frames in the films"):
        open_films(root, "7x12x16")
