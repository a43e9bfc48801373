"""How large networks are: numbers of parameters, and those of a method at its paper's size.

    python -m bench.toolbox.sizes METHOD [NAME=NUMBER ...]      e.g. mind_video voxels=6016 volumes=2

A method with a profile `paper` has a function `list_paper_parts(parameters, ...)` beside its
networks, which its package names. The parts are built on the meta device: no weight is held, so that they can be
counted on any machine.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

from bench.core.errors import BenchError
from bench.core.registry import target
from bench.core.variants import load_profiles, parse_settings
from bench.toolbox.parameters import check_names, find_reader

Counted = nn.Module | Iterable[nn.Parameter] | int | None
PaperPart = tuple[str, Counted, str]  # its name, what is counted, and what the paper says of it

# The image UNet of Stable Diffusion 1.x, from the configuration of its release in diffusers' format
STABLE_DIFFUSION: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


def count_parameters(part: Counted) -> int:
    """Numbers in a module or among parameters, trained or frozen; 0 for a part that a variant lacks."""
    if isinstance(part, int):
        return part
    parameters = part.parameters() if isinstance(part, nn.Module) else part or ()
    return sum(parameter.numel() for parameter in parameters)


def list_parts(method: str, **sizes: int) -> Sequence[PaperPart]:
    """The parts of a method at its paper's size, on the meta device; `sizes` change what its function assumes.

    Raises BenchError for a method without such a function, and for a size that the function does not know.
    """
    package = importlib.import_module(target("methods", method).partition(":")[0])
    listing, read = getattr(package, "list_paper_parts", None), find_reader(method)
    paper = load_profiles(method).get("paper")
    if listing is None or read is None or paper is None:
        raise BenchError(f"{method} has no paper's size to count: it needs list_paper_parts and a profile `paper`")
    _, *known = inspect.signature(listing).parameters
    check_names(method, sizes, dict.fromkeys(known))
    with torch.device("meta"):
        return listing(read(paper), **sizes)


def count_paper_size(method: str, **sizes: int) -> dict[str, int]:
    """The number of parameters of each part."""
    return {name: count_parameters(part) for name, part, _ in list_parts(method, **sizes)}


def main(arguments: Sequence[str]) -> None:
    """A line for each part, its count, and what the paper says of it."""
    method, *settings = arguments
    parts = list_parts(method, **parse_settings(settings))
    width = max(len(name) for name, *_ in parts)
    for name, part, said in parts:
        print(f"{name:{width}} {count_parameters(part):>15,}" + (f"   paper: {said}" if said else ""))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m bench.toolbox.sizes METHOD [NAME=NUMBER ...]")
    try:
        main(sys.argv[1:])
    except BenchError as error:
        sys.exit(f"error: {error}")
