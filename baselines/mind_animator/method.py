"""Mind-Animator: `fit` trains the three decoders, `adapt` gives new subjects input layers, `reconstruct` makes video.

The way from a trial to a video: the structure decoder gives the first frame's latent, the motion decoder the latents of
the other frames, the semantic decoder the text; the inflated image network, never tuned on video, starts from the
latents and denoises them under the text. Defaults are of a size for the mini suite; `ablations.toml` has the paper's.

Where the descriptions leave a choice, each module says what was chosen. Here:

- How the image network "starts from the latents" is `start`: "inversion" follows DDIM backwards under the empty
  caption, adds noise of time `noise_time` (200 of 1,000 in the release), of the trial's own seed, and goes forwards
  under the decoded text; "renoised" adds noise and denoises the last `strength` of the steps.
- Visual regions are read. The paper takes the 4,500 voxels whose repeats agree best, most of them visual.
- Without semantics (`semantic=False`) the text is the empty caption's; without structure the first frame is the
  training clips' mean; without motion every frame is the first.
- Nothing is chosen by the validation trials, so they are learned from. Repeats of a clip, and other subjects' trials,
  are so many trials with the same targets; the paper averages the repeats.
- New subjects: a fresh input layer in each decoder, trained on the calibration trials, all else frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from baselines.mind_animator import released
from baselines.mind_animator.decoders import MotionDecoder, SemanticDecoder, StructureDecoder, add_inputs
from baselines.mind_animator.losses import (
    Loss,
    measure_motion,
    measure_semantics,
    measure_structure,
)
from baselines.mind_animator.parameters import Parameters, read_parameters
from bench.core.contracts import BrainData, Modality, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.pretrained.generators.pipelines import draw_noise, start_latents
from bench.pretrained.generators.tune_a_video import InflatedUNet, encode_clips, inflate, invert, load_scheduler, sample
from bench.toolbox.budget import release
from bench.toolbox.joined import join_sets
from bench.toolbox.read_outs import learn_captions, read_out
from bench.toolbox.read_signals import read_trials
from bench.toolbox.released import load_released, require_one_subject
from bench.toolbox.resize import make_videos
from bench.toolbox.sizes import PaperPart, count_parameters
from bench.toolbox.targets import encode_captions, encode_targets, number_captions
from bench.toolbox.training import make_generator, plan_steps, seeded, train_steps
from bench.toolbox.voxels import FlatLayers, Voxels, choose_voxels

DECODED = 16  # trials decoded at once


@dataclass(frozen=True)
class Part:
    """A decoder, how it is trained, and for how long."""

    decoder: nn.Module
    inputs: FlatLayers
    measure: Loss
    epochs: float
    batch_size: int
    learning_rate: float


class MindAnimator:
    """Mind-Animator as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "fmri"
    version = 3
    drawn_by = ("read_out", "steps", "guidance")  # parameters that no fit reads
    uses = ()
    asks = ("clip",)

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.decoders: dict[str, nn.Module] = {}  # by name: those that the variant has
        self.losses: dict[str, list[float]] = {}
        self.generator: InflatedUNet | None = None

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Trains the decoders that the variant has, each on its own."""
        train = join_sets([train, validation] if self.parameters.use_validation else [train])
        self.clip_shape = train.video.shape[1:]
        latents = encode_clips(self.suite, train.video)
        self.mean_first = latents[:, 0].mean(dim=0).to(self.device)
        with torch.no_grad():
            text, caption = encode_captions(self.suite, train.captions), number_captions(train.captions)[1]
            mean_text = text.average(torch.arange(len(text)))
        embedding = self.suite.judges.embed_captions("clip", [train.captions[0]]).shape[1]
        voxels = choose_voxels(train, leave_out=self.parameters.leave_out, usual=Parameters.leave_out)
        with seeded(self.device, "mind_animator", "decoders", self.seed):
            self.decoders = build_decoders(
                self.parameters,
                volumes=train.brain.shape[2],
                voxels=voxels,
                embedding=embedding,
                mean_text=mean_text,
                mean_first=self.mean_first.cpu(),
                frames=latents.shape[1],
            )
        for name, weights in self.parameters.weights.items():
            start_from(weights, name, self.decoders[name], list(voxels))
        if isinstance(semantic := self.decoders.get("semantic"), SemanticDecoder):
            self.captions = learn_captions(text.cut(1 + semantic.tokens), torch.from_numpy(train.concepts), caption)
        parts = self.list_parts(train, latents)
        release(self.suite, "judges", "text_encoder")
        for name, part in parts.items():
            self.losses[name] = self.train_part(name, part, train, None)
        self.generator = inflate(self.suite.unet)

    def list_parts(self, data: TrainingSet, latents: Float[Tensor, "clip frame c y x"]) -> dict[str, Part]:
        """The decoders with what they learn from these clips."""
        parameters, parts = self.parameters, {}
        for name, decoder in self.decoders.items():
            decoder.to(self.device)
            if isinstance(decoder, SemanticDecoder):
                part = Part(
                    decoder,
                    decoder.inputs,
                    self.semantic_loss(decoder, data),
                    parameters.semantic_epochs,
                    parameters.batch_size,
                    parameters.learning_rate,
                )
            elif isinstance(decoder, StructureDecoder):
                loss = self.structure_loss(decoder, latents)
                part = Part(
                    decoder,
                    decoder.inputs,
                    loss,
                    parameters.structure_epochs,
                    parameters.batch_size,
                    parameters.learning_rate,
                )
            else:
                assert isinstance(decoder, MotionDecoder)
                loss = self.motion_loss(decoder, latents)
                part = Part(
                    decoder,
                    decoder.inputs,
                    loss,
                    parameters.motion_epochs,
                    parameters.motion_batch_size,
                    parameters.motion_learning_rate,
                )
            parts[name] = part
        return parts

    def semantic_loss(self, decoder: SemanticDecoder, data: TrainingSet) -> Loss:
        parameters = self.parameters
        targets = encode_targets(self.suite, data, frames=parameters.alignment_frames, clip="clip")
        targets = replace(targets, tokens=targets.tokens.cut(len(decoder.mean)))
        spread = targets.tokens.measure_spread(targets.caption, decoder.mean).clamp_min(1e-8).to(self.device)

        def measure(signals: Tensor, subject: Tensor, clip: Tensor) -> Tensor:
            return measure_semantics(
                decoder,
                signals,
                subject,
                clip,
                targets,
                spread,
                contrast_weight=parameters.contrast_weight,
                embedding_weight=parameters.embedding_weight,
                token_weight=parameters.token_weight,
            )

        return measure

    def structure_loss(self, decoder: StructureDecoder, latents: Tensor) -> Loss:
        def measure(signals: Tensor, subject: Tensor, clip: Tensor) -> Tensor:
            return measure_structure(decoder, signals, subject, latents[clip.cpu(), 0].to(signals))

        return measure

    def motion_loss(self, decoder: MotionDecoder, latents: Tensor) -> Loss:
        masks = make_generator("mind_animator", "masks", self.seed)

        def measure(signals: Tensor, subject: Tensor, clip: Tensor) -> Tensor:
            return measure_motion(
                decoder, signals, subject, latents[clip.cpu()].to(signals), self.parameters.barred, masks
            )

        return measure

    def train_part(self, name: str, part: Part, data: TrainingSet, number: int | None) -> list[float]:
        """All of a decoder, or its input layer of one new subject on that subject's trials."""
        parameters = self.parameters
        trials = np.arange(len(data.clip)) if number is None else np.flatnonzero(data.subject == number)
        trained = part.decoder if number is None else part.inputs.find(number)
        whose = "all" if number is None else f"subject {number}"
        epochs = part.epochs if number is None else parameters.calibration_epochs
        read, clip = read_trials(data, self.device, trials), torch.from_numpy(data.clip[trials]).to(self.device)
        with seeded(self.device, "mind_animator", f"{name} dropout {whose}", self.seed):
            return train_steps(
                part.decoder,
                lambda rows: part.measure(*read(rows), clip[rows]),
                parameters=list(trained.parameters()),
                trials=len(trials),
                steps=plan_steps(epochs, len(trials), part.batch_size),
                batch_size=part.batch_size,
                learning_rate=part.learning_rate,
                weight_decay=parameters.weight_decay,
                batches=make_generator("mind_animator", f"{name} batches {whose}", self.seed),
                phase=f"training the {name} decoder, {whose}",
            )

    def adapt(self, calibration: TrainingSet) -> None:
        """A fresh input layer in each decoder for every subject here; everything else stays."""
        self.trained()
        for decoder in self.decoders.values():
            decoder.requires_grad_(False)
        parts = self.list_parts(calibration, encode_clips(self.suite, calibration.video))
        for number, columns in choose_voxels(
            calibration, leave_out=self.parameters.leave_out, usual=Parameters.leave_out
        ).items():
            for name, part in parts.items():
                with seeded(self.device, "mind_animator", f"{name} layer of subject {number}", self.seed):
                    part.inputs.add_subject(number, columns).to(self.device)
                self.train_part(name, part, calibration, number)

    @torch.inference_mode()
    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """From fMRI to video, in the size of the training clips."""
        self.trained()
        read = read_trials(brain, self.device)

        def make(rows: np.ndarray) -> VideoBatch:
            return self.render(*self.decode(*read(rows)), brain.seed[rows].tolist())

        return make_videos(len(brain.subject), make, at_once=DECODED, shape=self.clip_shape)

    def decode(
        self, signals: Float[Tensor, "trial column volume"], subject: Int64[Tensor, " trial"]
    ) -> tuple[Float[Tensor, "trial token D"], Float[Tensor, "trial frame c y x"]]:
        """Text tokens and the frames' latents of trials; what the variant lacks is filled as the module says."""
        trials, frames = len(signals), self.suite.geometry.frames
        text = self.suite.negative_embedding.to(signals).expand(trials, -1, -1)
        first = self.mean_first.expand(trials, -1, -1, -1)
        if "semantic" in self.decoders:
            text = self.decoders["semantic"](signals, subject)[1]
            text = read_out(text, self.captions, self.parameters.read_out)
        if "structure" in self.decoders:
            first = self.decoders["structure"](signals, subject)
        latents = first[:, None].expand(-1, frames, -1, -1, -1)
        motion = self.decoders.get("motion")
        if isinstance(motion, MotionDecoder):
            latents = motion.animate(first, signals, subject, self.parameters.barred_in_use)
        return text, latents

    def render(
        self, text: Float[Tensor, "trial token D"], latents: Float[Tensor, "trial frame c y x"], seeds: Sequence[int]
    ) -> VideoBatch:
        """Videos from text and latents by the inflated image network."""
        parameters, generator = self.parameters, self.trained()
        steps = self.suite.settings["steps"] if parameters.steps is None else parameters.steps
        given, share = latents.transpose(1, 2).cpu(), 1.0  # (n, c, f, y, x)
        if parameters.start == "inversion":
            empty = self.suite.negative_embedding.expand(len(given), -1, -1)
            start = invert(self.suite, generator, given, empty, steps=steps, iterations=parameters.iterations)
            if parameters.noise_time:
                kept = load_scheduler(self.suite).alphas_cumprod[parameters.noise_time]
                start = kept.sqrt() * start + (1 - kept).sqrt() * draw_noise(seeds, given.shape[1:])
        else:
            share, noise = parameters.strength, draw_noise(seeds, given.shape[1:])
            scheduler = load_scheduler(self.suite)
            start = start_latents("renoised", noise, given, scheduler, steps=steps, strength=share)
        negative = self.suite.encode_text([parameters.negative])[:, : text.shape[1]]
        return sample(
            self.suite,
            generator,
            text,
            start,
            steps=steps,
            guidance=parameters.guidance,
            negative=negative,
            share=share,
        )

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through: the decoders but for the head beside CLIP."""
        self.trained()
        total = sum(one.numel() for decoder in self.decoders.values() for one in decoder.parameters())
        semantic = self.decoders.get("semantic")
        if isinstance(semantic, SemanticDecoder):
            total -= count_parameters(semantic.to_clip) + semantic.scale.numel()
        return total

    def trained(self) -> InflatedUNet:
        return require_fitted(self.generator, "mind_animator")


def start_from(weights: str, name: str, decoder: nn.Module, subjects: list[int]) -> None:
    """Put the authors' numbers into the decoder of that name; theirs adds to no mean (the start token stays)."""
    number = require_one_subject(subjects, released.RELEASED[name])
    path, renames = weights.replace("{subject}", str(number)), released.list_renames(name, number)
    load_released(decoder, path, renames, released.RELEASED[name], fresh=["mean"])
    if isinstance(decoder, SemanticDecoder):
        decoder.mean[1:] = 0.0
    elif isinstance(decoder, StructureDecoder):
        decoder.mean.zero_()


