"""DynaMind: `fit` trains mapper, prior, aligner and generator, `reconstruct` joins them (DGVR).

    EEG → mapper → prior → text tokens ┐
    EEG → aligner → blueprint z_B      ┴→ Tune-A-Video from x_T = eps + alpha U(z_B)

Nothing here ever sees the caption or the latents of a tested clip. The released script conditions on the true captions
and on DDIM-inverted true latents: that is `dynamind_oracle` (oracle.py), a ceiling. Defaults are of a size for the mini
suite; `ablations.toml` has the paper's size as the profile `paper`. Where the sources leave a choice:

- *U* brings the blueprint to the mean square 1 that the noise has, by one number measured on the training trials. Its
  size is the generator's already. Blueprints are deviations from the training clips' mean latents.
- *alpha* is given nowhere: `alpha`.
- *Signals*: the harness scales each channel by training trials alone (the release took all seven blocks). They are
  resampled to `sampling_rate` for speed; the paper's 200 Hz is a parameter. The mapper trains with noise on them
  (`noise`), of which the sources say nothing: without it, it knew its training trials by heart (README).
- *Negative*: the empty caption. The release takes the mean of the true captions' embeddings.
- *Known subjects* share all networks; the paper has one model a subject (`single_subject`). *A new subject* gets a
  linear map of its channels, at first the identity, trained on its calibration trials by the mapper's loss, all else
  frozen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from baselines.dynamind.aligner import measure_alignment
from baselines.dynamind.mapper import Answers, measure_mapping
from baselines.dynamind.networks import Networks, build_networks
from baselines.dynamind.parameters import read_parameters
from baselines.dynamind.prior import draw_code, measure_prior
from baselines.dynamind.training import train_network
from bench.core.contracts import BrainData, Modality, Signals, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.core.seeds import derive_seed
from bench.pretrained.generators.pipelines import draw_noise
from bench.pretrained.generators.tune_a_video import InflatedUNet, encode_clips, sample, tune
from bench.toolbox.budget import release
from bench.toolbox.columns import measure_spread
from bench.toolbox.encoded import CaptionTokens, remember
from bench.toolbox.joined import join_sets
from bench.toolbox.read_outs import learn_captions, read_out
from bench.toolbox.read_signals import read_resampled
from bench.toolbox.resize import fit_clips
from bench.toolbox.rows import collect_all
from bench.toolbox.sizes import count_parameters
from bench.toolbox.targets import encode_captions, number_captions
from bench.toolbox.training import make_generator, plan_steps, seeded

CHUNK = 512  # trials passed through a network at once


class Held(NamedTuple):
    """Validation trials by which weights are chosen (`stopping`), and what their clips are."""

    signals: Float[Tensor, "trial channel time"]
    clip: Int64[Tensor, " trial"]
    answers: Answers
    latents: Float[Tensor, "clip frame channel y x"]  # off the device


class DynaMind:
    """DynaMind as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "eeg"
    version = 3
    drawn_by = ("read_out", "steps", "guidance")  # parameters that no fit reads
    asks = ("clip_large",)

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.networks: Networks | None = None
        self.maps: dict[int, Float[Tensor, "channel channel"]] = {}

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Mapper, prior, aligner, generator, one after the other."""
        parameters = self.parameters
        train = join_sets([train, validation] if parameters.use_validation else [train])
        self.clip_shape = train.video.shape[1:]
        self.categories = np.unique(train.concepts)
        signals = self.prepare(train.brain, train.sampling_rate)
        tokens, caption = encode_captions(self.suite, train.captions), number_captions(train.captions)[1]
        images, latents = self.see_images(train), encode_clips(self.suite, train.video)
        release(self.suite, "judges", "text_encoder")
        with seeded(self.device, "dynamind", "network", self.seed):
            networks = build_networks(
                parameters,
                train.channels,
                signals.shape[2],
                tokens=tokens.shape[1:],
                latent=latents.shape[1:],
                image=images.shape[1],
                categories=len(self.categories),
            )
        self.networks = networks.to(self.device)
        networks.code.learn(tokens, caption)
        self.captions = learn_captions(tokens, torch.from_numpy(train.concepts), caption)
        held = self.hold_out(validation) if parameters.stopping == "validation" else None
        answers, clip = self.answer(train, tokens, images), torch.from_numpy(train.clip).to(self.device)
        self.fit_mapper(signals, clip, answers, held)
        self.fit_prior(signals, clip, answers, held)
        if networks.aligner is not None:
            self.fit_aligner(signals, clip, latents, held)
        self.unet = self.tune(train)

    def hold_out(self, validation: TrainingSet) -> Held | None:
        """The validation trials of known concepts; None where there are none."""
        known = np.flatnonzero(np.isin(validation.concepts[validation.clip], self.categories))
        held = Held(
            signals=self.prepare(validation.brain, validation.sampling_rate)[known],
            clip=torch.from_numpy(validation.clip[known]).to(self.device),
            answers=self.answer(validation, encode_captions(self.suite, validation.captions)),
            latents=encode_clips(self.suite, validation.video),
        )
        release(self.suite, "judges", "text_encoder")
        return held if len(known) else None

    def fit_mapper(
        self,
        signals: Float[Tensor, "trial channel time"],
        clip: Int64[Tensor, " trial"],
        answers: Answers,
        held: Held | None,
    ) -> None:
        parameters, mapper = self.parameters, self.trained().mapper
        draw = make_generator("dynamind", "noise", self.seed)

        def check() -> float:
            assert held is not None
            return float(self.measure_mapping(held.signals, held.clip, held.answers))

        with seeded(self.device, "dynamind", "mapper dropout", self.seed):
            self.mapper_losses = train_network(
                mapper,
                lambda rows: self.measure_mapping(self.disturb(signals[rows], draw), clip[rows], answers),
                trials=len(signals),
                steps=plan_steps(parameters.mapper_epochs, len(signals), parameters.mapper_batch_size),
                batch_size=parameters.mapper_batch_size,
                learning_rate=parameters.mapper_learning_rate,
                weight_decay=parameters.mapper_weight_decay,
                batches=make_generator("dynamind", "mapper batches", self.seed),
                check=None if held is None else check,
                phase="training the regional mapper",
            )

    def measure_mapping(
        self, signals: Float[Tensor, "trial channel time"], clip: Int64[Tensor, " trial"], answers: Answers
    ) -> Float[Tensor, ""]:
        parameters = self.parameters
        weights = (parameters.text_weight, parameters.image_weight, parameters.category_weight)
        return measure_mapping(self.trained().mapper, signals, clip, answers, weights, parameters.temperature)

    def disturb(
        self, signals: Float[Tensor, "trial channel time"], generator: torch.Generator
    ) -> Float[Tensor, "trial channel time"]:
        noise = torch.randn(signals.shape, generator=generator).to(signals)
        return signals + self.parameters.noise * noise

    def fit_prior(
        self,
        signals: Float[Tensor, "trial channel time"],
        clip: Int64[Tensor, " trial"],
        answers: Answers,
        held: Held | None,
    ) -> None:
        parameters, networks = self.parameters, self.trained()
        parts = ({str(place): one.cpu().numpy() for place, one in enumerate(said)} for said in self.walk_map(signals))
        said = collect_all(parts, len(signals)).values()
        draw = make_generator("dynamind", "prior noise", self.seed)

        def check() -> float:
            assert held is not None
            fixed = make_generator("dynamind", "prior check", self.seed)
            true = self.find_code(held.answers, held.clip)
            return float(measure_prior(networks.prior, true, self.map(held.signals), fixed))

        def measure(rows: np.ndarray) -> Float[Tensor, ""]:
            given = [torch.from_numpy(one[rows]).to(self.device) for one in said]
            return measure_prior(networks.prior, self.find_code(answers, clip[rows]), given, draw)

        with seeded(self.device, "dynamind", "prior dropout", self.seed):
            self.prior_losses = train_network(
                networks.prior,
                measure,
                trials=len(signals),
                steps=plan_steps(parameters.prior_epochs, len(signals), parameters.prior_batch_size),
                batch_size=parameters.prior_batch_size,
                learning_rate=parameters.prior_learning_rate,
                weight_decay=parameters.prior_weight_decay,
                batches=make_generator("dynamind", "prior batches", self.seed),
                check=None if held is None else check,
                phase="training the prior",
            )

    def find_code(self, answers: Answers, clip: Int64[Tensor, " trial"]) -> Float[Tensor, "trial step number"]:
        """The code of the captions of these clips, on the device."""
        found = answers.text[answers.caption[clip].to(answers.text.device)]
        return found.to(self.device).unflatten(1, self.trained().code.shape)

    def fit_aligner(
        self,
        signals: Float[Tensor, "trial channel time"],
        clip: Int64[Tensor, " trial"],
        latents: Float[Tensor, "clip frame channel y x"],
        held: Held | None,
    ) -> None:
        parameters, aligner = self.parameters, self.trained().aligner
        assert aligner is not None
        middle = latents.mean(dim=(0, 1))
        deviation = measure_spread(latents, middle).sqrt().clamp_min(1e-6).to(self.device)
        mean = middle.to(self.device)
        options = {"contrast": parameters.contrast, "temperature": parameters.contrast_temperature}

        def find(latents: Tensor, clip: Int64[Tensor, " trial"]) -> Float[Tensor, "trial frame channel y x"]:
            return (latents[clip.to(latents.device)].to(self.device) - mean) / deviation

        def check() -> float:
            assert held is not None
            true = find(held.latents, held.clip)
            return float(measure_alignment(aligner, held.signals, held.clip, true, **options))

        def measure(rows: np.ndarray) -> Float[Tensor, ""]:
            return measure_alignment(aligner, signals[rows], clip[rows], find(latents, clip[rows]), **options)

        with seeded(self.device, "dynamind", "aligner dropout", self.seed):
            self.aligner_losses = train_network(
                aligner,
                measure,
                trials=len(signals),
                steps=plan_steps(parameters.aligner_epochs, len(signals), parameters.aligner_batch_size),
                batch_size=parameters.aligner_batch_size,
                learning_rate=parameters.aligner_learning_rate,
                weight_decay=parameters.aligner_weight_decay,
                batches=make_generator("dynamind", "aligner batches", self.seed),
                check=None if held is None else check,
                phase="training the temporal aligner",
            )
        with torch.no_grad():
            parts = [aligner(part).square().mean(dim=(1, 2, 3, 4)) for part in signals.split(CHUNK)]
        self.blueprint_scale = float(torch.cat(parts).mean().sqrt().clamp_min(1e-6))

    def tune(self, train: TrainingSet) -> InflatedUNet:
        parameters = self.parameters
        return tune(
            self.suite,
            train.video,
            train.captions,
            epochs=parameters.tuning_epochs,
            batch_size=parameters.tuning_batch_size,
            learning_rate=parameters.tuning_learning_rate,
            seed=self.seed,
            tokens=self.captions.tokens,
        )

    def adapt(self, calibration: TrainingSet) -> None:
        """A map of its channels for every subject here, from its own trials; everything else stays."""
        parameters, networks = self.parameters, self.trained()
        answers = self.answer(calibration, encode_captions(self.suite, calibration.captions))
        release(self.suite, "judges", "text_encoder")  # they were loaded again for these clips
        signals = self.prepare(calibration.brain, calibration.sampling_rate)
        known = np.isin(calibration.concepts[calibration.clip], self.categories)
        for number in np.unique(calibration.subject).tolist():
            trials = np.flatnonzero((calibration.subject == number) & known)
            heard, clip = signals[trials], torch.from_numpy(calibration.clip[trials]).to(self.device)
            change = nn.Parameter(torch.zeros(signals.shape[1], signals.shape[1], device=self.device))
            eye = torch.eye(len(change), device=self.device)

            def measure(rows: np.ndarray, heard=heard, clip=clip, change=change, eye=eye) -> Float[Tensor, ""]:
                return self.measure_mapping((eye + change) @ heard[rows], clip[rows], answers)

            train_network(
                networks.mapper,
                measure,
                parameters=[change],
                trials=len(trials),
                steps=plan_steps(parameters.calibration_epochs, len(trials), parameters.mapper_batch_size),
                batch_size=parameters.mapper_batch_size,
                learning_rate=parameters.calibration_learning_rate,
                weight_decay=parameters.mapper_weight_decay,
                batches=make_generator("dynamind", f"calibration {number}", self.seed),
                phase=f"adapting to subject {number}",
            )
            self.maps[number] = (eye + change).detach()

    @torch.inference_mode()
    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """From EEG to video, in the size of the training clips."""
        parameters = self.parameters
        signals = self.prepare(brain.brain, brain.sampling_rate, brain.subject)
        text = read_out(self.draw_tokens(signals, brain.seed), self.captions, parameters.read_out)
        start = self.make_start(signals, brain.seed)
        video = sample(self.suite, self.unet, text, start, steps=parameters.steps, guidance=parameters.guidance)
        return fit_clips(video, self.clip_shape)

    def draw_tokens(
        self, signals: Float[Tensor, "trial channel time"], seeds: Int64[np.ndarray, " trial"]
    ) -> Float[Tensor, "trial token d"]:
        """What the prior says that the text encoder would have said."""
        networks = self.trained()
        own_seeds = [derive_seed("dynamind", "prior", int(one)) for one in seeds]
        noise = draw_noise(own_seeds, networks.code.shape).to(self.device)
        code = draw_code(networks.prior, self.map(signals), noise, steps=self.parameters.prior_draws)
        return networks.code.decode(code)

    def make_start(
        self, signals: Float[Tensor, "trial channel time"], seeds: Int64[np.ndarray, " trial"]
    ) -> Float[Tensor, "trial channel frame y x"]:
        """x_T = eps + alpha U(z_B)."""
        g, aligner = self.suite.geometry, self.trained().aligner
        noise = draw_noise(seeds.tolist(), (g.latent_channels, g.frames, g.latent_height, g.latent_width))
        if aligner is None:
            return noise.to(self.device)
        blueprint = aligner(signals) / self.blueprint_scale
        return noise.to(self.device) + self.parameters.alpha * blueprint.transpose(1, 2)

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through, the generator's tuned ones among them."""
        maps = sum(one.numel() for one in self.maps.values())
        tuned = count_parameters(self.unet.trained_parameters())
        return self.trained().parameter_count + maps + tuned

    def trained(self) -> Networks:
        return require_fitted(self.networks, "dynamind")

    @torch.no_grad()
    def map(self, signals: Float[Tensor, "trial channel time"]) -> list[Float[Tensor, "trial _"]]:
        """What the prior is given for these trials."""
        return [torch.cat(some) for some in zip(*self.walk_map(signals), strict=True)]

    @torch.no_grad()
    def walk_map(self, signals: Float[Tensor, "trial channel time"]) -> Iterator[list[Float[Tensor, "n _"]]]:
        """`map` of some trials at a time."""
        for part in signals.split(CHUNK):
            yield self.trained().mapper(part).conditions()

    def answer(
        self, data: TrainingSet, tokens: CaptionTokens, images: Float[Tensor, "clip d"] | None = None
    ) -> Answers:
        """What the mapper is to say of the clips of this set, from the tokens of their different captions."""
        category = np.searchsorted(self.categories, data.concepts) % len(self.categories)  # asked of known ones alone
        return Answers(
            text=self.trained().code.encode_all(tokens),
            caption=number_captions(data.captions)[1].to(self.device),
            image=self.see_images(data) if images is None else images,
            category=torch.from_numpy(category.astype(np.int64)).to(self.device),
        )

    def see_images(self, data: TrainingSet) -> Float[Tensor, "clip d"]:
        """CLIP's embedding of the middle frame of each clip."""

        def encode(video: np.ndarray) -> Tensor:
            return torch.from_numpy(np.asarray(self.suite.embed_images(video[:, video.shape[1] // 2])))

        return remember(self.suite, "middle frames in CLIP", data.video, encode).float().to(self.device)

    def prepare(
        self, brain: Signals, rate: float, subject: Int64[np.ndarray, " trial"] | None = None
    ) -> Float[Tensor, "trial channel time"]:
        """All trials in memory at the networks' sampling rate, through their subjects' maps where there are any."""
        signals = torch.from_numpy(read_resampled(brain, rate, self.parameters.sampling_rate)).to(self.device)
        for number, matrix in self.maps.items() if subject is not None else ():
            rows = np.flatnonzero(subject == number)
            if len(rows):
                signals[rows] = matrix @ signals[rows]
        return signals
