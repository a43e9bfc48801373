"""Digests of the files of a data set, remembered in the cache for as long as each file stays in its state.

The state is all that shows a change (`bench.store.cache.State`): size and time of modification alone do not, because
whatever damages or replaces a file may put them back. A file of recordings whose content is another than when it was
first read here is refused by name, not taken for other data: `data verify` says so and then takes it as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import DatasetError
from bench.core.progress import track
from bench.core.spec import digest
from bench.store.cache import Cache, State, open_regular, state_of

UNSETTLED = State(0, 0, 0, 0, 0)  # of a file so young that it may change without its state showing it
Known = dict[str, tuple[State, str]]  # of each file by its name below the root: its state then, and its sha256


def hash_files(files: Sequence[Path], root: Path, cache: Path) -> str:
    """Digest of the names and contents of recordings. Raises DatasetError for what is unreadable, changed, lost."""
    known = recall(root, cache)
    found = digest_files(files, root, cache, firm=True)
    if unreadable := [name for name, sha256 in found.items() if not sha256]:
        raise DatasetError(f"{root / unreadable[0]} cannot be read; look at its permissions, or fetch it again")
    if lost := [name for name in known if name not in found and not (root / name).exists()]:
        raise DatasetError(
            f"{root / lost[0]} is gone, and was there when the data were first read here: fetch it again, or, if that "
            f"is meant, take what is left with `python -m bench data verify NAME --root {root}`"
        )
    if changed := [name for name, sha256 in found.items() if name in known and known[name][1] != sha256]:
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise DatasetError(
            f"{root / changed[0]}{more} has another content than when it was first read here: fetch it again, or, if "
            f"that is meant, take it as it is with `python -m bench data verify NAME --root {root}`"
        )
    return digest(found)


def digest_files(files: Iterable[Path], root: Path, cache: Path, *, firm: bool = False) -> dict[str, str]:
    """sha256 of each file by its name below the root; empty where there is no readable file.

    Files in the state in which they were read before are not read again. `firm`: what is remembered of a file whose
    content has changed stays, until `forget`.
    """
    known = recall(root, cache)
    learned, found = dict(known), {}
    for path in track(list(files), "hashing files, once"):
        name = path.relative_to(root).as_posix()
        found[name] = ""
        with contextlib.suppress(OSError):
            state = state_of(path)
            if name in known and known[name][0] == state:
                found[name] = known[name][1]
                continue
            settled = state.is_settled
            found[name] = hash_file(path)
            if not (firm and name in known and known[name][1] != found[name]):
                learned[name] = (state if settled else UNSETTLED, found[name])
    if learned != known:
        content = {name: [*state, sha256] for name, (state, sha256) in learned.items()}
        Cache(cache).keep_content(name_memory(root), json.dumps(content).encode())
    return found


def hash_file(path: Path) -> str:
    """sha256 of a file's content. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_changes(root: Path, cache: Path) -> list[str]:
    """Names of the files whose content, read anew, is not what is remembered of them."""
    changed = []
    for name, (_, sha256) in track(recall(root, cache).items(), "hashing the data again"):
        try:
            same = hash_file(root / name) == sha256
        except OSError:
            same = False
        changed += [] if same else [name]
    return changed


def forget(root: Path, cache: Path) -> None:
    """Remember nothing of the files below a root: they are read anew when the data set is opened next."""
    Cache(cache).keep_content(name_memory(root), b"{}")


def recall(root: Path, cache: Path) -> Known:
    """What is remembered of the files below a root."""
    content = Cache(cache).find_content(name_memory(root))
    stored = {} if content is None else json.loads(content)
    return {name: (State(*state), sha256) for name, (*state, sha256) in stored.items()}


def name_memory(root: Path) -> dict[str, Any]:
    return {"digests of the files below": str(root.resolve())}
