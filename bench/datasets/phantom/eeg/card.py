"""The phantom's card: what can be read from it, by its own likelihood and by decoders that learn from its files.

Blocks 1-5 train, block 7 is tested; known and new subjects, and what a new one is calibrated on, are those of the
splits. The ideal observer is `observer`'s, a lower bound of what can be read; "without" a region it is denied the
electrodes over it, "without" a band or the evoked responses it does not look at them, and "without" conjunctions or
states it does not know of them. The best linear reader knows everything that a linear reader can use: means and
covariance of the evoked responses in truth, those of the band powers from `LIMIT` simulated trials a concept, whose
means are linear in the features. Ridge learns from the recordings (`readers`). There are no repeats in this layout, so
there is no reliability.

Rows "in bits" are the information about the concept: mean logarithm of its posterior, over that of chance. They tell
rows apart where accuracies are near one. Rows "lost" are the **planted effects**, which ablations are held against:
what the ideal observer and a ridge lose, subject by subject, without a region, a band, a condition or a map. "The
linear reader" of these rows is the ridge on a subject's own evoked responses and band powers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.paths import available_cores
from bench.core.progress import track
from bench.datasets.phantom.eeg.features import COURSES, GROUPS, Features
from bench.datasets.phantom.eeg.head import BANDS, RATE, WINDOW, draw_head
from bench.datasets.phantom.eeg.likelihood import HIGHEST, build_likelihood, log_normalise, simulate_moments
from bench.datasets.phantom.eeg.montage import REGIONS
from bench.datasets.phantom.eeg.observer import DRAWS, Truth
from bench.datasets.phantom.eeg.readers import (
    BAND_NAMES,
    FEATURES,
    PENALTIES,
    Readings,
    Session,
    compare_readers,
    fit_ridge,
    join,
    lay_out,
    measure_scale,
    read_trials,
    recognise_subjects,
    solve_ridge,
    top_accuracy,
    whitening,
)
from bench.datasets.phantom.eeg.signals import hint_features, record_block
from bench.datasets.phantom.eeg.spec import PhantomSpec
from bench.datasets.phantom.publish import committed_card, keep_card
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.store.cache import digest_code

if TYPE_CHECKING:
    import pandas as pd

    from bench.datasets.seed_dv.layout import SeedDV

COLUMNS = ("figure", "mean", "lowest", "highest", "chance", "by subject")
CARDS = Path(__file__).with_name("cards")
IDEAL = f"ideal observer, concept, open set ({DRAWS} draws a concept)"
BEST_LINEAR = "best linear reader, both"
LINEAR = "ridge, both, a subject's own trials"
LIMIT = 60  # simulated trials a concept from which the best linear reader of band powers is made
CHUNK = 256  # trials read at once
READERS = {
    "own": "a subject's own trials",
    "pooled": "all known subjects' trials, known subjects",
    "new": "all known subjects' trials, new subjects without a map",
    "new, mapped": "all known subjects' trials, new subjects with a ridge map from their calibration trials",
}


def phantom_card(dataset: SeedDV) -> pd.DataFrame:
    """Figures of a phantom: a row each, with the value of every subject; those that ship with the code, or measured."""
    shipped = shipped_card(truth_of(dataset).spec)
    if shipped is not None:
        return shipped
    return shorten_card(keep_card(dataset, digest_code(__name__), lambda: measure_card(dataset)))


def shipped_card(spec: PhantomSpec) -> pd.DataFrame | None:
    """The card of a phantom that ships with the code, if it does: nothing need be made to see it."""
    card = committed_card(CARDS / f"{spec.size}.csv", spec)
    return None if card is None else shorten_card(card)


def measure_card(dataset: SeedDV, *, processes: int | None = None) -> pd.DataFrame:
    """The card, measured: minutes on two cores for the default size."""
    import pandas as pd
    from joblib import Parallel, delayed

    truth = truth_of(dataset)
    truth.simulated  # noqa: B018  # made once, not by every process
    kinds = len(dataset.concepts)
    with Parallel(n_jobs=processes or available_cores(), return_as="generator", max_nbytes=None) as parallel:
        jobs = (delayed(measure_subject)(dataset, subject) for subject in dataset.subjects)
        own = list(track(parallel(jobs), "card: subjects", total=len(dataset.subjects)))
    rows = []

    def add(figure: str, values: Sequence[float], chance: float | None, digits: int = 6) -> None:
        texts = [f"{value:.{digits}f}" for value in values]
        middle = [f"{function(values):.{digits}f}" for function in (np.mean, np.min, np.max)]
        of_chance = "" if chance is None else f"{chance:.3f}"
        rows.append((figure, *middle, of_chance, " ".join(texts) if len(values) > 1 else ""))

    chances = {"clip": 1 / truth.spec.geometry.block_clips, "action": 0.1, "place": 0.25}
    figures = {figure: [one[figure] for one, _ in own] for figure in own[0][0]}
    for figure, values in figures.items():
        plain = any(word in figure for word in ("in bits", "(calibration)", "dB", "correlation"))
        chance = next((value for what, value in chances.items() if f", {what}" in figure), 1 / kinds)
        add(figure, values, None if plain else chance)
    sessions = dict(zip(dataset.subjects, (session for _, session in own), strict=True))
    readers = measure_readers(dataset, sessions)
    for figure, values in readers.items():
        add(figure, values, 1 / kinds)
    for figure, values in lose(figures | readers).items():
        add(figure, values, None)
    identity = recognise_subjects({s: sessions[s].train for s in sessions}, {s: sessions[s].test for s in sessions})
    add("ridge, which subject a trial is of, by band powers", identity.tolist(), 1 / len(dataset.subjects))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def shorten_card(card: pd.DataFrame) -> pd.DataFrame:
    """The card with three decimals, for the eye."""
    card = card.copy()
    for column in ("mean", "lowest", "highest"):
        card[column] = [f"{float(value):.3f}" for value in card[column]]
    card["by subject"] = [" ".join(f"{float(value):.3f}" for value in str(row).split()) for row in card["by subject"]]
    return card


def truth_of(dataset: SeedDV) -> Truth:
    truth: Truth | None = dataset.truth
    assert truth is not None, "only a phantom has a card"
    return truth


def split_trials(dataset: SeedDV, subject: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test trials of the subject's first session."""
    where = dataset.windows
    own = (where["subject"] == subject) & (where["session"] == 1)
    return np.flatnonzero(own & (where["block"] < 5)), np.flatnonzero(own & (where["block"] == 6))


