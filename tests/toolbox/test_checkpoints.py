"""A killed fit goes on to the very numbers of one that was not: each loop by itself, and every method that trains."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitted import Fitted, list_datasets
from torch import nn

from bench.core.errors import BenchError
from bench.core.job import Job, Run
from bench.core.registry import find_roots, names, role_of
from bench.core.sources import trace
from bench.harness.executor import execute
from bench.harness.plan import plan
from bench.pretrained.generators import tune_a_video
from bench.pretrained.suite import load_suite
from bench.store.cells import CHECKPOINTS, Store
from bench.toolbox import checkpoints
from bench.toolbox.curves import NAME as CURVE
from bench.toolbox.training import Optimiser, make_generator, make_numpy_generator, seeded, train_steps

STEPS = 6


@pytest.fixture(autouse=True)
def no_checkpoints_after():
    yield
    checkpoints.use_checkpoints(None)


class Killed(BaseException):
    """What no loop catches."""


def train(kill_at: tuple[int, int] | None = None) -> tuple[list[list[float]], str]:
    """Two loops that draw from all kinds of generators, on a network with norms' statistics and dropout.

    `kill_at` is a loop and a step. Returns the losses and a digest of the network and of what its generators draw next.
    """
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    signals = torch.randn(20, 4, generator=make_generator("test", "signals"))
    noise, numpy_noise = make_generator("test", "noise"), make_numpy_generator("test", "numpy noise")
    losses = []
    for loop in range(2):
        done: list[float] = []

        def measure(rows: np.ndarray, loop: int = loop, done: list[float] = done) -> torch.Tensor:
            if kill_at == (loop, len(done)):
                raise Killed
            done.append(len(done))
            added = torch.randn(len(rows), 4, generator=noise) + torch.from_numpy(numpy_noise.normal(size=4)).float()
            return network(signals[rows] + 0.1 * added).square().mean() * (1 + len(done))

        with seeded(torch.device("cpu"), "test", "dropout", loop):
            found = train_steps(
                network, measure, parameters=list(network.parameters()), trials=20, steps=STEPS, batch_size=8,
                learning_rate=1e-2, weight_decay=0.01, batches=make_generator("test", "batches", loop),
                phase=f"loop {loop}", lists=[done],
            )  # fmt: skip
        losses.append(found)
    held = {"network": network, "next": [torch.rand(2, generator=noise), numpy_noise.normal(size=2)]}
    return losses, digest_held(held)


def digest_held(held: Any) -> str:
    """A digest of all tensors, arrays and plain values that something holds, in whatever it holds them."""
    found, seen = hashlib.sha256(), {}  # kept alive: the place of what is gone is given to another

    def look(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        if isinstance(value, np.ndarray) and value.dtype != object:
            found.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, str | int | float | None):
            found.update(repr(value).encode())
        elif id(value) not in seen:
            seen[id(value)] = value
            inside: Any = ()
            if isinstance(value, nn.Module):
                inside = list(value.state_dict().items())
            elif isinstance(value, Mapping):
                inside = list(value.items())
            elif isinstance(value, list | tuple):
                inside = value
            elif type(value).__module__.startswith(("methods", "baselines", "bench.toolbox")):
                inside = list(vars(value).items()) if hasattr(value, "__dict__") else ()
            for one in inside:
                look(one)

    look(held)
    return found.hexdigest()


@pytest.fixture(scope="module")
def whole() -> tuple[list[list[float]], str]:
    return train()


@pytest.mark.parametrize("kill_at", [(0, 0), (0, 1), (0, 4), (1, 0), (1, 5)])
def test_a_killed_training_ends_where_a_whole_one_does(whole, kill_at, tmp_path, capsys):
    folder = tmp_path / "cell"
    checkpoints.use_checkpoints(folder, seconds=0)
    with pytest.raises(Killed):
        train(kill_at)
    assert folder.exists() == (kill_at != (0, 0))
    checkpoints.use_checkpoints(folder, seconds=0)
    assert train() == whole
    said = capsys.readouterr().err
    loop, step = kill_at
    assert (f"loop {loop}: goes on after step {step} of {STEPS}" in said) == (step > 0)
    assert ("loop 0: was done" in said) == (loop == 1)


def test_a_finished_training_is_not_done_again(whole, tmp_path, monkeypatch):
    checkpoints.use_checkpoints(tmp_path, seconds=0)
    assert train() == whole
    assert sorted(path.name for path in tmp_path.glob("*-*")) == [f"{n:03d}-{STEPS}.safetensors" for n in range(2)]
    monkeypatch.delattr(Optimiser, "step")
    checkpoints.use_checkpoints(tmp_path, seconds=0)
    assert train() == whole


@pytest.mark.parametrize("file", ["000.json", "000-3.safetensors"])
@pytest.mark.parametrize("harm", ["cut", "flip", "empty"])
def test_a_damaged_checkpoint_is_thrown_away(whole, tmp_path, capsys, file, harm):
    checkpoints.use_checkpoints(tmp_path, seconds=0)
    with pytest.raises(Killed):
        train((0, 3))
    content = (tmp_path / file).read_bytes()
    middle = len(content) // 2
    damaged = {"cut": content[:middle], "empty": b"", "flip": content[:middle] + b"\x00" + content[middle + 1 :]}[harm]
    if damaged == content:
        damaged = content[:middle] + b"\x01" + content[middle + 1 :]
    (tmp_path / file).write_bytes(damaged)
    checkpoints.use_checkpoints(tmp_path, seconds=1e6)
    assert train() == whole
    assert "loop 0: a checkpoint is thrown away" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [CURVE]


def test_a_checkpoint_of_another_training_is_not_believed(whole, tmp_path, monkeypatch, capsys):
    checkpoints.use_checkpoints(tmp_path, seconds=0)
    with monkeypatch.context() as other:
        other.setattr(nn.Linear, "reset_parameters", lambda self: nn.init.ones_(self.weight))
        with pytest.raises(Killed):
            train((0, 3))
    checkpoints.use_checkpoints(tmp_path, seconds=0)
    assert train() == whole
    assert "it is of another training" in capsys.readouterr().err


def test_nothing_is_written_before_it_is_time(whole, tmp_path):
    checkpoints.use_checkpoints(tmp_path / "cell")
    assert train() == whole
    assert [path.name for path in (tmp_path / "cell").iterdir()] == [CURVE]


def test_where_nothing_can_be_written_training_goes_on(whole, tmp_path, capsys):
    (tmp_path / "file").write_text("", encoding="utf-8")
    checkpoints.use_checkpoints(tmp_path / "file" / "cell", seconds=0)
    assert train() == whole
    assert "no checkpoint can be written" in capsys.readouterr().err


def test_seconds_between_checkpoints_are_a_number(tmp_path, monkeypatch):
    monkeypatch.setenv(checkpoints.EVERY, "often")
    with pytest.raises(BenchError, match="BENCH_CHECKPOINT_SECONDS='often': give the seconds"):
        checkpoints.use_checkpoints(tmp_path)


KILLED_ONCE = """
import os, signal
from pathlib import Path
from baselines import encoders

