"""cc2017 (Wen et al. 2018) as NeuroClips releases it, and phantoms in its layout: fMRI of people who watch films.

    subj01_train_fmri.pt      float [4320, 2, V]        clip, repeat, voxel; V = 13,447 / 14,828 / 9,114 in subjects 1-3
    subj01_test_fmri.pt       float [1200, 10, V]
    GT_{train,test}_3fps.pt   [clip, 6, 3, h, w]        u8, or a float in [0, 1]; 2 s clips, three frames a second
    GT_{train,test}_caption.pt                          a NumPy array (or list) of strings
    qwen_annotation/qwen_{train,test}_caption_tag_category_id.json    NEURONS' captions, read where those are absent

Of ours, and optional: `geometry.json`, `concepts.json` (labels; the release has none, so all its clips are of one
concept), `subj01_rois.txt` (region of each voxel). The sizes are read from the tensors. One averaged volume belongs to
a clip, so the time axis has length 1; the delay of 4 s is the releasers' affair (the paper says 2 TR; their code has no
shift).

Choices. A **block** is an 8-minute segment of 240 clips; the five test segments are one block, the last. So the last
training segment validates, and the official test clips, and no others, are tested. (The releasers' own scripts choose
checkpoints on the test clips.) **Repeats**: each training repeat is a trial; the test repeats of a clip are averaged to
one trial, as all papers do. `average="none"` makes each test repeat a trial too, `average="all"` averages the training
ones. A repeat whose voxels are all NaN was not measured: it is no trial, and averages leave it out. A single NaN is an
error. **Subjects** whose two tensors are both there are the data set; one may have fetched but one of the three.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from bench.core.contracts import Modality
from bench.core.errors import DatasetError
from bench.datasets.cc2017.captions import FETCH, caption_path, find_captions, read_captions
from bench.datasets.manifest import name_phantom, read_manifest
from bench.datasets.regions import UNLABELLED, VISUAL, read_rois, voxel_names
from bench.datasets.seed_dv.concepts import SUBSET_NAMES
from bench.store.cache import Cache, digest_code
from bench.store.contents import hash_files

if TYPE_CHECKING:
    import datasets

Part = Literal["train", "test"]
Average = Literal["test", "all", "none"]
PARTS: tuple[Part, Part] = ("train", "test")
OFFICIAL: dict[str, Any] = {"segment_clips": 240, "tr": 2.0, "clips": {"train": 4320, "test": 1200}}


class CC2017:
    """A data set on disk. Raises DatasetError where the folder, or one of a subject's two files, is missing."""

    modality: Modality = "fmri"
    class_subsets = SUBSET_NAMES

    def __init__(
        self,
        root: Path | str,
        *,
        cache: Path,
        name: str = "cc2017",
        average: Average = "test",
        subjects: Sequence[int] | None = None,
        open_truth: Callable[[CC2017], Any] | None = None,
    ) -> None:
        if average not in ("test", "all", "none"):
            raise DatasetError(f"average={average!r} is not known; say 'test', 'all' or 'none'")
        self.root, self.name, self.average, self.cache = Path(root), name, average, Cache(cache)
        self._open_truth = open_truth
        if not self.root.is_dir():
            raise DatasetError(f"{name}: there is no folder {self.root}; name the one with the .pt files; {FETCH}")
        self.subjects = find_subjects(self.root) if subjects is None else tuple(subjects)
        self.geometry = read_fmri_geometry(self.root, OFFICIAL)
        self.sampling_rate = 1 / float(self.geometry["tr"])
        missing = [path.name for path in self.recording_paths() if not path.is_file()]
        if missing or not self.subjects:
            raise DatasetError(
                f"{self.root} lacks {', '.join(missing) or 'subj01_train_fmri.pt and all of its kind'}; "
                f"`python -m bench data verify cc2017 --root {self.root}` lists what is there; {FETCH}"
            )

    def unaveraged(self) -> CC2017:
        """The same files with each measured repeat a trial of its own."""
        return CC2017(self.root, cache=self.cache.folder, name=self.name, average="none", open_truth=self._open_truth)

    def recording_paths(self) -> list[Path]:
        return [self.recording_path(subject, part) for subject in self.subjects for part in PARTS]

    def require_stimuli(self) -> None:
        """Raise DatasetError for videos or captions that are not there, before work that needs all begins."""
        for part in PARTS:
            if not (self.root / f"GT_{part}_3fps.pt").is_file():
                raise DatasetError(f"{self.root} lacks GT_{part}_3fps.pt; {FETCH}")
            caption_path(self.root, part)

    def recording_path(self, subject: int, part: Part) -> Path:
        return self.root / f"subj{subject:02d}_{part}_fmri.pt"

    @cached_property
    def digest(self) -> str:
        """Of all that determines the content: of a phantom its spec, of real data all its files."""
        return self._view(name_phantom(self.root)) if (self.root / "manifest.json").is_file() else self.content_digest

    @cached_property
    def content_digest(self) -> str:
        """Of all files, as they are on this machine."""
        manifest = self.root / "manifest.json"
        if manifest.is_file():
            own = read_manifest(self.root)["digest"]
        else:
            files = set(self.recording_paths())
            extra = [self.root / f"GT_{part}_3fps.pt" for part in PARTS]
            extra += [path for part in PARTS if (path := find_captions(self.root, part))]
            extra += [self.root / "geometry.json", self.root / "concepts.json", *self.root.glob("subj*_rois.txt")]
            files |= {path for path in extra if path.is_file()}
            own = hash_files(sorted(files), self.root, self.cache.folder)
        return self._view(own)

    def _view(self, own: str) -> str:
        return own if self.average == "test" else f"{own}-{self.average}"  # other trials are other data

    def made_from(self, what: str) -> dict[str, str]:
        """All that determines what is derived from this data, for the cache."""
        return {"what": what, "data": self.content_digest, "code": digest_code(__name__)}

    def recording(self, subject: int, part: Part) -> np.ndarray:  # float [clip, repeat, voxel], memory-mapped
        key = (subject, part)
        if key not in self._open:
            path = self.recording_path(subject, part)
            self._open[key] = open_tensor(path, "clip, repeat, voxel", clips=self.clips[part], axes=3)
        return self._open[key]

    @cached_property
    def _open(self) -> dict[tuple[int, str], np.ndarray]:
        return {}

    @cached_property
    def _frames(self) -> dict[str, np.ndarray]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the files themselves instead of getting copies of mapped memory."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_open", "_frames", "truth")}

    @property
    def clips(self) -> dict[str, int]:
        """Number of clips of each part."""
        return self.geometry["clips"]

    @cached_property
    def voxels(self) -> dict[int, int]:
        """Voxels of each subject; raises DatasetError where its two tensors disagree."""
        counts = {}
        for subject in self.subjects:
            sizes = [self.recording(subject, part).shape[2] for part in PARTS]
            if sizes[0] != sizes[1]:
                raise DatasetError(
                    f"{self.recording_path(subject, 'test')} has {sizes[1]} voxels, the training tensor {sizes[0]}; "
                    "fetch both again"
                )
            counts[subject] = sizes[0]
        return counts

    @cached_property
    def rois(self) -> Mapping[int, tuple[str, ...]]:
        """Region of each voxel of each subject; where the names end, the signals are padding.

        The releasers keep voxels of visual cortex alone (NeuroClips, §4.1).
        """
        files = {subject: self.root / f"subj{subject:02d}_rois.txt" for subject in self.subjects}
        return {s: read_rois(files[s], count, without=VISUAL) for s, count in self.voxels.items()}

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """As many as the subject with the most voxels has; the voxels of two subjects do not correspond."""
        return voxel_names(max(self.voxels.values()))

    @cached_property
    def labels(self) -> dict[str, Any]:
        """Names and, for each part, the concept of each clip; one concept for all where there are no labels."""
        path = self.root / "concepts.json"
        if not path.is_file():
            return {"names": [UNLABELLED], **{part: [0] * self.clips[part] for part in PARTS}}
        return json.loads(path.read_text(encoding="utf-8"))

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(self.labels["names"])

    @cached_property
    def stimuli(self) -> datasets.Dataset:
        """A row a clip, training clips first: clip, block, slot, position (0), concept, caption."""
        return self.cache.table(self.made_from("stimuli"), self._stimulus_columns)

    @property
    def blocks(self) -> Int64[np.ndarray, " clip"]:
        """Block of each clip: its segment, and one for all test clips."""
        train, length = np.arange(self.clips["train"]), self.geometry["segment_clips"]
        return np.concatenate([train // length + 1, np.full(self.clips["test"], -(-len(train) // length) + 1)])

    def _stimulus_columns(self) -> dict[str, Any]:
        length = self.geometry["segment_clips"]
        train, test = (np.arange(self.clips[part]) for part in PARTS)
        captions = [caption for part in PARTS for caption in read_captions(self.root, part, self.clips[part])]
        return {
            "clip": np.arange(len(train) + len(test)),
            "block": self.blocks,
            "slot": np.concatenate([train % length, test]),
            "position": np.zeros(len(train) + len(test), dtype=int),
            "concept": [label for part in PARTS for label in self.labels[part]],
            "caption": captions,
        }

    @cached_property
    def trials(self) -> datasets.Dataset:
        """A row a trial: trial, subject, session (1), clip, repeat (from 1; 0 for an average of all that there are).

        Raises DatasetError for a clip without a single repeat.
        """
        return self.cache.table(self.made_from("trials"), self.trial_columns)

    def trial_columns(self) -> dict[str, Any]:
        """The columns of `trials`, which need no digest and no cache."""
        rows = []
        for subject in self.subjects:
            for part, first in zip(PARTS, (0, self.clips["train"]), strict=True):
                present = self.measured(subject, part)
                if not present.any(axis=1).all():
                    clip = int(np.argmin(present.any(axis=1)))
                    path = self.recording_path(subject, part)
                    raise DatasetError(f"{path}: no repeat of clip {clip} holds a number; fetch the file again")
                averaged = self.average == "all" or (self.average == "test" and part == "test")
                if averaged:
                    rows += [(subject, first + clip, 0) for clip in range(len(present))]
                else:
                    rows += [(subject, first + clip, repeat + 1) for repeat, clip in np.argwhere(present.T)]
        table = np.array(rows)
        columns = dict(zip(("subject", "clip", "repeat"), table.T, strict=True))
        return {"trial": np.arange(len(table)), "session": np.ones(len(table), dtype=int), **columns}

    def measured(self, subject: int, part: Part) -> Bool[np.ndarray, "clip repeat"]:
        """Which repeats were measured: those that are not NaN in all voxels. Reads a voxel of each, once."""
        recording = self.recording(subject, part)
        present = np.isfinite(recording[:, :, 0])
        for clip, repeat in np.argwhere(~present):
            present[clip, repeat] = not np.isnan(recording[clip, repeat]).all()
        return present

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(self.trials[name]) for name in ("subject", "clip", "repeat")}

    def repeats(self, trial: int) -> tuple[int, Part, int, list[int]]:
        """Of what a trial consists: subject, part, clip within the part, and the repeats (0-based)."""
        subject, clip, repeat = (int(self._places[name][trial]) for name in ("subject", "clip", "repeat"))
        part: Part = "train" if clip < self.clips["train"] else "test"
        row = clip if part == "train" else clip - self.clips["train"]
        if repeat:
            return subject, part, row, [repeat - 1]
        values = self.recording(subject, part)[row]
        return subject, part, row, np.flatnonzero(~np.isnan(values).all(axis=1)).tolist()

    def signals(self, trials: Sequence[int] | np.ndarray) -> Float32[np.ndarray, "trial channel 1"]:
        """The volume of each trial, as stored (z-scores), with zeros after a subject's last voxel.

        Raises DatasetError for a value that is not finite, naming file, clip, repeat and voxel.
        """
        trials = np.asarray(trials, dtype=np.int64).reshape(-1)
        if len(trials) and (trials.min() < 0 or trials.max() >= len(self._places["clip"])):
            raise DatasetError(f"{self.name}: trials go from 0 to {len(self._places['clip']) - 1}, asked for {trials}")
        out = np.zeros((len(trials), len(self.channels), 1), np.float32)
        for target, trial in zip(out, trials, strict=True):
            subject, part, row, repeats = self.repeats(int(trial))
            values = self.recording(subject, part)[row, repeats].astype(np.float32)  # [repeat, voxel]
            if not np.isfinite(values).all():
                repeat, voxel = np.argwhere(~np.isfinite(values))[0]
                raise DatasetError(
                    f"{self.recording_path(subject, part)}: trial {trial} (clip {row}, repeat {repeats[repeat] + 1}) "
                    f"holds NaN or infinity in voxel {voxel}; fetch the file again"
                )
            target[: values.shape[1], 0] = values.mean(axis=0)
        return out

    def video(self, clips: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "clip frame height width 3"]:
        """The frames of the clips; test frames of another size are resized to that of the training frames."""
        clips = np.asarray(clips, dtype=np.int64).reshape(-1)
        total = self.clips["train"] + self.clips["test"]
        if len(clips) and (clips.min() < 0 or clips.max() >= total):
            raise DatasetError(f"{self.name}: clips go from 0 to {total - 1}, asked for {clips}")
        frames, _, height, width = self.frames("train").shape[1:]
        out = np.empty((len(clips), frames, height, width, 3), np.uint8)
        for target, clip in zip(out, clips, strict=True):
            part: Part = "train" if clip < self.clips["train"] else "test"
            row = clip if part == "train" else clip - self.clips["train"]
            target[:] = resize(to_pixels(self.frames(part)[row], self.root / f"GT_{part}_3fps.pt"), height, width)
        return out

    def frames(self, part: Part) -> np.ndarray:  # [clip, frame, 3, height, width], memory-mapped
        if part not in self._frames:
            path = self.root / f"GT_{part}_3fps.pt"
            found = open_tensor(path, "clip, frame, 3, height, width", clips=self.clips[part], axes=5)
            if found.shape[2] != 3:
                raise DatasetError(f"{path} is {list(found.shape)}, expected 3 colours on axis 2; fetch it again")
            if self._frames and found.shape[1] != next(iter(self._frames.values())).shape[1]:
                raise DatasetError(f"{path} has {found.shape[1]} frames a clip, the other part has another number")
            self._frames[part] = found
        return self._frames[part]

    @cached_property
    def truth(self) -> Any | None:
        """The likelihood model of a phantom, which whoever opened the folder handed over; None for recordings."""
        return None if self._open_truth is None else self._open_truth(self)


def find_subjects(root: Path) -> tuple[int, ...]:
    """Numbers of the subjects of whom at least one tensor is there."""
    found = {path.name[4:6] for path in root.glob("subj[0-9][0-9]_*_fmri.pt")}
    return tuple(sorted(int(number) for number in found))


def read_fmri_geometry(root: Path, official: dict[str, Any]) -> dict[str, Any]:
    """`geometry.json` of a phantom, or the official numbers; raises DatasetError for an unusable file."""
    path = root / "geometry.json"
    if not path.is_file():
        return dict(official)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {name: stored[name] for name in official}
    except (ValueError, KeyError) as error:
        raise DatasetError(f"{path} is no geometry ({error}); make the phantom again or delete the file") from error


def open_tensor(path: Path, names: str, *, clips: int, axes: int) -> np.ndarray:
    """Memory-map a tensor; raises DatasetError for a truncated file, another shape or a type that is no number."""
    import torch

    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise DatasetError(f"there is no {path}; {FETCH}") from None
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        reason = str(error).split("\n")[0][:120]
        raise DatasetError(f"{path} is no whole tensor file ({reason}); fetch it again") from error
    expected = f"[{clips}, …] ({names})"
    if not isinstance(tensor, torch.Tensor):
        raise DatasetError(f"{path} holds a {type(tensor).__name__}, expected a tensor {expected}; fetch it again")
    if tensor.ndim != axes or tensor.shape[0] != clips or 0 in tensor.shape:
        raise DatasetError(f"{path} is {list(tensor.shape)}, expected {expected}; fetch it again")
    if tensor.dtype not in (torch.float16, torch.float32, torch.float64, torch.uint8):
        raise DatasetError(f"{path} is {tensor.dtype}, expected float16, float32, float64 or uint8; save it as one")
    return tensor.numpy()


def find_test_clip(dataset: CC2017, number: int, *, base: Literal[0, 1]) -> int:
    """Clip of the table of stimuli that a file named by its number shows.

    NeuroClips, NEURONS and the DCF paper count test clips from 0; MinD-Video and Mind-Animator (`test{n}.gif`) from 1.
    Nothing in a file name tells which, so the base is no default. Raises DatasetError for a number outside.
    """
    if base not in (0, 1) or not base <= number < base + dataset.clips["test"]:
        last = base + dataset.clips["test"] - 1
        raise DatasetError(f"test clip {number} counted from {base}: the numbers go from {base} to {last}, base 0 or 1")
    return dataset.clips["train"] + number - base


def to_pixels(frames: np.ndarray, path: Path) -> UInt8[np.ndarray, "frame height width 3"]:
    """Channel-last u8 of u8 or of floats in [0, 1]; raises DatasetError for floats outside, beyond rounding."""
    if frames.dtype != np.uint8:
        values = frames.astype(np.float32)
        if not (values.min() >= -0.01 and values.max() <= 1.01):
            raise DatasetError(f"{path} holds {values.min():.2f} to {values.max():.2f}, expected u8 or [0, 1]")
        frames = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return np.moveaxis(frames, 1, -1)


def resize(video: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, or averaging where it shrinks."""
    if video.shape[1:3] == (height, width):
        return video
    import cv2

    method = cv2.INTER_AREA if video.shape[1] > height else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (width, height), interpolation=method) for frame in video])
