"""The identity of a score: what determines the values of one metric on one cell beside the cell itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from bench.core.registry import find_home
from bench.core.seeds import PERMUTATIONS
from bench.core.sources import trace
from bench.core.spec import ScoreSpec, digest
from bench.scoring.views import Viewer
from metrics.protocols import Protocol
from metrics.specs import MetricSpec

SCORING = "bench.scoring.score_cell"
DECORATION = ("summary", "differs", "metrics")  # of specs: words, and what is told one by one


def identify_score(prediction_digest: str, protocol: Protocol, metric: MetricSpec, viewer: Viewer) -> ScoreSpec:
    """The spec of the scores of a metric under a protocol, made by this suite's judges and today's code."""
    code = [SCORING, *find_modules(metric)]
    if metric.views:
        code += find_home(type(viewer.judges))
    return ScoreSpec(
        prediction_digest=prediction_digest,
        protocol=protocol.name,
        metric=metric.name,
        metric_version=metric.version,
        judge_digest=viewer.digest(metric),
        rules={
            "metric": describe(metric),
            "protocol": describe(protocol),
            "permutations": PERMUTATIONS,
        },
        source=digest_code(tuple(dict.fromkeys(code))),
    )


@functools.cache
def digest_code(roots: tuple[str | Path, ...]) -> str:
    """Of what this process computes with: scores are made in it, by the code that it has loaded once."""
    return digest(trace(*roots))


def describe(thing: Any) -> Any:
    """A spec, a function or a value as plain values: of a function its name and what is bound to it."""
    if is_dataclass(thing) and not isinstance(thing, type):
        named = {one.name: getattr(thing, one.name) for one in fields(thing) if one.name not in DECORATION}
        return {name: describe(value) for name, value in named.items()}
    if isinstance(thing, functools.partial):
        return [describe(thing.func), describe(thing.args), describe(thing.keywords)]
    if isinstance(thing, FunctionType):
        return [thing.__module__, thing.__qualname__, *(describe(value) for value in bound(thing))]
    if isinstance(thing, dict):
        return {str(name): describe(value) for name, value in thing.items()}
    if isinstance(thing, tuple | list):
        return [describe(value) for value in thing]
    if isinstance(thing, float) and not math.isfinite(thing):
        return str(thing)
    if thing is None or isinstance(thing, str | int | float):
        return thing
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def bound(function: FunctionType) -> Iterator[Any]:
    """The values of a function's surroundings and of its defaults."""
    yield from (cell.cell_contents for cell in function.__closure__ or ())
    yield from function.__defaults__ or ()


def find_modules(thing: Any) -> Iterator[str | Path]:
    """The homes of all functions that a metric is put together of."""
    if is_dataclass(thing) and not isinstance(thing, type):
        for one in fields(thing):
            yield from find_modules(getattr(thing, one.name))
    elif isinstance(thing, functools.partial):
        for part in (thing.func, *thing.args, *thing.keywords.values()):
            yield from find_modules(part)
    elif isinstance(thing, FunctionType):
        yield from find_home(thing)
        for value in bound(thing):
            yield from find_modules(value)
    elif callable(thing):
        yield from find_home(thing)
