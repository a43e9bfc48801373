"""What many methods compute on a fold, as `bench.toolbox.work` has it: encoding, steps of training, drawing.

`suite` is one of shapes (`bench.pretrained.shapes`). A method's list puts these together with what is its own. Left out
everywhere, as small beside the rest: what judges see in the training clips, the steps' own products of targets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.pretrained.roles import MissingWeights
from bench.toolbox.training import plan_steps
from bench.toolbox.work import Fold, Work


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, device="meta")


def find_embedding(suite: Any, role: str = "clip_large") -> int:
    """The width of a CLIP's embeddings, as its own configuration says; of one that is not here, the published one."""
    published = {"clip": 512, "clip_large": 768, "clip_big": 1280}
    try:
        place = suite.roles[role].locate()
        told = json.loads((place / "open_clip_config.json").read_text(encoding="utf-8"))
    except (MissingWeights, OSError):
        return published[role]
    return int(told["model_cfg"]["embed_dim"])


def count_trials(parameters: Any, fold: Fold) -> int:
    """The trials that a method learns from: those of the validation block too, where it says so."""
    return fold.train + (fold.validation if parameters.use_validation else 0)


def count_voxels(fold: Fold, leave_out: Sequence[str] = ()) -> dict[int, np.ndarray]:
    """Columns of each training subject that a method reads: those whose region is not left out."""
    dropped = {name.lower() for name in leave_out}
    kept = {one: sum(name.lower() not in dropped for name in names) for one, names in fold.rois.items()}
    return {one: np.arange(count) for one, count in kept.items()} or {1: np.arange(fold.signals[0])}


def encode_text(suite: Any, captions: int, *, kept: int | None = None) -> Work:
    """Captions into the generator's text space; `kept` of them (all) stay, in memory or in a file.

    At most so many bytes: what lies behind the longest caption, where a text encoder says nothing, is not kept.
    """
    g = suite.geometry
    return Work(
        phase="fit",
        what="captions into text embeddings",
        items=captions,
        call=lambda: suite.encode_text([""]),
        networks=[suite.text_encoder],
        host=4 * (captions if kept is None else kept) * g.tokens * g.text_width,
    )


def encode_clips(suite: Any, clips: int) -> Work:
    """Training clips into latents of the suite's geometry."""
    g = suite.geometry
    return Work(
        phase="fit",
        what="clips into latents",
        items=clips,
        call=lambda: suite.encode_video(np.zeros((1, g.frames, g.height, g.width, 3), np.uint8)),
        networks=[suite.vae],
        host=4 * clips * g.frames * g.latent_channels * g.latent_height * g.latent_width,
    )


def train(
    what: str,
    build: Callable[[], nn.Module],
    run: Callable[[Any], Any],
    *,
    epochs: float,
    trials: int,
    batch_size: int,
    at_once: int = 2,
    host: int = 0,
) -> Work:
    """The steps of `train_steps`: what `run` makes of the network that `build` gives, and the way back.

    `run` takes `at_once` trials of zeros through it, and gives tensors.
    """
    steps = plan_steps(epochs, trials, batch_size)

    def step() -> None:
        with torch.device("meta"):
            network = build()
        optimiser = torch.optim.AdamW(one for one in network.parameters() if one.requires_grad)
        made = run(network)
        sum((one.sum() for one in (made if isinstance(made, tuple) else (made,))), zeros()).backward()
        optimiser.step()

    return Work(
        phase="fit",
        what=f"{what}, {steps:,} steps of {batch_size}",
        items=steps * min(batch_size, trials),
        call=step,
        at_once=at_once,
        trained=True,
        host=host,
    )


def inflate(suite: Any) -> nn.Module:
    """Tune-A-Video's network, with what is trained of it: all in the suite's precision, as autocast computes."""
    from bench.pretrained.generators.tune_a_video import InflatedUNet

    with torch.device("meta"):
        network = InflatedUNet(suite.unet).to(suite.unet.dtype)
    for one in network.trained_parameters():
        one.requires_grad_(True)
    return network


def noise_clips(suite: Any, clips: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents (clip, c, f, y, x), times and text embeddings that a denoiser is asked with."""
    g = suite.geometry
    latents = zeros(clips, g.latent_channels, g.frames, g.latent_height, g.latent_width)
    return latents, torch.zeros(clips, dtype=torch.int64, device="meta"), zeros(clips, g.tokens, g.text_width)


def tune(suite: Any, clips: int, *, epochs: float, batch_size: int) -> Work:
    """The steps of `bench.pretrained.generators.tune_a_video.tune`."""
    return train(
        "tuning the video generator",
        lambda: inflate(suite),
        lambda network: network(*noise_clips(suite, 1)),
        epochs=epochs,
        trials=clips,
        batch_size=batch_size,
        at_once=1,
    )


def sample(
    suite: Any,
    clips: int,
    *,
    steps: int | None,
    guidance: float | None,
    share: float = 1.0,
    first: Callable[[], Any] = lambda: None,
) -> Work:
    """Videos by `bench.pretrained.generators.tune_a_video.sample`, behind what `first` computes for each."""
    from bench.pretrained.generators.pipelines import count_steps

    wanted = suite.settings["steps"] if steps is None else steps
    strength = suite.settings["guidance"] if guidance is None else guidance
    network = inflate(suite).requires_grad_(False)

    def draw() -> None:
        first()
        asked = noise_clips(suite, 1)
        for _ in range(count_steps(wanted, share) * (1 if strength == 1 else 2)):
            network(*asked)
        suite.decode_latents(asked[0].transpose(1, 2))

    return Work(phase="reconstruct", what="videos", items=clips, call=draw, networks=[suite.vae, network])
