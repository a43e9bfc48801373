"""The phantom's card: what can be decoded from it, measured on the files as any method reads them.

Blocks 1-5 train, block 7 is tested. The linear decoder is ridge regression onto the concepts from cosines up to
12.5 Hz of spatially whitened channels; its penalty was fixed on other seeds. `subject identification` is the same
regression from the logarithm of each channel's power.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from bench.core.progress import track
from bench.datasets.phantom.eeg.features import Features
from bench.datasets.phantom.eeg.head import WINDOW, draw_head
from bench.datasets.phantom.eeg.observer import DRAWS, Truth, cosine_basis
from bench.datasets.phantom.publish import keep_card
from bench.store.cache import digest_code

if TYPE_CHECKING:
    import pandas as pd

    from bench.datasets.seed_dv.layout import SeedDV

RIDGE_COSINES = 50  # up to 12.5 Hz
PENALTY = 3.0  # of the mean eigenvalue of the kernel
POOLED_TRIALS = 4000  # at most, for the pooled decoder
COLUMNS = ("figure", "mean", "lowest", "highest", "chance", "by subject")


def phantom_card(dataset: SeedDV) -> pd.DataFrame:
    """Measured figures of a phantom: a row each, with the value of every subject; cached under the data's digest."""
    return keep_card(dataset, digest_code(__name__), lambda: measure_card(dataset))


def measure_card(dataset: SeedDV) -> pd.DataFrame:
    import pandas as pd

    truth: Truth | None = dataset.truth
    assert truth is not None, "only a phantom has a card"
    chance = f"{1 / len(dataset.concepts):.3f}"
    clip_chance = f"{1 / truth.spec.geometry.block_clips:.3f}"
    rows = []

    def add(figure: str, values: Sequence[float], chance: str = "", digits: int = 3) -> None:
        texts = [f"{value:.{digits}f}" for value in values]
        by_subject = " ".join(texts) if len(values) > 1 else ""
        middle = [f"{function(values):.{digits}f}" for function in (np.mean, np.min, np.max)]
        rows.append((figure, *middle, chance, by_subject))

    observed = observer_accuracies(dataset, truth)
    add("ideal observer, clip, closed set", observed["clip"], clip_chance)
    add("ideal observer, concept, closed set", observed["closed concept"], chance)
    add(f"ideal observer, concept, open set ({DRAWS} draws a concept)", observed["open concept"], chance)
    add("its mean posterior of the concept it chose (calibration)", observed["confidence"])
    decoded = linear_accuracies(dataset)
    add("linear decoder, single subject", decoded["single"], chance)
    add("linear decoder, single subject, top 5", decoded["single top 5"], f"{min(1, 5 / len(dataset.concepts)):.3f}")
    add("linear decoder, pooled, known subjects", decoded["known"], chance)
    add("linear decoder, pooled, new subjects", decoded["new"], chance)
    add("subject identification from one trial", decoded["identity"], f"{1 / len(dataset.subjects):.3f}")
    add("evoked power to noise (dB)", [evoked_ratio(truth, subject) for subject in dataset.subjects], digits=1)
    add("seconds to make", [truth.seconds], digits=0)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def split_trials(dataset: SeedDV) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray], np.ndarray]:
    """Training and test trials of each subject's first session, and the concept of every trial."""
    trials = dataset.trials.to_pandas()
    stimuli = dataset.stimuli.to_pandas()
    block = stimuli["block"].to_numpy()[trials["clip"]]
    concept = stimuli["concept"].to_numpy()[trials["clip"]]
    first = trials["session"].to_numpy() == 1
    train, test = {}, {}
    for subject in dataset.subjects:
        own = first & (trials["subject"].to_numpy() == subject)
        train[subject] = np.flatnonzero(own & (block <= block.max() - 2))
        test[subject] = np.flatnonzero(own & (block == block.max()))
    return train, test, concept


def observer_accuracies(dataset: SeedDV, truth: Truth) -> dict[str, list[float]]:
    _, test, concept = split_trials(dataset)
    each = truth.spec.geometry.block_clips
    out: dict[str, list[float]] = {"clip": [], "closed concept": [], "open concept": [], "confidence": []}
    for subject in track(dataset.subjects, "card: ideal observers"):
        trials = test[subject]
        shown = np.asarray(dataset.trials["clip"])[trials] % each
        clips = truth.clip_posteriors(trials)
        out["clip"].append(float(np.mean(clips.argmax(axis=1) == shown)))
        closed = truth.sum_over_concepts(clips, trials)
        out["closed concept"].append(float(np.mean(closed.argmax(axis=1) == concept[trials])))
        posteriors = truth.concept_posteriors(trials)
        out["open concept"].append(float(np.mean(posteriors.argmax(axis=1) == concept[trials])))
        out["confidence"].append(float(np.exp(posteriors.max(axis=1)).mean()))
    return out


