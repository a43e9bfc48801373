"""What DynaMind computes on a fold, call by call; see `bench.toolbox.work`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from baselines.dynamind.networks import Networks, build_networks
from baselines.dynamind.parameters import Parameters
from bench.pretrained.works import (
    count_trials,
    encode_clips,
    encode_text,
    find_embedding,
    sample,
    train,
    tune,
    zeros,
)
from bench.toolbox.work import Fold, Work

CATEGORIES = 40  # of a fit: what hardly weighs is not asked for
PAIR = 2  # trials of a step that is counted: batch normalisation needs two


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding, the steps of mapper, prior and aligner, tuning, and the videos of the test trials."""
    g, trials = suite.geometry, count_trials(parameters, fold)
    rate = min(parameters.sampling_rate, fold.sampling_rate)
    channels, samples = fold.signals[0], round(fold.signals[1] * rate / fold.sampling_rate)

    def build() -> Networks:
        return build_networks(
            parameters,
            fold.channels,
            samples,
            tokens=(g.tokens, g.text_width),
            latent=(g.frames, g.latent_channels, g.latent_height, g.latent_width),
            image=find_embedding(suite),
            categories=CATEGORIES,
        )

    def map_trials(mapper: Any, clips: int) -> Any:
        return mapper(zeros(clips, channels, samples))

    def learn(mapper: Any) -> tuple[Tensor, ...]:
        made = map_trials(mapper, PAIR)
        said = [one for one in made if one is not None]
        return tuple(said) if mapper.category is None else (*said, mapper.category(made.common))

    def denoise(prior: Any, clips: int) -> Tensor:
        return prior(zeros(clips, *networks.code.shape), zeros(clips), given[:clips] and [one[:clips] for one in given])

    def decode() -> None:
        map_trials(networks.mapper, 1)
        for _ in range(parameters.prior_draws):
            denoise(networks.prior, 1)
        if networks.aligner is not None:
            networks.aligner(zeros(1, channels, samples))

    def part(name: str) -> Any:
        return lambda: getattr(build(), name)

    with torch.device("meta"):
        networks: Any = build().eval()
    with torch.no_grad():
        given = map_trials(networks.mapper, PAIR).conditions()
    host = 4 * trials * channels * samples
    yield encode_text(suite, fold.captions)
    yield encode_clips(suite, fold.clips)
    runs: dict[str, Any] = {
        "mapper": learn,
        "prior": lambda prior: denoise(prior, PAIR),
        "aligner": lambda aligner: aligner(zeros(PAIR, channels, samples)),
    }
    for name, run in runs.items():
        if isinstance(getattr(networks, name), nn.Module):
            yield train(
                f"the {name}",
                part(name),
                run,
                epochs=getattr(parameters, f"{name}_epochs"),
                trials=trials,
                batch_size=getattr(parameters, f"{name}_batch_size"),
                host=host if name == "mapper" else 0,
            )
    yield tune(suite, fold.clips, epochs=parameters.tuning_epochs, batch_size=parameters.tuning_batch_size)
    yield sample(suite, fold.test, steps=parameters.steps, guidance=parameters.guidance, first=decode)
