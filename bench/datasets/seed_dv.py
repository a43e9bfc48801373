"""SEED-DV, as its authors release it: EEG of 20 subjects who watch the same 1,400 clips.

    EEG/sub1.npy … sub20.npy, sub1_session2.npy     (block, channel, time), 200 Hz, any float type
    Video/1st_10min.mp4 … 7th_10min.mp4             24 fps, hint screens included
    Video/BLIP-caption/1st_10min.txt …              a caption a line, presentation order
    Video/meta-info/All_video_label.npy …           (block, slot), concepts numbered from 1

A block is a row of slots, one a concept: a hint that names the concept (3 s), then its clips (5 of 2 s), without a gap,
a latency shift or a baseline. Every subject sees the same order (`CONCEPT_ORDER`). A clip is 48 frames, of which
0, 8, …, 40 are kept and resized to 512×288 bilinearly, as EEG2Video's `extract_gif.py` does.

Another geometry (a phantom's) is read from `geometry.json` in the root; everything else is the same code. The signals
and films stay in their files, memory-mapped; the tables of stimuli and trials are Arrow tables.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from jaxtyping import Float32, UInt8

from bench.data import Modality
from bench.datasets.concepts import CONCEPTS
from bench.errors import BenchError
from bench.spec import digest
from bench.store import write_array
from bench.video import read_clips

CHANNELS: tuple[str, ...] = (
    *("FP1", "FPZ", "FP2", "AF3", "AF4", "F7", "F5", "F3", "F1", "FZ", "F2", "F4", "F6", "F8"),
    *("FT7", "FC5", "FC3", "FC1", "FCZ", "FC2", "FC4", "FC6", "FT8"),
    *("T7", "C5", "C3", "C1", "CZ", "C2", "C4", "C6", "T8"),
    *("TP7", "CP5", "CP3", "CP1", "CPZ", "CP2", "CP4", "CP6", "TP8"),
    *("P7", "P5", "P3", "P1", "PZ", "P2", "P4", "P6", "P8"),
    *("PO7", "PO5", "PO3", "POZ", "PO4", "PO6", "PO8", "CB1", "O1", "OZ", "O2", "CB2"),
)

# concepts (numbered from 1) in the order of their slots, a row a block; the same for every subject
CONCEPT_ORDER = np.array(
    [
        [int(number) for number in row.split(",")]
        for row in (
            "23,22,9,6,18,14,5,36,25,19,28,35,3,16,24,40,15,27,38,33,34,4,39,17,1,26,20,29,13,32,37,2,11,12,30,31,8,21,7,10",
            "27,33,22,28,31,12,38,4,18,17,35,39,40,5,24,32,15,13,2,16,34,25,19,30,23,3,8,29,7,20,11,14,37,6,21,1,10,36,26,9",
            "15,36,31,1,34,3,37,12,4,5,21,24,14,16,39,20,28,29,18,32,2,27,8,19,13,10,30,40,17,26,11,9,33,25,35,7,38,22,23,6",
            "16,28,23,1,39,10,35,14,19,27,37,31,5,18,11,25,29,13,20,24,7,34,26,4,40,12,8,22,21,30,17,2,38,9,3,36,33,6,32,15",
            "18,29,7,35,22,19,12,36,8,15,28,1,34,23,20,13,37,9,16,30,2,33,27,21,14,38,10,17,31,3,24,39,11,32,4,25,40,5,26,6",
            "29,16,1,22,34,39,24,10,8,35,27,31,23,17,2,15,25,40,3,36,26,6,14,37,9,12,19,30,5,28,32,4,13,18,21,20,7,11,33,38",
            "38,34,40,10,28,7,1,37,22,9,16,5,12,36,20,30,6,15,35,2,31,26,18,24,8,3,23,19,14,13,21,4,25,11,32,17,39,29,33,27",
        )
    ]
)
BLOCK_NAMES = ("1st", "2nd", "3rd", "4th", "5th", "6th", "7th")
META_INFO = ("color", "face_apperance", "human_apperance", "obj_number", "optical_flow_score")  # the release's spelling
APPLY = (
    "SEED-DV is given out on application with a signed licence agreement: https://bcmi.sjtu.edu.cn/home/seed/ "
    "(BCMI, Shanghai Jiao Tong University); keep the folder layout of the release"
)


class DataError(BenchError):
    """A data set that is not there, not whole or not what its layout says."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Timing and sizes of a data set in SEED-DV's layout; the defaults are the official ones."""

    subjects: tuple[int, ...] = tuple(range(1, 21))
    order: tuple[tuple[int, ...], ...] = tuple(tuple(row) for row in CONCEPT_ORDER.tolist())  # from 1, a row a block
    clips: int = 5  # of a concept in a slot
    hint_seconds: float = 3.0
    clip_seconds: float = 2.0
    sampling_rate: float = 200.0  # Hz
    frame_rate: int = 24
    kept_frames: tuple[int, ...] = (0, 8, 16, 24, 32, 40)  # of a clip's 48
    height: int = 288  # pixels, after resizing
    width: int = 512

    @property
    def blocks(self) -> int:
        return len(self.order)

    @property
    def slots(self) -> int:
        return len(self.order[0])

    @property
    def slot_seconds(self) -> float:
        return self.hint_seconds + self.clips * self.clip_seconds

    @property
    def samples(self) -> int:
        """Samples of a block."""
        return round(self.slots * self.slot_seconds * self.sampling_rate)

    @property
    def frames(self) -> int:
        """Frames of a block's film."""
        return round(self.slots * self.slot_seconds * self.frame_rate)

    @property
    def clip_samples(self) -> int:
        return round(self.clip_seconds * self.sampling_rate)

    def onset(self, slot: int, position: int) -> float:
        """Seconds from the start of the block to the clip at `position` of `slot`."""
        return slot * self.slot_seconds + self.hint_seconds + position * self.clip_seconds

    @classmethod
    def read(cls, root: Path) -> Geometry:
        """The geometry declared in the root, else the official one."""
        path = root / "geometry.json"
        if not path.is_file():
            return cls()
        declared = json.loads(path.read_text())
        declared["subjects"] = tuple(declared["subjects"])
        declared["order"] = tuple(tuple(row) for row in declared["order"])
        declared["kept_frames"] = tuple(declared["kept_frames"])
        return cls(**declared)

    def write(self, root: Path) -> None:
        (root / "geometry.json").write_text(json.dumps(dataclasses.asdict(self), indent=1))


