"""The card of a suite as a table: what its networks reach, as `measures` measured it, beside the build's aims."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bench.pretrained.roles import HERE, MissingWeights

AIMS = {  # the build's aims; a measure below its aim is shown as such
    "autoencoder PSNR (dB)": 25.0,
    "frame judge top-1": 0.85,
    "frame judge top-1 on reconstructions": 0.85,
    "video judge top-1": 0.70,
    "caption: object (frame judge)": 0.60,
    "caption and key frame drawn from it: object (frame judge)": 0.60,
    "caption: action": 0.40,
    "caption and key frame drawn from it: action": 0.40,
    "key frame gain (dB)": 2.0,
    "clip: object from one frame": 0.85,
    "clip: clip of a caption among 40": 0.50,
    "dino: object by neighbours": 0.60,
    "Wan: autoencoder PSNR (dB)": 24.0,
    "Wan: caption: object (video judge)": 0.60,
    "Wan: caption: action": 0.40,
    "X-CLIP: action by neighbours": 0.50,
    "most lost by ridge to captions (seeds 101-103)": 0.05,
    "most lost by ridge to pictures, nearest caption (seeds 101-103)": 0.05,
    "suite (MB)": 80.0,
}
LOWER_IS_BETTER = ("suite (MB)", *(measure for measure in AIMS if measure.startswith("most lost")))


def card_path(name: str) -> Path:
    return HERE / name / "card.json"


def tabulate(card: dict[str, Any]) -> pd.DataFrame:
    """A row a measure: its value and standard error, clips, aim, whether that is reached, and `before`, its value with
    networks that have been trained again since."""
    rows = []
    for measure, entry in card["measures"].items():
        value, clips = entry["value"], entry["clips"]
        is_share = not any(unit in measure for unit in ("(dB)", "seconds", "cosine")) and clips > 0
        aim = AIMS.get(measure)
        reached = None if aim is None else (value <= aim if measure in LOWER_IS_BETTER else value >= aim)
        rows.append(
            {
                "measure": measure,
                "value": value,
                "standard_error": round((value * (1 - value) / clips) ** 0.5, 4) if is_share else None,
                "before": card.get("before", {}).get(measure),
                "clips": clips or None,
                "aim": aim,
                "reached": reached,
            }
        )
    return pd.DataFrame(rows)


def suite_table(name: str = "mini") -> pd.DataFrame:
    """The measured card as a table: `tabulate`, then minutes of the build."""
    path = card_path(name)
    if not path.exists():
        raise MissingWeights(
            f"suite {name!r} has no card; measure it with bench.pretrained.mini_build.measures.measure_suite({name!r})"
        )
    table = tabulate(json.loads(path.read_text(encoding="utf-8")))
    built = path.with_name("build.json")
    if built.exists():
        stages = json.loads(built.read_text(encoding="utf-8"))
        minutes = {f"minutes to build: {stage}": entry["minutes"] for stage, entry in stages.items()}
        extra = pd.DataFrame({"measure": list(minutes), "value": list(minutes.values())})
        table = pd.concat([table, extra], ignore_index=True)
    return table
