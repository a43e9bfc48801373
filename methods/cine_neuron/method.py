"""CineNeuron: `fit` trains both stages, `adapt` gives a new subject an input layer, `reconstruct` makes video.

The way from a trial to a video (§3.3) is one call: Brain Model → Mixture-of-Memories → decoder. Defaults are of a size
for the mini suite; `ablations.toml` has the paper's size as the variant `paper`.

Where the paper leaves a choice, each module says what was chosen. Here:

- The validation trials are not used: the paper stops after fixed numbers of steps.
- Several presentations of a clip, and presentations to several subjects, are so many trials with the same targets.
- A new subject gets a fresh input layer, trained on its calibration trials by the loss of stage 1 with all else frozen.
  The paper has one model a subject and says nothing of new ones.
- A variant with fewer networks has fewer parameters. `match_base` gives as many back, by a wider feed-forward layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.clips import make_videos
from bench.data import BrainData, Modality, TrainingSet, VideoBatch
from bench.errors import BenchError, require_fitted
from bench.parameters import PRECISIONS, check_choices, check_heads, read_given, take_fields
from bench.pretrained.video_decoders import AnimateDiffDecoder, Decoder, WanDecoder, list_lora
from bench.seeds import derive_seed
from bench.training import make_generator, seeded
from bench.trials import Reader
from methods.cine_neuron.alignment import Alignment
from methods.cine_neuron.brain_model import BrainModel
from methods.cine_neuron.categories import Extractor, find_all_categories
from methods.cine_neuron.integration import measure_scale
from methods.cine_neuron.memory import make_pool
from methods.cine_neuron.networks import Memories, Networks, make_memories
from methods.cine_neuron.targets import Targets, encode_captions, encode_clips, encode_targets
from methods.cine_neuron.training import Recipe, train_stage1, train_stage2
from methods.cine_neuron.voxels import VoxelChoice, choose_voxels, read_signals

DECODED = 32  # trials decoded at once
DECODERS = ("wan", "animatediff")


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Every parameter of CineNeuron with its default; an ablation is a change of these and of nothing else."""

    # Input (Table 5); names of regions match whatever their case
    leave_out: tuple[str, ...] = ("auditory", "mPFC")
    noise_rois: tuple[str, ...] = ()  # regions whose voxels are noise: their parameters stay, their information goes

    # Brain Model (§3.1)
    tokens: int = 4  # of f^e, at most as many as the decoder's text tokens (paper: 512)
    token_channels: int = 64  # numbers that the input layer gives a token at each volume
    width: int = 128  # paper: 2048
    layers: int = 2  # paper: 24
    heads: int = 4
    feedforward: int = 512
    dropout: float = 0.1
    match_base: bool = False  # True: `feedforward` is set so that there are as many parameters as in the base

    # Semantic enrichment, equations (1) to (3)
    alignment_frames: int = 6  # frames of a clip that CLIP sees
    temperature: float = 0.07
    action_weight: float = 1.0  # lambda_1; 0 trains no action head
    category_weight: float = 1.0  # lambda_2; 0 finds no categories
    category_least: int = 10  # clips that must show a category, or it is merged or dropped
    focal_gamma: float = 2.0

    # Mixture-of-Memories, equations (4) to (8)
    modalities: tuple[str, ...] = ("text", "image", "action")  # that the mixture score is made of
    router: str = "learned"  # or "fixed": all modalities weigh the same
    query: str = "global"  # or "embedding"
    memories: int = 5  # K
    own_clip: bool = False  # True: in training a trial may retrieve its own clip
    router_weight: float = 1.0  # of the mixture scores' loss, which the paper does not have
    condition: str = "fused"  # or "text" (no MoM), "fmri" (no integration)
    alpha: float = 1.0
    residual: bool = True  # False: equation (6) to the letter

    # Decoder (§3.2, equation 9)
    decoder: str = "wan"  # or "animatediff"
    lora_rank: int = 16
    lora_scale: int = 16
    flow_shift: float = 3.0  # of Wan's noise levels
    steps: int | None = None  # these two: None is the suite's own
    guidance: float | None = None
    checkpointing: bool = False  # less memory in training, more time

    # Training; the paper's values in the comments
    stage1_steps: int = 400  # 8,000
    batch_size: int = 64  # 144
    learning_rate: float = 5e-4  # 1e-4
    joint_epochs: float = 2.0  # 20
    joint_batch_size: int = 32  # 32
    joint_learning_rate: float = 1e-5  # 1e-6, of the Brain Model and its heads
    decoder_learning_rate: float = 3e-4  # 1e-6 for router and fusion; silent on LoRA
    weight_decay: float = 0.01
    precision: str = "fp32"  # or "bf16", of the transformers in training
    calibration_steps: int = 300
    calibration_learning_rate: float = 1e-3


