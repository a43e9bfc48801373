"""Everything that runs networks, on a machine whose second device is pretended (`pretend_device`), with real values.

Every method, baseline, floor and ceiling of the registry fits, adapts and reconstructs; every judge looks and reads;
a cell is scored. A tensor that is left on the CPU, or read as numbers from the other device, fails here as it would on
a GPU. The first half holds the pretence itself to what torch does.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pretend_device import FAR, PretendDevice
from random_judges import describe, draw_video, save_judges
from torch import nn
from torch.utils.checkpoint import checkpoint

from bench.audit import speed
from bench.core.contracts import BrainData, TrainingSet
from bench.core.registry import names, resolve, role_of
from bench.core.splits import make_folds
from bench.datasets.catalogue import open_dataset
from bench.harness import inputs, run_cell
from bench.pretrained.generators.pipelines import Start
from bench.pretrained.judges import networks as judge_networks
from bench.pretrained.judges.observe import READERS, VIEWS, Judges
from bench.pretrained.mini_build import measures as card_measures
from bench.pretrained.suite import load_suite
from bench.scoring.score_cell import score_cell
from bench.store.cells import Store
from bench.store.predictions import write_predictions
from bench.toolbox.training import seeded
from methods.cine_neuron.analysis.interpretation import measure_voxel_weights
from methods.cine_neuron.analysis.retrieval_accuracy import find_memories
from methods.sam_net.analysis.distributions import encode, measure_log_covariance
from methods.sam_net.analysis.electrodes import measure_truth, read_network

ELSEWHERE = r"all tensors to be on the same device|indices should be|can't convert cuda:0|device type for generator"


@pytest.fixture
def far() -> Iterator[PretendDevice]:
    with PretendDevice() as device:
        yield device


def refuses(call: Callable[[], Any]) -> bool:
    """True where the call fails for the devices of its tensors, and for nothing else."""
    try:
        call()
    except (RuntimeError, TypeError) as error:
        assert any(words in str(error) for words in ELSEWHERE.split("|")), error
        return True
    return False


# The pretence


def test_tensors_are_where_they_were_put(far):
    near, moved = torch.zeros(2, 3), torch.zeros(2, 3).to("cuda")
    assert near.device.type == "cpu" and not near.is_cuda and near.get_device() == -1
    assert moved.device == FAR and moved.is_cuda and not moved.is_cpu and moved.get_device() == 0
    for made in (
        *(moved[0], moved.T, moved.detach(), moved.data, moved + 1, 2 * moved, moved.sum(), moved.half()),
        *(torch.zeros_like(moved), moved.new_zeros(3), moved.new_tensor([1.0]), torch.stack([moved, moved])),
        *(near.cuda(), near.to(moved), near.to(0), near.to("cuda:0", torch.float64), near.type_as(moved)),
        *(torch.zeros(3, device="cuda"), torch.tensor([1.0], device=FAR), torch.arange(3, device=moved.device)),
        *(torch.as_tensor(np.ones(3), device="cuda"), torch.as_tensor(moved), torch.as_tensor(near, device="cuda")),
        *(torch.zeros_like(near, device="cuda"), near.new_zeros(2, device="cuda"), moved.expand(4, 2, 3)),
    ):  # fmt: skip
        assert made.device == FAR
    for made in (
        *(moved.cpu(), moved.to("cpu"), moved.to(near), torch.zeros(3), near + 1, torch.from_numpy(np.ones(3))),
        *(torch.tensor([1.0]), torch.zeros_like(moved, device="cpu"), torch.as_tensor(moved, device="cpu"), near[0]),
        *(torch.tensor([moved[0, 0], moved[0, 1]]), torch.arange(moved.sum() + 2), torch.full((2,), moved[0, 0])),
    ):
        assert made.device.type == "cpu"
    assert near.to("cpu") is near and moved.to("cuda") is moved and moved.to(FAR, torch.float32) is moved
    with torch.device("cuda"):
        assert torch.zeros(2).device == FAR


def test_moving_copies_and_keeps_numbers_types_and_strides(far):
    near = torch.arange(6.0).reshape(2, 3).T
    moved = near.to("cuda", torch.float64)
    assert moved.dtype == torch.float64 and moved.stride() == near.stride()
    assert torch.equal(moved.cpu().float(), near)
    moved += 1
    assert near.max() == 5 and moved.cpu().max() == 6
    array = np.zeros(3, np.float32)
    shared = torch.as_tensor(array, device="cuda")
    shared += 1
    assert not array.any()


def test_operators_want_one_device(far):
    near, moved = torch.ones(3, 3), torch.ones(3, 3, device="cuda")
    rows, far_rows = torch.tensor([0, 2]), torch.tensor([0, 2], device="cuda")
    for call in (
        lambda: near + moved,
        lambda: moved @ near,
        lambda: nn.functional.linear(moved, near),
        lambda: nn.functional.mse_loss(moved, near),
        lambda: nn.functional.embedding(rows, moved),
        lambda: nn.functional.scaled_dot_product_attention(*(x[None, None] for x in (moved, moved, near))),
        lambda: torch.cat([near, moved]),
        lambda: torch.stack([moved, near]),
        lambda: torch.where(near > 0, moved, moved),
        lambda: moved.index_select(0, rows),
        lambda: moved.gather(0, rows[:, None]),
        lambda: torch.equal(near, moved),
        lambda: torch.isin(moved, near),
        lambda: moved.masked_fill(near > 0, 0.0),
        lambda: near.add_(moved),
        lambda: near[0, 0].add_(moved[0, 0]),  # 0-dim, but what is written to lies on the CPU
        lambda: near + moved[0, 0],  # only scalars of the CPU go anywhere
        lambda: moved.clamp(min=near),
        lambda: torch.einsum("ij,jk->ik", moved, near),
        lambda: moved.index_add_(0, far_rows, near[:2]),
        lambda: moved.index_select(0, torch.tensor(0)),  # 0-dim, but no elementwise operator
    ):
        assert refuses(call), inspect.getsource(call)
        with torch.inference_mode():
            assert refuses(call)
    for call in (
        lambda: moved * torch.tensor(2.0),
        lambda: torch.tensor(2.0) - moved,
        lambda: moved.masked_fill(moved > 0, torch.tensor(2.0)),
        lambda: torch.where(moved > 0, moved, torch.tensor(0.0)),
        lambda: moved.div_(torch.tensor(2.0)),
        lambda: moved.copy_(near),
        lambda: moved.expand_as(torch.zeros(3, 3)),
        lambda: moved.view_as(near),
        lambda: torch.clamp(moved, min=torch.tensor(0.0)),
    ):
        assert not refuses(call) and call().device == FAR
        with torch.inference_mode():
            assert call().device == FAR
    assert near.copy_(moved).device.type == "cpu"
    assert float(moved[0, 0]) == moved[0, 0].item() == 1 and moved.any() and len(moved.tolist()) == 3


def test_indices_may_lie_on_the_cpu(far):
    near, moved = torch.ones(3, 3), torch.ones(3, 3, device="cuda")
    rows, far_rows = torch.tensor([0, 2]), torch.tensor([0, 2], device="cuda")
    for index in (
        rows,
        far_rows,
        [0, 2],
        np.array([0, 2]),
        near[0] > 0,
        moved[0] > 0,
        slice(2),
        (rows, far_rows),
        None,
    ):
        assert moved[index].device == FAR
    assert refuses(lambda: near[far_rows]) and refuses(lambda: near[moved > 0])
    moved[rows] = 2.0
    moved[rows] = torch.tensor(3.0)
    moved[1:] = near[1:]  # a copy
    near[1:] = moved[1:]
    near[0, 0] = moved[0, 0]
    moved[rows] = moved[:2].clone()
    assert refuses(lambda: moved.__setitem__(rows, near[:2]))
    assert refuses(lambda: near.__setitem__(far_rows, 1.0))
    assert refuses(lambda: near.__setitem__(rows, moved[:2]))


def test_numbers_leave_by_the_cpu_alone(far):
    moved = torch.ones(3, device="cuda")
    for call in (
        moved.numpy,
        lambda: np.asarray(moved),
        lambda: np.stack([moved, moved]),
        moved.cpu().to("cuda").numpy,
    ):
        assert refuses(call)
    assert moved.cpu().numpy().sum() == moved.numpy(force=True).sum() == 3


def test_networks_move_with_parameters_and_buffers(far):
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    network.register_buffer("kept", torch.ones(2), persistent=False)
    weight, shown = network[0].weight, torch.ones(5, 4)
    network.to("cuda")
    assert network[0].weight is weight and weight.device == FAR and weight.is_leaf and weight.requires_grad
    assert {one.device for one in (*network.parameters(), *network.buffers())} == {FAR}
    assert refuses(lambda: network(shown)) and network(shown.cuda()).device == FAR
    twin = copy.deepcopy(network)
    twin.load_state_dict({name: value.cpu() for name, value in network.state_dict().items()})
    assert {one.device for one in (*twin.parameters(), *copy.deepcopy(network.state_dict()).values())} == {FAR}
    network.cpu()
    assert weight.device.type == "cpu" and twin[0].weight.device == FAR and network(shown).device.type == "cpu"
    with torch.device("meta"):
        ghost = nn.Linear(4, 2)
    assert ghost.weight.is_meta and ghost.to_empty(device="cuda").weight.device == FAR


def test_training_stays_on_its_device_and_gives_the_cpus_numbers():
    def train(device: str) -> tuple[torch.Tensor, float]:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), nn.Flatten(), nn.Linear(32, 3)
        ).to(device)
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
        shown, right = torch.randn(6, 4, 8).to(device), torch.arange(6).remainder(3).to(device)
        for _ in range(3):
            optimiser.zero_grad(set_to_none=True)
            hidden = checkpoint(network[0], shown, use_reentrant=False)
            loss = nn.functional.cross_entropy(network[2](network[1](hidden)), right)
            loss.backward()
            assert all(one.grad is not None and one.grad.device == one.device for one in network.parameters())
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        assert network(shown).device.type == torch.device(device).type
        return network[2].weight.detach().cpu(), loss.item()

    weight, loss = train("cpu")
    with PretendDevice():
        far_weight, far_loss = train("cuda")
        assert torch.allclose(weight, far_weight, atol=1e-6) and abs(loss - far_loss) < 1e-6


def test_gradients_come_back_to_their_tensors(far):
    near, moved = torch.ones(3, requires_grad=True), torch.ones(3, device="cuda", requires_grad=True)
    (near.cuda() * moved).sum().cpu().backward()
    assert near.grad.device.type == "cpu" and moved.grad.device == FAR
    (given,) = torch.autograd.grad((near.to("cuda") ** 2 * moved).sum(), [near])
    assert given.device.type == "cpu" and torch.equal(given, torch.full((3,), 2.0))
    assert refuses(lambda: near.grad + moved.grad)


def test_generators_draw_on_their_own_device(far):
    near, own = torch.Generator().manual_seed(1), torch.Generator(device="cuda").manual_seed(1)
    assert own.device == FAR and isinstance(own, torch.Generator)
    assert refuses(lambda: torch.randn(3, device="cuda", generator=near))
    assert refuses(lambda: torch.rand(3, generator=own))
    assert refuses(lambda: torch.zeros(3, device="cuda").normal_(generator=near))
    assert torch.randn(3, device="cuda", generator=own).device == FAR
    assert torch.randperm(3, generator=near).device.type == "cpu"
    with seeded(FAR, "test"):
        assert nn.functional.dropout(torch.ones(9, device="cuda")).device == FAR


def test_nothing_of_it_is_left_behind():
    before, generator = torch.cuda.is_available(), torch.Generator
    with pytest.raises(ZeroDivisionError), PretendDevice():
        kept = torch.ones(3, device="cuda")
        assert torch.cuda.is_available()
        _ = 1 / 0
    assert torch.cuda.is_available() == before and torch.Generator is generator
    assert kept.device.type == "cpu" and (kept + torch.ones(3)).sum() == 6


# What runs networks

EEG, FMRI = "phantom_eeg:tiny", "phantom_fmri:tiny"
BRIEF = {"category_least": 2, "strength": 0.6, "epochs": 0.1}  # enough to enter every loop
OTHER_WAYS: dict[str, list[dict[str, Any]]] = {  # where a method hands other tensors over than by default
    "sam_net": [{"adaptation": "recolour", "guidance": 2.0, "keyframe_guidance": 2.0}],
    "cine_neuron": [
        {"decoder": "animatediff", "guidance": 2.0},
        {"checkpointing": True, "precision": "bf16", "guidance": 2.0},
    ],
    "eeg2video": [{"start": "released", "semantic_targets": "concept"}],
    "mind_animator": [{"start": "renoised"}],
    "dynamind": [{"use_aligner": False}],
    "dynamind_oracle": [{"latents": False, "guidance": 2.0}],
}


@pytest.fixture(scope="module")
def device() -> PretendDevice:
    return PretendDevice()


@pytest.fixture(scope="module")
def suite(device: PretendDevice, bench_home: Any) -> Any:
    """The mini suite as it is loaded where torch finds a GPU."""
    with device:
        made = load_suite("mini", threads=1)
    assert made.device.type == "cuda"
    return made


def shorten(made: Any, suite: Any) -> dict[str, Any]:
    """Parameters of a method that say how long it works, at their least."""
    own = getattr(made(suite=suite), "parameters", None)
    fields = list(vars(own) if dataclasses.is_dataclass(own) else inspect.signature(made).parameters)
    counts = {"steps": 2, "epochs": 0.1, "batch_size": 8, "samples": 2, "draws": 2}
    brief = {one: value for one in fields for end, value in counts.items() if one.endswith(end)}
    return brief | {one: value for one, value in BRIEF.items() if one in fields}


def thin(rows: np.ndarray, count: int) -> np.ndarray:
    """At most so many rows, spread over all."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


