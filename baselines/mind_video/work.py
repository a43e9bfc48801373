"""What MinD-Video computes on a fold, call by call; see `bench.toolbox.work`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from baselines.mind_video.encoder import FmriEncoder
from baselines.mind_video.masking import MaskedDecoder
from baselines.mind_video.method import build_encoder
from baselines.mind_video.parameters import Parameters
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
    tune,
    zeros,
)
from bench.toolbox.work import Fold, Work


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding, the three stages with the tuning between them, and the videos of the test trials."""
    g, trials = suite.geometry, count_trials(parameters, fold)
    volumes = min(parameters.window or fold.signals[1], fold.signals[1])
    number, columns = next(iter(count_voxels(fold, parameters.leave_out).items()))

    def build() -> FmriEncoder:
        """An encoder of one subject: a trial passes through its own subject's layers alone."""
        return build_encoder(
            parameters,
            volumes=volumes,
            voxels={number: columns},
            embedding=find_embedding(suite),
            mean_text=torch.zeros(g.tokens, g.text_width),
        )

    def build_masked() -> nn.ModuleDict:
        encoder = build()
        decoder = MaskedDecoder(encoder, width=parameters.mask_width, heads=parameters.heads)
        return nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def build_both() -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": build(), "generator": inflate(suite)})

    def read(clips: int) -> tuple[Tensor, Tensor]:
        return zeros(clips, len(columns), volumes), torch.full((clips,), number)

    def mask(networks: Any) -> Tensor:
        layers = networks.encoder.find(number)
        kept = max(1, round((1 - parameters.mask_ratio) * layers.count))
        embedded = layers.embed(layers.cut(read(1)[0]))
        seen = networks.encoder.run(embedded[:, :, :kept])
        return networks.decoder(number, seen, torch.zeros(1, kept, dtype=torch.int64, device="meta"))

    def align(encoder: FmriEncoder) -> tuple[Tensor, ...]:
        tokens = encoder.encode(*read(1))
        return (*encoder.read_clip(tokens), encoder.read_caption(tokens))

    def co_train(networks: Any) -> Tensor:
        latents, times, _ = noise_clips(suite, 1)
        return networks.generator(latents, times, networks.encoder(*read(1)))

    batch: dict[str, Any] = {"trials": trials, "batch_size": parameters.batch_size, "at_once": 1}
    yield encode_text(suite, fold.captions)
    yield encode_clips(suite, fold.clips)
    if parameters.masked_epochs:
        yield train("masked brain modelling", build_masked, mask, epochs=parameters.masked_epochs, **batch)
    if parameters.contrast_weight or parameters.token_weight:
        yield train("aligning fMRI", build, align, epochs=parameters.alignment_epochs, **batch)
    yield tune(suite, fold.clips, epochs=parameters.tuning_epochs, batch_size=parameters.together_batch_size)
    if parameters.together_epochs:
        together = {**batch, "batch_size": parameters.together_batch_size}
        yield train("co-training", build_both, co_train, epochs=parameters.together_epochs, **together)
    with torch.device("meta"):
        encoder = build().eval()
    yield sample(
        suite, fold.test, steps=parameters.steps, guidance=parameters.guidance, first=lambda: encoder(*read(1))
    )
