"""A method in a process of its own, used as the method itself would be: `fit`, `adapt`, `reconstruct`, `embed`.

The process has what it is given and no way to more. Signals are served by row when the method indexes them, so they
need memory nowhere, and so are many or large clips. A few (`FEW` bytes) lie once in memory that both sides see and the
method cannot change for the harness: they are read many times, and a question a batch would take longer than a step of
a small network.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from bench.core.contracts import Answers, BrainData, Schedule, TrainingSet, VideoBatch
from bench.core.errors import BenchError
from bench.core.registry import LIVE, target
from bench.harness.supervise import Child, Ending, find_nursery
from bench.harness.wire import (
    ASKED,
    MOST_ROWS,
    TRUTH,
    Clock,
    Closed,
    Garbled,
    InFile,
    Lent,
    TimeUp,
    read_bytes,
    receive_answer,
    receive_array,
    send_answer,
    send_object,
)
from bench.store import disk
from bench.store.reads import MOST_FILES
from bench.toolbox.rows import rows_at_once, walk

FEW = 2**29  # bytes of clips of a set up to which they lie in memory
MOST_PARAMETERS = 2**63 - 1  # what a table of numbers holds
HIDDEN = ("BENCH_DATA",)  # of the environment: where a real data set lies
FILE_CLASS = re.compile(r".+\.py:[^/:]+")
SHA256 = re.compile("[0-9a-f]{64}")

PICKLED: dict[str, bytes] = {}  # classes that were handed over to the command, in a worker


class MethodError(BenchError):
    """A method broke its contract, or its process ended."""

    def __init__(self, message: str, *, traceback: str = "") -> None:
        super().__init__(message)
        self.traceback = traceback  # of the method's process; empty where it raised nothing


class MethodProcess:
    """A method that runs elsewhere. Whatever it does to its process ends with `close`, or with any failure.

    On several devices it is a process for each (`bench.toolbox.ranks`), all asked the same; the first answers.
    """

    def __init__(
        self,
        name: str,
        *,
        suite: Any,
        seed: int,
        parameters: Mapping[str, Any],
        threads: int = 1,
        time_limit: float | None = None,
        log: Path | None = None,
        generators: int = 0,
        checkpoints: Path | None = None,
        keep_weights: bool = False,
        weights: Path | None = None,
        devices: Sequence[str] = (),
    ) -> None:
        """Start a process and make the method in it. `generators` is the seed of its global generators, `checkpoints`
        a folder of the cell's own in which the toolbox keeps what a killed fit goes on from, and its weights where
        `keep_weights`; `weights` a folder of those that stand for the training. `devices` are several in place of the
        suite's one.

        Raises MethodError where the method ends itself, its process or the `time_limit` (seconds, of all steps).
        """
        self.name, self.time_limit = name, time_limit
        self.clock = Clock(time_limit)
        self.lent: list[Any] = []  # signals and clips that the method has been given; it asks with their number
        self.truth: Any = None
        self.reads: dict[str, str] = {}  # sha256 of data files that the method read by itself, by path
        classes = pickle_classes([name, *parameters.values()])
        self.devices = tuple(devices) or (str(suite.device),)
        self.meeting = make_meeting() if len(self.devices) > 1 else None
        nursery = find_nursery(threads)
        self.children: list[Child] = [nursery.start_method(log) for _ in self.devices]
        environment = {one: value for one, value in os.environ.items() if one not in HIDDEN}
        places = [str(Path(place).absolute()) for place in sys.path]
        setting = {"environment": environment, "places": places, "threads": threads, "generators": generators,
                   "checkpoints": None if checkpoints is None else checkpoints.absolute(),
                   "keep_weights": keep_weights, "weights": weights}  # fmt: skip
        settled = (suite.name, suite.settings, suite.base)
        options = {"precision": suite.precision, "memory": suite.memory, "threads": suite.threads}
        made = {"name": locate(name), "classes": classes, "seed": seed,
                "parameters": {one: locate(value) for one, value in parameters.items()}}  # fmt: skip
        with self.step("make"):
            for rank, (child, device) in enumerate(zip(self.children, self.devices, strict=True)):
                joining = None if self.meeting is None else (rank, self.devices, self.meeting / "meeting")
                asked = {**made, "suite": (settled, {**options, "device": device}), "joining": joining}
                send_object(child.talk, setting, clock=self.clock)
                send_object(child.talk, ("make", asked), clock=self.clock)
            self.receive("make")

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.do("fit", train=train, validation=validation)

    def adapt(self, calibration: TrainingSet) -> None:
        self.do("adapt", calibration=calibration)

    @property
    def parameter_count(self) -> int:
        """Raises MethodError where it is no count."""
        answer = self.do("count")
        counted = answer.get("count")
        if not isinstance(counted, int) or isinstance(counted, bool) or not 0 <= counted <= MOST_PARAMETERS:
            given = answer.get("given", counted)
            raise self.fail(f"parameter_count is {given}; it must be the number of trained parameters, 0 for none")
        return counted

    def reconstruct(
        self,
        brain: BrainData,
        *,
        shape: tuple[int, ...],
        answers: Answers | None = None,
        schedule: Schedule | None = None,
    ) -> VideoBatch:
        """The videos of some trials, u8 of `shape`. Raises MethodError where they are something else."""
        wanted = f"uint8 {shape}: one clip a trial, frames of the data set's size"
        return self.tell("reconstruct", np.dtype(np.uint8), shape, wanted, brain, answers, schedule)

    def embed(
        self,
        brain: BrainData,
        *,
        width: int,
        answers: Answers | None = None,
        schedule: Schedule | None = None,
    ) -> Float32[np.ndarray, "trial d"]:
        """A vector of this width for each trial. Raises MethodError where they are something else."""
        shape = (len(brain.subject), width)
        wanted = f"float32 {shape}: one vector a trial, in the space that its `embeds` names"
        return self.tell("embed", np.dtype(np.float32), shape, wanted, brain, answers, schedule)

    def tell(
        self,
        step: str,
        dtype: np.dtype,
        shape: tuple[int, ...],
        wanted: str,
        brain: BrainData,
        answers: Answers | None,
        schedule: Schedule | None,
    ) -> np.ndarray:
        """What the method says of some trials, of this type and shape."""
        with self.step(step), contextlib.ExitStack() as files:
            self.send(step, files, brain=brain, answers=answers, schedule=schedule)
            answer = self.receive(step)
            self.reads |= check_reads(answer.get("reads"))
            if answer.get("dtype") != dtype.str or answer.get("shape") != list(shape):
                given = f"{str(answer.get('given'))[:200]} {str(answer.get('shape'))[:100]}"
                raise self.fail(f"{step} returned {given}; it must return {wanted}")
            return receive_array(self.children[0].talk, dtype, shape, self.clock)

    def close(self) -> Ending:
        """End the process, and all that it started; of several the status is the first's, and the memory all of it."""
        endings = [child.end() for child in self.children]
        if self.meeting is not None:
            disk.remove(self.meeting)
        peaks = [ending.peak for ending in endings if ending.peak is not None]
        return replace(endings[0], peak=sum(peaks) if len(peaks) == len(endings) else None)

    def __enter__(self) -> MethodProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # One step: what is asked, what is served meanwhile, and how it may end

    def do(self, step: str, **given: Any) -> dict[str, Any]:
        with self.step(step), contextlib.ExitStack() as files:
            self.send(step, files, **given)
            return self.receive(step)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Whatever happens to a step ends the process; what the method or its process did is told as a MethodError."""
        try:
            yield
        except Closed:
            how = self.find_ended(5.0) or "its process closed its connection to the harness"
            raise self.fail(f"{how} in {name}") from None
        except Garbled:
            raise self.fail(f"wrote to its connection to the harness in {name}") from None
        except TimeUp:
            raise self.fail(f"passed the time limit of {self.time_limit:g} s in {name}; --time-limit sets it") from None
        except BaseException:
            self.close()
            raise

    def fail(self, what: str, *, traceback: str = "") -> MethodError:
        self.close()
        return MethodError(what, traceback=traceback)

    def send(self, step: str, files: Any, **given: Any) -> None:
        open_files: list[int] = []
        packed = {name: self.pack(value, files, open_files) for name, value in given.items()}
        for child in self.children:
            send_object(child.talk, (step, packed), open_files, self.clock)

    def receive(self, step: str) -> dict[str, Any]:
        """The first process's answer to a step when all have answered, rows being served until then."""
        answers: dict[Child, dict[str, Any]] = {}
        while waiting := [child for child in self.children if child not in answers]:
            lines = [line for child in waiting for line in (child.ask, child.talk, child.life)]
            ready, _, _ = select.select(lines, [], [], self.clock.left())
            for child in waiting:
                if child.ask in ready:
                    self.serve(child)
                elif child.talk in ready:
                    answers[child] = self.check(receive_answer(child.talk, self.clock), step)
                elif child.life in ready:
                    raise Closed
        return answers[self.children[0]]

    def check(self, answer: dict[str, Any], step: str) -> dict[str, Any]:
        """The answer, if it is one to this step. Raises MethodError for what the method raised."""
        if answer.get("step") != step:
            raise Garbled
        if "raised" in answer:
            name, text, place = (str(answer.get(one, ""))[:2000] for one in ("raised", "text", "place"))
            told = text if answer.get("ours") is True else f"{name}: {text} ({place})" if text else f"{name} ({place})"
            if len(self.children) > 1 and (ended := self.find_ended(1.0)):  # the others only miss it
                told = f"{ended}, then: {told}"
            raise self.fail(f"{told} in {step}", traceback=str(answer.get("traceback", "")))
        return answer

    def find_ended(self, wait: float) -> str:
        """Which process has ended, or does within so many seconds, and how; empty where none has."""
        select.select([child.life for child in self.children], [], [], wait)
        for number, (child, device) in enumerate(zip(self.children, self.devices, strict=True), start=1):
            if child.has_ended():
                which = f" {number} of {len(self.children)}, on {device}," if len(self.children) > 1 else ""
                return f"its process{which} {child.ending}"
        return ""

    def serve(self, child: Child) -> None:
        """Answer one question for rows. Whoever does not wait for the answer gets none."""
        _, files, _, _ = socket.recv_fds(child.ask, 16, 1)
        if not files:
            return
        with socket.socket(fileno=files[0]) as line, contextlib.suppress(Closed):
            number, count = ASKED.unpack(read_bytes(line, ASKED.size, self.clock))
            rows = np.frombuffer(read_bytes(line, 8 * min(count, MOST_ROWS), self.clock), np.int64)
            if number == TRUTH and self.truth is not None:
                found = np.asarray(self.truth.concept_posteriors(rows), np.float64)
            elif 0 <= number < len(self.lent) and may_have(rows, self.lent[number]):
                found = np.asarray(self.lent[number][rows], self.lent[number].dtype)
            else:
                return
            send_answer(line, {}, found, self.clock)

    # What is given to a method, without what leads to more

    def pack(self, value: Any, files: Any, open_files: list[int]) -> Any:
        """A value as it is sent: signals and clips as a number to ask with, few clips as a place among open files."""
        if isinstance(value, TrainingSet):
            if math.prod(value.video.shape) > FEW:
                video: Any = self.lend(value.video)
            else:
                open_files.append(write_clips(value.video, files))
                video = InFile(len(open_files) - 1, tuple(value.video.shape))
            return replace(value, brain=self.lend(value.brain), video=video, rois=dict(value.rois))
        if isinstance(value, BrainData):
            return replace(value, brain=self.lend(value.brain))
        if isinstance(value, Answers):
            self.truth = value.truth
            return replace(value, test=self.pack(value.test, files, open_files), truth=value.truth is not None)
        return value

    def lend(self, rows: Any) -> Any:
        self.lent.append(rows)
        return Lent(len(self.lent) - 1, tuple(rows.shape), np.dtype(rows.dtype).str, rows_at_once(rows))


