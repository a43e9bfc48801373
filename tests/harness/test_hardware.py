"""Device, precision and memory: names are checked at once, the key holds what changes a result, the method gets all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pretend_device import PretendDevice

import bench
from bench.api.questions import note_hidden
from bench.cli import main
from bench.core.errors import BenchError
from bench.core.hardware import check_device
from bench.core.job import Job, Run
from bench.datasets.catalogue import open_dataset
from bench.harness import shelf
from bench.harness.plan import plan
from bench.harness.run_cell import make_cell
from bench.harness.shelf import current_cells
from bench.pretrained.decoders import WanDecoder
from bench.pretrained.generators import tune_a_video
from bench.pretrained.suite import load_suite
from bench.store.cells import Store
from bench.store.provenance import list_parts

TELL = """
import numpy as np
import torch

from bench.toolbox.precision import lower


class Tell:
    name, modality, version = "tell", "none", 1
    parameter_count = 0

    def __init__(self, *, suite, seed):
        self.suite = suite

    def fit(self, train, validation):
        self.shape = train.video.shape[1:]

    def reconstruct(self, brain):
        given = (str(self.suite.device), self.suite.precision, self.suite.memory)
        trained = lower(lambda: torch.eye(1) @ torch.full((1, 1), 1.001), torch.device("cpu"))()
        told = 33 if given == ("cpu", "bf16", 2**33) and float(trained) == 1 else 0
        return np.full((len(brain.subject), *self.shape), told, np.uint8)
