"""CineSync as the harness runs it: `fit` trains both stages, `adapt` gives a new subject a first layer.

Gao et al., *CineBrain: A Large-Scale Multi-Modal Brain Dataset During Naturalistic Audiovisual Narrative Processing*
(arXiv 2503.06940):

    fMRI or EEG → transformer (encoders.py) → tokens in place of a caption's → video diffusion transformer with LoRA

**The fused form is not offered.** CineSync's best rows read fMRI and EEG of the same clip at once. A data set here
holds one kind of recording at a time, so this is CineSync-fMRI on fMRI and CineSync-EEG on EEG, rows of the paper's own
table. Of its five contrastive losses two are left (video and text); the other three need both kinds.

Other choices:

- Wan of the suite stands in for CogVideoX-5B: both are diffusion transformers under text tokens, with a causal video
  autoencoder (`bench.pretrained.decoders`).
- CLIP of the suite stands in for SigLIP2; a clip's embedding is the mean of its frames'.
- Stage 1 is contrast, stage 2 the diffusion loss with the contrastive ones rescaled to it. The released code says no
  more of stage 1; here it is stage 2 without the video model.
- In the paper the tokens learn from the diffusion loss alone, for thousands of steps on four H100. A small machine does
  a hundred, so the tokens also regress the caption's own tokens (`token_weight`); 0 is the letter, and the size of the
  paper has it.
- Visual regions alone are read (CineSync); `regions="visual_auditory"` is CineSync⋆, `"visual_hippocampus"` what
  CineNeuron calls CineSync*. Regions are told by the data set's names; where it names none, all voxels are read.
- What is slower than 10 samples a second is taken for fMRI.
- Nothing is chosen by the validation trials, so they are learned from; the numbers of epochs are fixed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from baselines.cinesync import released
from baselines.cinesync.encoders import BrainEncoder, ChannelLayer, SampleStem, VolumeStem, VoxelLayer
from baselines.cinesync.parameters import Parameters, read_parameters
from baselines.encoders.brain_tokens import Recipe, encode_targets, train_alone, train_both
from bench.core.contracts import BrainData, Modality, TrainingSet, VideoBatch
from bench.core.errors import BenchError, UnknownRegion, require_fitted
from bench.pretrained.decoders import WanDecoder, attach_lora, list_lora
from bench.toolbox.joined import join_sets
from bench.toolbox.parameters import take_fields
from bench.toolbox.read_outs import learn_captions, read_out
from bench.toolbox.read_signals import read_trials
from bench.toolbox.released import load_released, require_one_subject
from bench.toolbox.resize import make_videos
from bench.toolbox.sizes import PaperPart, count_parameters
from bench.toolbox.training import make_generator, seeded
from bench.toolbox.voxels import choose_voxels

DECODED = 32  # trials decoded at once
SLOWEST_EEG = 10.0  # Hz
ADDED = {"visual": None, "visual_auditory": "auditory", "visual_hippocampus": "hippocampus"}  # to the visual regions
NOT_VISUAL = ("auditory", "hippocampus", "mPFC")


class CineSync:
    """CineSync. Raises BenchError for unknown parameters or values."""

    modality: Modality = "any"
    version = 3
    drawn_by = ("read_out", "steps", "guidance")  # parameters that no fit reads
    uses = ("wan_transformer", "wan_vae", "wan_tokenizer", "wan_text_encoder")  # these two: what keys the predictions
    asks = ("clip_large",)

    def __init__(self, *, suite: Any, seed: int = 0, **parameters: Any) -> None:
        self.parameters = read_parameters(parameters)
        self.suite = suite
        self.seed = seed
        self.device = torch.device(suite.device)
        self.encoder: BrainEncoder | None = None

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None:
        """Stage 1 without, stage 2 with the video model."""
        parameters = self.parameters
        train = join_sets([train, validation] if parameters.use_validation else [train])
        self.clip_shape = train.video.shape[1:]
        with seeded(self.device, "cinesync", "lora", self.seed):
            self.decoder = WanDecoder(
                self.suite,
                clip_shape=self.clip_shape[:3],
                rank=parameters.lora_rank,
                scale=parameters.lora_scale,
                shift=parameters.flow_shift,
                steps=parameters.steps,
                guidance=parameters.guidance,
                checkpointing=parameters.checkpointing,
            )
        targets = encode_targets(self.suite, self.decoder, train, frames=parameters.alignment_frames)
        with seeded(self.device, "cinesync", "network", self.seed):
            encoder = build_encoder(
                parameters,
                fmri=train.sampling_rate < SLOWEST_EEG,
                signals=train.brain.shape[1:],
                tokens=targets.tokens.shape[1],
                embedding=targets.text.shape[1],
                text=targets.tokens.shape[2],
            ).to(self.device)
            for number, layer in self.make_layers(encoder, train).items():
                encoder.add_subject(number, layer)
        encoder.head.mean.copy_(targets.tokens.average(targets.caption))
        self.captions = learn_captions(targets.tokens, torch.from_numpy(train.concepts), targets.caption)
        if parameters.weights is not None:
            self.start_from(parameters.weights, encoder)
        self.recipe = take_fields(Recipe, parameters)
        self.losses, self.joint_losses = train_both(
            "cinesync",
            encoder,
            self.decoder,
            self.suite,
            train,
            read_trials(train, self.device),
            targets,
            self.recipe,
            epochs=parameters.align_epochs,
            seed=self.seed,
            phases=("aligning recordings (stage 1)", "training with the video model (stage 2)"),
        )
        self.encoder = encoder

    def start_from(self, weights: str, encoder: BrainEncoder) -> None:
        """Put the authors' numbers into the encoder; `{subject}` in the path is the subject's number."""
        number = require_one_subject([int(one) for one in encoder.subjects], released.CHECKPOINT)
        load_released(
            encoder,
            weights.replace("{subject}", str(number)),
            released.list_renames(number),
            released.CHECKPOINT,
            fresh=released.FRESH,
            prepare=partial(released.prepare, fmri=isinstance(encoder.stem, VolumeStem)),
        )
        encoder.head.mean.zero_()

    def adapt(self, calibration: TrainingSet) -> None:
        """A fresh first layer for every subject here, from its own trials by the losses of stage 1; all else stays."""
        parameters, encoder = self.parameters, self.trained()
        targets = encode_targets(self.suite, self.decoder, calibration, frames=parameters.alignment_frames)
        encoder.requires_grad_(False)
        for number, layer in self.make_layers(encoder, calibration).items():
            trials = np.flatnonzero(calibration.subject == number)
            encoder.add_subject(number, layer)
            with seeded(self.device, "cinesync", f"subject {number}", self.seed):
                train_alone(
                    encoder,
                    read_trials(calibration, self.device, trials),
                    torch.from_numpy(calibration.clip[trials]).to(self.device),
                    targets,
                    self.recipe,
                    parameters=list(layer.parameters()),
                    epochs=parameters.calibration_epochs,
                    learning_rate=parameters.calibration_learning_rate,
                    batches=make_generator("cinesync", f"calibration {number}", self.seed),
                    phase=f"adapting to subject {number}",
                    memory=getattr(self.suite, "memory", None),
                )

    @torch.inference_mode()
    def reconstruct(self, brain: BrainData) -> VideoBatch:
        """From recordings to video, in the size of the training clips."""
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
        return self.trained()(*read_trials(brain, self.device)(rows))

    @property
    def parameter_count(self) -> int:
        """Trained numbers that a reconstruction passes through: encoder with all first layers, LoRA."""
        lora = count_parameters(list_lora(self.decoder.network))
        return count_parameters(self.trained()) + lora

    def trained(self) -> BrainEncoder:
        return require_fitted(self.encoder, "cinesync")

    def make_layers(self, encoder: BrainEncoder, data: TrainingSet) -> dict[int, VoxelLayer | ChannelLayer]:
        """A fresh first layer for each subject here. Raises UnknownRegion where the choice of regions means nothing."""
        parameters, numbers = self.parameters, np.unique(data.subject).tolist()
        added = ADDED[parameters.regions]
        if isinstance(encoder.stem, SampleStem):
            if added:
                raise UnknownRegion(
                    f"regions={parameters.regions!r} chooses voxels, and this is EEG; leave it as it is"
                )
            return {number: ChannelLayer(data.brain.shape[1]) for number in numbers}
        named = sorted({name for number in numbers for name in data.rois.get(number, ())})
        if added and added not in {name.lower() for name in named}:
            raise UnknownRegion(
                f"regions={parameters.regions!r} adds the region {added}, and this data has "
                f"{', '.join(named) or 'no regions at all'}; take data that names one"
            )
        voxels = choose_voxels(data, leave_out=[name for name in NOT_VISUAL if name != added], usual=NOT_VISUAL)
        shape = {"tokens": len(encoder.positions) - 1, "channels": parameters.channels}
        return {number: VoxelLayer(torch.from_numpy(columns), **shape) for number, columns in voxels.items()}


def build_encoder(
    parameters: Parameters, *, fmri: bool, signals: tuple[int, ...], tokens: int, embedding: int, text: int
) -> BrainEncoder:
    """The untrained encoder, no subject in it, for signals of (channels, time)."""
    channels, time = signals
    stem: VolumeStem | SampleStem
    if fmri:
        stem = VolumeStem(volumes=time, channels=parameters.channels, width=parameters.width)
    elif time < parameters.windows:
        raise BenchError(f"{parameters.windows} windows do not fit into {time} samples; lower windows")
    else:
        stem = SampleStem(
            channels=channels,
            windows=parameters.windows,
            kernel=parameters.kernel,
            width=parameters.width,
            tokens=tokens,
        )
    return BrainEncoder(
        stem,
        tokens=tokens,
        width=parameters.width,
        layers=parameters.layers,
        heads=parameters.heads,
        feedforward=parameters.feedforward,
        dropout=parameters.dropout,
        noise=parameters.noise,
        embedding=embedding,
        text=text,
    )


def list_paper_parts(parameters: Parameters) -> list[PaperPart]:
    """The parts for CineBrain's subjects: visual or all voxels, five volumes of 0.8 s, 64 electrodes at 1 kHz."""
    from diffusers import CogVideoXTransformer3DModel

    tokens, text = 226, 4096
    widths = {"tokens": tokens, "embedding": 1152, "text": text}  # of SigLIP2 and T5
    few, many = (VoxelLayer(torch.arange(n), tokens=tokens, channels=parameters.channels) for n in (8405, 18946))
    video = CogVideoXTransformer3DModel(  # CogVideoX-5B, from the configuration of its release in diffusers' format
        num_attention_heads=48, num_layers=42, text_embed_dim=text, use_rotary_positional_embeddings=True
    )
    lora = list_lora(attach_lora(video, rank=parameters.lora_rank, scale=parameters.lora_scale))
    fmri = build_encoder(parameters, fmri=True, signals=(8405, 5), **widths)
    eeg = build_encoder(parameters, fmri=False, signals=(64, 4000), **widths)
    return [
        ("fMRI transformer", list_shared(fmri), "611,335,296 released"),
        ("first layer of 8,405 visual voxels", few, "1,899,756 released"),
        ("first layer of 18,946 voxels (CineSync*)", many, "4,282,022 released"),
        ("EEG transformer", list_shared(eeg), "611,980,416 released"),
        ("first layer of 64 channels", ChannelLayer(64), "none"),
        ("layer to the text's width", fmri.head, "16,781,312 released, of both kinds"),
        (f"LoRA, rank {parameters.lora_rank}", lora, "rank 64, its code 128"),
        ("CogVideoX-5B, frozen", video, "5B"),
    ]


def list_shared(encoder: BrainEncoder) -> list[nn.Parameter]:
    """What a released encoder of one kind has, but for its first layer: all up to the layer to the text's width."""
    return [one for name, one in encoder.named_parameters() if not name.startswith("head.")]
