"""The rules of the pretended device (`pretend_device`): what it refuses and what it lets pass, as a GPU does."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pretend_device import FAR, PretendDevice
from torch import nn
from torch.utils.checkpoint import checkpoint

from bench.toolbox.training import seeded

ELSEWHERE = r"all tensors to be on the same device|indices should be|can't convert cuda:0|device type for generator"


@pytest.fixture
def far() -> Iterator[PretendDevice]:
    with PretendDevice() as device:
        yield device


def refuses(call: Callable[[], Any]) -> bool:
    """True where the call fails for the devices of its tensors, and for nothing else."""
    try:
        call()
    except (RuntimeError, TypeError) as error:
        assert any(words in str(error) for words in ELSEWHERE.split("|")), error
        return True
    return False


def test_tensors_are_where_they_were_put(far):
    near, moved = torch.zeros(2, 3), torch.zeros(2, 3).to("cuda")
    assert near.device.type == "cpu" and not near.is_cuda and near.get_device() == -1
    assert moved.device == FAR and moved.is_cuda and not moved.is_cpu and moved.get_device() == 0
    for made in (
        *(moved[0], moved.T, moved.detach(), moved.data, moved + 1, 2 * moved, moved.sum(), moved.half()),
        *(torch.zeros_like(moved), moved.new_zeros(3), moved.new_tensor([1.0]), torch.stack([moved, moved])),
        *(near.cuda(), near.to(moved), near.to(0), near.to("cuda:0", torch.float64), near.type_as(moved)),
        *(torch.zeros(3, device="cuda"), torch.tensor([1.0], device=FAR), torch.arange(3, device=moved.device)),
        *(torch.as_tensor(np.ones(3), device="cuda"), torch.as_tensor(moved), torch.as_tensor(near, device="cuda")),
        *(torch.zeros_like(near, device="cuda"), near.new_zeros(2, device="cuda"), moved.expand(4, 2, 3)),
    ):  # fmt: skip
        assert made.device == FAR
    for made in (
        *(moved.cpu(), moved.to("cpu"), moved.to(near), torch.zeros(3), near + 1, torch.from_numpy(np.ones(3))),
        *(torch.tensor([1.0]), torch.zeros_like(moved, device="cpu"), torch.as_tensor(moved, device="cpu"), near[0]),
        *(torch.tensor([moved[0, 0], moved[0, 1]]), torch.arange(moved.sum() + 2), torch.full((2,), moved[0, 0])),
    ):
        assert made.device.type == "cpu"
    assert near.to("cpu") is near and moved.to("cuda") is moved and moved.to(FAR, torch.float32) is moved
    with torch.device("cuda"):
        assert torch.zeros(2).device == FAR


def test_moving_copies_and_keeps_numbers_types_and_strides(far):
    near = torch.arange(6.0).reshape(2, 3).T
    moved = near.to("cuda", torch.float64)
    assert moved.dtype == torch.float64 and moved.stride() == near.stride()
    assert torch.equal(moved.cpu().float(), near)
    moved += 1
    assert near.max() == 5 and moved.cpu().max() == 6
    array = np.zeros(3, np.float32)
    shared = torch.as_tensor(array, device="cuda")
    shared += 1
    assert not array.any()


def test_operators_want_one_device(far):
    near, moved = torch.ones(3, 3), torch.ones(3, 3, device="cuda")
    rows, far_rows = torch.tensor([0, 2]), torch.tensor([0, 2], device="cuda")
    for call in (
        lambda: near + moved,
        lambda: moved @ near,
        lambda: nn.functional.linear(moved, near),
        lambda: nn.functional.mse_loss(moved, near),
        lambda: nn.functional.embedding(rows, moved),
        lambda: nn.functional.scaled_dot_product_attention(*(x[None, None] for x in (moved, moved, near))),
        lambda: torch.cat([near, moved]),
        lambda: torch.stack([moved, near]),
        lambda: torch.where(near > 0, moved, moved),
        lambda: moved.index_select(0, rows),
        lambda: moved.gather(0, rows[:, None]),
        lambda: torch.equal(near, moved),
        lambda: torch.isin(moved, near),
        lambda: moved.masked_fill(near > 0, 0.0),
        lambda: near.add_(moved),
        lambda: near[0, 0].add_(moved[0, 0]),  # 0-dim, but what is written to lies on the CPU
        lambda: near + moved[0, 0],  # only scalars of the CPU go anywhere
        lambda: moved.clamp(min=near),
        lambda: torch.einsum("ij,jk->ik", moved, near),
        lambda: moved.index_add_(0, far_rows, near[:2]),
        lambda: moved.index_select(0, torch.tensor(0)),  # 0-dim, but no elementwise operator
    ):
        assert refuses(call), inspect.getsource(call)
        with torch.inference_mode():
            assert refuses(call)
    for call in (
        lambda: moved * torch.tensor(2.0),
        lambda: torch.tensor(2.0) - moved,
        lambda: moved.masked_fill(moved > 0, torch.tensor(2.0)),
        lambda: torch.where(moved > 0, moved, torch.tensor(0.0)),
        lambda: moved.div_(torch.tensor(2.0)),
        lambda: moved.copy_(near),
        lambda: moved.expand_as(torch.zeros(3, 3)),
        lambda: moved.view_as(near),
        lambda: torch.clamp(moved, min=torch.tensor(0.0)),
    ):
        assert not refuses(call) and call().device == FAR
        with torch.inference_mode():
            assert call().device == FAR
    assert near.copy_(moved).device.type == "cpu"
    assert float(moved[0, 0]) == moved[0, 0].item() == 1 and moved.any() and len(moved.tolist()) == 3


def test_indices_may_lie_on_the_cpu(far):
    near, moved = torch.ones(3, 3), torch.ones(3, 3, device="cuda")
    rows, far_rows = torch.tensor([0, 2]), torch.tensor([0, 2], device="cuda")
    for index in (
        rows,
        far_rows,
        [0, 2],
        np.array([0, 2]),
        near[0] > 0,
        moved[0] > 0,
        slice(2),
        (rows, far_rows),
        None,
    ):
        assert moved[index].device == FAR
    assert refuses(lambda: near[far_rows]) and refuses(lambda: near[moved > 0])
    moved[rows] = 2.0
    moved[rows] = torch.tensor(3.0)
    moved[1:] = near[1:]  # a copy
    near[1:] = moved[1:]
    near[0, 0] = moved[0, 0]
    moved[rows] = moved[:2].clone()
    assert refuses(lambda: moved.__setitem__(rows, near[:2]))
    assert refuses(lambda: near.__setitem__(far_rows, 1.0))
    assert refuses(lambda: near.__setitem__(rows, moved[:2]))


def test_numbers_leave_by_the_cpu_alone(far):
    moved = torch.ones(3, device="cuda")
    for call in (
        moved.numpy,
        lambda: np.asarray(moved),
        lambda: np.stack([moved, moved]),
        moved.cpu().to("cuda").numpy,
    ):
        assert refuses(call)
    assert moved.cpu().numpy().sum() == moved.numpy(force=True).sum() == 3


def test_networks_move_with_parameters_and_buffers(far):
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    network.register_buffer("kept", torch.ones(2), persistent=False)
    weight, shown = network[0].weight, torch.ones(5, 4)
    network.to("cuda")
    assert network[0].weight is weight and weight.device == FAR and weight.is_leaf and weight.requires_grad
    assert {one.device for one in (*network.parameters(), *network.buffers())} == {FAR}
    assert refuses(lambda: network(shown)) and network(shown.cuda()).device == FAR
    twin = copy.deepcopy(network)
    twin.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
    assert {one.device for one in (*twin.parameters(), *copy.deepcopy(network.state_dict()).values())} == {FAR}
    network.cpu()
    assert weight.device.type == "cpu" and twin[0].weight.device == FAR and network(shown).device.type == "cpu"
    with torch.device("meta"):
        ghost = nn.Linear(4, 2)
    assert ghost.weight.is_meta and ghost.to_empty(device="cuda").weight.device == FAR


def test_training_stays_on_its_device_and_gives_the_cpus_numbers():
    def train(device: str) -> tuple[torch.Tensor, float]:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), nn.Flatten(), nn.Linear(32, 3)
        ).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
        shown, right = torch.randn(6, 4, 8).to(device), torch.arange(6).remainder(3).to(device)
        for _ in range(3):
            optimiser.zero_grad(set_to_none=True)
            hidden = checkpoint(network[0], shown, use_reentrant=False)
            loss = nn.functional.cross_entropy(network[2](network[1](hidden)), right)
            loss.backward()
            assert all(one.grad is not None and one.grad.device == one.device for one in network.parameters())
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        assert network(shown).device.type == torch.device(device).type
        return network[2].weight.detach().cpu(), loss.item()

    weight, loss = train("cpu")
    with PretendDevice():
        far_weight, far_loss = train("cuda")
        assert torch.allclose(weight, far_weight, atol=1e-6) and abs(loss - far_loss) < 1e-6


def test_gradients_come_back_to_their_tensors(far):
    near, moved = torch.ones(3, requires_grad=True), torch.ones(3, device="cuda", requires_grad=True)
    (near.cuda() * moved).sum().cpu().backward()
    assert near.grad.device.type == "cpu" and moved.grad.device == FAR
    (given,) = torch.autograd.grad((near.to("cuda") ** 2 * moved).sum(), [near])
    assert given.device.type == "cpu" and torch.equal(given, torch.full((3,), 2.0))
    assert refuses(lambda: near.grad + moved.grad)


def test_generators_draw_on_their_own_device(far):
    near, own = torch.Generator().manual_seed(1), torch.Generator(device="cuda").manual_seed(1)
    assert own.device == FAR and isinstance(own, torch.Generator)
    assert refuses(lambda: torch.randn(3, device="cuda", generator=near))
    assert refuses(lambda: torch.rand(3, generator=own))
    assert refuses(lambda: torch.zeros(3, device="cuda").normal_(generator=near))
    assert torch.randn(3, device="cuda", generator=own).device == FAR
    assert torch.randperm(3, generator=near).device.type == "cpu"
    with seeded(FAR, "test"):
        assert nn.functional.dropout(torch.ones(9, device="cuda")).device == FAR


def test_nothing_of_it_is_left_behind():
    before, generator = torch.cuda.is_available(), torch.Generator
    with pytest.raises(ZeroDivisionError), PretendDevice():
        kept = torch.ones(3, device="cuda")
        assert torch.cuda.is_available()
        _ = 1 / 0
    assert torch.cuda.is_available() == before and torch.Generator is generator
    assert kept.device.type == "cpu" and (kept + torch.ones(3)).sum() == 6