"""


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"precision": "fp8"}, "precision 'fp8'; allowed are fp32, bf16, fp16"),
        ({"device": "gpu"}, "device 'gpu'; allowed are auto, cpu, cuda and cuda:N"),
        ({"device": "cuda:-1"}, "device 'cuda:-1'; allowed are"),
        ({"memory": "lots"}, "'lots' is no size of memory like 24GiB"),
        ({"memory": "1KiB"}, "no size of memory like 24GiB, 500MB or a number of bytes, of 1 MiB or more"),
    ],
)
def test_what_cannot_be_had_is_refused_at_once(asked: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=told):
        bench.run("sam_net", quick=True, runs=tmp_path / "runs", **asked)
    with pytest.raises(BenchError, match=told):
        bench.load_suite("mini", **asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_device_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"there is no device cuda; here are cpu and no GPU that torch can use"):
        bench.run("sam_net", quick=True, runs=tmp_path, device="cuda")
    with PretendDevice():
        check_device("cuda:0")
        with pytest.raises(BenchError, match=r"no device cuda:1; here are cpu, cuda:0 \(a pretended device\)"):
            check_device("cuda:1")
    check_device("cuda:7", here=False)  # a cluster's worker may have it


def test_names_are_checked_without_torch() -> None:
    code = (
        "import sys; from bench.api.names import check_hardware as c; c('cpu', 'bf16', '2GiB'); c('auto', 'fp32', None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.split() == ["False"], done.stderr


@pytest.fixture(scope="module")
def jobs(phantom: Any) -> dict[str, Job]:
    dataset, suite = open_dataset("phantom_eeg:tiny"), load_suite("mini")
    made = {}
    for precision in ("fp32", "bf16"):
        asked: dict[str, Any] = {"device": "cpu", "precision": precision, "memory": 2**33}
        run = Run(method="codec", split="cross_subject", dataset="phantom_eeg:tiny", **asked)
        (made[precision],) = [job for job in plan(run, dataset, suite) if job.spec.method == "codec"]
    return made


def test_the_key_holds_the_precision_where_it_is_not_exact(jobs: dict[str, Job]) -> None:
    exact, half = jobs["fp32"].spec, jobs["bf16"].spec
    assert "precision" not in exact.settings and half.settings == {**exact.settings, "precision": "bf16"}
    assert exact.key != half.key and exact.suite_digest == half.suite_digest
    assert (jobs["bf16"].device, jobs["bf16"].memory) == ("cpu", 2**33)


def test_a_cell_is_made_in_its_precision_and_says_where(phantom: Any, tmp_path: Path) -> None:
    file = tmp_path / "tell.py"
    file.write_text(TELL, encoding="utf-8")
    dataset, suite, store = open_dataset("phantom_eeg:tiny"), load_suite("mini"), Store(tmp_path / "runs")
    asked: dict[str, Any] = {"device": "cpu", "precision": "bf16", "memory": 2**33}
    run = Run(method=f"{file}:Tell", split="cross_subject", dataset="phantom_eeg:tiny", **asked)
    (job,) = [job for job in plan(run, dataset, suite) if "Tell" in job.spec.method]
    cell = make_cell(job, store, dataset, load_suite("mini", device="cpu", precision="bf16", memory=2**33))
    assert (cell.read([0]) == 33).all(), "what the method's own process was given"
    made = cell.manifest["provenance"]
    assert (made["device"], made["precision"], made["memory"]) == ("cpu", "bf16", 2**33)
    assert ("device", "cpu") in list_parts({**made, "gpus": ["a GPU that was not asked"]})
    assert [found.key for found in current_cells(store, dataset, suite, 40)] == [job.spec.key]


def test_of_two_precisions_tables_take_the_exact_one(
    jobs: dict[str, Job], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [
        SimpleNamespace(manifest={"spec": job.spec.as_dict(), "variant": "base"}, key=job.spec.key, shows_videos=True)
        for job in (jobs["bf16"], jobs["fp32"])
    ]
    monkeypatch.setattr(shelf, "is_current", lambda *given: True)
    for order in (cells, cells[::-1]):
        store: Any = SimpleNamespace(cells=lambda order=order: order)
        shown = current_cells(store, open_dataset("phantom_eeg:tiny"), load_suite("mini"), 40)
        assert [cell.key for cell in shown] == [jobs["fp32"].spec.key]
        line = "made in bf16, and left out: codec; `--precision bf16` chooses it"
        assert line in capsys.readouterr().err
        shelf.say_once.cache_clear()
        for asked, left in (("bf16", "fp32"), ("fp16", "bf16")):
            hidden: list[Any] = []
            options: dict[str, Any] = {"precision": asked, "hidden": hidden}
            (found,) = current_cells(store, open_dataset("phantom_eeg:tiny"), load_suite("mini"), 40, **options)
            assert {found.key, hidden[0].key} == {job.spec.key for job in jobs.values()}
            rows = pd.DataFrame({"method": ["codec"], "variant": ["base"]})
            (told,) = note_hidden(rows, hidden)
            assert told == f"made in {left}, and left out: codec; `--precision {left}` chooses it"
            assert note_hidden(rows.assign(method="retrieval"), hidden) == []
    assert "left out" not in capsys.readouterr().err, "a table says it in its notes"


@pytest.mark.parametrize(
    "verb",
    [
        ["table", "--method", "codec"],
        ["compare", "codec", "retrieval"],
        ["pack", "--method", "codec"],
        ["publish", "--method", "codec", "--results", "results"],
        ["figure", "clips", "--method", "codec"],
    ],
    ids=lambda verb: verb[0],
)
def test_every_verb_that_reads_a_store_chooses_among_precisions(
    verb: list[str], phantom: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Store(tmp_path / "runs")
    asked: list[str] = []
    monkeypatch.setattr(shelf, "current_cells", lambda *given, precision, **rest: iter(asked.append(precision) or ()))
    for precision in ("bf16", "fp32"):
        assert main([*verb, "--dataset", "phantom_eeg:tiny", "--precision", precision]) == 1, "there are no cells"
        assert asked and set(asked) == {precision}
        asked.clear()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_networks_are_loaded_in_the_precision(precision: Any, bench_home: Any) -> None:
    suite = load_suite("mini", precision=precision, threads=1)
    assert suite.unet.dtype == suite.vae.dtype == suite.wan.dtype == suite.text_encoder.dtype == suite.dtype
    assert suite.wan_vae.dtype == torch.float32
    decoder = WanDecoder(suite, clip_shape=(5, 32, 32), rank=2, scale=2, steps=1)
    trained = [one for one in decoder.network.parameters() if one.requires_grad]
    assert trained and {one.dtype for one in trained} == {torch.float32}
    assert {one.dtype for one in tune_a_video.inflate(suite.unet).trained_parameters()} == {torch.float32}
    assert suite.at("fp32").dtype == torch.float32 and suite.at(precision) is suite


def test_half_precision_draws_nearly_what_float32_draws(bench_home: Any) -> None:
    exact = load_suite("mini", threads=1)
    half = exact.at("bf16")
    text, few = exact.encode_text(["a cat runs on grass", "a small red car"]), {"steps": 2}
    assert half.encode_text(["a cat"]).dtype == torch.float32
    video = exact.generate_video(text, [1, 2], **few)
    for made, wanted in (
        (half.generate_video(text, [1, 2], **few), video),
        (
            half.generate_video(text, [1, 2], keyframes=video[:, 0], **few),
            exact.generate_video(text, [1, 2], keyframes=video[:, 0], **few),
        ),
        (
            half.refine_keyframe(text, video[:, 0], [3, 4], **few),
            exact.refine_keyframe(text, video[:, 0], [3, 4], **few),
        ),
    ):
        apart = np.abs(made.astype(int) - wanted)
        assert 0 < apart.mean() < 8, apart.mean()
    latents = exact.encode_video(video)
    assert (half.encode_video(video) - latents).abs().mean() < 0.05
    network = tune_a_video.inflate(half.unet)
    drawn = tune_a_video.denoise(half, network, text, latents.transpose(1, 2), steps=2)
    plain = tune_a_video.denoise(exact, tune_a_video.inflate(exact.unet), text, latents.transpose(1, 2), steps=2)
    assert drawn.dtype == torch.float32 and 0 < (drawn - plain).abs().mean() < 0.2


def test_the_command_passes_what_it_is_given(
    tmp_path: Path, phantom: Any, capsys: pytest.CaptureFixture[str], jobs: dict[str, Job]
) -> None:
    asked = ["run", "--method", "codec", "--quick", "--runs", str(tmp_path), "--dry-run", "--device", "cpu"]
    assert main([*asked, "--precision", "bf16", "--memory", "8GiB"]) == 0
    assert jobs["bf16"].spec.key in capsys.readouterr().out
    assert main(asked) == 0
    assert jobs["fp32"].spec.key in capsys.readouterr().out
    assert main(["score", "--predictions", str(tmp_path), "--memory", "much"]) == 1
    assert "'much' is no size of memory" in capsys.readouterr().err
