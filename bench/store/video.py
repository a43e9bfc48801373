"""Video in and out: u8 RGB arrays (frame, height, width, 3), exact and checked.

- **What a player shows is what is read**, by one rule for every codec and container (`bench.store.decoding`), in a
  process that can open no other file and is bounded in memory and time (`bench.store.decoder`). PyAV decodes
  everything: decord guesses by itself what a file is, shows frozen copies where an edit list cuts a film, and says
  nothing of damage; tests hold the two against each other where both read a file rightly.
- What a file is, its first bytes and its name must both say (`bench.store.formats`).
- Predictions are written losslessly (`libx264rgb`, `qp=0`: bit-exact in every decoder tried, odd sizes included). A
  metric computed from a re-encoded yuv420p copy would see about 32 dB of codec noise.
- **GIF, WebP and APNG writers merge identical consecutive frames**: 48 frames written may be 12 read. A file's stored
  frames are what is returned; where a number of frames is demanded, a merged file is an error and not a shorter video.
"""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from bench.core.errors import BenchError
from bench.store.decoder import DECODER, MORE, Limits, film_limits, limits_of, new_memory, open_file
from bench.store.formats import Refused

Video = UInt8[np.ndarray, "frame height width 3"]

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp", ".apng", ".npy")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class VideoError(BenchError):
    """A video that cannot be used: which one, why, and what to do."""

    def __init__(self, path: Path | str, why: str, next_step: str) -> None:
        super().__init__(path, why, next_step)
        self.path, self.why, self.next_step = path, why, next_step

    def __str__(self) -> str:
        return f"{self.path}: {self.why}; {self.next_step}"


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """A file that is refused in the block is refused by its name, as VideoError."""
    try:
        yield
    except Refused as error:
        raise VideoError(path, error.why, error.next_step) from error


def read_video(path: Path | str, *, frames: int | None = None, first: int | None = None) -> Video:
    """All frames of a video file, an `.npy` (u8) or a folder of images in natural order.

    With `frames`, the video must have exactly so many; with `first`, no more than so many are decoded. Raises
    VideoError for what does not exist, does not decode to its end, has no frames or another number of them, or takes
    more memory or time than a file may (`bench.store.decoder`).
    """
    path = Path(path)
    try:
        path.stat()
    except FileNotFoundError:
        raise VideoError(path, "there is no such file or folder", "check the name") from None
    except OSError as error:
        raise VideoError(path, f"it cannot be opened ({error.strerror})", "check its name and rights") from None
    with naming(path):
        video = read_folder(path, first=first) if path.is_dir() else read_file(path, first=first)
    if len(video) == 0:
        raise VideoError(path, "it holds no frames", "write it again")
    if frames is not None and len(video) != frames:
        merged = " (writers of GIF, WebP and APNG merge identical frames)" if len(video) < frames else ""
        raise VideoError(
            path, f"it has {len(video)} frames, {frames} are needed{merged}", "write it again, as lossless mp4 or .npy"
        )
    return video


def read_file(
    path: Path, *, first: int | None = None, shape: Sequence[int] | None = None, limits: Limits | None = None
) -> Video:
    """All pictures of one file. Raises Refused."""
    with open_file(path) as descriptor:
        limits = limits or limits_of(os.fstat(descriptor).st_size)
        return DECODER.clip(descriptor, path.suffix, limits, first=first, shape=shape)


