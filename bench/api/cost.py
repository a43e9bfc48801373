"""What cells would cost before they are made: memory of the device, of the host and on disk, and hours here.

Counted, not tried: each method's own list of its calls (`list_work`), one of each kind on networks without weights
(`bench.toolbox.work`). Hours are operations over a rate. Where cells of the method on this data set are in the store,
or committed, and were made on such a processor, it is the rate that they reached in fitting and in reconstructing;
otherwise a share (`SHARE`, an assumption) of the rate of one large matrix product in the precision asked for. Scoring
and what a method reads are not counted. Nothing is said of a method without such a list.

`compare_costs` holds the same beside what cells took: those of the store, each kind predicted as if it were not there.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BenchError
from bench.core.hardware import AUTO, list_devices
from bench.core.job import Job
from bench.core.progress import say
from bench.core.spec import is_submitted, precision_of

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from bench.core.hardware import Precision
    from bench.toolbox.work import Cost, Fold

SHARE = 0.35  # of the matrix rate that networks are taken to reach where none of the method's cells says more
UNLISTED = ("RidgeEEG", "RidgeFmri", "DynaMindOracle")  # beside what a package lists: without steps of their own
SIDES = {"cpu": 1024, "cuda": 8192}  # of the product that is timed


@dataclass(frozen=True, kw_only=True)
class CellsCost:
    """What the cells of one variant of a method on one split come to; bytes and hours."""

    method: str
    variant: str
    split: str
    cells: int
    device: int | None = None  # at the peak, one item at a time; None and below: not known
    host: int | None = None  # of a cell: what is kept while it is made, in memory or in files of the cache
    disk: int | None = None  # of all cells: their videos before they are compressed
    hours: float | None = None  # of all cells, one after the other
    basis: str = ""  # what the hours rest on
    memory: int | None = None  # what of the device may be used, where that was said


def estimate_cost(
    todo: Sequence[Job],
    *,
    suite: str = "mini",
    runs: str | Path = "runs",
    device: str = "auto",
    precision: Precision = "fp32",
    memory: str | int | None = None,
) -> list[CellsCost]:
    """A row for each variant and split of a method among these cells. Nothing is computed but one matrix product.

    `memory` ("24GiB", or bytes) is what of the device may be used: what one item needs is held against it. Of several
    devices that work on a cell together the first is counted, as if it were alone.
    """
    import torch

    from bench.core.hardware import parse_size
    from bench.harness.inputs import open_once
    from bench.pretrained.shapes import load_shapes

    shapes = load_shapes(suite, precision=precision)
    size = None if memory is None else parse_size(memory)
    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = list_devices(device)[0]  # of several: as one would take alone
    groups: dict[tuple[str, ...], list[Job]] = {}
    for job in todo:
        groups.setdefault((job.spec.dataset, job.spec.method, job.variant, job.spec.split), []).append(job)
    costs = []
    for (name, method, variant, split), jobs in groups.items():
        about: dict[str, Any] = {"method": method, "variant": variant, "split": split, "cells": len(jobs)}
        about["memory"] = size
        if find_list(method) is None:
            costs.append(CellsCost(**about))
            continue
        dataset = open_once(name, jobs[0].data_root)
        say(f"counting {method} {variant} on {split}")
        folds = [read_fold(dataset, job.spec.split, job.spec.fold, job.spec.classes) for job in jobs]
        counted = count_folds(method, jobs[0].spec.parameters, folds, shapes)
        rates, basis = find_rates(method, dataset, shapes, runs, torch.device(found if device == AUTO else device))
        seconds = sum(cost.operations / rates[cost.phase] for costs_of in counted for cost in costs_of)
        costs.append(
            CellsCost(
                **about,
                device=max(cost.peak for costs_of in counted for cost in costs_of),
                host=max(sum(cost.host for cost in costs_of) for costs_of in counted),
                disk=sum(fold.test * math.prod(fold.video) * 3 for fold in folds),
                hours=seconds / 3600,
                basis=basis,
            )
        )
    if shapes.absent:
        say(f"the weights of {', '.join(sorted(shapes.absent))} are not here: their published sizes are counted")
    return costs


def find_list(method: str) -> Any:
    """The function `list_work` of a method's package, or None. One of several classes is told which (`kind`)."""
    import importlib
    import inspect
    from functools import partial

    from bench.core.registry import target

    module, _, kind = target("methods", method).partition(":")
    if module.endswith(".py") or kind in UNLISTED:
        return None
    found = getattr(importlib.import_module(module), "list_work", None)
    if found is None or "kind" not in inspect.signature(found).parameters:
        return found
    return partial(found, kind=kind)


