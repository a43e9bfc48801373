"""Learning curves: what is trained on, what is read, and that no test trial is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.audit.fitting import Altered
from bench.audit.learning import SHARES, draw_learning, measure_learning, thin
from bench.core import registry
from bench.core.errors import BenchError
from bench.core.splits import make_folds
from bench.harness.inputs import measured_clip
from bench.pretrained.suite import load_suite

SPLIT = "cross_subject"


class Nearest:
    """Says the words of the training concept whose mean signal is nearest; `blind` says always the same."""

    modality = "eeg"
    embeds = "words"
    version = 1
    fitted: list[tuple[int, int]] = []  # noqa: RUF012 - trials of each fit, and of its validation

    def __init__(self, *, suite: Any, seed: int, blind: bool = False, use_validation: bool = True) -> None:
        assert not use_validation
        self.suite, self.blind = suite, blind

    def fit(self, train: Any, validation: Any) -> None:
        self.fitted.append((len(train.subject), len(validation.subject)))
        concept = train.concepts[train.clip]
        self.known = np.unique(concept)
        signal = describe(train.brain)
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
    for share in SHARES:
        part = thin(phantom, fold, share, seed=0)
        clips = measured_clip(phantom, part.train)
        kept = set(clips.tolist())
        assert len(kept) == round(share * len(whole)) and before <= kept
        before = kept
        subjects = np.asarray(phantom.trials["subject"])[part.train]
        assert {frozenset(clips[subjects == one].tolist()) for one in set(subjects)} == {frozenset(kept)}
        counts = np.bincount(np.asarray(phantom.stimuli["concept"])[sorted(kept)])
        assert np.ptp(counts[counts > 0]) <= 1
        assert np.array_equal(part.validation, fold.validation)
    assert np.array_equal(part.train, fold.train)
    assert set(measured_clip(phantom, thin(phantom, fold, 0.5, seed=1).train)) != set(
        measured_clip(phantom, thin(phantom, fold, 0.5, seed=0).train)
    )


def test_a_curve_is_of_validation_trials_and_of_no_test_trial(phantom, suite, named) -> None:
    (fold,) = make_folds(phantom, SPLIT)

    def refuse(trials: np.ndarray, signals: np.ndarray) -> np.ndarray:
        assert not np.isin(trials, fold.test).any(), "a test trial was read"
        return signals

    watched: Any = Altered(phantom, change_signals=refuse)
    table = measure_learning(named, watched, suite, split=SPLIT, values=(0.5, 1.0))
    assert (
        [trials for trials, _ in Nearest.fitted] == table["trials"].tolist() == [len(fold.train) // 2, len(fold.train)]
    )
    assert {held for _, held in Nearest.fitted} == {len(fold.validation)}

    vary = measure_learning(named, phantom, suite, split=SPLIT, vary="blind", values=(True, False))
    assert vary["concept"][1] == table["concept"][1]
    concepts = np.asarray(phantom.stimuli["concept"])[measured_clip(phantom, fold.validation)]
    first = np.asarray(phantom.stimuli["concept"])[measured_clip(phantom, fold.train)].min()
    assert vary["concept"][0] == pytest.approx((concepts == first).mean())  # always the first concept's words
    assert vary["chance"].tolist() == [1 / len(set(concepts))] * 2

    figure = draw_learning(table, "here")
    (axes,) = figure.axes
    assert axes.lines[0].get_ydata().tolist() == table["concept"].tolist()  # type: ignore[union-attr]
    assert "here" in str(figure.get_supxlabel())


def test_what_cannot_be_drawn_is_refused(phantom, suite, named) -> None:
    for asked, words in (
        ({"method": "constant_grey"}, "embeds nothing"),
        ({"vary": "epoch", "values": (1, 2)}, "no parameter 'epoch'; it has"),
        ({"values": (0.0, 0.5)}, "above 0 and at most 1"),
        ({"values": (1.5,)}, "above 0 and at most 1"),
    ):
        given: dict[str, Any] = {"method": named, "split": SPLIT} | asked
        with pytest.raises(BenchError, match=words):
            measure_learning(given.pop("method"), phantom, suite, **given)
    assert not Nearest.fitted
