"""How a phantom comes to lie on disk: room is looked for, all is written beside its place, and one rename publishes it.

What is in it stands in its manifest, with the hash of every file. The figures of its card are measured once and kept.
"""

from __future__ import annotations

import errno
import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.core.errors import DatasetError
from bench.core.progress import say
from bench.datasets.manifest import write_manifest
from bench.store import disk

if TYPE_CHECKING:
    import pandas as pd

# yuv444p keeps the colour of small pictures; no B-frames and a key frame each second keep every reader exact
X264 = {"crf": "10", "preset": "veryfast", "x264-params": "keyint=24:min-keyint=24:scenecut=0:bframes=0:threads=1"}


class NoRoom(DatasetError):
    """A place that cannot take a phantom."""


class Spec(Protocol):
    """What a phantom is made from."""

    def as_dict(self) -> dict[str, Any]: ...


def publish_phantom(name: str, spec: Spec, folder: Path, fill: Callable[[Path], None], *, needed: int) -> None:
    """Let `fill` write all files of a phantom into a draft, and put it at `folder`, which must not exist.

    `needed` is about how many bytes it takes. Where another process was faster, its phantom stays: the same content.
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
    try:
        with disk.new_folder(folder) as draft:
            start = time.monotonic()
            fill(draft)
            seconds = time.monotonic() - start
            write_manifest(spec.as_dict(), draft, seconds)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom(f"{folder.parent} is full; {name} needs {needed / 1e9:.1f} GB") from error
        raise NoRoom(f"{folder.parent} cannot be written to ({error.strerror or error}); set BENCH_HOME") from error
    say(f"{name} made in {seconds:.0f} s")


def keep_card(dataset: Any, code: str, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table of a phantom's figures, measured by the code of that digest where the cache does not hold it."""
    import pandas as pd

    made_from = {"what": "card", "data": dataset.digest, "code": code}
    content = dataset.cache.content(made_from, lambda: measure().to_csv(index=False).encode())
    return pd.read_csv(io.BytesIO(content), keep_default_na=False)
