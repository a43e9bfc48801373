"""What CineSync computes on a fold, call by call; see `bench.toolbox.work`."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.cinesync.encoders import BrainEncoder, ChannelLayer, VoxelLayer
from baselines.cinesync.method import ADDED, NOT_VISUAL, SLOWEST_EEG, build_encoder
from baselines.cinesync.parameters import Parameters
from bench.pretrained.decoders import WanDecoder
from bench.pretrained.works import count_trials, count_voxels, find_embedding, train, zeros
from bench.toolbox.work import Fold, Work


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding captions and clips, both stages, and the videos of the test trials."""
    trials, fmri = count_trials(parameters, fold), fold.sampling_rate < SLOWEST_EEG
    tokens, text = suite.settings["wan_tokens"], suite.wan.config.text_dim
    added = ADDED[parameters.regions]
    voxels = count_voxels(fold, [name for name in NOT_VISUAL if name != added])
    number, columns = next(iter(voxels.items()))
    with torch.device("meta"):
        decoder = WanDecoder(
            suite,
            clip_shape=fold.video,
            rank=parameters.lora_rank,
            scale=parameters.lora_scale,
            shift=parameters.flow_shift,
            steps=parameters.steps,
            guidance=parameters.guidance,
            checkpointing=parameters.checkpointing,
        )
    blank = np.zeros((1, *decoder.shape, 3), np.uint8)
    with torch.no_grad():
        latent_shape = decoder.encode_video(blank).shape

    def build() -> BrainEncoder:
        """An encoder of one subject: a trial passes through its own subject's layer alone."""
        sizes = {"tokens": tokens, "embedding": find_embedding(suite), "text": text}
        encoder = build_encoder(parameters, fmri=fmri, signals=fold.signals, **sizes)
        layer: VoxelLayer | ChannelLayer = ChannelLayer(fold.signals[0])
        if fmri:
            layer = VoxelLayer(torch.from_numpy(columns), tokens=tokens, channels=parameters.channels)
        encoder.add_subject(number, layer)
        return encoder

    def run(encoder: Any) -> tuple[Tensor, Tensor]:
        return encoder(zeros(1, *fold.signals), torch.full((1,), number))

    def build_both() -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": build(), "video": decoder.network.train()})

    def join(networks: Any) -> tuple[Tensor, ...]:
        embedding, made = run(networks.encoder)
        return embedding, decoder.measure_loss(zeros(*latent_shape), made, torch.Generator().manual_seed(0))

    yield Work(
        phase="fit",
        what="captions into tokens",
        items=fold.captions,
        call=lambda: decoder.encode_text([""]),
        networks=[suite._wan_text_encoder],
        host=4 * fold.captions * tokens * text,  # at most: in a file, and cut behind the longest caption
    )
    yield Work(
        phase="fit",
        what=f"clips into latents at {'×'.join(map(str, decoder.shape))}",
        items=fold.clips if parameters.joint_epochs else 0,
        call=lambda: decoder.encode_video(blank),
        networks=[suite.wan_vae],
        host=2 * fold.clips * prod(latent_shape),
    )
    if parameters.image_weight or parameters.text_weight or parameters.token_weight:
        yield train(
            "stage 1", build, run, epochs=parameters.align_epochs, trials=trials, batch_size=parameters.batch_size,
            at_once=1,
        )  # fmt: skip
    if parameters.joint_epochs:
        yield train(
            "stage 2", build_both, join, epochs=parameters.joint_epochs, trials=trials,
            batch_size=parameters.joint_batch_size, at_once=1,
        )  # fmt: skip
    with torch.device("meta"):
        encoder = build().eval()
    yield Work(
        phase="reconstruct",
        what="videos",
        items=fold.test,
        call=lambda: decoder.generate(run(encoder)[1], [0]),
        networks=[decoder.network, suite.wan_vae, encoder],
    )
