"""What runs in a method's process: it makes the method and does what the harness asks of it, one step after another.

Here is what a method may see, and nothing else: signals and clips that the harness serves by row, copies of the rest.
Any end of a step is told; an end of the process is seen by its keeper.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import pickle
import random
import re
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
from jaxtyping import Float64, Int64

from bench.core.contracts import Answers, BrainData, Ceiling, Clockwatcher, Schedule, TrainingSet
from bench.core.errors import BenchError
from bench.core.registry import LIVE, resolve
from bench.harness.identity import refuse_unkeyed
from bench.harness.wire import (
    ASKED,
    MOST_ROWS,
    TRUTH,
    Closed,
    Lent,
    receive_answer,
    receive_array,
    receive_object,
    send_answer,
    write,
)
from bench.pretrained.roles import LOADED
from bench.store.reads import list_reads, watch
from bench.toolbox.rows import Rows

MOST_TEXT, MOST_TRACEBACK = 1000, 25_000  # characters


class Served(Rows):
    """Signals or clips of a method's trials, read when indexed: the harness reads them, and sends the rows.

    Nothing leads from here to where they lie. Threads and forked processes may ask at the same time.
    """

    __slots__ = ("_at_once", "_line", "_number")

    def __init__(self, line: socket.socket, lent: Lent) -> None:
        super().__init__(lent.shape, lent.dtype)
        self._line, self._number, self._at_once = line, lent.number, lent.at_once

    @property
    def at_once(self) -> int:
        return self._at_once

    def read(self, rows: Int64[np.ndarray, " n"]) -> np.ndarray:
        return ask(self._line, self._number, rows)


class ServedTruth:
    """The phantom's likelihood, for ceilings: the harness computes it."""

    __slots__ = ("_line",)

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def concept_posteriors(self, trials: Sequence[int] | np.ndarray) -> Float64[np.ndarray, "trial concept"]:
        """Natural logarithm of the posterior of each concept."""
        rows = np.asarray(trials, dtype=np.int64)
        parts = [ask(self._line, TRUTH, rows[start : start + MOST_ROWS]) for start in range(0, len(rows), MOST_ROWS)]
        return np.concatenate(parts)


def ask(line: socket.socket, number: int, rows: np.ndarray) -> np.ndarray:
    """Ask the harness for rows, over a connection of this question's own."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            socket.send_fds(line, [b"?"], [theirs.fileno()])
        write(ours, ASKED.pack(number, len(rows)) + rows.astype(np.int64).tobytes())
        about = receive_answer(ours)
        return receive_array(ours, np.dtype(about["dtype"]), tuple(about["shape"]))


def live(talk: socket.socket, line: socket.socket) -> None:
    """The life of a method's process: do each step that comes, and answer, until the harness is gone."""
    from bench.toolbox.ranks import is_first

    setting, _ = receive_object(talk)
    prepare(**setting)
    method: Any = None
    made: dict[str, Any] = {}
    looked_at: tuple[int, int] | None = None
    while True:
        try:
            (step, packed), files = receive_object(talk)
        except Closed:
            return
        try:
            given = {name: unpack(value, line, files) for name, value in packed.items()}
            if step == "make":
                method = make(**given)
            answer, array = STEPS[step](method, **given) if step in STEPS else ({}, None)
            if step == "make":
                made = {name: given[name] for name in ("name", "parameters")}
            elif (loaded := (len(sys.modules), len(LOADED))) != looked_at:  # looking takes longer than a small fit
                refuse_unkeyed(made["name"], made["parameters"])
                looked_at = loaded
            if step == "make":
                base = given["suite"][0][2]
            elif step in ("reconstruct", "embed"):
                answer["reads"] = list_reads([base] if base else [])
        except BaseException as error:  # a SystemExit and a KeyboardInterrupt too: each is an end of this step
            answer, array = describe_error(error), None
        send_answer(talk, {"step": step, **answer}, array if is_first() else None)
        answer, array = {}, None  # not kept while the next is made


def prepare(
    environment: Mapping[str, str],
    places: Sequence[str],
    threads: int,
    generators: int,
    checkpoints: Path | None,
    keep_weights: bool,
    weights: Path | None,
) -> None:
    """Environment, threads and global generators as they are for every method, wherever it runs."""
    import torch

    from bench.toolbox.checkpoints import use_checkpoints, use_weights

    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = places
    sys.argv[:] = ["bench"]
    faulthandler.enable(file=2)
    torch.set_num_threads(threads)
    random.seed(generators)
    np.random.seed(generators)  # noqa: NPY002
    torch.manual_seed(generators)
    if weights is None:
        use_checkpoints(checkpoints, whole=keep_weights)
    else:
        use_weights(weights)
    watch()


def make(
    name: str,
    classes: Mapping[str, bytes],
    suite: tuple[Any, ...],
    seed: int,
    parameters: dict[str, Any],
    joining: tuple[int, Sequence[str], Path] | None,
) -> Any:
    """An instance of the method. `classes` are those that were handed over themselves, `suite` what one is made of;
    `joining` is which of several devices' processes this is, and where these meet."""
    from bench.pretrained.suite import Suite
    from bench.toolbox.precision import train_in
    from bench.toolbox.ranks import join_ranks

    if joining is not None:
        join_ranks(*joining)
    LIVE.update({one: pickle.loads(content) for one, content in classes.items()})
    settled, options = suite
    train_in(options["precision"])
    return resolve("methods", name)(suite=Suite(*settled, **options), seed=seed, **parameters)