def read_folder(path: Path, *, first: int | None = None) -> Video:
    """The pictures of a folder, which share the limits of one file. Raises VideoError."""
    try:
        images = list_images(path)[:first]
        left = limits_of(sum(image.stat().st_size for image in images))
    except OSError as error:
        raise VideoError(path, f"it cannot be listed ({error.strerror})", "look at its rights") from error
    if not images:
        raise VideoError(path, "the folder holds no images", f"put frames in it ({', '.join(IMAGE_SUFFIXES)})")
    video: np.ndarray | None = None
    for number, image in enumerate(images):
        with naming(image):
            held = read_file(image, first=2, limits=left)
        if len(held) != 1:
            raise VideoError(image, "it holds more than one picture", "save one picture a file")
        if video is None:
            if len(images) * held.nbytes > left.pixels:
                size = f"{len(images)} frames of {held.shape[2]}×{held.shape[1]}"
                raise VideoError(path, f"{size} are more than {left.pixels / 10**6:.0f} MB of pixels", MORE)
            video = np.empty((len(images), *held.shape[1:]), np.uint8)
        if held.shape[1:] != video.shape[1:]:
            height, width = video.shape[1:3]
            raise VideoError(
                image,
                f"it is {held.shape[2]}×{held.shape[1]}, the first frame {width}×{height}",
                "write all frames at one size",
            )
        video[number] = held[0]
        left = replace(left, seconds=max(0.01, left.seconds - DECODER.used))
    assert video is not None
    return video


def count_frames(path: Path | str) -> int:
    """How many frames a player shows of a film of a data set, which may be long. Raises VideoError."""
    with naming(path), open_file(path) as descriptor:
        return exhaust(DECODER.film(descriptor, Path(path).suffix, film_limits(os.fstat(descriptor).st_size), []))


def exhaust(film: Generator[np.ndarray, None, int]) -> int:
    """What a generator returns in the end."""
    while True:
        try:
            next(film)
        except StopIteration as end:
            return int(end.value)


def read_clips(
    path: Path | str, first_frames: Sequence[int], *, offsets: Sequence[int], size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "clip frame height width 3"]:
    """Clips picked from one long video: clip i is the frames `first_frames[i] + offsets`, resized to (width, height).

    The file is decoded once, in order, and only the frames asked for are converted and kept: exact in every format,
    where seeking is not. Resizing is OpenCV's bilinear. Raises VideoError where the video ends before the last frame.
    """
    import cv2

    path = Path(path)
    wanted = np.asarray(first_frames, dtype=np.int64)[:, None] + np.asarray(offsets, dtype=np.int64)
    if wanted.size == 0 or wanted.min() < 0:
        raise VideoError(path, f"frames asked for: {wanted.tolist()}", "name at least one clip, frames from 0 on")
    places: dict[int, list[tuple[int, int]]] = {}
    for (clip, position), frame in np.ndenumerate(wanted):
        places.setdefault(int(frame), []).append((clip, position))
    numbers, clips, count = sorted(places), None, 0
    with naming(path), open_file(path) as descriptor:
        film = DECODER.film(
            descriptor, path.suffix, film_limits(os.fstat(descriptor).st_size), numbers, first=numbers[-1] + 1
        )
        for number, picture in zip(numbers, film, strict=False):
            if size is not None and picture.shape[1::-1] != tuple(size):
                picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR))
            if clips is None:
                clips = np.zeros((*wanted.shape, *picture.shape), np.uint8)
            for clip, position in places[number]:
                clips[clip, position] = picture
            count += 1
    if clips is None or count < len(numbers):
        raise VideoError(
            path,
            f"it has {count_frames(path)} frames, frame {numbers[-1]} is needed",
            "fetch it again, or check its timing",
        )
    return clips


