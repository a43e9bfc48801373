"""CineBrain (arXiv 2503.06940) as released, and phantoms in its layout: fMRI and EEG of people who watch a series.

    sub-0001_train_va.json …  a list of {fmri: [a path a TR], eeg: [a path a TR], text, video}: one item a 4 s clip
    (where they say) N.npy    fMRI of one TR: float [V] (8,405 visual, or 18,946 with the auditory voxels)
    (where they say) N.npy    EEG of one TR: float [64 or more, 800]; of more rows the first 64 are EEG
    videos/%06d.mp4           33 frames at 8 a second, 480 × 720

Of ours, and optional: `geometry.json`, `concepts.json` (the release has no labels), `sub-0001_rois.txt` (region of each
voxel; in the release voxels are in order of their vertex, whatever their region). Sizes are read from the files. The
lists hold the authors' own paths; leading folders are dropped until the file is found under the root. The same folder
is two data sets: `cinebrain` [trial, voxel, TR] and `cinebrain_eeg` [trial, channel, sample]. The delay of 4 s between
clip and fMRI is already in the numbering of the files, and so is a z-score over all runs, test episodes included (as
the authors' script does it: their statistics have seen the test data, and ours cannot undo that).

Choices. Every subject saw 20 of the 30 episodes: the first ten are common, the others depend on the subject. A
**block** is the place of an episode in a subject's order (the numbers of the videos), so the n-th episodes of all
subjects are one block. The episodes with a subject's **test clips**, read from its test list (not assumed: for
subjects 1, 2 and 6 the paper does not state them), are together the last block, and the last training episode
validates. A video's number over 270 is its episode; numbers may start at 0 or at 1. **Subjects** with both lists are
the data set. Files are opened when their trial is asked for: 54,000 a subject are not looked up beforehand (`data
verify` does).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from bench.core.contracts import UNKNOWN_REGION, Modality
from bench.core.errors import DatasetError
from bench.datasets.cc2017.layout import read_fmri_geometry
from bench.datasets.manifest import name_phantom, read_manifest
from bench.datasets.regions import UNLABELLED, VISUAL, read_rois, voxel_names
from bench.datasets.seed_dv.concepts import SUBSET_NAMES
from bench.store.cache import Cache, digest_code
from bench.store.contents import hash_files
from bench.store.video import read_video

if TYPE_CHECKING:
    import datasets

Kind = Literal["fmri", "eeg"]
OFFICIAL: dict[str, Any] = {"episode_clips": 270, "tr": 0.8, "frames": 33}
EEG_CHANNELS = 64
VISUAL_VOXELS = 8405  # of a file that holds visual cortex alone; 18,946 with the auditory voxels
FETCH = "it is Fudan-fMRI/CineBrain on Hugging Face (sub-000X tars, videos.tar and the JSON lists)"


class CineBrain:
    """A data set on disk, seen as fMRI or as EEG. Raises DatasetError where the folder or all lists are missing."""

    class_subsets = SUBSET_NAMES

    def __init__(
        self,
        root: Path | str,
        *,
        cache: Path,
        name: str = "cinebrain",
        kind: Kind = "fmri",
        open_truth: Callable[[CineBrain], Any] | None = None,
    ) -> None:
        if kind not in ("fmri", "eeg"):
            raise DatasetError(f"kind={kind!r} is not known; say 'fmri' or 'eeg'")
        self.root, self.name, self.cache = Path(root), name, Cache(cache)
        self._open_truth = open_truth
        self.modality: Modality = kind
        if not self.root.is_dir():
            raise DatasetError(f"{name}: there is no folder {self.root}; name the one with the JSON lists; {FETCH}")
        self.geometry = read_fmri_geometry(self.root, OFFICIAL)
        self.subjects = find_subjects(self.root)
        if not self.subjects:
            raise DatasetError(
                f"{self.root} lacks sub-0001_train_va.json, sub-0001_test_va.json and all of their kind; "
                f"`python -m bench data verify cinebrain --root {self.root}` lists what is there; {FETCH}"
            )

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
            lists = [path for subject in self.subjects for path in list_paths(self.root, subject)]
            extra = [self.root / name for name in ("geometry.json", "concepts.json")]
            extra += sorted(self.root.glob("sub-*_rois.txt"))
            named = [path for table in self.items.values() for item in table for path in self._recorded(item)]
            named += [path for path in self._shown() if path.is_file()]
            own = hash_files(
                sorted({*lists, *named, *(path for path in extra if path.is_file())}),
                self.root,
                self.cache.folder,
            )
        return self._view(own)

    def _view(self, own: str) -> str:
        return own if self.modality == "fmri" else f"{own}-eeg"  # the same files, other data

    def _recorded(self, item: dict[str, Any]) -> list[Path]:
        paths = [self.locate(name) for name in item[self.modality]]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DatasetError(f"there is no {missing[0]}; `data verify cinebrain` lists all that is missing; {FETCH}")
        return paths

    def _shown(self) -> list[Path]:
        """Where the videos that the lists name are, or should be."""
        return [self.locate(name) for name in self._videos.values()]

    def require_stimuli(self) -> None:
        """Raise DatasetError for a video that is not there, before work that needs all begins."""
        missing = [path for path in self._shown() if not path.is_file()]
        if missing:
            raise DatasetError(
                f"there is no {missing[0]}{f' and {len(missing) - 1} more videos' if len(missing) > 1 else ''}; "
                f"`data verify cinebrain` lists all that is missing; {FETCH}"
            )

    def made_from(self, what: str) -> dict[str, str]:
        """All that determines what is derived from this data, for the cache."""
        return {"what": what, "data": self.content_digest, "code": digest_code(__name__)}

    @cached_property
    def items(self) -> dict[int, list[dict[str, Any]]]:
        """Items of each subject in order of the videos' numbers, each with `number` and `part`."""
        return {subject: read_items(self.root, subject) for subject in self.subjects}

    @cached_property
    def _drop(self) -> dict[tuple[str, ...], int]:
        return {}

    def locate(self, name: str) -> Path:
        """The file that a list names, under the root; a path that would not exist where nothing fits."""
        parts = PurePosixPath(name).parts
        folder = parts[:-1]
        if folder not in self._drop:
            fits = (n for n in range(len(parts)) if not PurePosixPath(*parts[n:]).is_absolute())
            self._drop[folder] = next((n for n in fits if self.root.joinpath(*parts[n:]).is_file()), len(parts) - 1)
        return self.root.joinpath(*parts[self._drop[folder] :])

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "truth"}

    @cached_property
    def sampling_rate(self) -> float:
        """Hz: one over the TR, or the EEG's, from its samples in a TR."""
        tr = float(self.geometry["tr"])
        return 1 / tr if self.modality == "fmri" else round(self._example(self.subjects[0]).shape[1] / tr, 3)

    def _example(self, subject: int) -> np.ndarray:
        return self.read(self.locate(self.items[subject][0][self.modality][0]))

    @cached_property
    def voxels(self) -> dict[int, int]:
        """Length of an fMRI file of each subject; in the EEG view the number of channels."""
        return {subject: self._example(subject).shape[0] for subject in self.subjects}

    @cached_property
    def rois(self) -> Mapping[int, tuple[str, ...]]:
        """Region of each voxel of each subject (fMRI); where the names end, the signals are padding."""
        if self.modality == "eeg":
            return dict.fromkeys(self.subjects, ("scalp",) * EEG_CHANNELS)
        files = {subject: self.root / f"sub-{subject:04d}_rois.txt" for subject in self.subjects}
        return {
            s: read_rois(files[s], count, without=VISUAL if count == VISUAL_VOXELS else UNKNOWN_REGION)
            for s, count in self.voxels.items()
        }

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """E1…E64 (as the net numbers them), or as many voxels as the subject with the most has."""
        if self.modality == "eeg":
            return tuple(f"E{number}" for number in range(1, EEG_CHANNELS + 1))
        return voxel_names(max(self.voxels.values()))

    @cached_property
    def labels(self) -> dict[str, Any]:
        """Names, and the concept of each video by its number; one concept for all where there are no labels."""
        path = self.root / "concepts.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"names": [UNLABELLED], "clips": {}}

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(self.labels["names"])

    @cached_property
    def stimuli(self) -> datasets.Dataset:
        """A row a video: clip, block, slot, position (0), concept, caption, number (of its file)."""
        return self.cache.table(self.made_from("stimuli"), self.stimulus_columns)

    def stimulus_columns(self) -> dict[str, Any]:
        """The columns of `stimuli`, which need no digest and no cache."""
        places = place_clips(self.items, self.geometry["episode_clips"])
        captions = {item["number"]: item["text"] for table in self.items.values() for item in table}
        numbers = sorted(captions)
        return {
            "clip": np.arange(len(numbers)),
            "block": [places[number][0] for number in numbers],
            "slot": [places[number][1] for number in numbers],
            "position": np.zeros(len(numbers), dtype=int),
            "concept": [int(self.labels["clips"].get(str(number), 0)) for number in numbers],
            "caption": [captions[number] for number in numbers],
            "number": numbers,
        }

    @cached_property
    def trials(self) -> datasets.Dataset:
        """A row an item: trial, subject, session (1), clip."""
        return self.cache.table(self.made_from("trials"), self.trial_columns)

    def trial_columns(self) -> dict[str, Any]:
        """The columns of `trials`, which need no digest and no cache."""
        clip = {number: row for row, number in enumerate(self.stimulus_columns()["number"])}
        shown = [(subject, clip[item["number"]]) for subject, table in self.items.items() for item in table]
        return {
            "trial": np.arange(len(shown)),
            "subject": [subject for subject, _ in shown],
            "session": np.ones(len(shown), dtype=int),
            "clip": [row for _, row in shown],
        }

    @cached_property
    def _order(self) -> list[tuple[int, dict[str, Any]]]:
        return [(subject, item) for subject, table in self.items.items() for item in table]

    def item(self, trial: int) -> tuple[int, dict[str, Any]]:
        """Subject of a trial and its item: files, text, video, number and part."""
        return self._order[trial]

    def read(self, path: Path) -> np.ndarray:  # fMRI [voxel, 1], EEG [channel, sample]
        """One TR; raises DatasetError for a missing or truncated file, another shape, a type that is no float."""
        try:
            values = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise DatasetError(f"there is no {path}; {FETCH}") from None
        except (ValueError, EOFError, OSError) as error:
            raise DatasetError(f"{path} is no whole .npy array ({error}); fetch it again") from error
        if self.modality == "eeg":
            fits, expected = values.ndim == 2 and len(values) >= EEG_CHANNELS, f"[{EEG_CHANNELS} or more, sample]"
            values = values[:EEG_CHANNELS]
        else:
            fits, expected = values.ndim == 1 and len(values) > 0, "[voxel]"
            values = values[:, None] if fits else values
        if not fits or values.dtype.kind != "f":
            raise DatasetError(
                f"{path} is {values.dtype} {list(values.shape)}, expected a float {expected}; fetch it again"
            )
        return values

    def signals(self, trials: Sequence[int] | np.ndarray) -> Float32[np.ndarray, "trial channel time"]:
        """The five TRs of each trial one after the other; fMRI has zeros after a subject's last voxel.

        Raises DatasetError for a value that is not finite, and for files of one subject that differ in shape.
        """
        trials = np.asarray(trials, dtype=np.int64).reshape(-1)
        if len(trials) and (trials.min() < 0 or trials.max() >= len(self._order)):
            raise DatasetError(f"{self.name}: trials go from 0 to {len(self._order) - 1}, asked for {trials}")
        rows, steps = self._example(self.subjects[0]).shape[1], len(self.items[self.subjects[0]][0][self.modality])
        out = np.zeros((len(trials), len(self.channels), steps * rows), np.float32)
        for target, trial in zip(out, trials, strict=True):
            subject, item = self._order[trial]
            paths = [self.locate(name) for name in item[self.modality]]
            if len(paths) != steps:
                raise DatasetError(
                    f"{self.name}: trial {trial} of subject {subject} names {len(paths)} {self.modality} files, the "
                    f"first item {steps}; fetch the list again"
                )
            for step, path in enumerate(paths):
                values = self.read(path)
                if values.shape != (self.voxels[subject], rows):
                    raise DatasetError(
                        f"{path} is {list(values.shape)}, the first of subject {subject} is "
                        f"{[self.voxels[subject], rows]}; fetch it again"
                    )
                if not np.isfinite(values).all():
                    channel = int(np.argmin(np.isfinite(values).all(axis=1)))
                    raise DatasetError(
                        f"{path}: trial {trial} (subject {subject}, video {item['number']:06d}) holds NaN or infinity "
                        f"in {self.channels[channel]}; fetch the file again"
                    )
                target[: len(values), step * rows : (step + 1) * rows] = values
        return out

    def video(self, clips: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "clip frame height width 3"]:
        """The first 33 frames of each video (of a phantom, all it has), at the size of the file."""
        clips = np.asarray(clips, dtype=np.int64).reshape(-1)
        if len(clips) and (clips.min() < 0 or clips.max() >= len(self.stimuli)):
            raise DatasetError(f"{self.name}: clips go from 0 to {len(self.stimuli) - 1}, asked for {clips}")
        frames: int = self.geometry["frames"]
        decoded: list[np.ndarray] = []
        for clip in clips:
            path = self.video_path(int(clip))
            video = read_video(path, first=frames)
            if len(video) < frames:
                raise DatasetError(f"{path} has {len(video)} frames, expected {frames} at least; fetch it again")
            if decoded and video.shape != decoded[0].shape:
                raise DatasetError(f"{path} is {list(video.shape)}, another clip {list(decoded[0].shape)}")
            decoded.append(video)
        return np.stack(decoded) if decoded else np.empty((0, frames, 1, 1, 3), np.uint8)

    def video_path(self, clip: int) -> Path:
        return self.locate(self._videos[int(self.stimuli[clip]["number"])])

    @cached_property
    def _videos(self) -> dict[int, str]:
        return {item["number"]: item["video"] for table in self.items.values() for item in table}

    @cached_property
    def truth(self) -> Any | None:
        """The likelihood model of a phantom, which whoever opened the folder handed over; None for recordings."""
        return None if self._open_truth is None else self._open_truth(self)