def fit(method: Any, train: TrainingSet, validation: TrainingSet) -> tuple[dict[str, Any], None]:
    method.fit(train, validation)
    return {}, None


def adapt(method: Any, calibration: TrainingSet) -> tuple[dict[str, Any], None]:
    method.adapt(calibration)
    return {}, None


def count(method: Any) -> tuple[dict[str, Any], None]:
    """The number of trained parameters where it is a whole number, else what was given instead."""
    given = method.parameter_count
    if isinstance(given, int | np.integer) and not isinstance(given, bool | np.bool_) and abs(int(given)) < 1 << 200:
        return {"count": int(given)}, None
    return {"count": None, "given": describe(given)}, None


def reconstruct(
    method: Any, brain: BrainData, answers: Answers | None, schedule: Schedule | None
) -> tuple[dict[str, Any], np.ndarray]:
    """The videos of some trials. Only a ceiling is given answers, and only a control the schedule."""
    show(method, answers, schedule)
    given = method.reconstruct(brain)
    array = np.asarray(given)
    return {"given": f"{clean(type(given).__name__)} of {array.dtype.name}"}, array


def embed(
    method: Any, brain: BrainData, answers: Answers | None, schedule: Schedule | None
) -> tuple[dict[str, Any], np.ndarray]:
    """What the method's encoder says of some trials, as float32 whatever kind of real numbers it gives."""
    show(method, answers, schedule)
    given = method.embed(brain)
    array = np.asarray(given)
    about = {"given": f"{clean(type(given).__name__)} of {array.dtype.name}"}
    return about, array.astype(np.float32) if array.dtype.kind == "f" else array


def show(method: Any, answers: Answers | None, schedule: Schedule | None) -> None:
    if answers is not None and isinstance(method, Ceiling):
        method.reveal(answers)
    if schedule is not None and isinstance(method, Clockwatcher):
        method.see_schedule(schedule)


Answer = tuple[dict[str, Any], np.ndarray | None]
STEPS: dict[str, Callable[..., Answer]] = {
    "fit": fit,
    "adapt": adapt,
    "count": count,
    "reconstruct": reconstruct,
    "embed": embed,
}


def unpack(value: Any, line: socket.socket, files: Sequence[int]) -> Any:
    """What the harness packed (`bench.harness.method_process.pack`), as the method is given it."""
    if isinstance(value, TrainingSet):
        brain, clips = cast(Any, (value.brain, value.video))
        video: Any = Served(line, clips) if isinstance(clips, Lent) else map_video(files[clips.place], clips.shape)
        return replace(value, brain=cast(Any, Served(line, brain)), video=video)
    if isinstance(value, BrainData):
        return replace(value, brain=cast(Any, Served(line, cast(Any, value.brain))))
    if isinstance(value, Answers):
        truth = ServedTruth(line) if value.truth else None
        return replace(value, test=unpack(value.test, line, files), truth=truth)
    return value


def map_video(file: int, shape: tuple[int, ...]) -> np.ndarray:
    """Clips in an open file as an array. What the method writes into it is written into a copy of its own."""
    if 0 in shape:
        os.close(file)
        return np.empty(shape, np.uint8)
    content = mmap.mmap(file, int(np.prod(shape, dtype=np.int64)), access=mmap.ACCESS_COPY)
    os.close(file)
    return np.frombuffer(content, np.uint8).reshape(shape)


def describe_error(error: BaseException) -> dict[str, Any]:
    """An exception in plain words, whatever it is: its text may raise, be endless, or hold what no terminal shows."""
    try:
        told = traceback.format_exception(type(error), error, error.__traceback__)
        whole = "".join(told)
        text = whole if len(whole) <= 2 * MOST_TRACEBACK else f"{whole[:MOST_TRACEBACK]}…{whole[-MOST_TRACEBACK:]}"
    except BaseException:
        text = "(its traceback cannot be shown)"
    return {
        "raised": clean(type.__getattribute__(type(error), "__name__")),
        "text": describe(error, str),
        "place": find_place(error.__traceback__),
        "traceback": text,
        "ours": isinstance(error, BenchError),
    }


def find_place(trace: TracebackType | None) -> str:
    """File and line where an exception was raised."""
    place = ""
    while trace is not None:
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return clean(place)


def describe(thing: Any, tell: Any = repr) -> str:
    try:
        return clean(tell(thing))
    except BaseException:
        return f"({type.__getattribute__(type(thing), '__name__')} that cannot be shown)"


def clean(text: str) -> str:
    """One line of bounded length, of characters that can be printed."""
    line = re.sub(r"\s+", " ", str(text)[: 4 * MOST_TEXT]).strip()
    shown = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)
    return shown if len(shown) <= MOST_TEXT else f"{shown[:MOST_TEXT]}…"
