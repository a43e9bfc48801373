"""Every contract of a method, tried on a tiny phantom in well under a minute for a small method.

The method runs in a process of its own, as in a run: what passes here runs there. The recordings are the tiny phantom's
with other signals: noise, and a strong pattern of each concept, another in every subject (`Planted`). A method that
cannot decode these cannot decode anything. Clips, folds and normalisation are the harness's own.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int64, UInt8

from bench.core.contracts import BrainData, Dataset, VideoBatch
from bench.core.errors import BenchError
from bench.core.job import Run
from bench.core.progress import say
from bench.core.registry import resolve
from bench.core.seeds import derive_seed
from bench.core.spec import EMBEDDING
from bench.core.splits import Fold, make_folds
from bench.datasets.catalogue import open_dataset
from bench.harness import run_cell
from bench.harness.identity import find_space
from bench.harness.inputs import (
    describe_trials,
    fold_scalings,
    measured_clip,
    measured_subject,
    show_set,
    training_set,
)
from bench.harness.method_process import MethodError, MethodProcess
from bench.harness.normalise import normalised
from bench.harness.plan import plan
from bench.harness.run_cell import run_job
from bench.scoring.embeddings import place_clips
from bench.scoring.stored import unfinished
from bench.store.cells import Store

GAIN = 3.0  # of the planted pattern, in deviations of the noise
TOLERANCE = 3  # of 255: networks round differently in batches of another size
SMALL_P = 0.01  # of the planted signal being found by luck
SHOWN = 4000  # characters of what the method printed, the last


class Broken(BenchError):
    """A contract that the method does not keep."""


class Planted:
    """A data set with other signals: `GAIN` times a pattern of the concept and subject, in noise of unit variance.

    `altered`: signals and clips of test trials are others, for a method that should not have looked at them.
    """

    def __init__(self, dataset: Dataset, *, altered: tuple[Int64[np.ndarray, " trial"], ...] = ()) -> None:
        self.dataset = dataset
        self.truth = None
        trials = dataset.trials.to_pandas()
        concept = dataset.stimuli.to_pandas().set_index("clip")["concept"]
        self.subject = trials["subject"].to_numpy(np.int64)
        self.concept = concept.loc[trials["clip"]].to_numpy(np.int64)
        self.shape = dataset.signals(np.arange(1)).shape[1:]
        self.altered = set(np.concatenate(altered).tolist()) if altered else set()
        self.altered_clips = set(trials["clip"].to_numpy()[sorted(self.altered)].tolist())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def signals(self, trials: Any) -> Float32[np.ndarray, "trial channel time"]:
        return np.stack([self.signal(int(trial)) for trial in np.asarray(trials)])

    def signal(self, trial: int) -> Float32[np.ndarray, "channel time"]:
        other = int(trial in self.altered)
        noise = np.random.default_rng(derive_seed("check", "noise", trial, other)).standard_normal(self.shape)
        place = derive_seed("check", "pattern", int(self.subject[trial]), int(self.concept[trial]))
        pattern = np.random.default_rng(place).standard_normal((self.shape[0], 1))
        return (noise + GAIN * pattern).astype(np.float32)

    def video(self, clips: Any) -> UInt8[np.ndarray, "clip frame height width 3"]:
        video = self.dataset.video(clips)
        own = np.isin(np.asarray(clips), sorted(self.altered_clips))
        return np.where(own[:, None, None, None, None], 255 - video, video)


def check_method(name: str, suite: Any, *, parameters: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """A row a contract: check, status ("ok", "bad" or "not tried"), detail, seconds.

    A contract that fails stops those that rest on it. Raises UnknownName for a method that is not there.
    """
    method_class = resolve("methods", name)
    with contextlib.ExitStack() as processes, tempfile.NamedTemporaryFile(suffix=".log") as log:
        trial = Trial(name, method_class, suite, dict(parameters or {}), processes, Path(log.name))
        report = try_steps(trial)
        if printed := Path(log.name).read_text(encoding="utf-8", errors="replace")[-SHOWN:].strip():
            say(f"{name} printed:\n{printed}")
    return report


def try_steps(trial: Trial) -> pd.DataFrame:
    rows = []
    failed = False
    for title, step in trial.steps():
        started = time.monotonic()
        if failed:
            rows.append((title, "not tried", "after the failure above", 0.0))
            continue
        try:
            detail, status = step(), "ok"
        except Broken as error:
            detail, status = str(error), "bad"
            failed = title in ESSENTIAL
        except MethodError as error:  # nothing is tried after it
            detail, status = str(error), "bad"
            failed = True
            say(error.traceback)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            detail, status = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})", "bad"
            failed = True
        rows.append((title, status, detail, time.monotonic() - started))
    return pd.DataFrame(rows, columns=["check", "status", "detail", "seconds"])


ESSENTIAL = ("declares what it is", "fits and reconstructs")  # without these nothing else can be tried


class Trial:
    """One method on the planted recordings; each step returns what it found, or raises `Broken`."""

    def __init__(
        self,
        name: str,
        method_class: Any,
        suite: Any,
        parameters: dict[str, Any],
        processes: contextlib.ExitStack,
        log: Path,
    ) -> None:
        self.name, self.method_class, self.suite, self.parameters = name, method_class, suite, parameters
        self.processes, self.log = processes, log

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "declares what it is", self.declares
        yield "fits and reconstructs", self.reconstructs
        if find_space(self.name, self.parameters) is not None:
            yield "embeds", self.embeds
        yield "a trial depends on itself alone", self.stands_alone
        yield "finds a planted signal", self.finds_signal
        yield "same seed, same videos; no test data", self.repeats
        yield "adapts to new subjects", self.adapts
        yield "resumes after an interruption", self.resumes

    def declares(self) -> str:
        for attribute in ("modality", "version"):
            if not hasattr(self.method_class, attribute):
                raise Broken(f"the class has no attribute {attribute!r}; see docs/add_method.md")
        if self.method_class.modality not in ("eeg", "fmri", "any", "none"):
            raise Broken(f"modality {self.method_class.modality!r}: allowed are 'eeg', 'fmri', 'any' and 'none'")
        if not isinstance(self.method_class.version, int) or isinstance(self.method_class.version, bool):
            raise Broken(
                f"version {self.method_class.version!r}: it must be a whole number, raised whenever outputs change"
            )
        if absent := [
            one for one in ("fit", "adapt", "reconstruct") if not callable(getattr(self.method_class, one, None))
        ]:
            raise Broken(f"the class has no method {', '.join(absent)}; `adapt` may do nothing")
        self.kind = "phantom_fmri:tiny" if self.method_class.modality == "fmri" else "phantom_eeg:tiny"
        self.real = open_dataset(self.kind)
        self.data = Planted(self.real)
        self.split = "clips" if self.method_class.modality == "none" else "cross_subject"
        (self.fold,) = make_folds(self.data, self.split)
        return f"{self.method_class.modality}, version {self.method_class.version}; tried on {self.kind}"

    def make(self, data: Any, fold: Fold, *, generators: int) -> MethodProcess:
        """A fitted (and, on a fold with calibration trials, adapted) method, its global generators seeded so."""
        method = self.processes.enter_context(
            MethodProcess(
                self.name, suite=self.suite, seed=0, parameters=self.parameters, log=self.log, generators=generators
            )
        )
        scalings = fold_scalings(data, fold)
        method.fit(show_set(data, fold.train, scalings), show_set(data, fold.validation, scalings))
        if len(fold.calibration):
            method.adapt(show_set(data, fold.calibration, scalings))
        return method

    def answer(self, method: MethodProcess, fold: Fold, rows: np.ndarray | None = None) -> VideoBatch:
        """Its videos of the test trials of a fold, or of these `rows` of them. Raises MethodError for what is none."""
        brain = self.ask(self.data, fold, rows)
        return method.reconstruct(brain, shape=(len(brain.seed), *self.data.video(np.array([0])).shape[1:]))

    def ask(self, data: Any, fold: Fold, rows: np.ndarray | None = None) -> BrainData:
        """Test trials of a fold, as the runner hands them over."""
        trials = fold.test if rows is None else fold.test[rows]
        seeds = describe_trials(data, trials, self.spec(fold))["seed"].to_numpy()
        subject = measured_subject(data, trials)
        return BrainData(
            brain=normalised(data, trials, subject, fold_scalings(data, fold)),
            subject=subject,
            seed=seeds,
            channels=data.channels,
            sampling_rate=data.sampling_rate,
        )

    def spec(self, fold: Fold) -> Any:
        from types import SimpleNamespace

        return SimpleNamespace(seed=0, split=fold.split)

    def reconstructs(self) -> str:
        started = time.monotonic()
        self.method = self.make(self.data, self.fold, generators=1)
        fitted = time.monotonic() - started
        count = self.method.parameter_count
        self.video = self.answer(self.method, self.fold)
        shape = self.video.shape
        return f"{shape[0]} videos of {shape[1]} × {shape[2]} × {shape[3]}; fit {fitted:.1f} s; {count:,} parameters"

    def embeds(self) -> str:
        """One finite vector a trial, whatever trials are beside it."""
        space = find_space(self.name, self.parameters)
        assert space is not None
        width = place_clips(space, measured_clip(self.data, self.fold.test[:1]), self.real, self.suite).shape[1]
        vectors = self.method.embed(self.ask(self.data, self.fold), width=width)
        if lost := int((~np.isfinite(vectors).all(axis=1)).sum()):
            raise Broken(f"embed returned NaN or infinite numbers for {lost} of {len(vectors)} trials")
        rows = np.arange(len(self.fold.test))[::-1][: max(2, len(self.fold.test) // 3)]
        alone = self.method.embed(self.ask(self.data, self.fold, rows), width=width)
        far = float(np.abs(alone - vectors[rows]).max() / max(float(np.abs(vectors).max()), 1e-12))
        if far > 1e-3:  # networks round differently in batches of another size
            raise Broken(
                f"asked for fewer trials in another order, an embedding changed by {far:.1%}: it depends on the trials "
                "beside it; no batch statistics, no global generator"
            )
        return f"{len(vectors)} vectors of {width} numbers in the space {space!r}"

    def stands_alone(self) -> str:
        rows = np.arange(len(self.fold.test))[::-1][: max(2, len(self.fold.test) // 3)]
        far = largest(self.answer(self.method, self.fold, rows), self.video[rows])
        self.method.close()
        if far > TOLERANCE:
            raise Broken(
                f"asked for fewer trials in another order, a video changed by {far} of 255: it depends on the trials "
                "beside it, or on a generator other than its own `seed`; no batch statistics, no global generator"
            )
        return f"largest difference {far} of 255 in other company"

    def finds_signal(self) -> str:
        if self.method_class.modality == "none":
            return "it sees no brain"
        test = training_set(self.data, self.fold.test, fold_scalings(self.data, self.fold))
        gain, p = self.measure_signal(test.video[test.clip], test.concepts[test.clip])
        if p > SMALL_P or gain <= 0:
            raise Broken(
                f"the videos are no nearer to their own concept's clips than to others ({gain:+.4f} in CLIP cosine, "
                f"p = {p:.2g}), with a strong pattern of each concept in the signals; does the loss fall?"
            )
        return f"nearer to their own clips than shuffled by {gain:.3f} in CLIP cosine (p = {p:.1g})"

    def measure_signal(self, shown: VideoBatch, concept: np.ndarray) -> tuple[float, float]:
        """How much nearer videos are to clips of their own concept than to others, and a one-sided p over trials."""
        from scipy.stats import ttest_1samp

        ours, true = (self.embed(video) for video in (self.video, shown))
        cosine = ours @ true.T  # (trial, trial)
        same = concept[:, None] == concept
        own = (cosine * same).sum(axis=1) / same.sum(axis=1)
        other = (cosine * ~same).sum(axis=1) / (~same).sum(axis=1)
        found = ttest_1samp(own - other, 0, alternative="greater")
        return float((own - other).mean()), float(found.pvalue)

    def embed(self, video: VideoBatch) -> Float32[np.ndarray, "trial embedding"]:
        """Mean CLIP embedding of a clip's frames, at unit length."""
        frames = self.suite.embed_images(video.reshape(-1, *video.shape[2:]))
        mean = np.asarray(frames).reshape(*video.shape[:2], -1).mean(axis=1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def repeats(self) -> str:
        """Fitted again where test recordings and test clips are others, and global generators stand elsewhere."""
        with self.make(Planted(self.real, altered=(self.fold.test,)), self.fold, generators=2) as other:
            far = largest(self.answer(other, self.fold), self.video)
        if far:
            raise Broken(
                f"fitted again with the same seed, a video changed by {far} of 255: the fit looked at test recordings "
                "or test clips (others this time), or draws from a global generator of numpy, torch or Python"
            )
        return "bit for bit, with other test recordings and clips and other global generators"

    def adapts(self) -> str:
        if self.method_class.modality == "none":
            return "it sees no brain"
        (fold,) = make_folds(self.data, "new_subject")
        with self.make(self.data, fold, generators=1) as method:
            video = self.answer(method, fold)
        with self.make(Planted(self.real, altered=(fold.test,)), fold, generators=2) as other:
            far = largest(self.answer(other, fold), video)
        if far:
            raise Broken(
                f"adapted again with the same seed, a video changed by {far} of 255: `adapt` looked at test recordings "
                "or test clips (others this time), or draws from a global generator of numpy, torch or Python"
            )
        return f"{len(fold.calibration)} calibration trials, {len(fold.test)} videos, twice the same"

    def resumes(self) -> str:
        """Through the runner: interrupted half-way it leaves nothing behind, and the next run makes the same cell."""
        from bench.scoring.views import Viewer

        setting = {"split": "cross_subject", "dataset": self.kind, "suite": self.suite.name}
        run = Run(method=self.name, variants={"base": self.parameters}, protocols=("corrected",), **setting)
        job = next(one for one in plan(run, self.real, self.suite) if one.spec.method == self.name)
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder))
            with interrupted() as first, contextlib.suppress(KeyboardInterrupt):
                run_job(job, store)
            whole = replace(job.spec, output=EMBEDDING).key  # its embeddings were published before
            if left := sorted(path.name for path in store.root.iterdir() if path.name != whole):
                raise Broken(f"an interrupted run left {left[0]} in the store; it must leave nothing")
            run_job(job, store)
            if left := sorted(path.name for path in store.root.glob(".tmp-*")):
                raise Broken(f"a whole run left the draft {left[0]} in the store")
            cell = store.find(job.spec.key)
            if cell is None or unfinished([job], store, Viewer(self.suite.judges, self.real.concepts)):
                raise Broken("the cell is not complete after a second run: it cannot be read back, or lacks a score")
            far = largest(cell.read(np.arange(len(first[0]))), first[0])
        if far:
            raise Broken(
                f"run again after an interruption, a video changed by {far} of 255: something was kept of the run "
                "before, in a file; all that is learned belongs to the instance"
            )
        return "nothing was left behind; the second run made the interrupted one's videos, and scored them"


@contextmanager
def interrupted() -> Iterator[list[VideoBatch]]:
    """Cells are interrupted when the method has fitted and reconstructed, before they are written.

    Gives the list in which the videos will be.
    """
    from unittest.mock import patch

    videos: list[VideoBatch] = []

    def interrupt(draft: Any, trials: Any, video: Iterable[np.ndarray]) -> None:
        videos.append(np.stack(list(video)))
        raise KeyboardInterrupt

    with patch.object(run_cell, "write_predictions", interrupt):
        yield videos


def largest(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max(initial=0))
