"""The card of an fMRI phantom: what can be read from it, by its own likelihood and by readers that learn from files.

Test trials are asked, as a method gets them: averaged over repeats where there are some. The ideal observer is
`observer`'s, a bound from below; "without" a region it looks at all other voxels, "without conjunctions" it cannot use
what a caption says beside the concept (what moves, where), "without arousal" it takes the noise as always the same, and
without both it is the best linear reader. Readers that learn (`readers`) are given all segments but the last training
one, which validates, and the test. Voxels of two subjects do not correspond: pooled readers go by the voxels' numbers,
and a map takes a new subject's voxels to each known subject's, from the calibration trials of the split, whose readers'
scores are averaged. Brightness is that of the picture on a grid of 4 × 4, the coarsest of latents.

Rows "in bits" are the information about the concept: the mean logarithm of its posterior, over that of chance. They
tell rows apart where accuracies are near one. Rows "lost" are the **planted effects**, which ablations are held
against: what the ideal observer and the linear reader lose, subject by subject, without a region, a condition or a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.paths import available_cores
from bench.core.progress import track
from bench.datasets.phantom.eeg.card import COLUMNS, shorten_card
from bench.datasets.phantom.fmri.features import GROUPS
from bench.datasets.phantom.fmri.readers import (
    MAP_PENALTY,
    Discriminant,
    fit_layers,
    fit_linear,
    fit_ridge,
    sum_layers,
    top_accuracy,
)
from bench.datasets.phantom.fmri.spec import FmriSpec
from bench.datasets.phantom.publish import committed_card, keep_card
from bench.datasets.phantom.stimuli import ACTIONS, SCENES
from bench.store.cache import digest_code

if TYPE_CHECKING:
    import pandas as pd

CARDS = Path(__file__).with_name("cards")
EARLY = ("V1", "V2", "V3")
TOGETHER = ("hippocampus", "mPFC")
LEFT_OUT = (EARLY, ("V4",), ("MT",), ("LOC",), ("ventral",), ("auditory",), ("hippocampus",), ("mPFC",), TOGETHER)
IDEAL = "ideal observer, concept"
LINEAR = "linear reader, own trials, concept"
LAYERS = "three layers, own trials, concept"
GAIN = "three layers minus linear reader (95 % interval over clips)"
WITHOUT_MAP = "linear readers of known subjects, new subjects without a map"
WITH_MAP = "linear readers of known subjects, new subjects with a ridge map from their calibration trials"
BLIND = {
    "conjunctions": ("arousal",),
    "arousal": ("conjunctions",),
    "both (the best linear reader)": (),
}
IDENTITY_TRIALS = 300  # of each subject, that tell which subject a trial is of


@dataclass(frozen=True)
class Session:
    """What readers are given of a subject: trials and what they show."""

    train: np.ndarray  # f64 [trial, voxel * volume]
    test: np.ndarray
    train_clips: np.ndarray
    test_clips: np.ndarray
    calibration: np.ndarray  # of the training trials, those that a new subject gives
    regions: np.ndarray  # of each number of a trial


def fmri_card(dataset: Any) -> pd.DataFrame:
    """Figures of a phantom: a row each, with the value of every subject; those that ship with the code, or measured."""
    shipped = shipped_card(dataset.truth.spec, dataset.modality)
    if shipped is not None:
        return shipped
    return shorten_card(keep_card(dataset, digest_code(__name__), lambda: measure_card(dataset)))


def shipped_card(spec: FmriSpec, modality: str) -> pd.DataFrame | None:
    """The card of a phantom that ships with the code, if it does: nothing need be made to see it."""
    card = committed_card(card_file(spec, modality), spec)
    return None if card is None else shorten_card(card)


def card_file(spec: FmriSpec, modality: str) -> Path:
    """Where the card of a size and a view of it ships with the code, if it does."""
    view = "" if modality == "fmri" else f"_{modality}"
    return CARDS / f"{spec.layout}{view}-{spec.size}.csv"


def measure_card(dataset: Any, *, processes: int | None = None) -> pd.DataFrame:
    """The card, measured: half a minute a subject of the default size on one core, minutes of a `study` size."""
    import pandas as pd
    from joblib import Parallel, delayed

    dataset.truth.simulated  # noqa: B018  # made once, not by every process
    with Parallel(n_jobs=processes or available_cores(), return_as="generator", max_nbytes=None) as parallel:
        jobs = (delayed(measure_subject)(dataset, subject) for subject in dataset.subjects)
        measured = list(track(parallel(jobs), "card: subjects", total=len(dataset.subjects)))
    kinds = len(dataset.concepts)
    chances = {", clip": 1 / len(testing_rows(dataset, dataset.subjects[0])), ", action": 0.1, ", place": 0.25}
    chances |= {"top 5": min(1, 5 / kinds), "which subject": 1 / len(dataset.subjects)}
    unitless = ("in bits", "(calibration)", "brightness", "lost", "minus", "repeats", "voxels", "channels", "seconds")
    rows = []

    def add(figure: str, values: Sequence[float], digits: int = 6) -> None:
        plain = any(word in figure for word in unitless)
        chance = next((value for what, value in chances.items() if what in figure), 1 / kinds)
        texts = [f"{value:.{digits}f}" for value in values]
        middle = [f"{function(values):.{digits}f}" for function in (np.mean, np.min, np.max)]
        by_subject = " ".join(texts) if len(values) > 1 else ""
        rows.append((figure, *middle, "" if plain else f"{chance:.3f}", by_subject))

    figures = {name: [one[name] for one, _, _ in measured] for name in measured[0][0]}
    for figure, values in figures.items():
        add(figure, values)
    middle, half = paired_interval([(session, right) for _, session, right in measured])
    rows.append((GAIN, *(f"{value:.6f}" for value in (middle, middle - half, middle + half)), "", ""))
    sessions = {subject: session for subject, (_, session, _) in zip(dataset.subjects, measured, strict=True)}
    across = compare_subjects(dataset, sessions)
    for figure, values in across.items():
        add(figure, values)
    for figure, values in lose(figures, across).items():
        add(figure, values)
    add("voxels" if dataset.modality == "fmri" else "channels", list(dataset.voxels.values()), digits=0)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def measure_subject(dataset: Any, subject: int) -> tuple[dict[str, float], Session, np.ndarray]:
    """The observer's and the own readers' figures, what they read, and by how much three layers are righter a trial."""
    session = read_session(dataset, subject)
    out = ask_observer(dataset, subject, session)
    concept, action, place = labels_of(dataset).values()
    shown, asked = session.train_clips, session.test_clips
    kinds = len(dataset.concepts)

    def learn(keep: np.ndarray) -> np.ndarray:
        reader = fit_linear(session.train[:, keep], concept[shown], kinds)
        return reader.score(session.test[:, keep])

    every = np.ones(session.train.shape[1], bool)
    scores = learn(every)
    out[LINEAR] = top_accuracy(scores, concept[asked])
    out["linear reader, own trials, top 5"] = top_accuracy(scores, concept[asked], 5)
    for regions in region_sets(dataset, subject):
        without = learn(~np.isin(session.regions, regions))
        out[f"{LINEAR}, without {' and '.join(regions)}"] = top_accuracy(without, concept[asked])
    for what, labels, count in (("action", action, len(ACTIONS)), ("place", place, len(SCENES))):
        reader = fit_linear(session.train, labels[shown], count)
        out[f"linear reader, own trials, {what}"] = top_accuracy(reader.score(session.test), labels[asked])
    out |= read_brightness(dataset, session)
    counts = {"concept": kinds, "action": len(ACTIONS), "scene": len(SCENES)}
    told = {"concept": concept[shown], "action": action[shown], "scene": place[shown]}
    cells = fit_layers(session.train, told, counts).score(session.test)
    layers = sum_layers(cells, counts, "concept")
    out[LAYERS] = top_accuracy(layers, concept[asked])
    for what, name, truth in (("action", "action", action), ("scene", "place", place)):
        out[f"three layers, own trials, {name}"] = top_accuracy(sum_layers(cells, counts, what), truth[asked])
    out |= measure_reliability(dataset, subject)
    right = [one.argmax(axis=1) == concept[asked] for one in (layers, scores)]
    return out, session, right[0].astype(float) - right[1]


def ask_observer(dataset: Any, subject: int, session: Session) -> dict[str, float]:
    """What the ideal observer reads, with everything and without each region and condition."""
    truth, trials = dataset.truth, testing_rows(dataset, subject)
    concept, action, place = (labels[session.test_clips] for labels in labels_of(dataset).values())
    out: dict[str, float] = {}

    def add_clip(figure: str, regions: tuple[str, ...] = ()) -> None:
        posteriors, candidates = truth.clip_posteriors(trials, without=regions)
        best = np.take_along_axis(candidates, posteriors.argmax(axis=1)[:, None], axis=1)[:, 0]
        out[figure] = float(np.mean(best == session.test_clips))

    def add_concept(figure: str, **limits: Any) -> np.ndarray:
        posteriors = truth.posteriors(trials, **limits)
        out[figure] = top_accuracy(posteriors, concept)
        told = np.take_along_axis(posteriors, concept[:, None], axis=1).mean() / np.log(2)
        out[f"{figure}, in bits"] = float(told + np.log2(posteriors.shape[1]))
        return posteriors

    whole = add_concept(IDEAL)
    out["its mean posterior of the concept it chose (calibration)"] = float(np.exp(whole.max(axis=1)).mean())
    for what, knows in BLIND.items():
        add_concept(f"{IDEAL}, without {what}", knows=knows)
    out["ideal observer, action"] = top_accuracy(truth.posteriors(trials, "action"), action)
    out["ideal observer, place"] = top_accuracy(truth.posteriors(trials, "scene"), place)
    add_clip("ideal observer, clip, closed set (of the test clips)")
    for regions in region_sets(dataset, subject):
        named = " and ".join(regions)
        add_concept(f"{IDEAL}, without {named}", without=regions)
        add_clip(f"ideal observer, clip, without {named}", regions)
    if dataset.modality == "fmri":
        others = tuple(dict.fromkeys(region for region in dataset.rois[subject] if region not in TOGETHER))
        add_concept(f"{IDEAL}, {' and '.join(TOGETHER)} alone", without=others)
    return out


def region_sets(dataset: Any, subject: int) -> list[tuple[str, ...]]:
    """What is left out in turn; nothing of an EEG, and no auditory cortex where films are silent."""
    if dataset.modality == "eeg":
        return []
    return [regions for regions in LEFT_OUT if dataset.truth.spec.sound or "auditory" not in regions]


def read_brightness(dataset: Any, session: Session) -> dict[str, float]:
    """Correlation of ridge's 16 numbers with the true ones, over test clips; of all voxels and without early ones."""
    light = dataset.truth.features[:, :, GROUPS["light"]].mean(axis=1).astype(np.float64)
    out = {}
    for name, regions in (("", ()), (f", without {' and '.join(EARLY)}", EARLY)):
        keep = ~np.isin(session.regions, regions)
        if not keep.all() or not regions:
            found = fit_ridge(session.train[:, keep], light[session.train_clips]).score(session.test[:, keep])
            pairs = zip(found.T, light[session.test_clips].T, strict=True)
            out[f"ridge, own trials, brightness{name}"] = float(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))
    return out


