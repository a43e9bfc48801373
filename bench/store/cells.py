"""The store: finished cells as folders of files, found again by the key of all that determines them.

    runs/<key>/manifest.json            what the cell is, its digests, and the sha256 of every file below
    runs/<key>/predictions/trials.parquet
    runs/<key>/predictions/sub01/clip0007.mp4    one lossless video a trial, or
    runs/<key>/predictions/embeddings.safetensors  an embedding of each trial, and no video
    runs/<key>/scores/<score key>.parquet        added later, each with its digest beside it (.sha256)
    runs/<key>/weights/                          of the fit, where they were asked for; in the manifest with a digest
    runs/<key>/training.csv                      losses and rates of the fit (`bench.toolbox.curves`), in no digest
    runs/.tmp-<key>-<host>-<pid>-<random>        being written
    runs/quarantine/<key>-<n>                    found corrupt, with reason.txt; never read again
    runs/checkpoints/<key>/                      of a fit under way or killed; gone when the cell is published

A cell is written into a temporary sibling, every file is flushed to disk, the manifest comes last, and one rename
publishes it: a reader sees a whole cell or none, whenever the writer is killed. Two writers of one cell need no lock:
the second rename fails and the first result stays. There is no pickle, only JSON, parquet, safetensors and mp4.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.progress import complain
from bench.core.spec import EMBEDDING, canonical_json, digest
from bench.store import disk, provenance

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from jaxtyping import Float32

KEY = re.compile(r"[0-9a-z_]{1,64}")
EMBEDDINGS = "predictions/embeddings.safetensors"
CHECKPOINTS, WEIGHTS = "checkpoints", "weights"
MAKING = b"provenance"  # of a table of scores, in what parquet calls the metadata of its schema
WRITING = 60.0  # seconds within which scores come after their digest
FULL = (errno.ENOSPC, errno.EDQUOT)


class StoreError(BenchError):
    """The store cannot do what was asked of it."""


class StoreFull(StoreError):
    """The disk is full; nothing of the cell was published."""


class DamagedStore(StoreError):
    """Something of the store was damaged and is in quarantine now."""


class Corrupt(Exception):
    """A part of a cell is not what its digest says. Leads to quarantine, never to a user."""


@dataclass
class Draft:
    """A cell being made: write below `path` through `write`, fill in `manifest`."""

    path: Path
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    expected_bytes: int = 0  # at most; told to the user when the disk is full

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the cell to disk and remember its digest."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_through(path, content)
        self.files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    def take_weights(self, folder: Path) -> None:
        """Move a fit's weights into the cell: what lies in `folder`, which need not be there."""
        place, kept = self.path / WEIGHTS, {}
        place.mkdir()
        for path in sorted(folder.glob("[!.]*")):
            path.replace(place / path.name)
            kept[path.name] = {
                "sha256": disk.digest_file(place / path.name),
                "bytes": (place / path.name).stat().st_size,
            }
        self.manifest[WEIGHTS] = kept


