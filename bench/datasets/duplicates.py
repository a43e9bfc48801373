"""Recordings that are in a data set twice: across subjects, sessions, blocks and repeats, or within a recording.

The signals are compared, not the files: a copy is found in another number type, unit, scale or offset, with a little
noise, or shifted by a few samples (`bench.datasets.fingerprints`). Two questions are asked of the fingerprints. Is a
single trial nearly another one? And are two whole stretches (a block of a recording, one repeat of it) alike trial by
trial, which shows a copy under more noise or a longer shift than one trial would?

What is legitimately alike is told apart by how near it is. Repeats of a clip in one subject and neighbouring volumes of
fMRI correlate; both are held against the others of their kind, and independent pairs give the null (`find_limit`). A
recording is read once, a stretch at a time; N units cost N² / 2 inner products of 128 numbers, a minute or two for
CineBrain's 162,000 volumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64

from bench.core.contracts import Dataset
from bench.core.errors import DatasetError
from bench.core.progress import track
from bench.datasets.fingerprints import (
    LONG,
    Fingerprints,
    Scale,
    Spectra,
    find_limit,
    find_near,
    measure_distance,
    measure_patterns,
    scale_to_unit,
)

KEYS = ["subject", "session", "block", "repeat"]  # of a stretch
BATCH = 2**26  # bytes of signals read at once
FLOOR = {"spectra": 0.75, "patterns": 0.92}  # correlation below which one trial is no copy of another
STRETCH_FLOOR = {"spectra": 0.4, "patterns": 0.8}  # the same for the median over a whole stretch
DOUBTED = 0.6  # correlation below which the other way to standardise speaks against a copy
FEWEST = 5  # units of a stretch whose median says something
LEAST = 16  # units of a stretch by which its channels are standardised
NEIGHBOURS = 10  # volumes of one stretch so near in time may be alike
CLOSER = 10  # times nearer than others of their kind: repeats of a clip, neighbouring volumes
NEAREST = 1e-3  # a distance 1 - r that needs no comparison with others of its kind
SAMPLED = 8  # trials of a stretch that are read beforehand, to choose frequencies and to scale channels


@dataclass(frozen=True)
class Duplicates:
    """What was found. `pairs` has a row a pair of trials, with the columns of `trials` twice (`_one`, `_other`)."""

    pairs: pd.DataFrame  # trial, subject, session, block, repeat, clip (each _one and _other) and correlation
    trials: pd.DataFrame  # that were compared: trial, subject, session, block, repeat, clip
    limit: float  # correlation from which a trial is a copy
    unread: tuple[str, ...] = ()  # why stretches could not be compared


@runtime_checkable
class Averaging(Protocol):
    """A data set whose trials may be averages of repeats."""

    def unaveraged(self) -> Dataset: ...


def tabulate_trials(dataset: Dataset) -> pd.DataFrame:
    """The trials of a data set with the block and the repeat of each (0 where it has none)."""
    trials = dataset.trials.to_pandas()
    stimuli = dataset.stimuli.to_pandas().set_index("clip")
    blocks = stimuli["block"] if "block" in stimuli else pd.Series(0, index=stimuli.index)
    return complete(trials.assign(block=blocks.loc[trials["clip"]].to_numpy()))


def complete(trials: pd.DataFrame) -> pd.DataFrame:
    """A table of trials with blocks, in the columns that are looked at."""
    if "repeat" not in trials:
        trials = trials.assign(repeat=0)
    return trials[["trial", *KEYS, "clip"]]


def compare_trials(dataset: Dataset) -> Duplicates:
    """All pairs of trials that are one recording; of a data set that averages repeats, every repeat by itself."""
    whole: Any = dataset.unaveraged() if isinstance(dataset, Averaging) else dataset
    return find_duplicates(whole, tabulate_trials(whole))


def find_duplicates(dataset: Dataset, trials: pd.DataFrame) -> Duplicates:
    """Pairs among these `trials` (as `complete` gives them). What cannot be read is left out, and named."""
    stretches = [(key, part) for key, part in trials.groupby(KEYS, sort=True)]
    unread: list[str] = []
    samples = {}
    for key, part in track(stretches, "duplicates: looking"):
        try:
            samples[key] = dataset.signals(part["trial"].to_numpy()[:: max(1, len(part) // SAMPLED)])
        except DatasetError as error:
            unread.append(str(error))
    stretches = [(key, part) for key, part in stretches if key in samples]
    if not stretches:
        return Duplicates(empty_pairs(), trials.iloc[:0], 1.0, tuple(unread))
    read = read_spectra if next(iter(samples.values())).shape[2] >= LONG else read_patterns
    prints: list[list[Fingerprints]] = []
    rows: list[np.ndarray] = []
    tables: list[pd.DataFrame] = []
    count = 0
    for part, own in read(dataset, stretches, samples, unread):
        rows.append(count + np.repeat(np.arange(len(part)), len(own[0]) // len(part)))
        tables.append(part.assign(stretch=len(tables)))
        prints.append(own)
        count += len(part)
    if not tables:
        return Duplicates(empty_pairs(), trials.iloc[:0], 1.0, tuple(unread))
    table = pd.concat(tables, ignore_index=True)
    row = np.concatenate(rows)
    compare = compare_spectra if read is read_spectra else compare_patterns
    found, limit = compare([np.concatenate(way) for way in zip(*prints, strict=True)], row, table)
    return Duplicates(pair_up(found, table), table.drop(columns="stretch"), limit, tuple(unread))


Read = Iterator[tuple[pd.DataFrame, list[Fingerprints]]]  # trials of a stretch, fingerprints by way to standardise


def read_spectra(dataset: Dataset, stretches: list[Any], samples: dict[Any, np.ndarray], unread: list[str]) -> Read:
    """One fingerprint a trial."""
    spectra = Spectra.choose(np.concatenate([sample[:2] for sample in samples.values()]))
    for key, part in track(stretches, "duplicates: reading"):
        size = max(1, BATCH // max(1, samples[key][0].nbytes))
        try:
            own = [
                spectra.measure(dataset.signals(part["trial"].to_numpy()[start : start + size]))
                for start in range(0, len(part), size)
            ]
        except DatasetError as error:
            unread.append(str(error))
            continue
        yield part, [np.concatenate(own)]


def read_patterns(dataset: Dataset, stretches: list[Any], samples: dict[Any, np.ndarray], unread: list[str]) -> Read:
    """One fingerprint a volume, standardised by its recording's sample and by the stretch itself."""
    scales = {}
    for recording in dict.fromkeys(key[:2] for key in samples):
        some = [flatten(sample) for key, sample in samples.items() if key[:2] == recording]
        scales[recording] = Scale.measure(np.concatenate(some))
    for key, part in track(stretches, "duplicates: reading"):
        try:
            volumes = flatten(dataset.signals(part["trial"].to_numpy()))
        except DatasetError as error:
            unread.append(str(error))
            continue
        own = Scale.measure(volumes) if len(volumes) >= LEAST else scales[key[:2]]
        yield part, [measure_patterns(volumes, scale) for scale in (own, scales[key[:2]])]


