"""SEED-DV as released, and phantoms in its layout: EEG of subjects who watch blocks of short clips.

    EEG/sub1.npy … sub20.npy, sub1_session2.npy     (7, 62, 104000): block, channel, sample at 200 Hz; any float type
    Video/1st_10min.mp4 … 7th_10min.mp4             24 fps, hint screens included
    Video/BLIP-caption/1st_10min.txt …              a caption a line, in order of presentation
    Video/meta-info/All_video_label.npy …           concept of each slot (1-based) and attributes of the clips

Subjects are those whose recording is there, a second session alone too; videos and captions are asked for, by the name
of their file, by what needs them. The recordings are memory-mapped and never copied whole. What is derived (tables,
frames of the clips) lies in the cache. The digest of real data is that of all file contents (`bench.store.contents`); a
phantom's stands in its manifest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from bench.core.contracts import Modality
from bench.core.errors import DatasetError
from bench.datasets.manifest import name_phantom, read_manifest
from bench.datasets.seed_dv.concepts import SUBSET_NAMES
from bench.datasets.seed_dv.geometry import BLOCK_NAMES, CHANNELS, Geometry, read_geometry
from bench.store.cache import Cache, digest_code
from bench.store.contents import hash_files
from bench.store.video import read_clips

if TYPE_CHECKING:
    import datasets

APPLY = "apply for it at https://bcmi.sjtu.edu.cn/home/seed/ (SEED-DV, BCMI: application form and licence agreement)"


class SeedDV:
    """A data set on disk. Raises DatasetError where the folder is missing or holds no recording."""

    modality: Modality = "eeg"
    channels = CHANNELS
    class_subsets = SUBSET_NAMES
    rois: Mapping[int, tuple[str, ...]] = MappingProxyType({})

    def __init__(
        self,
        root: Path | str,
        *,
        cache: Path,
        name: str = "seed_dv",
        open_truth: Callable[[SeedDV], Any] | None = None,
    ) -> None:
        self.root = Path(root)
        self._open_truth = open_truth
        self.name = name
        if not self.root.is_dir():
            raise DatasetError(f"{name}: there is no folder {self.root}; name the folder that holds EEG/ or {APPLY}")
        self.geometry: Geometry = read_geometry(self.root)
        self.recordings = find_recordings(self.root)
        self.subjects = tuple(sorted({subject for subject, _ in self.recordings}))
        self.sampling_rate = float(self.geometry.sampling_rate)
        self.concepts = self.geometry.names
        self.cache = Cache(cache)
        if not self.recordings:
            raise DatasetError(
                f"{self.root} lacks EEG/sub1.npy and all of its kind; "
                f"`python -m bench data verify seed_dv --root {self.root}` lists what is there; {APPLY}"
            )

        if (self.root / "manifest.json").is_file():  # a phantom is whole
            every = [self.root / "EEG" / f"sub{number}.npy" for number in range(1, self.geometry.subjects + 1)]
            refuse_missing(self.root, every)

    def require_stimuli(self) -> None:
        """Raise DatasetError for a video or caption file that is not there, before work that needs all begins."""
        refuse_missing(self.root, [*video_files(self.root), *caption_files(self.root)])

    @cached_property
    def digest(self) -> str:
        """Of all that determines the content: of a phantom its spec, of real data all its files."""
        return name_phantom(self.root) if (self.root / "manifest.json").is_file() else self.content_digest

    @cached_property
    def content_digest(self) -> str:
        """Of all files, as they are on this machine."""
        manifest = self.root / "manifest.json"
        if manifest.is_file():
            return read_manifest(self.root)["digest"]
        more = [*video_files(self.root), *caption_files(self.root), self.root / "geometry.json"]
        there = {path for path in more if path.is_file()}
        return hash_files(sorted({*there, *self.recordings.values()}), self.root, self.cache.folder)

    @cached_property
    def stimuli(self) -> datasets.Dataset:
        """A row a clip: clip, block (1-7), slot, position, concept, caption; in order of presentation."""
        return self.cache.table(self.made_from("stimuli"), self._stimulus_columns)

    def _stimulus_columns(self) -> dict[str, Any]:
        return {**self.geometry.clip_table(), "caption": read_captions(self.root)}

    @cached_property
    def trials(self) -> datasets.Dataset:
        """A row a presentation: trial, subject, session, clip."""
        return self.cache.table(self.made_from("trials"), self.trial_columns)

    def trial_columns(self) -> dict[str, Any]:
        """The columns of `trials`, which need no digest and no cache."""
        clips = len(self.geometry.order) * self.geometry.block_clips
        who = np.array(list(self.recordings))
        return {
            "trial": np.arange(len(who) * clips),
            "subject": np.repeat(who[:, 0], clips),
            "session": np.repeat(who[:, 1], clips),
            "clip": np.tile(np.arange(clips), len(who)),
        }

    def made_from(self, what: str) -> dict[str, str]:
        """All that determines what is derived from this data, for the cache."""
        return {"what": what, "data": self.content_digest, "code": digest_code(__name__)}

    @property
    def blocks(self) -> Int64[np.ndarray, " clip"]:
        """Block of each clip, known without the captions."""
        return self.geometry.clip_table()["block"]

    @cached_property
    def windows(self) -> dict[str, np.ndarray]:
        """Where each trial lies: subject, session, block (0-based) and first sample."""
        trials, stimuli = self.trials.with_format("numpy")[:], self.geometry.clip_table()
        clip = np.asarray(trials["clip"])
        onset = [self.geometry.onset(s, p) for s, p in zip(stimuli["slot"], stimuli["position"], strict=True)]
        return {
            "subject": np.asarray(trials["subject"]),
            "session": np.asarray(trials["session"]),
            "block": np.asarray(stimuli["block"])[clip] - 1,
            "sample": np.asarray(onset)[clip] * self.geometry.sampling_rate,
        }

    def recording(self, subject: int, session: int = 1) -> np.ndarray:  # float (7, 62, samples), memory-mapped
        if (subject, session) not in self._open:
            self._open[subject, session] = open_recording(self.recordings[subject, session], self.geometry)
        return self._open[subject, session]

    @cached_property
    def _open(self) -> dict[tuple[int, int], np.ndarray]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Workers open the files themselves instead of getting copies of mapped memory."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_open", "truth")}

    def signals(self, trials: Sequence[int] | np.ndarray) -> Float32[np.ndarray, "trial channel time"]:
        """The recording during the clips (400 samples: 2 s at 200 Hz), unit as stored.

        Raises DatasetError for a value that is not finite, naming file and trial.
        """
        where, length = self.windows, self.geometry.clip_samples
        trials = np.asarray(trials, dtype=np.int64).reshape(-1)
        if len(trials) and (trials.min() < 0 or trials.max() >= len(where["block"])):
            raise DatasetError(f"{self.name}: trials go from 0 to {len(where['block']) - 1}, asked for {trials}")
        out = np.empty((len(trials), len(CHANNELS), length), np.float32)
        for target, trial in zip(out, trials, strict=True):
            subject, session = int(where["subject"][trial]), int(where["session"][trial])
            start = where["sample"][trial]
            target[:] = self.recording(subject, session)[where["block"][trial], :, start : start + length]
            if not np.isfinite(target).all():
                channel = CHANNELS[int(np.argmin(np.isfinite(target).all(axis=1)))]
                raise DatasetError(
                    f"{self.recordings[subject, session]}: trial {trial} (block {where['block'][trial] + 1}, samples "
                    f"{start}-{start + length - 1}) holds NaN or infinity in channel {channel}; fetch the file again"
                )
        return out

    def hints(self, subject: int) -> Float32[np.ndarray, "block slot channel time"]:
        """The first session during the hint screens (600 samples: 3 s at 200 Hz), unit as stored. For audits only."""
        geometry = self.geometry
        blocks, slots = geometry.order.shape
        samples = geometry.hint_seconds * geometry.sampling_rate
        recording = self.recording(subject, min(session for one, session in self.recordings if one == subject))
        out = np.empty((blocks, slots, len(CHANNELS), samples), np.float32)
        for slot in range(slots):
            start = slot * geometry.slot_seconds * geometry.sampling_rate
            out[:, slot] = recording[:, :, start : start + samples]
        return out

    def video(self, clips: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "clip frame height width 3"]:
        """Six frames of each clip (0, 8, …, 40 of 48), resized bilinearly to the geometry's size; decoded once."""
        clips = np.asarray(clips, dtype=np.int64).reshape(-1)
        total = len(BLOCK_NAMES) * self.geometry.block_clips
        if len(clips) and (clips.min() < 0 or clips.max() >= total):
            raise DatasetError(f"{self.name}: clips go from 0 to {total - 1}, asked for {clips}")
        geometry = self.geometry
        out = np.empty((len(clips), len(geometry.frames), geometry.height, geometry.width, 3), np.uint8)
        blocks, places = clips // geometry.block_clips, clips % geometry.block_clips
        for block in np.unique(blocks):
            out[blocks == block] = self._block_video(int(block))[places[blocks == block]]
        return out

    def _block_video(self, block: int) -> np.ndarray:
        geometry = self.geometry
        table = geometry.clip_table()
        own = table["block"] == block + 1
        first = [
            geometry.onset(s, p) * geometry.fps for s, p in zip(table["slot"][own], table["position"][own], strict=True)
        ]
        source = video_files(self.root)[block]
        refuse_missing(self.root, [source])
        size = geometry.width, geometry.height
        return self.cache.array(
            self.made_from(f"frames of {BLOCK_NAMES[block]}"),
            lambda: read_clips(source, first, offsets=geometry.frames, size=size),
        )

    @cached_property
    def truth(self) -> Any | None:
        """The likelihood model of a phantom, which whoever opened the folder handed over; None for recordings."""
        return None if self._open_truth is None else self._open_truth(self)


