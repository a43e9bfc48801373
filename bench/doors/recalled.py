"""Scores and flags of submitted videos that this machine made before, found again by all that they rest on.

`publish` verifies what `verify` has verified: every video is decoded again and compared with its digest, and what the
judges said of these very pixels need not be asked twice. Nothing that a bundle brings is kept or found by its word: an
entry's key holds the digest of the trials and pixels as they were decoded by who asks, and those of the data, the
networks and the code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from bench.core.spec import digest
from bench.store.cache import digest_code, open_cache
from bench.store.cells import EMBEDDINGS, Cell, digest_file

LOOKED = ("trial", "subject", "clip", "concept", "block", "seed", "status", "pixels")
CODE = ("bench.scoring.score_cell", "bench.scoring.flags")


def digest_looked(cell: Cell, dataset: Any, suite: Any) -> str:
    """Of all that was looked at: trials, the pixels of each, true clips and networks.

    Of a cell whose videos have been decoded and compared with the digests in its table of trials, or of its embeddings.
    """
    trials, made = cell.trials(), ""
    if not cell.shows_videos:
        made = hashlib.sha256((cell.path / EMBEDDINGS).read_bytes()).hexdigest()
    rows = {name: trials[name].tolist() for name in (LOOKED if cell.shows_videos else LOOKED[:-1])}
    return digest([cell.key, rows, made, dataset.digest, suite.digest, digest_code(*CODE)])


def recall(cell: Cell, keys: Sequence[str], looked: str) -> list[str]:
    """Put the tables of these keys into the cell, as they were made before; returns the keys that are not kept."""
    missing = []
    for key in keys:
        content = open_cache().find_content(name_entry(key, looked))
        if content is None:
            missing.append(key)
            continue
        path = cell.score_file(key)
        path.parent.mkdir(exist_ok=True)
        cell.store_file(digest_file(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())
        cell.store_file(path, content)
    return missing


def keep(cell: Cell, keys: Sequence[str], looked: str) -> None:
    """Keep the tables of these keys that the cell has, which were made here, for who asks next."""
    for key in keys:
        if (content := cell.read_scores(key)) is not None:
            open_cache().keep_content(name_entry(key, looked), content)


def name_entry(key: str, looked: str) -> dict[str, str]:
    return {"what": "made of submitted videos", "table": key, "looked": looked}
