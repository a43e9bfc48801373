"""A cell of three small clips and its scores, for tests of the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, settings

from bench.store.cells import Store
from bench.store.predictions import write_predictions

KEY = "0123456789abcdef"
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_trials(count: int = 3) -> pd.DataFrame:
    rows = np.arange(count)
    return pd.DataFrame(
        {"trial": rows + 10, "subject": rows % 2 + 1, "clip": rows, "concept": rows, "block": 6, "seed": rows * 7}
    )


def make_video(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 6, 16, 16, 3), dtype=np.uint8)


def publish(store: Store, key: str = KEY, **manifest) -> None:
    with store.publishing(key) as draft:
        write_predictions(draft, make_trials(), make_video())
        draft.manifest.update(manifest)


def make_scores() -> pd.DataFrame:
    return pd.DataFrame({"subject": [1, 2], "clip": [0, 1], "metric": "ssim", "value": [0.25, -1.0], "status": "ok"})


def leftovers(store: Store) -> list[Path]:
    return list(store.root.glob(".tmp-*"))
