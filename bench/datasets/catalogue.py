"""The data sets by name: opens them, makes the phantoms that are not there yet, verifies and describes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bench.datasets.geometry import DatasetError
from bench.datasets.phantom.spec import SIZES, PhantomSpec, find_spec
from bench.errors import BenchError
from bench.registry import names as registered_names
from bench.spec import digest

if TYPE_CHECKING:
    import pandas as pd

    from bench.datasets.seed_dv import SeedDV

DEFAULT_SIZE = "small"


def bench_home() -> Path:
    """Where data and caches lie: BENCH_HOME, or a folder in the user's cache."""
    if home := os.environ.get("BENCH_HOME"):
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "brain2video-bench"


def dataset_names() -> tuple[str, ...]:
    """Names that `open_dataset` takes."""
    return ("seed_dv", "phantom_eeg", *(f"phantom_eeg:{size}" for size in SIZES))


def open_dataset(name: str, *, data_root: Path | str | None = None, processes: int | None = None) -> SeedDV:
    """Open a data set; a phantom is made first (with `processes`, by default one a core) where it is not there.

    `data_root` (or BENCH_DATA) is where a real data set lies; for a phantom, a folder to read instead of the cache.
    Raises UnknownName for an unknown name, DatasetError where a root is missing or incomplete.
    """
    from bench.datasets.seed_dv import APPLY, SeedDV

    spec = phantom_spec(name)
    if spec is not None:
        root = Path(data_root) if data_root else make_phantom(spec, processes=processes)
        if not (root / "manifest.json").is_file():
            raise DatasetError(f"{root} holds no phantom (no manifest.json); leave the root out and it is made")
        return SeedDV(root, cache=bench_home() / "cache", name=name)
    place = data_root or os.environ.get("BENCH_DATA")
    if not place:
        raise DatasetError(
            f"{name} is not shipped: name its folder with --data-root DIR or BENCH_DATA (the folder that holds EEG/ "
            f"and Video/); {APPLY}; or use --dataset phantom_eeg, which is made here"
        )
    return SeedDV(place, cache=bench_home() / "cache", name=name)


def phantom_spec(name: str) -> PhantomSpec | None:
    """The spec behind a phantom's name, None for `seed_dv`; raises UnknownName for anything else."""
    kind, _, size = name.partition(":")
    if kind == "phantom_eeg":
        return find_spec(size or DEFAULT_SIZE)
    if name != "seed_dv":
        from bench.registry import UnknownName

        known = sorted({*dataset_names(), *registered_names("datasets")})
        raise UnknownName(f"unknown data set {name!r}; there are {', '.join(known)}")
    return None


def phantom_folder(spec: PhantomSpec) -> Path:
    return bench_home() / "phantoms" / f"phantom_eeg-{spec.size}-{digest(spec.as_dict())[:12]}"


def make_phantom(spec: PhantomSpec, *, processes: int | None = None) -> Path:
    """The folder of the phantom, made if it is not there."""
    folder = phantom_folder(spec)
    if not (folder / "manifest.json").is_file():
        from bench.datasets.phantom.writer import write_phantom

        if folder.exists():
            raise BenchError(f"{folder} is there without its manifest; delete it, and it is made again")
        write_phantom(spec, folder, processes=processes or (1 if spec.size == "tiny" else available_cores()))
    return folder


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def verify(name: str, root: Path | str | None) -> pd.DataFrame:
    """What of a data set is there, missing or malformed: file, status, detail."""
    from bench.datasets.verify import verify_seed_dv

    spec = phantom_spec(name)
    if root is None and spec is not None:
        root = make_phantom(spec)
    root = root or os.environ.get("BENCH_DATA")
    if root is None:
        raise DatasetError(f"verify {name}: name its folder with --root DIR or BENCH_DATA")
    return verify_seed_dv(Path(root))


def info(dataset: SeedDV) -> pd.DataFrame:
    """Figures of an open data set: the measured card of a phantom, the geometry of a real one."""
    if dataset.truth is not None:
        from bench.datasets.phantom.card import phantom_card

        return phantom_card(dataset)
    import pandas as pd

    facts = {
        "subjects": len(dataset.subjects),
        "recordings": len(dataset.recordings),
        "trials": len(dataset.trials),
        "clips": len(dataset.stimuli),
        "concepts": len(dataset.concepts),
        "channels": len(dataset.channels),
        "sampling rate (Hz)": dataset.sampling_rate,
        "digest": dataset.digest,
    }
    return pd.DataFrame({"figure": list(facts), "value": [str(value) for value in facts.values()]})
