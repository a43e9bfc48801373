"""Submitting whole sets beside their data set: cells like any other, marked as submitted, without any truth."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from forgery import cell_of, read_members, remake, respec, write_members
from handed_in import SOURCE, find_tested, hand_in, true_videos, vague_videos

import bench
from bench.cli import main
from bench.core.errors import BenchError
from bench.core.spec import SUBMITTED
from bench.scoring.flags import FINDERS, NO_GENERATOR
from bench.store.cells import Store, digest_pixels
from leaderboard.published import read_published
from leaderboard.results import read_results

NAME = "phantom_eeg:tiny"
KNOWN = (1, 2, 3)  # subjects of the cross-subject fold


@pytest.fixture(scope="module", autouse=True)
def no_autoencoders():
    """What no generator makes is looked for by `tests/scoring/test_flags.py`; it takes longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FINDERS, NO_GENERATOR, lambda cell, dataset, suite: "")
        yield


@pytest.fixture(scope="module")
def folders(phantom, tmp_path_factory) -> list[Path]:
    """What the authors of a method hand in for the three known subjects."""
    place = tmp_path_factory.mktemp("handed")
    return [hand_in(place / f"s{one}", vague_videos(phantom, one, seed=10 + one, own=0.8)) for one in KNOWN]


@pytest.fixture(scope="module")
def runs(finished, folders, tmp_path_factory) -> Path:
    """A store with a run of `retrieval` and its references, into which the videos were submitted."""
    place = tmp_path_factory.mktemp("submitted") / "runs"
    shutil.copytree(finished, place)
    made = bench.submit(
        folders, dataset=NAME, method="vague", source=SOURCE, subject=KNOWN, names="test{}", base=1,
        split="cross_subject", licence="CC0", submitter="ada@example.org", runs=place,
    )  # fmt: skip
    assert not made.chosen and (made.clips, made.of) == (30, 30) and made.verdict.endswith("a whole set; 1 cells")
    return place


def the_cell(runs: Path, method: str = "vague"):
    (cell,) = [one for one in Store(runs).cells() if one.manifest["spec"]["method"] == method]
    return cell


def without_scores(monkeypatch) -> None:
    """Scores take most of the time, and what is looked at here is the videos."""
    monkeypatch.setattr("bench.scoring.score_cell.score_cell", lambda *about, **more: None)


def submit(folder: Path, runs: Path, method: str = "mine", **more):
    asked = {"subject": 1, "names": "test{}", "base": 1, "source": SOURCE} | more
    return bench.submit(folder, dataset=NAME, method=method, runs=runs, **asked)


def test_the_cell_says_that_it_was_submitted_and_holds_the_videos_alone(phantom, runs):
    cell = the_cell(runs)
    spec, manifest = cell.manifest["spec"], cell.manifest
    assert (spec["source"], manifest["role"], manifest["phantom"]) == (SUBMITTED, "method", True)
    assert spec["parameters"]["source"] == SOURCE and spec["parameters"]["licence"] == "CC0"
    assert (spec["parameters"]["names"], spec["parameters"]["submitter"]) == ("test{}", "ada@example.org")
    trials, read = cell.predictions()
    given = vague_videos(phantom, 2, seed=12, own=0.8)
    mine = trials.index[trials["subject"] == 2]
    order = {int(clip): place for place, clip in enumerate(find_tested(phantom, 2))}
    for row in mine:
        assert np.array_equal(read([row])[0], given[order[int(trials["clip"][row])]])
    truth = {digest_pixels(clip) for clip in phantom.video(np.unique(trials["clip"]))}
    assert not truth & set(trials["pixels"])


def test_tables_and_comparisons_take_it_like_any_other(runs, capsys):
    rows = bench.table(method="vague", dataset=NAME, runs=runs)
    assert set(rows["method"]) == {"vague"} and set(rows["split"]) == {"cross_subject"}
    ssim = rows[rows["metric"] == "ssim"].iloc[0]
    assert ssim["coverage"] == 1 and ssim["floor_name"] and ssim["n_subjects"] == 3
    assert bench.table(method="vague", runs=runs)["method"].iloc[0] == "vague"  # its data set is told by the store
    compared = bench.compare("vague", "retrieval", dataset=NAME, runs=runs, metric="ssim").table
    assert len(compared) == 1
    assert main(["table", "--method", "vaguely", "--dataset", NAME, "--runs", str(runs)]) == 1
    assert "unknown name 'vaguely'" in " ".join(capsys.readouterr().err.split())


