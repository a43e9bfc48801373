"""Learning curves: how what an encoder reads grows with what it is trained on, or with one of its parameters.

A method that embeds is fitted again and again on the training trials of one split: on growing shares of the clips, or
on all of them with a parameter changed. What it then says of the *validation* trials is scored as `--no-video` scores
the test trials: is the concept that was seen the nearest? The test block is not looked at, so a curve may be drawn
before choices are fixed.

Many methods learn from the validation trials that `fit` is given, and some choose by them. So those that are read here
are never given: a sixth of the clips of the share stands in their place, and every method may do with it what it does.

The clips of a smaller share are among those of every larger one, the same for all subjects, and drawn by the seed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bench.core.contracts import BrainData, Dataset, TrainingSet
from bench.core.errors import BenchError
from bench.core.progress import track
from bench.core.registry import resolve
from bench.core.seeds import derive_seed
from bench.core.splits import Fold, make_folds
from bench.harness.inputs import fold_scalings, measured_clip, show_set, training_set
from bench.scoring.embeddings import place_clips, place_concepts
from bench.toolbox.parameters import try_parameters
from bench.toolbox.plotting import COLOURS, MARKERS, add_words, new_figure
from metrics.embedding import CONCEPT, concept_spec
from metrics.retrieval import cosine_scores
from metrics.specs import Scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
HELD = 6  # one of so many clips of a share is given as the validation set, as blocks are


def measure_learning(
    method: str,
    dataset: Dataset,
    suite: Any,
    *,
    split: str,
    classes: int = 40,
    seed: int = 0,
    folds: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    vary: str = "",
    values: Sequence[Any] = SHARES,
) -> pd.DataFrame:
    """A row for each value: the share of clips, or the parameter `vary`, and what is read of the validation trials.

    Columns: method, vary, value, trials (given to `fit`, mean over folds), concept (mean over validation trials), error
    (one standard error over clips' means), chance, seconds (of all fits). `folds` takes the first few of the split.
    Raises BenchError for a method that does not embed or has no such parameter, and for shares beyond 0 to 1.
    """
    kind = resolve("methods", method)
    if not hasattr(kind, "embeds"):
        raise BenchError(f"{method} embeds nothing, so there is no reading of its encoder to draw; see `list methods`")
    for changed in [{**(parameters or {}), **({vary: value} if vary else {})} for value in values]:
        try_parameters(method, changed)
    if not vary and not all(isinstance(one, int | float) and 0 < one <= 1 for one in values):
        raise BenchError(f"shares {list(values)}: each is above 0 and at most 1; name a parameter with --vary")
    chosen = make_folds(dataset, split, classes=classes)[:folds]
    rows = []
    for value in track(values, f"{method}: learning"):
        share = 1.0 if vary else float(value)
        own = {**(parameters or {}), **({vary: value} if vary else {})}
        read = [read_concepts(kind, own, dataset, suite, shift(dataset, fold, share, seed), seed) for fold in chosen]
        right = pd.concat([table for table, _, _ in read])
        clips = right.groupby("clip")["right"].mean()
        rows.append(
            {
                "method": method,
                "vary": vary or "share of clips",
                "value": value,
                "trials": round(np.mean([trials for _, trials, _ in read])),
                "concept": right["right"].mean(),
                "error": clips.std(ddof=1) / np.sqrt(len(clips)),
                "chance": 1 / right["concepts"].max(),
                "seconds": sum(seconds for _, _, seconds in read),
            }
        )
    return pd.DataFrame(rows)


def shift(dataset: Dataset, fold: Fold, share: float, seed: int) -> Fold:
    """The fold with its validation trials in the place of the test trials, and a share of its training clips.

    Every concept has as many of them as divide. One of `HELD` is the new validation set, whatever the share.
    """
    clips = np.unique(measured_clip(dataset, fold.train))
    concept = np.asarray(dataset.stimuli["concept"], dtype=np.int64)[clips]
    order = np.random.default_rng(derive_seed("learning", seed)).permutation(len(clips))
    rank = pd.Series(concept[order]).groupby(concept[order]).cumcount()  # first, second, … clip of its concept
    kept = clips[order[np.argsort(rank.to_numpy(), kind="stable")][: max(2, round(share * len(clips)))]]
    held = kept[:: max(2, min(HELD, len(kept)))]
    shown = measured_clip(dataset, fold.train)
    learned, chosen = np.isin(shown, np.setdiff1d(kept, held)), np.isin(shown, held)
    return replace(fold, train=fold.train[learned], validation=fold.train[chosen], test=fold.validation)


def read_concepts(
    kind: Any, parameters: dict[str, Any], dataset: Dataset, suite: Any, fold: Fold, seed: int
) -> tuple[pd.DataFrame, int, float]:
    """Of each tested trial its clip and whether its concept was nearest; trials given to `fit`; seconds of it."""
    scalings = fold_scalings(dataset, fold)
    method = kind(suite=suite, seed=seed, **parameters)
    train, held = (training_set(dataset, trials, scalings) for trials in (fold.train, fold.validation))
    start = time.monotonic()
    method.fit(train, held)
    seconds = time.monotonic() - start
    vectors = np.asarray(method.embed(hide_answers(show_set(dataset, fold.test, scalings), seed)), np.float32)  # (n, d)
    clips, place = np.unique(measured_clip(dataset, fold.test), return_inverse=True)
    target, belongs = place_concepts(np.asarray(dataset.stimuli["concept"], dtype=np.int64)[clips])
    nearness = cosine_scores(vectors, place_clips(method.embeds, clips, dataset, suite)) @ belongs  # (trial, concept)
    nearest = concept_spec(nearness.shape[1])
    right = nearest.compute(Scored(views={CONCEPT: nearness}), target.take(place))
    table = pd.DataFrame({"clip": clips[place], "right": right, "concepts": nearness.shape[1]})
    return table, len(fold.train) + len(fold.validation), seconds


def hide_answers(shown: TrainingSet, seed: int) -> BrainData:
    """The signals of some trials without what was shown."""
    return BrainData(
        brain=shown.brain,
        subject=shown.subject,
        seed=np.array([derive_seed("learning", seed, trial) for trial in range(len(shown.subject))], np.int64),
        channels=shown.channels,
        sampling_rate=shown.sampling_rate,
    )


def draw_learning(table: pd.DataFrame, where: str) -> Figure:
    """The curves of `measure_learning`, a line a method, with the chance level beneath."""
    figure = new_figure(6, 4)
    axes = figure.subplots()
    for i, (name, part) in enumerate(table.groupby("method", sort=False)):
        x = np.arange(len(part)) if part["value"].map(type).isin([str, bool, list]).any() else part["value"]
        style: dict[str, Any] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "capsize": 3}
        axes.errorbar(x, part["concept"], yerr=part["error"], label=str(name), **style)
        if x is not part["value"]:
            axes.set_xticks(x, [str(value) for value in part["value"]])
    axes.axhline(table["chance"].iloc[0], color="#666666", linestyle=":", label="chance")
    axes.set_xlabel(table["vary"].iloc[0])
    axes.set_ylabel("concept, validation trials")
    axes.set_ylim(bottom=0)
    axes.legend()
    add_words(figure, "What an encoder reads", f"{where}. Bars: one standard error over clips.")
    return figure
