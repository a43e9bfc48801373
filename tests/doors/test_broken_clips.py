"""One clip that cannot be read, or not scored, costs that clip: each other keeps its score, and it is said."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from test_submissions import Judges, draw_clips, write_folders

from bench.core.errors import BenchError
from bench.doors.video_pairs import find_pairs, parse_rule
from bench.doors.videos import score_videos
from bench.scoring.views import Viewer
from bench.store.video import VideoError, find_videos
from metrics.protocols import PROTOCOLS


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))


def score(predictions, targets, metrics="ssim", protocol="corrected", **options):
    return score_videos(
        find_pairs(predictions, targets, **options), Viewer(Judges()), protocol=protocol, metrics=metrics
    )


def test_a_clip_that_is_too_small_for_a_metric_scores_its_worst(tmp_path, capsys):
    clips = draw_clips(5)
    predictions, targets = write_folders(tmp_path, clips, clips)
    for folder in (predictions, targets):
        np.save(folder / "clip2.npy", clips[2][:, :5, :5])
    scored = score(predictions, targets, "ssim,psnr").set_index(["metric", "clip"])
    assert scored.loc["ssim", "value"].tolist() == [*[pytest.approx(1)] * 2, -1.0, *[pytest.approx(1)] * 2]
    assert scored.loc["ssim", "status"].tolist() == ["ok", "ok", "invalid", "ok", "ok"]
    assert (scored.loc["psnr", "status"] == "ok").all()  # which compares pixel by pixel
    assert "1 clips invalid" in (said := capsys.readouterr().err)
    assert "ssim needs 1 frames of 7×7 pixels or more (height×width), not 6 of 5×5" in said


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_takes_clips_of_any_size(tmp_path, protocol):
    shapes = [(1, 48, 48), (2, 48, 48), (6, 1, 1), (6, 5, 5), (6, 6, 9), (6, 48, 48)]
    for folder in ("predictions", "targets"):
        (tmp_path / folder).mkdir()
        for number, shape in enumerate(shapes):
            video = np.random.default_rng(number).integers(0, 256, (*shape, 3), dtype=np.uint8)
            np.save(tmp_path / folder / f"{number}.npy", video)
    scored = score(tmp_path / "predictions", tmp_path / "targets", "all", protocol)
    assert np.isfinite(scored.loc[scored["clip"] != "(all clips)", "value"]).all()
    refused = scored[(scored["status"] == "invalid") & (scored["clip"] != "(all clips)")]
    specs = {metric.name: metric for metric in PROTOCOLS[protocol].metrics}
    for row in refused.itertuples():
        shape = shapes[int(row.clip)]
        wrong_length = PROTOCOLS[protocol].frames not in (None, shape[0])
        assert wrong_length or specs[row.metric].refuses(shape)
        assert row.value == specs[row.metric].worst


def test_a_broken_true_clip_costs_that_clip_and_is_named(tmp_path, capsys):
    clips = draw_clips(4)
    predictions, targets = write_folders(tmp_path, clips, clips)
    (targets / "clip1.npy").write_bytes(b"\x93NUMPY\x01\x00v")
    scored = score(predictions, targets).set_index("clip")
    assert scored["status"].tolist() == ["ok", "invalid", "ok", "ok"]
    assert scored.loc["clip1", "value"] == -1
    said = capsys.readouterr().err
    assert "1 clips invalid, because their true videos cannot be used: clip1" in said and "no whole .npy" in said
    np.save(targets / "clip1.npy", clips[1][:4])  # whole, and too short for the rule
    scored = score(predictions, targets, rule=parse_rule("first:5")).set_index("clip")
    assert scored["status"].tolist() == ["ok", "invalid", "ok", "ok"]
    assert "the true video: it has 4 frames" in " ".join(capsys.readouterr().err.split())


def test_broken_side_by_side_clips_cost_themselves(tmp_path):
    for number, width in enumerate((64, 63, 64)):
        np.save(tmp_path / f"{number}.npy", np.full((6, 32, width, 3), 40 * number, np.uint8))
    (tmp_path / "3.mp4").write_bytes(b"ffconcat version 1.0\nfile '0.npy'\n")
    pairs = find_pairs(tmp_path, None, side="truth-left")
    scored = score_videos(pairs, Viewer(Judges()), protocol="corrected", metrics="ssim")
    assert scored["status"].tolist() == ["ok", "invalid", "ok", "invalid"]


def test_where_nothing_can_be_scored_that_is_said(tmp_path):
    clips = draw_clips(2)
    predictions, targets = write_folders(tmp_path, clips, clips)
    for path in targets.iterdir():
        path.write_bytes(b"")
    with pytest.raises(BenchError, match=r"none of the 2 clips can be scored.*the file is empty"):
        score(predictions, targets)


def test_names_are_those_that_people_read(tmp_path):
    """An é of one letter and one of two (as macOS writes it) are the same."""
    clips = draw_clips(2)
    predictions, targets = write_folders(tmp_path, clips, clips)
    short, long = (unicodedata.normalize(form, "caféÅ") for form in ("NFC", "NFD"))
    assert short != long
    (predictions / "clip0.npy").rename(predictions / f"{long}.npy")
    (targets / "clip0.npy").rename(targets / f"{short}.npy")
    (predictions / "clip1.npy").rename(predictions / "한.npy")
    (targets / "clip1.npy").rename(targets / f"{unicodedata.normalize('NFD', '한')}.npy")
    scored = score(predictions, targets)
    assert set(scored["clip"]) == {short, "한"} and (scored["status"] == "ok").all()
    np.save(predictions / f"{short}.npy", clips[0])
    with pytest.raises(VideoError, match="has the same name"):
        find_videos(predictions)
    truths = tmp_path / "truths"
    truths.mkdir()
    np.save(truths / f"{long}_0.npy", clips[0])
    (tmp_path / "made").mkdir()
    np.save(tmp_path / "made" / "0.npy", clips[0])
    assert find_pairs(tmp_path / "made", truths, target_name=f"{short}_{{}}").names == ["0"]
