"""GLFA as the harness runs it: `fit` aligns and trains, `adapt` maps new subjects, `reconstruct` makes video.

Li et al., *Enhancing Cross-Subject fMRI-to-Video Decoding with Global-Local Functional Alignment* (ECCV 2024):

    fMRI of a subject → common map (alignment.py) → vision transformer (encoder.py) → text tokens → video diffusion

Two forms, by the parameter `form`. "atlas" is the released one (atlas.py): one map for all subjects and an encoder of
each volume; contrast with CLIP first, then the video model's loss with those of the map. "canonical", the default, is
for voxels that have no place on an atlas:

- The alignment is solved first and stays; the networks then learn on aligned trials (alignment.py says why).
- The encoder is trained on the captions' tokens and by contrast with CLIP, then together with LoRA on the video model
  by the diffusion loss (`baselines.encoders.brain_tokens`).
- AnimateDiff of the suite stands in for zeroscope_v2_576w: both draw all frames at once under 77 text tokens.
- Map and encoder know no subject, so a new one needs its map alone, which comes from the clips that known subjects saw
  (on an atlas none: everybody's map is the same).
- Nothing is chosen by the validation trials, so they are learned from; the numbers of epochs are fixed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.encoders.brain_tokens import Recipe, encode_targets, train_both
from baselines.glfa import released
from baselines.glfa.alignment import WHOLE, FunctionalAlignment
from baselines.glfa.atlas import AtlasEncoder, measure_map
from baselines.glfa.encoder import MapEncoder
from baselines.glfa.parameters import Parameters, read_parameters
from bench.core.contracts import BrainData, Modality, Signals, TrainingSet, VideoBatch
from bench.core.errors import UnknownRegion, require_fitted
from bench.pretrained.decoders import LORA_TARGETS, AnimateDiffDecoder, list_lora
from bench.toolbox.joined import join_sets
from bench.toolbox.parameters import take_fields
from bench.toolbox.parts import run_in_parts
from bench.toolbox.read_outs import learn_captions, read_out
from bench.toolbox.read_signals import Reader, read_trials
from bench.toolbox.released import load_released
from bench.toolbox.resize import make_videos
from bench.toolbox.rows import digest_video, hold
from bench.toolbox.sizes import PaperPart, count_parameters
from bench.toolbox.training import make_generator, seeded
from bench.toolbox.voxels import require_regions

DECODED = 32  # trials decoded at once
CHUNK = 256  # trials read at once


class Glfa:
    """GLFA. Raises BenchError for unknown parameters or values."""

    modality: Modality = "fmri"
    version = 2
    drawn_by = ("read_out", "steps", "guidance")  # parameters that no fit reads
    asks = ("clip_large",)  # the judge whose embeddings are a target: it keys the predictions

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.encoder: MapEncoder | AtlasEncoder | None = None

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """The common map, then the encoder on it, then encoder and LoRA under the video model's loss."""
        parameters = self.parameters
        train = join_sets([train, validation] if parameters.use_validation else [train])
        self.clip_shape = train.video.shape[1:]
        self.known = {digest_video(video): number for number, video in enumerate(train.video)}
        with seeded(self.device, "glfa", "lora", self.seed):
            self.decoder = AnimateDiffDecoder(
                self.suite,
                clip_shape=self.clip_shape[:3],
                rank=parameters.lora_rank,
                scale=parameters.lora_scale,
                steps=parameters.steps,
                guidance=parameters.guidance,
            )
        targets = encode_targets(self.suite, self.decoder, train, frames=parameters.alignment_frames)
        widths = {
            "volumes": train.brain.shape[2],
            "embedding": targets.text.shape[1],
            "text_tokens": targets.tokens.shape[1],
            "text": targets.tokens.shape[2],
        }
        read: Reader
        encoder: MapEncoder | AtlasEncoder
        late: nn.Module | None = None  # what learns beside the video model alone
        beside = None
        self.captions = learn_captions(targets.tokens, torch.from_numpy(train.concepts), targets.caption)
        if parameters.form == "atlas":
            read = read_trials(train, self.device)
            with seeded(self.device, "glfa", "network", self.seed):
                encoder = build_atlas(parameters, **widths).to(self.device)
            if parameters.weights is not None:
                load_released(encoder, parameters.weights, released.RULES, released.ENCODER, fresh=released.FRESH)
            late, beside = encoder.map, self.pair_subjects(encoder, train, read)
        else:
            read, encoder = self.align(train, **widths)
            encoder.head.learn_axes(targets.tokens, targets.caption)
        self.losses, self.joint_losses = train_both(
            "glfa",
            encoder,
            self.decoder,
            self.suite,
            train,
            read,
            targets,
            take_fields(Recipe, parameters),
            epochs=parameters.train_epochs,
            seed=self.seed,
            phases=("training the encoder on the common map", "training with the video model"),
            late=late,
            beside=beside,
        )
        self.encoder = encoder

    def align(self, train: TrainingSet, **widths: int) -> tuple[Reader, MapEncoder]:
        """The canonical form: training trials on the common map, read by rows, and the untrained encoder of it."""
        parameters, regions = self.parameters, name_regions(train, self.parameters)
        self.alignment = build_alignment(parameters)
        maps = torch.from_numpy(
            self.alignment.fit(
                hold(train.brain),
                train.subject,
                train.clip,
                len(train.video),
                regions,
                folds=parameters.folds,
            )
        )
        sized = match_capacity(parameters, regions, **widths) if parameters.match_base else parameters
        with seeded(self.device, "glfa", "network", self.seed):
            encoder = build_encoder(sized, regions, **widths).to(self.device)
        subject = torch.from_numpy(train.subject)
        return lambda rows: (maps[rows].to(self.device), subject[rows].to(self.device)), encoder

    def pair_subjects(
        self, encoder: AtlasEncoder, train: TrainingSet, read: Reader
    ) -> Callable[[np.ndarray], Float[Tensor, ""]]:
        """Measures the map on the trials of a batch, each beside a trial of another subject who saw its clip."""
        parameters, draw = self.parameters, make_generator("glfa", "partners", self.seed)
        shown: dict[int, np.ndarray] = {clip: np.flatnonzero(train.clip == clip) for clip in np.unique(train.clip)}

        def measure(rows: np.ndarray) -> Float[Tensor, ""]:
            paired, partner = [], []
            for place, row in enumerate(rows.tolist()):
                others = shown[train.clip[row]]
                others = others[train.subject[others] != train.subject[row]]
                if len(others):
                    paired.append(place)
                    partner.append(others[int(torch.randint(len(others), (), generator=draw))])
            signals = read(rows)[0]
            beside = read(np.array(partner))[0] if partner else signals[:0]
            places = torch.tensor(paired, dtype=torch.int64, device=signals.device)

            def measure_all(_: slice) -> tuple[Tensor, ...]:
                moved, apart = measure_map(encoder, signals, beside, places)
                return ((parameters.move_weight * moved + parameters.align_weight * apart)[None],)

            # one part, of which nothing is kept beside the decoder's: it is computed again
            options: Any = {"through": [], "device": signals.device, "memory": getattr(self.suite, "memory", None)}
            return run_in_parts("GLFA's map", 1, measure_all, **options, later=True)[0][0]

        return measure

    def adapt(self, calibration: TrainingSet) -> None:
        """A map for each new subject, by the clips that known subjects saw; all else stays. On an atlas: nothing."""
        if isinstance(self.trained(), AtlasEncoder):
            return
        shown = np.array([self.known.get(digest_video(video), -1) for video in calibration.video], dtype=np.int64)
        regions = name_regions(calibration, self.parameters)
        for number in np.unique(calibration.subject).tolist():
            rows = np.flatnonzero(calibration.subject == number)
            self.alignment.add_subject(
                number, read_rows(calibration.brain, rows), shown[calibration.clip[rows]], regions[number]
            )

    @torch.inference_mode()
    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """From fMRI to video, in the size of the training clips."""
        self.trained()

        def make(rows: np.ndarray) -> VideoBatch:
            text = read_out(self.read_brain(brain, rows)[1], self.captions, self.parameters.read_out)
            return self.decoder.generate(text, brain.seed[rows].tolist())

        return make_videos(len(brain.brain), make, at_once=DECODED, shape=self.clip_shape)

    @torch.inference_mode()
    def read_brain(
        self, brain: BrainData, rows: np.ndarray
    ) -> tuple[Float[Tensor, "trial embedding"], Float[Tensor, "trial token text"]]:
        """What the encoder makes of these trials: embeddings, and tokens for the video model."""
        encoder, signals = self.trained(), read_rows(brain.brain, rows)
        if isinstance(encoder, MapEncoder):
            signals = self.alignment.apply(signals, brain.subject[rows])
        subject = torch.from_numpy(brain.subject[rows])
        return encoder(torch.from_numpy(signals).to(self.device), subject.to(self.device))

    @property
    def parameter_count(self) -> int:
        """Learned numbers that a reconstruction passes through: maps of all subjects, encoder, LoRA."""
        encoder, lora = self.trained(), count_parameters(list_lora(self.decoder.network))
        if isinstance(encoder, AtlasEncoder):  # whose path to CLIP's embedding is for training alone
            unused = count_parameters(encoder.pool) + count_parameters(encoder.project)
            return count_parameters(encoder) - unused + lora
        return self.alignment.parameter_count + count_parameters(encoder) + lora

    def trained(self) -> MapEncoder | AtlasEncoder:
        require_fitted(self.encoder, "glfa")
        assert self.encoder is not None
        return self.encoder


