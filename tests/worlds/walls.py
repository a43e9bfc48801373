"""A small store with the reconstructions of two methods, the data set that they are of, and their scores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from bench.core.registry import role_of
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions

SUBJECTS, CLIPS = (1, 2), tuple(range(20, 32))
SIDE = 32


def paint(clip: int, hue: int) -> np.ndarray:  # u8 (frame, height, width, 3)
    """A square that moves over a ground; clip and hue say where it begins and in which colours."""
    video = np.full((6, SIDE, SIDE, 3), (40 + 15 * (clip % 12), 60 + hue, 200 - hue), np.uint8)
    for frame in range(6):
        left, top = (3 * clip + 2 * frame) % (SIDE - 10), (5 * clip) % (SIDE - 10)
        video[frame, top : top + 10, left : left + 10] = (250, 230 - hue, 20 * (clip % 12))
    return video


def make_dataset(name: str = "phantom_eeg:tiny") -> Any:
    about = pd.DataFrame(
        {"clip": CLIPS, "concept": np.arange(len(CLIPS)) // 2, "caption": [f"caption of {clip}" for clip in CLIPS]}
    )
    return SimpleNamespace(
        name=name,
        digest="d" * 64,
        concepts=tuple(f"concept{number}" for number in range(len(CLIPS) // 2)),
        stimuli=SimpleNamespace(to_pandas=lambda: about),
        truth=object() if name.startswith("phantom") else None,
        video=lambda clips: np.stack([paint(int(clip), 0) for clip in clips]),
    )


def make_cells(
    folder: Path, *, methods: tuple[str, ...] = ("one", "two"), dataset: str = "phantom_eeg:tiny", missing: int = 0
) -> list[Cell]:
    """A cell of each method. `two` shows the true clip of the trial before. The first `missing` trials have none."""
    store = Store(folder)
    rows = [(20 * who + place, who, clip, place // 2, 1, 0) for who in SUBJECTS for place, clip in enumerate(CLIPS)]
    trials = pd.DataFrame(rows, columns=["trial", "subject", "clip", "concept", "block", "seed"])
    for number, method in enumerate(methods):
        videos: list[np.ndarray | None] = [
            paint(CLIPS[row.clip - CLIPS[0] - 1], 0) if method == "two" else paint(row.clip, 90 + 20 * row.subject)
            for row in trials.itertuples()
        ]
        videos[:missing] = [None] * missing
        with store.publishing(f"a{number}") as draft:
            write_predictions(draft, trials, videos)
            spec = {
                "dataset": dataset, "split": "cross_subject", "fold": "known", "classes": 40, "method": method,
                "suite": "mini", "seed": 0, "data_digest": "d" * 64, "suite_digest": "s" * 64, "parameters": {},
            }  # fmt: skip
            draft.manifest.update(spec=spec, variant="base", role=role_of(method), parameter_count=7)
            draft.manifest.update(phantom=dataset.startswith("phantom"))
    return [cell for number in range(len(methods)) if (cell := store.find(f"a{number}")) is not None]


def make_scores(cells: list[Cell], metrics: tuple[str, ...] = ("video_40way", "frame_40way", "ssim")) -> pd.DataFrame:
    """Scores of the cells: those of the first method are highest for subject 1 and for later clips."""
    parts = []
    for number, cell in enumerate(cells):
        trials = cell.trials()
        level = 0.6 - 0.3 * number + 0.02 * (trials["clip"] - CLIPS[0]) - 0.001 * trials["subject"]
        for metric in metrics:
            about = {name: cell.manifest["spec"][name] for name in ("dataset", "split", "fold", "classes", "suite")}
            about |= {"cell": cell.key, "protocol": "corrected", "metric": metric, "seed": 0, "variant": "base"}
            about |= {"method": cell.manifest["spec"]["method"], "role": "method", "parameters": 7, "phantom": True}
            rows = trials[["subject", "clip", "concept", "status"]].assign(value=level, shuffled=0.1 + 0.1 * level)
            parts.append(rows.assign(**about))
    return pd.concat(parts, ignore_index=True)
