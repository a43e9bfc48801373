"""How subjects' trials lie before and after C-SA and New2Source (Figure 1a), with a number beside each picture.

The paper shows t-SNE pictures. t-SNE draws clusters where there are none and pulls apart what overlaps, so the plane
here is that of the two main components, and each stage is judged by a classifier in the space of all its features:

- `subjects`: how often a linear classifier names the subject of a trial (of known subjects), or tells a new subject's
  trial from a known one's. Chance is one over the number of names: every name counts alike, whatever its trials.
- `concepts`: how often such a classifier names the concept. C-SA could make subjects alike by leaving nothing in the
  features; then this number falls too. For a new subject the classifier learns from the known ones alone.

Trials are those of the validation and the test block: no network, map or statistic was fitted to them. The classifier
is cross-validated: subjects over runs of neighbouring clips (neighbours share slow waves, and no clip is on both
sides), concepts over the blocks. The deviation is that of the mean over clips. What stands for a trial of signals
is the logarithm of its channel covariance, for subjects differ in how channels go together and hardly in single
samples. Its number shows how far apart subjects start; it is not to be compared with those of learned features, which
have another length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from bench.core.contracts import Dataset
from bench.core.errors import BenchError
from bench.core.splits import make_folds, part_blocks, part_subjects, trial_table
from bench.harness.inputs import fold_scalings, training_set
from bench.harness.normalise import normalised
from methods.sam_net.method import SamNet
from methods.sam_net.views import Mapper, Recording

FOLDS = 5  # runs of clips
RIDGE = 0.3  # of the classifiers, in units of the features' mean power
SHRINKAGE = 0.1  # of a trial's covariance: it has few samples
BATCH = 128  # trials encoded at once
WITHOUT = {"progressive": False, "adversary": 0.0}  # the variant wo_csa of ablations.toml

Features = Float64[np.ndarray, "trial feature"]


@dataclass(frozen=True, kw_only=True)
class Trials:
    """Of each trial: whose it is, the clip, its block and concept, and whether the subject is new."""

    subject: Int64[np.ndarray, " trial"]
    clip: Int64[np.ndarray, " trial"]
    block: Int64[np.ndarray, " trial"]
    concept: Int64[np.ndarray, " trial"]
    new: Bool[np.ndarray, " trial"]

    def take(self, rows: np.ndarray) -> Trials:
        return Trials(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One panel: trials and where they lie; `plane` marks those whose main components are the axes."""

    title: str
    trials: Trials
    features: Features
    plane: Bool[np.ndarray, " trial"]
    learned: bool = True  # features of a network, not of signals


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Share of trials named right, its deviation over clips, and what guessing gives."""

    value: float
    deviation: float
    chance: float


def collect_stages(
    dataset: Dataset, suite: Any, *, classes: int = 40, seed: int = 0, parameters: Mapping[str, Any] | None = None
) -> list[Stage]:
    """Fit SAM-Net without and with C-SA on the known subjects, adapt the latter, and read all five stages."""
    own = dict(parameters or {})
    if not part_subjects(dataset.subjects)[1]:
        raise BenchError(f"{dataset.name} has {len(dataset.subjects)} subject: distributions need known and new ones")
    (fold,) = make_folds(dataset, "new_subject", classes=classes)
    scalings = fold_scalings(dataset, fold)
    train, validation = (training_set(dataset, rows, scalings) for rows in (fold.train, fold.validation))
    networks = {}
    for name, changes in (("without", WITHOUT), ("with", {})):
        networks[name] = SamNet(suite=suite, seed=seed, **{**own, **changes})
        networks[name].fit(train, validation)
    method = networks["with"]
    before = dict(method.maps)
    method.adapt(training_set(dataset, fold.calibration, scalings))
    after = method.maps

    rows, trials = describe_held_out(dataset, classes)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("signals", "without", "with", "mapped")}
    for subject in np.unique(trials.subject):  # one in memory at a time
        mine = rows[trials.subject == subject]
        recorded = normalised(dataset, mine, np.full(len(mine), subject), scalings)
        recording = method.prepare(recorded, dataset.sampling_rate)
        parts["signals"].append(measure_log_covariance(recording.slow))
        parts["without"].append(encode(networks["without"], recording))
        parts["with"].append(encode(method, recording, before.get(int(subject))))
        parts["mapped"].append(encode(method, recording, after.get(int(subject))))
    found = {name: np.concatenate(part) for name, part in parts.items()}
    known, everybody = ~trials.new, np.ones_like(trials.new)
    stage = Stage(title="", trials=trials, features=found["with"], plane=known)
    alone = replace(stage, trials=trials.take(known), plane=everybody[known])
    return [
        replace(stage, title="signals", features=found["signals"], plane=everybody, learned=False),
        replace(alone, title="features without C-SA", features=found["without"][known]),
        replace(alone, title="features with C-SA", features=found["with"][known]),
        replace(stage, title="new subjects before New2Source"),
        replace(stage, title="new subjects after New2Source", features=found["mapped"]),
    ]


def describe_held_out(dataset: Dataset, classes: int) -> tuple[Int64[np.ndarray, " trial"], Trials]:
    """Rows of the trials of the last two blocks, subject by subject, and what is known of them."""
    table = pd.concat(part_blocks(trial_table(dataset, classes))[1:]).sort_values(["subject", "clip", "trial"])
    new = table["subject"].isin(part_subjects(dataset.subjects)[1]).to_numpy()
    columns = {name: table[name].to_numpy(np.int64) for name in ("subject", "clip", "block", "concept")}
    return table["trial"].to_numpy(np.int64), Trials(**columns, new=new)


@torch.inference_mode()
def encode(method: SamNet, recording: Recording, mapper: Mapper | None = None) -> Features:
    """The encoder's features of one subject's trials, laid out in a row; through a map where it has one.

    Powers are brought to the level of these very trials.
    """
    decoder = method.trained()
    views = method.viewer.view(recording, mapper=mapper)
    parts = [decoder.encoder(part).flatten(1) for part in views.split(BATCH)]
    return torch.cat(parts).double().cpu().numpy()


def measure_log_covariance(signals: Tensor) -> Features:
    """The matrix logarithm of each trial's channel covariance, upper triangle, (B, C (C + 1) / 2)."""
    x = signals.double()
    covariance = x @ x.transpose(1, 2) / x.shape[2]  # (B, C, C)
    channels = covariance.shape[1]
    level = covariance.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-12)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * level[:, None, None] * torch.eye(channels).to(covariance)
    values, vectors = torch.linalg.eigh(covariance)
    logarithm = vectors * values.log()[:, None] @ vectors.transpose(1, 2)
    upper = torch.triu_indices(channels, channels)
    return logarithm[:, upper[0], upper[1]].cpu().numpy()