class Fitted:
    """A method after `fit` and `adapt`, as the runner calls them, on a few trials of a tiny phantom."""

    def __init__(self, name: str, dataset: str, suite: Any, **parameters: Any) -> None:
        made = resolve("methods", name)
        self.name, self.dataset = name, open_dataset(dataset)
        self.split = "clips" if made.modality == "none" else "new_subject"
        fold = make_folds(self.dataset, self.split)[0]
        counts = {"train": 24, "validation": 6, "calibration": 4, "test": 2}
        rows = {part: thin(getattr(fold, part), count) for part, count in counts.items()}
        self.fold = dataclasses.replace(fold, **rows)
        self.scalings = inputs.fold_scalings(self.dataset, self.fold)
        self.method = made(suite=suite, seed=0, **{**shorten(made, suite), **parameters})
        self.method.fit(self.part("train"), self.part("validation"))
        if len(self.fold.calibration):
            self.method.adapt(self.part("calibration"))

    def part(self, name: str) -> TrainingSet:
        return inputs.training_set(self.dataset, getattr(self.fold, name), self.scalings)

    def reconstruct(self) -> np.ndarray:
        spec: Any = SimpleNamespace(method=self.name, split=self.split, seed=0)
        job: Any = SimpleNamespace(spec=spec, variant="base", role=role_of(self.name))
        return run_cell.reconstruct(self.method, job, self.dataset, self.fold, self.scalings)


