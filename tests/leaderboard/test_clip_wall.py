"""The clip wall: clips chosen by hash and scores, small stable files, no frame that a licence guards."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from walls import CLIPS, SIDE, SUBJECTS, make_cells, make_dataset, make_scores, paint

from bench.core.seeds import permute
from bench.core.spec import digest
from bench.store.video import decode
from leaderboard import figures
from leaderboard.results import ResultsError, publish, read_results
from leaderboard.web.clip_export import choose_clips, export_clips
from leaderboard.web.clip_wall import read_walls
from leaderboard.web.media import LONGEST, encode_poster, encode_webm, name_content, shrink, summarise_frames

PLACE = Path("phantom_eeg-tiny/cross_subject/clips/40-mini")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wall")
    cells = make_cells(folder / "runs")
    scores = make_scores(cells)
    publish(cells, scores, folder / "results")
    written = export_clips(cells, make_dataset(), scores, folder / "results", count=3)
    return folder / "results", cells, scores, written


# Media


def test_a_clip_is_close_to_its_pixels_and_the_same_every_time():
    video = paint(3, 0)
    film = encode_webm(video)
    assert film == encode_webm(video) and film[:4] == b"\x1a\x45\xdf\xa3"  # EBML
    shown = decode(film, "film", suffix=".webm").astype(int)
    assert shown.shape == video.shape
    assert np.abs(shown - video).mean() < 12
    poster = Image.open(io.BytesIO(encode_poster(video)))
    assert poster.size == (SIDE, SIDE) and np.abs(np.asarray(poster.convert("RGB")) - video[3].astype(int)).max() < 4
    assert len(film) + len(encode_poster(video)) < 5000


@pytest.mark.parametrize(("height", "width", "expected"), [(300, 600, (64, 128)), (7, 9, (8, 10)), (1, 1, (2, 2))])
def test_clips_become_small_and_even(height, width, expected):
    video = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    assert shrink(video).shape == (3, *expected, 3) and max(expected) <= LONGEST
    assert decode(encode_webm(video), "film", suffix=".webm").shape == (3, *expected, 3)


def test_files_are_named_by_content():
    assert name_content(b"a", ".png") == name_content(b"a", ".png") != name_content(b"b", ".png")


def test_summaries_correlate_as_frames_do():
    video = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), dtype=np.uint8).repeat(3, axis=3)
    ours = summarise_frames([video])
    expected = np.corrcoef(video[:, :, :, 0].reshape(2, -1))
    np.testing.assert_allclose(ours @ ours.T, expected, atol=1e-5)
    brighter = (video // 2 + 60).astype(np.uint8)
    assert (summarise_frames([brighter]) @ ours.T).diagonal().min() > 0.99


# The choice


def make_rows(values: np.ndarray, method: str = "one", seed: int = 0) -> pd.DataFrame:  # [subject, clip]
    subjects, clips = (axis.ravel() for axis in np.meshgrid(SUBJECTS, CLIPS, indexing="ij"))
    about = {"method": method, "seed": seed, "cell": "a0"}
    return pd.DataFrame({"subject": subjects, "clip": clips, "value": values.ravel()}).assign(**about)


@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_best_median_and_worst_are_the_metric_s(direction):
    values = np.random.default_rng(1).permutation(24).reshape(2, 12).astype(float)
    made = {choice.why: choice.value for choice in choose_clips(make_rows(values), "d" * 64, direction=direction)}
    ends = (23, 0) if direction == "higher" else (0, 23)
    assert (made["best"], made["worst"]) == ends and made["median"] in (11, 12)


def test_chosen_clips_are_those_of_the_figures_and_depend_on_no_score(exported):
    _, cells, _, _ = exported
    rng = np.random.default_rng(2)
    rows = [make_rows(rng.random((2, 12)), method) for method in ("one", "two")]
    made = choose_clips(pd.concat(rows), "d" * 64, count=5)
    chosen = [[(c.clip, c.subject) for c in made if c.why == "chosen" and c.method == m] for m in ("one", "two")]
    places = figures.choose_places({"one": cells[:1]}, "d" * 64, count=5)
    assert chosen[0] == chosen[1] == [(place.clip, place.subject) for place in places]


def test_equal_scores_are_ordered_by_hash_and_the_lowest_seed_is_shown():
    same = np.full((2, 12), 0.5)
    first = choose_clips(pd.concat([make_rows(same, seed=1), make_rows(same, seed=3)]), "d" * 64)
    again = choose_clips(make_rows(same, seed=1).sample(frac=1, random_state=0), "d" * 64)
    other = choose_clips(make_rows(same, seed=1), "e" * 64)
    assert first == again and {choice.seed for choice in first} == {1}
    assert [choice.clip for choice in first] != [choice.clip for choice in other]


# Export


def test_what_is_exported_is_read_back(exported):
    folder, _cells, scores, written = exported
    (wall,) = read_walls(folder)
    assert (wall.dataset, wall.split, wall.classes, wall.suite) == ("phantom_eeg:tiny", "cross_subject", 40, "mini")
    assert wall.metric == "video_40way" and wall.folder == folder / PLACE
    whys = ["chosen"] * 3 + ["best", "median", "worst"]
    assert [(tile.method, tile.why) for tile in wall.tiles] == [(m, why) for m in ("one", "two") for why in whys]
    best = next(tile for tile in wall.tiles if tile.why == "best")
    assert (best.clip, best.subject) == (CLIPS[-1], 1) and best.value == pytest.approx(0.6 + 0.22 - 0.001)
    assert {path.name for path in written} == {"index.json", *wall.files()}
    assert not read_results(folder).empty  # the index is not taken for results
    for tile in wall.tiles:
        truth = wall.truths[tile.clip]
        assert truth.caption == f"caption of {tile.clip}"
        assert (wall.folder / truth.shot.video).read_bytes() == encode_webm(paint(tile.clip, 0))
        value = scores[
            (scores["method"] == tile.method) & (scores["subject"] == tile.subject) & (scores["clip"] == tile.clip)
        ]["value"].iloc[0]
        assert tile.value == pytest.approx(value)


def test_the_shuffled_brain_is_another_trial_of_the_subject_by_the_scores_permutation(exported):
    (wall,) = read_walls(exported[0])
    for tile in wall.tiles:
        pairing = permute(len(CLIPS), tile.subject)[0]
        first = CLIPS[pairing[CLIPS.index(tile.clip)]]
        assert tile.shuffled_clip != tile.clip
        assert tile.shuffled_clip == first or first == tile.clip
        if tile.method == "one":
            shown = (wall.folder / tile.shuffled.video).read_bytes()
            assert shown == encode_webm(paint(tile.shuffled_clip, 90 + 20 * tile.subject))


def test_exporting_again_gives_the_same_files_and_removes_old_ones(exported):
    folder, cells, scores, _ = exported
    before = {path: path.read_bytes() for path in (folder / PLACE).iterdir()}
    (folder / PLACE / ("0" * 24 + ".webm")).write_bytes(b"old")
    export_clips(cells, make_dataset(), scores.sample(frac=1, random_state=1), folder, count=3)
    after = {path: path.read_bytes() for path in (folder / PLACE).iterdir()}
    assert {path.name for path in after} == {path.name for path in before}
    shown = [json.loads(one[folder / PLACE / "index.json"])["files"] for one in (before, after)]
    assert shown[0] == shown[1]


def test_methods_of_another_store_stay_until_their_results_go(exported, tmp_path):
    folder, cells, scores, _ = exported
    shutil.copytree(folder, tmp_path / "results")
    before = read_walls(tmp_path / "results")[0]
    publish(cells[:1], scores, tmp_path / "results")
    export_clips(cells[:1], make_dataset(), scores[scores["method"] == "one"], tmp_path / "results", count=1)
    (wall,) = read_walls(tmp_path / "results")
    kept, drawn = ([tile for tile in wall.tiles if tile.method == name] for name in ("two", "one"))
    assert kept == [tile for tile in before.tiles if tile.method == "two"]
    assert [tile.why for tile in drawn] == ["chosen", "best", "median", "worst"]
    for path in (tmp_path / "results" / PLACE).parents[1].glob("two.*"):
        path.unlink()
    export_clips(cells[:1], make_dataset(), scores[scores["method"] == "one"], tmp_path / "results", count=1)
    (wall,) = read_walls(tmp_path / "results")
    assert {tile.method for tile in wall.tiles} == {"one"}
    assert {path.name for path in wall.folder.iterdir()} == {"index.json", *wall.files()}


def test_who_comes_later_is_shown_with_the_clips_that_most_are_shown_with(exported, tmp_path, monkeypatch):
    """Whatever the draw of today, as long as these clips are what they were."""
    folder, cells, scores, _ = exported
    mine = scores[scores["method"] == "one"]

    def places(results: Path) -> dict[str, list[tuple[int, int]]]:
        (wall,) = read_walls(results)
        chosen = [tile for tile in wall.tiles if tile.why == "chosen"]
        return {name: [(t.clip, t.subject) for t in chosen if t.method == name] for name in ("one", "two")}

    before = places(folder)
    others = [clip for clip in CLIPS if clip not in {clip for clip, _ in before["two"]}]
    monkeypatch.setattr(figures, "choose_clips", lambda *_: others[:3])
    for name, repainted in (("same", False), ("repainted", True)):
        results = tmp_path / name
        shutil.copytree(folder, results)
        dataset = make_dataset()
        if repainted:
            dataset.video = lambda clips: np.stack([paint(int(clip), 5) for clip in clips])
        export_clips(cells[:1], dataset, mine, results, count=3)
        after = places(results)
        assert after["two"] == before["two"]
        assert (after["one"] == before["two"]) is not repainted
        assert not repainted or [clip for clip, _ in after["one"]] == others[:3]


def test_a_missing_reconstruction_keeps_its_place(tmp_path):
    cells = make_cells(tmp_path / "runs", methods=("one",), missing=24)
    export_clips(cells, make_dataset(), make_scores(cells), tmp_path / "results", count=2)
    publish(cells, make_scores(cells), tmp_path / "results")
    (wall,) = read_walls(tmp_path / "results")
    assert {tile.made.absent for tile in wall.tiles} == {"no reconstruction (missing)"}


def test_no_frame_of_a_licensed_data_set_is_written(tmp_path):
    """`two` shows true clips, as a retrieval does; `one` does not."""
    name = "seed_dv"
    noise = np.random.default_rng(0)
    dataset = make_dataset(name)
    texture = {clip: noise.integers(0, 256, (6, SIDE, SIDE, 3), dtype=np.uint8) for clip in CLIPS}
    dataset.video = lambda clips: np.stack(
        [texture[int(clip)] // 2 + paint(int(clip), 0) // 2 if int(clip) % 2 else paint(int(clip), 0) for clip in clips]
    )
    cells = make_cells(tmp_path / "runs", dataset=name)
    scores = make_scores(cells)
    publish(cells, scores, tmp_path / "results")
    written = export_clips(cells, dataset, scores, tmp_path / "results")
    (wall,) = read_walls(tmp_path / "results")
    assert all("licence of seed_dv" in truth.shot.absent and not truth.caption for truth in wall.truths.values())
    copies = [tile.made for tile in wall.tiles if tile.method == "two" and (tile.clip - 1) % 2 == 0]
    assert copies and all("nearly a frame of seed_dv" in shot.absent for shot in copies)
    true = {name_content(encode_webm(one), ".webm") for one in dataset.video(CLIPS)}
    assert not true & {path.name for path in written}
    assert "caption of" not in written[0].read_text()


# Reading


def test_altered_files_are_refused(exported, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(exported[0], folder)
    index = folder / PLACE / "index.json"
    name = next(one for one in json.loads(index.read_text())["files"] if one.endswith(".webm"))
    content = (folder / PLACE / name).read_bytes()
    (folder / PLACE / name).write_bytes(content + b"x")
    with pytest.raises(ResultsError, match="not what the index says"):
        read_walls(folder)
    (folder / PLACE / name).unlink()
    with pytest.raises(ResultsError, match="No such file"):
        read_walls(folder)
    (folder / PLACE / name).write_bytes(content)
    index.write_text(index.read_text().replace("caption of", "caption off"))
    with pytest.raises(ResultsError, match="its own digest"):
        read_walls(folder)


@pytest.mark.parametrize("name", ["../../../secret.webm", "/etc/passwd", "<script>.png", "a.webm"])
def test_names_that_lead_elsewhere_are_refused(exported, tmp_path, name):
    folder = tmp_path / "results"
    shutil.copytree(exported[0], folder)
    index = folder / PLACE / "index.json"
    record = json.loads(index.read_text())
    old = record["tiles"][0]["made"]["video"]
    index.write_text(index.read_text().replace(old, name))
    record = json.loads(index.read_text())
    record["index_digest"] = digest({key: value for key, value in record.items() if key != "index_digest"})
    index.write_text(json.dumps(record))
    with pytest.raises(ResultsError, match=r"no name of a clip's file|No such file|not what the index"):
        read_walls(folder)


def test_clips_of_runs_that_are_not_published_are_refused(exported, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(exported[0], folder)
    for path in (folder / PLACE).parents[1].glob("two.*"):
        path.unlink()
    with pytest.raises(ResultsError, match="two, cell a1, whose results are not committed"):
        read_walls(folder)


def test_a_cell_that_is_not_in_the_store_is_named(exported, tmp_path):
    _, cells, scores, _ = exported
    with pytest.raises(ResultsError, match="cell a1 of two is not in the store"):
        export_clips(cells[:1], make_dataset(), scores, tmp_path)
    dataset = make_dataset()
    dataset.digest = "e" * 64
    with pytest.raises(ResultsError, match="other phantom_eeg:tiny data"):
        export_clips(cells, dataset, scores, tmp_path)
