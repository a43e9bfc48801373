"""Training curves: what each loop of a fit came to, step by step, as a CSV file.

    loop,phase,step,of,rate,loss
    0,training HRT on 6 subjects,12,2400,4.1e-05,3.2188

Every loop that trains goes through `bench.toolbox.checkpoints.resumed`, which hands its steps over here. A row stands
for as many steps as leave a loop no more than `ROWS` rows: `loss` is their mean, `rate` the learning rate of the last.
A fit has rows of its first `LOOPS` loops. So the file stays below 4 MB however long the training. No result rests on
it: where it cannot be written, the training goes on without.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from bench.core.progress import say

NAME = "training.csv"
ROWS, LOOPS = 200, 200
MOST_PHASE, MOST_BYTES = 60, 4 * 2**20  # characters of a phase's name; of the file
SECONDS = 10.0  # between two times that rows are written: whoever looks sees life


@dataclass(frozen=True)
class Row:
    loop: int  # from 0, in the order in which the fit enters them
    phase: str
    step: int  # from 1
    of: int
    rate: float
    loss: float


COLUMNS = tuple(one.name for one in fields(Row))


class Curve:
    """The rows of one loop, written behind those of the loops before it."""

    def __init__(self, folder: Path, loop: int, phase: str, total: int, done: int) -> None:
        """`done` steps of a killed fit lie in the file already; what it had written of steps that come again goes."""
        self.path, self.loop, self.phase, self.total = folder / NAME, loop, phase[:MOST_PHASE], total
        self.every = math.ceil(total / ROWS)
        self.losses: list[float] = []
        self.waiting: list[Row] = []
        self.written = time.monotonic()
        self.broken = loop >= LOOPS
        if self.path.exists():
            last = (loop, done) if done < total else (LOOPS, 0)  # a loop that is over is passed over: others may be too
            self.write([one for one in read_curve(self.path) if (one.loop, one.step) <= last], anew=True)

    def add(self, step: int, rate: float, loss: float) -> None:
        """Count a step, from 1; writes now and then, and at the last."""
        self.losses.append(loss)
        if step % self.every == 0 or step == self.total:
            mean = math.fsum(self.losses) / len(self.losses) if all(map(math.isfinite, self.losses)) else math.nan
            self.waiting.append(Row(self.loop, self.phase, step, self.total, rate, mean))
            self.losses.clear()
        if step == self.total or time.monotonic() - self.written > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits: what a checkpoint says is done has its rows."""
        self.write(self.waiting)
        self.waiting, self.written = [], time.monotonic()

    def write(self, rows: list[Row], *, anew: bool = False) -> None:
        if self.broken:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            anew = anew or not self.path.exists()
            with self.path.open("w" if anew else "a", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if anew:
                    writer.writerow(COLUMNS)
                writer.writerows((*astuple(row)[:4], f"{row.rate:.6g}", f"{row.loss:.6g}") for row in rows)
        except OSError as error:
            self.broken = True
            say(f"{self.phase}: its curve cannot be written ({error.strerror}); the training goes on without")


def read_curve(path: Path) -> Iterator[Row]:
    """The rows of a file; none where there is none. A line that a kill cut short, or that is no row, is passed over."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for found in csv.reader(lines[1:]):
        if len(found) == len(COLUMNS):
            try:
                yield Row(int(found[0]), found[1], int(found[2]), int(found[3]), float(found[4]), float(found[5]))
            except ValueError:
                continue


def take_curve(folder: Path) -> bytes:
    """The file that a fit left in its folder, which it leaves; empty where there is none, or more than may be."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        path.unlink()
    except OSError:
        return b""
    return content if len(content) <= MOST_BYTES else b""
