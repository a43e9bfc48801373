"""The manifest of a phantom: what it was made from and the sha256 of every file, against which it is opened.

manifest.json    {digest, seconds, spec, files, manifest_digest}: `digest` is that of spec and files

A phantom is the same one wherever it is made: what names it, in keys and on the board, is the digest of its spec, the
generator's version among it (`name_phantom`). Its files are not the same to the last bit on every processor, so the
digest of the files tells damage here, and keys what is computed from them and kept in this machine's cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import DatasetError
from bench.core.spec import digest
from bench.store.contents import digest_files, hash_file

NAME = "manifest.json"
FIELDS = {"digest", "seconds", "spec", "files"}


class DamagedPhantom(DatasetError):
    """A phantom with files that are not as they were made."""

    def __init__(self, root: Path, files: Mapping[str, str]) -> None:
        self.root, self.files = root, dict(files)  # what is wrong, by the file's name
        first, why = next(iter(self.files.items()))
        more = f" (and {len(files) - 1} more files)" if len(files) > 1 else ""
        super().__init__(
            f"{root / first} {why}{more}: the phantom in {root} is damaged; `python -m bench data make NAME` makes one "
            "in the cache again, a folder of your own has to be fetched or copied again"
        )


def write_manifest(spec: Mapping[str, Any], draft: Path, seconds: float) -> None:
    """Spec, hashes and digest of what lies in `draft`; the digest leaves out how long it took."""
    files = {name: hash_file(draft / name) for name in list_files(draft) if name != NAME}
    content = {"spec": dict(spec), "files": files}
    manifest = {"digest": digest(content), "seconds": round(seconds, 1), **content}
    manifest["manifest_digest"] = digest(manifest)
    (draft / NAME).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest, which is what its digest says. Raises DamagedPhantom."""
    try:
        manifest = json.loads((root / NAME).read_bytes())
        told = manifest.pop("manifest_digest", None)
        whole = digest({name: manifest[name] for name in ("spec", "files")}) == manifest["digest"]
        if not whole or set(manifest) != FIELDS or told not in (None, digest(manifest)):  # older ones have no digest
            raise DamagedPhantom(root, {NAME: "is not what its own digest says"})
    except OSError as error:
        raise DamagedPhantom(root, {NAME: f"cannot be read ({error.strerror or error})"}) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedPhantom(root, {NAME: f"is no manifest ({error!r})"}) from error
    return manifest


def name_phantom(root: Path) -> str:
    """What determines a phantom's content, whichever machine made it: the digest of its spec. Raises DamagedPhantom."""
    return digest({"phantom": read_manifest(root)["spec"]})


def check_phantom(root: Path, cache: Path, *, spec: Mapping[str, Any] | None = None) -> None:
    """Compare every file with the manifest, those that have not changed since they were compared last by their state.

    Raises DamagedPhantom for files that are missing, unreadable, changed or none of the phantom's (hidden ones apart),
    and for a phantom of another `spec`.
    """
    manifest = read_manifest(root)
    if spec is not None and digest(manifest["spec"]) != digest(dict(spec)):
        raise DamagedPhantom(root, {NAME: "is that of another phantom"})
    expected, present = manifest["files"], set(list_files(root)) - {NAME}
    wrong = dict.fromkeys(sorted(present - set(expected)), "is no file of the phantom")
    found = digest_files([root / name for name in expected], root, cache)
    for name, sha256 in expected.items():
        if found[name] != sha256:
            wrong[name] = "has another content than was written" if found[name] else "is missing or cannot be read"
    if wrong:
        raise DamagedPhantom(root, wrong)


def list_files(root: Path) -> list[str]:
    """Names of the files below a folder, sorted, without hidden ones."""
    names = []
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(place).relative_to(root)
        names += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(names)