class ContrastiveEEG(encoders.ContrastiveEEG):
    steps = 0

    def measure_loss(self, *given):
        self.steps += 1
        mark = Path(__file__).with_name("killed")
        if self.steps == 3 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure_loss(*given)
"""


def test_a_run_whose_method_was_killed_goes_on_in_its_fit(phantom, tmp_path, monkeypatch):
    monkeypatch.setenv(checkpoints.EVERY, "0")
    file = tmp_path / "killed_once.py"
    file.write_text(KILLED_ONCE, encoding="utf-8")
    method = f"{file}:ContrastiveEEG"
    run = Run(
        method=method, split="cross_subject", dataset="phantom_eeg:tiny", protocols=(), video=False,
        variants={"base": {"epochs": 1, "batch_size": 48}},
    )  # fmt: skip
    job: Job = next(job for job in plan(run, phantom, load_suite("mini")) if job.spec.method == method)
    runs, folder = tmp_path / "runs", tmp_path / "runs" / CHECKPOINTS / job.spec.key

    (killed,) = execute([job], runs, processes=1, threads=1)
    assert "was killed by SIGKILL" in str(killed.error)
    assert sorted(path.suffix for path in folder.iterdir()) == [".csv", ".json", ".safetensors"]
    (done,) = execute([job], runs, processes=1, threads=1)
    assert done.error is None and not folder.exists()
    log = (runs / "logs" / f"{job.spec.key}.log").read_text(encoding="utf-8")
    assert "goes on after step 2 of " in log

    (whole,) = execute([job], tmp_path / "whole", processes=1, threads=1)
    cells = [Store(place).find(job.spec.key) for place in (runs, tmp_path / "whole")]
    assert whole.error is None and cells[0].manifest["files"] == cells[1].manifest["files"]


SOLVED = ("ridge_eeg", "ridge_fmri")  # without a step
TUNED = "dynamind_oracle"  # a ceiling, whose generator is tuned as DynaMind's is
TRAINED = [name for name in names("methods") if (role_of(name) == "method" and name not in SOLVED) or name == TUNED]
LOOPS = re.compile(r"\b(train_steps|Optimiser|tune)\(")  # which go on from a kill
OF_TORCH = re.compile(r"\.backward\(|torch\.optim\.")  # a loop that would not
ALIKE = (
    TUNED,
    "glfa",
    "mind_animator",
    "eegnet",
    "deep4",
    "eeg_conformer",
    "atcnet",
    "shallow_convnet",
    "mlp_backbone",
)
ALL = os.environ.get("TEST_ALL_METHODS")  # those whose loops are others' too take half a minute more


def list_trained() -> list[Any]:
    said = pytest.mark.skipif(not ALL, reason="its loops are tested with other methods; set TEST_ALL_METHODS=1")
    return [pytest.param(name, marks=said if name in ALIKE else ()) for name in TRAINED]


def fit_with_steps(name: str, suite: Any, folder: Path | None) -> tuple[str, int]:
    """Fit a method in loops of a few steps. Returns a digest of all that it holds, and the steps that it made."""
    made = []
    step = Optimiser.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Optimiser, "step", lambda self, loss: (made.append(0), step(self, loss))[1])
        patch.setattr(tune_a_video, "_TUNED", {suite: {}})  # what this process has tuned before is not tuned again
        torch.manual_seed(0)  # as each process of a method begins
        checkpoints.use_checkpoints(folder, seconds=0)
        fitted = Fitted(name, list_datasets(name)[0], suite, **brief(name, suite))
        checkpoints.use_checkpoints(None)
    return digest_held({**vars(fitted.method), "suite": None}), len(made)


def brief(name: str, suite: Any) -> dict[str, Any]:
    """Every loop for two steps or a few more: of 24 or 30 trials, or of as many clips, eight at a time."""
    from bench.core.registry import resolve

    own = resolve("methods", name)(suite=suite).parameters
    return {one: 0.5 for one in vars(own) if one.endswith("epochs")}


def test_no_method_trains_that_is_not_among_these() -> None:
    """By the text of all modules of ours that a method comes to."""
    found = {}
    for name in names("methods"):
        ours = [one for one in trace(*find_roots("methods", name)) if one.startswith(("methods.", "baselines."))]
        modules = [one for one in ours if not one.endswith(".work")]  # which count a step and make none
        text = "".join(Path(str(find_spec(one).origin)).read_text(encoding="utf-8") for one in modules)  # type: ignore[union-attr]
        found[name] = bool(LOOPS.search(text))
        assert not OF_TORCH.search(text), f"{name} steps by itself: its loop has to go over Optimiser.walk"
    assert {name for name in found if found[name]} == {*TRAINED, *SOLVED}, "those that are solved share others' folder"


@pytest.mark.parametrize("name", list_trained())
def test_every_method_that_trains_goes_on_from_the_middle_of_each_loop(name, tmp_path, monkeypatch):
    suite = load_suite("mini")
    for network in ("wan", "video_unet"):  # loading them draws from torch's generator, once a process
        getattr(suite, network)
    halves: list[int] = []
    save = checkpoints.Loop.save

    def save_half(self: checkpoints.Loop, done: int) -> None:
        if done == self.total // 2:
            halves.append(done)
            save(self, done)

    monkeypatch.setattr(checkpoints.Loop, "save", save_half)
    whole, steps = fit_with_steps(name, suite, tmp_path)
    assert steps > sum(halves) > 0
    monkeypatch.setattr(checkpoints.Loop, "save", lambda self, done: None)
    assert fit_with_steps(name, suite, tmp_path) == (whole, steps - sum(halves))