def find_subjects(root: Path) -> tuple[int, ...]:
    """Numbers of the subjects of whom at least one list is there."""
    return tuple(sorted({int(path.name[4:8]) for path in root.glob("sub-[0-9][0-9][0-9][0-9]_*_va.json")}))


def list_paths(root: Path, subject: int) -> tuple[Path, Path]:
    """The training list and the test list of a subject."""
    return root / f"sub-{subject:04d}_train_va.json", root / f"sub-{subject:04d}_test_va.json"


def read_items(root: Path, subject: int) -> list[dict[str, Any]]:
    """Items of both lists, sorted by number, with `number` and `part`; raises DatasetError for an unusable list.

    Refused are a missing list, items that lack a field, and a video that is both trained on and tested.
    """
    items: dict[int, dict[str, Any]] = {}
    for part, path in zip(("train", "test"), list_paths(root, subject), strict=True):
        if not path.is_file():
            raise DatasetError(f"there is no {path}; {FETCH}")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            rows = [{field: item[field] for field in ("fmri", "eeg", "text", "video")} for item in stored]
            numbers = [int(PurePosixPath(row["video"]).stem) for row in rows]
        except (ValueError, TypeError, KeyError) as error:
            raise DatasetError(f"{path} is no list of {{fmri, eeg, text, video}} ({error}); fetch it again") from error
        if not rows:
            raise DatasetError(f"{path} is an empty list; fetch it again")
        for number, row in zip(numbers, rows, strict=True):
            if number in items:
                raise DatasetError(
                    f"{path} names video {number:06d}, which is there already ({items[number]['part']}); fetch it again"
                )
            items[number] = {**row, "number": number, "part": part}
    return [items[number] for number in sorted(items)]


