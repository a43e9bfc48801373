"""How large networks are: their numbers of parameters, and the table that the methods' `sizes` modules print."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def count_parameters(module: nn.Module | None) -> int:
    """Numbers in a module, trained or frozen; 0 for a part that a variant lacks."""
    return 0 if module is None else sum(one.numel() for one in module.parameters())


def print_counts(
    counted: Sequence[tuple[str, int]] | Sequence[tuple[str, int, str]], source: str = "published"
) -> None:
    """A line for each part, its count, and, where there is a third column, what the `source` says of it."""
    width = max(len(part) for part, *_ in counted)
    for part, count, *said in counted:
        print(f"{part:{width}} {count:>15,}" + "".join(f"   {source}: {one}" for one in said))
