"""A network that nobody asks is off the device meanwhile, where it takes much of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.toolbox.accounting import Ledger
from bench.toolbox.aside import aside

MIB = 2**20
META = torch.device("meta")


def make_network() -> nn.Module:
    """1 MiB of weights and as much of a buffer, on the meta device."""
    network = nn.Linear(512, 512, bias=False, device="meta").requires_grad_(False).eval()
    network.register_buffer("shown", torch.zeros(512, 512, device="meta"))
    return network


@pytest.mark.parametrize(("limit", "left"), [(7, 0), (9, 2)])
def test_a_network_is_aside_where_it_takes_more_than_a_quarter(limit: int, left: int) -> None:
    with Ledger(limit=limit * MIB) as ledger:
        network = make_network()
        assert ledger.live == 2 * MIB
        with aside(network, META):
            assert ledger.live == left * MIB
            taken = torch.zeros((limit - left) * MIB, dtype=torch.uint8, device="meta")  # all that is free
            assert ledger.live == limit * MIB
            del taken
        assert ledger.live == 2 * MIB
        assert network(torch.zeros(1, 512, device="meta")).is_meta
        assert not network.training and not any(one.requires_grad for one in network.parameters())


def test_the_limit_that_is_given_counts() -> None:
    with Ledger(limit=100 * MIB) as ledger:
        network = make_network()
        with aside(network, META, memory=7 * MIB):
            assert ledger.live == 0


def test_it_comes_back_where_the_block_fails() -> None:
    with Ledger(limit=7 * MIB) as ledger:
        network = make_network()
        with pytest.raises(KeyError), aside(network, META):
            raise KeyError
        assert ledger.live == 2 * MIB and all(one.is_meta for one in network.parameters())


def test_on_a_processor_nothing_is_moved() -> None:
    network = nn.Linear(8, 8)
    before = [(id(one), one.data_ptr()) for one in network.parameters()]
    with aside(network, torch.device("cpu"), memory=1):
        assert [(id(one), one.data_ptr()) for one in network.parameters()] == before
    assert [(id(one), one.data_ptr()) for one in network.parameters()] == before
