"""Names of submitted videos: each number is a clip's, or the submission is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import BenchError
from bench.datasets.seed_dv.geometry import Geometry
from bench.doors.clip_names import Naming, match_clips, number_clips


def table(**columns) -> SimpleNamespace:
    """A data set of which only the stimuli are asked for."""
    frame = pd.DataFrame(columns)
    return SimpleNamespace(name="made_up", stimuli=SimpleNamespace(to_pandas=lambda: frame))


FILMS = table(clip=[7, 8, 9, 10], concept=[0, 0, 0, 0])
NUMBERS = number_clips(FILMS, np.array([8, 9, 10]), Naming(pattern="test{}", base=1))


def match(*names: str, **naming) -> dict[int, str]:
    asked = Naming(**{"pattern": "test{}", "base": 1, **naming})
    numbers = number_clips(FILMS, np.array([10, 9, 8, 8]), asked)
    return {clip: path.stem for clip, path in match_clips({n: Path(f"{n}.gif") for n in names}, numbers, asked).items()}


def test_numbers_count_the_tested_clips_from_the_base():
    assert match("test3", "test1") == {10: "test3", 8: "test1"}
    assert match("test0", "test002", base=0) == {8: "test0", 10: "test002"}


def test_any_text_may_stand_beside_a_number():
    asked = {"pattern": "{}-*", "base": 0}
    assert match("0-a-cat-on-2-trees", "2-", **asked) == {8: "0-a-cat-on-2-trees", 10: "2-"}
    with pytest.raises(BenchError, match="'cat-1'"):
        match("0-a-cat", "cat-1", **asked)
    with pytest.raises(BenchError, match="are both of clip 1"):
        match("1-a-cat", "1-a-dog", **asked)


def test_concepts_are_counted_as_the_papers_evaluate_them():
    geometry = Geometry()
    clips = geometry.clip_table()
    block = clips["clip"][clips["block"] == 7]
    numbers = number_clips(table(clip=clips["clip"], concept=clips["concept"]), block, Naming(base=0, order="concept"))
    assert [numbers[i] for i in range(200)] == geometry.concept_order(7).tolist()


def test_a_stimulus_may_have_a_number_of_its_own():
    films = table(clip=[0, 1, 2], concept=[0, 0, 0], number=[7561, 7560, 4860])
    assert number_clips(films, np.array([0, 1]), Naming(order="file")) == {7561: 0, 7560: 1}
    with pytest.raises(BenchError, match="have no numbers of their own"):
        number_clips(FILMS, np.array([8]), Naming(order="file"))


REFUSED = {
    "beyond the last": (("test1", "test4"), "test4; numbers go from 1 to 3"),
    "before the first": (("test0", "test1"), r"test0; .* counted from 0 \(--base 0\)"),
    "far away": (("test1", "test77"), "test77; numbers go from 1 to 3"),
    "leading zeros, twice": (("test1", "test01"), "test1 and test01 are both of clip 1"),
    "no number": (("test1", "notes"), "'notes'"),
    "something behind": (("test1", "test2 (copy)"), r"'test2 \(copy\)'"),
    "another case": (("Test1",), "'Test1'"),
    "a sign": (("test-1",), "'test-1'"),
    "full-width digits": (("test\uff11",), "not named 'test{}'"),
    "Arabic digits": (("test\u0661",), "not named 'test{}'"),
    "a superscript": (("test\u00b2",), "not named 'test{}'"),
    "a hidden letter": (("test\u200b1",), "not named 'test{}'"),
    "a line end": (("test1\n",), "not named 'test{}'"),
    "many digits": (("test0000001",), "not named 'test{}'"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_names_that_are_no_clip_s_are_refused(why):
    names, words = REFUSED[why]
    with pytest.raises(BenchError, match=words):
        match(*names)


@pytest.mark.parametrize(
    ("naming", "words"),
    [
        ({"pattern": "test"}, "needs {} once"),
        ({"pattern": "{}{}"}, "needs {} once"),
        ({"pattern": "../{}"}, "needs {} once"),
        ({"base": 2}, "numbered 0 or 1"),
        ({"base": 1, "order": "file"}, "leave --base out"),
        ({"order": "random"}, "allowed are shown, concept, file"),
    ],
)
def test_a_naming_that_means_nothing_is_refused(naming, words):
    with pytest.raises(BenchError, match=words):
        Naming(**naming)


def test_the_base_is_never_guessed():
    with pytest.raises(BenchError, match="nothing in a name tells"):
        match("test1", base=None)
    with pytest.raises(BenchError, match="have no labels"):
        match("test1", order="concept")