def signal_file(root: Path, subject: int, session: int = 1) -> Path:
    return root / "EEG" / (f"sub{subject}.npy" if session == 1 else f"sub{subject}_session{session}.npy")


def film_file(root: Path, block: int) -> Path:
    """The film of a block, numbered from 1."""
    return root / "Video" / f"{BLOCK_NAMES[block - 1]}_10min.mp4"


def caption_file(root: Path, block: int) -> Path:
    return root / "Video" / "BLIP-caption" / f"{BLOCK_NAMES[block - 1]}_10min.txt"


def meta_file(root: Path, name: str) -> Path:
    return root / "Video" / "meta-info" / f"All_video_{name}.npy"


def read_captions(path: Path) -> list[str]:
    """Captions of a block in presentation order (CRLF or LF line ends)."""
    return [line.strip() for line in path.read_text(encoding="ascii").splitlines() if line.strip()]


class SeedDV:
    """A data set in SEED-DV's layout. Raises DataError for a root that is missing or whose files contradict it."""

    modality: Modality = "eeg"
    channels = CHANNELS
    concepts = CONCEPTS

    def __init__(self, root: Path, *, name: str = "seed_dv", cache: Path, digest: str | None = None) -> None:
        if not root.is_dir():
            raise DataError(f"{name}: there is no folder {root}. {APPLY}")
        self.root, self.name, self.cache = root, name, cache
        self.geometry = Geometry.read(root)
        self.subjects = self.geometry.subjects
        self.sampling_rate = self.geometry.sampling_rate
        self.recordings = [(subject, 1) for subject in self.subjects]
        self.recordings += [(s, 2) for s in self.subjects if signal_file(root, s, session=2).is_file()]
        self.stimuli = datasets.Dataset.from_pandas(list_stimuli(root, self.geometry), preserve_index=False)
        self.trials = datasets.Dataset.from_pandas(self.list_trials(), preserve_index=False)
        self.digest = digest or digest_root(root, self.recordings, self.geometry)
        table = self.stimuli.to_pandas()
        starts = [self.geometry.onset(s, p) for s, p in zip(table["slot"], table["position"], strict=True)]
        self.block = table["block"].to_numpy()
        self.first_sample = np.round(np.array(starts) * self.sampling_rate).astype(int)
        self.first_frame = np.round(np.array(starts) * self.geometry.frame_rate).astype(int)
        trials = self.trials.to_pandas()
        self.trial_clip = trials["clip"].to_numpy()
        self.trial_recording = list(zip(trials["subject"].tolist(), trials["session"].tolist(), strict=True))

    def list_trials(self) -> pd.DataFrame:
        parts = [
            pd.DataFrame({"subject": subject, "session": session, "clip": np.arange(len(self.stimuli))})
            for subject, session in self.recordings
        ]
        trials = pd.concat(parts, ignore_index=True)
        trials.insert(0, "trial", np.arange(len(trials)))
        return trials

    def signals(self, trials: Sequence[int] | np.ndarray) -> Float32[np.ndarray, "trial channel time"]:
        """Raw signals in the files' unit (volts in a phantom); raises DataError for a value that is not finite."""
        length = self.geometry.clip_samples
        gathered = np.empty((len(trials), len(CHANNELS), length), np.float32)
        for row, trial in enumerate(np.asarray(trials)):
            subject, session = self.trial_recording[trial]
            clip = self.trial_clip[trial]
            start = self.first_sample[clip]
            recording = self.recording(subject, session)
            gathered[row] = recording[self.block[clip] - 1, :, start : start + length]
        if not np.isfinite(gathered).all():
            bad = np.flatnonzero(~np.isfinite(gathered).all(axis=(1, 2)))[0]
            subject, session = self.trial_recording[np.asarray(trials)[bad]]
            clip = self.trial_clip[np.asarray(trials)[bad]]
            raise DataError(
                f"{signal_file(self.root, subject, session)} holds NaN or infinite values in block {self.block[clip]}, "
                f"clip {clip}; fetch the file again, or repair it and say so"
            )
        return gathered

    @functools.cache  # noqa: B019 - one data set a process, and the files stay mapped
    def recording(self, subject: int, session: int = 1) -> np.ndarray:  # (block, channel, time), memory-mapped
        """A subject's recording; raises DataError for a file that is missing, truncated or of another shape."""
        path = signal_file(self.root, subject, session)
        problem = inspect_signals(path, self.geometry)
        if problem:
            raise DataError(f"{path}: {problem}; `python -m bench data verify` lists every file")
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def video(self, clips: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "clip frame height width 3"]:
        """The kept frames of clips, from a memory-mapped cache that decoding a block's film once fills."""
        clips = np.asarray(clips)
        g = self.geometry
        shown = np.empty((len(clips), len(g.kept_frames), g.height, g.width, 3), np.uint8)
        for block in np.unique(self.block[clips]):
            rows = np.flatnonzero(self.block[clips] == block)
            first = np.flatnonzero(self.block == block)[0]
            shown[rows] = self.film(int(block))[clips[rows] - first]
        return shown

    def film(self, block: int) -> np.ndarray:  # u8 (clip, frame, height, width, 3), memory-mapped
        path = self.cache / f"{self.digest[:16]}-block{block}.npy"
        if not path.is_file():
            clips = read_clips(
                film_file(self.root, block),
                self.first_frame[self.block == block].tolist(),
                offsets=self.geometry.kept_frames,
                size=(self.geometry.width, self.geometry.height),
            )
            write_array(path, clips)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    @functools.cached_property
    def truth(self) -> Any | None:
        """The phantom's likelihood model; None where the root carries no truth."""
        if not (self.root / "truth").is_dir():
            return None
        from bench.datasets.phantom.observer import Truth

        return Truth(self)


