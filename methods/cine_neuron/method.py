"""CineNeuron: `fit` trains both stages, `adapt` gives a new subject an input layer, `reconstruct` makes video.

The way from a trial to a video (§3.3) is one call: Brain Model → Mixture-of-Memories → decoder. Defaults are of a size
for the mini suite; `ablations.toml` has the paper's size as the variant `paper`.

Where the paper leaves a choice, each module says what was chosen. Here:

- Nothing is chosen on the validation trials (the paper stops after fixed numbers of steps), so they are trained on too.
- The first layer is solved; the rest is trained, in both stages, on what it says of trials that it was solved without
  (`first_layer.py`). In stage 2 half of the trials are given their own caption (`true_text`).
- Embeddings are compared in coordinates of their own (`targets.Spaces`).
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
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from bench.core.contracts import BrainData, Modality, Space, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.core.seeds import derive_seed
from bench.pretrained.decoders import AnimateDiffDecoder, Decoder, WanDecoder, list_lora
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.joined import join_sets
from bench.toolbox.parameters import take_fields
from bench.toolbox.read_signals import Reader
from bench.toolbox.resize import choose_shape, make_videos
from bench.toolbox.sizes import count_parameters
from bench.toolbox.targets import encode_captions, encode_clips
from bench.toolbox.training import make_generator, seeded
from bench.toolbox.voxels import TokenLayer
from methods.cine_neuron.categories import Extractor, find_all_categories
from methods.cine_neuron.first_layer import PARTS, learn_aims, solve_subject
from methods.cine_neuron.integration import measure_scale
from methods.cine_neuron.memory import make_pool
from methods.cine_neuron.networks import Memories, Networks, build_networks
from methods.cine_neuron.parameters import POWERS, Parameters, read_parameters
from methods.cine_neuron.targets import Spaces, Targets, encode_targets, learn_spaces
from methods.cine_neuron.training import Look, Recipe, keep_gain, train_router, train_stage1, train_stage2
from methods.cine_neuron.voxels import VoxelChoice, choose_inputs, read_signals

DECODED = 32  # trials decoded at once
ROUTED = 256  # trials in a batch of the router's


class CineNeuron:
    """CineNeuron as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "fmri"
    version = 2
    drawn_by = ("steps", "guidance")  # parameters that no fit reads
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
        self.spaces: Spaces | None = None
        self.extract: Extractor = find_all_categories  # or `partial(ask, answer)`, a language model's

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Stage 1, the memory pool, stage 2."""
        train = join_sets([train, validation] if self.parameters.use_validation else [train])
        self.concepts = train.concepts  # of the memories; nothing but analyses looks at them
        targets, texts, look = self.align(train)
        parameters, networks, clip = self.parameters, self.trained(), torch.from_numpy(train.clip).to(self.device)
        networks.alignment.frames.requires_grad_(False)
        self.memories = fill_memories(networks, targets, texts)
        if networks.router is not None and parameters.first_layer == "solved":
            self.router_losses = train_router(
                networks,
                lambda rows: look(self.held[rows]),
                clip[torch.from_numpy(self.held)],
                self.memories,
                self.recipe,
                steps=parameters.router_steps,
                batch_size=ROUTED,
                learning_rate=parameters.router_learning_rate,
                batches=make_generator("cine_neuron", "router batches", self.seed),
                phase="weighing modalities",
            )
        with seeded(self.device, "cine_neuron", "joint dropout", self.seed):
            self.stage2_losses = train_stage2(
                networks,
                self.decoder,
                look,
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
                memory=getattr(self.suite, "memory", None),
            )

    def align(self, train: TrainingSet) -> tuple[Targets, CaptionTokens, Look]:
        """Stage 1 alone; returns what the clips are to the frozen encoders, their captions in tokens, and what gives
        f^c and f^e of the training trials."""
        parameters = self.parameters
        self.clip_shape = train.video.shape[1:]
        self.choices = self.choose(train)
        with seeded(self.device, "cine_neuron", "lora", self.seed):
            self.decoder = build_decoder(parameters, self.suite, choose_shape(parameters.output, self.clip_shape))
        targets = encode_targets(
            self.suite,
            train,
            frames=parameters.alignment_frames,
            least=parameters.category_least,
            extract=self.extract if parameters.category_weight > 0 else None,
        )
        self.classes = targets.classes
        if parameters.whitening != "none":
            self.spaces = learn_spaces(targets, POWERS[parameters.whitening])
            targets = self.spaces.place(targets)
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
            networks.fusion.set_scale(measure_scale(texts.used))
        self.recipe = take_fields(Recipe, parameters)
        self.networks = networks
        look = self.look(train, targets)
        clip = torch.from_numpy(train.clip).to(self.device)
        last = train.clip >= len(train.captions) * (PARTS - 1) // PARTS  # held out to choose the transformer's gain
        kept, held = np.flatnonzero(~last), np.flatnonzero(last)
        self.held = held
        if parameters.first_layer == "learned":
            kept, held = np.arange(len(train.clip)), np.empty(0, np.int64)
        else:
            networks.alignment.frames.requires_grad_(False)  # the layer was solved for the frames' mean
        with seeded(self.device, "cine_neuron", "dropout", self.seed):
            self.stage1_losses = train_stage1(
                networks,
                (lambda rows: look(kept[rows])) if len(held) else look,
                clip[torch.from_numpy(kept)],
                targets,
                self.recipe,
                parameters=[*networks.brain.parameters(), *networks.alignment.parameters()],
                steps=parameters.stage1_steps,
                batch_size=parameters.batch_size,
                learning_rate=parameters.learning_rate,
                batches=make_generator("cine_neuron", "batches", self.seed),
                phase="aligning fMRI (stage 1)",
                memory=getattr(self.suite, "memory", None),
            )
        if len(held):
            self.kept_share = keep_gain(
                networks, look, clip, targets, self.recipe, held, getattr(self.suite, "memory", None)
            )
        return targets, texts, look

    def look(self, train: TrainingSet, targets: Targets) -> Look:
        """What gives f^c and f^e of the training trials: from their signals, or, where the input layers are solved
        here, from what those that were solved without a trial's clip say of it."""
        brain, read = self.trained().brain, self.reader(train, self.choices)
        if self.parameters.first_layer == "learned":
            return lambda rows: brain(*read(rows))
        actions = self.parameters.action_weight > 0
        self.aims = learn_aims(targets, brain.tokens * brain.channels, actions=actions)
        brain.set_readout(self.aims.read_out())
        numbers: Tensor | None = None
        for number in self.choices:
            trials = np.flatnonzero(train.subject == number)
            unseen = self.solve(number, train, targets, self.choices, trials).cpu()
            numbers = unseen.new_empty(len(train.subject), *unseen.shape[1:]) if numbers is None else numbers
            numbers[torch.from_numpy(trials)] = unseen
        assert numbers is not None
        return lambda rows: brain.understand(numbers[torch.from_numpy(rows)].to(self.device))

    def solve(
        self,
        number: int,
        data: TrainingSet,
        targets: Targets,
        choices: Mapping[int, VoxelChoice],
        trials: Int64[np.ndarray, " trial"],
    ) -> Float[Tensor, "trial token feature"]:
        """Solve a subject's input layer; returns what layers that have not seen its trials' clips say of them."""
        layer, read = self.trained().brain.inputs.find(number), self.reader(data, choices, trials)
        assert isinstance(layer, TokenLayer)
        layer.requires_grad_(False)
        return solve_subject(layer, read, data.clip[trials], self.aims.describe(targets), self.aims.slices)

    def adapt(self, calibration: TrainingSet) -> None:
        """A fresh input layer for every subject here, from its own trials; everything else stays."""
        parameters, networks = self.parameters, self.trained()
        choices = self.choose(calibration)
        targets = encode_targets(
            self.suite,
            calibration,
            frames=parameters.alignment_frames,
            extract=self.extract if self.classes else None,
            classes=self.classes,
        )
        if self.spaces is not None:
            targets = self.spaces.place(targets)
        recipe = dataclasses.replace(self.recipe, category_weight=0.0)
        networks.requires_grad_(False)
        for number, choice in choices.items():
            trials = np.flatnonzero(calibration.subject == number)
            with seeded(self.device, "cine_neuron", f"subject {number}", self.seed):
                layer = networks.brain.add_subject(number, torch.from_numpy(choice.columns))
                if parameters.first_layer == "solved":
                    self.solve(number, calibration, targets, choices, trials)
                    continue
                read = self.reader(calibration, choices, trials)
                train_stage1(
                    networks,
                    lambda rows, read=read: networks.brain(*read(rows)),  # type: ignore[misc]
                    torch.from_numpy(calibration.clip[trials]).to(self.device),
                    targets,
                    recipe,
                    parameters=list(layer.parameters()),
                    steps=parameters.calibration_steps,
                    batch_size=parameters.batch_size,
                    learning_rate=parameters.calibration_learning_rate,
                    batches=make_generator("cine_neuron", f"calibration {number}", self.seed),
                    phase=f"adapting to subject {number}",
                    memory=getattr(self.suite, "memory", None),
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
        seen = torch.cat(parts).float()
        return (seen if self.spaces is None else self.spaces.aim(seen)).cpu().numpy()

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
def fill_memories(networks: Networks, targets: Targets, texts: CaptionTokens) -> Memories:
    """The memory pool: one entry a training clip, in the order of the clips."""
    images = networks.alignment.frames(targets.frames)
    pool = make_pool({"text": targets.text, "image": images, "action": targets.action})
    return Memories(pool, texts, targets.caption)
