"""Made-up scores of a folder of videos, for a report: good in frames, worse than grey in SSIM, with a hostile name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from leaderboard.standing import ALL_CLIPS, FLOORS, LEFT_OUT
from leaderboard.web.report import Picture, choose_picks, write_report

HOSTILE = '"><img src=x onerror=alert(2)><script>alert(1)</script>'
COMMAND = "python -m bench score --predictions 'my videos' --report report.html"


def make_rows(metric: str, value: Any, *, direction: str = "higher", held: bool = True, **more: Any) -> pd.DataFrame:
    names = [f"clip{i}" for i in range(len(value) - 1)] + [HOSTILE]
    about = {"protocol": "corrected", "metric": metric, "direction": direction, "chance": more.pop("chance", np.nan)}
    about |= {
        "held": held,
        "status": "ok",
        "value": value,
        "suite": "light",
        "judge": more.pop("judge", ""),
        "note": "",
    }
    floors = {name: more.get(name, np.nan) for name in FLOORS}
    return pd.DataFrame({"clip": names, **about, **floors, "other": [names[-1], *names[:-1]]})


def make_scored() -> pd.DataFrame:
    frames = make_rows(
        "frame_40way", [0.5, 0.75, 1.0, 0.5, 0.25, 0.6], judge="efficientnet-lite0", chance=0.025,
        constant_grey=0.01, still_frame=[0.0, 0.1, 0.0, 0.1, 0.0, 0.1], shuffled=0.02, mean_of_others=0.03,
    )  # fmt: skip
    ssim = make_rows(
        "ssim", [0.2, 0.3, 0.25, 0.29, 0.21, 0.3], constant_grey=0.31, still_frame=0.1, shuffled=0.2, mean_of_others=0.4
    )
    hue = make_rows("hue_correlation", [-0.1, 0.2, 0.3, 0.1, 0.0, 0.2], chance=0.0, constant_grey=0.0, still_frame=0.1)
    motion = make_rows("epe_dis", [3.0, 3.5, 4.0, 2.0, 3.0, 3.1], direction="lower", constant_grey=2.5, still_frame=9.0)
    free = make_rows("motion_smoothness_dis", [0.9] * 6, held=False, constant_grey=1.0)
    video = make_rows("video_40way", [np.nan]).assign(clip=ALL_CLIPS, status=LEFT_OUT, note="fetch a video judge")
    return pd.concat([frames, ssim, hue, motion, free, video], ignore_index=True)


def draw_pictures(count: int, *, frames: int = 6, height: int = 72, width: int = 128) -> list[list[Picture]]:
    rng = np.random.default_rng(0)
    labels = ("truth", "reconstruction", "floor: another clip held still")
    return [
        [Picture(label=one, video=rng.integers(0, 256, (frames, height, width, 3), np.uint8)) for one in labels]
        for _ in range(count)
    ]


def make_report() -> str:
    scored = make_scored()
    choice = choose_picks(scored)
    assert choice is not None
    pictures = draw_pictures(len(choice.picks))
    return write_report(scored, choice, pictures, subject=HOSTILE, command=COMMAND)
