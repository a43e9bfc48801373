"""Real samples, as their authors released them: submitted, packed, verified, published, and on the board."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from forgery import read_members, respec, write_members

import bench
from bench.core.errors import BenchError
from bench.doors.unpacking import BadBundle
from leaderboard.published import read_published

FEW = 2  # clips of each set: the decoding of all takes most of a minute
SETS = {
    # name: videos, targets, truth as it is named again, how they are named, protocols
    "seed_dv": (
        ("seed_dv/gifs/reconstructed", "image*.GIF"), ("seed_dv/gifs/original", "image*.GIF"), {},
        {"dataset": "seed_dv", "method": "eeg2video", "source": "https://github.com/XuanhaoLiu/EEG2Video"},
    ),
    "mind_video": (
        ("cc2017/mind_video", "test*.gif"), None, {"side_by_side": "truth-left"},
        {"dataset": "cc2017", "method": "mind_video", "source": "https://github.com/jqin4749/MindVideo",
         "names": "test{}", "base": 1, "side_by_side": "truth-left"},
    ),
    "neuroclips": (
        ("cc2017/neuroclips", "[0-9]*.gif"), ("cc2017/neuroclips", "gt_*.gif"), {"target_name": "gt_{}"},
        {"dataset": "cc2017", "method": "neuroclips", "source": "https://github.com/gongzix/NeuroClips",
         "names": "{}", "base": 0, "target_name": "gt_{}", "frames": "even:6"},
    ),
    "cinebrain": (
        ("cinebrain", "*.mp4"), None, {},
        {"dataset": "cinebrain", "method": "cinesync", "source": "https://github.com/yanweifu-sii/CineBrain",
         "names": "{}", "order": "file"},
    ),
}  # fmt: skip


def link(real: Path, some: tuple[str, str], place: Path) -> Path:
    """A folder with the first few videos of a set."""
    folder, pattern = some
    place.mkdir(exist_ok=True)
    for path in sorted((real / folder).glob(pattern))[:FEW]:
        (place / path.name).symlink_to(path)
    return place


@pytest.fixture(autouse=True)
def few_metrics(monkeypatch):
    """Protocols whose metrics cost little, under the judge of real frames."""
    monkeypatch.setattr("bench.api.packing.chosen_protocols", lambda dataset: ("eeg2video",))
    monkeypatch.delenv("BENCH_DATA", raising=False)


@pytest.mark.parametrize("name", SETS)
def test_a_sample_set_goes_from_its_folder_to_the_board(real, tmp_path, name):
    given, true, truth, asked = SETS[name]
    videos = link(real, given, tmp_path / "videos")
    if true is not None:
        truth = {**truth, "targets": link(real, true, tmp_path / "truth")}
        asked = {**asked, "targets": truth["targets"]}
    made = bench.submit(videos, runs=tmp_path / "runs", licence="none stated", **asked)
    assert made.chosen and made.clips == FEW and not any(made.flags.values())
    bundle = bench.pack(made.method, dataset=asked["dataset"], runs=tmp_path / "runs", bundle=tmp_path / "sent.zip")
    if "side_by_side" in truth:
        truth = {**truth, "targets": videos}
    report = bench.verify(bundle, **truth)
    assert report["trials"].tolist() == [FEW] and report["flags"].tolist() == [""]
    bench.publish_bundle(bundle, results=tmp_path / "results", submitter="Ada", **truth)
    (published,) = read_published(tmp_path / "results")
    record = published.record
    assert (record["method"], record["chosen"], record["clips"]) == (asked["method"], True, FEW)
    assert (record["subject"], record["door"], record["suite"]) == (None, "submitted", "light")
    assert record["protocols"] == (["vbench"] if name == "cinebrain" else ["eeg2video"])
    if name != "cinebrain":
        check_scores(published.rows, bench.score(
            videos, asked.get("targets"), metrics="ssim,psnr", floors=False, protocol="eeg2video", suite="light",
            **{key: asked[key] for key in ("target_name", "side_by_side", "frames") if key in asked},
        ))  # fmt: skip
    bench.make_board(results=tmp_path / "results", output=tmp_path / "board")
    page = (tmp_path / "board" / "LEADERBOARD.md").read_text()
    assert asked["method"] in page or asked["source"] in page


def check_scores(rows: pd.DataFrame, expected: pd.DataFrame) -> None:
    """What was published is what `score` says of the folder itself, side-by-side borders included."""
    both = rows.merge(expected, on=["clip", "metric"], suffixes=("", "_expected"))
    assert len(both) == 2 * FEW
    np.testing.assert_allclose(both["value"], both["value_expected"], atol=1e-5)


def test_what_hides_renames_or_lacks_its_truth_is_refused_or_marked(real, tmp_path):
    given, true, _, asked = SETS["seed_dv"]
    videos, truth = link(real, given, tmp_path / "videos"), link(real, true, tmp_path / "truth")
    asked = {**asked, "runs": tmp_path / "runs", "targets": truth}
    hidden = next(iter(sorted(videos.iterdir())))
    hidden.unlink()
    made = bench.submit(videos, **asked)  # a true video without a prediction is a clip that lacks one
    assert (made.clips, made.of) == (FEW - 1, 200) and made.chosen
    bundle = bench.pack(made.method, dataset="seed_dv", runs=tmp_path / "runs", bundle=tmp_path / "sent.zip")
    with pytest.raises(BenchError, match="has 1 clips, and a whole set of seed_dv has 200"):
        bench.submit(videos, **{**asked, "targets": None, "clips": "whole", "method": "whole"})
    (videos / "image999.GIF").symlink_to(real / given[0] / hidden.name)
    with pytest.raises(BenchError, match="1 videos have no true video of their name: image999"):
        bench.submit(videos, **{**asked, "method": "renamed"})
    with pytest.raises(BenchError, match="numbers go from 1 to 200"):
        bench.submit(videos, **{**asked, "targets": None, "method": "renamed", "names": "image{}", "base": 1})
    with pytest.raises(BenchError, match="clips have no true video"):
        bench.verify(bundle, targets=real / "cc2017" / "neuroclips")
    copied = bench.submit(truth, **{**asked, "targets": truth, "method": "copier"})
    (flags,) = copied.flags.values()
    assert "2 of 2 predictions are near-copies of their true clips" in flags["copies"]
    bundle = bench.pack("copier", dataset="seed_dv", runs=tmp_path / "runs", bundle=tmp_path / "copier.zip")
    with pytest.raises(BenchError, match="Nothing was published: ask how the videos were made"):
        bench.publish_bundle(bundle, results=tmp_path / "results", targets=truth)
    assert not (tmp_path / "results" / "published").exists()
    forge(bundle, tmp_path)


FORGED = {
    "a path": ({"clips": ["../image1", "image11"]}, "without / and"),
    "twice": ({"clips": ["image1", "image1"]}, "or one twice"),
    "another form of Unicode": ({"clips": ["e\u0301", "image1"]}, "form NFC"),
    "more than all": ({"of": 1}, "of is how many the whole set has"),
    "a text for a number": ({"of": "200"}, "of is how many the whole set has"),
    "one clip fewer": ({"clips": ["image1"]}, "must have one a clip|unpacks|rows"),
    "numbers without data": ({"numbers": [1, 2]}, "or not which data set's"),
    "no source": ({"source": None}, "it must say source"),
}


def forge(bundle: Path, folder: Path) -> None:
    """Changed parameters of a chosen set, with digests that agree with them."""
    for name, (changed, words) in FORGED.items():
        members = read_members(bundle.read_bytes())
        manifest = json.loads(next(content for one, content in members.items() if one.endswith("manifest.json")))
        respec(parameters={**manifest["spec"]["parameters"], **changed})(members)
        (folder / "forged.zip").write_bytes(write_members(members))
        with pytest.raises(BadBundle, match=words):
            bench.verify(folder / "forged.zip")
        assert name
