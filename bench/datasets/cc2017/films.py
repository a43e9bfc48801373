"""cc2017 with clips cut from the films themselves, at a rate and size that one names: `cc2017:33x480x720`.

    stimuli/seg1.mp4 … seg18.mp4, test1.mp4 … test5.mp4      as purr.purdue.edu/publications/2809 releases them (CC0)

beside the recordings and captions of `bench.datasets.cc2017.layout`; `GT_*_3fps.pt`, six frames a clip, are not read.
As in the authors' own scripts (`video_processing.m`), a second is 30 frames, and clip i of a segment is the 2 s of its
i-th volume: 60 frames from 60·i on. Of these come evenly spaced ones, the first among them (frame k of F is ⌊60·k/F⌋:
0, 10, …, 50 of six, NeuroClips' 3 a second), each resized to the size asked for without regard to its shape.

A film is decoded once, from its beginning, in the bounded process (`bench.store.video`), and each of its clips is kept
in the cache, where clips are read from then on: frames × height × width × 3 bytes each, so 189 GB for all 5,520 of
33×480×720. Few of them are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from bench.core.errors import DatasetError
from bench.core.progress import say
from bench.datasets.cc2017.captions import caption_path, find_captions
from bench.datasets.cc2017.layout import CC2017, PARTS
from bench.datasets.seed_dv.verify import Check
from bench.store.cache import digest_code
from bench.store.contents import digest_files, hash_files
from bench.store.video import VideoError, count_frames, walk_clips

FOLDER = "stimuli"
FPS = 30
FETCH = (
    "the films are seg1.mp4 to seg18.mp4 and test1.mp4 to test5.mp4, 8 minutes each at 30 frames a second, of "
    "purr.purdue.edu/publications/2809 (doi 10.4231/R7SF2TCW, CC0 1.0); put them into a folder stimuli"
)
Shape = tuple[int, int, int]  # frames, height, width


class CC2017Films(CC2017):
    """A folder with recordings and films. Raises DatasetError for more frames than a clip has."""

    def __init__(self, root: Path | str, *, shape: Shape, cache: Path, name: str, **options: Any) -> None:
        super().__init__(root, cache=cache, name=name, **options)
        self.shape = shape
        self.clip_frames = round(FPS * float(self.geometry["tr"]))
        if self.shape[0] > self.clip_frames:
            raise DatasetError(f"{name}: a clip has {self.clip_frames} frames in the films; ask for at most so many")

    def unaveraged(self) -> CC2017Films:
        """The same files with each measured repeat a trial of its own."""
        options: dict[str, Any] = {"average": "none", "open_truth": self._open_truth}
        return CC2017Films(self.root, shape=self.shape, cache=self.cache.folder, name=self.name, **options)

    @cached_property
    def films(self) -> list[tuple[Path, int]]:
        """Each film with the number of its clips, in the order of the clips."""
        return list_films(self.root, self.geometry)

    def require_stimuli(self) -> None:
        """Raise DatasetError for films or captions that are not there, before work that needs all begins."""
        missing = [path.name for path, _ in self.films if not path.is_file()]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise DatasetError(f"{self.root / FOLDER} lacks {', '.join(missing[:3])}{more}; {FETCH}")
        for part in PARTS:
            caption_path(self.root, part)

    @cached_property
    def content_digest(self) -> str:
        """Of all files that are read, as they are on this machine."""
        extra = [path for part in PARTS if (path := find_captions(self.root, part))]
        extra += [self.root / "geometry.json", self.root / "concepts.json", *self.root.glob("subj*_rois.txt")]
        extra += [path for path, _ in self.films]
        files = {*self.recording_paths(), *(path for path in extra if path.is_file())}
        return self._view(hash_files(sorted(files), self.root, self.cache.folder))

    def _view(self, own: str) -> str:
        return f"{super()._view(own)}-{'x'.join(map(str, self.shape))}"

    def video(self, clips: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "clip frame height width 3"]:
        """The frames of the clips; a film is decoded when the first of its clips is asked for."""
        clips = np.asarray(clips, dtype=np.int64).reshape(-1)
        ends = np.cumsum([count for _, count in self.films])
        if len(clips) and (clips.min() < 0 or clips.max() >= ends[-1]):
            raise DatasetError(f"{self.name}: clips go from 0 to {ends[-1] - 1}, asked for {clips}")
        out = np.empty((len(clips), *self.shape, 3), np.uint8)
        film = np.searchsorted(ends, clips, side="right")
        for number in np.unique(film):
            path, count = self.films[number]
            places = clips - (ends[number] - count)
            for place, frames in self.cut(path, count, set(places[film == number].tolist())):
                out[(film == number) & (places == place)] = frames
        return out

    def cut(self, path: Path, count: int, places: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """These clips of a film, by their places in it: from the cache, or cut with all others of the film."""
        if not path.is_file():
            raise DatasetError(f"there is no {path}; {FETCH}")
        content = digest_files([path], self.root, self.cache.folder)
        made_from = {"what": "clips of a film", "film": content, "shape": list(self.shape), "frames": self.clip_frames,
                     "code": digest_code(__name__)}  # fmt: skip
        lacking = set()
        for place in sorted(places):
            kept = self.cache.find_array({**made_from, "clip": place})
            if kept is None:
                lacking.add(place)
            else:
                yield place, kept
        if not lacking:
            return
        say(f"cutting {path.name} into {count} clips of {'×'.join(map(str, self.shape))}")
        frames, height, width = self.shape
        offsets = self.clip_frames * np.arange(frames) // frames
        first = self.clip_frames * np.arange(count)
        for place, clip in enumerate(walk_clips(path, first, offsets=offsets, size=(width, height))):
            self.cache.keep_array({**made_from, "clip": place}, clip)
            if place in lacking:
                yield place, clip


def list_films(root: Path, geometry: dict[str, Any]) -> list[tuple[Path, int]]:
    """Each film, with the number of its clips: a segment's, and what is left for the last of a part."""
    length, films = geometry["segment_clips"], []
    for part, stem in zip(PARTS, ("seg", "test"), strict=True):
        clips = geometry["clips"][part]
        for number, start in enumerate(range(0, clips, length), start=1):
            films.append((root / FOLDER / f"{stem}{number}.mp4", min(length, clips - start)))
    return films


def check_films(root: Path, geometry: dict[str, Any]) -> Iterator[tuple[str, *Check]]:
    """Each film, decoded to its end: whether it is there, and as long as its clips ask for."""
    for path, count in list_films(root, geometry):
        name, needed = path.relative_to(root).as_posix(), count * round(FPS * float(geometry["tr"]))
        if not path.is_file():
            yield name, "absent", f"not there; {FETCH}"
            continue
        try:
            frames = count_frames(path)
        except VideoError as error:
            yield name, "malformed", str(error)
            continue
        if frames < needed:
            yield name, "malformed", f"it has {frames} frames, {count} clips are {needed}; fetch it again"
        else:
            yield name, "ok", f"{frames} frames"
