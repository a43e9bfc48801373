"""Training curves sent on to where people watch them: TensorBoard, Weights & Biases.

A cell keeps its curve as `training.csv` whatever is asked for. `run --log` sends it on when the cell is done, from the
command's own process: the method's process knows nothing of it, and no key and no result does.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.progress import complain
from bench.store.cells import Cell
from bench.toolbox.curves import NAME, Row, read_curve

Send = Callable[[Cell, Sequence[Row]], None]
PROJECT = "brain2video-bench"


def check_logger(name: str) -> str:
    """The name. Raises BenchError for one that is not there or whose library is not installed."""
    if name not in LOGGERS:
        raise BenchError(f"no logger {name!r}; allowed are {', '.join(LOGGERS)}, and a cell keeps its {NAME} anyway")
    if importlib.util.find_spec(name) is None:
        raise BenchError(
            f"{name} is not installed: `pip install {name}`, or leave --log out: each cell keeps its {NAME}"
        )
    return name


def send_curve(names: Sequence[str], cell: Cell | None) -> None:
    """Send a cell's curve to each of the loggers. What fails there is said, and harms nothing."""
    if cell is None or not (rows := list(read_curve(cell.path / NAME))):
        return
    for name in names:
        try:
            LOGGERS[name](cell, rows)
        except Exception as error:
            complain(f"warning: {name} did not take the curve of cell {cell.key} ({type(error).__name__}: {error})")


def name_run(cell: Cell) -> str:
    spec = cell.manifest["spec"]
    parts = (spec["method"], cell.manifest["variant"], spec["dataset"], spec["split"], spec["fold"])
    return f"{' '.join(map(str, parts))} seed {spec['seed']}"


def list_points(rows: Sequence[Row]) -> Iterator[tuple[str, int, float]]:
    """(curve, step, value) of each number; a phase that comes again is told apart by its loop."""
    phases: dict[str, set[int]] = {}
    for row in rows:
        phases.setdefault(row.phase, set()).add(row.loop)
    for row in rows:
        phase = row.phase if len(phases[row.phase]) == 1 else f"{row.phase} ({row.loop})"
        for what, value in (("loss", row.loss), ("rate", row.rate)):
            if math.isfinite(value):
                yield f"{phase}/{what}", row.step, value


def send_to_tensorboard(cell: Cell, rows: Sequence[Row]) -> None:
    """Event files below `runs/tensorboard/<key>`: `tensorboard --logdir runs/tensorboard`."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(cell.store.root / "tensorboard" / cell.key)) as writer:
        writer.add_text("cell", name_run(cell))
        for curve, step, value in list_points(rows):
            writer.add_scalar(curve, value, step)


def send_to_wandb(cell: Cell, rows: Sequence[Row]) -> None:
    """A run of the project `brain2video-bench` (WANDB_PROJECT), with the cell's spec as its configuration."""
    wandb = importlib.import_module("wandb")
    spec: dict[str, Any] = dict(cell.manifest["spec"])
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    run = wandb.init(project=project, id=cell.key, name=name_run(cell), config=spec, dir=str(Path(cell.store.root)))
    for curve in dict.fromkeys(curve for curve, _, _ in list_points(rows)):
        run.define_metric(curve, step_metric=f"{curve.rpartition('/')[0]}/step")
    for curve, step, value in list_points(rows):
        run.log({curve: value, f"{curve.rpartition('/')[0]}/step": step})
    run.finish()


LOGGERS: dict[str, Send] = {"tensorboard": send_to_tensorboard, "wandb": send_to_wandb}
