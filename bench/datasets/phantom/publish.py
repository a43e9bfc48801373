"""How a phantom comes to lie on disk: room is looked for, all is written beside its place, and one rename publishes it.

What is in it stands in its manifest, with the hash of every file. The figures of its card are measured once and kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.core.errors import DatasetError
from bench.core.progress import say
from bench.core.spec import digest
from bench.store import disk

if TYPE_CHECKING:
    import pandas as pd

# yuv444p keeps the colour of small pictures; no B-frames and a key frame each second keep every reader exact
X264 = {"crf": "10", "preset": "veryfast", "x264-params": "keyint=24:min-keyint=24:scenecut=0:bframes=0:threads=1"}


class Spec(Protocol):
    """What a phantom is made from."""

    def as_dict(self) -> dict[str, Any]: ...


def publish_phantom(name: str, spec: Spec, folder: Path, fill: Callable[[Path], None], *, needed: int) -> None:
    """Let `fill` write all files of a phantom into a draft, and put it at `folder`, which must not exist.

    `needed` is about how many bytes it takes. Where another process was faster, its phantom stays: the same content.
    Raises DatasetError where the disk is too small, before anything is made and while it is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        raise DatasetError(
            f"{name} needs {needed / 1e9:.1f} GB in {folder.parent}, {free / 1e9:.1f} GB are free; "
            "free some or set BENCH_HOME to another disk"
        )
    try:
        with disk.new_folder(folder) as draft:
            start = time.monotonic()
            fill(draft)
            seconds = time.monotonic() - start
            write_manifest(spec, draft, seconds)
            say(f"{name} made in {seconds:.0f} s")
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DatasetError(f"{folder.parent} is full; {name} needs {needed / 1e9:.1f} GB") from error
        raise


def write_manifest(spec: Spec, draft: Path, seconds: float) -> None:
    """Spec, hashes and digest; the digest leaves out how long it took."""
    hashes = {}
    for path in sorted(path for path in draft.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            hashes[path.relative_to(draft).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    content = {"spec": spec.as_dict(), "files": hashes}
    manifest = {"digest": digest(content), "seconds": round(seconds, 1), **content}
    (draft / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def keep_card(path: Path, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table at `path`, measured and written there first where it is not."""
    import pandas as pd

    if not path.is_file():
        table = measure()
        with disk.new_file(path) as draft:
            table.to_csv(draft, index=False)
    return pd.read_csv(path, keep_default_na=False)
