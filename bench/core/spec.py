"""Frozen descriptions of a unit of work and their canonical digest.

A key is the digest of everything that determines a result and of nothing else: a variant's *name* is no part of it,
its parameters are. The canonical form is JSON with sorted keys, tuples as lists and floats by their shortest `repr`,
so the same spec has the same key in every process, on every platform, whatever the order of its keys.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.core.errors import BenchError

EMBEDDING = "embedding"  # the output of a cell without videos
SUBMITTED = "submitted"  # the source of a cell whose videos were made elsewhere: no code of it ran here
CHOSEN = "chosen"  # the split of submitted videos that are no whole set, or whose data set does not lie here
KEY_LENGTH = 16  # hex digits of a key: 64 bits, no collision in any store that fits a disk


class SpecError(BenchError):
    """A spec, a parameter or a variant file that cannot be used."""


def canonical_json(value: Any) -> str:
    """The one JSON text of a value of dicts with text keys, lists, tuples, texts, numbers, booleans and None.

    Raises SpecError for NaN, infinities, keys that are no text and any other type: a digest must not rest on a
    `repr` that may change.
    """
    check_plain(value, "value")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def check_plain(value: Any, where: str) -> None:
    """Raises SpecError, naming the place, for what the canonical form cannot hold."""
    kind = type(value)
    if kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise SpecError(f"{where} has the key {key!r} ({type(key).__name__}); keys must be text")
            check_plain(item, f"{where}[{key!r}]")
    elif kind in (list, tuple):
        for index, item in enumerate(value):
            check_plain(item, f"{where}[{index}]")
    elif kind is float:
        if not math.isfinite(value):
            raise SpecError(f"{where} is {value}; numbers in a spec must be finite (leave an absent one out, or None)")
    elif kind not in (str, int, bool, type(None)):
        raise SpecError(
            f"{where} is {value!r} of type {kind.__module__}.{kind.__name__}; a spec holds plain Python values "
            "(text, int, float, bool, None, lists, dicts): convert it, e.g. with .item() or .tolist()"
        )


def digest(value: Any) -> str:
    """sha256 (64 hex digits) of the canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def is_submitted(spec: Mapping[str, Any]) -> bool:
    """Whether a cell's videos were made elsewhere and submitted; its `source` is then no digest of any code."""
    return bool(spec.get("source") == SUBMITTED)


def precision_of(spec: Mapping[str, Any]) -> str:
    """What a cell was computed in: only another precision than fp32 is among its settings."""
    return str(spec.get("settings", {}).get("precision", "fp32"))


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """All that determines the predictions of one cell: one method variant on one fold with one seed.

    Its videos, or its embeddings (`bench.core.contracts.Embedder`): a cell of their own, made by the same fit.

    `settings` are the suite's, whichever of them the method reads; `rules` are the split's version and shares; `source`
    is the digest of all code that the cell runs through and of the networks that it asks beside the suite's generators
    (`bench.harness.identity`), or `SUBMITTED`. Cells of before `settings` and `rules` were recorded have none, and keep
    their keys.
    """

    dataset: str
    data_digest: str
    split: str
    fold: str
    classes: int
    method: str
    method_version: int
    parameters: dict[str, Any]
    suite: str
    suite_digest: str
    seed: int
    source: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)
    output: str = ""  # EMBEDDING, or videos

    def as_dict(self) -> dict[str, Any]:
        plain = asdict(self)
        return {name: value for name, value in plain.items() if value or name not in ("settings", "rules", "output")}

    @property
    def key(self) -> str:
        return digest(self.as_dict())[:KEY_LENGTH]


@dataclass(frozen=True, kw_only=True)
class ScoreSpec:
    """All that determines the scores of one metric on one cell; `judge_digest` is empty where no judge is asked.

    `rules` is what the metric's and the protocol's specs say beside their code, `source` the digest of that code and of
    the judges' (`bench.scoring.identity`).
    """

    prediction_digest: str
    protocol: str
    metric: str
    metric_version: int
    judge_digest: str
    rules: dict[str, Any]
    source: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def key(self) -> str:
        return digest(self.as_dict())[:KEY_LENGTH]
