"""Made-up scores of published videos, and what is said of their set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leaderboard.standing import ALL_CLIPS

ABOUT = {
    "name": "seed_dv-eeg2video", "dataset": "seed_dv", "subject": None, "method": "eeg2video", "of": 200,
    "source": "https://example.org/videos", "licence": "none stated", "chosen": True, "owner": "somebody",
    "suite": "light", "judges": {"vit-judge": "a" * 64}, "provenance": {"commit": "c" * 40}, "video_digest": "b" * 64,
}  # fmt: skip


def make_scored(clips: int = 3, **changes: Any) -> pd.DataFrame:
    """Rows of `bench.score`: SSIM and a frame accuracy a clip, and a set metric."""
    rng = np.random.default_rng(clips)
    names = [f"image{i}" for i in (1, 2, 10, *range(11, 8 + clips))][:clips]
    parts = [
        pd.DataFrame(
            {
                "clip": names, "protocol": "corrected", "metric": metric, "direction": "higher", "chance": chance,
                "held": True, "status": "ok", "value": rng.random(clips), "constant_grey": rng.random(clips),
                "still_frame": rng.random(clips), "shuffled": rng.random(clips), "suite": "light", "judge": judge,
                "note": "",
            }
        )
        for metric, chance, judge in (("ssim", np.nan, ""), ("frame_40way", 1 / 40, "vit-judge"))
    ]  # fmt: skip
    late = {"clip": ALL_CLIPS, "protocol": "corrected", "metric": "fvd", "direction": "lower", "chance": np.nan}
    late |= {
        "held": True,
        "status": "ok",
        "value": 3.0,
        "constant_grey": 9.0,
        "suite": "light",
        "judge": "",
        "note": "",
    }
    return pd.concat([*parts, pd.DataFrame([late])], ignore_index=True).assign(**changes)
