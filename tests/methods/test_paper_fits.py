"""Methods at their papers' sizes fit a card, from `fit` to videos: counted on the meta device."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.neuroclips import NeuroClips
from bench.core.registry import names
from bench.core.variants import has_profile
from bench.pretrained.decoders import WanDecoder
from bench.pretrained.roles import find_suite
from bench.toolbox import budget
from bench.toolbox.accounting import Ledger
from bench.toolbox.parameters import find_reader
from tests.worlds.paper_fold import CALIBRATION, GIB, PaperSuite, fit_on_shapes, make_trials

EEG: dict[str, Any] = {"signals": (62, 400), "rate": 200.0, "video": (6, 288, 512), "eeg": True}  # SEED-DV
FRAMES: dict[str, Any] = {"rate": 0.5, "video": (6, 288, 512), "eeg": False}
ALL = os.environ.get("TEST_ALL_METHODS")


def said(*values: Any) -> Any:
    skipped = pytest.mark.skipif(not ALL, reason="its means are tested with other methods; set TEST_ALL_METHODS=1")
    return pytest.param(*values, marks=skipped)


# method, precision, sizes of a trial, trials (a full batch), clips, and as few steps as enter every loop
FITS = [
    ("mind_animator", "fp32", {"signals": (4500, 1), **FRAMES}, 64, 24,
     {"semantic_epochs": 2.0, "structure_epochs": 2.0, "motion_epochs": 2.0, "steps": 3}),
    said("eeg2video", "fp32", EEG, 32, 12,
     {"seq2seq_epochs": 2.0, "semantic_epochs": 2.0, "dynamic_epochs": 2.0, "tuning_epochs": 2.0, "steps": 3}),
    said("dynamind", "fp32", EEG, 120, 12,
     {"mapper_epochs": 2.0, "prior_epochs": 0.2, "aligner_epochs": 0.2, "tuning_epochs": 0.2, "steps": 3,
      "prior_draws": 3}),
    said("mind_video", "fp32", {"signals": (6016, 2), **FRAMES}, 64, 24,
     {"masked_epochs": 2.0, "alignment_epochs": 2.0, "tuning_epochs": 2.0, "together_epochs": 0.8, "steps": 3}),
    said("neuroclips", "fp32", {"signals": (13447, 1), **FRAMES}, 720, 8,
     {"semantic_epochs": 2.0, "prior_epochs": 0.2, "perception_epochs": 0.1, "steps": 7}),
    said("glfa", "fp32", {"signals": (8405, 5), **FRAMES}, 24, 12,
     {"train_epochs": 2.0, "joint_epochs": 1.0, "steps": 3}),
    said("cinesync", "bf16", {"signals": (8405, 5), **FRAMES, "video": (33, 480, 720)}, 16, 4,
     {"align_epochs": 2.0, "joint_epochs": 1.0, "steps": 3}),
    *(said("cine_neuron", "bf16", {"signals": (8405, 2), **FRAMES, "video": shape}, 144, 4,
      {"stage1_steps": 2, "joint_epochs": 0.4, "router_steps": 2, "category_weight": 0.0, "steps": 2})
      for shape in ((33, 480, 720), (57, 624, 624))),
]  # fmt: skip
SAM_NET = (
    "sam_net", "bf16", EEG, 64, 24, {"epochs": 2.0, "steps": 2, "keyframe_steps": 3},
)  # fmt: skip
ELSEWHERE = {
    "sam_net": "in half precision with 12 GiB, below",
    "dynamind_oracle": "DynaMind's own tuning and drawing",
}


def find_printed(name: str, video: tuple[int, int, int], precision: str, table: int = 0) -> tuple[float, float]:
    """What the page says of a method at clips of this size: GiB at the peaks of `fit` and of `reconstruct`; in its
    second table of `adapt` and of what follows it."""
    page = Path(__file__).parents[2].joinpath("docs/paper_size.md").read_text(encoding="utf-8")
    start = f"| `{name}` | {'×'.join(map(str, video))} | {precision} |"
    line = [line for line in page.splitlines() if line.startswith(start)][table]
    fitted, drawn = map(float, line.strip(" |").split("|")[-2:])
    return fitted, drawn


def test_every_method_with_a_size_of_its_paper_is_counted_or_says_why_not() -> None:
    counted = {str(getattr(one, "values", one)[0]) for one in FITS}
    assert not counted & set(ELSEWHERE)
    for name, precision, sizes, *_ in [SAM_NET, *(getattr(one, "values", one) for one in FITS)]:
        for table in (0, 1):
            assert max(find_printed(name, sizes["video"], precision, table)) < (12 if name == "sam_net" else 22)
    assert {name for name in names("methods") if has_profile(name, "paper")} == counted | set(ELSEWHERE)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision", "sizes", "trials", "clips", "brief"), FITS)
def test_from_fit_to_videos_it_fits_a_card_of_24_gib(
    name: str, precision: str, sizes: dict[str, Any], trials: int, clips: int, brief: dict[str, Any]
) -> None:
    train = make_trials(clips=clips, trials=trials, **sizes)
    validation = make_trials(clips=2, trials=8, first=100, **sizes)
    _, fitted, drawn = fit_on_shapes(name, train, validation, memory=24 * GIB, precision=precision, **brief)
    print(f"{name} at {sizes['video']}: fit {fitted / GIB:.1f} GiB, reconstruct {drawn / GIB:.1f} GiB")
    assert 2 * GIB < fitted < 22 * GIB and 2 * GIB < drawn < 22 * GIB
    printed = find_printed(name, sizes["video"], precision)
    assert (fitted / GIB, drawn / GIB) == pytest.approx(printed, abs=0.1), "as docs/paper_size.md says"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision", "sizes", "trials", "clips", "brief"),
    [said(*getattr(one, "values", one)) for one in (SAM_NET, *FITS)],
)
def test_a_new_subject_fits_the_card_too(
    name: str, precision: str, sizes: dict[str, Any], trials: int, clips: int, brief: dict[str, Any]
) -> None:
    """What was let go at the end of the fit is loaded again for the calibration clips, and goes again."""
    card, most = (12, 12) if name == "sam_net" else (24, 22)
    train = make_trials(clips=clips, trials=trials, **sizes)
    validation = make_trials(clips=2, trials=8, first=100, **sizes)
    known = {field.name for field in fields(find_reader(name)({}))}  # type: ignore[misc]
    brief = brief | {one: value for one, value in CALIBRATION.items() if one in known}
    options: dict[str, Any] = {"memory": card * GIB, "precision": precision, "adapt": True}
    _, adapted, drawn = fit_on_shapes(name, train, validation, **options, **brief)
    print(f"{name} at {sizes['video']}: adapt {adapted / GIB:.1f} GiB, reconstruct {drawn / GIB:.1f} GiB")
    assert 0 < adapted < most * GIB and 2 * GIB < drawn < most * GIB
    assert (adapted / GIB, drawn / GIB) == pytest.approx(find_printed(name, sizes["video"], precision, 1), abs=0.1)


@pytest.mark.slow
def test_neuroclips_has_on_the_card_what_a_phase_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its trained networks take 9 GiB and the largest CLIP as much, so neither lies beside the other, nor CLIP beside
    the autoencoder, nor the networks beside what draws. All of it but the training: few clips, no steps."""
    monkeypatch.setattr(NeuroClips, "learn", lambda *given, **options: {})
    _, precision, sizes, *_ = next(row for row in (getattr(one, "values", one) for one in FITS) if "neuroclips" in row)
    train = make_trials(clips=4, trials=4, **sizes)
    validation = make_trials(clips=2, trials=2, first=100, **sizes)
    options: dict[str, Any] = {"steps": 4, "keyframe_steps": 1, "prior_samples": 1, "precision": precision}
    method, adapted, drawn = fit_on_shapes("neuroclips", train, validation, memory=24 * GIB, adapt=True, **options)
    print(f"neuroclips, few clips: adapt {adapted / GIB:.1f} GiB, reconstruct {drawn / GIB:.1f} GiB")
    assert 9 * GIB < 4 * method.parameter_count < 10 * GIB
    assert 9 * GIB < adapted < 12 * GIB and 15 * GIB < drawn < 18 * GIB


