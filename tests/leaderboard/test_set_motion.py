"""Δ dynamic degree of sets, by hand: shares of moving videos, never a mean of single clips' errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_papers import score_rows, survey

from leaderboard.papers.measure import MEASURED, measure
from leaderboard.papers.reported import load_table
from leaderboard.papers.set_motion import fold_changes, sign_changes, signed_protocols
from leaderboard.tables import result_table

TRUE = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])  # of ten clips three move
MADE = {
    "mind_video": np.array([0, 0, 0, 1, 1, 1, 0, 0, 0, 0]),  # all moving clips exchanged: each of six is wrong
    "neuroclips": np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0]),  # four too many
    "cine_neuron": np.array([1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),  # two too few
}
DELTA = {"mind_video": 0.0, "neuroclips": 0.4, "cine_neuron": 0.2}


class Shelf:
    """Scores of the methods that are named above, in protocol `cine_neuron`, by DIS flow."""

    def __init__(self, jobs):
        self.parts = {job.spec.key: self.rows(job) for job in jobs if job.spec.method in MADE}

    def rows(self, job):
        rows = score_rows(job, "cine_neuron", "dynamic_degree_dis")
        made = MADE[job.spec.method][rows["clip"]]
        wrong = (made != TRUE[rows["clip"]]).astype(float)
        error = rows.assign(metric="dynamic_degree_error_dis", value=wrong)
        return pd.concat([rows.assign(value=made.astype(float)), error], ignore_index=True)

    def find(self, key):
        return key if key in self.parts else None

    def read(self, keys, protocols):
        parts = [self.parts[key] for key in keys if key in self.parts]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


@pytest.fixture(scope="module")
def measured(phantom):
    found = survey(load_table("cine_neuron.2"), dataset="phantom_fmri:tiny", suite="mini")
    jobs = [job for jobs in found.planned.values() for job in jobs]
    rows = measure(found, Shelf(jobs))
    return rows[(rows["row"] == "Δ Dynamic Degree") & (rows["state"] == MEASURED)].set_index("method")


def test_the_paper_s_table_has_the_difference_of_the_shares(measured):
    assert set(measured.index) == set(DELTA)
    for method, delta in DELTA.items():
        row = measured.loc[method]
        assert row["value"] == pytest.approx(delta), method
        assert 0 <= row["low"] <= row["value"] <= row["high"], method
        assert row["instead"] == "cine_neuron.dynamic_degree_error_dis" and "n.s." not in str(row["mark"])
        assert row["floor_name"] in ("", None) or pd.isna(row["floor_name"])
    assert measured.loc["mind_video", "low"] == 0 and measured.loc["cine_neuron", "low"] == 0  # two of ten: chance


def test_missing_clips_count_as_still_ones_in_the_place_of_moving_ones():
    rows = pd.DataFrame(
        {
            "cell": "a", "method": "m", "variant": "base", "role": "method", "dataset": "d", "split": "s", "fold": "f",
            "classes": 40, "suite": "mini", "seed": 0, "parameters": 1, "phantom": True, "protocol": "cine_neuron",
            "subject": 1, "clip": np.tile(np.arange(4), 2), "concept": np.tile(np.arange(4), 2), "shuffled": 0.0,
            "metric": np.repeat(["dynamic_degree", "dynamic_degree_error"], 4),
            "status": ["ok", "ok", "ok", "missing"] * 2, "value": [1, 1, 0, 0, 0, 0, 0, 1],
        }
    )  # fmt: skip
    made = sign_changes(rows)
    changes = made[made["metric"] == "dynamic_degree_error"].sort_values("clip")
    assert changes["value"].tolist() == changes["shuffled"].tolist() == [0, 0, 0, -1]
    table = fold_changes(result_table(made, protocols=signed_protocols())).set_index("metric")
    assert table.loc["dynamic_degree_error", "value"] == 0.25 and "partial" in table.loc["dynamic_degree_error", "mark"]
    assert table.loc["dynamic_degree", "value"] == 0.5  # others are as they were


def test_an_error_without_its_degree_is_left_out():
    rows = pd.DataFrame({"metric": ["dynamic_degree_error", "ssim"], "value": [1.0, 0.5]})
    for name in ("cell", "method", "variant", "split", "protocol", "subject", "clip"):
        rows[name] = "x"
    assert sign_changes(rows)["metric"].tolist() == ["ssim"]
