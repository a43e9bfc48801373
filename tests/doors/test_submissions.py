"""The second door: pairs found in folders, floors beside scores, memory and order that do not matter."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from skimage.color import rgb2gray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from bench.core.errors import BenchError
from bench.doors.mean_of_others import BLUR, MOST_SHAPES, OtherClips
from bench.doors.video_pairs import find_pairs, parse_rule, split_sides
from bench.doors.videos import LEFT_OUT, PARTY, score_videos
from bench.scoring.views import Viewer
from bench.store.video import read_video, write_lossless
from leaderboard.clips import clip_table, summary_table
from leaderboard.rendering import render
from metrics.frechet import frechet_distance
from metrics.protocols import PROTOCOLS

FRAMES, SIZE = 6, 48


class Judges:
    """Stands in for a suite's judges: views that are simple functions of the pixels, counted as they are asked for."""

    name = "stand-in"

    def __init__(self, *, without: tuple[str, ...] = ("raft_vbench", "amt", "vifi_mind_animator")) -> None:
        self.without = without
        self.asked: list[tuple[str, int]] = []
        generator = np.random.default_rng(0)
        self.directions = generator.normal(size=(3 * 16, 60)).astype(np.float32)

    def available(self, view):
        return view not in self.without

    def explain(self, view):
        return f"no {view} here; fetch {view}"

    def source(self, view):
        return f"nobody/{view}"

    def digest(self, view):
        return f"{view}-1"

    def observe_many(self, views, video):
        return {view: self.observe(view, video) for view in views}

    def observe(self, view, video):
        self.asked.append((view, len(video)))
        n, f, h, w, _ = video.shape
        small = [cv2.resize(frame, (4, 4), interpolation=cv2.INTER_AREA) for frame in video.reshape(-1, h, w, 3)]
        coarse = np.stack(small).reshape(n, f, -1).astype(np.float32)
        seen = (coarse - 128) / 64 @ self.directions
        return seen.mean(axis=1) if view in ("video", "features") else seen

    def embed_captions(self, view, captions):
        return np.stack([self.directions[len(caption) % 48] for caption in captions])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))


def draw_clips(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, FRAMES, 4, 4, 3), dtype=np.uint8)
    return np.stack([[cv2.resize(f, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) for f in clip] for clip in coarse])