def build_decoders(
    parameters: Parameters,
    *,
    volumes: int,
    voxels: Voxels,
    embedding: int,
    mean_text: Float[Tensor, "token D"],
    mean_first: Float[Tensor, "c y x"],
    frames: int,
) -> dict[str, nn.Module]:
    """The untrained decoders that the parameters ask for, for subjects with that many voxels."""
    made: dict[str, nn.Module] = {}
    if parameters.semantic:
        made["semantic"] = SemanticDecoder(
            add_inputs(voxels, volumes=volumes, width=parameters.width),
            blocks=parameters.blocks,
            hidden=parameters.text_hidden,
            dropout=parameters.dropout,
            embedding=embedding,
            tokens=parameters.tokens,
            mean=mean_text,
        )
    if parameters.structure:
        inputs = add_inputs(voxels, volumes=volumes, width=parameters.structure_width)
        made["structure"] = StructureDecoder(
            inputs, blocks=parameters.structure_blocks, dropout=parameters.structure_dropout, mean=mean_first
        )
    if parameters.motion:
        made["motion"] = MotionDecoder(
            add_inputs(voxels, volumes=volumes, width=parameters.motion_width),
            frames=frames,
            shape=mean_first.shape,
            blocks=parameters.motion_blocks,
            layers=parameters.motion_layers,
            inner=parameters.motion_attention,
            heads=parameters.motion_heads,
            feedforward=parameters.motion_feedforward,
            fmri_tokens=parameters.fmri_tokens,
            dropout=parameters.motion_dropout,
            change=parameters.predict == "change",
        )
    return made


def list_paper_parts(
    parameters: Parameters, *, voxels: int = 4500, frames: int = 8, latent: int = 64
) -> list[PaperPart]:
    """The parts for one subject of so many voxels and one volume a trial, and so many latents of `latent` squared.

    Text and latents are Stable Diffusion 1.5's, the embedding is CLIP B/32's.
    """
    decoders = build_decoders(
        parameters,
        volumes=1,
        voxels={1: np.arange(voxels)},
        embedding=512,
        mean_text=torch.zeros(77, 768),
        mean_first=torch.zeros(4, latent, latent),
        frames=frames,
    )
    said = {
        "semantic": "72,336,641 released, for 4,500 voxels",
        "structure": "23,503,872 released, for 4,500 voxels",
        "motion": "335,758,336 released, for 4,500 voxels",
    }
    return [(name, decoder, said[name]) for name, decoder in decoders.items()]
