"""What one command asks for, and the cells that it comes to: plain values, so that any process can be handed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.core.hardware import AUTO, Precision
from bench.core.spec import CellSpec

if TYPE_CHECKING:
    from bench.core.contracts import Space


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one command asks for: named variants of one method on one split, with their floors and ceilings."""

    method: str
    split: str
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"base": {}})
    dataset: str = "phantom_eeg"
    suite: str = "mini"
    classes: int = 40
    seeds: int = 1
    data_root: str | None = None
    protocols: tuple[str, ...] = ("corrected", "eeg2video")
    video: bool = True  # False: embeddings alone, of those that embed
    device: str = AUTO
    precision: Precision = "fp32"  # of what draws, of what trains, and of the judges that a method asks
    memory: int | None = None  # bytes of the device that may be used


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell to be made and scored, with what a worker needs to open."""

    spec: CellSpec
    variant: str
    role: str  # "method", "baseline", "control" or "ceiling"
    data_root: str | None
    protocols: tuple[str, ...]
    space: Space | None = None  # of the method's embeddings; only the command's process may ask its class
    sources: Mapping[str, str] = field(default_factory=dict)  # digest by file and network: what `spec.source` is of
    keep_weights: bool = False  # with the cell
    weights: str | None = None  # a folder of weights that a cell kept, in place of training
    device: str = AUTO
    memory: int | None = None
