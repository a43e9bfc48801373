"""Data sets from outside the project: a class of an installed package, or `path/file.py:Class`.

The harness makes it as `Class(root, cache=..., name=...)`: `root` is the Path of --data-root (None without), `cache` a
folder for what is derived, `name` the name that was asked for. It offers what `bench.core.contracts.Dataset` says, and
one line more: `licence`, under which the recordings may be used. All of it is checked whenever the set is opened,
because a table whose rows are numbered otherwise would not fail but score other clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import DatasetError
from bench.core.registry import resolve
from bench.core.splits import SPLITS, SplitError, make_folds

Row = tuple[str, str, str]  # part, status, detail
STIMULI = ("clip", "block", "concept", "caption")
TRIALS = ("trial", "subject", "session", "clip")


def open_outside(name: str, root: Path | None, cache: Path) -> Any:
    """The data set. Raises UnknownName where there is no such class, DatasetError for the first contract broken."""
    dataset = resolve("datasets", name)(root, cache=cache, name=name)
    for part, status, detail in examine(dataset):
        if status != "ok":
            raise DatasetError(f"{name}, {part}: {detail}; `python -m bench data verify {name}` tries all")
    return dataset


def verify_outside(name: str, root: Path | None, cache: Path) -> pd.DataFrame:
    """A row a contract, and a row a split: part, status (ok, malformed, or absent for a split), detail."""
    dataset = resolve("datasets", name)(root, cache=cache, name=name)
    rows = list(examine(dataset))
    if all(status == "ok" for _, status, _ in rows):
        rows += [("splits", "ok", "; ".join(describe_split(dataset, split) for split in SPLITS))]
    return pd.DataFrame(rows, columns=["part", "status", "detail"])


def describe_split(dataset: Any, split: str) -> str:
    try:
        folds = make_folds(dataset, split)
    except SplitError as error:
        return f"{split}: not offered ({error})"
    return f"{split}: folds {len(folds)}, test trials {sum(len(fold.test) for fold in folds)}"


def examine(dataset: Any) -> Iterator[Row]:
    """What the data set is, its tables, and one trial and clip of it; stops after the first part that is broken."""
    for part, step in (
        ("attributes", examine_attributes),
        ("stimuli", examine_stimuli),
        ("trials", examine_trials),
        ("signals", examine_signals),
        ("video", examine_video),
    ):
        try:
            yield part, "ok", step(dataset)
        except DatasetError as error:
            yield part, "malformed", str(error)
            return


def examine_attributes(dataset: Any) -> str:
    for kind, wanted, attributes in (
        (str, "text", ("name", "digest", "licence")),
        (tuple, "tuple", ("subjects", "channels", "concepts")),
        (float, "float (Hz)", ("sampling_rate",)),
    ):
        for name in attributes:
            value = getattr(dataset, name, None)
            if not isinstance(value, kind) or not value:
                raise DatasetError(f"{name} is {value!r}; it must be a {wanted}, not empty or 0")
    for name in ("subjects", "channels", "concepts"):
        if len(set(getattr(dataset, name))) < len(getattr(dataset, name)):
            raise DatasetError(f"{name} names one twice")
    if absent := [name for name in ("rois", "truth") if not hasattr(dataset, name)]:
        raise DatasetError(f"{absent[0]} is missing; without regions rois = {{}}, and truth = None for recordings")
    if getattr(dataset, "modality", None) not in ("eeg", "fmri"):
        raise DatasetError(f"modality is {getattr(dataset, 'modality', None)!r}; allowed are 'eeg' and 'fmri'")
    return (
        f"{dataset.modality} at {dataset.sampling_rate:g} Hz; licence: {dataset.licence}; digest {dataset.digest[:16]}"
    )


def examine_stimuli(dataset: Any) -> str:
    table = read_table(dataset.stimuli, STIMULI)
    check_numbering(table["clip"], "clip")
    check_range(table["concept"], "concept", len(dataset.concepts))
    if table["caption"].isna().any() or not table["caption"].str.strip().all():
        raise DatasetError("a clip has no caption; give each one, if only the name of its concept")
    blocks = table["block"].nunique()
    if blocks < 3:
        raise DatasetError(f"{blocks} blocks; 3 at least are needed: the last is tested, the one before validates")
    return f"{len(table)} clips in {blocks} blocks, {table['concept'].nunique()} of {len(dataset.concepts)} concepts"


def examine_trials(dataset: Any) -> str:
    table = read_table(dataset.trials, TRIALS)
    check_numbering(table["trial"], "trial")
    check_range(table["clip"], "clip", len(dataset.stimuli))
    if strange := sorted(set(table["subject"]) ^ set(dataset.subjects)):
        raise DatasetError(f"subject {strange[0]} is in one of `subjects` and the table of trials, and not in both")
    if not (table["session"] == 1).any():
        raise DatasetError("no trial is of session 1; sessions are counted from 1, and only the first is used")
    return f"{len(table)} trials of {len(dataset.subjects)} subjects"


def examine_signals(dataset: Any) -> str:
    rows = np.array([0, len(dataset.trials) - 1])
    signals = dataset.signals(rows)
    shape: tuple[int, ...] = getattr(signals, "shape", ())
    if len(shape) != 3 or shape[:2] != (2, len(dataset.channels)) or signals.dtype != np.float32:
        raise DatasetError(
            f"signals(2 trials) gave {getattr(signals, 'dtype', type(signals).__name__)} {shape}; it must give "
            f"float32 (2, {len(dataset.channels)} channels, time)"
        )
    if not np.isfinite(signals).all():
        raise DatasetError("the first or the last trial holds NaN or infinity")
    return f"{shape[1]} channels × {shape[2]} samples a trial"


def examine_video(dataset: Any) -> str:
    video = dataset.video(np.array([len(dataset.stimuli) - 1, 0]))
    shape: tuple[int, ...] = getattr(video, "shape", ())
    if len(shape) != 5 or shape[0] != 2 or shape[-1] != 3 or video.dtype != np.uint8:
        raise DatasetError(
            f"video(2 clips) gave {getattr(video, 'dtype', type(video).__name__)} {shape}; it must give uint8 RGB "
            "(2, frame, height, width, 3)"
        )
    return f"{shape[1]} frames of {shape[2]} × {shape[3]} pixels (height × width)"


def read_table(table: Any, columns: tuple[str, ...]) -> pd.DataFrame:
    if not hasattr(table, "to_pandas"):
        raise DatasetError(f"it is {type(table).__name__}; it must be a datasets.Dataset (datasets.Dataset.from_dict)")
    made: pd.DataFrame = table.to_pandas()
    if absent := [name for name in columns if name not in made]:
        raise DatasetError(f"the table lacks {', '.join(absent)}; it needs {', '.join(columns)}")
    if made.empty:
        raise DatasetError("the table is empty")
    return made


def check_numbering(column: pd.Series, name: str) -> None:
    if not np.array_equal(column, np.arange(len(column))):
        raise DatasetError(f"{name} must be the number of the row, from 0; it starts {column.tolist()[:3]}")


def check_range(column: pd.Series, name: str, count: int) -> None:
    if column.dtype.kind not in "iu" or not column.between(0, count - 1).all():
        raise DatasetError(f"{name} goes from {column.min()} to {column.max()}; allowed are 0 to {count - 1}")