def open_recording(path: Path, geometry: Geometry) -> np.ndarray:
    """Memory-map a recording; raises DatasetError for a truncated file, a wrong shape or a type that is no float."""
    try:
        recording = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DatasetError(f"there is no {path}; {APPLY}") from None
    except (ValueError, EOFError, OSError) as error:
        raise DatasetError(f"{path} is no whole .npy array ({error}); fetch it again") from error
    if recording.shape != geometry.shape or recording.dtype.kind != "f":
        raise DatasetError(
            f"{path} is {recording.dtype} {list(recording.shape)}, expected a float array {list(geometry.shape)} "
            "(block, channel, sample); fetch it again"
        )
    return recording


def find_recordings(root: Path) -> dict[tuple[int, int], Path]:
    """File of each (subject, session) that is there, second sessions last."""
    found = {}
    for path in (root / "EEG").glob("sub*.npy"):
        match = re.fullmatch(r"sub([1-9][0-9]{0,3})(_session2)?\.npy", path.name)
        if match:
            found[int(match[1]), 2 if match[2] else 1] = path
    return dict(sorted(found.items(), key=lambda one: one[0][::-1]))


def refuse_missing(root: Path, files: Sequence[Path]) -> None:
    missing = [path.relative_to(root).as_posix() for path in files if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DatasetError(
            f"{root} lacks {', '.join(missing[:3])}{more}; "
            f"`python -m bench data verify seed_dv --root {root}` lists what is there; {APPLY}"
        )


def video_files(root: Path) -> list[Path]:
    return [root / "Video" / f"{name}.mp4" for name in BLOCK_NAMES]


def caption_files(root: Path) -> list[Path]:
    return [root / "Video" / "BLIP-caption" / f"{name}.txt" for name in BLOCK_NAMES]


def read_captions(root: Path, *, each: int | None = None) -> list[str]:
    """Captions of all blocks in order of presentation; raises DatasetError for another number of lines than clips."""
    each = read_geometry(root).block_clips if each is None else each
    captions: list[str] = []
    refuse_missing(root, caption_files(root))
    for path in caption_files(root):
        lines = read_caption_file(path)
        if len(lines) != each:
            raise DatasetError(f"{path} has {len(lines)} captions, expected {each} (one a clip); fetch it again")
        captions += lines
    return captions


def read_caption_file(path: Path) -> list[str]:
    """The lines of a caption file as they are (blanks at their ends too), whatever the line ends."""
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n").splitlines()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is no text ({error}); fetch it again") from error
