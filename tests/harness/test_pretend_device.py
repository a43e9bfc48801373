"""Everything that runs networks, on a machine whose second device is pretended (`pretend_device`), with real values.

Every method, baseline, floor and ceiling of the registry fits, adapts and reconstructs; every judge looks and reads;
a cell is scored. A tensor that is left on the CPU, or read as numbers from the other device, fails here as it would on
a GPU. `test_pretended_rules.py` holds the pretence itself to what torch does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from fitted import EEG, FMRI, Fitted, list_datasets
from pretend_device import FAR, PretendDevice
from random_judges import describe, draw_video, save_judges

from baselines.dynamind import method as dynamind
from bench.audit import speed
from bench.core.contracts import BrainData
from bench.core.registry import names
from bench.datasets.catalogue import open_dataset
from bench.harness import inputs
from bench.pretrained.generators.pipelines import Start
from bench.pretrained.judges import networks as judge_networks
from bench.pretrained.judges.observe import READERS, VIEWS, Judges
from bench.pretrained.mini_build import measures as card_measures
from bench.pretrained.suite import load_suite
from bench.scoring.score_cell import score_cell
from bench.store.cells import Store
from bench.store.predictions import write_predictions
from bench.toolbox import encoded, rows
from methods.cine_neuron.analysis.interpretation import measure_voxel_weights
from methods.cine_neuron.analysis.retrieval_accuracy import find_memories
from methods.sam_net.analysis.distributions import encode, measure_log_covariance
from methods.sam_net.analysis.electrodes import measure_truth, read_network

STREAMED = {  # methods whose targets stay off the device, but for those of a batch
    *("sam_net", "dynamind", "dynamind_oracle", "eeg2video", "glfa", "mind_animator", "mind_video"),
}
OTHER_WAYS: dict[str, list[dict[str, Any]]] = {  # where a method hands other tensors over than by default
    "sam_net": [{"adaptation": "recolour", "guidance": 2.0, "keyframe_guidance": 2.0}],
    "cine_neuron": [
        {"decoder": "animatediff", "guidance": 2.0},
        {"checkpointing": True, "guidance": 2.0},
    ],
    "eeg2video": [{"start": "released", "semantic_targets": "concept"}],
    "mind_animator": [{"start": "renoised"}],
    "dynamind": [{"use_aligner": False}],
    "dynamind_oracle": [{"latents": False, "guidance": 2.0}],
}


class WatchedDevice(PretendDevice):
    """Remembers the shapes of what is placed or made on it."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()

    def mark(self, tensor: torch.Tensor) -> None:
        if not self.is_far(tensor):
            self.shapes.add(tuple(tensor.shape))
        super().mark(tensor)


@pytest.fixture(scope="module")
def device() -> WatchedDevice:
    return WatchedDevice()


@pytest.fixture(scope="module")
def suite(device: PretendDevice, bench_home: Any) -> Any:
    """The mini suite as it is loaded where torch finds a GPU."""
    with device:
        made = load_suite("mini", threads=1)
    assert made.device.type == "cuda"
    return made


def list_ways() -> Iterator[Any]:
    """Every method of the registry on every kind of recording that it decodes, and the other ways of some."""
    for name in names("methods"):
        for dataset in list_datasets(name):
            for parameters in ({}, *OTHER_WAYS.get(name, ())):
                yield pytest.param(
                    name, dataset, parameters, id="-".join([name, dataset.partition(":")[0], *parameters])
                )


@pytest.mark.parametrize(("name", "dataset", "parameters"), list_ways())
def test_methods_run_on_another_device(name, dataset, parameters, device, suite, monkeypatch):
    """With no more there than a batch, or some numbers, of what the clips are to be learned as."""
    monkeypatch.setattr(rows, "PART", 2**16)
    monkeypatch.setattr(encoded, "ENCODED", 8)
    monkeypatch.setattr(dynamind, "CHUNK", 8)
    device.shapes.clear()
    with device:
        fitted = Fitted(name, dataset, suite, **parameters)
        video = fitted.reconstruct()
    assert video.dtype == np.uint8 and len(video) == 2
    if name in STREAMED:
        assert not find_whole(device.shapes, fitted, suite.geometry)


def find_whole(shapes: set[tuple[int, ...]], fitted: Fitted, g: Any) -> list[tuple[int, ...]]:
    """Of shapes those that hold the tokens or the latents of all trained clips, captions or trials."""
    parts = [fitted.part(part) for part in ("train", "validation")]
    counts = {sum(len(part.captions) for part in parts), sum(len(part.clip) for part in parts)}
    counts |= {len({caption for part in parts for caption in part.captions})}
    assert min(counts) > 16  # which is more than a batch
    sizes = {g.tokens * g.text_width, g.frames * g.latent_channels * g.latent_height * g.latent_width}
    return [one for one in shapes if one and one[0] in counts and math.prod(one[1:]) in sizes]


@pytest.mark.parametrize("start", get_args(Start))
def test_a_suite_takes_what_it_is_given_on_either_device(start, device, suite):
    g = suite.geometry
    seeds, rng = [1, 2], torch.Generator().manual_seed(0)
    text = torch.randn(2, g.tokens, g.text_width, generator=rng)
    latents = torch.randn(2, g.frames, g.latent_channels, g.latent_height, g.latent_width, generator=rng)
    frames = np.full((2, g.height, g.width, 3), 128, np.uint8)
    options: dict[str, Any] = {"start": start, "steps": 2, "guidance": 2.0, "strength": 0.6}
    with device:
        for keyframes in (None, frames):
            near = suite.generate_video(text, seeds, latents=latents, keyframes=keyframes, **options)
            far = suite.generate_video(text.to(FAR), seeds, latents=latents.to(FAR), keyframes=keyframes, **options)
            assert is_alike(near, far)
        assert is_alike(suite.decode_latents(latents), suite.decode_latents(latents.to(FAR)))


