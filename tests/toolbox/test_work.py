"""What a run would cost: operations and memory by hand, and beside torch's own count of real networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import bench
from bench.api import cost
from bench.api.cost import CellsCost, count_folds, tell_cost
from bench.cli import main
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.pretrained.shapes import load_shapes, run_once
from bench.pretrained.suite import load_suite
from bench.toolbox.work import Cost, Fold, Work, measure
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


def test_what_one_item_needs_is_held_against_the_memory() -> None:
    about = {"split": "cross_subject", "variant": "base", "cells": 1, "method": "sam_net", "host": 0, "disk": 0}
    costs = [CellsCost(device=3 * 2**30, hours=0.5, memory=size, **about) for size in (None, 2**32, 2**31)]
    _, free, _, fits, _, exceeds, _ = tell_cost(costs, planned=3)
    assert "device 3 GiB (one item at a time), host" in free
    assert "device 3 GiB (one item at a time; as many as fit 4 GiB go together), host" in fits
    assert "device 3 GiB (one item, more than the 2 GiB of --memory" in exceeds


def test_a_prediction_is_held_beside_what_cells_took(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind's own cells are no ground of its prediction: the base is predicted from the variant, the variant from it.

    The base trains by 600 operations and draws by 50, the variant by 300 and 50; a first of two cells took 30 s, a
    second 50 s. So the base's first cell trains at 20 operations a second, the variant's at 5.
    """
    monkeypatch.setattr("bench.store.provenance.describe_machine", lambda: {"processor": "chip"})

    def cell(key: str, variant: str, fit: float, draw: float, method: str = "sam_net", **more: object) -> dict:
        parameters = {"variant": variant}
        spec = {"method": method, "dataset": "made_up", "suite": "mini", "split": "cross_subject", "fold": "all",
                "classes": 40, "parameters": parameters, "source": ""}  # fmt: skip
        made = {"machine": {"processor": "chip"}, "device": "cpu"}
        phases = {"fit": fit, "reconstruct": draw}
        return {"key": key, "spec": spec, "variant": variant, "phases": phases, "provenance": made,
                "peak_memory_bytes": 2**30, **more}  # fmt: skip

    cells = [
        cell("a", "base", 30, 10),
        cell("b", "base", 50, 30),
        cell("c", "wo_csa", 60, 10),
        cell("d", "base", 0.1, 30, weights_of="a"),
        cell("e", "base", 1, 1, method="train_mean"),
    ]

    def count(method: str, parameters: dict, folds: list, shapes: object) -> list[list[Cost]]:
        about = {"what": "", "items": 1.0, "peak": 0, "host": 2**21}
        fit = 600.0 if parameters["variant"] == "base" else 300.0
        costs = [Cost(phase="fit", operations=fit, **about), Cost(phase="reconstruct", operations=50.0, **about)]
        return [costs for _ in folds]

    monkeypatch.setattr(cost, "stored", lambda runs: cells)
    monkeypatch.setattr(cost, "committed", list)
    monkeypatch.setattr(cost, "count_folds", count)
    monkeypatch.setattr(cost, "read_fold", lambda *given: FOLD)
    monkeypatch.setattr("bench.harness.inputs.open_once", lambda name, root: SimpleNamespace(name=name))
    table = bench.compare_costs(runs="anywhere").set_index("variant")
    base, variant = table.loc["base"], table.loc["wo_csa"]
    assert (base["cells"], variant["cells"]) == (2, 1)
    assert base["fit_predicted"] == pytest.approx(600 / 5) and base["fit_measured"] == pytest.approx(40)
    assert base["times_fit"] == pytest.approx(40 / 120) and base["times_reconstruct"] == pytest.approx(20 / 10)
    assert variant["fit_predicted"] == pytest.approx(300 / (600 / 30)) and variant["times_fit"] == pytest.approx(4)
    assert (base["host_mib"], base["peak_mib"]) == (4, 1024) and "cell c" in base["basis"]
    monkeypatch.setattr(cost, "stored", lambda runs: cells[3:])
    with pytest.raises(bench.BenchError, match="holds no cell that was trained by a method which lists its calls"):
        bench.compare_costs(runs="anywhere")
