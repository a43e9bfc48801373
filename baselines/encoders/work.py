"""What the encoders that are trained by steps compute on a fold, call by call; see `bench.toolbox.work`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from baselines import encoders
from baselines.encoders.fmri import SharedEncoder, SharedSpace
from bench.pretrained.works import count_trials, count_voxels, encode_text, train, zeros
from bench.toolbox.read_outs import RANK
from bench.toolbox.voxels import FlatLayers
from bench.toolbox.work import Fold, Work


def list_work(parameters: Any, fold: Fold, suite: Any, *, kind: str) -> Iterator[Work]:
    """Encoding captions, the steps of the encoder of this class, and the videos of the test trials."""
    trials, made = count_trials(parameters, fold), getattr(encoders, kind)
    encoder = object.__new__(made)  # what it builds rests on its parameters alone
    encoder.parameters = parameters
    coordinates = min(RANK, fold.captions - 1)
    fmri = issubclass(made, SharedEncoder)
    rate = fold.sampling_rate if fmri else min(parameters.sampling_rate, fold.sampling_rate)
    samples = round(fold.signals[1] * rate / fold.sampling_rate)
    channels = fold.signals[0] if fmri else parameters.components or fold.signals[0]
    number, columns = next(iter(count_voxels(fold).items()))
    batch = min(parameters.batch_size, trials)

    def build() -> nn.Module:
        if not fmri:
            with torch.device("cpu"):  # some look at their own numbers as they are built, and all are small
                network = encoder.build(n_chans=channels, n_outputs=coordinates, n_times=samples, sfreq=rate)
            return network.to("meta")

        def make(inputs: int) -> nn.Module:
            return nn.Sequential(nn.Dropout(parameters.dropout), nn.Linear(inputs, parameters.width))

        layers = FlatLayers(make, volumes=samples, shape=(parameters.width,))
        layers.put(number, layers.add_subject(number, columns))
        return SharedSpace(layers, encoder.build_head(parameters.width, coordinates))

    def run(network: nn.Module, clips: int) -> Tensor:
        signals = zeros(clips, channels, samples)
        return network(signals, torch.full((clips,), number)) if fmri else network(signals)

    def draw() -> None:
        g = suite.geometry
        run(network, 1)
        asked = {"steps": parameters.steps, "guidance": parameters.guidance}
        suite.generate_video(zeros(1, g.tokens, g.text_width), [0], **asked)

    yield encode_text(suite, 2 * fold.captions, kept=fold.captions)  # to learn coordinates, and to place them
    yield train(
        f"the {made.name} network",
        build,
        lambda network: run(network, batch),
        epochs=parameters.epochs,
        trials=trials,
        batch_size=parameters.batch_size,
        at_once=batch,  # some put their own weights together at each step, whatever its batch
        host=0 if fmri else 4 * trials * channels * samples,
    )
    with torch.device("meta"):
        network = build().eval()
    networks = [suite.vae, suite.video_unet]
    yield Work(phase="reconstruct", what="videos", items=fold.test, call=draw, networks=networks)
