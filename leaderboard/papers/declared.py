"""What the ablation study is decided by, as `study.toml` declares it: seeds, metrics, margins, each row's level."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from bench.core.variants import split_profiled
from leaderboard.papers.reported import ReportedError

Level = Literal["encoder", "video"]
LEVELS: tuple[Level, ...] = get_args(Level)
FILE = Path(__file__).with_name("study.toml")
KEYS = ("seeds", "level", "data", "primary", "margins", "encoder", "rows")
ROW = ("read_at", "planted", "gains", "zero")


@dataclass(frozen=True, kw_only=True)
class Row:
    """How a variant is decided, and what of a phantom's card stands beside it."""

    read_at: Level = "video"
    planted: tuple[str, ...] = ()  # figures of the card, without their "lost without"
    gains: bool = False  # the variant has more than its base
    zero: str = ""  # why nothing is planted


@dataclass(frozen=True, kw_only=True)
class Declared:
    seeds: int
    level: float
    data: Mapping[str, str]  # of tables that are decided on another phantom than stands for their data
    primary: frozenset[str]
    margins: Mapping[str, float]
    encoder: Mapping[str, str]
    rows: Mapping[tuple[str, str], Row]

    def find(self, method: str, variant: str) -> Row:
        """The row of a variant in any profile; one that is not declared is decided at the videos."""
        plain = split_profiled(variant)[0].removesuffix("_matched")
        return self.rows.get((method, plain), Row())

    def metric_at(self, level: Level, metric: str) -> str | None:
        """protocol.metric by which a column's protocol.metric is read at a level; None where it says nothing there."""
        if level == "video":
            return metric
        found = self.encoder.get(metric.partition(".")[2])
        return None if found is None else f"embedding.{found}"

    def margin(self, metric: str) -> float:
        """Of a protocol.metric; NaN of one that has none, so that nothing is bounded by it."""
        return self.margins.get(metric.partition(".")[2], float("nan"))


def load_declared(path: Path = FILE) -> Declared:
    """Raises ReportedError for a file that lacks a key, has a strange one, or names a level that is none."""
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    if set(content) != set(KEYS):
        raise ReportedError(f"{path} holds {', '.join(content)}; it must hold {', '.join(KEYS)}")
    rows = {}
    for method, variants in content["rows"].items():
        for variant, about in variants.items():
            if set(about) - set(ROW) or about.get("read_at") not in LEVELS:
                raise ReportedError(
                    f"{path}: {method} {variant} says {about}; allowed are {', '.join(ROW)}, and read_at "
                    f"{' or '.join(LEVELS)}"
                )
            rows[method, variant] = Row(**{**about, "planted": tuple(about.get("planted", ()))})
    return Declared(**{**content, "primary": frozenset(content["primary"]), "rows": rows})
