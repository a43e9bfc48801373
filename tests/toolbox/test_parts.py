"""A batch in parts has the gradient of the whole, whatever the loss couples; moments on the host change nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from cine_world import FakeSuite
from torch import Tensor, nn
from torch.nn import functional

from bench.pretrained.decoders import WanDecoder, list_lora
from bench.toolbox import budget, parts
from bench.toolbox.parts import HostAdamW, mean_in_parts, run_in_parts
from bench.toolbox.training import Optimiser
from methods.cine_neuron.brain_model import BrainModel

CPU = torch.device("cpu")


@pytest.fixture
def three_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "fit_rows", lambda what, count, run, **_: min(3, count))


def make_brain(checkpointing: bool) -> BrainModel:
    torch.manual_seed(0)
    brain = BrainModel(
        volumes=1, tokens=5, channels=3, width=16, layers=2, heads=2, feedforward=24, dropout=0.0, embedding=6,
        checkpointing=checkpointing,
    )  # fmt: skip
    return brain.train()


def contrast(brain: BrainModel, numbers: Tensor, targets: Tensor) -> list[Tensor]:
    """Gradients of a loss in which each row of the batch meets every other, and of one that reads all tokens."""

    def see(rows: slice) -> tuple[Tensor, ...]:
        return brain.understand(numbers[rows])

    seen, tokens = run_in_parts("test", len(numbers), see, through=[brain.positions], device=CPU)
    loss = functional.cross_entropy(seen @ targets.T, torch.arange(len(seen))) + tokens.std(dim=0).sum()
    return list(torch.autograd.grad(loss, list(brain.parameters())))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_loss_that_couples_the_batch_has_the_same_gradient_in_parts(checkpointing, monkeypatch):
    numbers, targets = torch.randn(2, 10, 90, generator=torch.Generator().manual_seed(1)).split([1, 1])
    numbers, targets = numbers[0, :, :15].unflatten(1, (5, 3)), targets[0, :, :6]
    whole = contrast(make_brain(False), numbers, targets)
    runs: list[slice] = []
    again = parts.run_again
    monkeypatch.setattr(parts, "fit_rows", lambda what, count, run, **_: 3)
    monkeypatch.setattr(parts, "run_again", lambda run, rows, device: (runs.append(rows), again(run, rows, device))[1])
    found = contrast(make_brain(checkpointing), numbers, targets)
    assert runs == [slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10)]
    assert max(float(one.abs().max()) for one in whole) > 0.1
    for mine, theirs in zip(found, whole, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_mean_over_rows_is_weighted_by_the_length_of_its_parts(three_rows):
    given = torch.arange(7.0, requires_grad=True)
    made = mean_in_parts("test", 7, lambda rows: given[rows].square().mean(), through=[given], device=CPU)
    assert float(made.detach()) == pytest.approx(float(given.detach().square().mean()))
    (gradient,) = torch.autograd.grad(made, given)
    torch.testing.assert_close(gradient, 2 * given.detach() / 7)


def test_a_decoders_loss_gives_the_condition_the_same_gradient_in_parts(monkeypatch):
    decoder = WanDecoder(FakeSuite(), clip_shape=(5, 16, 16), rank=4, scale=4, checkpointing=True)
    torch.manual_seed(0)
    lora = list_lora(decoder.network.train())
    for one in lora:
        nn.init.normal_(one, std=0.1)
    latents, condition = torch.randn(4, 16, 2, 2, 2), torch.randn(4, 12, 16, requires_grad=True)
    found = []
    for size in (4, 3, 1):
        monkeypatch.setattr(parts, "fit_rows", lambda what, count, run, size=size, **_: size)
        loss = decoder.measure_loss(latents, condition, torch.Generator().manual_seed(7))
        found.append((loss.detach(), *torch.autograd.grad(loss, [condition, *lora])))
    assert float(found[0][1].abs().max()) > 1e-6
    for split in found[1:]:
        for mine, theirs in zip(split, found[0], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-7)


def test_dropout_draws_the_same_when_a_part_is_computed_again(three_rows):
    torch.manual_seed(5)
    given, dropout = torch.ones(6, 40, requires_grad=True), nn.Dropout(0.5)
    (made,) = run_in_parts("test", 6, lambda rows: (dropout(given[rows]),), through=[given], device=CPU)
    (gradient,) = torch.autograd.grad(made.sum(), given)
    assert torch.equal(gradient, made.detach()) and set(made.unique().tolist()) == {0.0, 2.0}


def test_the_whole_batch_goes_at_once_where_nothing_bounds_it():
    asked: list[slice] = []
    given = torch.ones(9, requires_grad=True)
    run_in_parts("test", 9, lambda rows: (asked.append(rows), given[rows])[1:], through=[given], device=CPU)
    assert asked == [slice(0, 9)]


def test_a_budget_bounds_the_rows_that_train_at_once(monkeypatch):
    monkeypatch.setattr(budget, "_COSTS", {})
    monkeypatch.setattr(budget, "resident_memory", lambda: 0)
    weight = torch.ones(2**18, requires_grad=True)  # a MiB, as each row is
    asked: list[int] = []

    def run(rows: slice) -> tuple[Tensor, ...]:
        asked.append(rows.stop - rows.start)
        return ((torch.ones(rows.stop - rows.start, 2**18) * weight).sin(),)

    before = torch.get_rng_state()
    run_in_parts("test", 64, run, through=[weight], device=CPU, memory=64 * 2**20)
    assert asked[0] == 1 and torch.equal(before, torch.get_rng_state())
    assert 1 < asked[1] < 32 and sum(asked[1:]) == 64


def test_moments_on_the_host_are_the_moments_of_adamw(tmp_path):
    def train(kind: Any, restart: bool) -> list[Tensor]:
        torch.manual_seed(2)
        network = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 1))
        rows = torch.randn(8, 6)

        def build() -> Optimiser:
            made = Optimiser([(list(network.parameters()), 1e-2)], steps=8, weight_decay=0.1)
            if kind is HostAdamW:
                made.adamw = HostAdamW([{"params": made.parameters, "lr": 1e-2}], weight_decay=0.1)
                made.cycle = torch.optim.lr_scheduler.OneCycleLR(made.adamw, 1e-2, total_steps=9, pct_start=0.1)
            return made

        optimise = build()
        for step in range(8):
            if restart and step == 4:
                state = copy.deepcopy(optimise.state_dict())
                optimise = build()
                optimise.load_state_dict(state)
            optimise.step(network(rows).square().mean())
        return [one.detach() for one in network.parameters()]

    plain = train(torch.optim.AdamW, False)
    for restart in (False, True):
        for mine, theirs in zip(train(HostAdamW, restart), plain, strict=True):
            assert torch.equal(mine, theirs)


def test_moments_go_to_the_host_where_they_would_take_more_than_a_quarter(monkeypatch):
    weights = [nn.Parameter(torch.empty(2**20, device="meta"))]  # 4 MiB, moments of 8
    for memory, kind in ((2**25 + 1, torch.optim.AdamW), (2**25 - 1, HostAdamW)):
        optimise = Optimiser([(weights, 1e-3)], steps=2, weight_decay=0.0, memory=memory)
        assert type(optimise.adamw) is kind
        assert optimise.pending == (12 if kind is torch.optim.AdamW else 4) * 2**20
