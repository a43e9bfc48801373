"""The golden cell: a small planted cell, and its scores by the mini suite's judges as they were when last looked at.

    python tests/worlds/golden_cell.py

writes `golden_cell.csv` anew. Do so, and say why, when scores are meant to change: a metric's version was raised, a
protocol has another metric, the mini suite was trained again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from bench.scoring.score_cell import list_scores, make_viewer, score_cell
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions
from metrics.protocols import PROTOCOLS

GOLDEN = Path(__file__).with_suffix(".csv")
FRAMES, SIDE = 6, 32
CLIPS, CONCEPT = (7, 8, 9, 10), {7: 2, 8: 0, 9: 2, 10: 39}
TRIALS = ((2, 9), (1, 7), (1, 10), (2, 7), (1, 8), (2, 10), (2, 8), (1, 9))  # subject, clip
MISSING, INVALID = (1, 10), (2, 8)


def paint(clip: int) -> np.ndarray:
    """A square that moves over a striped ground, in whole numbers only: u8 (frame, height, width, 3)."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    ground = np.stack([60 + 9 * clip + 3 * rows, 200 - 5 * columns, 90 + (rows * columns + 11 * clip) % 97], axis=-1)
    video = np.repeat(ground[None], FRAMES, axis=0)
    for frame in range(FRAMES):
        left, top = (5 * clip + (clip - 6) * frame) % (SIDE - 12), (3 * clip + frame) % (SIDE - 12)
        video[frame, top : top + 12, left : left + 12] = (250 - 20 * clip, 23 * clip % 256, 30 * clip % 256)
    return (video % 256).astype(np.uint8)


def predict(subject: int, clip: int) -> np.ndarray | None:
    """The true clip with a share of the next clip and of a chequered board in it."""
    if (subject, clip) == MISSING:
        return None
    if (subject, clip) == INVALID:
        return np.zeros((FRAMES, SIDE, SIDE), np.uint8)  # no colours
    rows, columns = np.mgrid[:SIDE, :SIDE]
    board = 255 * ((rows // 4 + columns // 4 + subject) % 2)[None, :, :, None]
    mixed = 4 * paint(clip).astype(np.int64) + (3 - subject) * paint(clip + 1) + subject * board
    return (mixed // 7).astype(np.uint8)


def make_dataset() -> Any:
    from bench.datasets.seed_dv.concepts import CONCEPTS

    table = pd.DataFrame({"clip": CLIPS, "concept": [CONCEPT[clip] for clip in CLIPS]})
    return SimpleNamespace(
        digest="9" * 64,
        concepts=tuple(CONCEPTS),
        stimuli=SimpleNamespace(to_pandas=lambda: table),
        video=lambda clips: np.stack([paint(int(clip)) for clip in clips]),
    )


def publish(store: Store) -> Cell:
    rows = [
        {"trial": place, "subject": subject, "clip": clip, "concept": CONCEPT[clip], "block": 6, "seed": 3 * place}
        for place, (subject, clip) in enumerate(TRIALS)
    ]
    with store.publishing("golden") as draft:
        write_predictions(draft, pd.DataFrame(rows), [predict(*trial) for trial in TRIALS])
    cell = store.find("golden")
    assert cell is not None
    return cell


def score(cell: Cell, store: Store) -> pd.DataFrame:
    """All scores that the mini suite can give, in all protocols: one row a protocol, metric, subject and clip."""
    from bench.pretrained.suite import load_suite

    suite, dataset, protocols = load_suite("mini"), make_dataset(), tuple(PROTOCOLS)
    score_cell(cell, store, dataset, suite, protocols=protocols)
    viewer = make_viewer(suite.judges, dataset.concepts)
    tables = [cell.scores(key) for _, _, key in list_scores(cell, viewer, protocols)]
    table = pd.concat([one for one in tables if one is not None], ignore_index=True)
    columns = ["protocol", "metric", "subject", "clip", "status", "value", "shuffled"]
    return table[columns].sort_values(columns[:4], ignore_index=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "runs")
        table = score(publish(store), store)
    table.to_csv(GOLDEN, index=False, float_format="%.8g", lineterminator="\n")
    print(f"{len(table)} scores of {table['metric'].nunique()} metrics in {GOLDEN}")


if __name__ == "__main__":
    main()
