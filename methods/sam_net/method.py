"""SAM-Net: `fit` trains HRT with C-SA, `adapt` maps new subjects to the known ones, `reconstruct` makes video.

The way from a trial to a video (§3.4): HRT gives text embeddings E and latents L; the VAE decodes the first frame's
latents to a blurry frame; an image-to-image model guided by E turns it into the key frame; the text-to-video model
with SparseCtrl makes the video from E, the key frame, and L.

Where what was measured goes against the paper (figures in the README, all on other seeds than the benchmark's):

- E is read out as the nearest training concept's (`read_out`), as of every method here, not as regressed: the
  generator, which was trained on captions' own embeddings, makes mush of what a regression gives
  (`bench.toolbox.read_outs`).
- L stands in for noise after noise was added to it (`start="renoised"`), since a regressed L has not the unit variance
  that the generator expects of noise. `"latents"` is the paper's raw replacement.

Both readings of the paper are variants (`--ablation readouts`, `--ablation reading`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from bench.core.contracts import BrainData, Modality, Signals, Space, TrainingSet, VideoBatch
from bench.core.errors import require_fitted
from bench.pretrained.generators.tune_a_video import encode_clips
from bench.toolbox.budget import release
from bench.toolbox.joined import join_sets
from bench.toolbox.parameters import take_fields
from bench.toolbox.read_outs import learn_captions, read_out
from bench.toolbox.read_signals import read_resampled
from bench.toolbox.resize import fit_clips
from bench.toolbox.rows import digest_video
from bench.toolbox.targets import encode_captions, number_captions
from bench.toolbox.training import make_generator, seeded
from methods.sam_net.covariance import measure_covariance, recolour
from methods.sam_net.heads import Decoder
from methods.sam_net.hrt import HybridRegionTemporalEncoder, PlainEncoder, assign_regions, count_steps
from methods.sam_net.new2source import gather_sources, map_new_to_source
from methods.sam_net.parameters import REGIONS, Parameters, read_parameters
from methods.sam_net.subjects import (
    SubjectClassifier,
    draw_other,
    find_centre,
    mean_trials,
    measure_similarity,
    order_subjects,
    plan_stages,
)
from methods.sam_net.training import Examples, Recipe, predict, train_decoder
from methods.sam_net.views import (
    Mapper,
    Recording,
    Viewer,
    measure_band_covariance,
    rows_by_subject,
)


class SamNet:
    """SAM-Net as the harness runs it. Raises BenchError for unknown parameters or values."""

    modality: Modality = "eeg"
    version = 5  # 4: `embed` was the plain mean of E's tokens
    drawn_by = (  # parameters that no fit reads
        *("read_out", "start", "strength", "steps", "guidance"),
        *("keyframe_strength", "keyframe_steps", "keyframe_guidance"),
        *("use_latents", "use_embeddings", "use_keyframe"),
    )
    embeds: Space = "words"

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.decoder: Decoder | None = None
        self.maps: dict[int, Mapper] = {}

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Stage 1: train HRT on the known subjects, on their validation block too (`use_validation`)."""
        parameters = self.parameters
        self.clip_shape = train.video.shape[1:]
        train = join_sets([train, validation] if parameters.use_validation else [train])
        recording = self.prepare(train.brain, train.sampling_rate)
        numbers, index = np.unique(train.subject, return_inverse=True)
        subject = torch.from_numpy(index.astype(np.int64)).to(self.device)
        rate = min(parameters.sampling_rate, train.sampling_rate)
        with seeded(self.device, "sam_net", "network", self.seed):
            samples = recording.slow.shape[2]
            decoder = build_decoder(parameters, train.channels, samples, rate, self.suite.geometry)
            classifiers = build_classifiers(parameters, len(numbers))
        self.decoder = decoder.to(self.device)
        tokens, caption = encode_captions(self.suite, train.captions), number_captions(train.captions)[1]
        release(self.suite, "text_encoder")
        concepts = torch.from_numpy(train.concepts)
        self.captions = learn_captions(tokens, concepts, caption)
        text = self.decoder.text.learn_basis(tokens, concepts, caption=caption, group_share=parameters.concept_share)
        latents = self.decoder.latents.learn_basis(encode_clips(self.suite, train.video))
        clip = torch.from_numpy(train.clip)
        who = numbers[index]
        self.viewer = Viewer(
            self.group_electrodes(train.channels),
            parameters.power_bands,
            steps=count_steps(samples, count_stride(parameters, rate)),
            shrinkage=(parameters.sphering_shrinkage, parameters.band_shrinkage),
        )
        self.viewer.learn_spheres(recording, who)
        self.viewer.learn_levels(recording, who)
        examples = Examples(
            views=self.viewer.see(recording, who), subject=subject, text=text[clip], latents=latents[clip]
        )
        similarity = measure_similarity(mean_trials(recording.slow, subject, len(numbers)))
        start = find_centre(similarity)
        if not parameters.centred:
            start = draw_other(len(numbers), start, make_generator("sam_net", "start", self.seed))
        order = order_subjects(similarity, start)
        self.order = tuple(int(numbers[one]) for one in order)
        epochs = parameters.epochs * (parameters.alone if len(numbers) == 1 else 1)
        steps = max(len(order), round(epochs * len(recording.slow) / parameters.batch_size))
        with seeded(self.device, "sam_net", "dropout", self.seed):
            train_decoder(
                self.decoder,
                [classifier.to(self.device) for classifier in classifiers],
                examples,
                plan_stages(order, steps=steps, progressive=parameters.progressive, last_share=parameters.last_share),
                take_fields(Recipe, parameters),
                batches=make_generator("sam_net", "batches", self.seed),
                augmentation=make_generator("sam_net", "augmentation", self.seed),
                phase=f"training HRT on {len(numbers)} subject{'s' if len(numbers) > 1 else ''}",
            )
        powers, clips = examples.views.powers, digest_clips(train)
        self.sources = gather_sources(recording.slow, powers, clips, subject, source=parameters.mapping_source)

    def adapt(self, calibration: TrainingSet) -> None:
        """Stage 2: a map to the known subjects for each new one, from its own calibration trials alone."""
        parameters = self.parameters
        self.trained()
        recording = self.prepare(calibration.brain, calibration.sampling_rate)
        clips = digest_clips(calibration)
        for number, rows in rows_by_subject(calibration.subject).items():
            own = recording[rows]
            if parameters.adaptation == "new2source":
                self.maps[number] = map_new_to_source(
                    self.sources,
                    own.slow,
                    self.viewer.view(own).powers,
                    [clips[row] for row in rows],
                    ridge=parameters.mapping_ridge,
                    rescale=parameters.mapping_rescale,
                )
            elif parameters.adaptation == "recolour":
                self.maps[number] = self.recolour(own)
        self.viewer.learn_levels(recording, calibration.subject, self.maps)

    def recolour(self, own: Recording) -> Mapper:
        """Gives a new subject's trials the known subjects' covariance, and that of each band: no labels, no pairs."""
        share, viewer = self.parameters.recolour_shrinkage, self.viewer
        return Mapper(
            recolour(measure_covariance(own.slow), self.sources.covariance, shrinkage=share),
            bands=tuple(
                recolour(measure_band_covariance(own, band), known, shrinkage=share)
                for band, known in zip(viewer.bands, viewer.band_covariances, strict=True)
            ),
        )

    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """Video of each trial (§3.4), in the size of the training clips."""
        parameters, suite = self.parameters, self.suite
        embeddings, latents = self.decode(brain)
        if not parameters.use_embeddings:
            embeddings = suite.negative_embedding.expand_as(embeddings)
        keyframes = None
        if parameters.use_keyframe:
            blurry = suite.decode_latents(latents[:, :1])[:, 0]  # BF = VAE(L_0)
            keyframes = suite.refine_keyframe(
                embeddings,
                blurry,
                brain.seed,
                strength=parameters.keyframe_strength if parameters.use_latents else 1.0,
                steps=parameters.keyframe_steps,
                guidance=parameters.keyframe_guidance,
            )
        video = suite.generate_video(
            embeddings,
            brain.seed,
            latents=latents if parameters.use_latents else None,
            keyframes=keyframes,
            start=parameters.start if parameters.use_latents else "noise",
            strength=parameters.strength,
            steps=parameters.steps,
            guidance=parameters.guidance,
        )
        return fit_clips(np.asarray(video), self.clip_shape)

    def decode(
        self, brain: BrainData
    ) -> tuple[Float[Tensor, "trial token width"], Float[Tensor, "trial frame channel height width"]]:
        """E and L of each trial, as they are read out."""
        decoder = self.trained()
        text, latents = self.regress(brain)
        read = read_out(decoder.text.expand(text), self.captions, self.parameters.read_out)
        return read, decoder.latents.expand(latents)

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial width"]:
        """Where E is aimed at in the space "words", as regressed: the whitened direction, before any read-out."""
        text, _ = self.regress(brain)
        captions = self.captions
        return captions.aim(captions.place(self.trained().text.expand(text))).numpy()

    def regress(self, brain: BrainData) -> tuple[Float[Tensor, "trial rank"], Float[Tensor, "trial rank"]]:
        """Coefficients of E and L of each trial, through the subject's map where it has one."""
        recording = self.prepare(brain.brain, brain.sampling_rate)
        return predict(self.trained(), self.viewer.see(recording, brain.subject, self.maps))

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through: the decoder and the new subjects' maps.

        The subject classifier is not among them: it is thrown away after training.
        """
        return self.trained().parameter_count + sum(map(len, self.maps.values()))

    def trained(self) -> Decoder:
        return require_fitted(self.decoder, "sam_net")

    def prepare(self, brain: Signals, rate: float) -> Recording:
        """All trials in memory, on the device, at the encoder's rate, and as they are where powers are looked at."""

        def read(wanted: float) -> Tensor:
            return torch.from_numpy(read_resampled(brain, rate, wanted)).to(self.device)

        slow = read(self.parameters.sampling_rate)
        return Recording(slow, read(rate) if self.parameters.power_bands else None, rate)

    def group_electrodes(self, channels: Sequence[str]) -> list[list[int]]:
        """Which of the electrodes in use are sphered together: none are, by `sphering="none"`."""
        if self.parameters.sphering == "none":
            return []
        chosen = self.parameters.regions if self.parameters.encoder == "hrt" else REGIONS
        regions = [indices for region, indices in assign_regions(channels).items() if region in chosen and indices]
        return regions if self.parameters.sphering == "regions" else [[index for part in regions for index in part]]


