"""Kupershmidt et al., "A Penny for Your (visual) Thoughts" (2022), as a small baseline.

A decoder from fMRI to frames and an encoder from frames to fMRI, in two steps:

1. the encoder learns from recordings: squared error and cosine of the voxels;
2. the decoder learns from recordings (fMRI → frames) and, the encoder frozen, from video that nobody recorded
   (frames → encoder → fMRI → frames): the paper's self-supervision by cycle consistency.

Both of the decoder's losses are L1 of the pixels + L1 of their changes in time + a perceptual distance. What is known
here of the paper is its idea; sizes, weights and features are ours (README). Choices:

- The encoder's voxels are without noise, a recording's are not. `cycle_noise` adds noise of each voxel's own residual
  deviation, so that the decoder does not learn to trust what it will not be given.
- A decoder is deterministic: seeds of trials change nothing.
- A new subject gets a fresh readout in the encoder and a fresh layer in the decoder from its calibration trials, by the
  same two steps, the rest frozen. The cycle runs on the known clips too: they are video, whoever saw them.
- Validation trials are not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.kupershmidt.clips import Footage, cut_windows, encode_footage, read_pixels
from baselines.kupershmidt.networks import FrameDecoder, VoxelEncoder, perceptual_distance
from baselines.kupershmidt.parameters import Parameters, read_parameters
from bench.core.contracts import BrainData, Modality, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.core.progress import track
from bench.core.seeds import derive_seed
from bench.toolbox.read_signals import Reader, read_trials
from bench.toolbox.resize import make_videos
from bench.toolbox.sizes import PaperPart, count_parameters
from bench.toolbox.training import Optimiser, make_generator, seeded, walk_batches
from bench.toolbox.voxels import Voxels, choose_voxels

DECODED = 64  # trials decoded at once


class Kupershmidt:
    """The decoder and its training as the harness runs them. Raises BenchError for unknown parameters or values."""

    modality: Modality = "fmri"
    version = 1
    asks = ("clip_large",)  # the judge whose embeddings the encoder reads: it keys the predictions

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.decoder: FrameDecoder | None = None
        self.noise: dict[int, Float[Tensor, "voxel time"]] = {}  # residual deviations of the encoder

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """The encoder, then the decoder."""
        parameters = self.parameters
        self.clip_shape = train.video.shape[1:]
        self.footage, self.standard = encode_footage(self.suite, train, side=parameters.side)
        self.voxels: dict[int, Int64[np.ndarray, " voxel"]] = choose_voxels(
            train, leave_out=parameters.leave_out, usual=Parameters.leave_out
        )
        with seeded(self.device, "kupershmidt", "networks", self.seed):
            self.encoder, self.decoder = build_networks(
                parameters,
                volumes=train.brain.shape[2],
                frames=self.clip_shape[0],
                features=self.footage.features.shape[3],
                voxels=self.voxels,
            )
            self.encoder.to(self.device)
            self.decoder.to(self.device)
        clip = torch.from_numpy(train.clip)
        with seeded(self.device, "kupershmidt", "dropout", self.seed):
            self.learn(read_trials(train, self.device), clip, self.footage, list(self.voxels))

    def adapt(self, calibration: TrainingSet) -> None:
        """A readout and a decoder layer for every subject here, from its own trials; the rest stays."""
        parameters, decoder = self.parameters, self.trained()
        footage, _ = encode_footage(self.suite, calibration, side=parameters.side, standard=self.standard)
        for number, columns in choose_voxels(
            calibration, leave_out=parameters.leave_out, usual=Parameters.leave_out
        ).items():
            trials = np.flatnonzero(calibration.subject == number)
            clip = torch.from_numpy(calibration.clip[trials])
            with seeded(self.device, "kupershmidt", f"subject {number}", self.seed):
                self.voxels[number] = columns
                self.encoder.add_subject(number, len(columns)).to(self.device)
                decoder.regress.add_subject(number, columns).to(self.device)
                self.learn(read_trials(calibration, self.device, trials), clip, footage, [number], new=number)

    def learn(
        self,
        read: Reader,
        clip: Int64[Tensor, " trial"],
        footage: Footage,
        subjects: Sequence[int],
        *,
        new: int | None = None,
    ) -> None:
        """Both steps; `new`: only that subject's layers are trained. `clip` counts in `footage`."""
        parameters, who = self.parameters, "" if new is None else f" for subject {new}"
        decoder = self.trained()
        read_out = self.encoder if new is None else self.encoder.readouts[str(new)]
        layers = decoder if new is None else decoder.regress.find(new)
        self.encoder_losses = self.train_encoder(
            read,
            clip,
            footage,
            list(read_out.parameters()),
            steps=parameters.encoder_steps if new is None else parameters.calibration_steps,
            batches=make_generator("kupershmidt", "encoder", str(new), self.seed),
            phase=f"kupershmidt: encoder{who}",
        )
        self.measure_noise(read, clip, footage)
        self.decoder_losses = self.train_decoder(
            read,
            clip,
            footage,
            subjects,
            list(layers.parameters()),
            steps=parameters.decoder_steps if new is None else parameters.calibration_steps,
            batches=make_generator("kupershmidt", "decoder", str(new), self.seed),
            rng=np.random.default_rng(derive_seed("kupershmidt", "windows", str(new), self.seed)),
            noise=make_generator("kupershmidt", "voxel noise", str(new), self.seed),
            phase=f"kupershmidt: decoder{who}",
        )

    def train_encoder(
        self,
        read: Reader,
        clip: Int64[Tensor, " trial"],
        footage: Footage,
        trained: Sequence[nn.Parameter],
        *,
        steps: int,
        batches: torch.Generator,
        phase: str,
    ) -> list[float]:
        """Step 1, in place. Returns the loss of each step."""
        parameters = self.parameters
        optimise = Optimiser([(trained, parameters.learning_rate)], steps=steps, weight_decay=parameters.weight_decay)
        self.encoder.train()
        losses = []
        for rows in track(walk_batches(len(clip), parameters.encoder_batch_size, steps, batches), phase, total=steps):
            signals, subject = read(rows)
            loss = torch.zeros((), device=self.device)
            for number in subject.unique().tolist():
                mine = (subject == number).cpu().nonzero()[:, 0]
                made = self.encoder(footage.features[0, clip[rows][mine]], number)
                true = signals[mine.to(self.device)][:, self.voxels[number]]
                error = functional.mse_loss(made, true)
                angle = 1 - functional.cosine_similarity(made.flatten(1), true.flatten(1)).mean()
                loss = loss + len(mine) / len(rows) * (error + parameters.cosine_weight * angle)
            losses.append(optimise.step(loss))
        self.encoder.eval()
        return losses

    @torch.no_grad()
    def measure_noise(self, read: Reader, clip: Int64[Tensor, " trial"], footage: Footage) -> None:
        """Root mean square of what the encoder leaves over, of each voxel and volume of each subject here."""
        squares: dict[int, Tensor] = {}
        counts: dict[int, int] = {}
        for start in range(0, len(clip), DECODED):
            rows = np.arange(start, min(start + DECODED, len(clip)))
            signals, subject = read(rows)
            for number in subject.unique().tolist():
                mine = (subject == number).cpu().nonzero()[:, 0]
                made = self.encoder(footage.features[0, clip[rows][mine]], number)
                left = signals[mine.to(self.device)][:, self.voxels[number]] - made
                squares[number] = squares.get(number, torch.zeros(())) + left.square().sum(0)
                counts[number] = counts.get(number, 0) + len(mine)
        self.noise |= {number: (total / counts[number]).sqrt() for number, total in squares.items()}

    def train_decoder(
        self,
        read: Reader,
        clip: Int64[Tensor, " trial"],
        footage: Footage,
        subjects: Sequence[int],
        trained: Sequence[nn.Parameter],
        *,
        steps: int,
        batches: torch.Generator,
        rng: np.random.Generator,
        noise: torch.Generator,
        phase: str,
    ) -> list[float]:
        """Step 2, in place. Returns the loss on recordings of each step."""
        parameters, decoder = self.parameters, self.trained()
        optimise = Optimiser([(trained, parameters.learning_rate)], steps=steps, weight_decay=parameters.weight_decay)
        decoder.train()
        losses = []
        for rows in track(walk_batches(len(clip), parameters.batch_size, steps, batches), phase, total=steps):
            signals, subject = read(rows)
            frame = int(rng.integers(self.clip_shape[0]))
            loss = self.compare(decoder(signals, subject), read_pixels(footage, clip[rows]), frame)
            losses.append(float(loss.detach()))
            if parameters.cycle_weight > 0:
                pixels, features = cut_windows(self.footage, len(rows), rng)
                imagined, subject = self.imagine(features, rng.choice(subjects, len(rows)), signals.shape[1], noise)
                loss = loss + parameters.cycle_weight * self.compare(decoder(imagined, subject), pixels, frame)
            optimise.step(loss)
        decoder.eval()
        return losses

    @torch.no_grad()
    def imagine(
        self,
        features: Float[Tensor, "window frame feature"],
        subject: Int64[np.ndarray, " window"],
        columns: int,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "window column time"], Int64[Tensor, " window"]]:
        """What each subject's voxels would say to the windows, with noise as in a recording."""
        signals = torch.zeros(len(subject), columns, self.encoder.volumes, device=self.device)
        for number in np.unique(subject).tolist():
            mine = torch.from_numpy(np.flatnonzero(subject == number)).to(self.device)
            made = self.encoder(features[mine], number)
            added = torch.randn(made.shape, generator=generator).to(made) * self.noise[number]
            place = torch.from_numpy(self.voxels[number]).to(self.device)
            signals[mine[:, None], place] = made + self.parameters.cycle_noise * added
        return signals, torch.from_numpy(subject).to(self.device)

    def compare(
        self, made: Float[Tensor, "n frame 3 side side"], true: Float[Tensor, "n frame 3 side side"], frame: int
    ) -> Float[Tensor, ""]:
        """Pixels, their changes in time, and the perceptual distance of one frame."""
        parameters = self.parameters
        loss = functional.l1_loss(made, true)
        if parameters.temporal_weight > 0 and made.shape[1] > 1:
            loss = loss + parameters.temporal_weight * functional.l1_loss(made.diff(dim=1), true.diff(dim=1))
        if parameters.perceptual_weight > 0:
            seen = perceptual_distance(
                self.suite.vae, made[:, frame], true[:, frame], depth=parameters.perceptual_depth
            )
            loss = loss + parameters.perceptual_weight * seen
        return loss

    @torch.inference_mode()
    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """The decoder's frames, in the size of the training clips."""
        decoder = self.trained()
        read = read_trials(brain, self.device)

        def make(rows: np.ndarray) -> VideoBatch:
            return decoder(*read(rows)).mul(255).round().byte().movedim(2, -1).contiguous().cpu().numpy()

        return make_videos(len(brain.brain), make, at_once=DECODED, shape=self.clip_shape)

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through: the decoder's."""
        return count_parameters(self.trained())

    def trained(self) -> FrameDecoder:
        return require_fitted(self.decoder, "kupershmidt")


