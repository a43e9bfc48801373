"""What a method is given of a fold: normalised signals with the clips that were shown, and the seed of each trial."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np

from bench.core.contracts import Dataset, Schedule, TrainingSet
from bench.core.hardware import AUTO
from bench.core.seeds import derive_seed
from bench.core.spec import CellSpec
from bench.core.splits import Fold, show_places
from bench.datasets.catalogue import open_dataset
from bench.harness.normalise import Scaling, measure_scalings, normalised
from bench.toolbox.rows import Clips


def fold_scalings(dataset: Dataset, fold: Fold) -> dict[int, Scaling]:
    """Scalings from training trials, and from calibration trials for subjects that are new."""
    learned = np.concatenate([fold.train, fold.calibration])
    return measure_scalings(dataset, learned, measured_subject(dataset, learned))


def measured_subject(dataset: Dataset, trials: np.ndarray) -> np.ndarray:
    return np.asarray(dataset.trials["subject"], dtype=np.int64)[trials]


def measured_clip(dataset: Dataset, trials: np.ndarray) -> np.ndarray:
    return np.asarray(dataset.trials["clip"], dtype=np.int64)[trials]


def describe_trials(dataset: Dataset, trials: np.ndarray, spec: CellSpec) -> Any:
    """Table of the trials with the seed of each: trial, subject, clip, block, concept, seed.

    The subject of a brainless cell is 0: it belongs to none.
    """
    import pandas as pd

    table = dataset.trials.to_pandas().set_index("trial").loc[trials].reset_index()
    stimuli = dataset.stimuli.to_pandas().set_index("clip")[["block", "concept"]]
    subject = np.zeros(len(table), np.int64) if spec.split == "clips" else table["subject"].to_numpy(np.int64)
    clip = table["clip"].to_numpy(np.int64)
    return pd.DataFrame(
        {
            "trial": trials,
            "subject": subject,
            "clip": clip,
            "block": stimuli.loc[clip, "block"].to_numpy(np.int64),
            "concept": stimuli.loc[clip, "concept"].to_numpy(np.int64),
            "seed": [derive_seed("trial", spec.seed, int(s), int(c)) for s, c in zip(subject, clip, strict=True)],
        }
    )


def read_schedule(dataset: Dataset, fold: Fold, clips: np.ndarray) -> Schedule:
    """When the clips of the fold's training and validation trials were shown, and these `clips`: no label of any."""
    places = show_places(dataset)
    shown = np.asarray(dataset.trials["clip"], dtype=np.int64)
    learned = {"train_": np.unique(shown[fold.train]), "validation_": np.unique(shown[fold.validation]), "": clips}
    return Schedule(
        **{
            f"{part}{name}": places.loc[rows, name].to_numpy(np.int64)
            for part, rows in learned.items()
            for name in ("block", "slot")
        }
    )


def show_set(dataset: Dataset, trials: np.ndarray, scalings: dict[int, Scaling]) -> TrainingSet:
    """The trials with the clips that were shown, each clip once; clips too are read when they are indexed."""
    subject = measured_subject(dataset, trials)
    clips, clip = np.unique(np.asarray(dataset.trials["clip"], dtype=np.int64)[trials], return_inverse=True)
    shown = dataset.stimuli.select(clips)
    video: Any = Clips(dataset, clips)
    return TrainingSet(
        brain=normalised(dataset, trials, subject, scalings),
        subject=subject,
        clip=clip.astype(np.int64),
        video=video,
        captions=tuple(shown["caption"]),
        concepts=np.asarray(shown["concept"], dtype=np.int64),
        channels=dataset.channels,
        sampling_rate=dataset.sampling_rate,
        rois=dataset.rois,
    )


def training_set(dataset: Dataset, trials: np.ndarray, scalings: dict[int, Scaling]) -> TrainingSet:
    """The same with all clips in memory, for a method that runs in this process."""
    shown = show_set(dataset, trials, scalings)
    return replace(shown, video=shown.video[:])


@functools.cache
def open_once(name: str, data_root: str | None) -> Dataset:
    """One data set a process: opening it again for each cell would read its tables again."""
    return open_dataset(name, data_root=data_root)


@functools.cache
def load_once(load: Any, name: str, device: str = AUTO, memory: int | None = None) -> Any:
    return load(name, device=device, memory=memory)
