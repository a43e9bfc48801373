"""EEG2Video: `fit` trains three networks on EEG and tunes the generator, `reconstruct` makes video.

The way from a trial to a video: the seq2seq model reads windows of the signal and writes latents of each frame; GLMNet
reads band powers and says whether the clip is fast; DANA noises the latents accordingly; the semantic predictor reads
the band powers and writes the text embedding, under which the tuned video model denoises them.

Where the released code and the paper differ, the sound form is the default and the released one a variant of the group
`released` in `ablations.toml`. Defaults are of a size for the mini suite; the profile `paper` has the published size.

Chosen here:

- One model for all subjects of a fold, where the paper has one a subject (`single_subject`): band powers are
  standardised by each subject's own trials. A new subject brings nothing but that standardisation, from its
  calibration trials: the paper has no new subjects.
- AdamW with one cycle of the rate (`bench.toolbox.training`), where the paper has Adam and a cosine schedule.
- The raw signal is standardised by the harness, not once more a sample of a window.
- Fast and slow clips are told apart by optical flow measured on the training clips.
- The video model is tuned on all training clips of the fold; the authors name 50, 80, 200 and 1,200.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn
from torch.nn import functional

from baselines.eeg2video import released
from baselines.eeg2video.dynamics import add_released_noise, draw_dynamic_noise, measure_motion, split_fast
from baselines.eeg2video.features import (
    BANDS,
    Scaler,
    cut_windows,
    measure_scaler,
    read_band_powers,
)
from baselines.eeg2video.glmnet import GLMNet
from baselines.eeg2video.parameters import Parameters, read_parameters
from baselines.eeg2video.semantic import SemanticPredictor, average_concepts
from baselines.eeg2video.seq2seq import Seq2Seq
from bench.core.contracts import BrainData, Modality, Space, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.pretrained.generators.pipelines import draw_noise, start_latents
from bench.pretrained.generators.tune_a_video import encode_clips, inflate, load_scheduler, sample, tune
from bench.toolbox.encoded import CaptionTokens
from bench.toolbox.joined import join_sets
from bench.toolbox.read_outs import learn_captions, read_out
from bench.toolbox.read_signals import read_resampled
from bench.toolbox.released import load_released
from bench.toolbox.resize import fit_clips
from bench.toolbox.sizes import STABLE_DIFFUSION, PaperPart, count_parameters
from bench.toolbox.targets import encode_captions, number_captions
from bench.toolbox.training import make_generator, plan_steps, seeded, train_steps

PREDICTED = 128  # trials through the networks at once


class EEG2Video:
    """EEG2Video as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "eeg"
    version = 3  # 2: `embed` was the plain mean of the text's tokens
    drawn_by = ("read_out", "steps", "guidance", "strength")  # parameters that no fit reads
    embeds: Space = "words"

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.networks: Networks | None = None
        self.losses: dict[str, list[float]] = {}  # of each network, at each step

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Tune the video model, then train the networks on EEG; on the validation trials like on all others."""
        parameters, suite = self.parameters, self.suite
        train = join_sets([train, validation] if parameters.use_validation else [train])
        self.clip_shape = train.video.shape[1:]
        latents = encode_clips(suite, train.video)  # (clip, f, c, y, x)
        text, caption = encode_captions(suite, train.captions), number_captions(train.captions)[1]
        self.video_model = tune(
            suite,
            train.video,
            train.captions,
            epochs=parameters.tuning_epochs,
            batch_size=parameters.tuning_batch_size,
            learning_rate=parameters.tuning_learning_rate,
            seed=self.seed,
            tokens=text,
        )
        signals = read_resampled(train.brain, train.sampling_rate, parameters.sampling_rate)
        windows = self.cut(signals, train.sampling_rate)
        features = read_band_powers(train.brain, train.sampling_rate, whole=parameters.whole_trial)
        self.scaler = measure_scaler(features, train.subject)
        scaled = torch.from_numpy(self.scaler.scale(features, train.subject)).to(self.device)
        with seeded(self.device, "eeg2video", "networks", self.seed):
            networks = build_networks(
                parameters, channels=train.channels, windows=windows.shape[1], samples=windows.shape[3],
                rate=min(parameters.sampling_rate, train.sampling_rate), latent_shape=latents.shape[1:],
                text_shape=text.shape[1:],
            ).to(self.device)  # fmt: skip
        clip, concepts = torch.from_numpy(train.clip), torch.from_numpy(train.concepts)
        networks.semantic.start_at(text.average(caption).to(self.device))
        self.captions = learn_captions(text, concepts, caption)
        if parameters.semantic_targets == "concept":
            text, caption = average_concepts(text, caption, concepts)

        def regress(targets: Tensor | CaptionTokens, shown: Int64[Tensor, " trial"]) -> Any:
            return lambda made, rows: functional.mse_loss(made, targets[shown[rows]].to(self.device))

        if networks.seq2seq is not None:
            networks.seq2seq.start_at(latents.mean(dim=(0, 1)).to(self.device))
        start_from(parameters, networks)
        if networks.seq2seq is not None:
            read = lambda rows: torch.from_numpy(np.ascontiguousarray(windows[rows])).to(self.device)  # noqa: E731
            self.train("seq2seq", networks.seq2seq, read, regress(latents, clip), len(clip))
        self.train("semantic", networks.semantic, lambda rows: scaled[rows], regress(text, caption[clip]), len(clip))
        if networks.dynamic is not None:
            fast = self.flag(train).to(self.device)[clip.to(self.device)].long()
            classify = lambda made, rows: functional.cross_entropy(made, fast[rows])  # noqa: E731
            self.train("dynamic", networks.dynamic, lambda rows: scaled[rows], classify, len(clip))
        self.networks = networks

    def train(self, name: str, network: nn.Module, read: Any, measure: Any, trials: int) -> None:
        parameters = self.parameters
        with seeded(self.device, "eeg2video", f"{name} dropout", self.seed):
            self.losses[name] = train_steps(
                network,
                lambda rows: measure(network(read(rows)), rows),
                parameters=list(network.parameters()),
                trials=trials,
                steps=plan_steps(getattr(parameters, f"{name}_epochs"), trials, parameters.batch_size),
                batch_size=parameters.batch_size,
                learning_rate=getattr(parameters, f"{name}_learning_rate"),
                weight_decay=parameters.weight_decay,
                batches=make_generator("eeg2video", f"{name} batches", self.seed),
                phase=f"training the {name} network",
            )
        network.requires_grad_(False)

    def flag(self, train: TrainingSet) -> Bool[Tensor, " clip"]:
        """Which training clips are fast; in the released form those flags belong to other clips."""
        fast = split_fast(measure_motion(train.video))
        if self.parameters.permuted_flags:
            fast = fast[torch.randperm(len(fast), generator=make_generator("eeg2video", "flags", self.seed))]
        return fast

    def adapt(self, calibration: TrainingSet) -> None:
        """A new subject's band powers are standardised by its calibration trials; all networks stay."""
        self.trained()
        features = read_band_powers(calibration.brain, calibration.sampling_rate, whole=self.parameters.whole_trial)
        new = measure_scaler(features, calibration.subject)
        self.scaler = Scaler({**self.scaler.mean, **new.mean}, {**self.scaler.deviation, **new.deviation})

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """From EEG to video, in the size of the training clips."""
        parameters = self.parameters
        latents, text, fast = self.decode(brain)
        text = read_out(text, self.captions, parameters.read_out)
        start, share = self.make_start(latents, fast, brain.seed.tolist())
        video = sample(
            self.suite, self.video_model, text, start, steps=parameters.steps, guidance=parameters.guidance, share=share
        )
        return fit_clips(video, self.clip_shape)

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial d"]:
        """Where the semantic predictor's text is aimed at in the space "words", before any read-out."""
        _, text, _ = self.decode(brain)
        return self.captions.aim(self.captions.place(text)).numpy()

    @torch.inference_mode()
    def decode(
        self, brain: BrainData
    ) -> tuple[Float[Tensor, "trial f c y x"] | None, Float[Tensor, "trial token d"], Bool[Tensor, " trial"]]:
        """Latents (None without seq2seq), text embeddings, and whether each clip is fast."""
        parameters, networks = self.parameters, self.trained()
        windows = self.cut(
            read_resampled(brain.brain, brain.sampling_rate, parameters.sampling_rate), brain.sampling_rate
        )
        features = read_band_powers(brain.brain, brain.sampling_rate, whole=parameters.whole_trial)
        scaled = torch.from_numpy(self.scaler.scale(features, brain.subject)).to(self.device)
        latents, text, fast = [], [], []
        for first in range(0, len(scaled), PREDICTED):
            rows = slice(first, first + PREDICTED)
            if networks.seq2seq is not None:
                shown = torch.from_numpy(np.ascontiguousarray(windows[rows])).to(self.device)
                latents.append(networks.seq2seq(shown).cpu())
            text.append(networks.semantic(scaled[rows]).cpu())
            said = torch.zeros(len(scaled[rows]), dtype=torch.bool)
            fast.append(said if networks.dynamic is None else networks.dynamic(scaled[rows]).argmax(dim=1).cpu() == 1)
        return torch.cat(latents) if latents else None, torch.cat(text), torch.cat(fast)

    def make_start(
        self, latents: Float[Tensor, "trial f c y x"] | None, fast: Bool[Tensor, " trial"], seeds: Sequence[int]
    ) -> tuple[Float[Tensor, "trial c f y x"], float]:
        """What the video model starts from, and the share of its steps that lie ahead."""
        parameters, g = self.parameters, self.suite.geometry
        shape = (g.latent_channels, g.frames, g.latent_height, g.latent_width)
        if latents is None:
            return draw_noise(seeds, shape), 1.0
        clips = latents.transpose(1, 2)
        if parameters.dana:
            beta = torch.where(fast, parameters.beta_fast, parameters.beta_slow)
            noise = draw_dynamic_noise(seeds, shape, beta)
        else:
            noise = draw_noise(seeds, shape)
        if parameters.start == "released":
            return (add_released_noise(clips, noise, seeds) if parameters.dana else clips), 1.0
        steps = self.suite.settings["steps"] if parameters.steps is None else parameters.steps
        scheduler = load_scheduler(self.suite)
        return start_latents(
            "renoised", noise, clips, scheduler, steps=steps, strength=parameters.strength
        ), parameters.strength

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through, those of the tuned video model among them."""
        parts = [*self.trained().parameters(), *self.video_model.trained_parameters()]
        return count_parameters(parts)

    def trained(self) -> Networks:
        return require_fitted(self.networks, "eeg2video")

    def cut(self, signals: np.ndarray, rate: float) -> np.ndarray:
        parameters = self.parameters
        return cut_windows(
            signals, min(parameters.sampling_rate, rate), seconds=parameters.window_seconds, hop=parameters.hop_seconds
        )


class Networks(nn.Module):
    """The three networks that see EEG; a part that is switched off is None."""

    def __init__(self, seq2seq: Seq2Seq | None, semantic: SemanticPredictor, dynamic: GLMNet | None) -> None:
        super().__init__()
        self.seq2seq, self.semantic, self.dynamic = seq2seq, semantic, dynamic


def start_from(parameters: Parameters, networks: Networks) -> None:
    """Put the authors' numbers into the networks where the parameters name files of them."""
    if networks.seq2seq is not None and parameters.seq2seq_weights is not None:
        load_released(networks.seq2seq, parameters.seq2seq_weights, released.TO_SEQ2SEQ, released.SEQ2SEQ)
    if parameters.semantic_weights is not None:
        load_released(networks.semantic, parameters.semantic_weights, released.TO_SEMANTIC, released.SEMANTIC)
    if networks.dynamic is not None and parameters.dynamic_weights is not None:
        load_released(networks.dynamic, parameters.dynamic_weights, released.TO_DYNAMIC, released.DYNAMIC)


