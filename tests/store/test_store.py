"""The store: predictions and scores read back as they were written; what is no cell, no key, no table."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cell import FEW, KEY, leftovers, make_scores, make_trials, make_video, publish

from bench.core.spec import SpecError
from bench.store.cells import Store, StoreError
from bench.store.predictions import write_predictions


def test_round_trip(tmp_path):
    store = Store(tmp_path / "deep" / "runs")
    assert store.find(KEY) is None
    publish(store, note="mine", phases={"fit": 1.5})
    cell = store.find(KEY)
    assert cell.manifest["note"] == "mine"
    trials, read = cell.predictions()
    pd.testing.assert_frame_equal(trials[list(make_trials())], make_trials(), check_dtype=False)
    assert set(trials["status"]) == {"ok"}
    np.testing.assert_array_equal(read(np.arange(3)), make_video())
    np.testing.assert_array_equal(read([2, 0]), make_video()[[2, 0]])
    assert read([]).shape == (0, 6, 16, 16, 3)
    assert trials["file"][1] == "predictions/sub02/clip0001.mp4"
    assert [one.key for one in store.cells()] == [KEY]
    assert not leftovers(store)


@FEW
@given(
    count=st.integers(1, 3),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_video_reads_back_bit_for_bit(tmp_path_factory, count, shape, seed):
    video = np.random.default_rng(seed).integers(0, 256, (count, *shape, 3), dtype=np.uint8)
    store = Store(tmp_path_factory.mktemp("runs"))
    with store.publishing(KEY) as draft:
        write_predictions(draft, make_trials(count), video)
    np.testing.assert_array_equal(store.find(KEY).read(range(count)), video)


def test_the_prediction_digest_is_of_pixels_and_rows(tmp_path):
    def digest_of(key, trials, video):
        with store.publishing(key) as draft:
            write_predictions(draft, trials, video)
        return store.find(key).manifest["prediction_digest"]

    store = Store(tmp_path)
    base = digest_of("a", make_trials(), make_video())
    assert digest_of("b", make_trials()[list(make_trials())[::-1]], make_video()) == base
    one_pixel = make_video()
    one_pixel[2, 5, 15, 15, 2] ^= 1
    assert digest_of("c", make_trials(), one_pixel) != base
    assert digest_of("d", make_trials().assign(seed=9), make_video()) != base
    assert digest_of("e", make_trials(), [*make_video()[:2], None]) != base


def test_each_video_is_on_the_disk_before_the_next_is_asked_for(tmp_path):
    store, written = Store(tmp_path), []

    def make(draft):
        for clip in make_video():
            written.append(len(list(draft.path.rglob("*.mp4"))))
            yield clip

    with store.publishing("whole") as draft:
        write_predictions(draft, make_trials(), make_video())
    with store.publishing(KEY) as draft:
        write_predictions(draft, make_trials(), make(draft))
    assert written == [0, 1, 2]
    assert store.find(KEY).manifest["files"] == store.find("whole").manifest["files"]
    with pytest.raises(ValueError), store.publishing("short") as draft:
        write_predictions(draft, make_trials(), iter(make_video()[:2]))
    assert store.find("short") is None


def test_missing_and_invalid_predictions_keep_their_rows(tmp_path):
    store = Store(tmp_path)
    whole = make_video(4)
    broken = whole[1].astype(np.float32)
    broken[0, 0, 0, 0] = np.nan
    with store.publishing(KEY) as draft:
        write_predictions(draft, make_trials(4), [None, broken, whole[2], whole[3][:5]])
    cell = store.find(KEY)
    assert cell.trials()["status"].tolist() == ["missing", "invalid", "ok", "invalid"]
    assert cell.manifest["status_counts"] == {"invalid": 2, "missing": 1, "ok": 1}
    np.testing.assert_array_equal(cell.read([2])[0], whole[2])
    with pytest.raises(StoreError, match="no video of trial 10"):
        cell.read([0])


def test_a_cell_without_any_prediction_is_a_cell(tmp_path):
    store = Store(tmp_path)
    with store.publishing(KEY) as draft:
        write_predictions(draft, make_trials(2), [None, None])
    assert store.find(KEY).trials()["status"].tolist() == ["missing", "missing"]


def test_the_same_clip_twice_for_a_subject(tmp_path):
    store = Store(tmp_path)
    with store.publishing(KEY) as draft:
        write_predictions(draft, make_trials().assign(subject=1, clip=5), make_video())
    cell = store.find(KEY)
    assert cell.trials()["file"].is_unique
    np.testing.assert_array_equal(cell.read(range(3)), make_video())


def test_wrong_tables_are_refused(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="lacks clip, seed"), store.publishing(KEY) as draft:
        write_predictions(draft, make_trials().drop(columns=["clip", "seed"]), make_video())
    with pytest.raises(StoreError, match="2 videos for 3 trials"), store.publishing(KEY) as draft:
        write_predictions(draft, make_trials(), make_video(2))
    with pytest.raises(SpecError, match="finite"), store.publishing(KEY) as draft:
        draft.manifest["loss"] = float("nan")
    assert store.find(KEY) is None
    assert not leftovers(store)


def test_scores_round_trip_and_are_replaced(tmp_path):
    store = Store(tmp_path)
    publish(store)
    cell = store.find(KEY)
    assert cell.scores("score_1") is None
    assert not cell.has_scores("score_1")
    cell.add_scores("score_1", make_scores())
    pd.testing.assert_frame_equal(store.find(KEY).scores("score_1"), make_scores())
    first = (tmp_path / KEY / "scores" / "score_1.parquet").read_bytes()
    cell.add_scores("score_1", make_scores().assign(value=[np.nan, 2.0]))
    assert cell.scores("score_1")["value"].isna().tolist() == [True, False]
    cell.add_scores("score_1", make_scores())
    assert (tmp_path / KEY / "scores" / "score_1.parquet").read_bytes() == first
    assert not leftovers(store)


@pytest.mark.parametrize("key", ["", "../x", "a/b", "A", "quarantine", "x" * 65, ".tmp", "a\n"])
def test_keys_cannot_leave_the_store(tmp_path, key):
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="no key"):
        store.find(key)
    with pytest.raises(StoreError, match="no key"), store.publishing(key):
        pass


def test_a_file_in_the_way_of_the_store(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="choose another --runs"):
        Store(tmp_path / "runs")


def test_foreign_folders_are_no_cells(tmp_path):
    store = Store(tmp_path)
    (tmp_path / "failures").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    publish(store)
    for name in (".tmp-x-another_machine-1-0", "My cell"):  # a draft about to be published, a copy
        shutil.copytree(tmp_path / KEY, tmp_path / name)
    shutil.rmtree(tmp_path / KEY)
    assert list(store.cells()) == []


def test_the_manifest_is_plain_json(tmp_path):
    store = Store(tmp_path)
    publish(store)
    manifest = json.loads((tmp_path / KEY / "manifest.json").read_text())
    assert manifest["schema"] == 1
    assert manifest["key"] == KEY
    assert sorted(manifest["files"]) == sorted(
        path.relative_to(tmp_path / KEY).as_posix()
        for path in (tmp_path / KEY).rglob("*")
        if path.is_file() and path.name != "manifest.json"
    )
