"""The data set for the hub, as `datasets` reads it offline, against the committed results it was made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import pandas as pd
import pytest
from huggingface_hub import DatasetCard

from bench.cli import main
from leaderboard.results import RESULTS, read_results
from leaderboard.web.hub import COLUMNS, LICENCE, write_hub

KEYS = ["cell", "protocol", "metric", "subject", "clip"]


@pytest.fixture(scope="module")
def committed(tmp_path_factory) -> Path:
    """Two methods' committed results of each data set and split: a copy, because all of them take a minute to load."""
    place = tmp_path_factory.mktemp("committed")
    for folder in sorted(RESULTS.glob("*/*")):
        for path in sorted(folder.glob("*.json"))[:2]:
            for file in (path, path.with_suffix(".parquet")):
                (place / folder.relative_to(RESULTS)).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place / file.relative_to(RESULTS))
    return place


@pytest.fixture(scope="module")
def results(committed) -> pd.DataFrame:
    scores = read_results(committed)
    if scores.empty:
        pytest.skip("no results are committed")
    return scores


@pytest.fixture(scope="module")
def folder(results, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("hub") / "scores"
    write_hub(results, place)
    return place


@pytest.fixture(scope="module")
def loaded(folder, tmp_path_factory) -> datasets.DatasetDict:
    return datasets.load_dataset(str(folder), cache_dir=str(tmp_path_factory.mktemp("cache")))


def test_every_score_is_read_back_as_it_was_committed(results, loaded):
    found = pd.concat([split.to_pandas() for split in loaded.values()], ignore_index=True)
    assert list(found.columns) == list(COLUMNS)
    found, expected = (table.sort_values(KEYS, ignore_index=True)[list(COLUMNS)] for table in (found, results))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-7)
    assert set(loaded) == set(results["split"])


def test_a_part_is_loaded_by_data_set_and_split(results, folder, tmp_path):
    name, split = results[["dataset", "split"]].iloc[0]
    config = name.replace(":", "-")
    part = datasets.load_dataset(str(folder), config, split=split, cache_dir=str(tmp_path))
    assert len(part) == ((results["dataset"] == name) & (results["split"] == split)).sum()
    assert set(part.unique("dataset")) == {name}
    assert part.features["value"].dtype == "float32" and part.features["phantom"].dtype == "bool"


def test_the_card_says_what_the_hub_and_a_reader_need(results, folder):
    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == LICENCE
    names = [config["config_name"] for config in card.data.to_dict()["configs"]]
    assert names == ["all", *sorted({name.replace(":", "-") for name in results["dataset"]})]
    for word in (*COLUMNS, *results["metric"].unique()):
        assert f"`{word}`" in card.text
    assert ("say nothing about a brain" in card.text) == bool(results["phantom"].any())


def test_real_data_get_no_warning_and_the_same_rows_the_same_bytes(results, tmp_path):
    some = results.head(300).assign(phantom=False)
    first = write_hub(some, tmp_path / "a" / "scores")
    again = write_hub(some.sample(frac=1, random_state=0), tmp_path / "b" / "scores")
    assert "say nothing about a brain" not in first[0].read_text()
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_the_command_line_writes_it(committed, folder, tmp_path, capsys):
    place = tmp_path / "scores"
    assert main(["board", "--results", str(committed), "--hub", str(place)]) == 0
    assert str(place) in capsys.readouterr().err
    assert {file.relative_to(place): file.read_bytes() for file in place.rglob("*.*")} == {
        file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.*")
    }
