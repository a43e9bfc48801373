"""MinD-Video: `fit` runs the three stages, `adapt` gives a new subject its layers, `reconstruct` makes video.

The way from a trial to a video: encoder → text tokens → inflated UNet, from noise of the trial's own seed, guided away
from what the subject's mean fMRI would give. Defaults are of a size for the mini suite; `ablations.toml` has the
paper's size as the profile `paper`.

Where the descriptions leave a choice, each module says what was chosen. Here:

- "No condition" is the mean fMRI of a subject's training (or calibration) trials. The published code takes the mean of
  the split that it is run on: of the test trials in a test. Then a reconstruction would depend on the trials beside it.
- Nothing is chosen by the validation trials, so they are learned from; every stage has a fixed number of epochs.
- Repeats of a clip, and presentations to several subjects, are so many trials with the same targets.
- A new subject gets fresh layers, trained on its calibration trials by the loss of stage 2 with all else frozen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.mind_video import released
from baselines.mind_video.encoder import FmriEncoder
from baselines.mind_video.masking import MaskedDecoder, measure_masked
from baselines.mind_video.parameters import Parameters, read_parameters
from baselines.mind_video.training import Recipe, encode_in_parts, measure_alignment, train_together
from bench.core.contracts import BrainData, Modality, TrainingSet, VideoBatch
from bench.core.errors import BenchError, require_fitted
from bench.core.progress import track
from bench.pretrained.generators.pipelines import draw_noise
from bench.pretrained.generators.tune_a_video import InflatedUNet, encode_clips, load_scheduler, sample, tune
from bench.toolbox.joined import join_sets
from bench.toolbox.parameters import take_fields
from bench.toolbox.read_outs import learn_captions, read_out
from bench.toolbox.read_signals import Reader, read_trials
from bench.toolbox.released import load_released, require_one_subject
from bench.toolbox.resize import fit_clips
from bench.toolbox.sharing import copy_sharing
from bench.toolbox.sizes import STABLE_DIFFUSION, PaperPart, count_parameters
from bench.toolbox.targets import ClipTargets, encode_targets
from bench.toolbox.training import make_generator, plan_steps, seeded, train_steps
from bench.toolbox.voxels import Voxels, choose_voxels

DECODED = 16  # trials decoded at once


class MindVideo:
    """MinD-Video as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "fmri"
    version = 3
    drawn_by = ("read_out", "steps", "guidance")  # parameters that no fit reads
    uses = ()
    asks = ("clip_large",)

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.memory: int | None = getattr(suite, "memory", None)
        self.encoder: FmriEncoder | None = None
        self.means: dict[int, Tensor] = {}  # mean signals of each subject, (column, volume)

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """The three stages."""
        parameters = self.parameters
        train = join_sets([train, validation] if parameters.use_validation else [train])
        encoder = self.align(train)
        tuned = tune(
            self.suite,
            train.video,
            train.captions,
            epochs=parameters.tuning_epochs,
            batch_size=parameters.together_batch_size,
            learning_rate=parameters.generator_learning_rate,
            seed=self.seed,
            tokens=self.captions.tokens,
        )
        self.generator: InflatedUNet = copy_sharing(tuned, own=tuned.trained_parameters())
        if parameters.together_epochs:
            with seeded(self.device, "mind_video", "dropout together", self.seed):
                self.together_losses = train_together(
                    encoder,
                    self.generator,
                    load_scheduler(self.suite),
                    self.reader(train),
                    torch.from_numpy(train.clip).to(self.device),
                    encode_clips(self.suite, train.video),
                    self.means,
                    self.recipe,
                    steps=plan_steps(parameters.together_epochs, len(train.clip), parameters.together_batch_size),
                    batch_size=parameters.together_batch_size,
                    learning_rate=parameters.together_learning_rate,
                    generator_learning_rate=parameters.generator_learning_rate,
                    batches=make_generator("mind_video", "batches together", self.seed),
                    noise=make_generator("mind_video", "diffusion noise", self.seed),
                    memory=self.memory,
                )

    def align(self, train: TrainingSet) -> FmriEncoder:
        """Stages 1 and 2."""
        parameters = self.parameters
        self.clip_shape = train.video.shape[1:]
        self.recipe = take_fields(Recipe, parameters)
        targets = encode_targets(self.suite, train, frames=parameters.alignment_frames)
        self.captions = learn_captions(targets.tokens, torch.from_numpy(train.concepts), targets.caption)
        voxels = choose_voxels(train, leave_out=parameters.leave_out, usual=Parameters.leave_out)
        with seeded(self.device, "mind_video", "encoder", self.seed):
            encoder = build_encoder(
                parameters,
                volumes=self.choose_window(train.brain.shape[2]),
                voxels=voxels,
                embedding=targets.image.shape[1],
                mean_text=targets.tokens.average(targets.caption),
            ).to(self.device)
        if parameters.weights is not None:
            number = require_one_subject(list(voxels), released.ENCODER)
            path, renames = parameters.weights.replace("{subject}", str(number)), released.list_renames(number)
            load_released(encoder, path, renames, released.ENCODER, fresh=released.FRESH)
            encoder.mean_text.zero_()
        self.encoder = encoder
        self.means.update(self.measure_means(train))
        if parameters.masked_epochs:
            read, masks = self.reader(train), make_generator("mind_video", "masks", self.seed)
            with seeded(self.device, "mind_video", "masked", self.seed):
                decoder = MaskedDecoder(encoder, width=parameters.mask_width, heads=parameters.heads).to(self.device)
                self.masked_losses = train_steps(
                    encoder,
                    lambda rows: measure_masked(
                        encoder, decoder, *read(rows), parameters.mask_ratio, masks, memory=self.memory
                    ),
                    parameters=[*encoder.parameters(), *decoder.parameters()],
                    trials=len(train.clip),
                    steps=plan_steps(parameters.masked_epochs, len(train.clip), parameters.batch_size),
                    batch_size=parameters.batch_size,
                    learning_rate=parameters.learning_rate,
                    weight_decay=parameters.weight_decay,
                    batches=make_generator("mind_video", "masked batches", self.seed),
                    phase="masked brain modelling",
                    memory=self.memory,
                )
        self.alignment_losses = self.train_stage2(train, targets, None)
        return encoder

    def train_stage2(self, data: TrainingSet, targets: ClipTargets, number: int | None) -> list[float]:
        """Stage 2 for all of the encoder, or for the layers of one new subject on its trials."""
        parameters, encoder = self.parameters, self.trained()
        if parameters.contrast_weight == 0 and parameters.token_weight == 0:  # of the paper's stages none is this one
            if number is None:
                return []
            raise BenchError(
                "contrast_weight and token_weight are both 0: a new subject's layers have nothing to learn from; leave "
                "one on, or take another split than new_subject"
            )
        trials = np.arange(len(data.clip)) if number is None else np.flatnonzero(data.subject == number)
        trained = encoder if number is None else encoder.find(number)
        whose = "all" if number is None else f"subject {number}"
        epochs = parameters.alignment_epochs if number is None else parameters.calibration_epochs
        read, clip = self.reader(data, trials), torch.from_numpy(data.clip[trials]).to(self.device)
        spread = targets.tokens.measure_spread(targets.caption, encoder.mean_text).clamp_min(1e-8).to(self.device)

        def measure(rows: np.ndarray) -> Float[Tensor, ""]:
            tokens = encode_in_parts(encoder, *read(rows), memory=self.memory)
            return measure_alignment(encoder, tokens, clip[rows], targets, spread, self.recipe)

        with seeded(self.device, "mind_video", f"dropout {whose}", self.seed):
            return train_steps(
                encoder,
                measure,
                parameters=list(trained.parameters()),
                trials=len(trials),
                steps=plan_steps(epochs, len(trials), parameters.batch_size),
                batch_size=parameters.batch_size,
                learning_rate=parameters.learning_rate if number is None else parameters.calibration_learning_rate,
                weight_decay=parameters.weight_decay,
                batches=make_generator("mind_video", f"batches {whose}", self.seed),
                phase="aligning fMRI" if number is None else f"adapting to subject {number}",
                memory=self.memory,
            )

    def adapt(self, calibration: TrainingSet) -> None:
        """Fresh layers for every subject here, from its own trials; everything else stays."""
        encoder = self.trained()
        targets = encode_targets(self.suite, calibration, frames=self.parameters.alignment_frames)
        encoder.requires_grad_(False)
        self.means.update(self.measure_means(calibration))
        for number, columns in choose_voxels(
            calibration, leave_out=self.parameters.leave_out, usual=Parameters.leave_out
        ).items():
            with seeded(self.device, "mind_video", f"layers of subject {number}", self.seed):
                encoder.add_subject(number, torch.from_numpy(columns))
            self.train_stage2(calibration, targets, number)

    @torch.inference_mode()
    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """From fMRI to video, in the size of the training clips."""
        encoder, parameters, g = self.trained(), self.parameters, self.suite.geometry
        read, shape = self.reader(brain), (g.latent_channels, g.frames, g.latent_height, g.latent_width)
        made = np.zeros((len(brain.subject), *self.clip_shape), np.uint8)
        for number in np.unique(brain.subject).tolist():
            trials = np.flatnonzero(brain.subject == number)
            mean = self.means.get(number)
            empty = None if mean is None else encoder(mean[None], torch.tensor([number]).to(self.device))
            for start in track(range(0, len(trials), DECODED), f"making videos of subject {number}"):
                rows = trials[start : start + DECODED]
                video = sample(
                    self.suite,
                    self.generator,
                    read_out(encoder(*read(rows)), self.captions, parameters.read_out),
                    draw_noise(brain.seed[rows].tolist(), shape),
                    steps=parameters.steps,
                    guidance=parameters.guidance,
                    negative=empty,
                )
                made[rows] = fit_clips(video, self.clip_shape)
        return made

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through: the encoder but for what is compared with CLIP
        alone, and what of the generator was tuned."""
        encoder = self.trained()
        unused = [encoder.to_image] if encoder.from_caption is not None else [encoder.to_image, encoder.to_caption]
        heads = sum(one.numel() for head in unused for one in head.parameters())
        tuned = count_parameters(self.generator.trained_parameters())
        return count_parameters(encoder) - heads + tuned

    def trained(self) -> FmriEncoder:
        return require_fitted(self.encoder, "mind_video")

    def choose_window(self, volumes: int) -> int:
        return min(self.parameters.window or volumes, volumes)

    def reader(self, data: TrainingSet | BrainData, trials: np.ndarray | None = None) -> Reader:
        """Reads the window of trials by their place among `trials`."""
        return read_trials(data, self.device, trials, volumes=self.parameters.window or None)

    def measure_means(self, data: TrainingSet) -> dict[int, Float[Tensor, "column volume"]]:
        """The mean signals of each subject's trials."""
        means, read = {}, read_trials(data, torch.device("cpu"), volumes=self.parameters.window or None)
        for number in np.unique(data.subject).tolist():
            trials = np.flatnonzero(data.subject == number)
            parts = [read(trials[at : at + 256])[0].sum(dim=0) for at in range(0, len(trials), 256)]
            means[int(number)] = (torch.stack(parts).sum(dim=0) / len(trials)).to(self.device)
        return means