def list_stimuli(root: Path, geometry: Geometry) -> pd.DataFrame:
    """Clips in presentation order: clip, block (from 1), slot, position, concept (index), caption."""
    rows = []
    for block, order in enumerate(geometry.order, start=1):
        path = caption_file(root, block)
        if not path.is_file():
            raise DataError(f"{path} is missing. {APPLY}")
        captions = read_captions(path)
        if len(captions) != geometry.slots * geometry.clips:
            raise DataError(f"{path} holds {len(captions)} captions; {geometry.slots * geometry.clips} are due")
        rows += [
            (block, slot, position, number - 1, captions[slot * geometry.clips + position])
            for slot, number in enumerate(order)
            for position in range(geometry.clips)
        ]
    table = pd.DataFrame(rows, columns=["block", "slot", "position", "concept", "caption"])
    table.insert(0, "clip", np.arange(len(table)))
    return table


def order_by_concept(block: int) -> list[int]:
    """The slot (from 0) of concept 1, 2, …, 40 in a block (from 1): the published script's order of test clips."""
    return np.argsort(CONCEPT_ORDER[block - 1]).tolist()


def digest_root(root: Path, recordings: Sequence[tuple[int, int]], geometry: Geometry) -> str:
    """Digest of a released data set: geometry, captions and labels whole, and of each large file its size, first and
    last mebibyte. Hashing 8 GB whole would take minutes at every start; a file that was edited in its middle and kept
    its size is not noticed."""
    state = hashlib.sha256(digest(json.loads(json.dumps(dataclasses.asdict(geometry)))).encode())
    files = [signal_file(root, *recording) for recording in recordings]
    files += [path(root, block) for block in range(1, geometry.blocks + 1) for path in (film_file, caption_file)]
    for path in files:
        state.update(path.relative_to(root).as_posix().encode())
        if not path.is_file():
            continue
        with path.open("rb") as file:
            size = path.stat().st_size
            state.update(str(size).encode())
            state.update(file.read(2**20))
            file.seek(max(0, size - 2**20))
            state.update(file.read(2**20))
    return state.hexdigest()


