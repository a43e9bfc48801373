"""Changing the committed results as a whole: a kill at any moment leaves the old ones or the new ones.

    results/.tmp-…               a draft: a copy of all that is there, being changed
    results/.amended/tree/…      a finished draft: the files that are new, on the disk, waiting to be put in place
    results/.amended/plan.json   ... and the names of those, and of the files that go

One rename makes a draft a finished one. Before it nothing has changed; after it whoever comes next, to read or to
write, puts the rest in place, so a kill while the files move is mended by the next look at them. Writers take turns by
a lock on the folder; readers share one.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.core.errors import BenchError
from bench.store import disk

AMENDED = ".amended"
TREE, PLAN = "tree", "plan.json"


class AmendError(BenchError):
    """Committed results that cannot be changed, or whose change was cut short where nobody may finish it."""


@contextlib.contextmanager
def amending(folder: Path) -> Iterator[Path]:
    """A copy of the folder to change as one likes; it takes the folder's place, whole, when the block ends.

    Where the block fails, nothing has changed. Raises AmendError where nothing can be written there.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, shared=False):
            settle(folder)
            disk.remove_leftovers(folder)
            draft = folder / disk.temporary_name("results")
            try:
                copy_visible(folder, draft / TREE)
                yield draft / TREE
                if finish(draft, folder):
                    settle(folder)
            finally:
                disk.remove(draft)
                disk.LIVE.discard(draft.name)
    except OSError as error:
        raise AmendError(f"{folder} cannot be changed: {error}; nothing was published") from error
    finally:
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()  # only where nothing came into it


@contextlib.contextmanager
def settled(folder: Path) -> Iterator[None]:
    """While the block lasts the folder does not change; a change that was cut short is finished first."""
    if (folder / AMENDED).is_dir():
        try:
            with locked(folder, shared=False):
                settle(folder)
        except OSError as error:
            raise AmendError(
                f"a change of {folder} was cut short and cannot be finished here ({error}); publish there again"
            ) from error
    with locked(folder, shared=True) if folder.is_dir() else contextlib.nullcontext():
        yield


def copy_visible(source: Path, place: Path) -> None:
    """All files and folders but those whose names begin with a dot, which are of changes."""
    shutil.copytree(source, place, ignore=lambda _, names: [name for name in names if name.startswith(".")])


def list_files(tree: Path) -> set[str]:
    """Names of all files below a folder, but of those of changes."""
    names = (path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
    return {name for name in names if not name.startswith(".")}


def finish(draft: Path, folder: Path) -> bool:
    """Make a draft a finished one, unless it changes nothing: what is new is on the disk, the rest is dropped."""
    tree = draft / TREE
    there, wanted = list_files(folder), list_files(tree)
    new = sorted(one for one in wanted if one not in there or not filecmp.cmp(folder / one, tree / one, shallow=False))
    gone = sorted(there - wanted)
    if not new and not gone:
        return False
    for name in sorted(wanted - set(new)):
        (tree / name).unlink()
    for name in new:
        disk.sync_file(tree / name)
    for path in [tree, *(path for path in tree.rglob("*") if path.is_dir())]:
        disk.sync_folder(path)
    disk.write_through(draft / PLAN, json.dumps({"new": new, "gone": gone}).encode())
    disk.sync_folder(draft)
    draft.replace(folder / AMENDED)
    disk.sync_folder(folder)
    return True


def settle(folder: Path) -> None:
    """Put what a finished draft holds in its place; any part of that may have been done already."""
    amended = folder / AMENDED
    if not amended.is_dir():
        return
    plan = json.loads((amended / PLAN).read_bytes())
    touched = set()
    for name in plan["new"]:
        staged, place = amended / TREE / name, folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if staged.exists():
            staged.replace(place)
        touched.add(place.parent)
    for name in plan["gone"]:
        (folder / name).unlink(missing_ok=True)
        touched.add((folder / name).parent)
    for parent in sorted(touched, reverse=True):
        if parent.is_dir():
            disk.sync_folder(parent)
        remove_empty(parent, folder)
    rest = folder / disk.temporary_name("amended")  # its plan is done: what a kill leaves of it is a leftover
    amended.replace(rest)
    disk.remove(rest)
    disk.LIVE.discard(rest.name)


def remove_empty(place: Path, top: Path) -> None:
    """Remove folders in which no file is left, up to `top`."""
    while place != top and place.is_dir() and not any(place.iterdir()):
        place.rmdir()
        place = place.parent


@contextlib.contextmanager
def locked(folder: Path, *, shared: bool) -> Iterator[None]:
    """A lock on the folder itself, which no file is left of; none where the system or its disk has none."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
