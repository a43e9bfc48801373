"""Several devices for one cell come to what one does: here processors that meet over gloo.

A method of its own trains a network whose rows and whose means are divided among the devices, with a loss that couples
the whole batch, and draws by the suite; what it came to is held against the same on one.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bench
from bench.core.errors import BenchError
from bench.core.hardware import check_device
from bench.core.job import Run
from bench.core.splits import make_folds
from bench.datasets.catalogue import open_dataset
from bench.harness.inputs import fold_scalings, show_set
from bench.harness.method_process import MethodError, MethodProcess
from bench.harness.plan import plan
from bench.harness.run_cell import Limits, make_cell
from bench.pretrained.suite import load_suite
from bench.store.cells import Store
from bench.store.provenance import list_differences
from bench.toolbox.checkpoints import EVERY
from bench.toolbox.curves import NAME as CURVE
from bench.toolbox.curves import read_curve

STEPS, ROWS = 6, 21  # that no number of devices divides
METHODS = """
import os
import signal
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from bench.toolbox import budget, checkpoints, ranks
from bench.toolbox.parts import mean_in_parts, run_in_parts
from bench.toolbox.training import make_generator, make_numpy_generator, seeded, train_steps

CPU = torch.device("cpu")


class Learns:
    name, modality, version = "learns", "eeg", 1
    embeds = "words"
    parameter_count = 1

    def __init__(self, *, suite, seed=0):
        self.suite = suite

    def fit(self, train, validation):
        signals = torch.from_numpy(np.asarray(train.brain[:20])).flatten(1)[:, :30].float()
        clip = torch.from_numpy(np.ascontiguousarray(train.clip[:20]))
        self.shape, self.captions = train.video.shape[1:], list(train.captions[:5])
        self.latents = self.suite.encode_video(train.video[:3])
        with seeded(CPU, "learns", "network", 0):
            trunk, head, aside, unused = nn.Linear(30, 8), nn.Linear(8, 6), nn.Linear(30, 4), nn.Linear(2, 2)
            special = nn.Linear(30, 8)  # which one row of all goes through
        network = nn.ModuleDict({"trunk": trunk, "head": head, "aside": aside, "unused": unused, "special": special})
        targets = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
        noise = make_generator("learns", "noise")

        def see(given, rows):
            seen = trunk(given[rows]).tanh()
            return (torch.cat([seen[:1] + special(given[:1]), seen[1:]]) if rows.start == 0 else seen,)

        def measure(rows):
            given = signals[rows] + 0.1 * torch.randn(len(rows), 30, generator=noise)
            (seen,) = run_in_parts("see", len(rows), lambda one: see(given, one), through=[trunk.weight], device=CPU)
            said = head(seen)  # every device computes this of all rows
            coupled = functional.cross_entropy(said @ targets[rows].T, torch.arange(len(rows)))
            options = {"through": [aside.weight], "device": CPU}
            mean = mean_in_parts("aside", len(rows), lambda one: aside(given[one]).square().mean(), **options)
            return 0.01 * (coupled + 3 * mean)  # so small that no gradient is cut

        rows = np.arange(9)
        measure(rows).backward()
        ranks.average_gradients(list(network.parameters()))
        self.gradients = [one.grad for one in network.parameters()]
        assert all(one.grad is None for one in unused.parameters())
        network.zero_grad()
        self.losses = train_steps(
            network, measure, parameters=list(network.parameters()), trials=20, steps=6, batch_size=9,
            learning_rate=1e-2, weight_decay=0.01, batches=make_generator("learns", "batches"), phase="learning",
        )
        self.weights = [one.detach() for one in network.parameters()]
        self.draw = torch.rand(1)  # as on one device, since nothing was drawn within rows that are divided
        masks = [self.drop() for _ in range(2)]
        assert not torch.equal(*masks) and not torch.equal(masks[0][:4], masks[0][4:])

    def drop(self):
        options = {"through": [], "device": CPU}
        return run_in_parts("drop", 8, lambda rows: (functional.dropout(torch.ones(8, 40)[rows], 0.5),), **options)[0]

    def reconstruct(self, brain):
        n = len(brain.subject)
        text = self.suite.encode_text([self.captions[row % 5] for row in range(n)])
        made = self.suite.generate_video(text, list(range(n)), steps=2)
        from bench.toolbox.resize import fit_clips

        return fit_clips(np.asarray(made), self.shape)

    def embed(self, brain):
        alone = list(budget.run_parts("one", 1, lambda rows: torch.ones(1), device="cpu", most=4))
        made = []
        for part in budget.run_parts("square", 7, lambda rows: np.arange(7.0)[rows] ** 2, device="cpu", most=2):
            made.extend(part)
        pair = lambda rows: (torch.arange(3)[rows], {"a": np.ones(3)})
        pairs = list(budget.run_parts("pairs", 3, pair, device="cpu", most=1))
        assert len(alone) == 1 and [int(one[0]) for one in pairs] == [0, 1, 2] and pairs[2][1]["a"].sum() == 3
        parts = [torch.zeros(1) if one is None else one for one in self.gradients] + self.weights
        parts += [torch.tensor(self.losses + made), self.draw, self.latents]
        told = torch.cat([one.flatten() for one in parts])
        return told.expand(len(brain.subject), -1).numpy()


