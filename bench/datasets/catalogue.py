"""The catalogue: opens a data set by its name, and makes a phantom that is not there yet.

Data and caches lie under `BENCH_HOME`, by default the user's cache folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from bench.datasets.seed_dv import APPLY, DataError, SeedDV, verify_seed_dv
from bench.registry import suggest

PHANTOM = "phantom_eeg"
SIZES = ("tiny", "small", "full")
NAMES = ("seed_dv", PHANTOM, *(f"{PHANTOM}:{size}" for size in SIZES))


def bench_home() -> Path:
    """Where data and caches lie: `BENCH_HOME`, else `brain2video-bench` in the user's cache folder."""
    if home := os.environ.get("BENCH_HOME"):
        return Path(home).expanduser()
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "brain2video-bench"


def open_dataset(name: str, *, data_root: Path | str | None = None, processes: int | None = None) -> SeedDV:
    """The data set of that name; `phantom_eeg` is `phantom_eeg:small`. Raises DataError."""
    kind, size = parse_name(name)
    cache = bench_home() / "cache" / "clips"
    if kind == "seed_dv":
        root = data_root or os.environ.get("BENCH_DATA")
        if root is None:
            raise DataError(f"seed_dv lies where you put it: name the folder with --data-root. {APPLY}")
        return SeedDV(Path(root), cache=cache)
    from bench.datasets.phantom.writer import PhantomSpec, make_phantom, read_digest

    root = Path(data_root) if data_root else make_phantom(PhantomSpec.of_size(size), processes=processes)
    return SeedDV(root, name=PHANTOM if size == "small" else name, cache=cache, digest=read_digest(root))


def parse_name(name: str) -> tuple[str, str]:
    """Kind and size of a data set's name; raises DataError for one that is not in the catalogue."""
    if name not in NAMES:
        raise DataError(f"unknown data set {name!r}{suggest(name, NAMES)}; there are {', '.join(NAMES)}")
    kind, _, size = name.partition(":")
    return kind, size or "small"


def verify(name: str, root: Path | None) -> pd.DataFrame:
    """What is there of a data set and what is missing or malformed: file, status, detail."""
    kind, _ = parse_name(name)
    if kind == "seed_dv" and root is None:
        raise DataError(f"name the folder with --root. {APPLY}")
    return verify_seed_dv(root or open_dataset(name).root)


def info(dataset: SeedDV) -> pd.DataFrame:
    """The card of a phantom, or the geometry of a real data set: figure, subject, value."""
    if dataset.truth is not None:
        from bench.datasets.phantom.card import measure_card

        return measure_card(dataset)
    g = dataset.geometry
    rows = {
        "subjects": len(g.subjects),
        "recordings": len(dataset.recordings),
        "blocks": g.blocks,
        "concepts in a block": g.slots,
        "clips a concept": g.clips,
        "hint (s)": g.hint_seconds,
        "clip (s)": g.clip_seconds,
        "sampling rate (Hz)": g.sampling_rate,
        "channels": len(dataset.channels),
    }
    return pd.DataFrame({"figure": list(rows), "value": list(rows.values())})