def list_ways() -> Iterator[Any]:
    """Every method of the registry on every kind of recording that it decodes, and the other ways of some."""
    for name in names("methods"):
        modality = resolve("methods", name).modality
        for dataset in {"eeg": (EEG,), "fmri": (FMRI,), "none": (EEG,), "any": (EEG, FMRI)}[modality]:
            for parameters in ({}, *OTHER_WAYS.get(name, ())):
                yield pytest.param(
                    name, dataset, parameters, id="-".join([name, dataset.partition(":")[0], *parameters])
                )


@pytest.mark.parametrize(("name", "dataset", "parameters"), list_ways())
def test_methods_run_on_another_device(name, dataset, parameters, device, suite):
    with device:
        video = Fitted(name, dataset, suite, **parameters).reconstruct()
    assert video.dtype == np.uint8 and len(video) == 2


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
            assert np.array_equal(near, far)
        assert np.array_equal(suite.decode_latents(latents), suite.decode_latents(latents.to(FAR)))


def test_what_is_read_out_of_trained_methods(device, suite):
    with device:
        fitted = Fitted("sam_net", EEG, suite)
        method, known = fitted.method, fitted.part("validation")
        signals = method.prepare(known.brain, known.sampling_rate)
        number = int(fitted.dataset.trials["subject"][int(fitted.fold.calibration[0])])
        assert len(encode(method, signals, method.maps[number])) == len(measure_log_covariance(signals)) == len(signals)
        scalings = {one: fitted.scalings[one] for one in np.unique(known.subject).tolist()}
        truth = measure_truth(fitted.dataset, method, scalings)
        assert len(read_network(method, method.to_encoder(signals), known.channels)) == len(truth)
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