def measure_reliability(dataset: Any, subject: int) -> dict[str, float]:
    """Correlation over clips of a voxel's two training repeats, by region, and of halves of the test repeats."""
    if not hasattr(dataset, "recording"):
        return {}
    regions = np.asarray(dataset.rois[subject])

    def correlate(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        one, other = ((part - part.mean(axis=0)) / (part.std(axis=0) + 1e-12) for part in (one, other))
        return (one * other).mean(axis=0)

    train, test = (dataset.recording(subject, part).astype(np.float64) for part in ("train", "test"))
    twice = correlate(train[:, 0], train[:, 1])
    halves = correlate(test[:, 0::2].mean(axis=1), test[:, 1::2].mean(axis=1))
    out = {f"two repeats of a clip, {name}": float(twice[regions == name].mean()) for name in dict.fromkeys(regions)}
    out["halves of the test repeats, all voxels"] = float(halves.mean())
    return out


def compare_subjects(dataset: Any, sessions: Mapping[int, Session]) -> dict[str, list[float]]:
    """What readers of other subjects' trials read, and whether trials tell whose they are."""
    from bench.core.splits import part_subjects

    known, new = part_subjects(dataset.subjects)
    concept, kinds = labels_of(dataset)["concept"], len(dataset.concepts)
    size = max(session.train.shape[1] for session in sessions.values())

    def pad(trials: np.ndarray) -> np.ndarray:
        return np.pad(trials, ((0, 0), (0, size - trials.shape[1])))

    def right(scores: np.ndarray, session: Session) -> float:
        return top_accuracy(scores, concept[session.test_clips])

    thin = max(1, len(known) // 2)  # so that all together are about two subjects' trials
    pooled = fit_linear(
        np.concatenate([pad(sessions[s].train[::thin]) for s in known]),
        np.concatenate([concept[sessions[s].train_clips[::thin]] for s in known]),
        kinds,
    )
    readers = {s: fit_linear(sessions[s].train, concept[sessions[s].train_clips], kinds) for s in known}
    out: dict[str, list[float]] = {}
    out["linear reader, known subjects' pooled trials, known subjects"] = [
        right(pooled.score(pad(sessions[s].test)), sessions[s]) for s in known
    ]
    out[WITHOUT_MAP] = [right(pooled.score(pad(sessions[s].test)), sessions[s]) for s in new]
    out[WITH_MAP] = []
    alone = "linear reader, new subjects' calibration trials alone"
    out[alone] = []
    for subject in new:
        session = sessions[subject]
        calibration, clips = session.train[session.calibration], session.train_clips[session.calibration]
        scores = [read_through(calibration, clips, session.test, sessions[s], readers[s]) for s in known]
        out[WITH_MAP].append(right(np.mean(scores, axis=0), session))
        own = fit_linear(calibration, concept[clips], kinds)
        out[alone].append(right(own.score(session.test), session))
    out["which subject a trial is of, by the squares of its numbers"] = recognise_subjects(sessions)
    return out


def read_through(
    calibration: np.ndarray, clips: np.ndarray, test: np.ndarray, other: Session, reader: Discriminant
) -> np.ndarray:
    """Log posteriors of another subject's reader for trials that are mapped to its voxels."""
    from scipy.special import log_softmax

    shared = np.isin(clips, other.train_clips)
    order, first = np.unique(other.train_clips, return_inverse=True)
    means = np.zeros((len(order), other.train.shape[1]))
    np.add.at(means, first, other.train)
    means /= np.bincount(first)[:, None]
    targets = means[np.searchsorted(order, clips[shared])]
    mapped = fit_ridge(calibration[shared], targets, MAP_PENALTY).score(test)
    return log_softmax(reader.score(mapped), axis=1)


def recognise_subjects(sessions: Mapping[int, Session]) -> list[float]:
    """Share of each subject's test trials that are taken for its own; padding is nobody's, so it is cut."""
    size = min(session.train.shape[1] for session in sessions.values())
    own = list(sessions.values())
    parts = [[session.train[:, :size], session.test[:, :size]] for session in own]
    train, test = ([np.square(part[place][:IDENTITY_TRIALS]) for part in parts] for place in (0, 1))
    who = np.repeat(np.arange(len(own)), [len(part) for part in train])
    reader = fit_linear(np.concatenate(train), who, len(own))
    return [float(np.mean(reader.score(part).argmax(axis=1) == place)) for place, part in enumerate(test)]


def lose(figures: Mapping[str, list[float]], across: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """The planted effects: what is lost without each thing, by the ideal observer and by the linear reader."""
    out = {}
    for who, whole in (("ideal observer", IDEAL), ("linear reader", LINEAR)):
        for figure, values in figures.items():
            if figure.startswith(f"{whole}, without ") and not figure.endswith("in bits"):
                what = figure.removeprefix(f"{whole}, without ")
                out[f"lost without {what}, {who}"] = np.subtract(figures[whole], values).tolist()
    out["lost without a map, linear readers of known subjects"] = np.subtract(
        across[WITH_MAP], across[WITHOUT_MAP]
    ).tolist()
    return out


def paired_interval(gains: Sequence[tuple[Session, np.ndarray]]) -> tuple[float, float]:
    """Mean of what three layers are righter a trial, and half its 95 % interval, clips being the sample."""
    clips = np.concatenate([session.test_clips for session, _ in gains])
    gain = np.concatenate([one for _, one in gains])
    _, place = np.unique(clips, return_inverse=True)
    by_clip = np.bincount(place, gain) / np.bincount(place)
    return float(by_clip.mean()), float(1.96 * by_clip.std(ddof=1) / np.sqrt(len(by_clip)))


def read_session(dataset: Any, subject: int) -> Session:
    from bench.core.splits import draw_calibration

    train, test = training_rows(dataset, subject), testing_rows(dataset, subject)
    clip = np.asarray(dataset.trials["clip"])
    width = dataset.voxels[subject] if dataset.modality == "fmri" else len(dataset.channels)
    trials = [dataset.signals(rows)[:, :width] for rows in (train, test)]
    regions = np.repeat(np.asarray(dataset.rois[subject])[:width], trials[0].shape[2])
    if dataset.modality == "eeg":
        trials = [average_samples(part) for part in trials]
        regions = np.repeat("scalp", trials[0][0].size)
    flat = [part.reshape(len(part), -1).astype(np.float64) for part in trials]
    calibration = np.searchsorted(train, draw_calibration(train, subject))
    return Session(flat[0], flat[1], clip[train], clip[test], calibration, regions)


def average_samples(signals: np.ndarray, each: int = 8) -> np.ndarray:
    """Means of `each` samples: potentials of the phantom's scalp are slow."""
    length = signals.shape[2] // each * each
    return signals[:, :, :length].reshape(*signals.shape[:2], -1, each).mean(axis=3)


def labels_of(dataset: Any) -> dict[str, np.ndarray]:
    """Concept, action and place of every clip."""
    recipes = dataset.truth.recipes
    return {
        "concept": np.asarray(dataset.stimuli["concept"]),
        "action": np.array([recipe.action for recipe in recipes]),
        "place": np.array([recipe.scene for recipe in recipes]),
    }


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
