"""What the project registers itself: names, where the objects behind them are, and the role of each method.

This table alone gives a role. Nothing is imported for it: `python -m bench list` has to answer at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """What is registered under a name."""

    target: str  # package.module:Attribute
    summary: str
    role: str = ""  # of a method: "method", "baseline" (sees the brain), "control" (a floor) or "ceiling"
    beside: bool = False  # run beside every method, as what its scores are held against
    modality: str = ""  # of a method: "eeg", "fmri", "any" or "none"; of a data set: "eeg" or "fmri"
    reads: str = ""  # of a method: the kind of what it reads from a brain; see `READ_OUT_OF`


# What methods read, of kinds: "text" tokens; an "image" embedding that is put into words; "memories" of training clips;
# a training "clip". Of the first two the generator is given text, which can be read out in three ways
# (`bench.toolbox.read_outs`).
READ_OUT_OF = ("text", "image")

BUILT_IN: Mapping[str, Mapping[str, Entry]] = {
    "methods": {
        "sam_net": Entry(
            "methods.sam_net:SamNet",
            "SAM-Net: EEG to video through regions, subjects and New2Source",
            "method",
            modality="eeg",
            reads="text",
        ),
        "cine_neuron": Entry(
            "methods.cine_neuron:CineNeuron",
            "CineNeuron: fMRI to video through semantic enrichment and a mixture of memories",
            "method",
            modality="fmri",
            reads="memories",
        ),
        "random_clip": Entry(
            "baselines.floors.controls:RandomClip",
            "floor: a random training clip, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "train_mean": Entry(
            "baselines.floors.controls:TrainMean",
            "floor: the mean of the training clips, blurred as validation has it, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "constant_grey": Entry(
            "baselines.floors.controls:ConstantGrey",
            "floor: a constant grey video, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "best_constant": Entry(
            "baselines.floors.controls:BestConstant",
            "floor: under each metric the one answer that is best for all, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "position_only": Entry(
            "baselines.floors.controls:PositionOnly",
            "floor: under each metric the best answer given the place in the block, no brain",
            "control",
            beside=True,
            modality="none",
        ),
        "noise_brain": Entry(
            "baselines.floors.controls:NoiseBrain",
            "floor: a trained method (retrieval) fed noise; --set method=",
            "control",
            beside=True,
            modality="any",
        ),
        "retrieval": Entry(
            "baselines.retrieval.method:Retrieval",
            "baseline: ridge from the brain to the likeliest training clip",
            "baseline",
            beside=True,
            modality="any",
            reads="clip",
        ),
        "lda": Entry(
            "baselines.linear.method:Lda",
            "baseline: linear discriminant analysis of the concept, shown as a training clip",
            "baseline",
            modality="any",
            reads="clip",
        ),
        "ridge": Entry(
            "baselines.linear.method:Ridge",
            "baseline: ridge regression to the concept, shown as a training clip",
            "baseline",
            modality="any",
            reads="clip",
        ),
        "eeg2video": Entry(
            "baselines.eeg2video:EEG2Video",
            "baseline: EEG2Video: windows of EEG to latents and text, dynamic-aware noise, Tune-A-Video",
            "method",
            modality="eeg",
            reads="text",
        ),
        "mind_video": Entry(
            "baselines.mind_video:MindVideo",
            "baseline: MinD-Video: fMRI to video by a brain encoder",
            "method",
            modality="fmri",
            reads="text",
        ),
        "mind_animator": Entry(
            "baselines.mind_animator:MindAnimator",
            "baseline: Mind-Animator: fMRI to video through semantics, structure and motion",
            "method",
            modality="fmri",
            reads="text",
        ),
        "dynamind": Entry(
            "baselines.dynamind:DynaMind",
            "baseline: DynaMind: EEG to video by regions, prior and blueprint",
            "method",
            modality="eeg",
            reads="text",
        ),
        "neuroclips": Entry(
            "baselines.neuroclips:NeuroClips",
            "baseline: NeuroClips: fMRI to key frame and blurry video, then AnimateDiff from both",
            "method",
            modality="fmri",
            reads="image",
        ),
        "glfa": Entry(
            "baselines.glfa:Glfa",
            "baseline: GLFA: fMRI of several subjects on one common map, then to video",
            "method",
            modality="fmri",
            reads="text",
        ),
        "cinesync": Entry(
            "baselines.cinesync:CineSync",
            "baseline: CineSync: fMRI or EEG through a transformer to the text tokens of a video transformer",
            "method",
            modality="any",
            reads="text",
        ),
        "eegnet": Entry(
            "baselines.encoders:EEGNet",
            "encoder: EEGNet before the shared generator",
            "method",
            modality="eeg",
            reads="text",
        ),
        "shallow_convnet": Entry(
            "baselines.encoders:ShallowConvNet",
            "encoder: ShallowConvNet before the shared generator",
            "method",
            modality="eeg",
            reads="text",
        ),
        "deep4": Entry(
            "baselines.encoders:Deep4",
            "encoder: Deep4 before the shared generator",
            "method",
            modality="eeg",
            reads="text",
        ),
        "eeg_conformer": Entry(
            "baselines.encoders:EEGConformer",
            "encoder: EEG-Conformer before the shared generator",
            "method",
            modality="eeg",
            reads="text",
        ),
        "atcnet": Entry(
            "baselines.encoders:ATCNet",
            "encoder: ATCNet before the shared generator",
            "method",
            modality="eeg",
            reads="text",
        ),
        "contrastive_eeg": Entry(
            "baselines.encoders:ContrastiveEEG",
            "encoder: contrast in the manner of NICE and ATM, before the shared generator",
            "method",
            modality="eeg",
            reads="text",
        ),
        "ridge_eeg": Entry(
            "baselines.encoders:RidgeEEG",
            "encoder: one ridge for all subjects, before the shared generator",
            "method",
            modality="eeg",
            reads="text",
        ),
        "ridge_fmri": Entry(
            "baselines.encoders:RidgeFmri",
            "encoder: each subject's own ridge, as in Brain-Diffuser, before the shared generator",
            "method",
            modality="fmri",
            reads="text",
        ),
        "shared_ridge": Entry(
            "baselines.encoders:SharedRidge",
            "encoder: linear into one shared space, as in MindEye2, before the shared generator",
            "method",
            modality="fmri",
            reads="text",
        ),
        "mlp_backbone": Entry(
            "baselines.encoders:MLPBackbone",
            "encoder: an MLP behind the shared space, before the shared generator",
            "method",
            modality="fmri",
            reads="text",
        ),
        "codec": Entry(
            "baselines.ceilings.methods:Codec",
            "ceiling: the true clip through the suite's autoencoder",
            "ceiling",
            beside=True,
            modality="none",
        ),
        "caption": Entry(
            "baselines.ceilings.methods:Caption",
            "ceiling: the true caption through the suite's generator",
            "ceiling",
            beside=True,
            modality="none",
        ),
        "ideal_observer": Entry(
            "baselines.ceilings.methods:IdealObserver",
            "ceiling: the phantom's own likelihood (phantoms only)",
            "ceiling",
            beside=True,
            modality="any",
        ),
        "dynamind_oracle": Entry(
            "baselines.dynamind:DynaMindOracle",
            "ceiling: true captions and inverted true latents through DynaMind's generator, as its script was released",
            "ceiling",
            modality="none",
        ),
    },
    "datasets": {
        "seed_dv": Entry(
            "bench.datasets.seed_dv.layout:SeedDV",
            "EEG of 20 subjects watching 1,400 clips (gated: needs --data-root)",
            modality="eeg",
        ),
        "phantom_eeg": Entry(
            "bench.datasets.seed_dv.layout:SeedDV",
            "synthetic EEG in SEED-DV's layout (also :tiny, :small, :shifted, :study)",
            modality="eeg",
        ),
        "cc2017": Entry(
            "bench.datasets.cc2017.layout:CC2017",
            "fMRI of 3 subjects watching films, NeuroClips' tensors (needs --data-root); :33x480x720 cuts the films",
            modality="fmri",
        ),
        "phantom_fmri": Entry(
            "bench.datasets.cc2017.layout:CC2017",
            "synthetic fMRI in cc2017's layout (also :tiny, :small, :tested, :study)",
            modality="fmri",
        ),
        "cinebrain": Entry(
            "bench.datasets.cinebrain.layout:CineBrain",
            "fMRI of 6 subjects watching a series (needs --data-root)",
            modality="fmri",
        ),
        "cinebrain_eeg": Entry(
            "bench.datasets.cinebrain.layout:CineBrain",
            "the EEG that was recorded beside cinebrain's fMRI",
            modality="eeg",
        ),
        "phantom_cinebrain": Entry(
            "bench.datasets.cinebrain.layout:CineBrain",
            "synthetic fMRI in CineBrain's layout (also :tiny, :small, :study)",
            modality="fmri",
        ),
        "phantom_cinebrain_eeg": Entry(
            "bench.datasets.cinebrain.layout:CineBrain", "the EEG beside phantom_cinebrain's fMRI", modality="eeg"
        ),
    },
    "splits": {
        "single_subject": Entry("bench.core.splits:make_folds", "one model a subject, tested on its last block"),
        "cross_subject": Entry(
            "bench.core.splits:make_folds",
            "one model for the known subjects, tested on their last block",
        ),
        "new_subject": Entry(
            "bench.core.splits:make_folds", "tested on subjects known by a few calibration trials only"
        ),
    },
    "protocols": {
        "eeg2video": Entry("metrics.protocols:PROTOCOLS", "the SEED-DV papers' script, quirks included"),
        "neuroclips": Entry("metrics.protocols:PROTOCOLS", "as far as NeuroClips' paper says how it scored"),
        "neurons": Entry("metrics.protocols:PROTOCOLS", "NEURONS' eval_metrics.py"),
        "mind_animator": Entry("metrics.protocols:PROTOCOLS", "Mind-Animator's scripts: gated CLIP-pcc, Farneback EPE"),
        "cinebrain": Entry("metrics.protocols:PROTOCOLS", "CineBrain's columns: 2- and 50-way, DTC, CTC, FVD"),
        "cine_neuron": Entry("metrics.protocols:PROTOCOLS", "CineNeuron's dynamic degree of a set against the truth's"),
        "vbench": Entry("metrics.protocols:PROTOCOLS", "VBench's motion and consistency dimensions, without a truth"),
        "corrected": Entry(
            "metrics.protocols:PROTOCOLS", "ours: top-1 truth, raw and normalised; motion with consistency"
        ),
        "real": Entry("metrics.protocols:PROTOCOLS", "ours, of real videos: what suite light's frame judge can say"),
        "embedding": Entry("metrics.embedding:EMBEDDING", "no video: retrieval of clips and concepts (run --no-video)"),
    },
    "metrics": {},  # those of the project come with their protocols
    "suites": {
        "mini": Entry("bench.pretrained.suite:load_suite", "small networks that ship with the project"),
        "light": Entry(
            "bench.pretrained.suite:load_suite", "a real judge from the package index, no generators: for `score`"
        ),
        "paper": Entry(
            "bench.pretrained.suite:load_suite", "the checkpoints that the papers name (fetched on request)"
        ),
    },
}


# a data set that is not shipped -> the phantom in its layout
STAND_INS = {
    "seed_dv": "phantom_eeg",
    "cc2017": "phantom_fmri",
    "cinebrain": "phantom_cinebrain",
    "cinebrain_eeg": "phantom_cinebrain_eeg",
}

RETIRED = {"label_prior": "control"}  # names of before, with their roles: of results that are kept

DEFAULT_SIZE = "small"  # of a phantom that is named without one
