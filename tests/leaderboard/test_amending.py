"""A change of the committed results is whole or absent, wherever it is killed, and the next look mends the rest."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from bench.store import disk
from leaderboard.amending import AMENDED, amending, settled

OLD = {"a/x.json": "old x", "a/y.json": "old y", "b/gone.json": "gone"}
NEW = {"a/x.json": "new x", "a/y.json": "old y", "c/d/new.json": "new"}
STEPS = (  # (function of the disk or of paths, how many calls of it are let through before the kill)
    *(("write_through", 0), ("sync_folder", 0), ("sync_folder", 2)),
    *(("replace", count) for count in range(4)),
    *(("unlink", count) for count in range(3)),
    *(("rmdir", 0), ("remove", 0)),
)


def write(folder: Path, files: dict[str, str]) -> None:
    for name in [path for path in folder.rglob("*") if path.is_file()]:
        name.unlink()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def change_and_die(folder: Path, step: str, count: int) -> None:
    """In a process of its own: change the folder, and be killed at the given call."""
    place = disk if hasattr(disk, step) else Path
    real, calls = getattr(place, step), [0]

    def last(*arguments, **options):
        calls[0] += 1
        if calls[0] > count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(place, step, last)
    with amending(folder) as draft:
        write(draft, NEW) if step not in ("unlink", "rmdir") else rewrite(draft)


def rewrite(draft: Path) -> None:
    """As `write`, without the calls that are counted."""
    os.remove(draft / "b" / "gone.json")  # noqa: PTH107
    for name in ("a/x.json", "c/d/new.json"):
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).write_text(NEW[name])


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_a_kill_leaves_the_old_or_the_new_and_the_next_mends_it(tmp_path, step, count):
    folder = tmp_path / "results"
    write_first(folder)
    kill_while_changing(folder, step, count)
    with settled(folder):
        seen = {name: text for name, text in read(folder).items() if not name.startswith(".")}
    assert seen in (OLD, NEW)
    with amending(folder) as draft:
        write(draft, NEW)
    assert read(folder) == NEW  # nothing is left over, hidden or not
    assert not [path for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir())]


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_who_changes_it_next_begins_with_the_old_or_the_new(tmp_path, step, count):
    folder = tmp_path / "results"
    write_first(folder)
    kill_while_changing(folder, step, count)
    with amending(folder) as draft:
        seen = read(draft)
        (draft / "more").write_text("more")
    assert seen in (OLD, NEW) and read(folder) == {**seen, "more": "more"}


def kill_while_changing(folder: Path, step: str, count: int) -> None:
    child = os.fork()
    if not child:
        change_and_die(folder, step, count)
        os._exit(0)
    os.waitpid(child, 0)


def write_first(folder: Path) -> None:
    with amending(folder) as draft:
        write(draft, OLD)
    assert read(folder) == OLD


def test_a_failed_change_changes_nothing(tmp_path):
    folder = tmp_path / "results"
    with pytest.raises(ValueError, match="no"), amending(folder) as draft:
        write(draft, NEW)
        raise ValueError("no")
    assert not folder.exists()
    write_first(folder)
    with pytest.raises(ValueError, match="no"), amending(folder) as draft:
        write(draft, NEW)
        raise ValueError("no")
    assert read(folder) == OLD and sorted(path.name for path in folder.iterdir()) == ["a", "b"]


def test_half_of_a_change_is_finished_by_who_reads(tmp_path):
    folder = tmp_path / "results"
    write_first(folder)
    (folder / AMENDED / "tree" / "a").mkdir(parents=True)
    (folder / AMENDED / "tree" / "a" / "x.json").write_text("new x")
    plan = {"new": ["a/x.json", "a/y.json"], "gone": ["b/gone.json"]}  # of a/y.json it is done
    (folder / AMENDED / "plan.json").write_text(json.dumps(plan))
    with settled(folder):
        assert read(folder) == {"a/x.json": "new x", "a/y.json": "old y"}