def build_networks(
    parameters: Parameters,
    *,
    channels: Sequence[str],
    windows: int,
    samples: int,
    rate: float,
    latent_shape: Sequence[int],
    text_shape: Sequence[int],
) -> Networks:
    """The untrained networks for these electrodes, `windows` of `samples` at `rate` Hz, and a suite's geometry."""
    features = len(channels) * len(BANDS)
    seq2seq = dynamic = None
    if parameters.seq2seq:
        shared = ("filters", "depth", "pointwise", "width", "heads", "encoder_layers", "decoder_layers", "feedforward",
                  "dropout", "window_dropout", "first_token")  # fmt: skip
        seq2seq = Seq2Seq(
            len(channels), windows, samples, rate, latent_shape, **{name: getattr(parameters, name) for name in shared}
        )
        if parameters.dana:
            dynamic = GLMNet(channels, 2, hidden=parameters.glmnet_hidden, embedding=parameters.glmnet_embedding)
    semantic = SemanticPredictor(
        features, text_shape, hidden=parameters.hidden, layers=parameters.layers, dropout=parameters.semantic_dropout
    )
    return Networks(seq2seq, semantic, dynamic)


def list_paper_parts(parameters: Parameters) -> list[PaperPart]:
    """The parts for SEED-DV's cap, windows of half a second at 200 Hz, and six frames of 512 × 288 pixels."""
    from diffusers import UNet2DConditionModel

    cap = [*("E1",) * 50, *("O1",) * 12]  # as many over visual cortex as SEED-DV's has, all that GLMNet asks
    networks = build_networks(
        parameters,
        channels=cap,
        windows=7,
        samples=100,
        rate=200.0,
        latent_shape=(6, 4, 36, 64),
        text_shape=(77, 768),
    )
    video = inflate(UNet2DConditionModel(**STABLE_DIFFUSION))
    return [
        ("seq2seq", networks.seq2seq, "32,611,917, with three layers that nothing reads"),
        ("semantic predictor", networks.semantic, "894,559,136"),
        ("GLMNet, 40 classes", GLMNet(cap, 40), "491,176"),
        ("GLMNet, fast or slow", networks.dynamic, "not given"),
        ("video model, trained", video.trained_parameters(), "not given"),
        ("video model, all", video, "not given"),
    ]