class Paints(Learns):
    def reconstruct(self, brain):
        def paint(rows):
            return np.stack([np.full(self.shape, seed % 251, np.uint8) for seed in brain.seed[rows]])

        return np.concatenate(list(budget.run_parts("paint", len(brain.seed), paint, device=CPU, most=16)))


class GoesOn(Learns):
    # Two loops that draw from all kinds of generators, within divided rows too. "KILL" in the environment holds rank,
    # loop and step of a kill; a rank that is "BLIND" cannot read what was kept.

    def fit(self, train, validation):
        kill = [int(one) for one in os.environ.get("KILL", "-1 -1 -1").split()]
        if os.environ["RANK"] == os.environ.get("BLIND"):
            def read_state(folder, name):
                raise checkpoints.Damaged("it cannot be read here")

            checkpoints.read_state = read_state
        read = nn.Sequential(nn.Linear(30, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        network = nn.ModuleList([nn.BatchNorm1d(30), read])  # the norm counts over all rows: it stands before the parts
        signals = torch.randn(20, 30, generator=make_generator("goes on", "signals"))
        noise, numpy_noise = make_generator("goes on", "noise"), make_numpy_generator("goes on", "numpy noise")
        told = []
        for loop in range(2):
            done = []

            def measure(rows, loop=loop, done=done):
                if kill == [int(os.environ["RANK"]), loop, len(done)]:
                    os.kill(os.getpid(), signal.SIGKILL)
                done.append(len(done))
                added = torch.randn(len(rows), 30, generator=noise) + float(numpy_noise.normal())
                given = network[0](signals[rows] + 0.1 * added)
                run = lambda part: (read(given[part]),)
                (seen,) = run_in_parts("go on", len(rows), run, through=[read[0].weight], device=CPU)
                return seen.square().mean() * (1 + len(done))

            told += train_steps(
                network, measure, parameters=list(network.parameters()), trials=20, steps=5, batch_size=9,
                learning_rate=1e-2, weight_decay=0.01, batches=make_generator("goes on", "batches", loop),
                phase=f"loop {loop}", lists=[done],
            )
        self.told = torch.cat([*(one.detach().flatten() for one in network.state_dict().values()), torch.tensor(told),
                               torch.rand(2, generator=noise), torch.rand(2)])

    def embed(self, brain):
        return self.told.expand(len(brain.subject), -1).numpy()


class Dies(Learns):
    def fit(self, train, validation):
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        super().fit(train, validation)


class Hangs(Learns):
    def fit(self, train, validation):
        if os.environ["RANK"] == "1":
            time.sleep(600)
        super().fit(train, validation)


class Raises(Learns):
    def fit(self, train, validation):
        if os.environ["RANK"] == "1":
            raise ValueError("of the second alone")
        super().fit(train, validation)
"""


@pytest.fixture(scope="module")
def method(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("methods") / "learns.py"
    file.write_text(METHODS, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def sets(phantom: Any) -> list[Any]:
    fold = make_folds(phantom, "cross_subject")[0]
    scalings = fold_scalings(phantom, fold)
    return [show_set(phantom, rows, scalings) for rows in (fold.train[:80], fold.validation[:5])]


def start(method: Path, name: str, devices: tuple[str, ...], **options: Any) -> MethodProcess:
    suite = load_suite("mini", device="cpu", threads=1)
    return MethodProcess(f"{method}:{name}", suite=suite, seed=0, parameters={}, devices=devices, **options)


def work(method: Path, sets: list[Any], devices: tuple[str, ...], folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All numbers that the method tells, and its videos."""
    train, validation = sets
    geometry = load_suite("mini").geometry
    latents = geometry.frames * geometry.latent_channels * geometry.latent_height * geometry.latent_width
    shape = (5, *train.video.shape[1:])
    with start(
        method, "Learns", devices, checkpoints=folder / "kept", keep_weights=True, log=folder / "log"
    ) as process:
        process.fit(train, validation)
        told = process.embed(validation, width=676 + 680 + STEPS + 7 + 1 + 3 * latents)[0]
        return told, process.reconstruct(validation, shape=shape)


@pytest.fixture(scope="module")
def one_and_two(method: Path, sets: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folders = [tmp_path_factory.mktemp("devices") for _ in range(2)]
    return [(*work(method, sets, ("cpu",) * (place + 1), folder), folder) for place, folder in enumerate(folders)]


def test_two_devices_learn_what_one_does(one_and_two: Any) -> None:
    (one, *_), (two, *_) = one_and_two
    gradients, rest = slice(0, 676), slice(676, None)
    assert np.abs(one[gradients]).max() > 0.001 and np.linalg.norm(one[gradients]) < 1
    np.testing.assert_allclose(two[gradients], one[gradients], rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(two[rest], one[rest], rtol=1e-3, atol=2e-5)


def test_two_devices_draw_what_one_does(one_and_two: Any) -> None:
    (_, one, _), (_, two, _) = one_and_two
    assert one.shape == two.shape and one.std() > 10
    assert np.abs(one.astype(int) - two.astype(int)).max() <= 1


def test_the_first_alone_writes(one_and_two: Any) -> None:
    kept = [sorted(path.name for path in (folder / "kept").iterdir()) for *_, folder in one_and_two]
    assert kept[0] == kept[1] == ["000-6.safetensors", "000.json", CURVE]
    curves = [list(read_curve(folder / "kept" / CURVE)) for *_, folder in one_and_two]
    assert [row.step for row in curves[1]] == [row.step for row in curves[0]] == list(range(1, STEPS + 1))


@pytest.mark.parametrize(
    ("name", "limit", "told"),
    [
        ("Dies", None, "its process 2 of 2, on cpu, was killed by SIGKILL"),
        ("Hangs", 8.0, "passed the time limit of 8 s in "),
        ("Raises", None, "ValueError: of the second alone (learns.py:"),
    ],
)
def test_what_becomes_of_one_device_ends_the_cell(name: str, limit: Any, told: str, method: Path, sets: Any) -> None:
    process = start(method, name, ("cpu", "cpu"), time_limit=limit)
    with pytest.raises(MethodError) as raised:
        process.fit(*sets)
    assert told in str(raised.value)
    assert all(child.ending is not None for child in process.children)
    assert process.meeting is not None and not process.meeting.exists()


def test_a_killed_fit_of_two_devices_goes_on_to_what_one_that_was_not_came_to(
    method: Path, sets: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EVERY, "0")

    def go(folder: Path, **environment: str) -> np.ndarray:
        with monkeypatch.context() as changed:
            for name, value in environment.items():
                changed.setenv(name, value)
            process = start(method, "GoesOn", ("cpu", "cpu"), checkpoints=folder, log=tmp_path / "log")
        with process:
            process.fit(*sets)
            return process.embed(sets[1], width=248 + 9 + 121 + 10 + 4)[0]

    folder = tmp_path / "killed"
    for place, kill in enumerate(("0 0 2", "1 1 3"), start=1):
        with pytest.raises(MethodError, match=f"its process {place} of 2, on cpu, was killed by SIGKILL"):
            go(folder, KILL=kill)
    assert sorted(one.name for one in folder.iterdir()) == [
        *("000-5.safetensors", "000.json", "001-3.safetensors", "001.json", CURVE)
    ]
    shutil.copytree(folder, tmp_path / "unread")
    went_on = go(folder)
    said = (tmp_path / "log").read_text(encoding="utf-8")
    told = ("loop 0: goes on after step 2 of 5", "loop 0: was done", "loop 1: goes on after step 3 of 5")
    assert [said.count(one) for one in told] == [2, 2, 2], "each device says it"

    anew = go(tmp_path / "unread", BLIND="1")  # where one device cannot read what was kept, none goes on
    said = (tmp_path / "log").read_text(encoding="utf-8")
    assert said.count("another device of this cell cannot go on from the checkpoint") == 2
    assert [said.count(one) for one in told] == [2, 2, 2]
    np.testing.assert_array_equal(went_on, anew)


def test_a_cell_says_which_devices_made_it(method: Path, phantom: Any, tmp_path: Path) -> None:
    dataset, suite = open_dataset("phantom_eeg:tiny"), load_suite("mini", device="cpu")
    cells = []
    for device in ("cpu", "cpu,cpu"):
        asked = Run(method=f"{method}:Paints", split="cross_subject", dataset="phantom_eeg:tiny", device=device)
        (job,) = [job for job in plan(asked, dataset, suite) if "Paints" in job.spec.method]
        cells.append(make_cell(replace(job, space=None), Store(tmp_path / device), dataset, suite, Limits()))
    one, two = (cell.manifest for cell in cells)
    assert (one["provenance"]["device"], two["provenance"]["device"]) == ("cpu", "cpu,cpu")
    assert one["spec"] == two["spec"] and one["prediction_digest"] == two["prediction_digest"]
    assert two["peak_memory_bytes"] > 1.5 * one["peak_memory_bytes"]
    assert list_differences([("ours", one["provenance"]), ("ours", two["provenance"])])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"device": "cuda:0,cuda:0"}, "names a GPU twice"),
        ({"device": "cpu,cuda:0"}, "several devices of a cell are GPUs by number, like cuda:0,cuda:1"),
        ({"device": "auto,auto"}, "several devices of a cell are GPUs by number"),
        ({"device": "cuda:0,cuda:99"}, "there is no device cuda:"),
        ({"device": "cpu,cpu", "jobs": 2}, "--jobs 2 with --device cpu,cpu: these work on one cell at a time"),
        ({"device": "cpu,cpu", "scheduler": "local:2"}, "its workers would share these; use local:1"),
    ],
)
def test_devices_that_cannot_share_a_cell_are_refused_at_once(asked: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=told):
        bench.run("codec", quick=True, runs=tmp_path / "runs", **asked)
    assert not list(tmp_path.iterdir())


def test_whatever_draws_no_cell_takes_one_device() -> None:
    for refused in (lambda: check_device("cpu,cpu"), lambda: bench.load_suite("mini", device="cpu,cpu")):
        with pytest.raises(BenchError, match=r"device 'cpu,cpu'; allowed are auto, cpu, cuda"):
            refused()