def linear_accuracies(dataset: SeedDV) -> dict[str, list[float]]:
    from bench.core.splits import part_subjects

    train, test, concept = split_trials(dataset)
    known, _ = part_subjects(dataset.subjects)
    inputs = {}
    for subject in track(dataset.subjects, "card: reading recordings"):
        inputs[subject] = {
            part: read_cosines(dataset, trials) for part, trials in (("train", train[subject]), ("test", test[subject]))
        }
    out: dict[str, list[float]] = {"single": [], "single top 5": [], "known": [], "new": [], "identity": []}
    kinds = len(dataset.concepts)
    for subject in track(dataset.subjects, "card: single subjects"):
        mixing = whitening(inputs[subject]["train"])
        scores = ridge_scores(
            flat(mixing, inputs[subject]["train"]),
            concept[train[subject]],
            flat(mixing, inputs[subject]["test"]),
            kinds,
        )
        target = concept[test[subject]]
        out["single"].append(top_accuracy(scores, target, 1))
        out["single top 5"].append(top_accuracy(scores, target, 5))
    every = max(1, -(-sum(len(train[subject]) for subject in known) // POOLED_TRIALS))
    pooled = np.concatenate([inputs[subject]["train"][::every] for subject in known])
    labels = np.concatenate([concept[train[subject]][::every] for subject in known])
    mixing = whitening(pooled)
    tested = np.concatenate([flat(mixing, inputs[subject]["test"]) for subject in dataset.subjects])
    scores = ridge_scores(flat(mixing, pooled), labels, tested, kinds)
    parts = np.split(scores, np.cumsum([len(test[subject]) for subject in dataset.subjects])[:-1])
    for subject, own in zip(dataset.subjects, parts, strict=True):
        out["known" if subject in known else "new"].append(top_accuracy(own, concept[test[subject]], 1))
    power = {part: [log_power(inputs[s][part]) for s in dataset.subjects] for part in ("train", "test")}
    who = {part: np.repeat(np.arange(len(power[part])), [len(p) for p in power[part]]) for part in power}
    stacked = {part: np.concatenate(power[part]) for part in power}
    scores = ridge_scores(stacked["train"], who["train"], stacked["test"], len(dataset.subjects))
    right = scores.argmax(axis=1) == who["test"]
    out["identity"] = [float(right[who["test"] == index].mean()) for index in range(len(dataset.subjects))]
    return out


def read_cosines(dataset: SeedDV, trials: np.ndarray) -> Float64[np.ndarray, "trial 62 cosine"]:
    """The trials in microvolts, low-passed to their first cosines; blinks and all."""
    basis = cosine_basis(RIDGE_COSINES).T * 1e6
    return np.concatenate(
        [dataset.signals(part) @ basis for part in np.array_split(trials, max(1, len(trials) // 128))]
    )


def whitening(inputs: np.ndarray) -> Float64[np.ndarray, "62 62"]:
    """Makes the channels of training trials uncorrelated with unit power; tiny directions are left small."""
    covariance = np.einsum("nct,ndt->cd", inputs, inputs, optimize=True) / (inputs.shape[0] * inputs.shape[2])
    values, vectors = np.linalg.eigh(covariance)
    return (vectors / np.sqrt(values + 1e-3 * values.mean())) @ vectors.T


def flat(mixing: np.ndarray, inputs: np.ndarray) -> Float64[np.ndarray, "trial number"]:
    return np.einsum("dc,nct->ndt", mixing, inputs, optimize=True).reshape(len(inputs), -1)


def log_power(inputs: np.ndarray) -> Float64[np.ndarray, "trial 62"]:
    return np.log((inputs**2).mean(axis=2))


def ridge_scores(
    train: Float64[np.ndarray, "trial number"],
    labels: Int64[np.ndarray, " trial"],
    test: Float64[np.ndarray, "other number"],
    kinds: int,
    penalty: float = PENALTY,
) -> Float64[np.ndarray, "other kind"]:
    """Ridge regression onto indicator columns, in its dual form; scores of the test trials."""
    from scipy.linalg import solve

    centre = train.mean(axis=0)
    train, test = train - centre, test - centre
    targets = np.eye(kinds)[labels]
    kernel = train @ train.T
    kernel[np.diag_indices_from(kernel)] += penalty * np.trace(kernel) / len(kernel)
    return test @ (train.T @ solve(kernel, targets - targets.mean(axis=0), assume_a="pos"))


def top_accuracy(scores: np.ndarray, labels: np.ndarray, count: int) -> float:
    """Share of trials whose label is among the `count` best scores."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    return float(np.mean((scores > own).sum(axis=1) < count))


def evoked_ratio(truth: Truth, subject: int) -> float:
    """Power of what differs between clips to the power of the noise (eyes apart), in dB over the whole cap."""
    head = draw_head(truth.spec, subject)
    each = truth.spec.geometry.block_clips
    clips = Features(truth.features.static[:each], truth.features.courses[:each])
    moments = head.moments(clips)[..., :WINDOW]
    evoked = np.einsum("cd,ndt->nct", head.field, moments - moments.mean(axis=0), optimize=True)
    noise = (head.pink**2).sum(axis=1) + (head.alpha**2).sum(axis=1) + head.sensor**2
    return float(10 * np.log10((evoked**2).mean() / noise.mean()))
