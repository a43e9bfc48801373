"""Preferences: shares as by counting, planted likings found, guessing told, and answers that no page writes refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from studies import make_study

from bench import tally_study
from leaderboard.web.human import QUESTIONS, HumanError

METHODS = ("one", "two", "three")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("preferences")
    return make_study(folder, methods=METHODS, shuffled=False, form="preference")


def choose(study: Path, path: Path, rater: str, pick: Any, *, first: int | None = None) -> Path:
    """A rater's file; `pick(group, methods)` names the method that is liked best, of all four questions."""
    key = json.loads((study / "key.json").read_text())
    answers = []
    for place, (group, items) in enumerate(list(key["groups"].items())[:first]):
        by_method = {key["items"][one]["method"]: one for one in items}
        answers.append({"group": group, "position": place + 1, **dict.fromkeys(QUESTIONS, by_method[pick(place)])})
    path.write_text(json.dumps({"schema": 1, "study": key["study"], "rater": rater, "answers": answers}))
    return path


def test_shares_are_counted_and_add_up(study, tmp_path):
    rng = np.random.default_rng(0)
    drawn = rng.choice(3, (4, 20), p=[0.6, 0.3, 0.1])
    files = [
        choose(study, tmp_path / f"{i}.json", f"r{i}", lambda place, i=i: METHODS[drawn[i, place]]) for i in range(4)
    ]
    table = tally_study(study / "key.json", files).set_index(["question", "method"])
    groups = len(json.loads((study / "key.json").read_text())["groups"])
    for question in QUESTIONS:
        shares = table.loc[question, "value"]
        assert shares.sum() == pytest.approx(1)
        for number, method in enumerate(METHODS):
            assert shares[method] == pytest.approx((drawn[:, :groups] == number).mean())
    assert set(table["chance"]) == {1 / 3} and set(table["raters"]) == {4} and set(table["n_clips"]) == {groups}


def test_a_liking_is_found_and_guessing_is_not(study, tmp_path):
    rng = np.random.default_rng(1)
    liked = [choose(study, tmp_path / f"l{i}.json", f"l{i}", lambda place: "two") for i in range(3)]
    table = tally_study(study / "key.json", liked).set_index(["question", "method"])
    assert table.loc[("semantic", "two"), "mark"] == "" and table.loc[("semantic", "one"), "mark"] == "n.s."
    assert np.isnan(table["alpha"]).all()  # all the same: nothing to agree about
    found = 0
    for trial in range(40):
        drawn = rng.integers(0, 3, (5, 20))
        files = [
            choose(study, tmp_path / f"g{i}.json", f"g{i}", lambda place, row=drawn[i]: METHODS[row[place]])
            for i in range(5)
        ]
        guessed = tally_study(study / "key.json", files)
        found += int((guessed.loc[guessed["question"] == "semantic", "mark"] == "").sum())
        assert abs(guessed["alpha"]).max() < 0.5, trial
    assert found <= 7  # of 120, one side of 95 %


def test_raters_who_saw_different_groups_have_the_interval_over_raters(tmp_path):
    folder = make_study(tmp_path, methods=METHODS, shuffled=False, form="preference", each=2)
    key = json.loads((folder / "key.json").read_text())
    groups, levels, files = list(key["groups"]), [], []
    for i in range(4):
        mine = [groups[i % len(groups)], groups[(i + 1) % len(groups)]]
        answers = []
        for place, group in enumerate(mine):
            by_method = {key["items"][one]["method"]: one for one in key["groups"][group]}
            answers.append({"group": group, "position": place + 1,
                            **dict.fromkeys(QUESTIONS, by_method["one" if (i + place) % 3 else "two"])})  # fmt: skip
        levels.append(np.mean([bool((i + place) % 3) for place in range(2)]))
        files.append(tmp_path / f"{i}.json")
        files[-1].write_text(json.dumps({"schema": 1, "study": key["study"], "rater": f"r{i}", "answers": answers}))
    row = tally_study(folder / "key.json", files).set_index(["question", "method"]).loc[("visual", "one")]
    expected = stats.ttest_1samp(levels, 0).confidence_interval()
    assert row["value"] == pytest.approx(np.mean(levels)) and row["generalises_to"] == "raters"
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.clip(expected, 0, 1)))


def test_shuffled_brains_are_floors_of_their_own(tmp_path):
    folder = make_study(tmp_path, methods=("one",), shuffled=True, form="preference")
    key = json.loads((folder / "key.json").read_text())
    answers = [
        {"group": group, "position": place + 1,
         **dict.fromkeys(QUESTIONS, next(one for one in items if key["items"][one]["shuffled"] == (place == 0)))}
        for place, (group, items) in enumerate(key["groups"].items())
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps({"schema": 1, "study": key["study"], "rater": "a", "answers": answers}))
    row = tally_study(folder / "key.json", [tmp_path / "a.json"]).iloc[0]
    assert row["shuffled"] == pytest.approx(1 / len(answers)) and row["value"] == pytest.approx(1 - 1 / len(answers))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda record, key: record["answers"].pop(), "have an answer"),
        (lambda record, key: record["answers"].append(record["answers"][0]), "twice"),
        (lambda record, key: record["answers"][0].update(group="x"), "not of this study"),
        (lambda record, key: record["answers"][0].update(group=["x"]), "not of this study"),
        (lambda one, key: one["answers"][0].update(visual=one["answers"][1]["visual"]), "no video of that group"),
        (lambda record, key: record["answers"][0].update(visual=3), "no video of that group"),
        (lambda record, key: record["answers"][0].update(visual=[]), "no video of that group"),
        (lambda record, key: record["answers"][0].update(position=0), "has the place"),
        (lambda record, key: record["answers"][0].update(more=0), "exactly"),
        (lambda record, key: record.update(study="0"), "another study"),
    ],
)  # fmt: skip
def test_what_no_page_writes_is_refused(study, tmp_path, spoil, message):
    path = choose(study, tmp_path / "a.json", "a", lambda place: "one")
    record = json.loads(path.read_text())
    spoil(record, None)
    path.write_text(json.dumps(record))
    with pytest.raises(HumanError, match=message):
        tally_study(study / "key.json", [path])


def test_what_is_no_preference_is_not_built(tmp_path):
    with pytest.raises(HumanError, match="two videos or more"):
        make_study(tmp_path / "a", methods=("one",), shuffled=False, form="preference")
    with pytest.raises(HumanError, match="each=99"):
        make_study(tmp_path / "b", methods=METHODS, shuffled=False, form="preference", each=99)
    with pytest.raises(HumanError, match="each=1"):
        make_study(tmp_path / "c", methods=METHODS, each=1)