def count_folds(method: str, parameters: Mapping[str, Any], folds: Iterable[Fold], shapes: Any) -> list[list[Cost]]:
    """The costs of each fold: calls are counted on the first, how often they are made on each."""
    from dataclasses import replace

    from bench.toolbox.parameters import find_reader
    from bench.toolbox.work import measure

    list_work, read = find_list(method), find_reader(method)
    assert read is not None
    first: list[Cost] = []
    counted = []
    for fold in folds:
        works = list(list_work(read(parameters), fold, shapes))
        if not first:
            first = [measure(work) for work in works]
        made = []
        for cost, work in zip(first, works, strict=True):
            operations = cost.operations * work.items / cost.items if cost.items else 0.0
            made.append(replace(cost, what=work.what, items=work.items, operations=operations, host=work.host))
        counted.append(made)
    return counted


def read_fold(dataset: Any, split: str, name: str, classes: int) -> Fold:
    """The sizes of a fold, from the data set's tables, one trial and one clip."""
    import numpy as np

    from bench.core.splits import make_folds
    from bench.toolbox.work import Fold

    (fold,) = [one for one in make_folds(dataset, split, classes=classes) if one.name == name]
    subject, shown = (np.asarray(dataset.trials[column], np.int64) for column in ("subject", "clip"))
    seen = np.concatenate([fold.train, fold.validation])
    clips = np.unique(shown[seen])
    signals = dataset.signals(fold.train[:1]).shape
    captions = dataset.stimuli.select(clips)["caption"]
    known = np.unique(subject[fold.train]).tolist()
    return Fold(
        train=len(fold.train),
        validation=len(fold.validation),
        test=len(fold.test),
        clips=len(clips),
        captions=len(set(captions)),
        signals=(signals[1], signals[2]),
        sampling_rate=dataset.sampling_rate,
        channels=tuple(dataset.channels),
        subjects=len(known),
        rois={number: dataset.rois[number] for number in known if number in dataset.rois},
        video=tuple(dataset.video(clips[:1]).shape[1:4]),
    )


def find_rates(
    method: str, dataset: Any, shapes: Any, runs: str | Path, device: torch.device, *, leave: Collection[str] = ()
) -> tuple[dict[str, float], str]:
    """Operations a second in each phase, and what says so; cells with the keys in `leave` do not."""
    from bench.store.provenance import describe_machine

    here = describe_machine()["processor"], device.type == "cuda"
    for where, manifests in (("the store", stored(runs)), ("committed results", committed())):
        for manifest in manifests:
            spec, made = manifest["spec"], manifest.get("provenance", {})
            machine = made.get("machine", {}).get("processor"), bool(made.get("gpus"))
            alike = spec["method"] == method and spec["dataset"] == dataset.name and machine == here
            alike = alike and precision_of(spec) == shapes.precision and manifest["key"] not in leave
            if not alike or spec["suite"] != shapes.name or not is_timed(manifest):
                continue
            fold = read_fold(dataset, spec["split"], spec["fold"], spec["classes"])
            (costs,) = count_folds(method, spec["parameters"], [fold], shapes)
            rates = {}
            for phase in ("fit", "reconstruct"):
                operations = sum(cost.operations for cost in costs if cost.phase == phase)
                rates[phase] = operations / max(manifest["phases"][phase], 1e-9)
            told = f"cell {manifest['key'][:8]} of {where}: {tell_rate(rates['fit'])} in fit, "
            return rates, told + f"{tell_rate(rates['reconstruct'])} in reconstruct, one process"
    return assume_rates(shapes.precision, device)


def is_timed(manifest: Mapping[str, Any]) -> bool:
    """Whether a cell's manifest says how long one device trained and drew; of drawing by kept weights it does not."""
    several = len(list_devices(manifest.get("provenance", {}).get("device", "cpu"))) > 1
    return {"fit", "reconstruct"} <= set(manifest["phases"]) and "weights_of" not in manifest and not several


