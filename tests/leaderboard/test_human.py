"""People's judgement: agreement as published, a tally as in closed form, answers refused, and the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pretended import pretend_current
from scipy import stats
from studies import make_study
from walls import CLIPS, SUBJECTS, make_cells, make_dataset

from bench.cli import main
from leaderboard.stats.agreement import krippendorff_alpha
from leaderboard.web.human import LARGEST, QUESTIONS, HumanError, tally

X = float("nan")
KRIPPENDORFF = [  # 4 observers × 12 units: his paper of 2011, section C
    [1, 2, 3, 3, 2, 1, 4, 1, 2, X, X, X],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, X, 3],
    [X, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, X],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, X],
]
Rate = Callable[[dict[str, Any], str], int]  # what is known of a video, and a question → 1 to 5


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    return make_study(tmp_path_factory.mktemp("human"))


# Agreement


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_the_published_one(level, published):
    assert krippendorff_alpha(KRIPPENDORFF, level=level) == pytest.approx(published, abs=5e-4)


@given(st.lists(st.lists(st.integers(1, 5), min_size=4, max_size=4), min_size=2, max_size=4))
def test_alpha_is_one_less_observed_over_expected_disagreement(ratings):
    """Against the definition, over pairs of values, for a table without holes."""
    table = np.array(ratings, dtype=float)
    raters, units = table.shape
    within = [
        (table[i, u] - table[j, u]) ** 2 for u in range(units) for i in range(raters) for j in range(raters) if i != j
    ]
    values = table.ravel()
    apart = np.subtract.outer(values, values) ** 2
    expected = apart.sum() / (len(values) * (len(values) - 1))
    alpha = krippendorff_alpha(table, level="interval")
    if expected == 0:
        assert np.isnan(alpha)
    else:
        assert alpha == pytest.approx(1 - np.mean(within) / expected)


def test_raters_who_agree_have_one_and_order_matters_not():
    table = np.array([[1, 5, 3, 2], [1, 5, 3, 2], [1, 5, 3, 2]], dtype=float)
    assert krippendorff_alpha(table) == 1
    mixed = np.random.default_rng(0).integers(1, 6, (4, 9)).astype(float)
    assert krippendorff_alpha(mixed[::-1, ::-1]) == pytest.approx(krippendorff_alpha(mixed))


@pytest.mark.parametrize("bad", [[1, 2, 3], [[1.0, float("inf")], [1, 2]], [[1, X], [X, 2]]])
def test_what_has_no_pairs_has_no_agreement(bad):
    with pytest.raises(ValueError, match=r"allowed is|two raters"):
        krippendorff_alpha(bad)


def write_answers(study: Path, path: Path, rater: str, rate: Rate) -> Path:
    key = json.loads((study / "key.json").read_text())
    asked = [(name, about) for name, about in key["items"].items() if not about["absent"]]
    answers = [
        {"item": name, "letter": "A", "position": place + 1, **{one: rate(about, one) for one in QUESTIONS}}
        for place, (name, about) in enumerate(asked)
    ]
    record = {"schema": 1, "study": key["study"], "rater": rater, "answers": answers}
    path.write_text(json.dumps(record))
    return path


# The tally


def test_one_rater_gives_the_interval_over_concepts(study, tmp_path):
    """One rater, two clips a concept: Student's interval of the concepts' means."""
    rng = np.random.default_rng(3)
    level = {clip: int(rng.integers(2, 6)) for clip in CLIPS}
    one = write_answers(
        study, tmp_path / "a.json", "a", lambda about, _: 1 if about["shuffled"] else level[about["clip"]]
    )
    table = tally([one], study / "key.json").set_index(["question", "method"])
    means = np.array([level[clip] for clip in CLIPS]).reshape(-1, 2).mean(axis=1)
    expected = stats.ttest_1samp(means, 0).confidence_interval()
    for question in QUESTIONS:
        row = table.loc[question, "two"]
        assert row["value"] == pytest.approx(means.mean())
        assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
        assert row["shuffled"] == 1 and row["difference_to_shuffled"] == pytest.approx(means.mean() - 1)
        assert row["mark"] == "" and np.isnan(row["alpha"]) and row["generalises_to"] == "stimuli"


def test_methods_and_floors_are_told_apart(study, tmp_path):
    """`one` is planted a point above its shuffled brain, `two` is not; raters differ in level alone."""

    def rate(level: int) -> Rate:
        def give(about: dict[str, Any], question: str) -> int:
            better = about["method"] == "one" and not about["shuffled"] and question != "visual"
            return level + better + about["clip"] % 2

        return give

    files = [write_answers(study, tmp_path / f"{level}.json", f"r{level}", rate(level)) for level in (1, 2, 3)]
    table = tally(files, study / "key.json").set_index(["question", "method"])
    assert table.loc[("semantic", "one"), "value"] == pytest.approx(2 + 1 + 0.5)
    assert table.loc[("semantic", "one"), "difference_to_shuffled"] == pytest.approx(1)
    assert table["mark"].to_dict() == {
        (question, method): "" if (method, question != "visual") == ("one", True) else "n.s."
        for question in QUESTIONS
        for method in ("one", "two")
    }
    assert set(table["raters"]) == {3} and set(table["n_clips"]) == {len(CLIPS)}
    again = tally(files[::-1], study / "key.json").set_index(["question", "method"])
    assert again.equals(table)


def test_alpha_is_that_of_all_videos(study, tmp_path):
    rng = np.random.default_rng(0)
    key = json.loads((study / "key.json").read_text())
    given = {rater: {name: int(rng.integers(1, 6)) for name in key["items"]} for rater in "abc"}
    names = {id(about): name for name, about in key["items"].items()}
    assert len(names) == len(key["items"])
    files = []
    for rater, ratings in given.items():
        place = iter(ratings.items())
        answers = [
            {"item": name, "letter": "A", "position": number + 1, **dict.fromkeys(QUESTIONS, value)}
            for number, (name, value) in enumerate(place)
        ]
        files.append(tmp_path / f"{rater}.json")
        record = {"schema": 1, "study": key["study"], "rater": rater, "answers": answers}
        files[-1].write_text(json.dumps(record))
    table = tally(files, study / "key.json")
    expected = krippendorff_alpha([list(one.values()) for one in given.values()])
    np.testing.assert_allclose(table["alpha"], expected)


def test_what_is_missing_is_shown_to_nobody_and_scores_the_worst(tmp_path):
    folder = make_study(tmp_path, shuffled=False, missing=len(SUBJECTS) * len(CLIPS))
    page = (folder / "page" / "index.html").read_text()
    shown = json.loads(page.partition('id="study">')[2].partition("</script>")[0])
    assert not any(clip["items"] for clip in shown["clips"])


# Answers that nobody's page wrote


def change(**parts: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record | parts


def first(**parts: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record | {"answers": [record["answers"][0] | parts, *record["answers"][1:]]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(study="0" * 64), "of another study"),
        (change(schema=2), "schema 2"),
        (change(schema=True), "schema True"),
        (change(rater="a b"), "an id has"),
        (change(rater="../../x"), "an id has"),
        (change(rater=3), "an id has"),
        (change(more=1), "exactly"),
        (change(answers={}), "must be a list"),
        (lambda record: [record], "exactly"),
        (lambda record: record | {"answers": record["answers"][1:]}, "have no answer"),
        (lambda record: record | {"answers": [*record["answers"], record["answers"][0]]}, "twice"),
        (lambda record: record | {"answers": [*record["answers"], 3]}, "an answer has exactly"),
        (first(item="0" * 16), "not of this study"),
        (first(item=["x"]), "not of this study"),
        (first(semantic=0), "semantic of item"),
        (first(temporal=6), "whole numbers from 1 to 5"),
        (first(visual=3.5), "whole numbers"),
        (first(visual=3.0), "whole numbers"),
        (first(fidelity=True), "whole numbers"),
        (first(fidelity="3"), "whole numbers"),
        (first(fidelity=None), "whole numbers"),
        (first(fidelity=float("nan")), "NaN is no JSON"),
        (first(fidelity=float("inf")), "Infinity is no JSON"),
        (first(position=0), "has the place"),
        (first(letter="<b>"), "has the place"),
        (first(extra=1), "an answer has exactly"),
    ],
)
def test_answers_that_are_not_the_page_s_are_refused(study, tmp_path, spoil, message):
    path = write_answers(study, tmp_path / "a.json", "a", lambda *_: 3)
    assert len(tally([path], study / "key.json")) == 8
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    with pytest.raises(HumanError, match=message):
        tally([path], study / "key.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file of answers"),
        (b"\xff\xfe\x00", "no file of answers"),
        (b"[" * 100_000, "no file of answers"),
        (b'{"schema": 1, "schema": 1}', "a name stands twice"),
        (b" " * (LARGEST + 1), "larger than 1 MiB"),
    ],
    ids=["empty", "bytes", "deep", "repeated", "huge"],
)
def test_files_that_are_no_answers_are_refused(study, tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(HumanError, match=message):
        tally([tmp_path / "a.json"], study / "key.json")


def test_a_rater_counts_once_and_a_key_is_whole(study, tmp_path):
    files = [write_answers(study, tmp_path / f"{name}.json", "a", lambda *_: 3) for name in "xy"]
    with pytest.raises(HumanError, match="'a' is in another file"):
        tally(files, study / "key.json")
    with pytest.raises(HumanError, match="no answers"):
        tally([], study / "key.json")
    with pytest.raises(HumanError, match="name a file that a rater downloaded"):
        tally([tmp_path / "none.json"], study / "key.json")
    altered = (study / "key.json").read_text().replace('"method": "one"', '"method": "two"', 1)
    (tmp_path / "key.json").write_text(altered)
    with pytest.raises(HumanError, match="was altered"):
        tally(files[:1], tmp_path / "key.json")
    (tmp_path / "key.json").write_text("[]")
    with pytest.raises(HumanError, match="no key of a study"):
        tally(files[:1], tmp_path / "key.json")


# The commands


def test_a_study_is_built_and_tallied_by_command(tmp_path, monkeypatch, capsys):
    dataset = make_dataset()
    make_cells(tmp_path / "runs", methods=("sam_net", "retrieval"))
    pretend_current(monkeypatch, dataset)

    def build(name: str, *more: str) -> int:
        sides = ["--method", "sam_net", "--method", "retrieval", "--count", "2", "--dataset", dataset.name]
        return main(
            ["human", "build", *sides, "--runs", str(tmp_path / "runs"), "--output", str(tmp_path / name), *more]
        )

    assert build("a") == build("b") == 0
    keys = [json.loads((tmp_path / name / "key.json").read_text()) for name in "ab"]
    assert not set(keys[0]["items"]) & set(keys[1]["items"])  # nobody knows the names beforehand
    assert build("c", "--name-seed", str(keys[0]["seed"])) == 0
    assert (tmp_path / "c" / "key.json").read_bytes() == (tmp_path / "a" / "key.json").read_bytes()
    answers = write_answers(tmp_path / "a", tmp_path / "answers.json", "ann", lambda *_: 4)
    capsys.readouterr()
    assert main(["human", "tally", str(tmp_path / "a" / "key.json"), str(answers), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["method"], row["value"], row["mark"]) for row in rows} == {
        ("sam_net", 4, "n.s."),
        ("retrieval", 4, "n.s."),
    }
    assert main(["human", "tally", str(tmp_path / "b" / "key.json"), str(answers)]) == 1
    assert "of another study" in " ".join(capsys.readouterr().err.split())
    assert build("d", "--split", "new_subject") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "python -m bench run --method sam_net --variant base --seeds 1 --split new_subject" in said