def walk_clips(
    path: Path | str, first_frames: Sequence[int] | np.ndarray, *, offsets: Sequence[int] | np.ndarray,
    size: tuple[int, int],
) -> Iterator[Video]:  # fmt: skip
    """As `read_clips`, one clip after the other, for clips in the film's order that share no frame.

    One clip is in memory at a time. Raises VideoError where the film ends before the last clip does, behind the clips
    that it has.
    """
    import cv2

    path = Path(path)
    wanted = np.add.outer(np.asarray(first_frames, np.int64), np.asarray(offsets, np.int64))
    if wanted.size == 0 or wanted.min() < 0 or (np.diff(wanted.reshape(-1)) <= 0).any():
        raise VideoError(path, f"frames asked for: {wanted.tolist()}", "name clips in their order, frames from 0 on")
    numbers, pictures = wanted.reshape(-1).tolist(), []
    with naming(path), open_file(path) as descriptor:
        limits = film_limits(os.fstat(descriptor).st_size)
        count = 0
        for picture in DECODER.film(descriptor, path.suffix, limits, numbers, first=numbers[-1] + 1):
            fits = picture.shape[1::-1] == tuple(size)
            pictures.append(picture if fits else cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR))
            if len(pictures) == wanted.shape[1]:
                yield np.stack(pictures)
                count, pictures = count + 1, []
    if count < len(wanted):
        raise VideoError(
            path,
            f"it ends within clip {count} of {len(wanted)}, frame {numbers[-1]} is needed",
            "fetch it again, or check its timing",
        )


def encode_lossless(video: Video, *, fps: float) -> bytes:
    """An mp4 (H.264 in RGB, qp 0) that decodes to the very same pixels. Raises VideoError for no u8 RGB video."""
    import av

    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or video.size == 0:
        raise VideoError(
            "the video to write", f"it is {video.dtype} {list(video.shape)}", "give uint8 [frame, height, width, 3]"
        )
    buffer = io.BytesIO()
    # ultrafast: three times as fast to write and to read as the default, for a tenth more bytes
    options = {"qp": "0", "preset": "ultrafast"}
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264rgb", rate=Fraction(fps).limit_denominator(1_000_000), options=options)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "rgb24"
        stream.codec_context.thread_count = 1  # clips are small: threads cost more than they give
        for frame in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode(content: bytes, name: str, *, shape: Sequence[int] | None = None, suffix: str = ".mp4") -> Video:
    """The frames of an mp4, or of a file of another name, in memory.

    Of this `shape` or less: decoding stops where it is passed. Raises VideoError.
    """
    with naming(name), new_memory(len(content)) as memory:
        os.pwrite(memory, content, 0)
        return DECODER.clip(memory, suffix, limits_of(len(content)), shape=shape)


def write_lossless(path: Path | str, video: Video, fps: float) -> None:
    """Write a video that reads back bit for bit: `.mp4` (any size, odd ones too) or `.npy`."""
    path = Path(path)
    if path.suffix == ".npy":
        np.save(path, video, allow_pickle=False)
    elif path.suffix == ".mp4":
        path.write_bytes(encode_lossless(video, fps=fps))
    else:
        raise VideoError(path, f"{path.suffix or 'no suffix'} is not written losslessly here", "use .mp4 or .npy")


def find_videos(folder: Path | str) -> dict[str, Path]:
    """The videos of a folder by name without suffix, in natural order: files, and subfolders of images.

    Names are those of Unicode's form NFC: computers write "é" in two ways that look alike. Raises VideoError for a
    folder that does not exist or cannot be listed, and for two videos of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VideoError(folder, "there is no such folder", "name the folder that holds the videos")
    try:
        paths = sorted(folder.iterdir(), key=natural_order)
        pictures = {path for path in paths if path.is_dir() and not path.name.startswith(".") and list_images(path)}
    except OSError as error:
        raise VideoError(folder, f"it cannot be listed ({error.strerror})", "look at its rights") from error
    videos: dict[str, Path] = {}
    for path in paths:
        if path.name.startswith(".") or (path not in pictures and not is_named_video(path)):
            continue
        name = unicodedata.normalize("NFC", path.name if path in pictures else path.stem)
        if name in videos:
            raise VideoError(path, f"{videos[name].name} has the same name", "keep one video a clip")
        videos[name] = path
    return videos


def is_named_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir()


def natural_order(path: Path) -> tuple[tuple[int, int, str], ...]:
    """A sorting key by which image2 comes before image10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return tuple((0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts)


def list_images(folder: Path) -> list[Path]:
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    return sorted(images, key=natural_order)