def compare_costs(*, runs: str | Path = "runs", data_root: str | Path | None = None) -> pd.DataFrame:
    """What `estimate_cost` says of cells of the store, beside what they took: a row for each variant, split and place.

    Seconds are means over the cells. A kind's own cells are left out of what its prediction rests on: the rate is that
    of other cells of its method, or the assumed share of a matrix product's. `times_fit` and `times_reconstruct` are
    measured over predicted. `host` is what a cell keeps, `peak` the most memory that the method's process held with all
    its libraries, in MiB. Cells of methods that do not list their calls are left out, and it is said. Raises BenchError
    where none is left.
    """
    import pandas as pd
    import torch

    from bench.harness.inputs import open_once
    from bench.pretrained.shapes import load_shapes

    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    unlisted: set[str] = set()
    for manifest in stored(runs):
        spec, made = manifest["spec"], manifest.get("provenance", {})
        if not is_timed(manifest) or is_submitted(spec):
            continue
        if find_list(spec["method"]) is None:
            unlisted.add(spec["method"])
            continue
        named = (spec["dataset"], spec["suite"], precision_of(spec), spec["method"], manifest["variant"], spec["split"])
        groups.setdefault((*named, made.get("device", "cpu")), []).append(manifest)
    if unlisted:
        say(f"left out, since they do not list their calls: {', '.join(sorted(unlisted))}")
    if not groups:
        raise BenchError(
            f"{runs} holds no cell that was trained by a method which lists its calls; run one, as sam_net"
        )
    rows = []
    for (name, suite, precision, method, variant, split, device), cells in groups.items():
        dataset, shapes = (
            open_once(name, None if data_root is None else str(data_root)),
            load_shapes(suite, precision=precision),
        )
        say(f"counting {method} {variant} on {split}")
        specs = [cell["spec"] for cell in cells]
        folds = [read_fold(dataset, spec["split"], spec["fold"], spec["classes"]) for spec in specs]
        counted = count_folds(method, specs[0]["parameters"], folds, shapes)
        keys = {cell["key"] for cell in cells}
        rates, basis = find_rates(method, dataset, shapes, runs, torch.device(device), leave=keys)
        row: dict[str, Any] = {"method": method, "variant": variant, "split": split, "dataset": name, "suite": suite}
        row |= {"device": device, "precision": precision, "cells": len(cells)}
        for phase in ("fit", "reconstruct"):
            operations = sum(cost.operations for costs in counted for cost in costs if cost.phase == phase)
            predicted = operations / rates[phase] / len(cells)
            measured = sum(cell["phases"][phase] for cell in cells) / len(cells)
            row |= {f"{phase}_predicted": predicted, f"{phase}_measured": measured}
            row[f"times_{phase}"] = measured / predicted if predicted else math.nan
        peaks = [cell["peak_memory_bytes"] for cell in cells if cell.get("peak_memory_bytes")]
        row["host_mib"] = max(sum(cost.host for cost in costs) for costs in counted) / 2**20
        row["peak_mib"] = max(peaks) / 2**20 if peaks else math.nan
        rows.append({**row, "basis": basis})
    table = pd.DataFrame(rows)
    table.attrs["digits"] = 3
    return table


def assume_rates(precision: str, device: torch.device) -> tuple[dict[str, float], str]:
    from bench.audit.speed import matrix_rate

    rate = matrix_rate(precision, device, side=SIDES[device.type])
    told = f"{SHARE:.0%} (assumed) of {tell_rate(rate)}, the rate of a matrix product here in {precision}"
    return dict.fromkeys(("fit", "reconstruct"), SHARE * rate), told


def stored(runs: str | Path) -> list[Mapping[str, Any]]:
    from bench.store.cells import Store

    return [cell.manifest for cell in Store(runs).cells()] if Path(runs).is_dir() else []


def committed() -> list[Mapping[str, Any]]:
    from leaderboard.results import RESULTS, read_manifests

    return list(read_manifests(RESULTS))


def tell_rate(rate: float) -> str:
    return f"{rate / 1e12:.3g} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GFLOP/s"


def tell_cost(costs: Sequence[CellsCost], planned: int) -> list[str]:
    """Lines for a terminal: what, how many, and the cost of each; what is not known is named last."""
    count = sum(cost.cells for cost in costs)
    lines = [f"{count} of {planned} cells to do"]
    for cost in (one for one in costs if one.hours is not None):
        assert cost.device is not None and cost.host is not None and cost.disk is not None and cost.hours is not None
        lines.append(
            f"  {cost.method} {cost.variant}, {cost.split}, {cost.cells} cell{'s' * (cost.cells > 1)}: device "
            f"{tell_device(cost.device, cost.memory)}, host {tell_bytes(cost.host)} a cell, disk at most "
            f"{tell_bytes(cost.disk)}, {tell_hours(cost.hours)}"
        )
        lines.append(f"    by {cost.basis}")
    if unknown := list(dict.fromkeys(cost.method for cost in costs if cost.hours is None)):
        lines.append(f"  not known for {', '.join(unknown)}")
    return lines


def tell_device(one: int, memory: int | None) -> str:
    """What one item needs of the device, and what comes of the memory that may be used."""
    if memory is None:
        return f"{tell_bytes(one)} (one item at a time)"
    if one <= memory:
        return f"{tell_bytes(one)} (one item at a time; as many as fit {tell_bytes(memory)} go together)"
    return (
        f"{tell_bytes(one)} (one item, more than the {tell_bytes(memory)} of --memory: it runs in tiles or not at all)"
    )


def tell_bytes(size: float) -> str:
    power, unit = next((one for one in ((40, "TiB"), (30, "GiB")) if size >= 2 ** one[0]), (20, "MiB"))
    return f"{size / 2**power:.3g} {unit}"


def tell_hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.3g} hours"
    return f"{60 * hours:.2g} minutes" if hours >= 1 / 60 else f"{3600 * hours:.2g} seconds"
