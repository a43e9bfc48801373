"""Whether memory grows with the number of clips: the peak of a fit, a reconstruction and a scoring, of few and of many.

The data set is made when it is indexed: a clip is of one colour, which its number tells, so 5,000 clips of 33 × 480 ×
720 pixels (171 GB) need no disk, and predictions of one colour compress to little. Three quarters of the clips are
trained on, an eighth is validated on, the last eighth is tested. The method looks at all clips that it learns from, and
shows one of them for each trial; what it shows goes through the store, the judges and metrics as any method's does.

Memory is what Linux calls `RssAnon` and `RssShmem`, of the command's process and of the last of each chain of processes
that it started (one that a method's process was forked from has nothing that this one has not), looked at ten times a
second. Pages of files are not counted: the system takes them back where memory is short.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, UInt8

from bench.core.contracts import BrainData, TrainingSet, VideoBatch
from bench.core.errors import BenchError
from bench.core.job import Run
from bench.core.paths import bench_home
from bench.harness import method_process, run_cell
from bench.harness.plan import plan
from bench.harness.run_cell import make_cell
from bench.pretrained.suite import load_suite
from bench.scoring import views
from bench.scoring.flags import COPIES, flag_cell
from bench.scoring.score_cell import score_cell
from bench.store.cells import Store
from bench.toolbox import rows
from bench.toolbox.rows import walk
from metrics.protocols import PROTOCOLS, Protocol
from metrics.specs import MetricSpec, on_videos

COUNTS, SHAPE = (100, 5000), (33, 480, 720)
BLOCKS, CONCEPTS = 8, 40
WARM = "48"  # clips of a first cell that does not count: it loads what is loaded once
WAIT = 0.1  # seconds between two looks at the memory
CHANNELS, SAMPLES = 4, 8


class ColouredClips:
    """A data set whose clips are of one colour each, and whose only subject's signals tell the colour."""

    modality, licence, truth, sampling_rate = "eeg", "CC0-1.0", None, 100.0
    subjects, concepts = (1,), tuple(f"colour {number}" for number in range(CONCEPTS))
    channels = tuple(f"channel {number}" for number in range(CHANNELS))
    rois: ClassVar[dict[int, tuple[str, ...]]] = {}

    def __init__(self, count: int, shape: Sequence[int]) -> None:
        import datasets

        self.count, self.shape, self.name = count, (*shape, 3), f"{count} coloured clips"
        self.digest = hashlib.sha256(f"{self.name} {self.shape}".encode()).hexdigest()
        clip = np.arange(count)
        self.class_subsets = {CONCEPTS: self.concepts}
        self.stimuli = datasets.Dataset.from_dict(
            {
                "clip": clip,
                "block": clip * BLOCKS // count,
                "slot": clip % max(1, count // BLOCKS),
                "position": clip % max(1, count // BLOCKS),
                "concept": clip % CONCEPTS,
                "caption": [self.concepts[one % CONCEPTS] for one in clip],
            }
        )
        ones = np.ones(count, np.int64)
        self.trials = datasets.Dataset.from_dict({"trial": clip, "subject": ones, "session": ones, "clip": clip})

    def colours(self, clips: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "clip 3"]:
        number = np.asarray(clips, dtype=np.int64)[:, None]
        return ((number * (7, 31, 101) + number // 256) % 256).astype(np.uint8)

    def video(self, clips: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "clip frame height width 3"]:
        colours = self.colours(clips)
        made = np.empty((len(colours), *self.shape), np.uint8)
        made[:] = colours[:, None, None, None]
        return made

    def signals(self, trials: Sequence[int] | np.ndarray) -> Float32[np.ndarray, "trial channel time"]:
        seen = np.zeros((len(np.asarray(trials)), CHANNELS, SAMPLES), np.float32)
        seen[:, :3] = self.colours(trials)[:, :, None]
        return seen


class ShowsNearest:
    """Shows the training clip whose colour is nearest to what the trial's signals say."""

    modality, version, parameter_count = "eeg", 1, 0

    def __init__(self, *, suite: Any, seed: int = 0) -> None:
        self.suite, self.seed = suite, seed

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        self.video = train.video
        colours = np.concatenate([part[:, :, ::8, ::8].mean(axis=(1, 2, 3)) for part in walk(train.video)])
        seen = train.brain[:].mean(axis=2)[:, :3]
        self.colours, shown = colours, colours[train.clip]
        self.slope = (seen * shown).mean(axis=0) / np.maximum((seen**2).mean(axis=0), 1e-9)
        self.middle = shown.mean(axis=0)

    def adapt(self, calibration: TrainingSet) -> None:
        pass

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        said = brain.brain[:].mean(axis=2)[:, :3] * self.slope + self.middle
        return self.video[[int(np.abs(self.colours - one).sum(axis=1).argmin()) for one in said]]


def near_in_colour(prediction: np.ndarray, target: np.ndarray) -> Float64[np.ndarray, " n"]:
    """1 less the mean difference of the clips' mean colours, in shares of 255."""
    ours, true = (np.stack([clip.mean(axis=(0, 1, 2)) for clip in video]) for video in (prediction, target))
    return 1 - np.abs(ours - true).mean(axis=1) / 255


COLOUR = MetricSpec(
    name="colour", compute=on_videos(near_in_colour), summary="nearness of mean colours", pixels=True, shuffles=1
)
STREAMS = Protocol(
    name="streams",
    summary="what costs little of each kind: pixels, views of frames, likeness to all true clips, a set",
    differs="a measure of memory, and of nothing else",
    metrics=(COLOUR, *(PROTOCOLS["corrected"][name] for name in ("frame_2way", "retrieval_top1", "fvd"))),
)


def measure_streams(
    counts: Sequence[int] = COUNTS, shape: Sequence[int] = SHAPE, *, held: int | None = None
) -> pd.DataFrame:
    """Peak memory (MiB) of the processes of a cell in each phase, a row for each number of clips; then the ratio of the
    last row to the first. All are measured in one process of their own, in the order given, with a home of their own;
    `held`: bytes of clips that may be held at once, in place of the harness's own bounds.

    Raises BenchError where the system does not tell (not Linux), and where a measurement fails.
    """
    if not Path("/proc/self/status").exists():
        raise BenchError("memory is measured on Linux alone, by /proc/PID/status")
    bench_home().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bench_home(), prefix="streams-") as work:
        asked = [work, str(held or 0), *map(str, shape), *map(str, counts)]
        done = subprocess.run(
            [sys.executable, "-m", __name__, *asked],
            env={**os.environ, "BENCH_HOME": f"{work}/home"},
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
    if done.returncode:
        raise BenchError(f"the measurement ended with exit code {done.returncode}; its error is above")
    measured = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    first, last = measured[0], measured[-1]
    ratio = {name: last[name] / first[name] for name in first if name != "clips"}
    return pd.DataFrame([*measured, {"clips": f"{last['clips']} / {first['clips']}", **ratio}])


def measure_one(work: Path, count: int, shape: Sequence[int]) -> dict[str, float]:
    """The peak of each phase of one cell, and the highest of them, in MiB."""
    dataset: Any = ColouredClips(count, shape)
    suite = load_suite("mini")
    run = Run(
        method=f"{__file__}:{ShowsNearest.__name__}",
        split="single_subject",
        dataset=f"{__file__}:{ColouredClips.__name__}",
        protocols=(f"{__file__}:STREAMS",),
    )
    job = next(job for job in plan(run, dataset, suite) if job.spec.method == run.method)
    meter = Meter()
    store = MeteredStore(work / "runs", meter)
    with meter.watching("fit"):
        cell = make_cell(job, store, dataset, suite)
        meter.enter("score")
        score_cell(cell, store, dataset, suite, protocols=job.protocols)
        flag_cell(cell, dataset, suite, (COPIES,))
    return {**meter.peaks, "peak": max(meter.peaks.values())}


def narrow(held: int) -> None:
    """Let this process hold so many bytes of clips at once: what thousands of large clips show, few small ones do."""
    rows.HELD = rows.PART = method_process.FEW = run_cell.CHUNK_BYTES = views.LOOKED = held


class Meter:
    """Looks at the memory of this process and of all that it started, and remembers the most of each phase."""

    def __init__(self) -> None:
        self.phase = ""
        self.peaks: dict[str, float] = {}

    def enter(self, phase: str) -> None:
        """Begin a phase with a look, so that one that is over before the next look has a figure too."""
        self.phase = phase
        self.look()

    @contextlib.contextmanager
    def watching(self, phase: str) -> Iterator[None]:
        self.enter(phase)
        done = threading.Event()
        watcher = threading.Thread(target=self.watch, args=(done,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def watch(self, done: threading.Event) -> None:
        while not done.wait(WAIT):
            self.look()

    def look(self) -> None:
        phase, now = self.phase, sum(map(read_memory, list_processes(os.getpid())))
        self.peaks[phase] = max(self.peaks.get(phase, 0.0), now)


class MeteredStore(Store):
    """A store that tells the meter when a cell's videos begin to be written."""

    def __init__(self, root: Path, meter: Meter) -> None:
        super().__init__(root)
        self.meter = meter

    def publishing(self, key: str) -> Any:
        self.meter.enter("reconstruct")
        return super().publishing(key)


def list_processes(process: int) -> list[int]:
    """The process, and of all that it started those that started no other: what others hold, they hold too."""
    found = [process, *list_last(process)]
    return list(dict.fromkeys(found))


def list_last(process: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            children += map(int, (task / "children").read_text(encoding="utf-8").split())
    last = [one for child in children for one in list_last(child)]
    return last or ([process] if read_memory(process) else [])  # one that has ended and was not fetched yet holds none


def read_memory(process: int) -> float:
    """MiB of a process's memory that no file stands behind."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:"))) / 1024
    return 0.0  # it has ended


if __name__ == "__main__":
    place, most, frames, height, width, *numbers = sys.argv[1:]
    if int(most):
        narrow(int(most))
    for number in [WARM, *numbers]:
        told = measure_one(Path(place), int(number), (int(frames), int(height), int(width)))
        if number != WARM:
            print(json.dumps({"clips": number, **told}), flush=True)