def test_it_is_packed_verified_published_and_on_the_board(runs, tmp_path, capsys):
    bundle, results = tmp_path / "vague.zip", tmp_path / "results"
    at = ["--dataset", NAME, "--runs", str(runs)]
    assert main(["publish", *at, "--results", str(results)]) == 0
    assert "left out, as they were submitted (`pack`, then `publish --bundle`): vague" in capsys.readouterr().err
    assert "vague" not in set(read_results(results)["method"])
    bench.pack("vague", dataset=NAME, runs=runs, bundle=bundle)
    report = bench.verify(bundle)
    assert report["largest_difference"].max() < 1e-6 and report["flags"].tolist() == [""]
    shown = ["--results", str(results), "--submitter", "Ada"]
    assert main(["publish", "--bundle", str(bundle), *shown]) == 0
    rows = read_results(results)
    assert set(rows["door"][rows["method"] == "vague"]) == {"submitted"}
    assert main(["board", "--results", str(results), "--output", str(tmp_path / "board")]) == 0
    page = (tmp_path / "board" / "LEADERBOARD.md").read_text()
    (line,) = [one for one in page.splitlines() if "| vague " in one]
    assert "submitted" in line
    forge_names(bundle, tmp_path, results, capsys)


def forge_names(bundle: Path, folder: Path, results: Path, capsys) -> None:
    """The same bundle under names that it has no right to."""
    before = sorted(path.read_bytes() for path in results.rglob("*.json"))
    for method, words in (
        ("sam_net", "made elsewhere, under the name of a method"),
        ("train_mean", "is a control here"),
    ):
        members = read_members(bundle.read_bytes())
        respec(method=method)(members)
        (folder / "forged.zip").write_bytes(write_members(members))
        assert main(["publish", "--bundle", str(folder / "forged.zip"), "--results", str(results)]) == 1
        assert words in capsys.readouterr().err
    members = read_members(bundle.read_bytes())
    manifest = json.loads(members[cell_of(members) + "manifest.json"])
    told = manifest["spec"]["parameters"]
    respec(parameters={**told, "source": None})(members)
    (folder / "forged.zip").write_bytes(write_members(members))
    assert main(["verify", str(folder / "forged.zip")]) == 1
    assert "it must say source, licence" in " ".join(capsys.readouterr().err.split())
    members = read_members(bundle.read_bytes())
    remake(role="baseline")(members)
    (folder / "forged.zip").write_bytes(write_members(members))
    assert main(["publish", "--bundle", str(folder / "forged.zip"), "--results", str(results)]) == 1
    assert sorted(path.read_bytes() for path in results.rglob("*.json")) == before


