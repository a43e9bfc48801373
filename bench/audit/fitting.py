"""Audit of the normalisation: is anything that a method is given fitted on test data?

Reading the code is no proof, so the audit acts: it makes every test trial ten times as strong and moves it, measures
the statistics again, and compares. Statistics of training (and calibration) trials do not move by a bit; any that saw
a test trial does. The inputs that a method trains on are compared too, for a harness may scale them elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from bench.audit.findings import FOUND, NAN, OK, Finding
from bench.core.contracts import Dataset
from bench.core.splits import SPLITS, Fold, SplitError, make_folds
from bench.harness.inputs import fold_scalings, measured_subject
from bench.harness.normalise import Scaling, normalised

Measure = Callable[[Dataset, Fold], dict[int, Scaling]]
PROBED = 32  # training trials whose normalised values are compared


@dataclass(frozen=True)
class Altered:
    """A data set whose signals or videos are changed on the way; all else is the data set's own."""

    dataset: Any
    change_signals: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # (trials, signals) -> signals
    change_video: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # (clips, video) -> video
    stimuli: Any = None

    def __post_init__(self) -> None:
        if self.stimuli is None:
            object.__setattr__(self, "stimuli", self.dataset.stimuli)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def signals(self, trials: Sequence[int] | np.ndarray) -> np.ndarray:
        signals = self.dataset.signals(trials)
        return signals if self.change_signals is None else self.change_signals(np.asarray(trials), signals)

    def video(self, clips: Sequence[int] | np.ndarray) -> np.ndarray:
        video = self.dataset.video(clips)
        return video if self.change_video is None else self.change_video(np.asarray(clips), video)


def strengthen(dataset: Dataset, trials: np.ndarray) -> Dataset:
    """The data set with these trials ten times as strong, and moved by as much."""

    def change(asked: np.ndarray, signals: np.ndarray) -> np.ndarray:
        hit = np.isin(asked, trials)
        if not hit.any():
            return signals
        changed = signals.copy()
        changed[hit] = 10 * signals[hit] + 10 * np.abs(signals[hit]).max()
        return changed

    return cast(Dataset, Altered(dataset, change_signals=change))


def audit_fitting(
    dataset: Dataset, splits: Sequence[str] = SPLITS, *, measure: Measure = fold_scalings
) -> list[Finding]:
    """One finding a split, on its first fold. `measure` is what the harness scales by."""
    findings = []
    for split in splits:
        try:
            fold = make_folds(dataset, split)[0]
        except SplitError:  # disjointness says why
            continue
        findings.append(compare_scalings(dataset, fold, measure))
    return findings


def compare_scalings(dataset: Dataset, fold: Fold, measure: Measure) -> Finding:
    """Largest change of a scaling or of a normalised training value, in deviations, when the test trials change."""
    other = strengthen(dataset, fold.test)
    before, after = measure(dataset, fold), measure(other, fold)
    change = 0.0 if before.keys() == after.keys() else np.inf
    for subject in before.keys() & after.keys():
        one, two = before[subject], after[subject]
        change = max(change, float(np.abs((two.mean - one.mean) / one.deviation).max()))
        change = max(change, float(np.abs(two.deviation / one.deviation - 1).max()))
    rows = fold.train[:: max(1, len(fold.train) // PROBED)]
    who = measured_subject(dataset, rows)
    inputs = [np.asarray(normalised(d, rows, who, s)[:]) for d, s in ((dataset, before), (other, after))]
    change = max(change, float(np.abs(inputs[1] - inputs[0]).max()))
    return Finding(
        audit="fitted on test",
        subject_of=f"{fold.split}/{fold.name}",
        statistic="change of scalings and training inputs, deviations",
        value=change,
        null="0",
        p_value=NAN,
        verdict=FOUND if change > 0 else OK,
        meaning="normalisation depends on test trials: fit it on fold.train (and fold.calibration) alone"
        if change > 0
        else "test trials ten times as strong change nothing that a method trains on",
    )
