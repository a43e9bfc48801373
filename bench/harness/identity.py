"""The identity of a cell: the spec of all that determines its predictions, made the same way to plan, to run and to
find it again, so that none of the three can forget a part."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from bench.core.contracts import Dataset
from bench.core.registry import LIVE, digest_class, find_home, find_roots, resolve, role_of
from bench.core.sources import trace
from bench.core.spec import CellSpec, digest
from bench.core.splits import describe_rules

# What a cell runs through whatever its method: what is drawn, normalised, handed over and written.
HARNESS = ("bench.harness.run_cell", "bench.core.splits", "bench.core.seeds")
# `run_cell` scores too, and scores have keys of their own.
NO_PART = ("bench.scoring.score_cell", "bench.harness.identity", "bench.store.cells", "bench.store.predictions")


def identify(
    dataset: Dataset,
    suite: Any,
    *,
    dataset_name: str,
    suite_name: str,
    split: str,
    fold: str,
    classes: int,
    method: str,
    parameters: Mapping[str, Any],
    seed: int,
) -> CellSpec:
    """The spec of a cell on the open data set and suite; the names are those that both were asked for by.

    Raises UnknownName for a method that is not there.
    """
    return CellSpec(
        dataset=dataset_name,
        data_digest=dataset.digest,
        split=split,
        fold=fold,
        classes=classes,
        method=method,
        method_version=resolve("methods", method).version,
        parameters=dict(parameters),
        suite=suite_name,
        suite_digest=suite.digest,
        settings=suite.drawing_settings,
        rules=describe_rules(),
        seed=seed,
        source=digest(list_sources(method, parameters, dataset, suite)),
    )


def list_sources(method: str, parameters: Mapping[str, Any], dataset: Dataset, suite: Any) -> dict[str, str]:
    """Digest of each file that a cell's code comes to, by module, and of each network that it asks for by name.

    Beside the method's own code: that of the harness, of the data set's layout and of the suite; the method that it
    wraps (class attribute `wraps`: the default of its parameter `method`); the networks beside the suite's generators
    that it builds on (class attribute `uses`: their roles); the judges that it asks (class attribute `asks`: their
    views); for a ceiling also the phantom's likelihood.
    """
    method_class = resolve("methods", method)
    roots = [*HARNESS, *find_home(type(dataset)), *find_home(type(suite)), *find_roots("methods", method)]
    sources: dict[str, str] = {}
    if method in LIVE and not find_roots("methods", method):
        sources["class"] = digest_class(method)
    if hasattr(method_class, "wraps"):
        inner = parameters.get("method", method_class.wraps)
        roots += find_roots("methods", inner)
        sources["wraps"] = f"{inner} {resolve('methods', inner).version}"
    if role_of(method) == "ceiling" and dataset.truth is not None:
        roots += find_home(type(dataset.truth))
    for role in getattr(method_class, "uses", ()):
        sources[f"role {role}"] = suite.digest_role(role) if suite.has(role) else "absent"
    for view in getattr(method_class, "asks", ()):
        sources[f"view {view}"] = suite.judges.digest(view) if suite.judges.available(view) else "absent"
    return {**sources, **trace(*roots, leave=left_out())}


@functools.cache
def left_out() -> tuple[str, ...]:
    from bench.core.sources import LEFT_OUT

    return (*LEFT_OUT, *NO_PART)
