"""The shelf: the cells of a store that are current, which are those that tables, figures and boards are made of.

A cell is current where data, suite, method and variant are what they were when it was made. Nothing is run or made to
find out. Submitted videos have no code: a whole set of them is current where its data, suite and split are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.core.job import Job
from bench.core.progress import say
from bench.core.registry import UnknownName
from bench.core.spec import CHOSEN, CellSpec, digest, is_submitted, precision_of
from bench.core.splits import describe_rules
from bench.core.variants import find_variant, name_side
from bench.harness.facts import ask_files
from bench.harness.identity import identify, remember_sources
from bench.scoring.stored import join_rows, read_rows
from bench.scoring.views import Viewer
from bench.store.cells import Cell, Store

Find = Callable[[str, Mapping[str, Any]], dict[str, str]]  # `remember_sources`


def is_current(
    manifest: Mapping[str, Any], dataset: Any, suite: Any, classes: int, find_sources: Find | None = None
) -> bool:
    """Whether a run would make the very cell now: of this data and suite, by the method, variant and code of today."""
    spec = manifest["spec"]
    if (spec["data_digest"], spec["suite_digest"], spec["classes"]) != (dataset.digest, suite.digest, classes):
        return False  # also told by the key, and at once
    if is_submitted(spec):
        whole = spec["split"] != CHOSEN and spec.get("rules") == describe_rules()
        return whole and CellSpec(**spec).key == manifest["key"]
    precision = precision_of(spec)
    if precision != "fp32":  # as it was made: the tables' own judges are exact
        suite, find_sources = suite.at(precision), None
    find_sources = find_sources or remember_sources(dataset, suite)
    try:
        today = identify(
            dataset,
            suite,
            dataset_name=spec["dataset"],
            suite_name=spec["suite"],
            sources=find_sources(spec["method"], spec["parameters"]),
            output=spec.get("output", ""),
            **{part: spec[part] for part in ("split", "fold", "classes", "method", "parameters", "seed")},
        )
        variant, changed, _ = manifest["variant"].partition("[")
        return today.key == manifest["key"] and (
            bool(changed) or spec["parameters"] == find_variant(spec["method"], variant)
        )
    except UnknownName as error:  # a method or variant that is gone, or a file that lies elsewhere
        say_once(f"left out: cells of {spec['method']} ({manifest['variant']}): {error}")
        return False


@functools.cache
def say_once(message: str) -> None:
    say(message)


def current_cells(
    store: Store,
    dataset: Any,
    suite: Any,
    classes: int,
    *,
    embeddings: bool = False,
    precision: str = "fp32",
    hidden: list[Cell] | None = None,
) -> Iterator[Cell]:
    """The current cells of a store for one setting, by key: those of videos, or those of embeddings.

    A user's file is asked in a process of its own, once. Of a cell that was made in several precisions the one in
    `precision` is taken, else the exact one; the others go into `hidden`, or are told of where there is no such list.
    """
    told, hidden = hidden is None, [] if hidden is None else hidden
    find_sources = remember_sources(dataset, suite)
    ask = functools.cache(lambda name: ask_files([name]))
    made: dict[str, Cell] = {}

    def prefer(cell: Cell) -> tuple[bool, bool]:
        found = precision_of(cell.manifest["spec"])
        return found != precision, found != "fp32"

    for cell in store.cells():
        spec = cell.manifest["spec"]
        if cell.shows_videos == embeddings:
            continue
        try:
            for name in () if is_submitted(spec) else (spec["method"], spec["parameters"].get("method")):
                ask(name)
        except UnknownName as error:
            say_once(f"left out: cells of {spec['method']} ({cell.manifest['variant']}): {error}")
            continue
        if is_current(cell.manifest, dataset, suite, classes, find_sources):
            alike = name_apart_from_precision(spec)
            both = sorted([cell, *([made[alike]] if alike in made else [])], key=prefer)
            made[alike] = both[0]
            hidden += both[1:]
    for line in tell_hidden(cell.manifest for cell in hidden) if told else ():
        say_once(line)
    yield from made.values()


def tell_hidden(manifests: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each precision that cells of these manifests are left out in, and how they are chosen."""
    found: dict[str, set[str]] = {}
    for one in manifests:
        found.setdefault(precision_of(one["spec"]), set()).add(name_side((one["spec"]["method"], one["variant"])))
    return [
        f"made in {precision}, and left out: {', '.join(sorted(sides))}; `--precision {precision}` chooses it"
        for precision, sides in sorted(found.items())
    ]


def name_apart_from_precision(spec: Mapping[str, Any]) -> str:
    """What is the same for two cells that differ in nothing but precision."""
    settings = {name: value for name, value in spec.get("settings", {}).items() if name != "precision"}
    return digest({**spec, "settings": settings, "source": ""})


def find_in_other_precisions(store: Store, jobs: Iterable[Job]) -> list[Cell]:
    """The cells that are one of these, of whichever seed, but for their precision; by today's code or another."""
    asked = {name_apart_from_precision({**job.spec.as_dict(), "seed": 0}): job.spec for job in jobs}
    return [
        cell
        for cell in store.cells()
        if (same := asked.get(name_apart_from_precision({**cell.manifest["spec"], "seed": 0})))
        and precision_of(cell.manifest["spec"]) != precision_of(same.as_dict())
    ]


class StoreShelf:
    """A store, asked as committed results are: which cells are there, and what are their scores."""

    def __init__(self, store: Store, find_viewer: Callable[[str], Viewer]) -> None:
        """`find_viewer` gives the viewer of a data set's name."""
        self.store, self.find_viewer = store, find_viewer

    def find(self, key: str) -> Cell | None:
        """The cell, or None."""
        return self.store.find(key)

    def read(self, keys: Sequence[str], protocols: Sequence[str]) -> pd.DataFrame:
        """Score rows of the cells under these protocols, in the order of their keys; empty where there are none."""
        with self.store.reading():
            cells = [cell for key in keys if (cell := self.store.find(key)) is not None]
            return join_rows(
                read_rows(cell, self.find_viewer(cell.manifest["spec"]["dataset"]), protocols) for cell in cells
            )
