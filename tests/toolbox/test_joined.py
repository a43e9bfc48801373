"""Training and validation trials as one set."""

from __future__ import annotations

import numpy as np
from painted import record

from bench.toolbox.joined import join_sets
from bench.toolbox.training import plan_steps


def test_trials_and_clips_of_both_sets_stand_in_a_row() -> None:
    one, other = record(clips=6), record(clips=4, seed=1)
    both = join_sets([one, other])
    asked = np.array([len(one.brain), 3, 0, len(one.brain) + 5])
    assert np.array_equal(both.brain[asked], np.stack([other.brain[0], one.brain[3], one.brain[0], other.brain[5]]))
    assert both.brain.shape == (len(one.brain) + len(other.brain), *one.brain.shape[1:]) == np.shape(both.brain[:])
    assert both.brain[:0].shape == (0, *one.brain.shape[1:])
    for name in ("video", "captions", "concepts"):
        shown = np.asarray(getattr(both, name))[both.clip]
        parts = [np.asarray(getattr(part, name))[part.clip] for part in (one, other)]
        assert np.array_equal(shown, np.concatenate(parts))
    assert np.array_equal(both.subject, np.concatenate([one.subject, other.subject]))
    assert join_sets([one]) is one


def test_a_budget_is_in_epochs_of_the_trials() -> None:
    assert plan_steps(10, 640, 64) == 100 and plan_steps(10, 6400, 64) == 1000
    assert plan_steps(3, 20, 64) == 3 and plan_steps(0.1, 100, 64) == 1
