"""Committed results: what is published is read back, and nothing that was altered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.core.spec import digest
from leaderboard.results import COLUMNS, Committed, ResultsError, publish, read_manifests, read_results
from leaderboard.tables import result_table
from metrics.protocols import PROTOCOLS


def make_cell(key: str, *, method: str = "one", fold: str = "sub01", **spec: Any) -> Any:
    """A cell as far as publishing asks: its key and its verified manifest."""
    about = {
        "dataset": "phantom_eeg:tiny", "split": "single_subject", "fold": fold, "classes": 40, "method": method,
        "suite": "mini", "seed": 0, "data_digest": "d" * 64, "suite_digest": "s" * 64, **spec,
    }  # fmt: skip
    manifest = {"key": key, "spec": about, "variant": "base", "role": "method", "parameter_count": 7, "phantom": True}
    return SimpleNamespace(key=key, manifest=manifest)


def make_scores(key: str, subject: int) -> pd.DataFrame:
    rng = np.random.default_rng(subject)
    return pd.DataFrame(
        {
            "cell": key, "protocol": "corrected", "metric": np.repeat(["ssim", "psnr"], 4), "subject": subject,
            "clip": np.tile([9, 3, 5, 7], 2), "concept": np.tile([1, 0, 0, 1], 2), "status": "ok",
            "value": rng.random(8), "shuffled": rng.random(8),
        }
    )  # fmt: skip


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    cells = [make_cell("a1"), make_cell("b2", fold="sub02"), make_cell("c3", method="two")]
    scores = pd.concat([make_scores("a1", 1), make_scores("b2", 2), make_scores("c3", 1)], ignore_index=True)
    publish(cells, scores, tmp_path)
    return tmp_path, scores


def test_what_is_published_is_read_back(published):
    folder, scores = published
    found = read_results(folder)
    merged = found.merge(scores, on=COLUMNS[:7], suffixes=("", "_before"), validate="one_to_one")
    assert len(merged) == len(scores) == len(found)
    np.testing.assert_allclose(merged["value"], merged["value_before"], rtol=1e-7)
    np.testing.assert_allclose(merged["shuffled"], merged["shuffled_before"], rtol=1e-7)
    assert found["fold"].groupby(found["cell"]).first().to_dict() == {"a1": "sub01", "b2": "sub02", "c3": "sub01"}
    assert set(found["parameters"]) == {7} and found["phantom"].all()
    assert [manifest["key"] for manifest in read_manifests(folder)] == ["a1", "b2", "c3"]
    assert read_results(folder, dataset="phantom_fmri").empty


def test_committed_results_are_asked_as_a_store_is(published):
    folder, _ = published
    whole, shelf = read_results(folder), Committed(folder)
    key = whole["cell"].iloc[-1]
    assert shelf.find(key) is not None and shelf.find("0" * 16) is None
    expected = whole[whole["cell"] == key].reset_index(drop=True)
    pd.testing.assert_frame_equal(shelf.read([key, "0" * 16], ("corrected",)), expected)
    assert shelf.read([key], ("eeg2video",)).empty and shelf.read([], ("corrected",)).empty


def test_a_fold_that_is_committed_is_not_lost(tmp_path):
    both = [make_cell("aa", fold="sub01"), make_cell("bb", fold="sub02")]
    scores = pd.concat([make_scores("aa", 1), make_scores("bb", 2)])
    publish(both, scores, tmp_path)
    with pytest.raises(ResultsError, match=r"fold sub02 with seed 0.*remove the file"):
        publish(both[:1], scores, tmp_path)
    assert set(read_results(tmp_path)["cell"]) == {"aa", "bb"}
    newer = make_cell("cc", fold="sub01", data_digest="e" * 64)  # other data: what was there is out of date
    publish([newer], scores.assign(cell="cc"), tmp_path)
    assert set(read_results(tmp_path)["cell"]) == {"cc"}


def test_a_submission_does_not_take_the_place_of_what_was_reproduced(tmp_path):
    cells, scores = [make_cell("aa")], make_scores("aa", 1)
    publish(cells, scores, tmp_path)
    with pytest.raises(ResultsError, match="was reproduced, these are submitted: give the method another name"):
        publish(cells, scores, tmp_path, door="submitted")
    publish([make_cell("bb", method="theirs")], scores.assign(cell="bb"), tmp_path, door="submitted")
    doors = read_results(tmp_path).groupby("method")["door"].first()
    assert doors.to_dict() == {"one": "reproduced", "theirs": "submitted"}


def test_publishing_again_gives_the_same_files(published):
    folder, scores = published
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    shuffled = scores.sample(frac=1, random_state=0, ignore_index=True)
    publish([make_cell("b2", fold="sub02"), make_cell("a1"), make_cell("c3", method="two")], shuffled, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def one_record(folder: Path) -> tuple[Path, dict[str, Any]]:
    path = folder / "phantom_eeg-tiny" / "single_subject" / "two.base.40.json"
    return path, json.loads(path.read_text())


def test_scores_of_an_older_version_of_a_metric_stay_and_are_marked(published, monkeypatch):
    folder, scores = published
    assert set(read_results(folder)["version"]) == {1}
    renewed = [replace(one, version=3) if one.name == "ssim" else one for one in PROTOCOLS["corrected"].metrics]
    monkeypatch.setitem(PROTOCOLS, "corrected", replace(PROTOCOLS["corrected"], metrics=tuple(renewed)))
    old = read_results(folder)
    assert set(old["version"]) == {1}
    marks = result_table(old).groupby("metric")["mark"].apply(" ".join)
    assert "metric v1 (now v3)" in marks["ssim"] and "metric" not in marks["psnr"]
    publish([make_cell("c3", method="two")], scores, folder)  # scored anew, so with the metrics of today
    new = read_results(folder)
    assert new.groupby(["method", "metric"])["version"].unique().map(list).to_dict() == {
        ("one", "psnr"): [1], ("one", "ssim"): [1], ("two", "psnr"): [1], ("two", "ssim"): [3],
    }  # fmt: skip
    table = result_table(new).set_index(["method", "metric"])["mark"]
    assert "metric" in table["one", "ssim"] and "metric" not in table["two", "ssim"]


def test_altered_scores_are_refused(published):
    path, _ = one_record(published[0])
    scores = path.with_suffix(".parquet")
    scores.write_bytes(scores.read_bytes()[:-9] + b"x" * 9)
    with pytest.raises(ResultsError, match="not what two"):
        read_results(published[0])


def test_an_altered_manifest_is_refused(published):
    path, record = one_record(published[0])
    record["cells"][0]["parameter_count"] = 8
    path.write_text(json.dumps(record))
    with pytest.raises(ResultsError, match="not what its digest says"):
        read_results(published[0])


def test_a_cell_in_another_s_file_is_refused(published):
    path, record = one_record(published[0])
    manifest = record["cells"][0]
    manifest["spec"]["method"] = "one"
    manifest["manifest_digest"] = digest({name: value for name, value in manifest.items() if name != "manifest_digest"})
    path.write_text(json.dumps(record))
    with pytest.raises(ResultsError, match="another file"):
        read_results(published[0])


def test_results_of_other_data_do_not_stand_in_one_table(published):
    folder, before = published[0], {path: path.read_bytes() for path in published[0].rglob("*.*")}
    with pytest.raises(ResultsError, match="different phantom_eeg:tiny data"):
        publish([make_cell("d4", method="three", data_digest="e" * 64)], make_scores("d4", 1), folder)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


@pytest.mark.parametrize("name", ["../up", "/etc", "a b", "<script>", ""])
def test_names_that_are_no_file_names_are_refused(tmp_path, name):
    with pytest.raises(ResultsError, match="cannot be committed"):
        publish([make_cell("a1", method=name)], make_scores("a1", 1), tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_a_cell_without_scores_is_not_published(tmp_path):
    with pytest.raises(ResultsError, match="has no scores"):
        publish([make_cell("a1")], make_scores("b2", 1), tmp_path)


def test_a_name_is_its_first_publisher_s_on_every_data_set(tmp_path):
    """Under the very name of the file, and on another data set."""
    publish([make_cell("aa")], make_scores("aa", 1), tmp_path, door="submitted", owner="A")
    publish([make_cell("aa")], make_scores("aa", 1), tmp_path, door="submitted", owner="A")
    elsewhere = make_cell("bb", dataset="phantom_fmri", data_digest="e" * 64)
    for cell in (make_cell("aa"), make_cell("cc", fold="sub01", data_digest="e" * 64), elsewhere):
        with pytest.raises(ResultsError, match=r"belongs to who published it first .submitted by A"):
            publish([cell], make_scores(cell.key, 1), tmp_path, door="submitted", owner="B")
    publish([elsewhere], make_scores("bb", 1), tmp_path, door="submitted", owner="A")
    assert set(read_results(tmp_path)["cell"]) == {"aa", "bb"}


def test_folds_that_the_split_has_are_kept_and_counted(tmp_path):
    folds = {("phantom_eeg:tiny", "single_subject", 40): ["sub01", "sub02", "sub03"]}
    publish([make_cell("aa")], make_scores("aa", 1), tmp_path, folds=folds, flags={"aa": {"copies": "why"}})
    rows = read_results(tmp_path)
    assert set(rows["folds"]) == {3} and set(rows["flags"]) == {"copies"}
    with pytest.raises(ResultsError, match="has no fold 'sub07'"):
        publish([make_cell("bb", fold="sub07")], make_scores("bb", 1), tmp_path, folds=folds)


def test_aliases_of_a_data_set_are_one(tmp_path):
    """The same data under two names: one folder, one section, and no two cells of one fold."""
    publish([make_cell("aa", dataset="phantom_eeg:small")], make_scores("aa", 1), tmp_path)
    publish([make_cell("bb", dataset="phantom_eeg", method="two")], make_scores("bb", 1), tmp_path)
    assert set(read_results(tmp_path)["dataset"]) == {"phantom_eeg"}
    assert [path.name for path in tmp_path.iterdir()] == ["phantom_eeg"]
    both = [make_cell("aa", dataset="phantom_eeg:small"), make_cell("cc", dataset="phantom_eeg")]
    with pytest.raises(ResultsError, match="2 cells of fold sub01"):
        publish(both, pd.concat([make_scores("aa", 1), make_scores("cc", 1)]), tmp_path)