def build_encoder(
    parameters: Parameters,
    *,
    volumes: int,
    voxels: Voxels,
    embedding: int,
    mean_text: Float[Tensor, "token D"],
) -> FmriEncoder:
    """The untrained encoder for subjects with voxels in those columns."""
    encoder = FmriEncoder(
        volumes=volumes,
        patch=parameters.patch,
        width=parameters.width,
        layers=parameters.layers,
        heads=parameters.heads,
        feedforward=parameters.feedforward,
        dropout=parameters.dropout,
        own_patches=parameters.own_patches,
        temporal=parameters.temporal,
        caption_path=parameters.token_weight > 0,
        embedding=embedding,
        mean_text=mean_text,
    )
    for number, columns in voxels.items():
        encoder.add_subject(number, torch.as_tensor(columns))
    return encoder


def list_paper_parts(parameters: Parameters, *, voxels: int = 6016, volumes: int = 2) -> list[PaperPart]:
    """The parts for one subject of so many voxels (cc2017's first, as published) in a window of so many volumes.

    Text is Stable Diffusion 1.5's, the embedding is CLIP L/14's.
    """
    from diffusers import UNet2DConditionModel

    encoder = build_encoder(
        parameters,
        volumes=volumes,
        voxels={1: np.arange(voxels)},
        embedding=768,
        mean_text=torch.zeros(77, 768),
    )
    generator = InflatedUNet(UNet2DConditionModel(**STABLE_DIFFUSION))
    own, head = encoder.subjects, nn.ModuleList([encoder.to_text])
    mapping = [one for name, one in own.named_parameters() if name.endswith("to_tokens")]
    patches = [one for name, one in own.named_parameters() if not name.endswith("to_tokens")]
    return [
        ("encoder: patch embedding", patches, "17,408 released"),
        ("encoder: blocks", encoder.layers, "403,120,128 released"),
        ("encoder: norm", encoder.norm, "2,048 released"),
        ("encoder: map to tokens and text head", [*mapping, *head.parameters()], "1,434,160 released"),
        ("heads beside CLIP", nn.ModuleList([encoder.to_image, encoder.to_caption]), "not released"),
        ("generator, tuned", generator.trained_parameters(), "attention heads"),
        ("generator, all", generator, "Stable Diffusion 1.5, inflated"),
    ]