def make_meeting() -> Path:
    """A folder in which the processes of one cell find each other."""
    folder = Path(tempfile.gettempdir()) / disk.temporary_name("ranks")
    folder.mkdir(0o700)
    return folder


def may_have(rows: np.ndarray, array: Any) -> bool:
    """Whether these are rows of the array, and no more than are read at once."""
    return 0 < len(rows) <= rows_at_once(array) and 0 <= rows.min() <= rows.max() < len(array)


def check_reads(told: Any) -> dict[str, str]:
    """What a process says that it read, where it is said as it should be."""
    listed = list(told.items())[:MOST_FILES] if isinstance(told, dict) else []
    return {path: value for path, value in listed if path.isprintable() and SHA256.fullmatch(str(value))}


def write_clips(video: Any, files: contextlib.ExitStack) -> int:
    """A file without a name that holds the clips, a part being read at a time."""
    in_memory = hasattr(os, "memfd_create")
    file: Any = os.fdopen(os.memfd_create("clips"), "wb") if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    files.enter_context(file)
    for part in walk(video):
        file.write(np.ascontiguousarray(part).data)
    file.flush()
    return file.fileno()


def pickle_classes(values: list[Any]) -> dict[str, bytes]:
    """Of these names: the classes that were handed over themselves. Raises BenchError for one that cannot be sent."""
    import cloudpickle

    classes = {}
    for name in values:
        if not isinstance(name, str):
            continue
        if name in PICKLED:
            classes[name] = PICKLED[name]
        elif name in LIVE:
            try:
                classes[name] = cloudpickle.dumps(LIVE[name])
            except Exception as error:
                raise BenchError(
                    f"{name} cannot be sent to a process of its own ({type(error).__name__}: {error}); "
                    f"write it into a file and name it as path/file.py:{name}"
                ) from error
    return classes


def locate(value: Any) -> Any:
    """`path/file.py:Class` in full: the method's process works in another folder. Anything else as it is."""
    if isinstance(value, str) and FILE_CLASS.fullmatch(value) and Path(value.rpartition(":")[0]).is_file():
        return target("methods", value)
    return value
