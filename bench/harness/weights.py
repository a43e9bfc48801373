"""Kept weights: which cell's fit another cell may use, with other settings of what only its reconstruction reads.

The weights of a cell are the final states of the loops of its fit (`bench.toolbox.checkpoints`). A method that is given
them does everything that its fit does but the training: it encodes its clips (or finds that in the cache), makes its
networks, and gets their numbers in place of each loop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.job import Job
from bench.core.progress import say
from bench.core.registry import resolve
from bench.core.spec import CellSpec
from bench.store import disk
from bench.store.cells import WEIGHTS, Cell, Store, check_key

WHAT = {  # parts of a spec that a fit rests on, and how they are called
    "dataset": "data set",
    "data_digest": "the data",
    "split": "split",
    "fold": "fold",
    "classes": "classes",
    "seed": "seed",
    "method_version": "version",
    "suite_digest": "the suite's networks",
    "rules": "the split's rules",
    "source": "the code",
}
FITTED_IN = "fitted_in"  # a setting of a cell whose weights were trained in another precision than it draws in


class NoWeights(BenchError):
    """No cell has weights that another one could use."""


def give_weights(jobs: Sequence[Job], method: str, given: str | Path, runs: str | Path) -> list[Job]:
    """The jobs, those of the method with the weights that they are to use. Raises NoWeights where one has none.

    `given` is the key of a cell in `runs`, the folder of a cell, or another folder of runs.
    """
    cells = list(find_cells(given, runs))
    return [use_weights(job, cells, given) if job.spec.method == method else job for job in jobs]


def keep_weights_of(jobs: Sequence[Job], method: str, store: Store) -> list[Job]:
    """The jobs, those of the method with the order to keep their weights; says where that comes too late."""
    there = [cell for job in jobs if job.spec.method == method and (cell := store.find(job.spec.key)) is not None]
    if late := sum(cell.weights is None for cell in there):
        say(f"{late} of the cells are there already, without weights, and stay so; another --runs makes them anew")
    return [replace(job, keep_weights=job.spec.method == method) for job in jobs]


def confirm_weights(folder: Path) -> None:
    """Raises NoWeights unless the files are those of the cell that kept them."""
    try:
        kept = json.loads((folder.parent / "manifest.json").read_bytes())[WEIGHTS]
        wrong = [name for name, entry in kept.items() if disk.digest_file(folder / name) != entry["sha256"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoWeights(f"the weights in {folder} cannot be read ({type(error).__name__}: {error})") from error
    if wrong:
        raise NoWeights(f"{folder / wrong[0]} has changed since it was kept; fit again with --keep-weights")


def find_cells(given: str | Path, runs: str | Path) -> Iterator[Cell]:
    folder = Path(given)
    if not folder.exists() and "/" not in str(given):
        folder = Path(runs) / check_key(str(given))
    if not folder.is_dir():
        raise NoWeights(f"{given} is neither a cell of {runs} nor a folder; name a cell's key or folder, or a --runs")
    if not (folder / "manifest.json").is_file():
        yield from Store(folder).cells()
    elif (cell := Store(folder.parent).find(folder.name)) is not None:
        yield cell


def use_weights(job: Job, cells: Sequence[Cell], given: str | Path) -> Job:
    """The job with the weights of a cell that differs in nothing that its fit rests on."""
    drawn = tuple(getattr(resolve("methods", job.spec.method), "drawn_by", ()))
    why: list[tuple[int, str]] = []
    for cell in cells:
        if cell.manifest["spec"]["method"] != job.spec.method:
            continue
        differing = list(list_differences(job.spec, cell.manifest["spec"], drawn))
        if not differing and cell.weights is None:
            differing = ["it was made without --keep-weights"]
        if not differing:
            precision = cell.manifest["spec"].get("settings", {}).get("precision", "fp32")
            spec = job.spec
            if precision != spec.settings.get("precision", "fp32"):  # no fit in this precision gives these weights
                spec = replace(spec, settings={**spec.settings, FITTED_IN: precision})
            return replace(job, spec=spec, weights=str((cell.path / WEIGHTS).absolute()))
        why.append((len(differing), f"cell {cell.key}: {'; '.join(differing)}"))
    nearest = f" ({min(why)[1]})" if why else ""
    raise NoWeights(
        f"{given} holds no weights for {job.spec.method} {job.variant} {job.spec.split}/{job.spec.fold} seed "
        f"{job.spec.seed}{nearest}; weights serve again where only {', '.join(drawn) or 'settings of the suite'} "
        "change: run it with --keep-weights first"
    )


def list_differences(spec: CellSpec, other: dict[str, Any], drawn: Sequence[str]) -> Iterator[str]:
    """In what a cell's fit is another one than that of `spec`, in words; `drawn` are parameters that no fit reads."""
    for part, name in WHAT.items():
        ours, theirs = getattr(spec, part), other.get(part, getattr(spec, part))
        if ours != theirs:
            short = all(isinstance(one, str | int) and len(str(one)) < 32 for one in (ours, theirs))
            yield f"{name} {theirs} and not {ours}" if short else f"{name} differ{'s' if part != 'rules' else ''}"
    for one in sorted(set(spec.parameters) | set(other["parameters"])):
        ours, theirs = (given.get(one, "the default") for given in (spec.parameters, other["parameters"]))
        if one not in drawn and ours != theirs:
            yield f"{one} is {theirs} and not {ours}"
