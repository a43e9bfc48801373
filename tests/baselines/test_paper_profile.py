"""What `fit` builds in the profile `paper`, counted on the meta device: released counts, or what the papers state.

Each fit is run up to where its networks are built, on data of the papers' own sizes; encoders of clips and captions
give what is as large as theirs. EEG2Video, GLFA and NeuroClips go through the whole of their fit in tests of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import baselines.cinesync.method as cinesync
import baselines.dynamind.method as dynamind
import baselines.mind_animator.method as mind_animator
import baselines.mind_video.method as mind_video
import methods.cine_neuron.method as cine_neuron
import methods.sam_net.method as sam_net
from bench.core.contracts import TrainingSet
from bench.core.registry import resolve
from bench.core.variants import find_profile
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.sizes import count_parameters

GEOMETRY = SimpleNamespace(height=288, width=512, frames=6, fps=3, latent_channels=4, latent_height=36, latent_width=64,
                           tokens=77, text_width=768)  # fmt: skip


def empty(*shape: Any) -> torch.Tensor:
    return torch.zeros(*shape, device="meta")


class Built(Exception):
    """The networks are there, and the rest of the fit is none of this test's affair."""


class Suite:
    """What encoders of the papers' sizes give, empty."""

    name, device, geometry = "empty", "meta", GEOMETRY
    settings: dict[str, Any] = {"steps": 2, "guidance": 1.0}  # noqa: RUF012
    judges = SimpleNamespace(embed_captions=lambda view, captions: np.zeros((len(captions), 512), np.float32))

    def encode_text(self, captions: Sequence[str]) -> torch.Tensor:
        return empty(len(captions), 77, 768)

    def encode_video(self, video: np.ndarray) -> torch.Tensor:
        return empty(*video.shape[:2], 4, 36, 64)

    def embed_images(self, frames: np.ndarray) -> np.ndarray:
        return np.zeros((len(frames), 768), np.float32)


def record(shape: tuple[int, int], rate: float, *, region: str | None = None) -> TrainingSet:
    """Four trials of one subject; every voxel is of one region."""
    return TrainingSet(
        brain=np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32),
        subject=np.ones(4, int),
        clip=np.arange(4),
        video=np.zeros((4, 6, 16, 16, 3), np.uint8),
        captions=("a", "b", "c", "d"),
        concepts=np.arange(4),
        channels=CHANNELS if region is None else tuple(f"v{one}" for one in range(shape[0])),
        sampling_rate=rate,
        rois={} if region is None else {1: (region,) * shape[0]},
    )


def build(method: str, module: Any, builder: str, data: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the builder gives where `fit` calls it."""
    made: list[Any] = []

    def watch(*given: Any, **options: Any) -> Any:
        with torch.device("meta"):
            made.append(original(*given, **options))
        raise Built

    original = getattr(module, builder)
    monkeypatch.setattr(module, builder, watch)
    with pytest.raises(Built):
        resolve("methods", method)(suite=Suite(), **find_profile(method, "paper")).fit(data, data)
    return made[0]


def give(**shapes: tuple[int, ...]) -> Any:
    """Targets of these shapes, empty."""
    return lambda *given, **options: SimpleNamespace(**{name: empty(shape) for name, shape in shapes.items()})


def test_sam_net_reads_the_recorded_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    made = build("sam_net", sam_net, "build_decoder", record((62, 400), 200.0), monkeypatch)
    assert made.parameter_count == 629_905  # the paper states none; of its page
    assert made.text.mean.numel() == 77 * 768 and made.latents.mean.numel() == 6 * 4 * 36 * 64


def test_cine_neuron_has_24_layers_of_2048_and_512_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(cine_neuron, "build_decoder", lambda own, suite, shape: asked.setdefault("shape", shape))
    targets = give(text=(4, 768), action=(4, 768), labels=(4, 20))()
    targets.classes = None
    monkeypatch.setattr(cine_neuron, "encode_targets", lambda *given, **options: targets)
    monkeypatch.setattr(cine_neuron, "learn_spaces", lambda *given: SimpleNamespace(place=lambda one: one))
    monkeypatch.setattr(cine_neuron, "encode_captions", lambda *given: empty(4, 226, 4096))
    made = build("cine_neuron", cine_neuron, "build_networks", record((8405, 5), 1.25, region="V1"), monkeypatch)
    assert len(made.brain.layers) == 24
    first = count_parameters(made.brain.inputs)
    assert first == 8406 * 512 * 8
    assert count_parameters(made.brain) - first == 1_227_039_489  # 24 × (12 × 2048² + 13 × 2048) and what is around
    assert asked["shape"] == (57, 624, 624)  # the clips above are square


def test_dynamind_is_its_released_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamind, "encode_clips", lambda suite, video, *rest: empty(len(video), 6, 4, 36, 64))
    monkeypatch.setattr(dynamind.DynaMind, "see_images", lambda self, data: empty(len(data.video), 768))
    monkeypatch.setattr(dynamind.DynaMind, "prepare", lambda self, brain, rate: empty(brain.shape))
    made = build("dynamind", dynamind, "build_networks", record((62, 400), 200.0), monkeypatch)
    assert count_parameters(made.mapper.stacks) == 508_800 and count_parameters(made.mapper.common) == 1_836_800
    assert count_parameters(made.mapper.image) == 592_128 and count_parameters(made.aligner) == 15_208_048


def test_mind_animator_is_its_released_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Suite, "device", "cpu")  # the mean first frame is brought there
    clips = torch.zeros(4, 8, 4, 64, 64)  # 8 frames of 512 × 512
    monkeypatch.setattr(mind_animator, "encode_clips", lambda suite, video, *rest: clips)
    made = build("mind_animator", mind_animator, "build_decoders", record((4500, 1), 0.5, region="V1"), monkeypatch)
    counts = {name: count_parameters(part) for name, part in made.items()}
    assert counts == {"semantic": 72_336_641, "structure": 23_503_872, "motion": 335_758_336}


def test_mind_video_is_its_released_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = give(image=(4, 768))()
    targets.tokens, targets.caption = CaptionTokens(empty(4, 77, 768), 77), torch.arange(4)
    monkeypatch.setattr(mind_video, "encode_targets", lambda *given, **options: targets)
    monkeypatch.setattr(mind_video, "learn_captions", lambda *given: None)
    made = build("mind_video", mind_video, "build_encoder", record((6016, 2), 0.5, region="V1"), monkeypatch)
    beside = count_parameters(made.to_image) + count_parameters(made.to_caption)
    assert count_parameters(made) - beside == 404_575_793 - 2 * 1024 - 1  # class token, mask token and temperature


def test_cinesync_is_its_released_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cinesync, "WanDecoder", lambda suite, **options: None)
    monkeypatch.setattr(cinesync, "encode_targets", give(tokens=(4, 226, 4096), text=(4, 1152)))
    for data, released in (
        (record((8405, 5), 1.25, region="V1"), 611_335_296),
        (record((64, 4000), 1000.0), 611_980_416),
    ):
        with monkeypatch.context() as patch:
            made = build("cinesync", cinesync, "build_encoder", data, patch)
        shared = [one for name, one in made.named_parameters() if not name.startswith("head.")]
        assert count_parameters(shared) == released
