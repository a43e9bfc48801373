"""Splits keep what they promise, on the phantom and on any geometry."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.splits import SplitError, assert_disjoint, make_folds, part_subjects
from bench.datasets.seed_dv.concepts import CONCEPTS, SUBSET_NAMES


class Table(SimpleNamespace):
    """A table of the kind that `Dataset.trials` is, as far as splits look at it."""

    def to_pandas(self) -> pd.DataFrame:
        return self.frame


def build_dataset(subjects: int, blocks: int, clips_per_concept: int, session_2: bool = False) -> SimpleNamespace:
    stimuli = pd.DataFrame(
        [
            {"block": block, "concept": concept}
            for block in range(1, blocks + 1)
            for concept in range(40)
            for _ in range(clips_per_concept)
        ]
    )
    stimuli["clip"] = np.arange(len(stimuli))
    recordings = [(subject, 1) for subject in range(1, subjects + 1)] + ([(1, 2)] if session_2 else [])
    trials = pd.DataFrame(
        [(s, session, clip) for s, session in recordings for clip in stimuli["clip"]],
        columns=["subject", "session", "clip"],
    )
    trials["trial"] = np.arange(len(trials))
    return SimpleNamespace(
        name="made",
        subjects=tuple(range(1, subjects + 1)),
        concepts=CONCEPTS,
        class_subsets=SUBSET_NAMES,
        stimuli=Table(frame=stimuli),
        trials=Table(frame=trials),
    )


@given(subjects=st.integers(2, 22), blocks=st.integers(3, 8), clips=st.integers(1, 3))
def test_every_split_is_disjoint_and_tests_the_last_block(subjects, blocks, clips):
    dataset = build_dataset(subjects, blocks, clips)
    table = dataset.trials.frame.merge(dataset.stimuli.frame, on="clip").set_index("trial")
    for split in ("single_subject", "cross_subject", "new_subject"):
        for fold in make_folds(dataset, split):
            assert set(table.loc[fold.test, "block"]) == {blocks}
            assert set(table.loc[fold.validation, "block"]) == {blocks - 1}
            assert not set(table.loc[fold.train, "clip"]) & set(table.loc[fold.test, "clip"])
            assert not set(fold.train) & set(fold.calibration)


def test_official_numbers_of_subjects_and_calibration_trials():
    dataset = build_dataset(20, 7, 5, session_2=True)
    (fold,) = make_folds(dataset, "new_subject")
    table = dataset.trials.frame.merge(dataset.stimuli.frame, on="clip").set_index("trial")
    used = {
        name: set(table.loc[getattr(fold, name), "block"]) for name in ("train", "validation", "test", "calibration")
    }
    assert used == {"train": {1, 2, 3, 4, 5}, "validation": {6}, "test": {7}, "calibration": {1, 2, 3, 4, 5}}
    assert set(table.loc[fold.train, "subject"]) == set(range(1, 16))
    assert set(table.loc[fold.test, "subject"]) == set(range(16, 21))
    # 15 % of 5 training blocks of 200 clips, for each of 5 new subjects
    assert len(fold.calibration) == 5 * 150
    assert set(table.loc[fold.train, "session"]) == {1}
    assert len(make_folds(dataset, "single_subject")) == 20


def test_calibration_trials_are_the_same_in_every_run():
    first, second = (make_folds(build_dataset(8, 7, 2), "new_subject")[0] for _ in range(2))
    np.testing.assert_array_equal(first.calibration, second.calibration)


@pytest.mark.parametrize("classes", [10, 20, 30, 40])
def test_class_subsets_leave_only_their_concepts(classes):
    dataset = build_dataset(4, 4, 1)
    (fold,) = make_folds(dataset, "cross_subject", classes=classes)
    table = dataset.trials.frame.merge(dataset.stimuli.frame, on="clip").set_index("trial")
    shown = {CONCEPTS[concept] for concept in table.loc[fold.test, "concept"]}
    assert shown == set(SUBSET_NAMES[classes])
    assert len(shown) == classes


def test_a_leak_is_found():
    dataset = build_dataset(4, 4, 1)
    (fold,) = make_folds(dataset, "cross_subject")
    table = dataset.trials.frame.merge(dataset.stimuli.frame, on="clip")
    leaky = fold.__class__(**{**fold.__dict__, "train": np.append(fold.train, fold.test[:1])})
    with pytest.raises(SplitError, match="train and test share clip"):
        assert_disjoint(leaky, table)


def test_unknown_names_are_refused():
    dataset = build_dataset(4, 4, 1)
    with pytest.raises(SplitError, match=r"'crossed'.*cross_subject"):
        make_folds(dataset, "crossed")
    with pytest.raises(SplitError, match="15; there are 10, 20, 30, 40"):
        make_folds(dataset, "cross_subject", classes=15)
    with pytest.raises(SplitError, match="at least 2"):
        make_folds(build_dataset(1, 4, 1), "new_subject")


def test_three_quarters_of_the_subjects_are_known():
    assert part_subjects(tuple(range(1, 21)))[0] == list(range(1, 16))
    assert part_subjects((1, 2, 3, 4))[0] == [1, 2, 3]
    assert part_subjects(tuple(range(1, 10))) == ([1, 2, 3, 4, 5, 6], [7, 8, 9])