def inspect_signals(path: Path, geometry: Geometry) -> str:
    """What is wrong with a recording's header or length; empty if nothing is."""
    if not path.is_file():
        return f"missing. {APPLY}"
    expected = (geometry.blocks, len(CHANNELS), geometry.samples)
    try:
        recording = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        return f"cannot be read as .npy, perhaps truncated ({error}); fetch it again"
    if recording.shape != expected:
        return f"has shape {recording.shape}; (block, channel, time) = {expected} is due"
    if recording.dtype.kind != "f":
        return f"holds {recording.dtype}; a floating type is due"
    return ""


def verify_seed_dv(root: Path) -> pd.DataFrame:
    """Every file of the layout: file, status (ok, missing, malformed), detail. Reads all values once, for NaN."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}. {APPLY}")
    geometry = Geometry.read(root)
    rows = []

    def note(path: Path, problem: str, detail: str) -> None:
        status = "ok" if not problem else "missing" if not path.is_file() else "malformed"
        rows.append((path.relative_to(root).as_posix(), status, problem or detail))

    recordings = [(subject, 1) for subject in geometry.subjects]
    if signal_file(root, 1, 2).is_file() or not (root / "geometry.json").is_file():
        recordings.append((1, 2))
    for recording in recordings:
        path = signal_file(root, *recording)
        problem = inspect_signals(path, geometry) or find_not_finite(path)
        note(path, problem, f"{(geometry.blocks, len(CHANNELS), geometry.samples)}")
    for block in range(1, geometry.blocks + 1):
        path = film_file(root, block)
        note(path, inspect_film(path, geometry), f"{geometry.frames} frames")
        path = caption_file(root, block)
        due = geometry.slots * geometry.clips
        count = len(read_captions(path)) if path.is_file() else 0
        note(path, "" if count == due else f"{count} captions; {due} are due", f"{due} captions")
    path = meta_file(root, "label")
    wrong = path.is_file() and not np.array_equal(np.load(path, allow_pickle=False), geometry.order)
    note(path, "order of concepts is another" if wrong else "" if path.is_file() else "missing", "order of concepts")
    for name in META_INFO:
        path = meta_file(root, name)
        shape = (geometry.blocks, geometry.slots * geometry.clips)
        found = np.load(path, allow_pickle=False).shape if path.is_file() else None
        note(path, "" if found == shape else f"shape {found}; {shape} is due", f"{shape}")
    report = pd.DataFrame(rows, columns=["file", "status", "detail"])
    report.attrs["apply"] = APPLY
    return report


def find_not_finite(path: Path) -> str:
    recording = np.load(path, mmap_mode="r", allow_pickle=False)
    for block, signals in enumerate(recording, start=1):
        bad = int((~np.isfinite(signals)).sum())
        if bad:
            return f"{bad} values of block {block} are NaN or infinite"
    return ""


def inspect_film(path: Path, geometry: Geometry) -> str:
    """What is wrong with a block's film, by its container; empty if nothing is."""
    import av

    if not path.is_file():
        return "missing"
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = stream.frames or sum(1 for _ in container.decode(video=0))
    except (av.FFmpegError, IndexError, EOFError) as error:
        return f"does not decode ({error})"
    return "" if frames == geometry.frames else f"{frames} frames; {geometry.frames} are due"
