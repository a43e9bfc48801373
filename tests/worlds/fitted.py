"""Methods of the registry, fitted on a few trials of a tiny phantom in this process, as briefly as they can be."""

from __future__ import annotations

import dataclasses
import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.core.contracts import BrainData, TrainingSet
from bench.core.registry import modality_of, resolve, role_of
from bench.core.splits import make_folds
from bench.datasets.catalogue import open_dataset
from bench.harness import inputs, inside, run_cell

EEG, FMRI = "phantom_eeg:tiny", "phantom_fmri:tiny"
BRIEF = {"category_least": 2, "strength": 0.6, "epochs": 0.1}  # enough to enter every loop


def list_datasets(method: str) -> tuple[str, ...]:
    """The tiny phantoms that a method decodes."""
    return {"eeg": (EEG,), "fmri": (FMRI,), "none": (EEG,), "any": (EEG, FMRI)}[modality_of("methods", method)]


def shorten(made: Any, suite: Any) -> dict[str, Any]:
    """Parameters of a method that say how long it works, at their least."""
    own = getattr(made(suite=suite), "parameters", None)
    fields = list(vars(own) if dataclasses.is_dataclass(own) else inspect.signature(made).parameters)
    counts = {"steps": 3, "epochs": 0.1, "batch_size": 8, "samples": 2, "draws": 2}
    brief = {one: value for one in fields for end, value in counts.items() if one.endswith(end)}
    return brief | {one: value for one, value in BRIEF.items() if one in fields}


def thin(rows: np.ndarray, count: int) -> np.ndarray:
    """At most so many rows, spread over all."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


class Fitted:
    """A method after `fit` and `adapt`, as the runner calls them, on a few trials of a tiny phantom."""

    def __init__(self, name: str, dataset: str, suite: Any, **parameters: Any) -> None:
        made = resolve("methods", name)
        self.name, self.dataset = name, open_dataset(dataset)
        self.split = "clips" if made.modality == "none" else "new_subject"
        fold = make_folds(self.dataset, self.split)[0]
        counts = {"train": 24, "validation": 6, "calibration": 4, "test": 2}
        rows = {part: thin(getattr(fold, part), count) for part, count in counts.items()}
        self.fold = dataclasses.replace(fold, **rows)
        self.scalings = inputs.fold_scalings(self.dataset, self.fold)
        self.method = made(suite=suite, seed=0, **{**shorten(made, suite), **parameters})
        self.method.fit(self.part("train"), self.part("validation"))
        if len(self.fold.calibration):
            self.method.adapt(self.part("calibration"))

    def part(self, name: str) -> TrainingSet:
        return inputs.training_set(self.dataset, getattr(self.fold, name), self.scalings)

    def reconstruct(self) -> np.ndarray:
        spec: Any = SimpleNamespace(method=self.name, split=self.split, seed=0)
        job: Any = SimpleNamespace(spec=spec, variant="base", role=role_of(self.name))
        here: Any = InThisProcess(self.method)
        return np.stack(list(run_cell.reconstruct(here, job, self.dataset, self.fold, self.scalings)))


class InThisProcess:
    """A method as `MethodProcess` has it, with the process left out: the pretence does not reach into another one."""

    def __init__(self, method: Any) -> None:
        self.method = method

    def reconstruct(self, brain: BrainData, *, shape: tuple[int, ...], answers: Any, schedule: Any) -> np.ndarray:
        if answers is not None:  # clips lie in memory there
            answers = dataclasses.replace(answers, test=dataclasses.replace(answers.test, video=answers.test.video[:]))
        _, video = inside.reconstruct(self.method, brain, answers, schedule)
        assert video is not None and video.shape == shape
        return video
