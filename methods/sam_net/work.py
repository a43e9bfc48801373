"""What SAM-Net computes on a fold, call by call; see `bench.toolbox.work`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.toolbox.work import Fold, Work
from methods.sam_net.hrt import count_steps
from methods.sam_net.method import build_decoder, count_stride
from methods.sam_net.parameters import Parameters
from methods.sam_net.views import Views

PAIR = 2  # trials of the step that is counted: batch normalisation needs two


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding captions and clips, the steps of training, and the videos of the test trials."""
    g = suite.geometry
    frame = (g.latent_channels, g.latent_height, g.latent_width)
    trials = fold.train + (fold.validation if parameters.use_validation else 0)
    rate = min(parameters.sampling_rate, fold.sampling_rate)
    samples = round(fold.signals[1] * rate / fold.sampling_rate)
    epochs = parameters.epochs * (parameters.alone if fold.subjects == 1 else 1)
    steps = max(fold.subjects, round(epochs * trials / parameters.batch_size))

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(*shape, device="meta")

    def step() -> None:
        """Forward, backward and AdamW, as `train_decoder` does; the adversaries are small beside it."""
        with torch.device("meta"):
            decoder = build_decoder(parameters, fold.channels, samples, rate, g)
            powers = zeros(PAIR, len(parameters.power_bands), len(fold.channels), count_steps(samples, stride))
            views = Views(zeros(PAIR, len(fold.channels), samples), powers if parameters.power_bands else None)
            optimiser = torch.optim.AdamW(decoder.parameters())
            _, text, latents = decoder(views)
            (text.square().mean() + latents.square().mean()).backward()
            optimiser.step()

    def draw() -> None:
        embeddings, latents = zeros(1, g.tokens, g.text_width), zeros(1, g.frames, *frame)
        blank = np.zeros((1, g.height, g.width, 3), np.uint8)
        keyframes = None
        if parameters.use_keyframe:
            suite.decode_latents(latents[:, :1])
            keyframes = suite.refine_keyframe(
                embeddings,
                blank,
                [0],
                strength=parameters.keyframe_strength if parameters.use_latents else 1.0,
                steps=parameters.keyframe_steps,
                guidance=parameters.keyframe_guidance,
            )
        suite.generate_video(
            embeddings,
            [0],
            latents=latents if parameters.use_latents else None,
            keyframes=keyframes,
            start=parameters.start if parameters.use_latents else "noise",
            strength=parameters.strength,
            steps=parameters.steps,
            guidance=parameters.guidance,
        )

    stride = count_stride(parameters, rate)
    text, clip = g.tokens * g.text_width, g.frames * int(np.prod(frame))
    recordings = trials * len(fold.channels) * (samples + (fold.signals[1] if parameters.power_bands else 0))
    yield Work(
        phase="fit",
        what="captions into text embeddings",
        items=fold.captions,
        call=lambda: suite.encode_text([""]),
        networks=[suite.text_encoder],
        host=4 * fold.captions * text,
    )
    yield Work(
        phase="fit",
        what="clips into latents",
        items=fold.clips,
        call=lambda: suite.encode_video(np.zeros((1, g.frames, g.height, g.width, 3), np.uint8)),
        networks=[suite.vae],
        host=4 * fold.clips * clip,
    )
    yield Work(
        phase="fit",
        what=f"HRT, {steps:,} steps of {parameters.batch_size}",
        items=steps * min(parameters.batch_size, trials),
        call=step,
        at_once=PAIR,
        trained=True,
        host=4 * recordings,
    )
    networks = [suite.vae, suite.unet, suite.video_unet]
    yield Work(phase="reconstruct", what="key frames and videos", items=fold.test, call=draw, networks=networks)
