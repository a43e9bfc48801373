"""Methods × read-outs: every method that takes them has three cells, every other one says that they do not apply."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scored_cells import draw, make_parts, score_rows

import bench
from bench.core.errors import BenchError
from bench.core.registry import takes_read_out
from leaderboard.crossing import crossing_table
from leaderboard.rendering import render
from leaderboard.tables import result_table


def test_read_outs_stand_beside_each_other_and_what_has_none_says_so() -> None:
    rng, parts = np.random.default_rng(5), make_parts()
    parts["regressed"] = score_rows(draw(rng, 0.15), variant="regressed")
    parts["ridge"] = score_rows(draw(rng, 0.25), method="retrieval", role="baseline")
    rows = result_table(pd.concat(parts.values()))
    table = crossing_table(rows, "eeg").set_index("method")
    assert set(table["split"]) == {"cross_subject"} and "cine_neuron" not in table.index  # of fMRI
    mine = rows[rows["method"] == "sam_net"].set_index("variant")
    for read_out, variant in (("nearest_concept", "base"), ("regressed", "regressed")):
        for column, name in ((read_out, "value"), (f"{read_out}_low", "low"), (f"{read_out}_high", "high")):
            assert table.loc["sam_net", column] == mine.loc[variant, name]
    assert np.isnan(table.loc["sam_net", "nearest_caption"]) and np.isnan(table.loc["sam_net", "own"])
    for name, row in table.iterrows():
        applies = [row[one] != "n/a" for one in ("nearest_concept", "nearest_caption", "regressed")]
        assert applies == [takes_read_out(name)] * 3
    assert table.loc["retrieval", "own"] == pytest.approx(parts["ridge"]["value"].mean())
    assert table.loc["retrieval", "reads"] == "clip"
    shown = render(crossing_table(rows, "eeg"))
    assert "nearest concept (base)" in shown and "n/a" in shown and "not run" not in shown.split("\n\n")[0]


def test_a_store_without_scores_and_contradictions_are_refused(tmp_path) -> None:
    with pytest.raises(BenchError, match="leave out --method"):
        bench.table(readouts=True, method="sam_net")
    with pytest.raises(BenchError, match="unknown metric"):
        bench.table(readouts=True, metric="no_such")
