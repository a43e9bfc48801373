"""What Mind-Animator computes on a fold, call by call; see `bench.toolbox.work`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from baselines.mind_animator.decoders import MotionDecoder, bar_frames
from baselines.mind_animator.method import build_decoders
from baselines.mind_animator.parameters import Parameters
from bench.pretrained.works import (
    count_trials,
    count_voxels,
    encode_clips,
    encode_text,
    find_embedding,
    inflate,
    noise_clips,
    sample,
    train,
    zeros,
)
from bench.toolbox.work import Fold, Work


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding, the steps of each decoder, and the videos of the test trials, behind the inversion of their latents."""
    g, trials = suite.geometry, count_trials(parameters, fold)
    number, columns = next(iter(count_voxels(fold, parameters.leave_out).items()))
    frame = (g.latent_channels, g.latent_height, g.latent_width)

    def build() -> dict[str, nn.Module]:
        """Decoders of one subject: a trial passes through its own subject's layers alone."""
        return build_decoders(
            parameters,
            volumes=fold.signals[1],
            voxels={number: columns},
            embedding=find_embedding(suite, "clip"),
            mean_text=torch.zeros(g.tokens, g.text_width),
            mean_first=torch.zeros(frame),
            frames=g.frames,
        )

    def run(decoder: Any) -> Any:
        given = zeros(1, len(columns), fold.signals[1]), torch.full((1,), number)
        if not isinstance(decoder, MotionDecoder):
            return decoder(*given)
        with torch.device("cpu"):
            barred = bar_frames(g.frames - 1, parameters.barred_in_use)
        return decoder(zeros(1, g.frames - 1, *frame), *given, barred.to("meta"))

    def decode() -> None:
        for decoder in decoders.values():
            run(decoder)
        suite.encode_text([""])
        asked = noise_clips(suite, 1)
        for _ in range(steps * parameters.iterations if parameters.start == "inversion" else 0):
            generator(*asked)

    yield encode_text(suite, 2 * fold.captions)  # for the captions' places and mean, and for the targets
    yield encode_clips(suite, fold.clips)
    with torch.device("meta"):
        decoders = build()
    batches: dict[str, Any] = {"batch_size": parameters.batch_size, "trials": trials, "at_once": 1}
    for name in decoders:
        own = {**batches, "batch_size": parameters.motion_batch_size} if name == "motion" else batches
        epochs = getattr(parameters, f"{name}_epochs")
        yield train(f"the {name} decoder", lambda name=name: build()[name], run, epochs=epochs, **own)  # type: ignore[misc]
    steps = suite.settings["steps"] if parameters.steps is None else parameters.steps
    generator: Any = inflate(suite).requires_grad_(False)
    share = 1.0 if parameters.start == "inversion" else parameters.strength
    yield sample(suite, fold.test, steps=steps, guidance=parameters.guidance, share=share, first=decode)