def build_alignment(parameters: Parameters) -> FunctionalAlignment:
    return FunctionalAlignment(
        sites=parameters.local_patches * parameters.patch,
        global_sites=parameters.global_patches * parameters.patch,
        ridge=parameters.ridge,
        global_ridge=parameters.global_ridge,
    )


def build_encoder(parameters: Parameters, regions: Mapping[int, Sequence[str]], **widths: int) -> MapEncoder:
    """The untrained encoder for a map of these subjects; `widths` are volumes, embedding, text_tokens and text."""
    parts = build_alignment(parameters).plan(regions)
    patches = sum(parameters.global_patches if part == WHOLE else parameters.local_patches for part in parts)
    return MapEncoder(
        patches=patches,
        patch=parameters.patch,
        width=parameters.width,
        layers=parameters.layers,
        heads=parameters.heads,
        feedforward=parameters.feedforward,
        dropout=parameters.dropout,
        noise=parameters.noise,
        text_rank=parameters.text_rank,
        **widths,
    )


def build_atlas(parameters: Parameters, **widths: int) -> AtlasEncoder:
    """The untrained map and encoder of the released form; `widths` as for `build_encoder`."""
    return AtlasEncoder(
        side=parameters.side,
        patch=math.isqrt(parameters.patch),
        kernel=parameters.kernel,
        width=parameters.width,
        layers=parameters.layers,
        heads=parameters.heads,
        feedforward=parameters.feedforward,
        dropout=parameters.dropout,
        **widths,
    )


