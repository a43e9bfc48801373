"""What GLFA computes on a fold, call by call; see `bench.toolbox.work`.

Left out: the common map of the canonical form, which is solved on the host and not by torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from baselines.glfa.atlas import AtlasEncoder
from baselines.glfa.encoder import MapEncoder
from baselines.glfa.method import build_alignment, build_atlas, build_encoder, match_capacity
from baselines.glfa.parameters import Parameters
from bench.pretrained.decoders import attach_lora
from bench.pretrained.works import count_trials, encode_clips, encode_text, find_embedding, noise_clips, train, zeros
from bench.toolbox.work import Fold, Work


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding captions and clips, both trainings, and the videos of the test trials."""
    g, trials, atlas = suite.geometry, count_trials(parameters, fold), parameters.form == "atlas"
    widths = {"volumes": fold.signals[1], "embedding": find_embedding(suite)}
    widths |= {"text_tokens": g.tokens, "text": g.text_width}
    regions = dict(fold.rois) or {1: ("cortex",) * fold.signals[0]}
    if not (atlas or parameters.local_patches):
        regions = {number: ("cortex",) * len(names) for number, names in regions.items()}
    sized = match_capacity(parameters, regions, **widths) if parameters.match_base and not atlas else parameters

    def build() -> AtlasEncoder | MapEncoder:
        return build_atlas(parameters, **widths) if atlas else build_encoder(sized, regions, **widths)

    def count_sites() -> int:
        if atlas:
            return fold.signals[0]
        alignment = build_alignment(parameters)
        alignment.parts = alignment.plan(regions)
        return alignment.total_sites

    def run(encoder: Any) -> tuple[Tensor, Tensor]:
        return encoder(zeros(1, sites, fold.signals[1]), torch.ones(1, dtype=torch.int64))

    def build_both() -> nn.ModuleDict:
        lora = attach_lora(suite.video_unet, rank=parameters.lora_rank, scale=parameters.lora_scale)
        return nn.ModuleDict({"encoder": build(), "video": lora.train()})

    def join(networks: Any) -> tuple[Tensor, ...]:
        latents, times, _ = noise_clips(suite, 1)
        embedding, tokens = run(networks.encoder)
        told = tokens.repeat_interleave(g.frames, dim=0).to(networks.video.dtype)
        made = networks.video(latents.to(told), times, told).sample.float()
        if not atlas:
            return embedding, made
        return made, *(networks.encoder.align(zeros(1, sites, fold.signals[1])) for _ in range(2))

    def draw() -> None:
        suite.generate_video(run(encoder)[1], [0], steps=parameters.steps, guidance=parameters.guidance)

    sites = count_sites()
    yield encode_text(suite, fold.captions)
    if parameters.joint_epochs:
        yield encode_clips(suite, fold.clips)
    if parameters.image_weight or parameters.text_weight or parameters.token_weight:
        yield train(
            "training the encoder", build, run, epochs=parameters.train_epochs, trials=trials,
            batch_size=parameters.batch_size, at_once=1,
        )  # fmt: skip
    if parameters.joint_epochs:
        yield train(
            "training with the video model", build_both, join, epochs=parameters.joint_epochs, trials=trials,
            batch_size=parameters.joint_batch_size, at_once=1,
        )  # fmt: skip
    with torch.device("meta"):
        encoder = build()
    networks = [suite.vae, suite.video_unet, encoder]
    yield Work(phase="reconstruct", what="videos", items=fold.test, call=draw, networks=networks)
