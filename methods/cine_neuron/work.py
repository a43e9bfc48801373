"""What CineNeuron computes on a fold, call by call; see `bench.toolbox.work`.

Left out, as small beside it: categories, the ridge regression of the first layer, the router's own steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.pretrained.decoders import list_lora
from bench.toolbox.resize import choose_shape
from bench.toolbox.work import Fold, Work
from methods.cine_neuron.method import build_decoder
from methods.cine_neuron.networks import Networks, build_networks
from methods.cine_neuron.parameters import Parameters

EMBEDDING = (
    768  # of CLIP L/14 and of the action encoder, and the categories of a fit: what hardly weighs is not asked for
)
CATEGORIES = 20


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding captions and clips, both stages, and the videos of the test trials."""
    trials = fold.train + (fold.validation if parameters.use_validation else 0)
    with torch.device("meta"):
        decoder = build_decoder(parameters, suite, choose_shape(parameters.output, fold.video))
    wan = parameters.decoder == "wan"
    g = None if wan else suite.geometry
    tokens, width = (suite.settings["wan_tokens"], suite.wan.config.text_dim) if g is None else (g.tokens, g.text_width)
    encoder = suite._wan_text_encoder if wan else suite.text_encoder
    vae = suite.wan_vae if wan else suite.vae
    volumes, counts = fold.signals[1], {number: len(names) for number, names in fold.rois.items()}
    voxels = {number: np.arange(count) for number, count in counts.items()} or {1: np.arange(fold.signals[0])}
    blank = np.zeros((1, *decoder.shape, 3), np.uint8)

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(*shape, device="meta")

    def build() -> Networks:
        with torch.device("meta"):
            return build_networks(
                parameters,
                volumes=volumes,
                voxels={1: next(iter(voxels.values()))},
                embedding=EMBEDDING,
                action=EMBEDDING,
                categories=CATEGORIES,
                text=width,
            )

    def understand(networks: Networks) -> tuple[Tensor, Tensor]:
        return networks.brain.understand(zeros(1, parameters.tokens, parameters.token_channels * volumes))

    def align() -> None:
        networks = build()
        optimiser = torch.optim.AdamW(networks.brain.parameters())
        networks.train()
        f_c, f_e = understand(networks)
        (f_c.sum() + f_e.sum()).backward()
        optimiser.step()

    def condition(networks: Networks) -> Tensor:
        f_c, f_e = understand(networks)
        if parameters.condition == "fmri":
            return zeros(1, tokens, width) + f_e.sum() + f_c.sum()
        if networks.fusion is None:
            return zeros(1, tokens, width)
        memories = (zeros(1, parameters.memories, EMBEDDING) for _ in range(2))
        return networks.fusion(f_e, *memories, zeros(1, tokens, width))

    def join() -> None:
        networks = build()
        optimiser = torch.optim.AdamW([*networks.parameters(), *list_lora(decoder.network)])
        networks.train()
        decoder.network.train()
        latents = zeros(*latent_shape)
        decoder.measure_loss(latents, condition(networks), torch.Generator().manual_seed(0)).backward()
        optimiser.step()

    def draw() -> None:
        decoder.generate(condition(build()), [0])

    with torch.no_grad():
        latent_shape = decoder.encode_video(blank).shape
    steps = max(1, round(parameters.joint_epochs * trials / parameters.joint_batch_size))
    yield Work(
        phase="fit",
        what="captions into tokens",
        items=fold.captions,
        call=lambda: decoder.encode_text([""]),
        networks=[encoder],
        host=4 * fold.captions * tokens * width,
    )
    yield Work(
        phase="fit",
        what=f"clips into latents at {'×'.join(map(str, decoder.shape))}",
        items=fold.clips,
        call=lambda: decoder.encode_video(blank),
        networks=[vae],
        host=2 * fold.clips * prod(latent_shape),
    )
    yield Work(
        phase="fit",
        what=f"stage 1, {parameters.stage1_steps:,} steps of {parameters.batch_size}",
        items=parameters.stage1_steps * min(parameters.batch_size, trials),
        call=align,
        trained=True,
    )
    yield Work(
        phase="fit",
        what=f"stage 2, {steps:,} steps of {parameters.joint_batch_size}",
        items=steps * min(parameters.joint_batch_size, trials),
        call=join,
        networks=[decoder.network],
        trained=True,
    )
    networks = [decoder.network, vae]
    yield Work(phase="reconstruct", what="videos", items=fold.test, call=draw, networks=networks)
