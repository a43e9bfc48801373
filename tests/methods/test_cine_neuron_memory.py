"""CineNeuron at the paper's size and batches fits a card of 24 GiB, counted on the meta device."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

import methods.cine_neuron
from bench.pretrained.decoders import WanDecoder, attach_lora
from bench.toolbox import budget, parts
from bench.toolbox.accounting import Ledger
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.parameters import take_fields
from bench.toolbox.training import make_generator
from methods.cine_neuron.memory import make_pool
from methods.cine_neuron.networks import WAN, Memories, build_networks
from methods.cine_neuron.parameters import Parameters, read_parameters
from methods.cine_neuron.targets import Targets
from methods.cine_neuron.training import Recipe, train_stage1, train_stage2

CARD, MOST = 24 * 2**30, 22 * 2**30
CLIPS, WIDTH, CLASSES, CAPTION = 200, 768, 20, 40  # CLIP's width, categories, tokens of the longest caption


@pytest.fixture
def one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are alike: the first one is computed, and zeros of its shape stand for the others."""
    monkeypatch.setattr(budget, "_COSTS", {})
    run = parts.run_again

    def run_first(make: Any, rows: slice, device: torch.device) -> tuple[Tensor, ...]:
        if rows.start == 0:
            return run(make, rows, device)
        first = run_first.made if rows.start > 0 else ()
        return tuple(one[: rows.stop - rows.start] if one.dim() else one for one in first)

    def remember(make: Any, rows: slice, device: torch.device) -> tuple[Tensor, ...]:
        made = run_first(make, rows, device)
        run_first.made = tuple(torch.zeros_like(one) for one in made)  # type: ignore[attr-defined]
        return made

    monkeypatch.setattr(parts, "run_again", remember)


def read_paper() -> Parameters:
    table = Path(methods.cine_neuron.__file__).with_name("ablations.toml").read_text(encoding="utf-8")
    return read_parameters(tomllib.loads(table)["profile"]["paper"]["parameters"])


def far(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(*shape, dtype=dtype, device="meta")


def build(parameters: Parameters) -> tuple[Any, Any, Targets, Recipe]:
    """Networks, what reads trials, targets and recipe of cc2017's first subject."""
    with torch.device("meta"):
        networks = build_networks(
            parameters, volumes=2, voxels={1: np.arange(8405)}, embedding=WIDTH, action=WIDTH, categories=CLASSES,
            text=WAN["text_dim"],
        )  # fmt: skip
    targets = Targets(
        frames=far(CLIPS, parameters.alignment_frames, WIDTH), text=far(CLIPS, WIDTH), action=far(CLIPS, WIDTH),
        labels=far(CLIPS, CLASSES), caption=far(CLIPS, dtype=torch.int64),
    )  # fmt: skip

    def look(rows: np.ndarray) -> Any:
        return networks.brain.understand(far(len(rows), parameters.tokens, 2 * parameters.token_channels))

    return networks, look, targets, take_fields(Recipe, parameters)


def test_stage_1_with_a_batch_of_144(one_part: None) -> None:
    parameters = read_paper()
    assert parameters.batch_size == 144 and parameters.layers == 24
    with Ledger(limit=CARD) as ledger:
        networks, look, targets, recipe = build(parameters)
        weights = ledger.live
        train_stage1(
            networks, look, far(CLIPS, dtype=torch.int64), targets, recipe,
            parameters=[*networks.brain.parameters(), *networks.alignment.parameters()], steps=2,
            batch_size=parameters.batch_size, learning_rate=1e-4, batches=make_generator("test"), phase="stage 1",
        )  # fmt: skip
        assert 2 * weights < ledger.peak < MOST  # with gradients; the moments are on the host


SMALLER = pytest.mark.skipif(not os.environ.get("TEST_ALL_METHODS"), reason="the larger fits; set TEST_ALL_METHODS=1")


@pytest.mark.parametrize("shape", [(57, 624, 624), pytest.param((33, 480, 720), marks=SMALLER)])
def test_stage_2_with_a_batch_of_32(one_part: None, shape: tuple[int, int, int]) -> None:
    parameters = read_paper()
    assert parameters.joint_batch_size == 32 and list(shape) in [list(one) for one in parameters.output]
    with Ledger(limit=CARD) as ledger:
        networks, look, targets, recipe = build(parameters)
        decoder: Any = object.__new__(WanDecoder)
        decoder.suite, decoder.shape, decoder.shift = SimpleNamespace(memory=CARD), shape, 3.0
        decoder.dtype = torch.float32
        with torch.device("meta"):
            wan = WanTransformer3DModel(**WAN)
        decoder.network = attach_lora(wan, rank=16, scale=16, checkpointing=True)
        del wan
        frames, height, width = (shape[0] - 1) // 4 + 1, shape[1] // 8, shape[2] // 8
        pool = make_pool({"text": targets.text, "image": targets.text, "action": targets.action})
        texts = CaptionTokens(torch.zeros(CLIPS, CAPTION, WAN["text_dim"]), tokens=512)
        memories = Memories(pool, texts, targets.caption)
        train_stage2(
            networks, decoder, look, far(CLIPS, dtype=torch.int64), targets,
            torch.empty(CLIPS, 16, frames, height, width), memories, recipe, steps=2, batch_size=32,
            learning_rate=1e-6, decoder_learning_rate=1e-4, batches=make_generator("test"),
            noise=make_generator("test noise"), phase="stage 2", memory=CARD,
        )  # fmt: skip
        assert ledger.peak < MOST