@pytest.mark.slow
def test_sam_net_from_fit_to_videos_stays_within_12_gib_in_half_precision() -> None:
    *_, trials, clips, brief = SAM_NET
    train = make_trials(clips=clips, trials=trials, **EEG)
    validation = make_trials(clips=4, trials=8, first=100, **EEG)
    method, fitted, drawn = fit_on_shapes("sam_net", train, validation, memory=12 * GIB, precision="bf16", **brief)
    print(f"sam_net: fit {fitted / GIB:.1f} GiB, reconstruct {drawn / GIB:.1f} GiB")
    assert method.decoder.text.shape == (77, 768) and method.decoder.latents.shape == (6, 4, 36, 64)
    assert 8 * GIB < fitted < 12 * GIB and 4 * GIB < drawn < 12 * GIB, "the budget is filled and not passed"
    assert (fitted / GIB, drawn / GIB) == pytest.approx(find_printed("sam_net", EEG["video"], "bf16"), abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(57, 624, 624), said((33, 480, 720))])
def test_wan_reads_captions_and_draws_clips_at_cine_neuron_s_sizes(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "_COSTS", {})
    suite = PaperSuite(*find_suite("paper"), precision="bf16", memory=24 * GIB)
    with Ledger(limit=24 * GIB) as ledger:
        decoder = WanDecoder(suite, clip_shape=shape, rank=16, scale=16, steps=2, guidance=6.0)
        _ = decoder.negative
        assert ledger.peak > 10 * GIB, "UMT5 was there"
        decoder.release_text()
        assert ledger.live < 4 * GIB, "and is gone"
        with ledger.watch():
            made = decoder.generate(torch.zeros(2, 512, 4096, device="meta"), [0, 1])
            drawn = ledger.peak
    print(f"Wan at {shape}: captions {ledger.peak / GIB:.1f} GiB, videos {drawn / GIB:.1f} GiB")
    assert made.shape == (2, *shape, 3) and made.dtype == np.uint8
    assert 8 * GIB < drawn < 22 * GIB and ledger.peak < 22 * GIB