def labels_of(dataset: SeedDV, what: str) -> np.ndarray:
    """Concept, action or place of every clip."""
    if what == "concept":
        return np.asarray(dataset.geometry.clip_table()["concept"])
    field = {"action": "action", "place": "scene"}[what]
    return np.array([getattr(recipe, field) for recipe in truth_of(dataset).recipes])


def measure_subject(dataset: SeedDV, subject: int) -> tuple[dict[str, float], Session]:
    """The observers' and a few own decoders' figures of a subject, and what the readers need of it."""
    truth = truth_of(dataset)
    spec = truth.spec
    train, test = split_trials(dataset, subject)
    clip = np.asarray(dataset.trials["clip"])
    concept = labels_of(dataset, "concept")
    target = concept[clip[test]]
    out: dict[str, float] = {}

    def add(figure: str, scores: np.ndarray) -> None:
        posterior = log_normalise(scores)
        out[figure] = top_accuracy(posterior, target)
        bits = np.take_along_axis(posterior, target[:, None], axis=1).mean() / np.log(2) + np.log2(posterior.shape[1])
        out[f"{figure}, in bits"] = float(bits)

    clips = truth.clip_posteriors(test)
    out["ideal observer, clip, closed set"] = float(np.mean(clips.argmax(axis=1) == clip[test] % clips.shape[1]))
    closed = truth.sum_over_concepts(clips, test)
    out["ideal observer, concept, closed set"] = top_accuracy(closed, target)
    features, terms = truth.simulated
    head = draw_head(spec, subject)
    moments = simulate_moments(head, spec, features)
    likelihood = build_likelihood(head, spec, features, terms, moments=moments, ignorant=True)
    observed = truth.observe(test, HIGHEST)
    evidence = likelihood.read(observed)
    whole = log_normalise(evidence.score())
    add(IDEAL, whole)
    out["its mean posterior of the concept it chose (calibration)"] = float(np.exp(whole.max(axis=1)).mean())
    add("ideal observer, without band powers", evidence.score(bands=()))
    add("ideal observer, without evoked responses", evidence.score(evoked=False))
    for band in BANDS:
        add(f"ideal observer, without {band}", evidence.score(bands=[one for one in BANDS if one != band]))
    add("ideal observer, without conjunctions", evidence.score(conjunctions=False))
    add("ideal observer, without states", evidence.score(states=False))
    add("ideal observer, without both", evidence.score(conjunctions=False, states=False))
    for region, channels in REGIONS.items():
        rest = [channel for channel in range(len(CHANNELS)) if channel not in channels]
        denied = build_likelihood(head, spec, features, terms, rest, moments=moments)
        add(f"ideal observer, without {region} electrodes", denied.score(observed))
    cells = likelihood.score_cells(observed)
    for what, axes in (("action", (1, 3)), ("place", (1, 2))):
        asked = labels_of(dataset, what)[clip[test]]
        out[f"ideal observer, {what}"] = top_accuracy(np.logaddexp.reduce(cells, axis=axes), asked)

    readings = {rows: read_many(dataset, part) for rows, part in (("train", train), ("test", test))}
    evoked = evidence.score(bands=(), conjunctions=False, states=False)
    for kind, scores in best_linear(truth, evoked, readings["test"], subject).items():
        out[f"best linear reader, {kind}"] = top_accuracy(scores, target)
    calibration = np.searchsorted(train, draw_calibration(train, subject))
    session = Session(readings["train"], readings["test"], calibration, clip[train])
    out |= measure_own(dataset, session, clip[test])
    out |= read_latents(truth, session, clip[test])
    out["evoked power to noise (dB)"] = evoked_ratio(truth, subject)
    return out, session