def test_hidden_clips_are_counted_where_a_set_is_called_whole(phantom, finished, tmp_path, capsys):
    """Eight of ten clips: as a whole set two score the worst and it is not ranked; else it is chosen, and apart."""
    runs = tmp_path / "runs"
    shutil.copytree(finished, runs)
    given = {subject: vague_videos(phantom, subject, own=0.8) for subject in KNOWN}
    for videos in given.values():
        del videos[2], videos[7]
    folders = [hand_in(tmp_path / f"s{subject}", videos) for subject, videos in given.items()]
    asked = {"dataset": NAME, "source": SOURCE, "subject": KNOWN, "names": "test{}", "base": 1, "runs": runs}
    asked |= {"split": "cross_subject"}
    whole = bench.submit(folders, method="hider", clips="whole", **asked)
    assert "6 of 30 clips have no video: they score the worst and are counted" in capsys.readouterr().err
    assert not whole.chosen and (whole.clips, whole.of) == (24, 30)
    rows = bench.table(method="hider", dataset=NAME, runs=runs)
    assert rows["mark"].str.contains("partial").all()
    clipwise = rows[rows["metric"] != "fvd"]  # a distance of sets has a row a subject, and no subject is whole
    assert set(clipwise["coverage"]) == {0.8}
    bundle = bench.pack("hider", dataset=NAME, runs=runs, bundle=tmp_path / "hider.zip")
    assert bench.verify(bundle)["trials"].tolist() == [30]
    bench.publish_bundle(bundle, results=tmp_path / "results", accept_flagged=True)
    bench.make_board(results=tmp_path / "results", output=tmp_path / "board")
    assert "| not ranked" in (tmp_path / "board" / "LEADERBOARD.md").read_text()
    chosen = bench.submit(folders, method="chooser", **asked)
    assert chosen.chosen and (chosen.clips, chosen.of) == (24, 30)
    assert "24 of 30 tested clips have a video: the set is chosen" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(BenchError, match="holds no scores of chooser"):
        bench.table(method="chooser", dataset=NAME, runs=runs)
    bundle = bench.pack("chooser", dataset=NAME, runs=runs, bundle=tmp_path / "chooser.zip")
    assert "scores" not in "".join(read_members(bundle.read_bytes()))
    files = bench.publish_bundle(bundle, results=tmp_path / "results", submitter="Ada", accept_flagged=True)
    sets = read_published(tmp_path / "results")
    assert len(files) == 6 and [one.record["of"] for one in sets] == [10, 10, 10]
    assert all(one.record["chosen"] and one.record["clips"] == 8 for one in sets)
    assert "chooser" not in set(read_results(tmp_path / "results")["method"])


FLAGGED = {
    "copies of all": (lambda made, true: true, "copies"),
    "one copy": (lambda made, true: {**made, 3: true[3]}, "copies"),
    "mirrored copies": (lambda made, true: {i: clip[:, :, ::-1] for i, clip in true.items()}, "copies"),
    "true clips of other names": (lambda made, true: {i: true[(i + 3) % 10] for i in true}, "copies"),
    "one place on": (lambda made, true: {i: made[(i + 1) % 10] for i in made}, "renamed"),
    "black in place of some": (lambda made, true: {**made, 2: 0 * made[2], 5: 0 * made[5]}, "filled"),
    "one video for some": (lambda made, true: {**made, 2: made[1], 5: made[1]}, "filled"),
}


@pytest.mark.parametrize("how", FLAGGED)
def test_what_looks_like_no_decoding_is_flagged(phantom, tmp_path, monkeypatch, how):
    without_scores(monkeypatch)
    change, flag = FLAGGED[how]
    made = change(vague_videos(phantom, own=0.8, seed=3), true_videos(phantom))
    for more in ({}, {"clips": "chosen"}):  # as a whole set, and as a chosen one
        found = submit(hand_in(tmp_path / "videos", made), tmp_path / "runs", **more)
        assert [flag in flags for flags in found.flags.values()] == [True], found.flags


def test_honest_videos_are_not_flagged_for_their_names(phantom, tmp_path, monkeypatch):
    without_scores(monkeypatch)
    for more in ({}, {"clips": "chosen"}):
        found = submit(hand_in(tmp_path / "videos", vague_videos(phantom, own=0.8, seed=3)), tmp_path / "runs", **more)
        (flags,) = found.flags.values()
        assert flags == {}


def test_true_videos_that_came_along_tell_a_wrong_base(phantom, tmp_path, monkeypatch):
    without_scores(monkeypatch)
    true = true_videos(phantom)
    made = vague_videos(phantom, own=0.8)
    beside = hand_in(tmp_path / "gifs", made, truths=true)
    found = submit(beside, tmp_path / "runs", side_by_side="truth-left")
    assert not found.chosen
    cell = the_cell(tmp_path / "runs", "mine")
    assert np.array_equal(cell.read([4])[0], made[4])  # the half that is no truth
    wrong = hand_in(tmp_path / "wrong", dict(list(made.items())[:-1]), truths=true, base=2)
    with pytest.raises(BenchError, match=r"test2\.mp4 shows the truth of tested clip 0, and its name says 1"):
        submit(wrong, tmp_path / "other", side_by_side="truth-left", clips="chosen")
    named = hand_in(tmp_path / "named", {i: true[(i + 1) % 10] for i in true}, names="gt_{}")
    plain = hand_in(tmp_path / "plain", made, names="{}")
    with pytest.raises(BenchError, match=r"gt_1\.mp4 shows the truth of tested clip 1, and its name says 0"):
        submit(plain, tmp_path / "other", names="{}", targets=named, target_name="gt_{}")


