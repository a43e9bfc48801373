"""Splits: which trials a method learns from, is calibrated on and is tested on.

The last block of a recording is tested, the one before it validates, the others train (SEED-DV: 1-5, 6, 7). The
first three quarters of the subjects are the known ones, the others are new (SEED-DV: 15 and 5, as in SAM-Net §4).

| split            | folds         | train           | calibration                | test            |
|------------------|---------------|-----------------|----------------------------|-----------------|
| `single_subject` | one a subject | the subject's   | none                       | the subject's   |
| `cross_subject`  | one           | known subjects' | none                       | known subjects' |
| `new_subject`    | one           | known subjects' | 15 % of the new ones'      | new subjects'   |
| `clips`          | one           | each clip once  | none                       | each clip once  |

`clips` serves the methods that see no brain: their output does not depend on a subject, so it is made once and stands
beside every split. Of a subject only the first session is used that is there, as in the papers. Every disjointness that
a split claims is asserted on the trials themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Int64

from bench.core.contracts import Dataset
from bench.core.errors import BenchError
from bench.core.seeds import derive_seed

SPLITS = ("single_subject", "cross_subject", "new_subject")
ALL_CLASSES = 40  # stands for all that a data set shows, labelled or not
CALIBRATION_SHARE = 0.15  # SAM-Net §4: p = 15
KNOWN_SHARE = 0.75  # of the subjects; SAM-Net §4: 15 of 20
VERSION = 1  # raised when a split comes to mean other trials

Rows = Int64[np.ndarray, " trial"]


class SplitError(BenchError):
    """A split that the data set cannot offer, or one that breaks its own promise."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Rows of the data set's table of trials, by their use."""

    split: str
    name: str
    train: Rows
    validation: Rows
    test: Rows
    calibration: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))


def describe_rules() -> dict[str, float]:
    """What a split means beyond its name, for keys."""
    return {"split_version": VERSION, "calibration_share": CALIBRATION_SHARE, "known_share": KNOWN_SHARE}


def make_folds(dataset: Dataset, split: str, *, classes: int = 40) -> list[Fold]:
    """The folds of `split`, restricted to the clips of a class subset; raises SplitError."""
    trials = trial_table(dataset, classes)
    known, new = part_subjects(dataset.subjects)
    train, validation, test = part_blocks(trials)
    parts = {"train": train, "validation": validation, "test": test}

    def make(name: str, learned: list[int], tested: list[int], **calibration: Rows) -> Fold:
        return Fold(
            split=split,
            name=name,
            train=rows(train, learned),
            validation=rows(validation, learned),
            test=rows(test, tested),
            **calibration,
        )

    if split == "single_subject":
        folds = [make(f"sub{subject:02d}", [subject], [subject]) for subject in dataset.subjects]
    elif split == "cross_subject":
        folds = [make("known", known, known)]
    elif split == "new_subject":
        if not new:
            raise SplitError(f"{dataset.name} has {len(known)} subjects: new_subject needs at least 2")
        drawn = np.concatenate([draw_calibration(rows(train, [subject]), subject) for subject in new])
        folds = [make("new", known, new, calibration=drawn)]
    elif split == "clips":
        folds = [Fold(split=split, name="clips", **{name: each_clip(part) for name, part in parts.items()})]
    else:
        raise SplitError(f"unknown split {split!r}; there are {', '.join(SPLITS)}")
    for fold in folds:
        assert_disjoint(fold, trials)
    return folds


