"""The papers' sizes: released counts of every role, and the whole of SAM-Net through a suite of those sizes.

Its layers and channels are few; latents, frames, tokens and the widths of text are the papers', the weights random.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_suite
import torch
from asking import hide_answers

from bench.audit.speed_device import animate, roll
from bench.cli import main
from bench.core.contracts import TrainingSet
from bench.core.variants import find_profile
from bench.datasets.seed_dv.geometry import CHANNELS
from bench.pretrained.paper_sizes import PAPER_SIZES
from bench.pretrained.shapes import build_network, load_shapes
from bench.pretrained.suite import Suite, load_suite
from bench.toolbox.sizes import count_parameters
from methods.sam_net.method import SamNet

RELEASED = {  # numbers in the published files
    "vae": 83_653_863,
    "text_encoder": 123_060_480,
    "unet": 859_520_964,
    "wan_transformer": 1_418_996_800,
    "wan_vae": 126_892_531,
    "wan_text_encoder": 5_680_910_336,
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return load_suite(random_suite.build(tmp_path_factory.mktemp("suite"), small=True, wan=False))


@pytest.mark.parametrize("role", RELEASED)
def test_a_role_at_the_papers_size_has_as_many_numbers_as_were_released(role: str) -> None:
    with torch.device("meta"):
        assert count_parameters(build_network(role)) == RELEASED[role]
    assert set(RELEASED) <= set(PAPER_SIZES)


def test_sam_net_runs_end_to_end_at_the_papers_sizes(suite: Suite) -> None:
    clips = 6
    rng = np.random.default_rng(0)
    data = TrainingSet(
        brain=rng.normal(size=(clips, 62, 400)).astype(np.float32),
        subject=np.ones(clips, np.int64),
        clip=np.arange(clips),
        video=rng.integers(0, 256, (clips, 6, 288, 512, 3), np.uint8),
        captions=("a cat runs on grass", "a dog in a meadow") * (clips // 2),
        concepts=np.arange(clips) % 2,
        channels=CHANNELS,
        sampling_rate=200.0,
    )
    small: dict[str, Any] = {"use_validation": False, "epochs": 1.0, "steps": 2, "keyframe_steps": 3}
    method = SamNet(suite=suite, **find_profile("sam_net", "paper"), **small)
    method.fit(data, data)
    assert method.parameter_count > 600_000  # at 200 Hz, with heads of 77 × 768 and of 6 × 4 × 36 × 64
    video = method.reconstruct(hide_answers(data, np.array([0])))
    assert video.shape == (1, 6, 288, 512, 3) and video.dtype == np.uint8 and video.std() > 0


def test_a_suite_s_shapes_are_those_of_its_networks(suite: Suite) -> None:
    shapes = load_shapes(str(suite.base))
    assert shapes.geometry == suite.geometry and not shapes.absent
    for name in ("vae", "text_encoder", "video_unet"):
        assert count_parameters(getattr(shapes, name)) == count_parameters(getattr(suite, name))


def test_the_bare_pipelines_do_the_work_of_the_calls_that_they_are_timed_beside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many calls of the networks, of tensors of the same shapes."""
    mini = load_suite("mini")
    for (ours, plainly), network in ((animate(mini, 2, 2), mini.video_unet), (roll(mini, 2, 2), mini.wan)):
        kind, seen = type(network), []
        forward = kind.forward  # of the class: the decoder has a copy of the network

        def note(self: Any, *given: Any, forward: Any = forward, seen: Any = seen, **options: Any) -> Any:
            seen.append(tuple((given[0] if given else options["hidden_states"]).shape))
            return forward(self, *given, **options)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "forward", note)
            ours()
            made = len(seen)
            plainly()
        assert made and seen[:made] == seen[made:]


def test_options_of_another_measurement_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["speed", "memory", "--steps", "3"]) == 1
    assert "--steps goes with `speed generate` and `speed fit`, not with `speed memory`" in capsys.readouterr().err
