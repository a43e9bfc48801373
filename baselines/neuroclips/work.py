"""What NeuroClips computes on a fold, call by call; see `bench.toolbox.work`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.neuroclips.networks import build_networks
from baselines.neuroclips.parameters import Parameters
from bench.pretrained.works import (
    count_trials,
    count_voxels,
    encode_clips,
    encode_text,
    find_embedding,
    train,
    zeros,
)
from bench.toolbox.work import Fold, Work

PATCHES = (256, 1664)  # tokens of a key frame and their width, of OpenCLIP's ViT-bigG-14
PAIR = 2  # trials of a step that is counted: batch normalisation needs two


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding, the steps of the three networks, and the videos of the test trials, their key frames first."""
    g, trials = suite.geometry, count_trials(parameters, fold)
    number, columns = next(iter(count_voxels(fold, parameters.leave_out).items()))
    targets, embedding = PATCHES if parameters.target == "tokens" else (1, find_embedding(suite))
    frame = (g.latent_channels, g.latent_height, g.latent_width)

    def build() -> Any:
        """Networks of one subject: a trial passes through its own subject's layers alone."""
        return build_networks(
            parameters,
            volumes=fold.signals[1],
            voxels={number: columns},
            embedding=embedding,
            latent=frame,
            targets=targets,
        )

    def read(clips: int) -> tuple[Tensor, Tensor]:
        return zeros(clips, len(columns), fold.signals[1]), torch.full((clips,), number)

    def denoise(prior: Any, tokens: Tensor) -> Tensor:
        times = torch.ones(len(tokens), dtype=torch.int64, device="meta")
        return prior(zeros(len(tokens), targets, embedding), times, tokens)

    def build_prior() -> nn.ModuleDict:
        networks = build()
        networks["semantic"].requires_grad_(False)
        return nn.ModuleDict({name: networks[name] for name in ("semantic", "prior")})

    def learn_prior(made: Any) -> Tensor:
        with torch.no_grad():
            tokens = made["semantic"](*read(PAIR))
        return denoise(made["prior"], tokens)

    def draw() -> None:
        if parameters.reads_meaning:
            tokens = networks["semantic"](*read(1))
            for _ in range(parameters.prior_samples if parameters.prior else 0):
                denoise(networks["prior"], tokens)
        latents = None
        if parameters.reads_sight:
            networks["perception"](*read(1))
            latents = zeros(1, g.frames, *frame)
        embeddings, keyframes = zeros(1, g.tokens, g.text_width), None
        if parameters.keyframe:
            grey = np.full((1, g.height, g.width, 3), 128, np.uint8)
            keyframes = suite.refine_keyframe(embeddings, grey, [0], strength=1.0, steps=parameters.keyframe_steps)
        suite.generate_video(
            embeddings, [0], latents=latents, keyframes=keyframes, start=parameters.start,
            strength=parameters.strength, steps=parameters.steps, guidance=parameters.guidance,
        )  # fmt: skip

    def plan(name: str) -> dict[str, Any]:
        epochs, size = (getattr(parameters, f"{name}_{end}") for end in ("epochs", "batch_size"))
        return {"epochs": epochs, "trials": trials, "batch_size": size}

    yield encode_text(suite, fold.captions)
    yield encode_clips(suite, fold.clips * parameters.blurry_frames // g.frames)
    with torch.device("meta"):
        networks = build().eval()
    if parameters.reads_meaning:
        yield train("the backbone", lambda: build()["semantic"], lambda one: one(*read(PAIR)), **plan("semantic"))
        if parameters.prior:
            yield train("the prior", build_prior, learn_prior, **plan("prior"))
    if parameters.reads_sight:
        yield train("perception", lambda: build()["perception"], lambda one: one(*read(PAIR)), **plan("perception"))
    beside = [suite.vae, suite.unet, suite.video_unet, networks]
    yield Work(phase="reconstruct", what="key frames and videos", items=fold.test, call=draw, networks=beside)