class Store:
    """The cells below one folder. Opening it removes what killed processes of this machine left half-written."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.damaged: list[Path] = []  # what this store has moved into quarantine
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the store {self.root} cannot be made: {error.strerror}; choose another --runs"
            ) from error
        disk.remove_leftovers(self.root)
        for left in (self.root / CHECKPOINTS).glob("*"):
            if time.time() - disk.last_change(left) > disk.AGE:  # of a cell that nobody asks for any more
                disk.remove(left)

    def find(self, key: str) -> Cell | None:
        """The whole, verified cell of that key, or None. A corrupt one is moved to quarantine, with a warning."""
        folder = self.root / check_key(key)
        if not os.path.lexists(folder):
            return None
        try:
            return Cell(key=key, path=folder, store=self, manifest=verify(folder))
        except FileNotFoundError as error:
            if not os.path.lexists(folder):  # another process quarantined it meanwhile
                return None
            self.quarantine(folder, f"{error.filename} is missing")
        except OSError as error:
            self.quarantine(folder, f"{error.filename} cannot be read: {error.strerror}")
        except Corrupt as error:
            self.quarantine(folder, str(error))
        return None

    def cells(self) -> Iterator[Cell]:
        """All cells, by key. Raises DamagedStore after the last where something was damaged."""
        with self.reading():
            for folder in sorted(self.root.iterdir()):
                cell = self.find(folder.name) if is_cell(folder) else None
                if cell is not None:
                    yield cell

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Raises DamagedStore at the end of the block where something damaged was found in it.

        For whoever reads what there is: a table of the rest would look like a table of all.
        """
        before = len(self.damaged)
        yield
        if found := self.damaged[before:]:
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise DamagedStore(
                f"{found[0]}{more} was damaged and is in quarantine now: give the command of the run again, which "
                "makes it anew, or ask again for what is left"
            )

    @contextlib.contextmanager
    def publishing(self, key: str) -> Iterator[Draft]:
        """A draft to write a cell into; published when the block ends, removed when it fails.

        Where another process published the key meanwhile, its cell stays and the draft is dropped: both were made
        from the same spec. Raises StoreFull when the disk is full.
        """
        draft = Draft(path=self.root / disk.temporary_name(check_key(key)))
        try:
            draft.path.mkdir()
            with disk.locked(draft.path):
                yield draft
                seal(draft, key)
                disk.move_new(draft.path, self.root / key)
            disk.sync_folder(self.root)
        except OSError as error:
            if error.errno in FULL:
                raise self.full(f"cell {key}", max(draft.expected_bytes, size_of(draft.path))) from error
            raise
        finally:
            disk.remove(draft.path)
            disk.LIVE.discard(draft.path.name)

    def full(self, what: str, needed: int) -> StoreFull:
        free = shutil.disk_usage(self.root).free
        return StoreFull(
            f"no space left in {self.root} for {what}: it needs up to {needed} bytes ({needed / 2**20:.1f} MiB), "
            f"{free} are free; nothing half-written stays. Free some space or choose another --runs, then give the "
            "same command again: it goes on at this cell"
        )

    def quarantine(self, path: Path, reason: str) -> None:
        """Move a corrupt cell or score file where nobody reads it, with the reason beside it; warn.

        Raises StoreError where it can neither be moved nor removed.
        """
        where = disk.quarantine(path, self.root / "quarantine", reason)
        self.damaged.append(path)
        if os.path.lexists(path):
            raise StoreError(f"{path} is corrupt ({reason}), and {where}; remove it, and it is made again")
        complain(f"warning: {path} is corrupt ({reason}); {where}, it will be made again")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A published cell. Its predictions never change; scores are added."""

    key: str
    path: Path
    store: Store
    manifest: Mapping[str, Any]

    @property
    def weights(self) -> Mapping[str, Mapping[str, Any]] | None:
        """sha256 and bytes of each file of the weights that were kept; None where none were."""
        found: Mapping[str, Mapping[str, Any]] | None = self.manifest.get(WEIGHTS)
        return found if found is not None and (self.path / WEIGHTS).is_dir() else None

    @property
    def shows_videos(self) -> bool:
        """Whether its predictions are videos; else they are embeddings."""
        return self.manifest.get("spec", {}).get("output") != EMBEDDING

    def trials(self) -> pd.DataFrame:
        """One row a trial: trial, subject, clip, concept, block, seed, file, status (ok, missing, invalid), pixels.

        Of a cell of embeddings without file and pixels.
        """
        return read_table(self.path / "predictions" / "trials.parquet")

    def read(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:  # u8 (row, frame, height, width, 3)
        """The predicted videos of rows of `trials()`, bit for bit as they were written.

        Raises StoreError for a row without a video, and where decoded pixels differ from those written.
        """
        import numpy as np

        from bench.store.video import decode

        if not self.shows_videos:
            raise StoreError(f"cell {self.key} holds embeddings and no videos")
        trials = self.trials().iloc[np.asarray(rows, dtype=np.int64)]
        without = trials[trials["status"] != "ok"]
        if len(without):
            raise StoreError(
                f"cell {self.key} has no video of trial {without['trial'].iloc[0]}; read rows of status ok"
            )
        video = []
        for file, pixels in zip(trials["file"], trials["pixels"], strict=True):
            path = self.path / file
            clip = decode(path.read_bytes(), str(path), shape=self.manifest.get("video_shape"))
            if digest_pixels(clip) != pixels:
                raise StoreError(f"{path} does not decode to the pixels that were written; `doctor` checks the decoder")
            video.append(clip)
        if video:
            return np.stack(video)
        return np.zeros((0, *self.manifest.get("video_shape", (0, 0, 0, 3))), np.uint8)

    def predictions(self) -> tuple[pd.DataFrame, Any]:
        """The table of trials and the reader of its rows."""
        return self.trials(), self.read

    def embeddings(self) -> Float32[np.ndarray, "trial d"]:
        """The embedding of each row of `trials()`, of a cell that holds embeddings and no videos."""
        from safetensors.numpy import load

        return load((self.path / EMBEDDINGS).read_bytes())["embedding"]

    def add_scores(self, score_key: str, scores: pd.DataFrame) -> None:
        """Publish a table of scores, at once or not at all; one that is there already is replaced."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        buffer = pa.BufferOutputStream()
        table = pa.Table.from_pandas(scores, preserve_index=False)
        making = canonical_json(provenance.describe()).encode()
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), MAKING: making}), buffer)
        content = buffer.getvalue().to_pybytes()
        path = self.score_file(score_key)
        path.parent.mkdir(exist_ok=True)
        # the digest first: scores without one, or with another's, are not read
        self.store_file(digest_file(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())
        self.store_file(path, content)

    def score_file(self, score_key: str) -> Path:
        return self.path / "scores" / f"{check_key(score_key)}.parquet"

    def store_file(self, path: Path, content: bytes) -> None:
        try:
            disk.publish_file(path, content, self.store.root)
        except OSError as error:
            if error.errno in FULL:
                raise self.store.full(f"{path.name} of cell {self.key}", len(content)) from error
            raise

    def scores(self, score_key: str) -> pd.DataFrame | None:
        """A verified table of scores, or None; a corrupt one is moved to quarantine."""
        import pyarrow as pa

        content = self.read_scores(score_key)
        return None if content is None else read_table(pa.BufferReader(content))

    def how_scored(self, score_key: str) -> dict[str, Any]:
        """The provenance of a table of scores (`bench.store.provenance.describe`); empty where it tells none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        content = self.read_scores(score_key)
        if content is None:
            return {}
        told = (pq.read_schema(pa.BufferReader(content)).metadata or {}).get(MAKING, b"{}")
        return dict(json.loads(told))

    def has_scores(self, score_key: str) -> bool:
        """Whether whole scores of that key are there."""
        return self.read_scores(score_key) is not None

    def read_scores(self, score_key: str) -> bytes | None:
        """The verified content of a score file: nothing else is handed to a parser."""
        path = self.score_file(score_key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self.miss_scores(path)
            return None
        except OSError as error:
            self.store.quarantine(path, f"it cannot be read: {error.strerror}")
            return None
        recorded = b""
        try:
            recorded = digest_file(path).read_bytes()
        except FileNotFoundError:
            pass
        except OSError as error:  # nothing could be written in its place
            self.store.quarantine(digest_file(path), f"it cannot be read: {error.strerror}")
        if recorded != f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode():
            self.store.quarantine(path, "its content is not that of its digest")
            return None
        return content

    def miss_scores(self, path: Path) -> None:
        """Notice that scores are gone whose digest is there, unless they may be about to be written after it."""
        with contextlib.suppress(FileNotFoundError):
            if time.time() - digest_file(path).stat().st_mtime > WRITING:
                self.store.quarantine(digest_file(path), f"{path.name}, whose digest this is, is missing")


def read_table(source: Any) -> pd.DataFrame:
    """A parquet file's columns as they lie: what it says of itself to pandas (an index, other types) is ignored."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(source).read().replace_schema_metadata().to_pandas()


def digest_file(path: Path) -> Path:
    """Beside a score file, in the form that `sha256sum --check` reads."""
    return path.with_name(f"{path.name}.sha256")


def digest_pixels(clip: np.ndarray) -> str:
    """sha256 of a u8 video's shape and pixels."""
    import numpy as np

    head = ",".join(map(str, clip.shape)).encode()
    return hashlib.sha256(head + b":" + np.ascontiguousarray(clip).tobytes()).hexdigest()


def seal(draft: Draft, key: str) -> None:
    """Check that all files are those remembered, and write the manifest, with a digest of itself, last."""
    for path in sorted(draft.path.rglob("*")):
        name = path.relative_to(draft.path).as_posix()
        if name.startswith(f"{WEIGHTS}/"):  # gigabytes, and no part of what a reader asks for: see `take_weights`
            disk.sync_file(path)
        elif path.is_file() and name not in draft.files:  # written by a hand other than `Draft.write`
            disk.sync_file(path)
            draft.files[name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    (draft.path / "scores").mkdir(exist_ok=True)
    for folder in [path for path in draft.path.rglob("*") if path.is_dir()]:
        disk.sync_folder(folder)
    manifest = {"schema": 1, "key": key, **draft.manifest, "files": draft.files}
    manifest["manifest_digest"] = digest(manifest)
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False)
    disk.write_through(draft.path / "manifest.json", text.encode())
    disk.sync_folder(draft.path)


def verify(folder: Path) -> dict[str, Any]:
    """The manifest of a whole cell; raises Corrupt (or FileNotFoundError) with the reason."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except ValueError as error:
        raise Corrupt(f"manifest.json is no JSON: {error}") from error
    if not isinstance(manifest, dict) or "files" not in manifest:
        raise Corrupt("manifest.json lists no files")
    recorded = manifest.pop("manifest_digest", None)
    if recorded != digest(manifest):
        raise Corrupt("manifest.json is not what its own digest says")
    if manifest["key"] != folder.name:
        raise Corrupt(f"it is the cell {manifest['key']}, in a folder of another name")
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        if len(content) != entry["bytes"]:
            raise Corrupt(f"{name} has {len(content)} bytes instead of {entry['bytes']}")
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise Corrupt(f"the content of {name} has changed since it was written")
    return manifest


def is_cell(folder: Path) -> bool:
    """Whether a folder of the store is that of a cell, or what damage has left of one."""
    if not KEY.fullmatch(folder.name) or folder.name == "quarantine":
        return False
    return os.path.lexists(folder / "manifest.json") or (folder / "predictions").is_dir()


def check_key(key: str) -> str:
    if not KEY.fullmatch(key) or key == "quarantine":
        raise StoreError(f"{key!r} is no key of the store; a key has 1 to 64 of the characters 0-9, a-z and _")
    return key


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
