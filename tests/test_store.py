"""The store: whole cells or none, whenever the writer dies, whatever the disk does."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import disk
from bench.disk import write_array
from bench.predictions import write_predictions
from bench.spec import SpecError
from bench.store import Cell, Store, StoreError, StoreFull

KEY = "0123456789abcdef"
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_trials(count: int = 3) -> pd.DataFrame:
    rows = np.arange(count)
    return pd.DataFrame(
        {"trial": rows + 10, "subject": rows % 2 + 1, "clip": rows, "concept": rows, "block": 6, "seed": rows * 7}
    )


def make_video(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 6, 16, 16, 3), dtype=np.uint8)


def publish(store: Store, key: str = KEY, **manifest) -> None:
    with store.publishing(key) as draft:
        write_predictions(draft, make_trials(), make_video())
        draft.manifest.update(manifest)


def make_scores() -> pd.DataFrame:
    return pd.DataFrame({"subject": [1, 2], "clip": [0, 1], "metric": "ssim", "value": [0.25, -1.0], "status": "ok"})


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Cell:
    """The cell that a writer who is not disturbed publishes."""
    store = Store(tmp_path_factory.mktemp("reference"))
    publish(store)
    return store.find(KEY)


def leftovers(store: Store) -> list[Path]:
    return list(store.root.glob(".tmp-*"))


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


def operations() -> int:
    """How many steps to disk one publication takes (counted once in a process of its own)."""
    return 3 + 1 + 1 + 5 + 1 + 1  # videos, trials.parquet, manifest; folders, draft, root; a margin of one


def die_at(step: int, share: float) -> None:
    """From now on, the process kills itself at the given step to disk, in the middle of a write."""
    left = [step]
    originals = {name: getattr(disk, name) for name in ("write_through", "sync_folder", "move_new")}

    def doomed(name):
        def call(path, *rest):
            if left[0] == 0:
                if name == "write_through":
                    path.write_bytes(rest[0][: int(share * len(rest[0]))])
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return originals[name](path, *rest)

        return call

    for name in originals:
        setattr(disk, name, doomed(name))


@FEW
@given(step=st.integers(0, operations()), share=st.floats(0, 1))
def test_killed_at_any_step_leaves_a_whole_cell_or_none(tmp_path_factory, reference, step, share):
    root = tmp_path_factory.mktemp("runs")
    child = os.fork()
    if child == 0:
        die_at(step, share)
        publish(Store(root))
        os._exit(0)
    _, status = os.waitpid(child, 0)

    store = Store(root)  # as the next command opens it
    assert not leftovers(store)
    assert not (root / "quarantine").exists()
    cell = store.find(KEY)
    if cell is None:
        assert os.WIFSIGNALED(status)
        publish(store)
        cell = store.find(KEY)
    assert cell.manifest["prediction_digest"] == reference.manifest["prediction_digest"]
    assert cell.manifest["files"] == reference.manifest["files"]
    np.testing.assert_array_equal(cell.read(range(3)), make_video())


@FEW
@given(data=st.data())
def test_a_changed_or_cut_file_is_quarantined(tmp_path_factory, capsys, data):
    store = Store(tmp_path_factory.mktemp("runs"))
    publish(store)
    intact = store.find(KEY).manifest
    path = data.draw(st.sampled_from(sorted(p for p in (store.root / KEY).rglob("*") if p.is_file())))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans(), label="cut"):
        content = content[:place]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)

    cell = store.find(KEY)
    if cell is not None:  # a changed space between the words of the manifest
        assert cell.manifest == intact
        return
    (reason,) = (store.root / "quarantine").glob("*/reason.txt")
    assert path.name in reason.read_text()
    assert "will be made again" in capsys.readouterr().err
    assert store.find(KEY) is None
    publish(store)
    assert store.find(KEY).manifest["prediction_digest"] == intact["prediction_digest"]


def test_a_lost_file_a_lost_manifest_and_a_moved_cell_are_quarantined(tmp_path):
    store = Store(tmp_path)
    for number, spoil in enumerate(
        (
            lambda folder: (folder / "predictions" / "sub01" / "clip0000.mp4").unlink(),
            lambda folder: (folder / "manifest.json").unlink(),
            lambda folder: (folder / "manifest.json").write_text("[1]"),
        )
    ):
        publish(store)
        spoil(tmp_path / KEY)
        assert store.find(KEY) is None
        assert (tmp_path / "quarantine" / f"{KEY}-{number}" / "reason.txt").is_file()
    publish(store)
    (tmp_path / KEY).rename(tmp_path / "feedbeef")
    assert store.find("feedbeef") is None
    assert list(store.cells()) == []


def test_the_second_writer_keeps_the_firsts_cell(tmp_path):
    store, other = Store(tmp_path), Store(tmp_path)
    with store.publishing(KEY) as slow:
        write_predictions(slow, make_trials(), make_video())
        slow.manifest["writer"] = "slow"
        publish(other, writer="fast")
    assert store.find(KEY).manifest["writer"] == "fast"
    assert not leftovers(store)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path)
    write = disk.write_through
    for room in range(5):
        left = [room]

        def full(path, content, left=left):
            if left[0] == 0:
                path.write_bytes(content[:10])
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            left[0] -= 1
            write(path, content)

        monkeypatch.setattr(disk, "write_through", full)
        with pytest.raises(StoreFull) as error:
            publish(store)
        for word in (str(tmp_path), "are free", "--runs"):
            assert word in str(error.value)
        (needed,) = re.findall(r"up to (\d+) bytes", str(error.value))
        assert int(needed) >= make_video().nbytes
        assert store.find(KEY) is None
        assert not leftovers(store)
    monkeypatch.setattr(disk, "write_through", write)
    publish(store)
    cell = store.find(KEY)
    monkeypatch.setattr(disk, "write_through", full)
    with pytest.raises(StoreFull, match="score"):
        cell.add_scores("score_1", make_scores())
    assert cell.scores("score_1") is None
    assert not leftovers(store)


def test_other_errors_pass_and_leave_nothing(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError), store.publishing(KEY) as draft:
        write_predictions(draft, make_trials(), make_video())
        raise ZeroDivisionError
    assert store.find(KEY) is None
    assert not leftovers(store)


def test_only_the_leftovers_of_dead_processes_are_removed(tmp_path):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    dead = tmp_path / f".tmp-{KEY}-{disk.host()}-{child}-00000000"
    living = tmp_path / f".tmp-{KEY}-{disk.host()}-{os.getppid()}-00000000"
    elsewhere = tmp_path / f".tmp-{KEY}-another_machine-{child}-00000000"
    for folder in (dead, living, elsewhere):
        (folder / "predictions").mkdir(parents=True)
    store = Store(tmp_path)
    assert not dead.exists()
    assert living.exists()
    assert elsewhere.exists()
    with store.publishing(KEY) as draft:
        Store(tmp_path)  # opening the store again in this process leaves its draft alone
        assert draft.path.exists()


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


@FEW
@given(data=st.data())
def test_changed_scores_are_never_read(tmp_path_factory, data):
    """Any bit flipped, any end cut off, in the scores or in their digest: they are quarantined and made again."""
    store = Store(tmp_path_factory.mktemp("runs"))
    publish(store)
    cell = store.find(KEY)
    cell.add_scores("score_1", make_scores())
    path = data.draw(st.sampled_from(sorted((store.root / KEY / "scores").iterdir())))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans(), label="cut"):
        content = content[:place]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    assert not cell.has_scores("score_1")
    assert cell.scores("score_1") is None
    assert list((store.root / "quarantine").glob("score_1-0/reason.txt"))
    cell.add_scores("score_1", make_scores())
    pd.testing.assert_frame_equal(cell.scores("score_1"), make_scores())


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


def test_arrays_are_written_whole_and_without_pickle(tmp_path):
    path = tmp_path / "cache" / "logits.npy"
    write_array(path, np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(np.load(path, allow_pickle=False), np.arange(6.0).reshape(2, 3))
    assert [one.name for one in path.parent.iterdir()] == ["logits.npy"]
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(path, np.array([{}], dtype=object))
