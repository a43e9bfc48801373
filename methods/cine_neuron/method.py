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
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from bench.core.contracts import BrainData, Modality, Space, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.core.seeds import derive_seed
from bench.pretrained.decoders import AnimateDiffDecoder, Decoder, WanDecoder, list_lora
from bench.toolbox.parameters import take_fields
from bench.toolbox.read_signals import Reader
from bench.toolbox.resize import make_videos
from bench.toolbox.sizes import count_parameters
from bench.toolbox.targets import encode_captions, encode_clips
from bench.toolbox.training import make_generator, seeded
from methods.cine_neuron.categories import Extractor, find_all_categories
from methods.cine_neuron.integration import measure_scale
from methods.cine_neuron.memory import make_pool
from methods.cine_neuron.networks import Memories, Networks, build_networks, make_memories
from methods.cine_neuron.parameters import Parameters, read_parameters
from methods.cine_neuron.targets import Targets, encode_targets
from methods.cine_neuron.training import Recipe, train_stage1, train_stage2
from methods.cine_neuron.voxels import VoxelChoice, choose_inputs, read_signals

DECODED = 32  # trials decoded at once


class CineNeuron:
    """CineNeuron as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "fmri"
    version = 1
    embeds: Space = "text"
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
        parameters, networks, clip = self.parameters, self.trained(), torch.from_numpy(train.clip).to(self.device)
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
                steps=max(1, round(parameters.joint_epochs * len(clip) / parameters.joint_batch_size)),
                batch_size=parameters.joint_batch_size,
                learning_rate=parameters.joint_learning_rate,
                decoder_learning_rate=parameters.decoder_learning_rate,
                batches=make_generator("cine_neuron", "joint batches", self.seed),
                noise=make_generator("cine_neuron", "diffusion noise", self.seed),
                phase="training with the decoder (stage 2)",
            )

    def align(self, train: TrainingSet) -> tuple[Targets, Float[Tensor, "caption token text"]]:
        """Stage 1 alone; returns what the clips are to the frozen encoders, and their captions in tokens."""
        parameters = self.parameters
        self.clip_shape = train.video.shape[1:]
        self.choices = self.choose(train)
        with seeded(self.device, "cine_neuron", "lora", self.seed):
            self.decoder = build_decoder(parameters, self.suite, self.clip_shape)
        targets = encode_targets(
            self.suite,
            train,
            frames=parameters.alignment_frames,
            least=parameters.category_least,
            extract=self.extract if parameters.category_weight > 0 else None,
        )
        texts = encode_captions(self.decoder, train.captions)
        with seeded(self.device, "cine_neuron", "network", self.seed):
            networks = build_networks(
                parameters,
                volumes=train.brain.shape[2],
                voxels={number: choice.columns for number, choice in self.choices.items()},
                embedding=targets.text.shape[1],
                action=targets.action.shape[1],
                categories=max(1, targets.labels.shape[1]),
                text=texts.shape[2],
            ).to(self.device)
        if networks.fusion is not None:
            networks.fusion.set_scale(measure_scale(texts))
        self.recipe = take_fields(Recipe, parameters)
        with seeded(self.device, "cine_neuron", "dropout", self.seed):
            self.stage1_losses = train_stage1(
                networks,
                self.reader(train, self.choices),
                torch.from_numpy(train.clip).to(self.device),
                targets,
                self.recipe,
                parameters=[*networks.brain.parameters(), *networks.alignment.parameters()],
                steps=parameters.stage1_steps,
                batch_size=parameters.batch_size,
                learning_rate=parameters.learning_rate,
                batches=make_generator("cine_neuron", "batches", self.seed),
                phase="aligning fMRI (stage 1)",
            )
        self.networks = networks
        return targets, texts

    def adapt(self, calibration: TrainingSet) -> None:
        """A fresh input layer for every subject here, from its own trials; everything else stays."""
        parameters, networks = self.parameters, self.trained()
        choices = self.choose(calibration)
        targets = encode_targets(self.suite, calibration, frames=parameters.alignment_frames)
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
                    steps=parameters.calibration_steps,
                    batch_size=parameters.batch_size,
                    learning_rate=parameters.calibration_learning_rate,
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
        return self.trained().make_condition(*self.read(brain, rows), self.memories)

    @torch.inference_mode()
    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial d"]:
        """f^c, which stage 1 aligns with the captions' embeddings (equation 3)."""
        rows = np.arange(len(brain.subject))
        parts = [self.read(brain, some)[0] for some in np.array_split(rows, -(-len(rows) // DECODED))]
        return torch.cat(parts).float().cpu().numpy()

    def read(
        self, brain: BrainData, rows: np.ndarray
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token width"]]:
        """f^c and f^e of these trials."""
        subject = brain.subject[rows]
        signals = read_signals(brain.brain, rows, subject, self.choices, brain.seed[rows]).to(self.device)
        return self.trained().brain(signals, torch.from_numpy(subject).to(self.device))

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through, LoRA among them; see `Networks.parameter_count`."""
        return self.trained().parameter_count + count_parameters(list_lora(self.decoder.network))

    def trained(self) -> Networks:
        return require_fitted(self.networks, "cine_neuron")

    def choose(self, data: TrainingSet) -> dict[int, VoxelChoice]:
        parameters = self.parameters
        return choose_inputs(
            data, leave_out=parameters.leave_out, noise_rois=parameters.noise_rois, named=self.named_regions
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


def build_decoder(parameters: Parameters, suite: Any, clip_shape: Sequence[int]) -> Decoder:
    """The decoder that the parameters name, with fresh LoRA."""
    shared: dict[str, Any] = {
        "clip_shape": clip_shape[:3],
        "rank": parameters.lora_rank,
        "scale": parameters.lora_scale,
        "steps": parameters.steps,
        "guidance": parameters.guidance,
        "checkpointing": parameters.checkpointing,
    }
    return (
        WanDecoder(suite, shift=parameters.flow_shift, **shared)
        if parameters.decoder == "wan"
        else AnimateDiffDecoder(suite, **shared)
    )


@torch.no_grad()
def fill_memories(networks: Networks, targets: Targets, texts: Float[Tensor, "caption token text"]) -> Memories:
    """The memory pool: one entry a training clip, in the order of the clips."""
    images = networks.alignment.frames(targets.frames)
    pool = make_pool({"text": targets.text, "image": images, "action": targets.action})
    return make_memories(pool, texts, targets.caption)
