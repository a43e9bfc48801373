"""Methods fitted at the papers' sizes on the meta device: their own code, a batch's worth of trials, few steps.

What takes memory at that size is a batch and the networks, not the number of clips, so a fold has a full batch of
trials, some clips at full size, and each loop makes two steps.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.core.contracts import BrainData, TrainingSet
from bench.core.registry import resolve
from bench.core.variants import find_profile
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.pretrained.roles import find_suite
from bench.pretrained.shapes import ShapeSuite
from bench.toolbox import budget, parts
from bench.toolbox.accounting import Ledger

GIB = 2**30
CALIBRATION = {"calibration_epochs": 2.0, "calibration_steps": 2}  # as few steps as enter every loop
WIDTHS = {"clip": (512,), "clip_large": (768,), "clip_big_tokens": (256, 1664), "dino": (768,), "action": (512,)}


class ShapeJudges:
    """Judges that hold as much memory as their files are large, and say random numbers of the right shapes."""

    def __init__(self, suite: Any) -> None:
        self.suite = suite
        self.weights: dict[str, Tensor] = {}
        self.draws = np.random.default_rng(0)

    def load(self, view: str) -> tuple[int, ...]:
        role = "clip_big" if view == "clip_big_tokens" else view
        if role not in self.weights:
            size = self.suite.settings["roles"][role]["megabytes"] * 10**6
            self.weights[role] = torch.empty(size // 4, dtype=self.suite.dtype, device="meta")
        return WIDTHS[view]

    def observe(self, view: str, video: np.ndarray) -> np.ndarray:
        leading = video.shape[:1] if view == "action" else video.shape[:2]
        return self.draws.standard_normal((*leading, *self.load(view)), np.float32)

    def embed_captions(self, view: str, captions: Any) -> np.ndarray:
        return self.draws.standard_normal((len(captions), *self.load(view)), np.float32)


class PaperSuite(ShapeSuite):
    """The suite `paper` on the meta device, its judges among it."""

    @cached_property
    def judges(self) -> Any:
        return ShapeJudges(self)


def make_trials(
    *, clips: int, trials: int, signals: tuple[int, int], rate: float, video: tuple[int, int, int], eeg: bool,
    first: int = 0,
) -> TrainingSet:  # fmt: skip
    """Random signals of one subject, and clips that differ by one byte."""
    draws, shown = np.random.default_rng(first), np.zeros((clips, *video, 3), np.uint8)
    shown[:, 0, 0, 0, 0] = first + np.arange(clips)
    return TrainingSet(
        brain=draws.standard_normal((trials, *signals), np.float32),
        subject=np.ones(trials, np.int64),
        clip=np.arange(trials) % clips,
        video=shown,
        captions=tuple(f"clip {first + one}" for one in range(clips)),
        concepts=np.arange(clips) % 4,
        channels=CHANNELS if eeg else tuple(map(str, range(signals[0]))),
        sampling_rate=rate,
    )


def fit_on_shapes(
    name: str,
    train: TrainingSet,
    validation: TrainingSet,
    *,
    memory: int,
    precision: Any = "fp32",
    adapt: bool = False,
    **changes: Any,
) -> tuple[Any, int, int]:
    """The method in the profile `paper` with some changes after `fit`; peaks of fit and of three reconstructions.

    With `adapt` it meets another subject after the fit: the first peak is of that, and the videos are that subject's.
    """
    suite = PaperSuite(*find_suite("paper"), precision=precision, memory=memory)
    with pytest.MonkeyPatch.context() as patch, Ledger(limit=memory, drawn=True) as ledger:
        patch.setattr(budget, "_COSTS", {})
        compute_one_part(patch)
        make_there(patch)
        method = resolve("methods", name)(suite=suite, **{**find_profile(name, "paper"), **changes})
        method.fit(train, validation)
        fitted = ledger.peak
        if adapt:
            train = replace(train, subject=train.subject + 1)
            with ledger.watch():
                method.adapt(train)
                fitted = ledger.peak
        few = BrainData(
            brain=train.brain[:3], subject=train.subject[:3], seed=np.arange(3), channels=train.channels,
            sampling_rate=train.sampling_rate,
        )  # fmt: skip
        with ledger.watch():
            made = method.reconstruct(few)
            drawn = ledger.peak
        assert made.shape == (3, *train.video.shape[1:])
    return method, fitted, drawn


def make_there(patch: pytest.MonkeyPatch) -> None:
    """Layers are made on the meta device at once: on the CPU, from where methods move them, they are gigabytes."""
    for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention):
        made = kind.__init__

        def make(self: Any, *given: Any, made: Any = made, device: Any = None, **options: Any) -> None:
            made(self, *given, device=device or "meta", **options)

        patch.setattr(kind, "__init__", make)


def compute_one_part(patch: pytest.MonkeyPatch) -> None:
    """Parts of a batch are alike: the first one is computed, and zeros of its shape stand for the others."""
    run, made = parts.run_again, []

    def run_first(make: Any, rows: slice, device: torch.device) -> tuple[Tensor, ...]:
        if rows.start == 0:
            first = run(make, rows, device)
            made[:] = [torch.zeros_like(one) for one in first]
            return first
        return tuple(one[: rows.stop - rows.start] if one.dim() else one for one in made)

    patch.setattr(parts, "run_again", run_first)