def trial_table(dataset: Dataset, classes: int) -> pd.DataFrame:
    """Trials of each subject's first session whose concept is in the subset: trial, subject, clip, block, concept.

    `ALL_CLASSES` is all that the data set shows, be its clips labelled or not; smaller subsets are the data set's own.
    """
    subsets = getattr(dataset, "class_subsets", {})
    if classes != ALL_CLASSES and classes not in subsets:
        raise SplitError(
            f"no class subset of {classes}; there are {', '.join(map(str, sorted({*subsets, ALL_CLASSES})))}"
        )
    trials = dataset.trials.to_pandas()
    stimuli = dataset.stimuli.to_pandas()[["clip", "block", "concept"]]
    first = trials.groupby("subject")["session"].transform("min")
    trials = trials[trials["session"] == first].merge(stimuli, on="clip", validate="many_to_one")
    if classes == ALL_CLASSES:
        return trials.sort_values("trial", ignore_index=True)
    names = np.asarray(dataset.concepts)[trials["concept"]]
    trials = trials[np.isin(names, subsets[classes])]
    if trials.empty:
        raise SplitError(f"{dataset.name} shows none of the {classes}-class subset; try --classes 40")
    return trials.sort_values("trial", ignore_index=True)


def show_places(dataset: Dataset) -> pd.DataFrame:
    """Block and slot of each clip, by clip. A data set without blocks is one; without slots, as films are, a clip's
    slot is its place in the order of its block."""
    stimuli = dataset.stimuli.to_pandas().set_index("clip")
    block = stimuli["block"] if "block" in stimuli else pd.Series(0, index=stimuli.index)
    order = block.sort_index().groupby(block.sort_index()).cumcount()
    slot = stimuli["slot"] if "slot" in stimuli else order.reindex(stimuli.index)
    return pd.DataFrame({"block": block, "slot": slot})


def part_subjects(subjects: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Known and new subjects: the first three quarters, rounded down, and the rest."""
    known = max(1, int(len(subjects) * KNOWN_SHARE))
    return list(subjects[:known]), list(subjects[known:])


def part_blocks(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Training, validation and test trials by block."""
    blocks = sorted(trials["block"].unique())
    if len(blocks) < 3:
        raise SplitError(f"{len(blocks)} blocks found: train, validation and test need 3 at least")
    train = trials["block"].isin(blocks[:-2])
    return trials[train], trials[trials["block"] == blocks[-2]], trials[trials["block"] == blocks[-1]]


def rows(trials: pd.DataFrame, subjects: list[int]) -> Rows:
    return trials.loc[trials["subject"].isin(subjects), "trial"].to_numpy(np.int64)


def each_clip(trials: pd.DataFrame) -> Rows:
    """The first trial of each clip: subjects need not have seen the same ones, and may have seen one twice."""
    return trials.drop_duplicates("clip")["trial"].to_numpy(np.int64)


def draw_calibration(training: Rows, subject: int) -> Rows:
    """p = 15 % of a new subject's training trials, drawn once for a subject whatever the seed of the run."""
    generator = np.random.default_rng(derive_seed("split", "calibration", subject))
    count = max(1, round(CALIBRATION_SHARE * len(training)))
    return np.sort(generator.choice(training, size=count, replace=False))


def assert_disjoint(fold: Fold, trials: pd.DataFrame) -> None:
    """Check on the trials themselves what the split claims; raises SplitError naming what is shared."""
    table = trials.set_index("trial")
    parts = {
        "train": table.loc[fold.train],
        "validation": table.loc[fold.validation],
        "test": table.loc[fold.test],
        "calibration": table.loc[fold.calibration],
    }

    def refuse_shared(one: str, other: str, column: str) -> None:
        shared = set(parts[one][column]) & set(parts[other][column])
        if shared:
            raise SplitError(f"{fold.split}/{fold.name}: {one} and {other} share {column} {sorted(shared)[:5]}")

    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test"), ("calibration", "test")):
        refuse_shared(one, other, "clip")
        refuse_shared(one, other, "block")
    if fold.split == "new_subject":
        refuse_shared("train", "test", "subject")
        refuse_shared("train", "calibration", "subject")
        refuse_shared("validation", "test", "subject")
    for name in ("train", "validation", "test"):
        if parts[name].empty:
            raise SplitError(f"{fold.split}/{fold.name}: no {name} trials")