def build_classifiers(parameters: Parameters, subjects: int) -> list[SubjectClassifier]:
    """The adversary of each encoder; none where there is nobody to tell apart."""
    if parameters.adversary == 0 or subjects < 2:
        return []
    features = parameters.queries * parameters.width
    encoders = 2 if parameters.encoders == "two" else 1
    return [SubjectClassifier(features, subjects, hidden=parameters.adversary_width) for _ in range(encoders)]


def build_decoder(parameters: Parameters, channels: Sequence[str], samples: int, rate: float, geometry: Any) -> Decoder:
    """The untrained network for these electrodes, `samples` at `rate` Hz, and a suite's geometry."""

    def build_encoder(bands: int) -> HybridRegionTemporalEncoder | PlainEncoder:
        if parameters.encoder == "plain":
            return PlainEncoder(len(channels), bands=bands, **shared)
        return HybridRegionTemporalEncoder(
            channels,
            samples,
            regions=parameters.regions,
            attention_pool=parameters.attention_pool,
            bands=bands,
            layers=parameters.layers,
            heads=parameters.heads,
            **shared,
        )

    shared: dict[str, Any] = {
        "filters": parameters.filters,
        "kernel": 2 * round(parameters.kernel_seconds * rate / 2) + 1,  # odd, so that steps keep their place
        "stride": count_stride(parameters, rate),
        "width": parameters.width,
        "queries": parameters.queries,
        "dropout": parameters.dropout,
    }
    return Decoder(
        build_encoder(len(parameters.power_bands)),
        build_encoder(0) if parameters.encoders == "two" else None,
        features=parameters.queries * parameters.width,
        text_shape=(geometry.tokens, geometry.text_width),
        latent_shape=(geometry.frames, geometry.latent_channels, geometry.latent_height, geometry.latent_width),
        text_rank=parameters.text_rank,
        latent_rank=parameters.latent_rank,
        concepts=parameters.concept_rank,
    )


def count_stride(parameters: Parameters, rate: float) -> int:
    return max(1, round(parameters.stride_seconds * rate))


def digest_clips(data: TrainingSet) -> list[str]:
    """For each trial, the digest of the clip that it shows: training and calibration number their clips separately."""
    digests = [digest_video(clip) for clip in data.video]
    return [digests[clip] for clip in data.clip]