def measure_separability(stage: Stage) -> dict[str, Accuracy | None]:
    """`subjects` and `concepts` of a stage, as the module's docstring has them; None for concepts of signals."""
    trials = stage.trials
    runs = cut_runs(trials.clip, FOLDS)
    tells = trials.new.astype(np.int64) if trials.new.any() and stage.learned else trials.subject
    concepts = None
    if stage.learned:
        tested = trials.new if trials.new.any() else ~trials.new
        concepts = score_labels(stage.features, trials.concept, trials.block, trials.clip, ~trials.new, tested)
    return {"subjects": score_labels(stage.features, tells, runs, trials.clip), "concepts": concepts}


def cut_runs(clips: Int64[np.ndarray, " trial"], count: int) -> Int64[np.ndarray, " trial"]:
    """For each trial, the number of the run of neighbouring clips that its clip is in."""
    names, place = np.unique(clips, return_inverse=True)
    return place * min(count, len(names)) // len(names)


def score_labels(
    features: Features,
    labels: Int64[np.ndarray, " trial"],
    folds: Int64[np.ndarray, " trial"],
    clips: Int64[np.ndarray, " trial"],
    learned: Bool[np.ndarray, " trial"] | None = None,
    tested: Bool[np.ndarray, " trial"] | None = None,
) -> Accuracy:
    """Share of each fold's `tested` trials that a classifier names right, learned from other folds' `learned` ones.

    Averaged over the trials of a label and then over labels. Raises BenchError for a single fold or label.
    """
    names = np.unique(labels)
    if len(np.unique(folds)) < 2 or len(names) < 2:
        raise BenchError(f"{len(np.unique(folds))} folds and {len(names)} labels: separability needs two of each")
    everybody = np.ones(len(labels), dtype=bool)
    learned, tested = (everybody if mask is None else mask for mask in (learned, tested))
    right = np.zeros(len(labels))
    for fold in np.unique(folds):
        train, test = (folds != fold) & learned, (folds == fold) & tested
        right[test] = classify(features[train], labels[train], features[test]) == labels[test]
    counts = {name: int((labels[tested] == name).sum()) for name in names}
    present = sum(count > 0 for count in counts.values())
    weight = np.array([1 / max(1, counts[name]) / present for name in labels])[tested]
    by_clip = pd.DataFrame({"clip": clips[tested], "right": weight * right[tested], "weight": weight})
    sums = by_clip.groupby("clip")[["right", "weight"]].sum().to_numpy()
    value = round(float(sums[:, 0].sum()), 12)  # a sum of shares: all right is 1
    spread = (sums[:, 0] - value * sums[:, 1]).round(12)  # the ratio's linearisation: clips may have unequal trials
    deviation = float(np.sqrt(len(sums) / max(1, len(sums) - 1) * (spread**2).sum()))
    return Accuracy(value=value, deviation=deviation, chance=1 / len(names))


