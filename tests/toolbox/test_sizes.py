"""The paper's sizes: every method that has one is counted without a weight; what it does not know is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from bench.core.errors import BenchError
from bench.core.registry import names
from bench.core.variants import has_profile
from bench.toolbox.sizes import count_paper_size, count_parameters, list_parts

CEILING = "dynamind_oracle"  # has no network of its own; sam_net's paper states no size to count
SIZED = [name for name in names("methods") if has_profile(name, "paper") and name not in (CEILING, "sam_net")]
ROOT = Path(__file__).parents[2]


def test_numbers_are_counted_by_hand() -> None:
    layer = nn.Linear(3, 5)
    assert count_parameters(layer) == 3 * 5 + 5
    assert (
        count_parameters(list(layer.parameters())[:1]) == 15
        and count_parameters(7) == 7
        and count_parameters(None) == 0
    )


@pytest.mark.parametrize("method", SIZED)
def test_no_weight_of_the_papers_size_is_held(method: str) -> None:
    parts = [part for _, part, _ in list_parts(method)]
    held = [
        one
        for part in parts
        if not isinstance(part, int | None)
        for one in (part.parameters() if isinstance(part, nn.Module) else part)
    ]
    assert held and all(one.is_meta for one in held)
    assert torch.zeros(1).device.type == "cpu"


def test_what_has_no_papers_size_or_no_such_number_says_so() -> None:
    assert len(SIZED) == 8
    with pytest.raises(BenchError, match="sam_net has no paper's size"):
        list_parts("sam_net")
    with pytest.raises(BenchError, match=r"no parameter voxel, did you mean voxels\?; it has volumes, voxels"):
        list_parts("mind_video", voxel=3)


def test_the_command_prints_what_is_counted() -> None:
    command = [sys.executable, "-m", "bench.toolbox.sizes", "neuroclips", "voxels=100"]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    counts = count_paper_size("neuroclips", voxels=100)
    assert counts["semantic: ridge"] == (100 + 1) * 4096
    for line, (name, count) in zip(printed.splitlines(), counts.items(), strict=True):
        assert line.startswith(name) and f" {count:,}" in line
