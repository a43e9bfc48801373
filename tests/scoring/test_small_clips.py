"""Cells whose clips are too short or too small for a metric: its worst value, and no judge is asked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bench.scoring.score_pairings import describe_scores, score_pairings
from metrics.frechet import FVD
from metrics.motion import EPE_DIS
from metrics.specs import Scored
from metrics.ssim import SSIM


@pytest.mark.parametrize(("metric", "shape"), [(SSIM, (6, 5, 5)), (EPE_DIS, (1, 32, 32)), (FVD, (1, 32, 32))])
def test_a_metric_that_refuses_the_clips_of_a_cell_scores_its_worst(metric, shape):
    video = np.random.default_rng(0).integers(0, 256, (3, *shape, 3), dtype=np.uint8)
    everything, clips = np.arange(3), Scored(video=video)
    (values,) = score_pairings([metric], clips, clips, everything, everything, [everything, everything[::-1]])
    trials = pd.DataFrame(dict.fromkeys(("subject", "clip", "concept", "block"), everything)).assign(status="ok")
    rows = describe_scores(trials, metric, values)
    assert set(rows["status"]) == {"invalid"} and set(rows["value"]) == {metric.worst} == set(rows["shuffled"])
    assert len(rows) == (1 if metric.level == "set" else 3)
