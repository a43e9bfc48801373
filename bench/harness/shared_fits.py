"""Shared fits: of cells whose fits are one and the same, one is fitted and keeps its weights, and the others use them.

Two cells have one fit where they differ in nothing that it rests on (`bench.harness.weights.WHAT`): in parameters that
the method draws by (`drawn_by`), or in whether videos are made. So the rows of an ablation of the generator are paired:
they are drawn from the very same encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.core.job import Job
from bench.core.registry import resolve
from bench.core.spec import digest
from bench.harness.weights import WHAT
from bench.store.cells import WEIGHTS, Cell, Store


@dataclass(frozen=True)
class Shared:
    """Cells to make, in two turns: `first` those that fit (some with the order to keep their weights) and those whose
    weights are there; `then` those that wait, each with the key of the cell that fits for it. `made`: keys of those in
    `first` that are there and lack scores alone.
    """

    first: list[Job]
    then: list[tuple[Job, str]]
    made: frozenset[str] = frozenset()

    @property
    def fits(self) -> int:
        """How many fits this comes to."""
        return sum(job.weights is None and job.spec.key not in self.made for job in self.first)


def name_fit(job: Job) -> str:
    """The same for cells whose fits are one and the same."""
    drawn = getattr(resolve("methods", job.spec.method), "drawn_by", ())
    parameters = {name: value for name, value in job.spec.parameters.items() if name not in drawn}
    precision = job.spec.settings.get("precision", "fp32")
    return digest([job.spec.method, *(getattr(job.spec, part) for part in WHAT), parameters, precision])


def share_fits(todo: Sequence[Job], planned: Sequence[Job], store: Store) -> Shared:
    """The cells that are to do, arranged so that each fit is made once. `planned`: all, of which some may be there.

    What is to be scored alone is made in the first turn. A cell that is there without weights cannot give them, so the
    next one of its fit makes it again, once.
    """
    groups: dict[str, list[Job]] = {}
    for job in todo:
        groups.setdefault(name_fit(job), []).append(job)
    beside: dict[str, list[Job]] = {}
    for job in planned:
        beside.setdefault(name_fit(job), []).append(job)
    first: list[Job] = []
    then: list[tuple[Job, str]] = []
    made: set[str] = set()
    for fit, jobs in groups.items():
        there = {job.spec.key: cell for job in beside[fit] if (cell := store.find(job.spec.key)) is not None}
        first += [job for job in jobs if job.spec.key in there]
        made |= set(there)
        missing = sorted((job for job in jobs if job.spec.key not in there), key=lambda job: job.spec.output)
        giving = next((cell for cell in there.values() if cell.weights is not None), None)
        if giving is not None:
            first += [use(job, giving) for job in missing]
        elif len(missing) == 1:
            first += missing
        elif missing:  # videos come before embeddings, which are published beside them
            keeper, *waiting = missing
            first.append(replace(keeper, keep_weights=True))
            then += [(job, keeper.spec.key) for job in waiting]
    return Shared(first, then, frozenset(made))


def use(job: Job, cell: Cell) -> Job:
    """The job with the weights of a cell of the same fit."""
    return replace(job, weights=str((cell.path / WEIGHTS).absolute()))


def give(then: Sequence[tuple[Job, str]], store: Store) -> tuple[list[Job], list[str]]:
    """The cells that waited, each with the weights that it waited for; and a line for each whose fit failed."""
    ready, lost = [], []
    for job, key in then:
        cell = store.find(key)
        if cell is not None and cell.weights is not None:
            ready.append(use(job, cell))
        else:
            name = f"{job.spec.method} {job.variant} {job.spec.split}/{job.spec.fold} seed {job.spec.seed}"
            lost.append(f"{name}: the fit that it shares (cell {key}) failed")
    return ready, lost