class CineNeuron:
    """CineNeuron as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "fmri"
    version = 1
    uses = ("wan_transformer", "wan_vae", "wan_tokenizer", "wan_text_encoder")  # these two: what keys the predictions
    asks = ("clip_large", "action")

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.named_regions = "leave_out" in parameters
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.networks: Networks | None = None
        self.extract: Extractor = find_all_categories  # or `partial(ask, answer)`, a language model's

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Stage 1, the memory pool, stage 2."""
        targets, texts = self.align(train)
        own, networks, clip = self.parameters, self.trained(), torch.from_numpy(train.clip).to(self.device)
        networks.alignment.frames.requires_grad_(False)
        self.memories = fill_memories(networks, targets, texts)
        with seeded(self.device, "cine_neuron", "joint dropout", self.seed):
            self.stage2_losses = train_stage2(
                networks,
                self.decoder,
                self.reader(train, self.choices),
                clip,
                targets,
                encode_clips(self.suite, self.decoder, train.video),
                self.memories,
                self.recipe,
                steps=max(1, round(own.joint_epochs * len(clip) / own.joint_batch_size)),
                batch_size=own.joint_batch_size,
                learning_rate=own.joint_learning_rate,
                decoder_learning_rate=own.decoder_learning_rate,
                batches=make_generator("cine_neuron", "joint batches", self.seed),
                noise=make_generator("cine_neuron", "diffusion noise", self.seed),
                phase="training with the decoder (stage 2)",
            )

    def align(self, train: TrainingSet) -> tuple[Targets, Float[Tensor, "caption token text"]]:
        """Stage 1 alone; returns what the clips are to the frozen encoders, and their captions in tokens."""
        own = self.parameters
        self.clip_shape = train.video.shape[1:]
        self.choices = self.choose(train)
        with seeded(self.device, "cine_neuron", "lora", self.seed):
            self.decoder = build_decoder(own, self.suite, self.clip_shape)
        targets = encode_targets(
            self.suite,
            train,
            frames=own.alignment_frames,
            least=own.category_least,
            extract=self.extract if own.category_weight > 0 else None,
        )
        texts = encode_captions(self.decoder, train.captions)
        with seeded(self.device, "cine_neuron", "network", self.seed):
            networks = build_networks(
                own,
                volumes=train.brain.shape[2],
                voxels={number: choice.columns for number, choice in self.choices.items()},
                embedding=targets.text.shape[1],
                action=targets.action.shape[1],
                categories=max(1, targets.labels.shape[1]),
                text=texts.shape[2],
            ).to(self.device)
        if networks.fusion is not None:
            networks.fusion.set_scale(measure_scale(texts))
        self.recipe = take_fields(Recipe, own)
        with seeded(self.device, "cine_neuron", "dropout", self.seed):
            self.stage1_losses = train_stage1(
                networks,
                self.reader(train, self.choices),
                torch.from_numpy(train.clip).to(self.device),
                targets,
                self.recipe,
                parameters=[*networks.brain.parameters(), *networks.alignment.parameters()],
                steps=own.stage1_steps,
                batch_size=own.batch_size,
                learning_rate=own.learning_rate,
                batches=make_generator("cine_neuron", "batches", self.seed),
                phase="aligning fMRI (stage 1)",
            )
        self.networks = networks
        return targets, texts

    def adapt(self, calibration: TrainingSet) -> None:
        """A fresh input layer for every subject here, from its own trials; everything else stays."""
        own, networks = self.parameters, self.trained()
        choices = self.choose(calibration)
        targets = encode_targets(self.suite, calibration, frames=own.alignment_frames)
        recipe = dataclasses.replace(self.recipe, category_weight=0.0)
        networks.requires_grad_(False)
        for number, choice in choices.items():
            trials = np.flatnonzero(calibration.subject == number)
            with seeded(self.device, "cine_neuron", f"subject {number}", self.seed):
                layer = networks.brain.add_subject(number, torch.from_numpy(choice.columns))
                train_stage1(
                    networks,
                    self.reader(calibration, choices, trials),
                    torch.from_numpy(calibration.clip[trials]).to(self.device),
                    targets,
                    recipe,
                    parameters=list(layer.parameters()),
                    steps=own.calibration_steps,
                    batch_size=own.batch_size,
                    learning_rate=own.calibration_learning_rate,
                    batches=make_generator("cine_neuron", f"calibration {number}", self.seed),
                    phase=f"adapting to subject {number}",
                )
        self.choices.update(choices)

    @torch.inference_mode()
    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """From fMRI to video (§3.3), in the size of the training clips."""
        self.trained()

        def make(rows: np.ndarray) -> VideoBatch:
            return self.decoder.generate(self.make_condition(brain, rows), brain.seed[rows].tolist())

        return make_videos(len(brain.brain), make, at_once=DECODED, shape=self.clip_shape)

    @torch.inference_mode()
    def make_condition(self, brain: BrainData, rows: np.ndarray) -> Float[Tensor, "trial token text"]:
        """What the decoder is given for these trials, f^fuse of equation (8)."""
        networks = self.trained()
        subject = brain.subject[rows]
        signals = read_signals(brain.brain, rows, subject, self.choices, brain.seed[rows]).to(self.device)
        f_c, f_e = networks.brain(signals, torch.from_numpy(subject).to(self.device))
        return networks.make_condition(f_c, f_e, self.memories)

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through, LoRA among them; see `Networks.parameter_count`."""
        return self.trained().parameter_count + sum(one.numel() for one in list_lora(self.decoder.network))

    def trained(self) -> Networks:
        return require_fitted(self.networks, "cine_neuron")

    def choose(self, data: TrainingSet) -> dict[int, VoxelChoice]:
        own = self.parameters
        return choose_voxels(
            data.rois,
            np.unique(data.subject).tolist(),
            data.brain.shape[1],
            leave_out=own.leave_out,
            noise_rois=own.noise_rois,
            named=self.named_regions,
        )

    def reader(self, data: TrainingSet, choices: Mapping[int, VoxelChoice], trials: np.ndarray | None = None) -> Reader:
        """Reads trials by their place among `trials`: from their files, so a data set need not fit in memory."""
        chosen = np.arange(len(data.subject)) if trials is None else trials
        noisy = any(len(choice.noise) for choice in choices.values())
        seeds = np.array(
            [derive_seed("cine_neuron", "region", self.seed, int(one)) for one in chosen] if noisy else [0]
        )
        seeds = np.broadcast_to(seeds, len(chosen))

        def read(rows: np.ndarray) -> tuple[Tensor, Tensor]:
            subject = data.subject[chosen[rows]]
            signals = read_signals(data.brain, chosen[rows], subject, choices, seeds[rows])
            return signals.to(self.device), torch.from_numpy(subject).to(self.device)

        return read


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Parameters from keywords. Raises BenchError for what does not exist or does not go together."""
    own = read_given(Parameters, given, method="cine_neuron")
    check_choices(own, decoder=DECODERS, precision=PRECISIONS)
    check_heads(own, "width")
    if "action" in own.modalities and own.action_weight == 0 and own.condition != "fmri":
        raise BenchError(
            "action_weight=0 leaves the action head untrained, and modalities ask it; "
            "set action_weight, or modalities without 'action'"
        )
    return own


