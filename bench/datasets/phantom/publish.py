"""How a phantom comes to lie on disk: room is looked for, all is written beside its place, and one rename publishes it.

What is in it stands in its manifest, with the hash of every file. A large phantom is made in parts (`make_part`): what
an interrupted making has finished is kept beside the phantom's place, and taken up by the next one where it has the
hash that it was written with. The figures of a card are measured once and kept.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.core.errors import DatasetError
from bench.core.progress import say
from bench.core.spec import digest
from bench.datasets.manifest import write_manifest
from bench.store import disk
from bench.store.cache import digest_code
from bench.store.contents import hash_file

if TYPE_CHECKING:
    import pandas as pd

# yuv444p keeps the colour of small pictures; no B-frames and a key frame each second keep every reader exact
X264 = {"crf": "10", "preset": "veryfast", "x264-params": "keyint=24:min-keyint=24:scenecut=0:bframes=0:threads=1"}


class NoRoom(DatasetError):
    """A place that cannot take a phantom."""


class Spec(Protocol):
    """What a phantom is made from."""

    def as_dict(self) -> dict[str, Any]: ...


NOTES = ".parts"  # of a draft: what of it is whole


def publish_phantom(
    name: str, spec: Spec, folder: Path, fill: Callable[[Path], None], *, needed: int, resumes: bool = False
) -> None:
    """Let `fill` write all files of a phantom into a draft, and put it at `folder`, which must not exist.

    `needed` is about how many bytes it takes. Where another process was faster, its phantom stays: the same content.
    Where `fill` resumes, it is given the draft that an interrupted making by the same code has left, if there is one.
    Raises NoRoom where the disk is too small, before anything is made and while it is, or takes nothing.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise NoRoom(f"{folder.parent} cannot be made ({error.strerror or error}); set BENCH_HOME") from error
    if free < needed:
        raise NoRoom(
            f"{name} needs {needed / 1e9:.1f} GB in {folder.parent}, {free / 1e9:.1f} GB are free; "
            "free some or set BENCH_HOME to another disk"
        )
    from threadpoolctl import threadpool_limits

    try:
        with kept_draft(folder, fill) if resumes else disk.new_folder(folder) as draft:
            start = time.monotonic()
            with threadpool_limits(1):  # sums of several threads round otherwise
                fill(draft)
            shutil.rmtree(draft / NOTES, ignore_errors=True)
            seconds = time.monotonic() - start
            write_manifest(spec.as_dict(), draft, seconds)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom(f"{folder.parent} is full; {name} needs {needed / 1e9:.1f} GB") from error
        raise NoRoom(f"{folder.parent} cannot be written to ({error.strerror or error}); set BENCH_HOME") from error
    say(f"{name} made in {seconds:.0f} s")


@contextlib.contextmanager
def kept_draft(folder: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """As `disk.new_folder`, but the draft of a process that is killed or stopped by hand stays, and is given again.

    Two processes never share one: where another is at work, this one gets a draft of its own.
    """
    disk.remove_leftovers(folder.parent)
    remove_old_drafts(folder.parent)
    draft = folder.with_name(f".making-{folder.name}-{digest_code(fill.__module__)[:12]}")
    draft.mkdir(exist_ok=True)
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        if not disk.take_lock(descriptor):
            with disk.new_folder(folder) as other:
                yield other
            return
        try:
            yield draft
            disk.sync_tree(draft)
            disk.move_new(draft, folder)
            disk.sync_folder(folder.parent)
        except Exception:  # a full disk, say: what was made takes room
            disk.remove(draft)
            raise
        if folder.exists():
            disk.remove(draft)  # another process was faster
    finally:
        os.close(descriptor)


def remove_old_drafts(place: Path) -> None:
    """Remove kept drafts that nobody has gone on with for a month."""
    for draft in place.glob(".making-*"):
        if time.time() - disk.last_change(draft) > disk.AGE and not disk.is_locked(draft):
            disk.remove(draft)


def make_part(draft: Path, part: str, files: Sequence[str], write: Callable[[], None]) -> None:
    """Let `write` make files of a draft, unless an earlier making has left them whole."""
    note = draft / NOTES / f"{part}.json"
    with contextlib.suppress(OSError, ValueError):
        told = json.loads(note.read_text(encoding="utf-8"))
        if {name: hash_file(draft / name) for name in files} == told:
            return
    write()
    note.parent.mkdir(exist_ok=True)
    unfinished = note.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps({name: hash_file(draft / name) for name in files}), encoding="utf-8")
    unfinished.replace(note)


def committed_card(file: Path, spec: Spec) -> pd.DataFrame | None:
    """The table of a phantom's figures that ships with the code; None where it is of another spec, or there is none."""
    import pandas as pd

    try:
        first, _, table = file.read_text(encoding="utf-8").partition("\n")
    except OSError:
        return None
    return pd.read_csv(io.StringIO(table), keep_default_na=False) if first == name_spec(spec) else None


def commit_card(file: Path, spec: Spec, card: pd.DataFrame) -> None:
    """Write a card where `committed_card` reads it."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{name_spec(spec)}\n{card.to_csv(index=False)}", encoding="utf-8")


def name_spec(spec: Spec) -> str:
    return f"# of the phantom whose spec has the digest {digest(spec.as_dict())}"


def keep_card(dataset: Any, code: str, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table of a phantom's figures, measured by the code of that digest where the cache does not hold it."""
    import pandas as pd

    made_from = {"what": "card", "data": dataset.content_digest, "code": code}
    content = dataset.cache.content(made_from, lambda: measure().to_csv(index=False).encode())
    return pd.read_csv(io.BytesIO(content), keep_default_na=False)
