"""What EEG2Video computes on a fold, call by call; see `bench.toolbox.work`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from baselines.eeg2video.features import BANDS, cut_windows
from baselines.eeg2video.method import Networks, build_networks
from baselines.eeg2video.parameters import Parameters
from bench.pretrained.works import count_trials, encode_clips, encode_text, sample, train, tune, zeros
from bench.toolbox.work import Fold, Work

PAIR = 2  # trials of a step that is counted: batch normalisation needs two


def list_work(parameters: Parameters, fold: Fold, suite: Any) -> Iterator[Work]:
    """Encoding, tuning the video model, the steps of the networks on EEG, and the videos of the test trials."""
    g, trials = suite.geometry, count_trials(parameters, fold)
    rate = min(parameters.sampling_rate, fold.sampling_rate)
    channels, samples = fold.signals[0], round(fold.signals[1] * rate / fold.sampling_rate)
    hops = {"seconds": parameters.window_seconds, "hop": parameters.hop_seconds}
    _, windows, _, length = cut_windows(np.zeros((1, channels, samples), np.float32), rate, **hops).shape

    def build() -> Networks:
        return build_networks(
            parameters,
            channels=fold.channels,
            windows=windows,
            samples=length,
            rate=rate,
            latent_shape=(g.frames, g.latent_channels, g.latent_height, g.latent_width),
            text_shape=(g.tokens, g.text_width),
        )

    shapes = {"seq2seq": (windows, channels, length)}

    def run(network: nn.Module, name: str, clips: int) -> Any:
        return network(zeros(clips, *shapes.get(name, (channels * len(BANDS),))))

    def decode() -> None:
        for name, network in networks.named_children():
            run(network, name, 1)

    yield encode_text(suite, fold.captions)
    yield encode_clips(suite, fold.clips)
    yield tune(suite, fold.clips, epochs=parameters.tuning_epochs, batch_size=parameters.tuning_batch_size)
    with torch.device("meta"):
        networks = build().eval()
    for name, _ in networks.named_children():
        yield train(
            f"the {name} network",
            lambda name=name: getattr(build(), name),  # type: ignore[misc]
            lambda network, name=name: run(network, name, PAIR),  # type: ignore[misc]
            epochs=getattr(parameters, f"{name}_epochs"),
            trials=trials,
            batch_size=parameters.batch_size,
            at_once=PAIR,
            host=4 * trials * channels * samples if name == "seq2seq" else 0,
        )
    share = parameters.strength if parameters.seq2seq and parameters.start == "renoised" else 1.0
    guidance: dict[str, Any] = {"steps": parameters.steps, "guidance": parameters.guidance}
    yield sample(suite, fold.test, **guidance, share=share, first=decode)