def build_networks(
    own: Parameters,
    *,
    volumes: int,
    voxels: Mapping[int, np.ndarray],
    embedding: int,
    action: int,
    categories: int,
    text: int,
) -> Networks:
    """The untrained networks: `voxels` are each subject's columns, the rest widths of what the encoders give."""
    if own.match_base:
        own = match_capacity(own, volumes=volumes, voxels=voxels, embedding=embedding, action=action, text=text)
    brain = BrainModel(
        volumes=volumes,
        tokens=own.tokens,
        channels=own.token_channels,
        width=own.width,
        layers=own.layers,
        heads=own.heads,
        feedforward=own.feedforward,
        dropout=own.dropout,
        embedding=embedding,
    )
    for number, columns in voxels.items():
        brain.add_subject(number, torch.as_tensor(columns))
    alignment = Alignment(embedding=embedding, action=action, categories=categories, dropout=own.dropout)
    return Networks(
        brain,
        alignment,
        width=own.width,
        action=action,
        text=text,
        heads=own.heads,
        condition=own.condition,
        modalities=own.modalities,
        router=own.router,
        query=own.query,
        memories=own.memories,
        alpha=own.alpha,
        residual=own.residual,
    )


def match_capacity(own: Parameters, **widths: Any) -> Parameters:
    """The parameters with the feed-forward layer so wide that the networks count what the base's count, to half a unit.

    The base is `own` with all of the Mixture-of-Memories; `widths` are `build_networks`' but for the categories, which
    are in no reconstruction's way. LoRA is no part of it.
    """
    plain = Parameters()
    own = dataclasses.replace(own, match_base=False)
    base = dataclasses.replace(own, **{name: getattr(plain, name) for name in ("condition", "modalities", "router")})
    with torch.device("meta"):
        wanted, found = (build_networks(one, categories=1, **widths).parameter_count for one in (base, own))
    unit = own.layers * (2 * own.width + 1)  # numbers that one more hidden unit brings
    return dataclasses.replace(own, feedforward=own.feedforward + round((wanted - found) / unit))


def build_decoder(own: Parameters, suite: Any, clip_shape: Sequence[int]) -> Decoder:
    """The decoder that the parameters name, with fresh LoRA."""
    shared: dict[str, Any] = {
        "clip_shape": clip_shape[:3],
        "rank": own.lora_rank,
        "scale": own.lora_scale,
        "steps": own.steps,
        "guidance": own.guidance,
        "checkpointing": own.checkpointing,
    }
    return (
        WanDecoder(suite, shift=own.flow_shift, **shared)
        if own.decoder == "wan"
        else AnimateDiffDecoder(suite, **shared)
    )


@torch.no_grad()
def fill_memories(networks: Networks, targets: Targets, texts: Float[Tensor, "caption token text"]) -> Memories:
    """The memory pool: one entry a training clip, in the order of the clips."""
    images = networks.alignment.frames(targets.frames)
    pool = make_pool({"text": targets.text, "image": images, "action": targets.action})
    return make_memories(pool, texts, targets.caption)
