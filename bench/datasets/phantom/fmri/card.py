"""The card of an fMRI phantom: what its own likelihood tells with and without each region, and what ridge learns.

The open-set concept observer (`fmri_observer`) is asked about the test trials, as a method gets them: averaged over
repeats where there are some. Its row "without …" looks at all voxels but those of the regions named: by how much a
decoder that is denied them can at most suffer. The hippocampus and mPFC of the phantom carry what was seen before of
the same kind and no picture. The linear decoder is ridge regression from the voxels (all five volumes in CineBrain's
layout) onto the concepts, within a subject; voxels of two subjects do not correspond, so nothing is pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.progress import track
from bench.datasets.phantom.eeg.card import COLUMNS, ridge_scores, top_accuracy
from bench.datasets.phantom.publish import keep_card
from bench.store.cache import digest_code

if TYPE_CHECKING:
    import pandas as pd

LEFT_OUT = (("V1", "V2", "V3", "V4"), ("MT",), ("LOC", "ventral"), ("auditory",), ("hippocampus",), ("mPFC",))
TOGETHER = ("hippocampus", "mPFC")
CLIP = "ideal observer, clip, closed set (of the test clips)"
CALIBRATION = "its mean posterior of the concept it chose (calibration)"
TOP_FIVE = "linear decoder, single subject, top 5"
PENALTY = 1.0  # of the mean eigenvalue of the kernel, fixed on other seeds


def fmri_card(dataset: Any) -> pd.DataFrame:
    """Measured figures of a phantom: a row each, with the value of every subject; cached under the data's digest."""
    return keep_card(dataset, digest_code(__name__), lambda: measure_fmri_card(dataset))


def measure_fmri_card(dataset: Any) -> pd.DataFrame:
    import pandas as pd

    chance = f"{1 / len(dataset.concepts):.3f}"
    rows = []

    def add(figure: str, values: Sequence[float], chance: str = "", digits: int = 3) -> None:
        texts = [f"{value:.{digits}f}" for value in values]
        middle = [f"{function(values):.{digits}f}" for function in (np.mean, np.min, np.max)]
        rows.append((figure, *middle, chance, " ".join(texts) if len(values) > 1 else ""))

    figures: dict[str, list[float]] = {}
    for subject in track(dataset.subjects, "card: observers and decoders"):
        for figure, value in measure_subject(dataset, subject).items():
            figures.setdefault(figure, []).append(value)
    chances = {
        CLIP: f"{1 / len(testing_rows(dataset, dataset.subjects[0])):.3f}",
        CALIBRATION: "",
        TOP_FIVE: f"{min(1, 5 / len(dataset.concepts)):.3f}",
    }
    for figure, values in figures.items():
        add(figure, values, chances.get(figure, chance))
    add("voxels" if dataset.modality == "fmri" else "channels", list(dataset.voxels.values()), digits=0)
    add("seconds to make", [dataset.truth.seconds], digits=0)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def measure_subject(dataset: Any, subject: int) -> dict[str, float]:
    """Accuracies of the observers and of ridge on the subject's test trials."""
    truth = dataset.truth
    trials = testing_rows(dataset, subject)
    clip = np.asarray(dataset.trials["clip"])
    concept = np.asarray(dataset.stimuli["concept"])[clip]
    posteriors = truth.concept_posteriors(trials)
    closed, candidates = truth.clip_posteriors(trials)
    best = np.take_along_axis(candidates, closed.argmax(axis=1)[:, None], axis=1)[:, 0]

    def accuracy(scores: np.ndarray) -> float:
        return float(np.mean(scores.argmax(axis=1) == concept[trials]))

    out = {
        CLIP: float(np.mean(best == clip[trials])),
        "ideal observer, concept, open set": accuracy(posteriors),
    }
    if dataset.modality == "fmri":
        for regions in (*LEFT_OUT, TOGETHER):
            name = f"ideal observer, concept, open set, without {' and '.join(regions)}"
            out[name] = accuracy(truth.concept_posteriors(trials, without=regions))
        others = tuple(dict.fromkeys(region for region in dataset.rois[subject] if region not in TOGETHER))
        name = f"ideal observer, concept, open set, {' and '.join(TOGETHER)} alone"
        out[name] = accuracy(truth.concept_posteriors(trials, without=others))
    out[CALIBRATION] = float(np.exp(posteriors.max(axis=1)).mean())
    train = training_rows(dataset, subject)
    inputs = [dataset.signals(part).reshape(len(part), -1).astype(np.float64) for part in (train, trials)]
    scores = ridge_scores(inputs[0], concept[train], inputs[1], len(dataset.concepts), PENALTY)
    out["linear decoder, single subject"] = accuracy(scores)
    out[TOP_FIVE] = top_accuracy(scores, concept[trials], 5)
    return out


def blocks_of(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Subject and block of every trial."""
    block = np.asarray(dataset.stimuli["block"])[np.asarray(dataset.trials["clip"])]
    return np.asarray(dataset.trials["subject"]), block


def testing_rows(dataset: Any, subject: int) -> np.ndarray:
    who, block = blocks_of(dataset)
    return np.flatnonzero((who == subject) & (block == block.max()))


def training_rows(dataset: Any, subject: int) -> np.ndarray:
    who, block = blocks_of(dataset)
    return np.flatnonzero((who == subject) & (block <= block.max() - 2))