def classify(train: Features, labels: Int64[np.ndarray, " trial"], test: Features) -> Int64[np.ndarray, " trial"]:
    """Ridge regression to one-hot labels on standardised features; every label has the same weight in all."""
    names, place, count = np.unique(labels, return_inverse=True, return_counts=True)
    weight = 1 / (len(names) * count[place])  # sums to one
    mean = weight @ train
    deviation = np.sqrt(weight @ (train - mean) ** 2)
    scale = np.where(deviation > 1e-12 * max(deviation.max(), 1e-300), deviation, np.inf)
    root = np.sqrt(weight)[:, None]
    x, y = root * (train - mean) / scale, root * (np.eye(len(names))[place] - 1 / len(names))
    if len(x) < x.shape[1]:  # the same solution from the smaller of two matrices
        solution = x.T @ np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x)), y)
    else:
        solution = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return names[((test - mean) / scale @ solution).argmax(axis=1)]


def find_plane(stage: Stage) -> tuple[Float64[np.ndarray, "trial 2"], Float64[np.ndarray, " 2"]]:
    """Trials in the plane of the two main components of those that the stage marks, and the components' shares."""
    marked = stage.features[stage.plane]
    mean = marked.mean(axis=0)
    _, values, directions = np.linalg.svd(marked - mean, full_matrices=False)
    directions = directions[:2] * np.sign(directions[:2].sum(axis=1, keepdims=True))  # a component has no sign
    return (stage.features - mean) @ directions.T, values[:2] ** 2 / (values**2).sum()


def tabulate_stages(stages: Sequence[Stage]) -> pd.DataFrame:
    """A row a stage: what the classifiers tell apart, how often they are right, and what chance gives."""
    rows = []
    for stage in stages:
        mixed = stage.trials.new.any() and stage.learned
        found = measure_separability(stage)
        for what, accuracy in found.items():
            if accuracy is not None:
                names = {"subjects": "new or known" if mixed else "which subject", "concepts": "which concept"}
                rows.append(
                    {
                        "stage": stage.title,
                        "told apart": names[what],
                        "right": accuracy.value,
                        "deviation": accuracy.deviation,
                        "chance": accuracy.chance,
                        "subjects": len(np.unique(stage.trials.subject)),
                        "trials": len(stage.features),
                    }
                )
    return pd.DataFrame(rows)