def build_networks(
    parameters: Parameters, *, volumes: int, frames: int, features: int, voxels: Voxels
) -> tuple[VoxelEncoder, FrameDecoder]:
    """The untrained encoder and decoder for these subjects, `features` a frame."""
    encoder = VoxelEncoder(
        volumes=volumes, features=features, hidden=parameters.encoder_hidden, dropout=parameters.encoder_dropout
    )
    decoder = FrameDecoder(
        volumes=volumes,
        hidden=parameters.hidden,
        channels=parameters.channels,
        frames=frames,
        side=parameters.side,
        dropout=parameters.dropout,
    )
    for number, columns in voxels.items():
        encoder.add_subject(number, len(columns))
        decoder.regress.add_subject(number, columns)
    return encoder, decoder


def list_paper_parts(parameters: Parameters, *, voxels: int = 13447) -> list[PaperPart]:
    """The parts for one subject of so many voxels (cc2017's first), one volume a trial, six frames.

    Features are CLIP L/14's and Stable Diffusion's latents of 288 × 512 pixels.
    """
    features = 768 + 4 * 36 * 64
    encoder, decoder = build_networks(parameters, volumes=1, frames=6, features=features, voxels={1: np.arange(voxels)})
    return [("encoder", encoder, ""), ("decoder: input layer", decoder.regress, ""), ("decoder", decoder, "")]
