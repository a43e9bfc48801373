"""Embeddings among the committed results: files of their own, shown where their protocol is asked for, nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_results import make_cell, make_scores

from leaderboard.admission import ResultsError
from leaderboard.board import make_board
from leaderboard.results import Committed, publish, read_results
from leaderboard.tables import result_table
from leaderboard.web.hub import write_hub
from leaderboard.web.method_page import list_entries

PLACE = "phantom_eeg-tiny/single_subject"


def make_embedded(key, **spec):
    cell = make_cell(key, output="embedding", **spec)
    cell.manifest["embedding"] = {"space": "words", "width": 8, "concepts": 2}
    return cell


def make_readings(key, subject, value):
    """Of four clips of two concepts: `value` in 2-way, its half in 40-way."""
    rows = pd.DataFrame(
        {
            "cell": key, "protocol": "embedding", "subject": subject, "clip": [9, 3, 5, 7], "concept": [1, 0, 0, 1],
            "status": "ok", "shuffled": 0.5,
        }
    )  # fmt: skip
    both = [("embedding_concept_2way", value), ("embedding_concept_40way", value / 2)]
    return pd.concat([rows.assign(metric=metric, value=one) for metric, one in both], ignore_index=True)


@pytest.fixture
def published(tmp_path):
    """Videos and embeddings of `one`, embeddings alone of `two`, both with seeds of their own number."""
    cells = [make_cell("a1"), *(make_embedded(f"b{seed}", seed=seed) for seed in range(2))]
    cells += [make_embedded("c1", method="two")]
    scores = [make_scores("a1", 1), *(make_readings(f"b{seed}", 1, 0.6 + seed / 5) for seed in range(2))]
    publish(cells, pd.concat([*scores, make_readings("c1", 1, 0.9)], ignore_index=True), tmp_path)
    return tmp_path


def test_they_lie_in_files_of_their_own_and_are_read_back(published):
    names = {path.relative_to(published).as_posix() for path in published.glob("*/*/*.json")}
    assert names == {
        f"{PLACE}/one.base.40.json", f"{PLACE}/one.base.40.embedding.json", f"{PLACE}/two.base.40.embedding.json",
    }  # fmt: skip
    rows = read_results(published)
    of = rows.groupby("cell")["protocol"].unique().map(list).to_dict()
    assert of == {"a1": ["corrected"], **{key: ["embedding"] for key in ("b0", "b1", "c1")}}
    shelf = Committed(published)
    assert shelf.find("b0").name == shelf.find("b1").name == "one.base.40.embedding.json"
    assert shelf.read(["a1", "b0"], ("embedding",))["cell"].unique().tolist() == ["b0"]


def test_a_table_shows_them_under_their_protocol_with_exact_chance(published):
    rows = read_results(published)
    table = result_table(rows[rows["protocol"] == "embedding"]).set_index(["method", "metric"])
    assert table.loc[("one", "embedding_concept_2way"), "value"] == pytest.approx((0.6 + 0.8) / 2)
    assert table.loc[("two", "embedding_concept_40way"), "value"] == pytest.approx(0.45)
    assert table["chance"].unstack().iloc[0].tolist() == [0.5, 1 / 40]
    assert table.loc[("one", "embedding_concept_2way"), "seeds"] == 2 and (table["coverage"] == 1).all()


def test_no_board_has_a_row_of_them(published):
    sections = make_board(read_results(published).replace({"metric": {"ssim": "video_40way"}}))
    assert [[row.method for row in section.rows] for section in sections] == [["one"]]
    shelf = Committed(published)
    entries = list_entries([(section, None) for section in sections], list(shelf.records.values()))
    (entry,) = entries["one"]
    assert [one["key"] for one in entry.record["cells"]] == ["a1"]  # and no record of embeddings in its place


def test_the_data_set_for_the_hub_holds_and_explains_them(published, tmp_path):
    card, *files = write_hub(read_results(published), tmp_path / "hub")
    held = pd.concat([pd.read_parquet(path) for path in files])
    assert (held["protocol"] == "embedding").sum() == 3 * 8
    assert "share of trials whose concept is the nearest of 40 to the embedding" in card.read_text(encoding="utf-8")


def test_seeds_and_losses_are_counted_apart_from_videos(published):
    with pytest.raises(ResultsError, match="has fold sub01 with seed 1, the store has not"):
        publish([make_embedded("b0")], make_readings("b0", 1, 0.6), published)
    with pytest.raises(ResultsError, match="has the seeds 1; the rules fix them"):
        publish([make_embedded("d1", method="four", seed=1)], make_readings("d1", 1, 0.6), published)
    assert set(read_results(published)["cell"]) == {"a1", "b0", "b1", "c1"}


@pytest.mark.parametrize(
    ("cell", "scores", "words"),
    [
        (make_cell("e1", method="five"), make_readings("e1", 1, 0.6), "scores of embedding/.*, and holds videos"),
        (make_embedded("e1", method="five"), make_scores("e1", 1), "scores of corrected/.*, and holds embeddings"),
        (make_embedded("e1", method="five"), make_readings("e1", 1, np.nan), "that is no number of 0 to 1"),
        (make_embedded("e1", method="five"), make_readings("e1", 1, 1.5), "that is no number of 0 to 1"),
    ],
    ids=["of videos", "of embeddings", "NaN", "beyond"],
)
def test_scores_of_another_kind_are_refused(cell, scores, words, published):
    with pytest.raises(ResultsError, match=words):
        publish([cell], scores, published)
    assert "five" not in set(read_results(published)["method"])
