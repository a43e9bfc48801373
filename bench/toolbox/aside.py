"""Trained networks lie in the host's memory while a phase asks only others and needs the device for them.

What a suite holds is let go and loaded again (`bench.toolbox.budget.release`); what a method has trained is in no file,
so it is moved. Moving 10 GB there and back takes seconds on a GPU, so a network that takes little of the device stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from bench.toolbox.budget import empty_cache
from bench.toolbox.parts import count_bytes, find_limit

SHARE = 0.25  # of a device that a network may take while nobody asks it


@contextlib.contextmanager
def aside(network: nn.Module, device: torch.device, memory: int | None = None) -> Iterator[None]:
    """A block in which nobody asks the network: off the device meanwhile, where it takes more than `SHARE` of it.

    `memory` bounds the device as in `bench.toolbox.budget`. The numbers come back as they were, in the same parameters;
    on a processor nothing is moved.
    """
    limit = find_limit(device, memory)
    size = count_bytes([*network.parameters(), *network.buffers()])
    if device.type == "cpu" or limit is None or size <= SHARE * limit:
        yield
        return
    move(network, torch.device("cpu"))
    empty_cache(device)
    try:
        yield
    finally:
        move(network, device)


def move(network: nn.Module, device: torch.device) -> None:
    """Bring the network to a device; one that was made on the meta device, where memory is only counted, has no numbers
    to bring, and takes none of the host's memory while nobody writes there."""
    if device.type == "meta" or any(one.is_meta for one in network.parameters()):
        network.to_empty(device=device)
    else:
        network.to(device)
