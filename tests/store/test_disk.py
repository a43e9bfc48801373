"""Temporary files and folders: whose they are, which of them are leftovers, and that all of them reach the disk."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.core import paths
from bench.store import disk

WRITER = """
import sys, time
from pathlib import Path
from bench.store import disk
with disk.new_folder(Path(sys.argv[1]) / "made") as draft:
    (draft / "part").write_text("half")
    print(draft.name, flush=True)
    time.sleep(float(sys.argv[2]))
"""
READER = "import sys; from pathlib import Path; from bench.store import disk; disk.remove_leftovers(Path(sys.argv[1]))"


def run_in_namespace(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process in a namespace of its own, as a container has it: the numbers of processes begin anew."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return subprocess.Popen(
        [*command, sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def namespaces() -> None:
    try:
        made = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("unshare is not installed")
    if made.returncode:
        pytest.skip("this user may make no namespaces")


def wait_for_draft(writer: subprocess.Popen[str], folder: Path) -> Path:
    assert writer.stdout is not None
    draft = folder / writer.stdout.readline().strip()
    assert (draft / "part").is_file()
    return draft


def kill(writer: subprocess.Popen[str], draft: Path) -> None:
    """Kill the writer and wait until the system has taken its lock away."""
    writer.kill()
    writer.wait()
    while disk.is_locked(draft):
        time.sleep(0.01)


@pytest.mark.usefixtures("namespaces")
def test_what_another_container_writes_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host has the same name, and its process a number that is another one's here, or nobody's."""
    writer = run_in_namespace(WRITER, tmp_path, 60)
    try:
        draft = wait_for_draft(writer, tmp_path)
        _, _, origin, process, *_ = draft.name.split("-")
        assert origin != disk.origin() and origin.rpartition("_")[0] == disk.origin().rpartition("_")[0]
        assert int(process) < 10
        disk.remove_leftovers(tmp_path)
        assert run_in_namespace(READER, tmp_path).wait() == 0
        monkeypatch.setattr(disk, "AGE", -1.0)  # as if it were written since long ago: its lock still tells
        disk.remove_leftovers(tmp_path)
        assert (draft / "part").is_file()
    finally:
        kill(writer, draft)
    disk.remove_leftovers(tmp_path)
    assert not draft.exists()  # nobody holds its lock, and it is old


@pytest.mark.usefixtures("namespaces")
def test_what_a_dead_container_left_goes_when_it_is_old(tmp_path: Path) -> None:
    writer = run_in_namespace(WRITER, tmp_path, 60)
    draft = wait_for_draft(writer, tmp_path)
    kill(writer, draft)
    disk.remove_leftovers(tmp_path)
    assert draft.exists()  # its writer may be on another machine
    long_ago = time.time() - disk.AGE - 60
    os.utime(draft, (long_ago, long_ago))
    disk.remove_leftovers(tmp_path)
    assert draft.exists()  # a file in it is young
    os.utime(draft / "part", (long_ago, long_ago))
    disk.remove_leftovers(tmp_path)
    assert not draft.exists()


def test_a_name_says_which_process_of_which_start_writes() -> None:
    name = disk.temporary_name("key")
    assert re.fullmatch(rf"\.tmp-key-{disk.origin()}-{os.getpid()}-[0-9]+-[0-9a-f]{{8}}", name)
    disk.LIVE.discard(name)
    child = os.fork()
    if child == 0:
        os._exit(0)
    while disk.started(child) != "ended":  # a zombie: nobody has asked for its end yet
        time.sleep(0.01)
    assert disk.is_abandoned_by(child, "1")
    os.waitpid(child, 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of another user's")
def test_leftovers_of_other_users_are_left_alone(tmp_path: Path) -> None:
    for place, owner in (("theirs", 65534), ("ours", 0)):
        folder = tmp_path / f".tmp-{place}-{disk.origin()}-999999999-1-00000000"
        folder.mkdir()
        os.chown(folder, owner, owner)
    disk.remove_leftovers(tmp_path)
    assert [path.name.split("-")[1] for path in tmp_path.iterdir()] == ["theirs"]


def test_leftovers_of_files_are_removed_where_the_next_is_written(tmp_path: Path) -> None:
    (tmp_path / f".tmp-file-{disk.origin()}-999999999-1-00000000").write_text("half")
    with disk.new_file(tmp_path / "whole") as draft:
        draft.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_every_file_and_folder_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    with disk.new_folder(tmp_path / "made") as draft:
        (draft / "inside").mkdir()
        (draft / "inside" / "part").write_text("half")
    parts = {str(draft / name) for name in ("inside/part", "inside")} | {str(draft)}
    assert parts <= set(synced)
    assert synced[-1] == str(tmp_path)  # the rename itself


def test_the_spare_home_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths.tempfile, "gettempdir", lambda: str(tmp_path))
    assert not list(tmp_path.iterdir()) and paths.spare_home() is not None  # who looks makes nothing
    spare = paths.spare_home(make=True)
    assert spare is not None and spare.parent == tmp_path and oct(spare.stat().st_mode & 0o777) == "0o700"
    assert paths.spare_home() == spare
    spare.rmdir()
    (tmp_path / "elsewhere").mkdir()
    spare.symlink_to(tmp_path / "elsewhere")  # whoever may write there may have made it
    assert paths.spare_home() is None
    spare.unlink()
    if os.geteuid() == 0:
        spare.mkdir()
        os.chown(spare, 65534, 65534)
        assert paths.spare_home() is None