def flatten(signals: Float32[np.ndarray, "trial channel time"]) -> Float32[np.ndarray, "unit channel"]:
    return np.moveaxis(signals, 2, 1).reshape(-1, signals.shape[1])


def compare_spectra(
    ways: list[Fingerprints], row: Int64[np.ndarray, " unit"], table: pd.DataFrame
) -> tuple[pd.DataFrame, float]:
    """Pairs of rows of the table that are copies (one, other, correlation), and the limit of a single unit."""
    (prints,) = ways
    recorded = prints.any(axis=1, keepdims=True)  # what is constant stays 0, and is no copy of anything
    prints = scale_to_unit(np.where(recorded, prints - prints.mean(axis=0, where=recorded), 0))
    stretch = table["stretch"].to_numpy()[row]
    distance, dimensions = find_limit(prints, stretch, FLOOR["spectra"])
    parts = [find_near(prints, distance), *compare_stretches(prints, stretch, dimensions, STRETCH_FLOOR["spectra"])]
    return gather(parts, row), 1 - distance


def compare_patterns(
    ways: list[Fingerprints], row: Int64[np.ndarray, " unit"], table: pd.DataFrame
) -> tuple[pd.DataFrame, float]:
    """As `compare_spectra`. Each way to standardise finds what the other misses; either has to see some likeness.

    By the stretch: whole blocks that came with another mean. By the recording: a single volume that is copied into
    another block. A block whose volumes share an offset looks like one volume many times to the second way alone.
    """
    prints = [scale_to_unit(way) for way in ways]
    stretch = table["stretch"].to_numpy()[row]
    parts, limits = [], []
    for way, second in (prints, prints[::-1]):
        distance, dimensions = find_limit(way, stretch, FLOOR["patterns"])
        one, other, apart = find_near(way, distance)
        kept = apart <= expect_near(way, row, table, one, other, distance)
        kept &= measure_distance(second[one], second[other]) <= 1 - DOUBTED
        parts.append((one[kept], other[kept], apart[kept]))
        limits.append(1 - distance)
    parts += compare_stretches(prints[0], stretch, dimensions, STRETCH_FLOOR["patterns"])
    return gather(parts, row), max(limits)


