"""What tests of methods ask and compare: the trials of a recorded set without its answers, tensors drawn at random."""

from __future__ import annotations

import numpy as np
import torch

from bench.core.contracts import BrainData, TrainingSet


def hide_answers(data: TrainingSet, rows: slice | np.ndarray = slice(None)) -> BrainData:
    """What `reconstruct` is asked; a trial's seed is its row."""
    return BrainData(
        brain=data.brain[rows],
        subject=data.subject[rows],
        seed=np.arange(len(data.subject))[rows],
        channels=data.channels,
        sampling_rate=data.sampling_rate,
    )


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error_to(video: np.ndarray, data: TrainingSet, order: np.ndarray | None = None) -> float:
    """Mean absolute error to the true clips, or to those of the trials in another order."""
    truth = data.video[data.clip].astype(float)
    return float(np.abs(video - (truth if order is None else truth[order])).mean())
