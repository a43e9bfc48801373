"""Clips and views that are read some at a time score what they score in memory, and are never all read at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.scoring import views
from bench.scoring.score_pairings import score_pairings
from bench.scoring.views import Viewer, summarise
from bench.toolbox import rows as rules
from bench.toolbox.rows import Made
from metrics.protocols import PROTOCOLS
from metrics.specs import Scored

CLIPS, THERE = 9, np.array([0, 1, 2, 4, 5, 6, 8])
METRICS = [PROTOCOLS["corrected"][name] for name in ("ssim", "frame_40way", "hue_correlation", "dtc", "epe_dis", "fvd")]
METRICS += [PROTOCOLS["vbench"]["dynamic_degree"], PROTOCOLS["real"]["frame_frechet"]]


def draw(count: int, seed: int) -> Scored:
    generator = np.random.default_rng(seed)
    shapes = {
        "frame": (6, 50),
        "dinov2": (6, 8),
        "features": (5,),
        "frame_features": (6, 4),
        "raft_vbench": (5, 9, 9, 2),
    }
    return Scored(
        video=generator.integers(0, 256, (count, 6, 36, 40, 3), dtype=np.uint8),
        views={view: generator.normal(size=(count, *shape)).astype(np.float32) for view, shape in shapes.items()},
    )


def stream(scored: Scored, asked: list[int]) -> Scored:
    """The same, every array made row by row."""

    def read(array: np.ndarray) -> Any:
        def make(rows: np.ndarray) -> np.ndarray:
            asked.append(len(rows) * array[:1].nbytes)
            return array[rows]

        return Made(make, array.shape, array.dtype)

    assert scored.video is not None
    return Scored(video=read(scored.video), views={view: read(seen) for view, seen in scored.views.items()})


def test_values_are_those_of_arrays_in_memory(monkeypatch) -> None:
    prediction, target, asked = draw(len(THERE), 1), draw(CLIPS, 2), []
    pairings = [np.arange(CLIPS), *(np.random.default_rng(seed).permutation(CLIPS) for seed in range(10))]
    held = score_pairings(METRICS, prediction, target, np.arange(CLIPS), THERE, pairings)
    monkeypatch.setattr(rules, "HELD", 0)
    monkeypatch.setattr(rules, "PART", 2 * 6 * 36 * 40 * 3)
    some = score_pairings(METRICS, stream(prediction, asked), stream(target, asked), np.arange(CLIPS), THERE, pairings)
    assert max(asked) <= rules.PART
    for metric, ours, theirs in zip(METRICS, some, held, strict=True):
        assert len(ours) == (1 + metric.shuffles if metric.paired else 2)
        np.testing.assert_array_equal(np.stack(ours), np.stack(theirs), err_msg=metric.name)


@pytest.mark.parametrize("size", [1, 10**9])
def test_judges_look_at_some_clips_at_a_time(monkeypatch, tmp_path, size: int) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    monkeypatch.setattr(views, "LOOKED", size)
    monkeypatch.setattr(rules, "HELD", size)
    video, asked = draw(CLIPS, 3).video, []
    assert video is not None

    class Judges:
        def observe_many(self, wanted, clips):
            asked.append(len(clips))
            return {view: clips.mean(axis=(2, 3)).astype(np.float32) for view in wanted}

        def digest(self, view):
            return f"{size} {view}"

    for _ in range(2):  # the second time from the cache
        seen = Viewer(Judges()).look_once({"clip", "dino"}, stream(Scored(video=video), []).video)
        assert set(seen) == {"clip", "dino"}
        np.testing.assert_array_equal(seen["clip"], video.mean(axis=(2, 3)).astype(np.float32))
        np.testing.assert_array_equal(summarise(seen["clip"])[3], summarise(np.array(seen["clip"][3:4]))[0])
    assert asked == ([1] * CLIPS if size == 1 else [CLIPS])
