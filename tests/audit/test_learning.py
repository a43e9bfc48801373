"""Learning curves: what is trained on, what is read, and that no test trial is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.audit.fitting import Altered
from bench.audit.learning import SHARES, draw_learning, hide_answers, measure_learning, shift
from bench.core import registry
from bench.core.errors import BenchError
from bench.core.splits import make_folds
from bench.harness.inputs import fold_scalings, measured_clip, show_set, training_set
from bench.pretrained.suite import load_suite

SPLIT = "cross_subject"


class Nearest:
    """Says the words of the training concept whose mean signal is nearest; `blind` says always the same.

    It learns from all that `fit` is given, the validation set too, as many methods do.
    """

    modality = "eeg"
    embeds = "words"
    version = 1
    fitted: list[int] = []  # noqa: RUF012 - trials of each fit

    def __init__(self, *, suite: Any, seed: int, blind: bool = False) -> None:
        self.suite, self.blind = suite, blind

    def fit(self, train: Any, validation: Any) -> None:
        self.fitted.append(len(train.subject) + len(validation.subject))
        concept = np.concatenate([one.concepts[one.clip] for one in (train, validation)])
        self.known = np.unique(concept)
        signal = np.concatenate([describe(one.brain) for one in (train, validation)])
        self.centres = np.stack([signal[concept == one].mean(axis=0) for one in self.known])
        words = self.suite.encode_text(list(train.captions)).float().mean(dim=1).cpu().numpy()
        self.words = np.stack([words[train.concepts == one].mean(axis=0) for one in self.known])

    def embed(self, brain: Any) -> np.ndarray:
        nearest = nearest_centre(describe(brain.brain), self.centres)
        return self.words[0 * nearest if self.blind else nearest]


def describe(brain: Any) -> np.ndarray:  # (trial, channel)
    return brain[np.arange(len(brain))].mean(axis=2)


def nearest_centre(signal: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return ((signal[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(registry.LIVE, "Nearest", Nearest)
    monkeypatch.setattr(Nearest, "fitted", [])
    return "Nearest"


@pytest.fixture(scope="module")
def suite() -> Any:
    return load_suite("mini")


def test_shares_are_nested_balanced_and_the_same_for_all_subjects(phantom) -> None:
    (fold,) = make_folds(phantom, SPLIT)
    before: set[int] = set()
    whole = np.unique(measured_clip(phantom, fold.train))
    concept, subject = (
        np.asarray(table[name]) for table, name in ((phantom.stimuli, "concept"), (phantom.trials, "subject"))
    )
    for share in SHARES:
        part = shift(phantom, fold, share, seed=0)
        learned, chosen = (set(measured_clip(phantom, one).tolist()) for one in (part.train, part.validation))
        kept = learned | chosen
        assert len(kept) == round(share * len(whole)) and before <= kept
        assert not learned & chosen and len(chosen) == -(-len(kept) // 6)
        before = kept
        given = np.concatenate([part.train, part.validation])
        clips = measured_clip(phantom, given)
        of_each = {frozenset(clips[subject[given] == one].tolist()) for one in set(subject[given].tolist())}
        assert of_each == {frozenset(kept)}
        counts = np.bincount(concept[sorted(kept)])
        assert np.ptp(counts[counts > 0]) <= 1
        assert np.array_equal(part.test, fold.validation)
    other = shift(phantom, fold, 0.5, seed=1)
    assert set(other.train.tolist()) != set(shift(phantom, fold, 0.5, seed=0).train.tolist())


def test_a_curve_is_of_trials_that_no_fit_was_given(phantom, suite, named) -> None:
    (fold,) = make_folds(phantom, SPLIT)
    concept = np.asarray(phantom.stimuli["concept"])[measured_clip(phantom, np.arange(len(phantom.trials)))]
    hidden: list[np.ndarray] = []

    def watch(trials: np.ndarray, signals: np.ndarray) -> np.ndarray:
        assert not np.isin(trials, fold.test).any(), "a test trial was read"
        if np.isin(trials, fold.validation).any():
            hidden.append(trials)
        return signals

    watched: Any = Altered(phantom, change_signals=watch)
    table = measure_learning(named, watched, suite, split=SPLIT, values=(0.5, 1.0))
    assert table["trials"].tolist() == Nearest.fitted == [len(fold.train) // 2, len(fold.train)]
    read = {trial for trials in hidden for trial in trials.tolist()}
    assert read == set(fold.validation.tolist())

    method = Nearest(suite=suite, seed=0)  # what all training trials, and they alone, come to
    scalings = fold_scalings(phantom, fold)
    method.fit(*(training_set(phantom, part, scalings) for part in (fold.train, fold.validation[:0])))
    said = method.embed(hide_answers(show_set(phantom, fold.validation, scalings), 0))
    clips = np.unique(measured_clip(phantom, fold.validation))
    captions = [phantom.stimuli["caption"][int(clip)] for clip in clips]
    places = suite.encode_text(captions).float().mean(dim=1).numpy()
    cosine = said @ places.T / np.linalg.norm(said, axis=1)[:, None] / np.linalg.norm(places, axis=1)
    of_clip = np.asarray(phantom.stimuli["concept"])[clips]
    names = np.unique(of_clip)
    nearness = np.stack([cosine[:, of_clip == one].mean(axis=1) for one in names], axis=1)
    right = names[nearness.argmax(axis=1)] == concept[fold.validation]
    assert table["concept"][1] == pytest.approx(right.mean())

    vary = measure_learning(named, phantom, suite, split=SPLIT, vary="blind", values=(True, False))
    assert vary["concept"][1] == table["concept"][1]
    assert vary["concept"][0] == pytest.approx((concept[fold.validation] == concept[fold.train].min()).mean())
    assert vary["chance"].tolist() == [1 / len(set(concept[fold.validation]))] * 2

    figure = draw_learning(table, "here")
    (axes,) = figure.axes
    assert axes.lines[0].get_ydata().tolist() == table["concept"].tolist()  # type: ignore[union-attr]
    assert "here" in str(figure.get_supxlabel())


def test_what_cannot_be_drawn_is_refused(phantom, suite, named) -> None:
    for asked, words in (
        ({"method": "constant_grey"}, "embeds nothing"),
        ({"vary": "epoch", "values": (1, 2)}, "epoch"),
        ({"values": (0.0, 0.5)}, "above 0 and at most 1"),
        ({"values": (1.5,)}, "above 0 and at most 1"),
    ):
        given: dict[str, Any] = {"method": named, "split": SPLIT} | asked
        with pytest.raises(BenchError, match=words):
            measure_learning(given.pop("method"), phantom, suite, **given)
    assert not Nearest.fitted
