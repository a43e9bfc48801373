"""Protocols and metrics by name: those of `metrics.protocols`, and those of installed packages and of files.

From outside come a `metrics.protocols.Protocol` (entry points `brain2video_bench.protocols`, or `path/file.py:NAME`)
and a `metrics.specs.MetricSpec` (`brain2video_bench.metrics`, or `path/file.py:NAME`). What such a metric returns is
checked at each call, so that a wrong shape is named and not scored.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.core.errors import BenchError
from bench.core.registry import names, resolve
from metrics.known import KNOWN_PROTOCOLS
from metrics.protocols import Protocol
from metrics.specs import Compute, MetricSpec, Scored


class MetricError(BenchError):
    """A protocol or metric from outside that is not what it must be."""


@functools.cache
def find_protocol(name: str) -> Protocol:
    """The protocol of a name, or behind `path/file.py:NAME`.

    Raises UnknownName for one that is not there, MetricError for what is no protocol, for one that is called as one of
    ours, and for metrics that are none.
    """
    if name in KNOWN_PROTOCOLS:
        return KNOWN_PROTOCOLS[name]
    outside = resolve("protocols", name)
    if not isinstance(outside, Protocol):
        raise MetricError(f"{name} is {type(outside).__name__}; it must be a metrics.protocols.Protocol")
    if outside.name in KNOWN_PROTOCOLS:
        raise MetricError(f"{name} calls itself {outside.name!r}, which is a protocol of the project; rename it")
    ours = {id(metric) for protocol in KNOWN_PROTOCOLS.values() for metric in protocol.metrics}
    metrics = [
        one if id(one) in ours else check_metric(one, f"{name}, metric {i}") for i, one in enumerate(outside.metrics)
    ]
    called = [metric.name for metric in metrics]
    if not called or len(set(called)) < len(called):
        raise MetricError(f"{name} has the metrics {', '.join(called) or 'none'}; it needs some, each of another name")
    return replace(outside, metrics=tuple(metrics))


def find_protocols(wanted: Sequence[str]) -> dict[str, Protocol]:
    """Protocols by what they call themselves."""
    return {protocol.name: protocol for protocol in map(find_protocol, wanted)}


@functools.cache
def find_metric(name: str) -> MetricSpec:
    """A metric from outside: of an installed package, or behind `path/file.py:NAME`; errors as `find_protocol`."""
    return check_metric(resolve("metrics", name), name)


def is_outside(metric: str) -> bool:
    """Whether a name is one for `find_metric`."""
    return ".py" in metric or metric in names("metrics")


def check_metric(metric: object, where: str) -> MetricSpec:
    """The metric, with its results checked. Raises MetricError naming what is wrong and what is allowed."""
    if not isinstance(metric, MetricSpec):
        raise MetricError(f"{where} is {type(metric).__name__}; it must be a metrics.specs.MetricSpec")
    if not metric.lo <= metric.worst <= metric.hi or not np.isfinite(metric.worst):
        raise MetricError(
            f"{where}: {metric.name} has worst value {metric.worst} and bounds {metric.lo} to {metric.hi}; what a "
            "missing clip scores must be finite and within the bounds"
        )
    if metric.direction not in ("higher", "lower") or metric.level not in ("clip", "set"):
        raise MetricError(
            f"{where}: {metric.name} has direction {metric.direction!r} and level {metric.level!r}; allowed are "
            "higher and lower, clip and set"
        )
    return replace(metric, compute=checked(metric))


def checked(metric: MetricSpec) -> Compute:
    """Its `compute`, raising MetricError unless it returns one number a clip (one in all, for a set)."""

    def compute(prediction: Scored, target: Scored) -> np.ndarray:
        values = np.asarray(metric.compute(prediction, target))
        clips = count_clips(prediction)
        wanted = (1,) if metric.level == "set" else (clips,)
        if values.shape != wanted or values.dtype.kind not in "fiub":
            raise MetricError(
                f"{metric.name} returned {values.dtype} {values.shape} for {clips} clips; it must return numbers of "
                f"shape {wanted}, {'one for the set' if metric.level == 'set' else 'one a clip'}"
            )
        return values.astype(np.float64)

    return compute


def count_clips(scored: Scored) -> int:
    return len(scored.video) if scored.video is not None else len(next(iter(scored.views.values())))
