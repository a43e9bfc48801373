"""The table of floors: every floor under each metric, the best of them, the ceiling, and where there is no share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scored_cells import draw, make_parts, score_rows

from leaderboard.floors import floor_table
from leaderboard.rendering import render
from leaderboard.tables import result_table
from metrics.protocols import PROTOCOLS


def make_table(parts: dict[str, pd.DataFrame], **change: str) -> pd.DataFrame:
    return floor_table(result_table(pd.concat(parts.values()).assign(**change)), PROTOCOLS)


def test_a_row_has_every_floor_and_the_best_of_its_split() -> None:
    parts = make_parts()
    parts["noise_brain"] = score_rows(draw(np.random.default_rng(7), 0.3), method="noise_brain", role="control")
    parts["other"] = score_rows(draw(np.random.default_rng(8), 0.3), method="glfa", split="single_subject")
    table = make_table(parts).set_index("split")
    known, single = table.loc["cross_subject"], table.loc["single_subject"]
    means = {name: parts[name]["value"].mean() for name in parts}
    for name in ("train_mean", "constant_grey"):
        assert known[name] == single[name] == pytest.approx(means[name])
    assert (known["floor"], known["floor_name"]) == (pytest.approx(means["noise_brain"]), "noise_brain")
    assert (single["floor"], single["floor_name"]) == (pytest.approx(means["train_mean"]), "train_mean")
    assert np.isnan(single["noise_brain"]) and single["ceiling_name"] == known["ceiling_name"] == "codec"
    assert set(table["verdict"]) == {""}
    assert "train mean" in render(make_table(parts))


def test_floors_alone_stand_on_their_own_split_and_verdicts_are_told() -> None:
    parts = {name: make_parts()[name] for name in ("train_mean", "codec")}
    (row,) = make_table(parts).to_dict("records")
    assert (row["split"], row["verdict"]) == ("clips", "")
    parts["codec"] = parts["codec"].assign(value=0.1)
    (row,) = make_table(parts).to_dict("records")
    assert row["verdict"] == "share meaningless"
    (row,) = make_table(parts, metric="epe_dis").to_dict("records")  # lower is better: the ceiling is below the floor
    assert row["verdict"] == ""
    (row,) = make_table(parts, metric="clip_consistency").to_dict("records")
    assert (row["verdict"], row["floor_name"]) == ("no floor", "") and np.isnan(row["floor"])