def test_frames_and_size_are_brought_by_rules_that_are_named(phantom, tmp_path, monkeypatch):
    without_scores(monkeypatch)
    made = vague_videos(phantom)
    long = {i: np.repeat(np.repeat(np.repeat(clip, 2, axis=0), 2, axis=1), 2, axis=2) for i, clip in made.items()}
    folder = hand_in(tmp_path / "large", long)
    with pytest.raises(BenchError, match=r"12 frames, clips here have 6, .* --frames even:6"):
        submit(folder, tmp_path / "runs")
    with pytest.raises(BenchError, match=r"128×128, clips here are 64×64; --resize"):
        submit(folder, tmp_path / "runs", frames="even:6")
    submit(folder, tmp_path / "runs", frames="even:6", resize=True)
    cell = the_cell(tmp_path / "runs", "mine")
    assert cell.manifest["spec"]["settings"] == {"frames": "even:6", "resize": True, "side": ""}
    assert np.array_equal(cell.read([0])[0], made[0][np.linspace(0, 11, 6).round().astype(int) // 2])
    (folder / "test3.mp4").write_bytes(b"no video")
    broken = submit(folder, tmp_path / "runs", "other", frames="even:6", resize=True)
    assert (broken.chosen, broken.clips, broken.of) == (False, 10, 10)
    assert the_cell(tmp_path / "runs", "other").manifest["status_counts"] == {"invalid": 1, "ok": 9}


def test_the_same_is_one_cell_and_other_videos_are_refused(phantom, tmp_path, monkeypatch):
    without_scores(monkeypatch)
    folder = hand_in(tmp_path / "videos", vague_videos(phantom))
    first, again = (submit(folder, tmp_path / "runs") for _ in range(2))
    assert first.cells == again.cells and len(list(Store(tmp_path / "runs").cells())) == 1
    other = hand_in(tmp_path / "others", vague_videos(phantom, seed=1))
    with pytest.raises(BenchError, match="holds other videos of mine on phantom_eeg:tiny, sub01"):
        submit(other, tmp_path / "runs")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"method": "constant_grey"}, "called as 'constant_grey'"),
        ({"method": "sam-net"}, "called as 'sam_net'"),
        ({"method": "a/b"}, "letters, digits, _ and -"),
        ({"source": "my disk"}, "is no URL"),
        ({"source": "https://x.org/<script>"}, "is no URL"),
        ({"licence": " "}, "must be one line"),
        ({"subject": 9}, "tests no subject 9; name one with --subject: 1, 2, 3, 4"),
        ({"subject": None}, "without a number"),
        ({"base": None}, "say with --base"),
        ({"clips": "all"}, "allowed are whole and chosen"),
        ({"frames": "some"}, "allowed are same"),
        ({"split": "my_split"}, "unknown split"),
        ({"side_by_side": "left"}, "allowed are truth-left"),
    ],
)
def test_what_cannot_be_submitted_is_refused_and_leaves_nothing(phantom, folders, tmp_path, more, words):
    asked = {"method": "mine", **more}
    with pytest.raises(BenchError, match=words):
        submit(folders[0], tmp_path / "runs", **asked)
    assert not (tmp_path / "runs").exists() or not list(Store(tmp_path / "runs").cells())


def test_a_method_of_the_project_gets_a_name_of_its_own(phantom, folders, tmp_path, monkeypatch):
    without_scores(monkeypatch)
    assert submit(folders[0], tmp_path / "runs", "eeg2video").method == "eeg2video_published"
