"""The store when something fails: whole cells or none, whenever the writer dies, whatever the disk does."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cell import FEW, KEY, leftovers, make_scores, make_trials, make_video, publish

from bench.store import disk
from bench.store.cells import Cell, DamagedStore, Store, StoreFull, digest_file
from bench.store.predictions import write_predictions


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Cell:
    """The cell that a writer who is not disturbed publishes."""
    store = Store(tmp_path_factory.mktemp("reference"))
    publish(store)
    return store.find(KEY)


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


def damage(path: Path, data: st.DataObject) -> None:
    """Flip a bit of the file, or cut its end off."""
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans(), label="cut"):
        content = content[:place]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)


@FEW
@given(data=st.data())
def test_a_changed_or_cut_file_is_quarantined(tmp_path_factory, capsys, data):
    store = Store(tmp_path_factory.mktemp("runs"))
    publish(store)
    intact = store.find(KEY).manifest
    path = data.draw(st.sampled_from(sorted(p for p in (store.root / KEY).rglob("*") if p.is_file())))
    damage(path, data)

    cell = store.find(KEY)
    if cell is not None:  # a changed space between the words of the manifest
        assert (path.name, cell.manifest) == ("manifest.json", intact)
        return
    (reason,) = (store.root / "quarantine").glob("*/reason.txt")
    assert path.name in reason.read_text()
    assert "will be made again" in " ".join(capsys.readouterr().err.split())
    assert store.find(KEY) is None
    publish(store)
    assert store.find(KEY).manifest["prediction_digest"] == intact["prediction_digest"]


def test_a_flipped_bit_of_any_file_is_found(tmp_path):
    for number, name in enumerate(("predictions/sub01/clip0000.mp4", "predictions/trials.parquet", "manifest.json")):
        store = Store(tmp_path / str(number))
        publish(store)
        content = bytearray((store.root / KEY / name).read_bytes())
        content[len(content) // 2] ^= 1
        (store.root / KEY / name).write_bytes(content)
        assert store.find(KEY) is None
        assert (store.root / "quarantine" / f"{KEY}-0" / "reason.txt").is_file()


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


def test_who_reads_all_cells_is_told_that_one_is_damaged(tmp_path):
    """A table of the others would look like a table of all. Asked again, what is left is given."""
    publish(Store(tmp_path), "a")
    publish(Store(tmp_path), "b")
    for spoil in (
        lambda: (tmp_path / "a" / "manifest.json").unlink(),
        lambda: (tmp_path / "a" / "manifest.json").write_text("{"),
        lambda: (tmp_path / "a" / "predictions" / "trials.parquet").unlink(),
    ):
        store = Store(tmp_path)
        spoil()
        with pytest.raises(DamagedStore, match=r"/a was damaged.*run again"):
            list(store.cells())
        assert [cell.key for cell in store.cells()] == ["b"]
        publish(store, "a")


def test_parts_that_folders_have_taken_the_place_of_are_quarantined(tmp_path):
    store = Store(tmp_path)
    for name in ("manifest.json", "predictions/trials.parquet", "scores/s.parquet", "scores/s.parquet.sha256"):
        publish(store)
        store.find(KEY).add_scores("s", make_scores())
        (tmp_path / KEY / name).unlink()
        (tmp_path / KEY / name).mkdir()
        with pytest.raises(DamagedStore), store.reading():
            cell = store.find(KEY)
            assert cell is None or cell.scores("s") is None
            if cell is not None:
                cell.add_scores("s", make_scores())
                assert cell.has_scores("s")
    shutil.rmtree(tmp_path / KEY, ignore_errors=True)
    (tmp_path / KEY).write_text("no folder at all")
    assert store.find(KEY) is None
    publish(store)
    assert store.find(KEY) is not None


def test_scores_that_are_gone_are_missed(tmp_path):
    """Unless their digest was written a moment ago: they may come after it."""
    store = Store(tmp_path)
    publish(store)
    cell = store.find(KEY)
    cell.add_scores("s", make_scores())
    path = cell.score_file("s")
    path.unlink()
    with store.reading():
        assert cell.scores("s") is None
    os.utime(digest_file(path), (0, time.time() - 61))
    with pytest.raises(DamagedStore), store.reading():
        assert cell.scores("s") is None
    assert not digest_file(path).exists()


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
    parent = os.getppid()
    dead = tmp_path / f".tmp-{KEY}-{disk.origin()}-{child}-1-00000000"
    before = tmp_path / f".tmp-{KEY}-{disk.origin()}-{parent}-1-00000000"  # of a process that had this number earlier
    living = tmp_path / f".tmp-{KEY}-{disk.origin()}-{parent}-{disk.started(parent)}-00000000"
    elsewhere = tmp_path / f".tmp-{KEY}-another_machine-{child}-1-00000000"
    strange = tmp_path / ".tmp-whatever"
    for folder in (dead, before, living, elsewhere, strange):
        (folder / "predictions").mkdir(parents=True)
    store = Store(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {living.name, elsewhere.name, strange.name}
    with store.publishing(KEY) as draft:
        Store(tmp_path)  # opening the store again in this process leaves its draft alone
        assert draft.path.exists()


@FEW
@given(data=st.data())
def test_changed_scores_are_never_read(tmp_path_factory, data):
    """Any bit flipped, any end cut off, in the scores or in their digest: they are quarantined and made again."""
    store = Store(tmp_path_factory.mktemp("runs"))
    publish(store)
    cell = store.find(KEY)
    cell.add_scores("score_1", make_scores())
    path = data.draw(st.sampled_from(sorted((store.root / KEY / "scores").iterdir())))
    damage(path, data)
    assert not cell.has_scores("score_1")
    assert cell.scores("score_1") is None
    assert list((store.root / "quarantine").glob("score_1-0/reason.txt"))
    cell.add_scores("score_1", make_scores())
    pd.testing.assert_frame_equal(cell.scores("score_1"), make_scores())
