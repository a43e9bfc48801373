"""What the baselines say that they compute, held against what torch counts of their own fits and reconstructions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fitted import Fitted, list_datasets, shorten
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.api.cost import count_folds, find_list
from bench.core.registry import modality_of, names, resolve, role_of
from bench.core.variants import find_profile, has_profile
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.pretrained.generators import tune_a_video
from bench.pretrained.judges.observe import Judges
from bench.pretrained.shapes import load_shapes
from bench.pretrained.suite import load_suite
from bench.toolbox import encoded
from bench.toolbox.work import Fold

SOLVED = ("ridge_eeg", "ridge_fmri")  # without a step
TRAINED = [name for name in names("methods") if role_of(name) == "method" and name not in SOLVED]
APART = ("eegnet", "sam_net", "cine_neuron")  # torch's counter cannot hook the first; tests of their own
LISTED = [name for name in TRAINED if name not in APART]
QUICK = ("contrastive_eeg", "mind_animator")
ALL = os.environ.get("TEST_ALL_METHODS")


@contextmanager
def count_operations(beside: list[int]) -> Iterator[FlopCounterMode]:
    """What is computed in the block; what judges compute of it, which no list has, goes to `beside`."""

    def apart(call: Any) -> Any:
        def counted(*given: Any, **options: Any) -> Any:
            with FlopCounterMode(display=False) as own:
                made = call(*given, **options)
            beside.append(own.get_total_flops())
            return made

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("observe", "embed_captions"):
            patch.setattr(Judges, name, apart(getattr(Judges, name)))
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            yield counter


def count_real(name: str, suite: Any) -> tuple[dict[str, float], Fold, dict[str, Any]]:
    """Operations of a brief fit and of a reconstruction at the size mini, the fold, and the parameters."""
    parameters = shorten(resolve("methods", name), suite)
    made: dict[str, float] = {}
    beside: list[int] = []
    fit = resolve("methods", name).fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune_a_video, "_TUNED", {suite: {}})
        patch.setattr(encoded, "find_rows", lambda made_from: None)  # what another method encoded is computed too

        def counted(self: Any, *parts: Any) -> None:
            with count_operations(beside) as counter:
                fit(self, *parts)
            made["fit"] = counter.get_total_flops() - sum(beside)

        patch.setattr(resolve("methods", name), "fit", counted)
        fitted = Fitted(name, list_datasets(name)[0], suite)
    with count_operations([]) as counter:
        fitted.reconstruct()
    made["reconstruct"] = counter.get_total_flops()
    known, data = fitted.fold, fitted.dataset
    both = [fitted.part(part) for part in ("train", "validation")]
    captions = {caption for part in both for caption in part.captions}
    fold = Fold(
        train=len(known.train), validation=len(known.validation), test=len(known.test),
        clips=sum(len(part.video) for part in both), captions=len(captions), signals=both[0].brain.shape[1:],
        sampling_rate=data.sampling_rate, channels=tuple(data.channels), subjects=len(np.unique(both[0].subject)),
        rois={one: data.rois[one] for one in np.unique(both[0].subject).tolist() if one in data.rois},
        video=both[0].video.shape[1:4],
    )  # fmt: skip
    return made, fold, parameters


def list_counted() -> list[Any]:
    said = pytest.mark.skipif(not ALL, reason="each fits a method; set TEST_ALL_METHODS=1")
    return [pytest.param(name, marks=() if name in QUICK else said) for name in LISTED]


@pytest.mark.parametrize("name", list_counted())
def test_a_list_comes_to_what_torch_counts(name: str) -> None:
    made, fold, parameters = count_real(name, load_suite("mini"))
    (costs,) = count_folds(name, parameters, [fold], load_shapes("mini"))
    found = {phase: sum(cost.operations for cost in costs if cost.phase == phase) for phase in made}
    told = {cost.what: round(cost.operations / 1e6) for cost in costs}
    print(name, made, found, told)
    assert found["fit"] == pytest.approx(made["fit"], rel=0.05), told
    assert found["reconstruct"] == pytest.approx(made["reconstruct"], rel=0.02), told


@pytest.mark.skipif(not ALL, reason="networks of the papers' size: minutes")
@pytest.mark.parametrize("name", [name for name in LISTED if has_profile(name, "paper")])
def test_the_papers_size_can_be_counted(name: str) -> None:
    eeg = modality_of("methods", name) == "eeg"
    fold = Fold(
        train=8640, validation=480, test=1200, clips=4320, captions=4000,
        signals=(62, 400) if eeg else (4500, 2), sampling_rate=200.0 if eeg else 0.5,
        channels=CHANNELS if eeg else ("voxel",) * 4500, subjects=1, video=(6, 256, 256),
    )  # fmt: skip
    (costs,) = count_folds(name, find_profile(name, "paper"), [fold], load_shapes("paper", precision="bf16"))
    assert all(cost.operations > 0 and cost.peak > 0 for cost in costs)


def test_every_baseline_that_trains_has_a_list() -> None:
    assert [name for name in TRAINED if find_list(name) is None] == []
