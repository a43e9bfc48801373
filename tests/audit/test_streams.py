"""Memory does not grow with the number of clips, and a measure of it would tell where it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.audit.streams import SHAPE, ColouredClips, Meter, measure_streams
from bench.datasets.outside import examine

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux alone")


def test_a_clip_is_made_of_its_number() -> None:
    dataset = ColouredClips(80, (2, 4, 5))
    assert [status for _, status, _ in examine(dataset)] == ["ok"] * 5
    one, other = dataset.video([3, 300]), dataset.video([300])
    np.testing.assert_array_equal(one[1], other[0])
    assert one.shape == (2, 2, 4, 5, 3) and (one == one[:, :1, :1, :1]).all() and (one[0] != one[1]).any()
    assert len(np.unique(dataset.colours(np.arange(256)), axis=0)) == 256
    assert 5000 * np.prod(SHAPE) * 3 > 171e9


def test_the_meter_sees_what_is_held_and_in_which_phase() -> None:
    meter = Meter()
    with meter.watching("before"):
        pass
    held = np.ones(2**26, np.uint8)
    with meter.watching("held"):
        pass
    assert meter.peaks["held"] - meter.peaks["before"] > 0.9 * held.nbytes / 2**20


def test_ten_times_the_clips_take_no_more_memory() -> None:
    """250 KB a clip, 10 MB of them and 100 MB, 75 of which are trained on; 2 MB may be held at once. A cell of many
    comes first, as memory that was once asked for is not given back."""
    table = measure_streams((400, 40, 400), (9, 96, 96), held=2**21)
    assert table["clips"].tolist() == ["400", "40", "400", "400 / 400"]
    first, few, many, ratio = (table.iloc[row].drop("clips").astype(float) for row in range(4))
    assert list(few.index) == ["fit", "reconstruct", "score", "peak"]
    grown = many - few  # MiB; the clips would be 75 more
    assert (grown < 60).all(), table
    assert (ratio - many / first).abs().max() < 1e-9
