"""What the suite's calls take at the papers' sizes, counted on networks without weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.pretrained.shapes import load_shapes
from bench.toolbox import budget
from bench.toolbox.accounting import Ledger

GIB = 2**30


@pytest.mark.slow
def test_sam_net_s_calls_stay_within_12_gib_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_COSTS", {})
    clips = 17
    suite = load_shapes("paper", precision="bf16", memory=12 * GIB)
    video, text = np.zeros((clips, 6, 288, 512, 3), np.uint8), torch.zeros(clips, 77, 768)
    with Ledger(limit=12 * GIB) as ledger:  # as a GPU of that size, it raises where more is asked for
        latents = suite.encode_video(video)
        blurry = suite.decode_latents(latents[:, :1])[:, 0]
        drawing = {"steps": 2, "guidance": 8.5}
        keyframes = suite.refine_keyframe(text, blurry, range(clips), strength=1.0, **drawing)
        made = suite.generate_video(
            text, range(clips), latents=latents, keyframes=keyframes, start="renoised", **drawing
        )
    assert made.shape == (clips, 6, 288, 512, 3)
    assert 8 * GIB < ledger.peak < 12 * GIB, "the budget is filled and not passed"
    assert budget._COSTS["paper: encode frames in bf16", "meta"][1] > 16, "many frames went at once"
