"""The scores of a few made-up cells, and what tests of tables read of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

SUBJECTS, CLIPS, CLIPS_A_CONCEPT = (1, 2, 3, 4, 5, 6), 12, 2
REQUIRED = (
    "method variant dataset split protocol metric value low high floor ceiling brain_share n_subjects n_clips coverage"
)


def score_rows(values, *, method="sam_net", variant="base", role="method", split="cross_subject", seed=0, **more):
    """Rows of one cell: `values` f [subject, clip] of `video_40way`, with a shuffled floor of 0.1."""
    subjects = more.pop("subjects", SUBJECTS if len(values) > 1 else (0,))
    about = {
        "method": method,
        "variant": variant,
        "role": role,
        "dataset": "phantom_eeg",
        "split": split,
        "fold": "all",
        "classes": 10,
        "suite": "mini",
        "seed": seed,
        "protocol": "corrected",
        "metric": "video_40way",
        "block": 7,
        "shuffled": 0.1,
        "status": "ok",
        "parameters": 1000 if role == "method" else 0,
        "phantom": True,
    }
    return pd.DataFrame(
        about | {"subject": subject, "clip": clip, "concept": clip // CLIPS_A_CONCEPT, "value": float(value)} | more
        for subject, row in zip(subjects, values, strict=True)
        for clip, value in enumerate(row)
    )


def draw(rng, mean, subjects=6):
    return np.clip(rng.normal(mean, 0.05, (subjects, CLIPS)), 0, 1)


def make_parts() -> dict[str, pd.DataFrame]:
    """The cells of a small table: a method, two controls, a ceiling without a brain and one with."""
    rng = np.random.default_rng(0)
    return {
        "sam_net": score_rows(draw(rng, 0.4)),
        "train_mean": score_rows(draw(rng, 0.2, 1), method="train_mean", role="control", split="clips"),
        "constant_grey": score_rows(draw(rng, 0.05, 1), method="constant_grey", role="control", split="clips"),
        "codec": score_rows(draw(rng, 0.9, 1), method="codec", role="ceiling", split="clips"),
        "ideal_observer": score_rows(draw(rng, 0.7), method="ideal_observer", role="ceiling"),
    }


def select(table, method, **where):
    rows = table[table["method"] == method]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def panel(rows):
    return rows.pivot_table(index="subject", columns="clip", values="value").to_numpy()