def is_alike(near: np.ndarray, far: np.ndarray) -> bool:
    """Equal up to rounding: the first slice of a kind of work has one item, to measure its cost."""
    return np.abs(near.astype(int) - far).max() <= 1


def test_what_is_read_out_of_trained_methods(device, suite):
    with device:
        fitted = Fitted("sam_net", EEG, suite)
        method, known = fitted.method, fitted.part("validation")
        recording = method.prepare(known.brain, known.sampling_rate)
        number = int(fitted.dataset.trials["subject"][int(fitted.fold.calibration[0])])
        features = encode(method, recording, method.maps[number])
        assert len(features) == len(measure_log_covariance(recording.slow)) == len(known.subject)
        scalings = {one: fitted.scalings[one] for one in np.unique(known.subject).tolist()}
        truth = measure_truth(fitted.dataset, method, scalings)
        assert len(read_network(method, method.viewer.see(recording, known.subject), known.channels)) == len(truth)
        fitted = Fitted("cine_neuron", FMRI, suite)
        shown = fitted.part("test")
        about = {"subject": shown.subject, "channels": shown.channels, "sampling_rate": shown.sampling_rate}
        brain = BrainData(brain=shown.brain, seed=np.arange(len(shown.brain)), **about)
        assert all(rows.shape == (2, 1) for rows in find_memories(fitted.method, brain, 1).values())
        assert all(len(weights) for weights in measure_voxel_weights(fitted.method.trained().brain).values())


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return save_judges(tmp_path_factory.mktemp("judges"))


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "amt"])
def test_judges_look_from_another_device(view, device, judge_folder, monkeypatch):
    monkeypatch.setattr(judge_networks, "FLOW_UPDATES", 2)
    video, captions = draw_video()[:1, :2], ["a cat", "a piano"]
    near, far = describe(judge_folder), describe(judge_folder)
    far.device = FAR
    plain, judges = Judges(near, threads=1), Judges(far, threads=1)
    with device:
        seen = judges.observe(view, video)
        read = judges.embed_captions(view, captions) if view in READERS else None
    assert np.allclose(seen, plain.observe(view, video), atol=1e-5)
    assert read is None or np.allclose(read, plain.embed_captions(view, captions), atol=1e-5)


def test_frames_between_frames_are_drawn_on_another_device(device, tmp_path, monkeypatch):
    (tmp_path / "networks").mkdir()
    code = "return {'imgt_pred': self.weight * (first * (1 - middle) + second * middle)}"
    (tmp_path / "networks" / "AMT-S.py").write_text(
        "import torch\nclass Model(torch.nn.Module):\n"
        "    def __init__(self, **sizes):\n"
        "        super().__init__()\n        self.weight = torch.nn.Parameter(torch.zeros(1))\n"
        f"    def forward(self, first, second, middle, **options):\n        {code}\n"
    )
    torch.save({"weight": torch.ones(1)}, tmp_path / "amt-s.pth")
    monkeypatch.setenv("BENCH_AMT", str(tmp_path))
    judges = Judges(SimpleNamespace(name="none", settings={"roles": {}}, base=tmp_path, device=FAR))
    first, second = np.zeros((1, 20, 37, 3), np.uint8), np.full((1, 20, 37, 3), 200, np.uint8)
    with device:
        assert (judges.interpolator()(first, second) == 100).all()


def test_a_cell_is_scored_on_another_device(device, suite, tmp_path):
    dataset, store, key = open_dataset("phantom_eeg:tiny"), Store(tmp_path), "0123456789abcdef"
    spec: Any = SimpleNamespace(split="cross_subject", seed=0)
    trials = inputs.describe_trials(dataset, np.array([3, 30, 60]), spec)
    with store.publishing(key) as draft:
        write_predictions(draft, trials, dataset.video(trials["clip"].to_numpy()[::-1]))
    with device:
        score_cell(store.find(key), store, dataset, suite, protocols=tuple(names("protocols")))
    scores = list((store.root / key / "scores").glob("*.parquet"))
    assert len(scores) > 20


def test_the_plain_script_and_the_matrix_are_timed_on_the_suites_device(device, judge_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "MATRIX", 8)
    monkeypatch.setattr(speed, "WAYS", (2,))
    pairs = speed.write_clips(tmp_path, 1, (6, 40, 54, 3))
    plain = speed.score_plainly(pairs, judge_folder, torch.device("cpu"))
    with device:
        assert speed.score_plainly(pairs, judge_folder, FAR) == plain
        assert speed.matrix_rate("fp32", FAR) > 0


def test_a_suite_is_measured_on_another_device(device, suite, monkeypatch):
    recipes = [card_measures.draw_recipe(np.random.default_rng(0), index, pool="benchmark") for index in range(2)]
    video = np.stack([card_measures.render(recipe, card_measures.FRAME_TIMES) for recipe in recipes])
    monkeypatch.setattr(card_measures, "BANK", 8)
    monkeypatch.setitem(suite.settings, "wan_steps", 2)
    with device:
        measures = card_measures.measure_wan(suite, recipes, video)
    assert all(np.isfinite(value) for value in measures.values())
