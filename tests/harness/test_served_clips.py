"""Clips that do not fit in memory are served by row: whatever a method does with them, it sees what lies in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.splits import make_folds
from bench.harness import method_process
from bench.harness.inputs import fold_scalings, show_set
from bench.harness.method_process import MethodError, MethodProcess
from bench.pretrained.suite import load_suite
from bench.toolbox import rows as rules

METHODS = """
import hashlib
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from torch.utils.data import DataLoader

def look(video):
    chosen = np.arange(len(video)) % 3 == 0
    yield from (video[0], video[-1], video[2:9:2], video[[5, -3, 5]], video[chosen, 1], video[:, 0, ..., 2])
    yield np.asarray(video)
    yield np.stack([clip[0] for clip in video])
    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(lambda row: video[row], range(8))
    yield np.concatenate([part.numpy() for part in DataLoader(Frames(video), batch_size=4, num_workers=2)])

class Frames:
    def __init__(self, video):
        self.video = video
    def __len__(self):
        return 9
    def __getitem__(self, row):
        return self.video[row]

class Looks:
    modality, version, parameter_count = "eeg", 1, 0
    def __init__(self, *, suite, seed=0):
        pass
    def fit(self, train, validation):
        multiprocessing.set_start_method("fork", force=True)
        state = hashlib.sha256()
        for part in (train, validation):
            for seen in look(part.video):
                state.update(str((seen.shape, seen.dtype)).encode() + seen.tobytes())
        self.seen, self.kind, self.video = list(state.digest()), type(train.video).__name__, train.video
    def reconstruct(self, brain):
        told = self.video[np.arange(len(brain.subject))]  # also long after `fit`
        told[0, 0, 0, :32, 0], told[0, 0, 1, 0, 0] = self.seen[:32], self.kind == "ndarray"
        return told

class Greedy(Looks):
    def fit(self, train, validation):
        from bench.harness.inside import ask
        ask(train.video._line, train.video._number, np.arange(len(train.video)))
"""


@pytest.fixture(scope="module")
def sets(phantom):
    """Eighty trials to learn from and forty more, and the clips that both show."""
    fold = make_folds(phantom, "cross_subject")[0]
    scalings = fold_scalings(phantom, fold)
    return [show_set(phantom, rows, scalings) for rows in (fold.train[:80], fold.validation[:40])]


def reconstruct(sets, tmp_path: Path, name: str = "Looks") -> np.ndarray:
    (tmp_path / "looks.py").write_text(METHODS, encoding="utf-8")
    train, validation = sets
    with MethodProcess(f"{tmp_path / 'looks.py'}:{name}", suite=load_suite("mini"), seed=0, parameters={}) as method:
        method.fit(train, validation)
        return method.reconstruct(validation, shape=(len(validation.clip), *train.video.shape[1:]))


def test_a_method_sees_the_same_clips_served_as_in_memory(sets, monkeypatch, tmp_path) -> None:
    held = reconstruct(sets, tmp_path)
    monkeypatch.setattr(method_process, "FEW", 0)
    served = reconstruct(sets, tmp_path)
    assert (held[0, 0, 1, 0, 0], served[0, 0, 1, 0, 0]) == (1, 0)
    served[0, 0, 1, 0, 0] = 1
    np.testing.assert_array_equal(served, held)
    np.testing.assert_array_equal(held[1:], sets[0].video[1 : len(held)])


def test_nobody_is_read_more_rows_than_a_part_for(sets, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(method_process, "FEW", 0)
    monkeypatch.setattr(rules, "PART", 8 * sets[0].video[:1].nbytes)
    with pytest.raises(MethodError, match="Closed"):
        reconstruct(sets, tmp_path, "Greedy")
