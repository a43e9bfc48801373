"""Reading trials, and making their videos some at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asking import hide_answers
from painted import record

from bench.toolbox import read_signals as trials_module
from bench.toolbox.read_signals import read_resampled, read_trials
from bench.toolbox.resize import make_videos

CPU = torch.device("cpu")


def test_trials_are_read_by_their_place_among_the_chosen() -> None:
    data = record()
    chosen = np.flatnonzero(data.subject == 2)
    signals, subject = read_trials(data, CPU, chosen)(np.array([3, 0]))
    assert subject.tolist() == [2, 2] and np.array_equal(signals, data.brain[chosen[[3, 0]]])
    asked = hide_answers(data, np.array([7, 90, 4]))
    first, _ = read_trials(asked, CPU, volumes=1)(np.array([1]))
    assert np.array_equal(first, data.brain[[90], :, :1])


def test_resampling_keeps_slow_tones_and_takes_fast_ones_whatever_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    time = np.arange(400) / 200.0
    tones = np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (5.0, 60.0)])
    brain = np.repeat(tones[None], 7, axis=0).astype(np.float32)
    made = read_resampled(brain, 200.0, 50.0)
    middle = slice(20, 80)  # off the ends
    assert made.shape == (7, 2, 100) and made.dtype == np.float32
    np.testing.assert_allclose(made[0, 0, middle], np.sin(2 * np.pi * 5 * np.arange(100) / 50)[middle], atol=0.02)
    assert np.abs(made[:, 1, middle]).max() < 0.02
    monkeypatch.setattr(trials_module, "CHUNK", 3)
    assert np.array_equal(read_resampled(brain, 200.0, 50.0), made)
    assert np.array_equal(read_resampled(brain, 200.0, 300.0), brain)


@pytest.mark.parametrize("trials", [0, 1, 4, 9])
def test_each_trial_has_its_own_video_however_many_are_made_at_once(trials: int) -> None:
    def make(rows: np.ndarray) -> np.ndarray:
        return np.broadcast_to(rows[:, None, None, None, None], (len(rows), 2, 8, 8, 3)).astype(np.uint8)

    made = make_videos(trials, make, at_once=4, shape=(3, 4, 4, 3))
    assert made.shape == (trials, 3, 4, 4, 3) and made.dtype == np.uint8
    assert np.array_equal(made[:, 0, 0, 0, 0], np.arange(trials)) and (made == made[:, :1, :1, :1, :1]).all()
