"""The golden cell (`golden_cell.py`) scores what it scored when its file was written, clip by clip in all metrics.

Formulas can be right and a score still move: a judge's preparation of frames, an order of clips, a library's new
version. The tolerance is 1e-5 × (1 + |value|). With other instruction sets (torch, oneDNN and OpenCV without AVX), with
two threads, and with oneDNN off, scores moved by 6e-7 × (1 + |value|) at most; a rank of a judge's class that changes
moves an accuracy by 1e-3 or more.
"""

from __future__ import annotations

import pandas as pd
import pytest
from golden_cell import CLIPS, GOLDEN, INVALID, MISSING, publish, score

from bench.store.cells import Cell, Store

TOLERANCE = 1e-5
PREDICTIONS = "61cd4fea9256ff6ab9bbbaa6fc5c674c862b644183623e220b18abfffbefcb84"  # of the decoded pixels and the trials


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    return publish(Store(tmp_path_factory.mktemp("golden") / "runs"))


@pytest.fixture(scope="module")
def scores(cell: Cell) -> pd.DataFrame:
    return score(cell, cell.store)


@pytest.fixture(scope="module")
def golden() -> pd.DataFrame:
    return pd.read_csv(GOLDEN)


def test_the_predictions_have_the_digest_that_they_had(cell: Cell) -> None:
    assert cell.manifest["prediction_digest"] == PREDICTIONS
    assert cell.manifest["status_counts"] == {"invalid": 1, "missing": 1, "ok": 6}


def test_every_score_is_the_golden_one(scores: pd.DataFrame, golden: pd.DataFrame) -> None:
    about = ["protocol", "metric", "subject", "clip", "status"]
    pd.testing.assert_frame_equal(scores[about], golden[about], check_dtype=False)
    for column in ("value", "shuffled"):
        off = (scores[column] - golden[column]).abs() / (1 + golden[column].abs())
        moved = scores.assign(golden=golden[column], off=off)[off > TOLERANCE]
        assert moved.empty, (
            f"{column} moved; if it was meant to, run python tests/worlds/golden_cell.py\n{moved.to_string()}"
        )


def test_the_golden_scores_can_tell_clips_subjects_and_shuffles_apart(golden: pd.DataFrame) -> None:
    """Not all alike: a file of constants would hold whatever became of the cell."""
    about = golden.set_index(["subject", "clip"])["status"]
    assert (about.loc[MISSING] == "missing").all() and (about.loc[INVALID] == "invalid").all()
    there = golden[(golden["status"] == "ok") & golden["clip"].isin(CLIPS)].drop_duplicates(
        ["metric", "subject", "clip"]
    )
    for metric in ("ssim", "psnr", "hue_correlation", "video_2way", "frame_40way", "concept_2way", "epe_dis"):
        rows = there[there["metric"] == metric]
        assert len(rows) == 6 and rows["value"].nunique() >= 4, metric
        assert (rows["value"] - rows["shuffled"]).abs().max() > 1e-2, metric
