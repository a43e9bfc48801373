"""Rows that are read when they are indexed answer as the array that they stand for, and never read all at once."""

from __future__ import annotations

import numpy as np
import pytest

from bench.toolbox import rows as rules
from bench.toolbox.rows import Chosen, Joined, Rows, collect, digest_video, rows_at_once, walk

WHOLE = np.random.default_rng(0).integers(0, 256, (11, 2, 3, 4, 3), dtype=np.uint8)


class Counted(Rows):
    """`WHOLE`, remembering how many rows were read at once."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        super().__init__(WHOLE.shape, WHOLE.dtype)
        self.asked: list[int] = []

    def read(self, rows):
        self.asked.append(len(rows))
        return WHOLE[rows]


@pytest.fixture
def narrow(monkeypatch) -> None:
    """Three rows at once."""
    monkeypatch.setattr(rules, "PART", 3 * WHOLE[0].nbytes)


@pytest.mark.parametrize(
    "key",
    [
        *(0, -1, np.int64(4), slice(None), slice(2, 9, 3), slice(0, 0), slice(None, None, -1), [3, -2, 3]),
        *(np.arange(11) % 3 == 1, np.array([[1, 2], [0, 10]]), np.zeros(0, np.int64), ...),
        *((slice(1, 8), 1), (slice(None), [0, 1], ..., 2), (np.array([5, 1]), slice(None), 0), (2, 0), ()),
    ],
    ids=str,
)
def test_indexing_is_an_arrays(narrow, key) -> None:
    served = Counted()
    for array in (served, Joined([WHOLE[:4], served_tail()]), Chosen(WHOLE, np.arange(11))):
        found = array[key]
        assert found.dtype == WHOLE.dtype
        np.testing.assert_array_equal(found, WHOLE[key])
    assert max(served.asked, default=0) <= 3


def served_tail() -> Rows:
    return Chosen(WHOLE, np.arange(4, 11))


def test_the_rest_of_an_array_is_there_or_is_explained(narrow) -> None:
    served = Counted()
    np.testing.assert_array_equal(np.asarray(served), WHOLE)
    np.testing.assert_array_equal(np.stack(list(served)), WHOLE)
    np.testing.assert_array_equal(np.concatenate(list(walk(served))), WHOLE)
    assert (len(served), served.shape, served.ndim, served.nbytes) == (11, WHOLE.shape, 5, WHOLE.nbytes)
    assert max(served.asked) == 3 and rows_at_once(served) == 3
    with pytest.raises(IndexError):
        served[11]
    with pytest.raises(AttributeError, match=r"11×2×3×4×3 .* no attribute 'mean': index some first"):
        served.mean()


def test_the_digest_is_that_of_the_whole_and_asked_for_once(narrow) -> None:
    served = Counted()
    assert digest_video(served) == digest_video(WHOLE) == digest_video(WHOLE[:, :, :, ::-1][:, :, :, ::-1])
    asked = len(served.asked)
    assert digest_video(served) == digest_video(WHOLE) and len(served.asked) == asked
    assert digest_video(Chosen(WHOLE, np.arange(11)[::-1])) != digest_video(WHOLE)


@pytest.mark.parametrize("held", [10**6, 0])
def test_parts_are_put_together_in_memory_or_in_a_file(monkeypatch, tmp_path, held: int) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    monkeypatch.setattr(rules, "HELD", held)
    made = collect((part.astype(np.float32) for part in walk(WHOLE, most=4)), len(WHOLE))
    assert isinstance(made, np.memmap) == (not held) and made.dtype == np.float32
    np.testing.assert_array_equal(made, WHOLE)
    made += 1  # it is its owner's
    assert not list(tmp_path.rglob("*tmp*"))  # no name is left
    assert collect(iter([WHOLE[:0]]), 0).shape == (0, *WHOLE.shape[1:])
    with pytest.raises(ValueError, match="7 rows came where 11"):
        collect(iter([WHOLE[:7]]), 11)