def find_base(numbers: Sequence[int], episode_clips: int) -> int:
    """Whether videos are numbered from 0 or from 1: from 1 where none is 0 and the last one ends an episode."""
    return int(min(numbers) > 0 and max(numbers) % episode_clips == 0)


def place_clips(items: Mapping[int, list[dict[str, Any]]], episode_clips: int) -> dict[int, tuple[int, int]]:
    """Block and slot of each video by its number; see the module's choices for what a block is.

    Raises DatasetError where one subject's test clip, or n-th episode, is another one's training clip or m-th episode.
    """
    base = find_base([item["number"] for table in items.values() for item in table], episode_clips)
    training = {
        subject: sorted({(item["number"] - base) // episode_clips for item in table if item["part"] == "train"})
        for subject, table in items.items()
    }
    last = max(len(episodes) for episodes in training.values()) + 1
    places: dict[int, tuple[int, int]] = {}
    for subject, table in items.items():
        filled: dict[int, int] = {}
        for item in table:
            number, trained = item["number"], item["part"] == "train"
            # counted back from the end, so that the validating episode is everyone's last
            rank = training[subject].index((number - base) // episode_clips) - len(training[subject]) if trained else 0
            block = last + rank
            place = (block, filled.get(block, 0))
            filled[block] = place[1] + 1
            if places.setdefault(number, place)[0] != block:
                raise DatasetError(
                    f"video {number:06d} is in block {places[number][0]} of another subject and in block {block} of "
                    f"subject {subject} (of {last}, the last being tested): the subjects do not share one split"
                )
    return places