def gather(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], row: Int64[np.ndarray, " unit"]) -> pd.DataFrame:
    one, other, apart = (np.concatenate(part) for part in zip(*parts, strict=True))
    pairs = pd.DataFrame({"one": row[one], "other": row[other], "correlation": 1 - apart})
    return pairs[pairs["one"] != pairs["other"]]


def expect_near(
    prints: Fingerprints,
    row: Int64[np.ndarray, " unit"],
    table: pd.DataFrame,
    one: Int64[np.ndarray, " pair"],
    other: Int64[np.ndarray, " pair"],
    distance: float,
) -> np.ndarray:  # float (pair,)
    """How near each pair has to be: `CLOSER` times nearer than others of its kind, if there is a kind."""
    stretch, subject, clip = (table[name].to_numpy()[row] for name in ("stretch", "subject", "clip"))
    limit = np.full(len(one), distance)
    neighbours = (subject[one] == subject[other]) & (other - one <= NEIGHBOURS)  # blocks may be one run, cut
    repeats = (subject[one] == subject[other]) & (clip[one] == clip[other]) & (stretch[one] != stretch[other])
    following = np.flatnonzero(stretch[1:] == stretch[:-1])
    if len(following):
        usual = 1 - np.einsum("nk,nk->n", prints[following], prints[following + 1])
        limit[neighbours] = np.minimum(distance, max(NEAREST, float(np.median(usual)) / CLOSER))
    if repeats.any():
        limit[repeats] = np.minimum(distance, max(10 * NEAREST, usual_of_repeats(prints, row, table) / CLOSER))
    return limit


def usual_of_repeats(prints: Fingerprints, row: Int64[np.ndarray, " unit"], table: pd.DataFrame) -> float:
    """Median distance of a volume from the same volume of the next repeat of its clip in its subject."""
    own = table.iloc[row].assign(unit=np.arange(len(row)), volume=np.arange(len(row)) - np.searchsorted(row, row))
    own = own.sort_values(["subject", "clip", "volume", "unit"])
    keys = own[["subject", "clip", "volume"]].to_numpy()
    again = (keys[1:] == keys[:-1]).all(axis=1)
    unit = own["unit"].to_numpy()
    one, other = unit[:-1][again], unit[1:][again]
    return float(np.median(1 - np.einsum("nk,nk->n", prints[one], prints[other]))) if len(one) else 0.0


def compare_stretches(
    prints: Fingerprints, stretch: Int64[np.ndarray, " unit"], dimensions: float, floor: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Units (first, second, 1 - r) of stretches of one length that are alike from the first to the last."""
    edges = np.flatnonzero(np.diff(stretch, prepend=-1, append=-1))
    starts, lengths = edges[:-1], np.diff(edges)
    for length in np.unique(lengths[lengths >= FEWEST]):
        whole = starts[lengths == length]
        units = prints[whole[:, None] + np.arange(length)]  # (stretch, unit, number)
        least = max(floor, 8 / np.sqrt(length * dimensions))
        for place, own in enumerate(units[:-1]):
            alike = np.abs(np.einsum("un,sun->su", own, units[place + 1 :], optimize=True))
            for later in np.flatnonzero(np.median(alike, axis=1) >= least):
                yield (
                    whole[place] + np.arange(length),
                    whole[place + 1 + later] + np.arange(length),
                    1 - alike[later].astype(np.float64),
                )


def pair_up(found: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The pairs with what is known of either trial, each pair once, with its highest correlation."""
    swapped = found["one"] > found["other"]
    found.loc[swapped, ["one", "other"]] = found.loc[swapped, ["other", "one"]].to_numpy()
    best = found.groupby(["one", "other"], as_index=False)["correlation"].max()
    names = ["trial", *KEYS, "clip"]
    sides = [table[names].iloc[best[side]].reset_index(drop=True).add_suffix(f"_{side}") for side in ("one", "other")]
    return pd.concat([*sides, best[["correlation"]]], axis=1)


def empty_pairs() -> pd.DataFrame:
    names = [f"{name}_{side}" for side in ("one", "other") for name in ("trial", *KEYS, "clip")]
    return pd.DataFrame(columns=[*names, "correlation"])
