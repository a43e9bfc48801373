"""The identity of a cell: the spec of all that determines its predictions, made the same way to plan, to run and to
find it again, so that none of the three can forget a part."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from bench.core.contracts import Dataset, Space
from bench.core.errors import BenchError
from bench.core.registry import LIVE, digest_class, find_home, find_roots, resolve, role_of
from bench.core.sources import LEFT_OUT, trace, untraced
from bench.core.spec import CellSpec, digest
from bench.core.splits import describe_rules
from bench.pretrained.judges.observe import VIEWS
from bench.pretrained.roles import GENERATORS, LOADED

METHOD, CLASS = "method ", "class "  # what stands before names among the sources
# What a cell runs through whatever its method: what is drawn, normalised, handed over and written.
HARNESS = ("bench.harness.run_cell", "bench.harness.inside", "bench.core.splits", "bench.core.seeds")
# `run_cell` scores too, and scores have keys of their own; the rest starts processes, carries and stores.
NO_PART = (
    *("bench.scoring.score_cell", "bench.scoring.flags", "bench.scoring.views", "bench.store.cells"),
    *("bench.store.predictions", "bench.store.contents", "bench.harness.identity", "bench.harness.supervise"),
    *("bench.harness.nursery", "bench.harness.wire", "bench.core.job", "bench.scoring.embeddings"),
)


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
    sources: Mapping[str, str],
    output: str = "",
) -> CellSpec:
    """The spec of a cell on the open data set and suite; the names are those that both were asked for by.

    `sources` are those of `list_sources`.

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
        source=digest(dict(sources)),
        output=output,
    )


def list_sources(method: str, parameters: Mapping[str, Any], dataset: Dataset, suite: Any) -> dict[str, str]:
    """Digest of each file that a cell's code comes to, by module, and of each network that it asks for by name.

    Beside the method's own code: that of the harness, of the data set's layout and of the suite; the method that it
    wraps (class attribute `wraps`: the default of its parameter `method`); the networks beside the suite's generators
    that it builds on (class attribute `uses`: their roles); the judges that it asks (class attribute `asks`: their
    views); for a ceiling also the phantom's likelihood.
    """
    sources: dict[str, str] = {}
    names = list_methods(method, parameters)
    for name in names:
        method_class = resolve("methods", name)
        sources[f"{METHOD}{name}"] = str(method_class.version)
        if name in LIVE and not find_roots("methods", name):
            sources[f"{CLASS}{name}"] = digest_class(name)
        for role in getattr(method_class, "uses", ()):
            sources[f"role {role}"] = suite.digest_role(role) if suite.has(role) else "absent"
        for view in getattr(method_class, "asks", ()):
            sources[f"view {view}"] = suite.judges.digest(view) if suite.judges.available(view) else "absent"
    return {**sources, **trace_cell(names, dataset, suite)}


def trace_cell(methods: Sequence[str], dataset: Dataset, suite: Any) -> dict[str, str]:
    """Digest of each file that the code of a cell of these methods comes to. Imports no file of the user's."""
    roots = [*HARNESS, *find_home(type(dataset)), *find_home(type(suite))]
    for name in methods:
        roots += find_roots("methods", name)
    if role_of(methods[0]) == "ceiling" and dataset.truth is not None:
        roots += find_home(type(dataset.truth))
    return trace(*roots, leave=(*LEFT_OUT, *NO_PART))


def confirm_sources(sources: Mapping[str, str], dataset: Dataset, suite: Any) -> None:
    """Raise BenchError where a cell's code is no longer that of its key: which of the two made it, nobody knows."""
    names = [name.removeprefix(METHOD) for name in sources if name.startswith(METHOD)]
    if any(f"{CLASS}{name}" in sources for name in names):
        return  # a class that was handed over has no file
    now = trace_cell(names, dataset, suite)
    if changed := sorted(name for name, value in now.items() if sources.get(name) != value):
        raise BenchError(
            f"{changed[0]} changed while the cell was made; give the command again, which makes it by the code of now"
        )


def remember_sources(dataset: Dataset, suite: Any) -> Callable[[str, Mapping[str, Any]], dict[str, str]]:
    """`list_sources` for as long as one command plans or looks for cells: the code of a method is read once for all."""

    @functools.cache
    def find(method: str, *wrapped: str) -> dict[str, str]:
        return list_sources(method, {"method": wrapped[0]} if wrapped else {}, dataset, suite)

    return lambda method, parameters: find(*list_methods(method, parameters))


def list_methods(method: str, parameters: Mapping[str, Any]) -> list[str]:
    """The method, and the one that it wraps."""
    method_class = resolve("methods", method)
    return [method, *([str(parameters.get("method", method_class.wraps))] if hasattr(method_class, "wraps") else [])]


def find_space(method: str, parameters: Mapping[str, Any]) -> Space | None:
    """The space that a method embeds in, or that the method does which it wraps; None of one that embeds nothing.

    Raises BenchError for a space that is none.
    """
    space = getattr(resolve("methods", list_methods(method, parameters)[-1]), "embeds", None)
    if space is not None and space not in get_args(Space):
        raise BenchError(f"{method} embeds in {space!r}; a space is one of {', '.join(get_args(Space))}")
    return space


def refuse_unkeyed(method: str, parameters: Mapping[str, Any]) -> None:
    """Raise BenchError where this process loaded what the key of its cell does not know of: another network of the
    suite, or a file beside the method's own that no import statement leads to."""
    declared, files = set(GENERATORS), []
    for name in list_methods(method, parameters):
        method_class = resolve("methods", name)
        declared |= {
            *getattr(method_class, "uses", ()),
            *(VIEWS[view].role for view in getattr(method_class, "asks", ())),
        }
        files += [root for root in find_roots("methods", name) if isinstance(root, Path)]
    if strange := sorted(LOADED - declared):
        views = ", ".join(repr(view) for view, about in VIEWS.items() if about.role in strange)
        raise BenchError(
            f"it used the suite's {strange[0]}, which its class does not declare, so that another {strange[0]} would "
            f"not make the cell again: add it to the class's uses = ({strange[0]!r},)"
            + (f", or one of the views {views} to its asks = (…,)" if views else "")
        )
    folders = {file.resolve().parent for file in files}
    loaded = untraced(trace(*files), roots=files) if files else []
    if strays := [path for path in loaded if any(path.resolve().is_relative_to(folder) for folder in folders)]:
        raise BenchError(
            f"it loaded {strays[0]}, which no import statement of its file leads to, so that a change of it would not "
            f"make the cell again: write `import {strays[0].stem}` where it is loaded"
        )
