"""What a data set offers and what a method is given (the contracts of the house).

A *trial* is one presentation of one clip to one subject. Trials and clips are numbered by their row in the
data set's tables; subjects keep the numbers that the data set gives them (1-based in SEED-DV); concepts are
0-based indices into `Dataset.concepts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64, UInt8

if TYPE_CHECKING:
    import datasets

UNKNOWN_REGION = "cortex"  # of a voxel whose region nobody has told; no name of a region

Modality = Literal["eeg", "fmri", "any", "none"]
Space = Literal["image", "text", "words", "action"]  # of embeddings, see `Embedder`


class Signals(Protocol):
    """Brain signals of some trials, read when indexed: `signals[rows]` is f32 [trial, channel, time].

    Already normalised by the harness with statistics of training (or calibration) trials only.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray) -> Float32[np.ndarray, "trial channel time"]: ...


@dataclass(frozen=True, kw_only=True)
class BrainData:
    """Brain data to reconstruct from: no video, caption or label goes with it."""

    brain: Signals
    subject: Int64[np.ndarray, " trial"]
    seed: Int64[np.ndarray, " trial"]  # a reconstruction depends on its own trial and this number alone
    channels: tuple[str, ...]
    sampling_rate: float  # Hz


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """Brain data with the clips that were shown; `clip[i]` indexes `video`, `captions` and `concepts`.

    Subjects may have different numbers of voxels: their channels are then padded with zeros to the most, and
    `rois[subject]` names the region of each voxel that is none of the padding.
    """

    brain: Signals
    subject: Int64[np.ndarray, " trial"]
    clip: Int64[np.ndarray, " trial"]
    video: UInt8[np.ndarray, "clip frame height width 3"]
    captions: tuple[str, ...]
    concepts: Int64[np.ndarray, " clip"]
    channels: tuple[str, ...]
    sampling_rate: float  # Hz
    rois: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # by subject; empty for EEG


VideoBatch = UInt8[np.ndarray, "trial frame height width 3"]


class Method(Protocol):
    """What a newcomer writes. The harness constructs it as `Class(suite=..., seed=..., **parameters)`.

    `version` is raised whenever the outputs for the same input change. A method of modality "none" sees no
    brain and is run once for a set of clips, not once for a subject; one of modality "any" decodes whatever the
    data set holds. A tuple `drawn_by`, which may be left out, names parameters that only `reconstruct` reads: weights
    that were kept serve again whatever these are.
    """

    modality: Modality
    version: int

    def fit(self, train: TrainingSet, validation: TrainingSet) -> None: ...

    def adapt(self, calibration: TrainingSet) -> None:
        """Only on `new_subject`; the calibration trials of all new subjects, told apart by `subject`."""

    def reconstruct(self, brain: BrainData) -> VideoBatch: ...

    @property
    def parameter_count(self) -> int:
        """Trained parameters (0 for a method that trains none)."""


@runtime_checkable
class Embedder(Protocol):
    """A method that also says what its encoder read, before any generator: one vector a trial.

    It is scored by retrieval: which of the test clips has the vector of the largest cosine with it? `embeds` names the
    space that the vectors lie in, which is how the harness makes those of the clips:

        image    `suite.embed_images`, the mean over the clip's frames of vectors of length 1
        text     `suite.embed_texts` of the caption
        words    `suite.encode_text` of the caption, which generators are conditioned on, the mean over its tokens
        action   `suite.embed_actions` of the clip

    A cosine does not see a vector's length. A constant that all predictions share (the mean of the training clips) says
    nothing of a trial and favours some clips: leave it out.
    """

    embeds: Space

    def embed(self, brain: BrainData) -> Float32[np.ndarray, "trial d"]: ...


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What only a ceiling is shown: the truth about the trials that `reconstruct` gets next."""

    test: TrainingSet
    trials: Int64[np.ndarray, " trial"]  # rows of the data set's table of trials
    truth: Any | None  # the phantom's likelihood model; None for real data


@runtime_checkable
class Ceiling(Protocol):
    """A method that is registered to cheat openly: the harness calls `reveal` before each `reconstruct`.

    A method of another role that defines `reveal` is never shown the answers.
    """

    def reveal(self, answers: Answers) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When clips were shown: the block of each and its slot in the block, in order of presentation from 0.

    Of the clips that the method was fitted on (rows as in `TrainingSet.video`) and of the trials that `reconstruct`
    gets next. A data set without slots counts the clips of a block, one without blocks is one block.
    """

    train_block: Int64[np.ndarray, " clip"]
    train_slot: Int64[np.ndarray, " clip"]
    validation_block: Int64[np.ndarray, " clip"]
    validation_slot: Int64[np.ndarray, " clip"]
    block: Int64[np.ndarray, " trial"]
    slot: Int64[np.ndarray, " trial"]


@runtime_checkable
class Clockwatcher(Protocol):
    """A control that reads the clock: the harness calls `see_schedule` before each `reconstruct`."""

    def see_schedule(self, schedule: Schedule) -> None: ...


class Dataset(Protocol):
    """A data set as the harness sees it; the signals stay in their files."""

    @property
    def name(self) -> str: ...

    @property
    def modality(self) -> Modality: ...

    @property
    def digest(self) -> str:
        """Of all that determines the content. It names the data in keys and on the board.

        Data that is generated, and not the same to the last bit on every machine, also has `content_digest`, of its
        files as they are here, which keys what is computed from them and kept (`digest_content`).
        """

    @property
    def subjects(self) -> tuple[int, ...]: ...

    @property
    def channels(self) -> tuple[str, ...]: ...

    @property
    def sampling_rate(self) -> float:
        """Hz."""

    @property
    def rois(self) -> Mapping[int, tuple[str, ...]]:
        """Region of each voxel of each subject; empty for EEG."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """Names; the tables hold indices into them."""

    @property
    def class_subsets(self) -> Mapping[int, tuple[str, ...]]:
        """Names of the concepts of each subset that papers report on, by their number; may be left out."""

    @property
    def stimuli(self) -> datasets.Dataset:
        """Columns clip, block, slot, position, concept, caption."""

    @property
    def trials(self) -> datasets.Dataset:
        """Columns trial, subject, session, clip."""

    def signals(self, trials: Sequence[int] | np.ndarray) -> Float32[np.ndarray, "trial channel time"]: ...

    def video(self, clips: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "clip frame height width 3"]: ...

    @property
    def truth(self) -> Any | None:
        """The phantom's own likelihood model and labels; None for real data."""


def digest_content(dataset: Dataset) -> str:
    """Of a data set's content as it is on this machine; `digest` where it has no other."""
    return str(getattr(dataset, "content_digest", dataset.digest))
