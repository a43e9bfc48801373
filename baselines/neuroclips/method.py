"""NeuroClips as a baseline: key frame and blurry video from fMRI, video from both.

    voxels → semantic reconstructor → prior → embedding of the key frame → text → key frame
    voxels → perception reconstructor → latents of a blurry video
    blurry video, key frame (SparseCtrl), caption → AnimateDiff → video

Built from a description of paper and released code; the README says what is faithful and what stands in. Choices:

- *`strength`* is the suite's word: the share that is drawn anew. The paper's theta = 0.3 read as SDEdit noises the
  blurry video to 0.3 and runs the last 30 % of the steps: strength 0.3, the default. The released code passes
  low_strength = 0.3 too, but takes the first, noisiest timestep and runs all steps, so that only a trace of the blurry
  video is left: strength 1 here, the variant `released_strength`.
- *Noise*: each trial's own. The released script seeds every clip alike: the variant `shared_noise`.
- *Captioner*: a ridge from key frames' embeddings to the captions' tokens, learned on the training clips, and a
  read-out of what it says (`read_out`), in place of BLIP-2 on the key frame that unCLIP draws. The key frame is then
  drawn under that text by the suite's image model, which knows text alone.
- *`keyframe` false* leaves the caption as prompt; with `caption` false as well nothing semantic is left.
- *New subjects* get a fresh layer in each reconstructor from their calibration trials; all else stays.
- Nothing is chosen by the validation trials, so they are learned from: the released code stops after fixed numbers of
  epochs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from baselines.neuroclips import released
from baselines.neuroclips.networks import build_networks, list_subject_layers
from baselines.neuroclips.parameters import Parameters, read_parameters
from baselines.neuroclips.perception import interpolate_frames
from baselines.neuroclips.targets import Targets, encode_targets, map_captions, map_tokens, measure_standard
from baselines.neuroclips.training import Schedule, train_backbone, train_perception, train_prior
from bench.core.contracts import BrainData, Modality, Space, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.core.seeds import derive_seed
from bench.toolbox.aside import aside
from bench.toolbox.budget import release, run_parts
from bench.toolbox.joined import join_sets
from bench.toolbox.read_outs import learn_captions, read_out
from bench.toolbox.read_signals import Reader, read_trials
from bench.toolbox.released import load_released, require_one_subject
from bench.toolbox.resize import make_videos
from bench.toolbox.sizes import count_parameters
from bench.toolbox.targets import encode_captions, number_captions
from bench.toolbox.training import make_generator, make_numpy_generator, plan_steps, seeded
from bench.toolbox.voxels import choose_voxels

DECODED = 32  # trials decoded at once
RELEASED_SEED = 12099779162349365895  # before every clip of the released script


class NeuroClips:
    """NeuroClips as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "fmri"
    version = 3
    drawn_by = ("read_out", "steps", "guidance")  # parameters that no fit reads
    embeds: Space = "image"
    asks = ("clip_large", "clip_big_tokens", "dino")  # judges that the targets come from: they key the predictions

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.memory: int | None = getattr(suite, "memory", None)
        self.networks: Any = None  # nn.ModuleDict of `build_networks`
        self.token_map: Float[Tensor, "width embedding"] | None = None  # where the targets are tokens

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Stage A, stage B, then the perception reconstructor."""
        parameters = self.parameters
        train = join_sets([train, validation] if parameters.use_validation else [train])
        self.clip_shape = train.video.shape[1:]
        targets = self.encode(train)
        self.images, self.texts = measure_standard(targets.pooled), measure_standard(targets.texts)
        self.token_count = targets.images.shape[2]
        if parameters.target == "tokens":
            self.token_map = map_tokens(targets.images, self.images.apply(targets.pooled))
        prompts = [caption + parameters.prompt_suffix for caption in train.captions]
        words, caption = encode_captions(self.suite, prompts), number_captions(prompts)[1]
        release(self.suite, "text_encoder")
        self.captions = learn_captions(words, torch.from_numpy(train.concepts), caption)
        self.captioner = map_captions(self.images.apply(targets.pooled), self.captions.coordinates)
        voxels = choose_voxels(train, leave_out=parameters.leave_out, usual=Parameters.leave_out)
        with seeded(self.device, "neuroclips", "network", self.seed):
            self.networks = build_networks(
                parameters,
                volumes=train.brain.shape[2],
                voxels=voxels,
                embedding=targets.images.shape[3],
                latent=tuple(targets.latents.shape[2:]),
                targets=self.token_count,
            ).to(self.device)
        self.start_from(list(voxels))
        clip = torch.from_numpy(train.clip).to(self.device)
        with seeded(self.device, "neuroclips", "dropout", self.seed):
            self.losses = self.learn(read_trials(train, self.device), clip, targets)
        self.networks.eval().requires_grad_(False)

    def start_from(self, subjects: list[int]) -> None:
        """Put the authors' numbers into the networks where the parameters name files of them."""
        parameters, networks = self.parameters, self.networks
        if parameters.semantic_weights is not None:
            number = require_one_subject(subjects, released.SEMANTIC)
            path, renames = (
                parameters.semantic_weights.replace("{subject}", str(number)),
                released.list_semantic(number),
            )
            parts = nn.ModuleDict({name: networks[name] for name in ("semantic", "prior") if name in networks})
            load_released(parts, path, renames, released.SEMANTIC, fresh=released.FRESH)
        if parameters.perception_weights is not None:
            number = require_one_subject(subjects, released.PERCEPTION)
            path, renames = (
                parameters.perception_weights.replace("{subject}", str(number)),
                released.list_perception(number),
            )
            load_released(networks["perception"], path, renames, released.PERCEPTION)

    def learn(
        self, read: Reader, clip: Int64[Tensor, " trial"], targets: Targets, *, subject: int | None = None
    ) -> dict[str, list[float]]:
        """Train everything, or with `subject` only the layers of that subject. Returns each phase's losses by step."""
        parameters, networks = self.parameters, self.trained()
        who = "" if subject is None else f" for subject {subject}"

        def plan(phase: str, part: Any, epochs: float, batch_size: int, rate: float) -> Schedule:
            asked = epochs if subject is None else parameters.calibration_epochs
            return Schedule(
                parameters=list(part.parameters()),
                steps=plan_steps(asked, len(clip), batch_size),
                batch_size=batch_size,
                learning_rate=rate,
                weight_decay=parameters.weight_decay,
                batches=make_generator("neuroclips", phase, str(subject), self.seed),
                phase=f"neuroclips: {phase}{who}",
                memory=self.memory,
            )

        losses = {}
        images, texts = targets.images, self.texts.apply(targets.texts)
        if parameters.target == "pooled":
            images = self.images.apply(images)
        if parameters.reads_meaning:
            semantic = networks["semantic"]
            part = semantic if subject is None else semantic.ridge.find(subject)
            mixtures = make_numpy_generator("neuroclips", "mixtures", str(subject), self.seed)
            losses["semantic"] = train_backbone(
                semantic,
                read,
                clip,
                images,
                texts,
                plan(
                    "backbone",
                    part,
                    parameters.semantic_epochs,
                    parameters.semantic_batch_size,
                    parameters.semantic_learning_rate,
                ),
                pool=self.pool,
                temperature=parameters.temperature,
                text_weight=parameters.text_weight,
                mixtures=mixtures if parameters.mix else None,
            )
        if parameters.reads_meaning and parameters.prior and subject is None:
            losses["prior"] = train_prior(
                networks["semantic"],
                networks["prior"],
                read,
                clip,
                images,
                texts,
                plan(
                    "prior",
                    networks["prior"],
                    parameters.prior_epochs,
                    parameters.prior_batch_size,
                    parameters.prior_learning_rate,
                ),
                pool=self.pool,
                temperatures=parameters.soft_temperatures,
                text_weight=parameters.prior_text_weight,
                scale=parameters.prior_scale,
                drop=parameters.prior_drop,
                noise=make_generator("neuroclips", "prior noise", self.seed),
            )
        if parameters.reads_sight:
            perception = networks["perception"]
            part = perception if subject is None else perception.regress.find(subject)
            losses["perception"] = train_perception(
                perception,
                read,
                clip,
                targets.latents,
                targets.features,
                plan(
                    "perception",
                    part,
                    parameters.perception_epochs,
                    parameters.perception_batch_size,
                    parameters.perception_learning_rate,
                ),
                contrast=parameters.contrast,
                temperature=parameters.contrast_temperature,
            )
        return losses

    def adapt(self, calibration: TrainingSet) -> None:
        """Fresh layers for every subject here, from its own trials; everything else stays."""
        parameters, networks = self.parameters, self.trained()
        with aside(networks, self.device, self.memory):  # 9 GB, beside CLIP's 10
            targets = self.encode(calibration)
        for number, columns in choose_voxels(
            calibration, leave_out=parameters.leave_out, usual=Parameters.leave_out
        ).items():
            trials = np.flatnonzero(calibration.subject == number)
            clip = torch.from_numpy(calibration.clip[trials]).to(self.device)
            with seeded(self.device, "neuroclips", f"subject {number}", self.seed):
                for layers in list_subject_layers(networks):
                    layers.add_subject(number, columns).to(self.device)
                self.learn(read_trials(calibration, self.device, trials), clip, targets, subject=number)
        networks.eval().requires_grad_(False)

    def encode(self, data: TrainingSet) -> Targets:
        parameters = self.parameters
        return encode_targets(
            self.suite,
            data,
            frames=parameters.blurry_frames,
            kind=parameters.target,
            features=parameters.features,
        )

    def pool(self, tokens: Float[Tensor, "trial token width"]) -> Float[Tensor, "trial embedding"]:
        """The embedding that tokens stand for, centred and scaled as the targets are."""
        mean = tokens.mean(dim=1)
        return mean if self.token_map is None else mean @ self.token_map

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """Video of each trial, in the size of the training clips."""
        self.trained()
        parameters, read = self.parameters, read_trials(brain, self.device)

        def make(rows: np.ndarray) -> VideoBatch:
            seeds = [RELEASED_SEED] * len(rows) if parameters.shared_noise else brain.seed[rows].tolist()
            signals, subject = read(rows)
            meaning = self.read_meaning(signals, subject, brain.seed[rows]) if parameters.reads_meaning else None
            blurry = self.read_sight(signals, subject) if parameters.reads_sight else None
            with aside(self.networks, self.device, self.memory):
                return self.draw(meaning, blurry, seeds)

        return make_videos(len(brain.brain), make, at_once=DECODED, shape=self.clip_shape)

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial embedding"]:
        """The key frame's embedding, centred as the targets are; zeros of a variant that reads none."""
        if not self.parameters.reads_meaning:
            return np.zeros((len(brain.subject), len(self.captioner)), np.float32)
        read, parts = read_trials(brain, self.device), []
        for start in range(0, len(brain.subject), DECODED):
            rows = np.arange(start, min(start + DECODED, len(brain.subject)))
            parts.append(self.read_meaning(*read(rows), brain.seed[rows]).float().cpu())
        return torch.cat(parts).numpy()

    @torch.inference_mode()
    def read_meaning(
        self,
        signals: Float[Tensor, "trial column time"],
        subject: Int64[Tensor, " trial"],
        seeds: Int64[np.ndarray, " trial"],
    ) -> Float[Tensor, "trial embedding"]:
        """The key frame's embedding, centred and scaled as the targets are."""
        from bench.pretrained.generators.pipelines import draw_noise

        parameters, networks = self.parameters, self.trained()
        drawn = [derive_seed("neuroclips", "prior", int(seed)) for seed in seeds]

        def read(rows: slice) -> Tensor:
            tokens = networks["semantic"](signals[rows], subject[rows])
            if not parameters.prior:
                return self.pool(tokens)
            noise = draw_noise(drawn[rows], (self.token_count, tokens.shape[2])).to(self.device)
            return self.pool(networks["prior"].sample(tokens, noise, steps=parameters.prior_samples))

        what = f"NeuroClips: read meaning of {tuple(signals.shape[1:])}"
        options: dict[str, Any] = {"device": self.device, "memory": self.memory}
        return torch.cat(list(run_parts(what, len(seeds), read, most=DECODED, **options)))

    @torch.inference_mode()
    def read_sight(
        self, signals: Float[Tensor, "trial column time"], subject: Int64[Tensor, " trial"]
    ) -> Float[Tensor, "trial frame c y x"]:
        """Latents of the blurry video."""
        return self.trained()["perception"](signals, subject)[0]

    def draw(
        self,
        meaning: Float[Tensor, "trial embedding"] | None,
        blurry: Float[Tensor, "trial frame c y x"] | None,
        seeds: list[int],
    ) -> VideoBatch:
        """The video stage, in the suite's size. `meaning` None: an empty prompt; `blurry` None: from noise."""
        parameters, suite, g = self.parameters, self.suite, self.suite.geometry
        if meaning is None:
            embeddings = suite.encode_text([parameters.prompt_suffix] * len(seeds))
        else:
            embeddings = read_out(self.caption(meaning), self.captions, parameters.read_out)
        keyframes = None
        if parameters.keyframe:
            grey = np.full((len(seeds), g.height, g.width, 3), 128, np.uint8)  # nothing of it is left at strength 1
            keyframes = suite.refine_keyframe(embeddings, grey, seeds, strength=1.0, steps=parameters.keyframe_steps)
        return suite.generate_video(
            embeddings if parameters.caption else suite.negative_embedding.expand_as(embeddings),
            seeds,
            latents=None if blurry is None else interpolate_frames(blurry, g.frames).cpu(),
            keyframes=keyframes,
            start=parameters.start,
            strength=parameters.strength,
            steps=parameters.steps,
            guidance=parameters.guidance,
        )

    def caption(self, meaning: Float[Tensor, "trial embedding"]) -> Float[Tensor, "trial token width"]:
        """The text tokens that embeddings are put into, before any read-out: what stands in for BLIP-2."""
        return self.captions.expand(meaning.float().cpu() @ self.captioner)

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through (a variant builds no network that it leaves out)."""
        return count_parameters(self.trained())

    def trained(self) -> Any:
        return require_fitted(self.networks, "neuroclips")