def write_folders(root: Path, predictions: np.ndarray, targets: np.ndarray) -> tuple[Path, Path]:
    for name, clips in (("predictions", predictions), ("targets", targets)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i, clip in enumerate(clips):
            np.save(root / name / f"clip{i}.npy", clip)
    return root / "predictions", root / "targets"


def first(pairs, count: int):
    """The same folders with their first clips alone: decoding and flow of all would take minutes."""
    names = pairs.names[:count]
    targets = None if pairs.targets is None else {name: pairs.targets[name] for name in names}
    return replace(pairs, predictions={name: pairs.predictions[name] for name in names}, targets=targets)


def mean_of(scored: pd.DataFrame, column: str = "value") -> pd.Series:
    return scored.groupby("metric")[column].mean()


def test_perfect_predictions_reach_the_best_value_and_floors_do_not(tmp_path):
    clips = draw_clips(5)
    scored = score_videos(find_pairs(*write_folders(tmp_path, clips, clips)), Viewer(Judges()), protocol="corrected")
    value, shuffled = mean_of(scored), mean_of(scored, "shuffled")
    for metric in ("video_2way", "frame_40way", "ssim", "hue_correlation", "retrieval_top1"):
        assert value[metric] == pytest.approx(1.0)
        assert shuffled[metric] < 1
    assert value["epe_dis"] == value["dynamic_difference"] == 0
    assert value["fvd"] == pytest.approx(0, abs=1e-3)
    assert set(scored["clip"]) == {f"clip{i}" for i in range(5)} | {"(all clips)"}
    summary = summary_table(scored)
    marks = dict(zip(summary["metric"], summary["mark"], strict=True))
    assert marks["ssim ↑"] == ""
    assert marks["clip_consistency ↑"] == ""  # a still video is perfectly consistent: no floor is held against it


def test_scores_depend_on_no_other_clip_and_truth_is_judged_once(tmp_path):
    clips, made = draw_clips(PARTY + 3), draw_clips(PARTY + 3, seed=1)
    predictions, targets = write_folders(tmp_path, made, clips)
    judges = Judges()
    whole = score_videos(find_pairs(predictions, targets), Viewer(judges), protocol="eeg2video")
    assert ("video", PARTY) in judges.asked
    judges.asked.clear()
    again = score_videos(find_pairs(predictions, targets), Viewer(judges), protocol="eeg2video")
    pd.testing.assert_frame_equal(whole, again)
    assert sum(n for view, n in judges.asked if view == "video") == len(clips) + 1  # the predictions and one grey clip
    for name in ("clip0", "clip4"):
        single = tmp_path / name
        write_folders(single, made[int(name[4:]) :][:1], clips[int(name[4:]) :][:1])
        alone = score_videos(
            find_pairs(single / "predictions", single / "targets"), Viewer(judges), protocol="eeg2video"
        )
        both = whole[whole["clip"] == name]["value"].to_numpy()
        np.testing.assert_allclose(alone["value"].to_numpy(), both, atol=1e-6)


def test_floors_are_what_they_say(tmp_path):
    clips, made = draw_clips(4), draw_clips(4, seed=1)
    scored = score_videos(find_pairs(*write_folders(tmp_path, made, clips)), Viewer(Judges()), protocol="eeg2video")
    ssim = scored[scored["metric"] == "ssim"].set_index("clip")

    def reference(a, b):
        frames = zip(a, b, strict=True)
        return np.mean([structural_similarity(x, y, data_range=255, channel_axis=-1) for x, y in frames])

    assert ssim.loc["clip1", "value"] == pytest.approx(reference(made[1], clips[1]))
    assert ssim.loc["clip1", "constant_grey"] == pytest.approx(reference(np.full_like(made[1], 128), clips[1]))
    still = np.repeat(clips[0][FRAMES // 2][None], FRAMES, axis=0)
    assert ssim.loc["clip1", "still_frame"] == pytest.approx(reference(still, clips[1]))
    assert ssim.loc["clip1", "shuffled"] == pytest.approx(reference(made[0], clips[1]))
    mean = [
        cv2.GaussianBlur(frame, (0, 0), BLUR * SIZE, borderType=cv2.BORDER_REFLECT)
        for frame in clips[[0, 2, 3]].astype(float).mean(axis=0)
    ]
    mean = np.clip(np.round(mean), 0, 255).astype(np.uint8)
    assert ssim.loc["clip1", "mean_of_others"] == pytest.approx(reference(mean, clips[1]))


def test_the_mean_of_others_is_of_their_shape_and_needs_one_clip_of_memory_a_shape():
    tall, wide = np.zeros((2, 4, 3, 3), np.uint8), np.zeros((2, 3, 4, 3), np.uint8)
    others = OtherClips(clip + value for value in range(0, 200, 20) for clip in (tall, wide))
    assert [total.nbytes for total in others.totals.values()] == [2 * 4 * 3 * 3 * 4] * 2
    assert (others.mean_without(tall + 180) == 80).all() and (others.mean_without(wide) == 100).all()
    assert OtherClips([tall]).mean_without(tall) is None
    many = OtherClips(np.zeros((1, 2, width, 3), np.uint8) for _ in range(2) for width in range(1, 40))
    assert len(many.totals) == MOST_SHAPES
    assert many.mean_without(np.zeros((1, 2, 1, 3), np.uint8)) is not None
    assert many.mean_without(np.zeros((1, 2, 39, 3), np.uint8)) is None


def test_each_row_names_the_suite_and_the_judge_that_was_asked(tmp_path):
    clips = draw_clips(3)
    pairs = find_pairs(*write_folders(tmp_path, clips, clips))
    scored = score_videos(pairs, Viewer(Judges(without=("video", "features", "dinov2"))), protocol="corrected")
    assert set(scored["suite"]) == {"stand-in"}
    judge = scored.groupby("metric")["judge"].unique().map(list)
    assert judge["frame_40way"] == ["nobody/frame"] and judge["retrieval_top1"] == ["nobody/clip"]
    assert judge["ssim"] == judge["video_40way"] == [""]  # no judge; none was there to be asked
    files = {name: make(scored) for name, make in (("summary", summary_table), ("clips", clip_table))}
    for format in ("md", "csv", "json"):
        for name, text in {"rows": render(scored, format), "summary": render(files["summary"], format)}.items():
            assert "stand-in" in text and "nobody/frame" in text, (name, format)
    assert "Suite stand-in; judges: nobody/frame, nobody/clip." in render(files["clips"], "md")


def test_what_is_left_out_has_a_row_that_says_what_it_needs(tmp_path, capsys):
    clips = draw_clips(3)
    pairs = find_pairs(*write_folders(tmp_path, clips, clips))
    scored = score_videos(pairs, Viewer(Judges(without=("video", "features", "dinov2"))), protocol="corrected")
    absent = scored[scored["status"] == LEFT_OUT].set_index("metric")
    videos = [name for name in absent.index if name.startswith("video") or name == "fvd"]
    assert {*videos, "dtc", "concept_2way", "concept_40way"} == set(absent.index) and len(videos) == 6
    assert absent["value"].isna().all() and (absent["clip"] == "(all clips)").all()
    assert absent.loc["video_2way", "note"] == "no video here; fetch video"
    assert scored.loc[scored["status"] == "ok", "note"].eq("").all()
    (said,) = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert "video_2way, video_40way, video_50way" in said and "dtc (no dinov2 here)" in said
    assert "concept" not in said  # which no folder of videos has
    summary = summary_table(scored)
    marks = dict(zip(summary["metric"], summary["mark"], strict=True))
    assert marks["video_2way ↑"] == "left out: no video here" and "left out" not in marks["frame_2way ↑"]
    assert "left out: no video here; fetch video" in render(summary, "md")
    assert set(clip_table(scored).columns).isdisjoint(absent.index)


def test_clips_are_found_and_sets_compared_by_what_the_frame_judge_knows(tmp_path):
    """Retrieval among all clips, in whatever parties they were read, by the direction of the mean of its frames."""
    clips, made = draw_clips(PARTY + 4), draw_clips(PARTY + 4, seed=1)
    made[::2] = clips[::2]
    judges = Judges()
    scored = score_videos(find_pairs(*write_folders(tmp_path, made, clips)), Viewer(judges), protocol="real")
    top = scored[scored["metric"] == "frame_retrieval_top1"].set_index("clip")
    seen = [judges.observe("frame_features", one).astype(float) for one in (made, clips)]
    ours, true = ((one / np.linalg.norm(one, axis=2, keepdims=True)).mean(axis=1) for one in seen)
    found = (ours @ true.T / np.linalg.norm(true, axis=1)).argmax(axis=1) == np.arange(len(clips))
    assert found[::2].all() and not found.all()
    assert top["value"].to_dict() == {f"clip{i}": float(found[i]) for i in range(len(clips))}
    assert (top["chance"] == 1 / len(clips)).all()
    assert top["constant_grey"].mean() == pytest.approx(1 / len(clips))  # it is the same for every clip
    assert (top["still_frame"] == 0).all()
    (distance,) = scored[scored["metric"] == "frame_frechet"].to_dict("records")
    assert distance["value"] == pytest.approx(frechet_distance(*(one.mean(axis=1) for one in seen)), rel=1e-4)
    assert distance["mean_of_others"] > 0 and np.isnan(distance["shuffled"])


def test_missing_and_broken_clips_score_the_worst_whatever_their_place(tmp_path, capsys):
    clips = draw_clips(10)
    predictions, targets = write_folders(tmp_path, clips, clips)
    (predictions / "clip0.npy").unlink()
    np.save(predictions / "clip9.npy", clips[9][:5])
    scored = score_videos(find_pairs(predictions, targets), Viewer(Judges()), protocol="eeg2video", metrics="ssim,psnr")
    ssim = scored[scored["metric"] == "ssim"].set_index("clip")
    assert list(ssim.index) == [f"clip{i}" for i in range(10)]
    assert list(ssim["status"]) == ["missing", *["ok"] * 8, "invalid"]
    assert list(ssim["value"]) == [-1.0, *[pytest.approx(1.0)] * 8, -1.0]
    said = capsys.readouterr().err
    assert "1 clips missing" in said and "5 frames of 48×48" in said
    assert summary_table(scored)["clips"].tolist() == ["8/10", "8/10"]
    assert clip_table(scored).shape == (10, 4)


def test_what_is_not_comparable_is_refused(tmp_path):
    clips = draw_clips(3)
    predictions, targets = write_folders(tmp_path, clips[:, :5], clips)
    with pytest.raises(BenchError, match=r"none of the 3 clips .* 5 frames .* name a rule"):
        score_videos(find_pairs(predictions, targets), Viewer(Judges()), protocol="corrected", metrics="ssim")
    ruled = find_pairs(predictions, targets, rule=parse_rule("first:5"))
    scored = score_videos(ruled, Viewer(Judges()), protocol="corrected", metrics="ssim")
    assert mean_of(scored)["ssim"] == pytest.approx(1)
    with pytest.raises(BenchError, match="uses 6"):
        score_videos(ruled, Viewer(Judges()), protocol="eeg2video", metrics="ssim")
    for bad in ("even", "even:0", "last:3", "first:-1"):
        with pytest.raises(BenchError, match="allowed are same, first:N and even:N"):
            parse_rule(bad)
    with pytest.raises(BenchError, match="no target is named after"):
        (predictions / "clip2.npy").rename(predictions / "other.npy")
        find_pairs(predictions, targets)


def test_a_judge_that_is_missing_leaves_its_metrics_out_and_says_so(tmp_path, capsys):
    clips = draw_clips(3)
    pairs = find_pairs(*write_folders(tmp_path, clips, clips))
    judges = Judges(without=("raft_vbench", "amt", "dino_vbench"))
    scored = score_videos(pairs, Viewer(judges), protocol="vbench")
    assert "left out subject_consistency (no dino_vbench here)" in capsys.readouterr().err
    assert scored[scored["metric"] == "subject_consistency"]["status"].tolist() == [LEFT_OUT]
    with pytest.raises(BenchError, match="clip_pcc cannot be computed: no vifi_mind_animator here; fetch vifi"):
        score_videos(pairs, Viewer(Judges()), protocol="mind_animator", metrics="clip_pcc")


def test_side_by_side_halves_hold_the_same_picture():
    picture = np.random.default_rng(0).integers(30, 256, (2, 16, 20, 3), dtype=np.uint8)
    grid = np.zeros((2, 20, 46, 3), np.uint8)  # torchvision's make_grid: 2 pixels around and between
    grid[:, 2:18, 2:22] = picture
    grid[:, 2:18, 24:44] = 255 - picture
    prediction, truth = split_sides(grid, "truth-left", border="cut")
    assert np.array_equal(truth, picture) and np.array_equal(prediction, 255 - picture)
    prediction, truth = split_sides(grid, "truth-right", border="cut")
    assert np.array_equal(prediction, picture) and np.array_equal(truth, 255 - picture)
    kept = split_sides(grid, "truth-left", border="kept")
    assert [half.shape[2] for half in kept] == [23, 23]
    bare = np.concatenate([picture, picture], axis=2)
    assert np.array_equal(split_sides(bare, "truth-left", border="cut")[0], picture)


# Real files


def test_mind_video_gifs_score_what_direct_calls_say(real):
    """Side-by-side GIFs, borders kept: three forms of SSIM, PSNR, hue and EPE against scikit-image and OpenCV."""
    folder = real / "cc2017" / "mind_video"
    pairs = first(find_pairs(folder, None, side="truth-left"), 3)
    tables = {
        protocol: score_videos(
            pairs, Viewer(Judges()), protocol=protocol, metrics=metrics, floors=protocol == "neurons"
        )
        for protocol, metrics in (("neurons", "ssim,psnr"), ("mind_animator", "ssim,psnr,hue_pcc,epe"))
    }
    got = {
        (protocol, metric): rows.set_index("clip")["value"]
        for protocol, table in tables.items()
        for metric, rows in table.groupby("metric")
    }
    for name in pairs.names:
        truth, made = np.split(read_video(folder / f"{name}.gif"), 2, axis=2)
        frames = list(zip(made, truth, strict=True))
        grey = {"channel_axis": -1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        expected = {
            ("neurons", "ssim"): [
                structural_similarity(rgb2gray(a), rgb2gray(b), data_range=1.0, **grey) for a, b in frames
            ],
            ("mind_animator", "ssim"): [
                structural_similarity(a, b, data_range=255, channel_axis=-1) for a, b in frames
            ],
            ("neurons", "psnr"): [peak_signal_noise_ratio(b, a, data_range=255) for a, b in frames],
            ("mind_animator", "hue_pcc"): [cosine(*(published_hue(frame) for frame in pair)) for pair in frames],
            ("mind_animator", "epe"): [
                np.linalg.norm(farneback(made[i], made[i + 1]) - farneback(truth[i], truth[i + 1]), axis=-1).mean()
                for i in range(len(made) - 1)
            ],
        }
        for key, values in expected.items():
            assert got[key][name] == pytest.approx(np.mean(values), abs=1e-6), (key, name)
    summary = summary_table(tables["neurons"]).set_index("metric")
    assert "constant_grey" in summary.loc["ssim ↑", "mark"]  # middle grey scores above the published reconstructions
    floors = score_videos(pairs, Viewer(Judges()), protocol="mind_animator", metrics="epe")
    assert mean_of(floors, "still_frame")["epe"] < mean_of(floors)["epe"]


def published_hue(frame):
    return cv2.cvtColor(frame, cv2.COLOR_BGR2HSV)[..., 0].astype(np.float64).ravel()


def cosine(a, b):
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def farneback(a, b):
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (a, b)]
    return cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def test_neuroclips_pairs_need_a_frame_rule(real):
    folder = real / "cc2017" / "neuroclips"
    plain = find_pairs(folder, folder, target_name="gt_{}")
    assert len(plain.names) == 11
    with pytest.raises(BenchError, match=r"14 frames .* 6 frames .* name a rule"):
        score_videos(plain, Viewer(Judges()), protocol="neuroclips", metrics="ssim")
    ruled = find_pairs(folder, folder, target_name="gt_{}", rule=parse_rule("even:6"))
    scored = score_videos(ruled, Viewer(Judges()), protocol="neuroclips", metrics="psnr,pixcorr")
    assert mean_of(scored)["psnr"] == pytest.approx(11, abs=1.5)  # reference: 11.02 over twice as many pairs


def test_videos_without_truth_get_what_needs_none(real):
    folder = real / "cinebrain"
    pairs = find_pairs(folder, None)
    assert set(pairs.names) == {path.stem for path in folder.glob("*.mp4")}
    scored = score_videos(first(pairs, 1), Viewer(Judges()), protocol="vbench")
    assert {"temporal_flickering", "motion_smoothness_dis", "dynamic_degree_dis"} <= set(scored["metric"])
    assert scored["shuffled"].isna().all()
    with pytest.raises(BenchError, match="there are no true videos"):
        score_videos(pairs, Viewer(Judges()), protocol="cinebrain", metrics="ssim")


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "eeg2video"])
def test_every_protocol_scores_every_kind_of_real_file(real, protocol):
    """Side-by-side GIFs and pairs of unequal length, all metrics for which the judges are here."""
    judges = Judges(without=("raft_vbench", "amt"))
    for pairs in (
        find_pairs(real / "cc2017" / "mind_video", None, side="truth-left"),
        find_pairs(real / "cc2017" / "neuroclips", real / "cc2017" / "neuroclips", target_name="gt_{}",
                   rule=parse_rule("even:6")),
    ):  # fmt: skip
        scored = score_videos(first(pairs, 2), Viewer(judges), protocol=protocol)
        scored = scored[scored["status"] != LEFT_OUT]
        assert np.isfinite(scored["value"]).all()
        for metric in PROTOCOLS[protocol].metrics:
            values = scored[scored["metric"] == metric.name]["value"]
            assert ((metric.lo - 1e-9 <= values) & (values <= metric.hi + 1e-9)).all()


def test_golden_values_of_seed_dv(real):
    golden = json.loads((real / "seed_dv" / "golden_ssim.json").read_text())
    gifs = real / "seed_dv" / "gifs"
    scored = score_videos(
        find_pairs(gifs / "reconstructed", gifs / "original"),
        Viewer(Judges()),
        protocol="eeg2video",
        metrics="ssim,psnr",
    )
    wide = scored.pivot(index="clip", columns="metric", values="value")
    numbers = [name for name in wide.index if re.fullmatch(r"image\d+", name)]
    assert len(numbers) == 23
    for name in numbers:
        assert wide.loc[name, "ssim"] == pytest.approx(golden[name[5:]]["A_mean"], abs=1e-6)
        assert wide.loc[name, "psnr"] == pytest.approx(golden[name[5:]]["psnr"], abs=1e-6)
    assert mean_of(scored, "constant_grey")["ssim"] > mean_of(scored)["ssim"]


def test_lossless_files_are_read_as_written(tmp_path):
    clip = draw_clips(1)[0]
    write_lossless(tmp_path / "a.mp4", clip, fps=3)
    assert np.array_equal(read_video(tmp_path / "a.mp4"), clip)
