"""What a run would cost: operations and memory by hand, and beside torch's own count of real networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import bench
from bench.api.cost import CellsCost, count_folds, tell_cost
from bench.cli import main
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.pretrained.shapes import load_shapes, run_once
from bench.pretrained.suite import load_suite
from bench.toolbox.work import Fold, Work, measure
from methods.sam_net.method import build_decoder
from methods.sam_net.parameters import Parameters
from methods.sam_net.views import Views

FOLD = Fold(
    train=90, validation=10, test=20, clips=50, captions=40, signals=(62, 400), sampling_rate=200.0, channels=CHANNELS,
    subjects=2, video=(6, 64, 64),
)  # fmt: skip


def test_operations_and_memory_are_counted_by_hand() -> None:
    with torch.device("meta"):
        layer, frozen = nn.Linear(30, 50, bias=False), nn.Linear(1000, 1000, bias=False)

    def step() -> None:
        layer(torch.zeros(4, 30, device="meta")).sum().backward()

    cost = measure(Work(phase="fit", what="steps", items=100, call=step, at_once=4, networks=[frozen], trained=True))
    forward = 2 * 4 * 30 * 50  # a product and a sum each; back: of weights alone
    assert cost.operations == (forward + forward) * 100 / 4
    assert cost.peak >= 4 * (1000 * 1000 + 4 * 30 + 4 * 50 + 30 * 50)
    assert cost.peak < 4 * (1000 * 1000 + 4 * 30 + 3 * 4 * 50 + 3 * 30 * 50)


def test_a_network_that_is_called_again_computes_once_and_counts_twice() -> None:
    called = []

    class Layer(nn.Linear):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            called.append(given.shape)
            return super().forward(given)

    with torch.device("meta"):
        network = run_once(Layer(10, 10, bias=False))
    given = torch.zeros(3, 10, device="meta")
    work = Work(phase="fit", what="", items=1, call=lambda: [network(given) for _ in range(5)])
    assert measure(work).operations == 5 * 2 * 3 * 10 * 10 and called == [(3, 10)]
    assert measure(replace(work, trained=True)).operations == 5 * 2 * 3 * 10 * 10 and len(called) == 6


def test_sam_net_s_videos_and_steps_are_what_torch_counts_of_the_real_networks() -> None:
    """The mini suite draws a clip by the calls of `reconstruct`, and the network takes a step, with weights."""
    steps = {"steps": 2, "keyframe_steps": 3}
    (costs,) = count_folds("sam_net", steps, [FOLD], load_shapes("mini"))
    found = {cost.phase + cost.what.partition(",")[0]: cost for cost in costs}
    suite, g = load_suite("mini"), load_suite("mini").geometry
    embeddings = torch.zeros(1, g.tokens, g.text_width)
    latents = torch.zeros(1, g.frames, g.latent_channels, g.latent_height, g.latent_width)
    _ = suite.negative_embedding
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
    ):  # the fused one is not counted
        blurry = suite.decode_latents(latents[:, :1])[:, 0]
        shown = suite.refine_keyframe(embeddings, blurry, [0], strength=0.4, steps=3)
        suite.generate_video(embeddings, [0], latents=latents, keyframes=shown, start="renoised", strength=0.8, steps=2)
    drawn = found["reconstructkey frames and videos"]
    assert drawn.items == 20 and drawn.operations == pytest.approx(20 * counter.get_total_flops(), rel=1e-6)

    own = Parameters()
    decoder = build_decoder(own, CHANNELS, 100, 50.0, g)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        _, text, codes = decoder(Views(torch.zeros(2, 62, 100), torch.zeros(2, 3, 62, 25)))
        (text.sum() + codes.sum()).backward()
    trained = found["fitHRT"]
    assert trained.items == round(20 * 100 / 64) * 64 and trained.host == 4 * 100 * 62 * (100 + 400)
    # a fused attention computes its weights again on the way back
    assert trained.operations == pytest.approx(trained.items / 2 * counter.get_total_flops(), rel=0.01)


def test_twice_the_trials_take_twice_the_steps_and_videos() -> None:
    twice = replace(FOLD, train=190, test=40)
    one, two = count_folds("sam_net", {"epochs": 32.0}, [FOLD, twice], load_shapes("mini"))
    assert [round(b.operations / a.operations, 6) for a, b in zip(one, two, strict=True)] == [1, 1, 2, 2]


def test_a_dry_run_without_the_papers_weights_says_what_is_taken(
    phantom: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if bench.load_suite("paper").has("unet"):
        pytest.skip("the paper suite's weights are here")
    asked = ["run", "--method", "sam_net", "--split", "cross_subject", "--quick", "--dry-run", "--runs", str(tmp_path)]
    assert main([*asked, "--suite", "paper"]) == 0
    out = capsys.readouterr()
    assert "the weights of suite paper are not on this machine" in out.err and "cells to do" in out.err
    assert all(line.split()[1:3] == ["to", "do"] for line in out.out.splitlines())
    assert main(["run", "--method", "sam_net", "--cost"]) == 1
    assert "--dry-run" in capsys.readouterr().err


def test_what_is_not_known_is_named_and_never_guessed() -> None:
    about = {"split": "cross_subject", "variant": "base", "cells": 2}
    lines = tell_cost(
        [
            CellsCost(method="sam_net", device=3 * 2**30, host=2**20, disk=0, hours=0.5, basis="a rate", **about),
            CellsCost(method="retrieval", **about),
        ],
        planned=9,
    )
    assert lines[0] == "4 of 9 cells to do" and "3 GiB" in lines[1] and "30 minutes" in lines[1]
    assert lines[-1] == "  not known for retrieval"