def match_capacity(parameters: Parameters, regions: Mapping[int, Sequence[str]], **widths: int) -> Parameters:
    """The parameters with the feed-forward layer so wide that map and encoder count what the base's do, to half a unit.

    The base is these parameters with both parts of the alignment. LoRA is no part of it.
    """
    plain = Parameters()
    base = dataclasses.replace(parameters, local_patches=plain.local_patches, global_patches=plain.global_patches)
    with torch.device("meta"):
        wanted, found = (
            build_alignment(one).count(regions) + count_parameters(build_encoder(one, regions, **widths))
            for one in (base, parameters)
        )
    unit = parameters.layers * (2 * parameters.width + 1)  # numbers that one more hidden unit brings
    return dataclasses.replace(parameters, feedforward=parameters.feedforward + round((wanted - found) / unit))


def name_regions(data: TrainingSet, parameters: Parameters) -> dict[int, Sequence[str]]:
    """Region of each voxel of each subject. Raises UnknownRegion where the map is local in regions and there is one."""
    subjects = np.unique(data.subject).tolist()
    if not parameters.local_patches:
        return {number: data.rois.get(number) or ("cortex",) * data.brain.shape[1] for number in subjects}
    require_regions(data, ["the regions within which the map is local"])
    told = sorted({name for number in subjects for name in data.rois.get(number, ())})
    if len(told) < 2:
        raise UnknownRegion(
            f"the map is local within regions, and this data has {', '.join(told) or 'none'}; write the file of its "
            "regions (`data verify` says which), or take the global map alone with local_patches=0"
        )
    return {number: data.rois[number] for number in subjects}


def read_rows(brain: Signals, rows: np.ndarray) -> Float[np.ndarray, "trial column time"]:
    """Signals of these rows, read in chunks."""
    parts = [brain[rows[start : start + CHUNK]] for start in range(0, len(rows), CHUNK)]
    return np.concatenate([np.zeros((0, *brain.shape[1:]), np.float32), *parts])


def list_paper_parts(parameters: Parameters, *, volumes: int = 5) -> list[PaperPart]:
    """The parts for a window of so many volumes; the voxels are pixels of the atlas, whoever's they are.

    OpenCLIP's ViT-H, which zeroscope reads texts by, gives 77 tokens of 1,024.
    """
    from diffusers import UNet3DConditionModel

    encoder = build_atlas(parameters, volumes=volumes, embedding=1024, text_tokens=77, text=1024)
    video, rank = UNet3DConditionModel(attention_head_dim=64), parameters.lora_rank  # the rest as the class has it
    adapted = [  # each gets two factors; this class has no adapters of its own
        layer
        for name, layer in video.named_modules()
        if name.endswith(tuple(LORA_TARGETS)) and isinstance(layer, torch.nn.Linear)
    ]
    lora = sum(rank * (layer.in_features + layer.out_features) for layer in adapted)
    transformer = nn.ModuleList([encoder.embed, encoder.layers, encoder.norm])
    to_text = nn.ModuleList([encoder.over_volumes, encoder.to_tokens, encoder.head])
    return [
        ("functional map", encoder.map, "11,141,120 released"),
        ("vision transformer", [*transformer.parameters(), encoder.global_token], "302,575,616 released"),
        ("volumes to text tokens", to_text, "13,036,498 released"),
        (
            "tokens to CLIP's embedding, in training alone",
            nn.ModuleList([encoder.pool, encoder.project]),
            "1,051,143 released",
        ),
        (f"LoRA, rank {rank}", lora, "rank 4, scale 16"),
        ("zeroscope's UNet, frozen", video, "zeroscope_v2_576w"),
    ]
