"""Folders of videos as people hand them in: of a phantom's tested clips, honest ones and ones that are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.core.splits import make_folds
from bench.store.video import write_lossless

SOURCE = "https://example.org/videos"
Videos = dict[int, np.ndarray]  # by the place of the tested clip


def find_tested(dataset: Any, subject: int = 1) -> np.ndarray:
    """The clips that a subject is tested on, in the order in which they were shown."""
    (fold,) = [one for one in make_folds(dataset, "single_subject") if one.name == f"sub{subject:02d}"]
    return np.unique(np.asarray(dataset.trials["clip"])[fold.test])


def true_videos(dataset: Any, subject: int = 1) -> Videos:
    return dict(enumerate(dataset.video(find_tested(dataset, subject))))


def vague_videos(dataset: Any, subject: int = 1, *, seed: int = 0, own: float = 0.6) -> Videos:
    """What a decoder might make: rough colours of the true clip under the shapes of some training clip."""
    rng = np.random.default_rng(seed)
    made = {}
    for place, clip in true_videos(dataset, subject).items():
        other = dataset.video([int(rng.integers(0, find_tested(dataset, subject).min()))])[0]
        rough = np.stack([cv2.GaussianBlur(frame, (0, 0), clip.shape[1] / 5) for frame in clip])
        made[place] = np.clip(own * rough + (1 - own) * other, 0, 255).astype(np.uint8)
    return made


def hand_in(
    folder: Path,
    videos: Mapping[int, np.ndarray],
    *,
    names: str = "test{}",
    base: int = 1,
    truths: Mapping[int, np.ndarray] | None = None,
    digits: Callable[[int], str] = str,
) -> Path:
    """Write the videos losslessly; with `truths` side by side, the truth left."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, video in videos.items():
        whole = video if truths is None else np.concatenate([truths[place], video], axis=2)
        write_lossless(folder / f"{names.format(digits(place + base))}.mp4", whole, fps=3)
    return folder
