"""Copies of networks that share what is frozen: a large network is in memory once, whatever is trained on top of it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def share_numbers(network: nn.Module, source: nn.Module) -> None:
    """Parameters of the source in the place of those of a network that was built from it: the same by name and shape.

    They are frozen in both. Numbers that are shared must not be changed in place.
    """
    given = dict(source.named_parameters())
    for name, parameter in list(network.named_parameters()):
        if name in given and given[name].shape == parameter.shape:
            place, _, last = name.rpartition(".")
            setattr(network.get_submodule(place), last, given[name])


def copy_sharing(network: Network, *, own: Iterable[nn.Parameter] = ()) -> Network:
    """A copy whose frozen parameters and buffers are the network's own, but those in `own`; the others are copied too.

    Layers may be replaced, wrapped and set to train in the copy without a trace in the network. Numbers that are shared
    must not be changed in place.
    """
    apart = {id(parameter) for parameter in own}
    shared = [one for one in network.parameters() if not one.requires_grad and id(one) not in apart]
    return copy.deepcopy(network, {id(one): one for one in (*shared, *network.buffers())})