def draw_calibration(train: np.ndarray, subject: int) -> np.ndarray:
    from bench.core.splits import draw_calibration as draw

    return draw(train, subject)


def read_many(dataset: SeedDV, trials: np.ndarray) -> Readings:
    """Features of trials, read a few at a time."""
    chunks = np.array_split(trials, len(trials) // CHUNK + 1)
    return join([read_trials(dataset.signals(chunk) * np.float32(1e6)) for chunk in chunks])


def best_linear(truth: Truth, evoked: np.ndarray, test: Readings, subject: int) -> dict[str, np.ndarray]:
    """Scores of the best linear readers of evoked responses (given), of band powers and of both."""
    simulated, concept = simulate_readings(truth, subject)
    scale = measure_scale(simulated)
    train, asked = (scale.apply(part).bands.reshape(len(part), -1).astype(np.float64) for part in (simulated, test))
    shown = np.tile(truth.simulated[0].static, (LIMIT // DRAWS, 1)).astype(np.float64)
    slopes = np.linalg.lstsq(shown, train, rcond=None)[0]  # far fewer numbers than a mean of each concept
    means = np.stack([shown[concept == one].mean(axis=0) for one in range(evoked.shape[1])]) @ slopes
    within = train - means[concept]
    covariance = within.T @ within / (len(within) - len(slopes))
    weights = np.linalg.solve(covariance, means.T)
    bands = asked @ weights - 0.5 * (means.T * weights).sum(axis=0)
    return {"evoked": evoked, "bands": bands, "both": log_normalise(evoked) + log_normalise(bands)}


def simulate_readings(truth: Truth, subject: int) -> tuple[Readings, np.ndarray]:
    """Readings of `LIMIT` trials a concept of a subject who is shown the simulated clips, and their concepts."""
    from dataclasses import replace

    spec = replace(truth.spec, clips=DRAWS, hint_seconds=1, blinks=0.0, saccades=0.0)
    geometry, head = spec.geometry, draw_head(truth.spec, subject)
    features, _ = truth.simulated
    concepts = np.arange(len(spec.concepts))
    hints = hint_features(spec, np.zeros((40, 16)), concepts)
    parts, labels = [], []
    for block in range(LIMIT // DRAWS):
        signal, _ = record_block(spec, head, subject, 1000 + block, features, hints)
        starts = [geometry.onset(slot, clip) * RATE for slot in range(len(concepts)) for clip in range(DRAWS)]
        for first in range(0, len(starts), CHUNK):
            chunk = starts[first : first + CHUNK]
            parts.append(read_trials(np.stack([signal[:, start : start + WINDOW] for start in chunk])))
        labels.append(np.repeat(concepts, DRAWS))
    return join(parts), np.concatenate(labels)


def measure_own(dataset: SeedDV, session: Session, test_clips: np.ndarray) -> dict[str, float]:
    """Ridge on a subject's own trials without regions and bands, and for what a caption and a latent hold."""
    concept = labels_of(dataset, "concept")
    kinds = len(dataset.concepts)
    scale = measure_scale(session.train)
    train, test = scale.apply(session.train), scale.apply(session.test)
    out = {}

    def ask(figure: str, keep: Sequence[int], bands: Sequence[int]) -> None:
        parts = [Readings(one.evoked[:, keep], one.bands[:, keep][:, :, bands]) for one in (train, test)]
        ridge = fit_ridge("both", parts[0], concept[session.train_clips], kinds)
        out[figure] = top_accuracy(ridge.scores(parts[1]), concept[test_clips])

    every, all_bands = list(range(62)), list(range(len(BAND_NAMES)))
    for region, channels in REGIONS.items():
        ask(f"ridge, both, own, without {region} electrodes", [c for c in every if c not in channels], all_bands)
    for band in BANDS:
        rest = [index for index, name in enumerate(BAND_NAMES) if name != band]
        ask(f"ridge, both, own, without {band}", every, rest)
    for what in ("action", "place"):
        label = labels_of(dataset, what)
        ridge = fit_ridge("evoked", train, label[session.train_clips], int(label.max()) + 1)
        out[f"ridge, evoked, own, {what}"] = top_accuracy(ridge.scores(test), label[test_clips])
    return out


def read_latents(truth: Truth, session: Session, test_clips: np.ndarray) -> dict[str, float]:
    """Correlation over test clips of what ridge reads of colours and of brightness with the true ones."""
    scale = measure_scale(session.train)
    scaled = [scale.apply(part) for part in (session.train, session.test)]
    mixing = whitening(scaled[0].evoked)
    train, test = (lay_out("evoked", mixing, part) for part in scaled)
    features = truth.features
    latents = {
        "colours": features.static[:, GROUPS["colour"]],
        "brightness": features.courses[:, COURSES["luminance"]].mean(axis=2),
    }
    out = {}
    for name, values in latents.items():
        weights = solve_ridge(train - train.mean(axis=0), values[session.train_clips], PENALTIES["evoked"])
        found = (test - train.mean(axis=0)) @ weights
        pairs = zip(found.T, values[test_clips].T, strict=True)
        out[f"ridge, evoked, own, {name} (correlation)"] = float(np.mean([np.corrcoef(*pair)[0, 1] for pair in pairs]))
    return out


def lose(figures: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """The planted effects: what is lost without each thing, and how much of the observer's lead is no linear reader's.

    The last row is a single number, of means over subjects: how far knowing conjunctions and states takes the observer
    on its way from the best linear reader. What is left is that it knows the powers' distribution and the latencies.
    """
    out = {}
    rows = ("ideal observer", IDEAL, "ideal observer"), ("linear reader", LINEAR, "ridge, both, own")
    for who, whole, start in rows:
        for figure, values in figures.items():
            if figure.startswith(f"{start}, without ") and not figure.endswith("in bits"):
                what = figure.removeprefix(f"{start}, without ")
                out[f"lost without {what}, {who}"] = np.subtract(figures[whole], values).tolist()
    for features in FEATURES:
        without, mapped = (figures[f"ridge, {features}, {READERS[who]}"] for who in ("new", "new, mapped"))
        out[f"lost without a map, ridge of known subjects, {features}"] = np.subtract(mapped, without).tolist()
    ideal, linear, blind = (np.mean(figures[one]) for one in (IDEAL, BEST_LINEAR, "ideal observer, without both"))
    share = (ideal - blind) / (ideal - linear) if ideal > linear else np.nan
    out["of the ideal observer's lead over the best linear reader, conjunctions and states are"] = [float(share)]
    return out


def measure_readers(dataset: SeedDV, sessions: dict[int, Session]) -> dict[str, list[float]]:
    """Ridge by features and by whose trials it learns from."""
    from bench.core.splits import part_subjects

    concept = labels_of(dataset, "concept")
    known, new = part_subjects(dataset.subjects)
    _, test = split_trials(dataset, dataset.subjects[0])
    target = concept[np.asarray(dataset.trials["clip"])[test]]
    found = compare_readers(sessions, concept, target, known, new)
    return {f"ridge, {features}, {READERS[who]}": values for (features, who), values in found.items()}


def evoked_ratio(truth: Truth, subject: int) -> float:
    """Power of what differs between clips to the power of the noise (eyes apart), in dB over the whole cap."""
    head = draw_head(truth.spec, subject)
    each = truth.spec.geometry.block_clips
    clips = Features(truth.features.static[:each], truth.features.courses[:each])
    moments = head.moments(clips)[..., :WINDOW]
    evoked = np.einsum("cd,ndt->nct", head.field, moments - moments.mean(axis=0), optimize=True)
    noise = sum((part**2).sum(axis=1) for part in (head.pink, head.alpha, head.rhythm)) + head.sensor**2
    return float(10 * np.log10((evoked**2).mean() / noise.mean()))
