"""Video in and out: u8 RGB arrays (frame, height, width, 3), exact and checked.

- decord reads what it decodes well (H.264, VP8/9, MPEG-4): one reader a call, all frames in order, never by seeking,
  which gives wrong frames on open GOPs. PyAV says what a file holds and reads the rest (AV1, APNG, …), also what
  decord gives up on, such as frames 8, 16, 24, 48 or 72 pixels wide.
- Pillow reads GIF and WebP: PyAV gives the same pixels of a GIF but was seen to lose the first of a file's frames where
  they carry no duration, and it does not read animated WebP. It also reads folders of frames: once decord is
  imported, OpenCV cannot decode PNG any more (the two bring different zlibs).
- Predictions are written losslessly (`libx264rgb`, `qp=0`: bit-exact in every decoder tried, odd sizes included). A
  metric computed from a re-encoded yuv420p copy would see about 32 dB of codec noise.
- **GIF, WebP and APNG writers merge identical consecutive frames**: 48 frames written may be 12 read. A file's stored
  frames are what is returned; where a number of frames is demanded, a merged file is an error and not a shorter video.
- Transparency is shown over black, whatever colour a decoder gives to pixels that have none.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from bench.core.errors import BenchError

if TYPE_CHECKING:
    import av

Video = UInt8[np.ndarray, "frame height width 3"]

DECORD_CODECS = ("h264", "vp8", "vp9", "mpeg4")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp", ".apng", ".npy")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
ALPHA_FORMATS = ("rgba", "bgra", "argb", "abgr", "pal8", "ya8", "yuva420p", "yuva444p", "gbrap")
LARGEST = 4 * 2**30  # bytes of decoded pixels: no clip of any protocol comes near, a hostile file may


class VideoError(BenchError):
    """A video that cannot be used: which one, why, and what to do."""

    def __init__(self, path: Path | str, why: str, next_step: str) -> None:
        super().__init__(path, why, next_step)
        self.path, self.why, self.next_step = path, why, next_step

    def __str__(self) -> str:
        return f"{self.path}: {self.why}; {self.next_step}"


def read_video(path: Path | str, *, frames: int | None = None) -> Video:
    """All frames of a video file, an `.npy` (u8) or a folder of images in natural order.

    With `frames`, the video must have exactly so many. Raises VideoError for what does not exist, does not decode to
    its end, has no frames or another number of them.
    """
    path = Path(path)
    if not path.exists():
        raise VideoError(path, "there is no such file or folder", "check the name")
    if path.is_dir():
        video = read_folder(path)
    elif path.suffix.lower() == ".npy":
        video = read_array(path)
    elif path.suffix.lower() in (".gif", ".webp"):
        video = read_animation(path)
    else:
        video = read_file(path)
    if len(video) == 0:
        raise VideoError(path, "it holds no frames", "write it again")
    if frames is not None and len(video) != frames:
        merged = " (writers of GIF, WebP and APNG merge identical frames)" if len(video) < frames else ""
        raise VideoError(
            path, f"it has {len(video)} frames, {frames} are needed{merged}", "write it again, as lossless mp4 or .npy"
        )
    return video


def read_file(path: Path) -> Video:
    import av

    if path.stat().st_size == 0:
        raise VideoError(path, "the file is empty", "write or fetch it again")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(path, "it holds no video", "name a video file")
            stream = container.streams.video[0]
            stated = stream.frames
            check_size(path, max(stated, 1), stream.codec_context.height, stream.codec_context.width)
            codec = stream.codec_context.codec.name
            check_end(path, container, stream)
        video = read_with_decord(path) if codec in DECORD_CODECS else None
        if video is None:
            with av.open(str(path)) as container:
                video = stack(path, container.decode(video=0))
    except (av.FFmpegError, EOFError) as error:
        raise undecodable(path, error) from error
    if stated and len(video) != stated:
        raise VideoError(
            path, f"{len(video)} of the {stated} frames that it announces can be decoded", "write or fetch it again"
        )
    return video


def read_with_decord(path: Path) -> Video | None:
    """All frames in order, or None where decord gives up: PyAV then says whether the file or decord is at fault."""
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        video = reader.get_batch(range(len(reader))).asnumpy() if len(reader) else None
    except (decord.DECORDError, RuntimeError):
        return None
    return video if video is not None and len(video) == len(reader) else None


def check_end(path: Path, container: av.container.InputContainer, stream: av.VideoStream) -> None:
    """Raises VideoError where the packets end long before the announced duration: a truncated webm or mkv."""
    if stream.frames or not container.duration:
        return
    ends = [
        float((packet.pts + (packet.duration or 0)) * packet.time_base)
        for packet in container.demux(stream)
        if packet.pts is not None and packet.time_base is not None
    ]
    announced = container.duration / 1_000_000  # microseconds
    if ends and max(ends) < 0.9 * announced - 0.5:
        raise VideoError(
            path, f"it ends at {max(ends):.2f} s of the {announced:.2f} s that it announces", "fetch it again"
        )


def read_animation(path: Path) -> Video:
    """The frames of a GIF or WebP, as they are shown."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    if path.suffix.lower() == ".gif" and not path.read_bytes().rstrip(b"\0").endswith(b";"):
        raise VideoError(path, "it ends before its end mark: a part is missing", "write or fetch it again")
    pictures: list[np.ndarray] = []
    try:
        with Image.open(path) as image:
            for frame in ImageSequence.Iterator(image):
                pictures.append(over_black(np.asarray(frame.convert("RGBA"))))
                check_size(path, len(pictures), *pictures[0].shape[:2])
    except (UnidentifiedImageError, OSError, EOFError, ValueError, SyntaxError) as error:
        raise undecodable(path, error) from error
    return np.stack(pictures)


def read_array(path: Path) -> Video:
    try:
        video = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise VideoError(path, f"it is no whole .npy array ({error})", "write it with numpy.save") from error
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3:
        nan = " with NaN in it" if video.dtype.kind == "f" and np.isnan(video).any() else ""
        raise VideoError(
            path, f"it is {video.dtype} {list(video.shape)}{nan}", "save uint8 RGB [frame, height, width, 3]"
        )
    return video


def read_folder(path: Path) -> Video:
    from PIL import Image, UnidentifiedImageError

    pictures: list[np.ndarray] = []
    images = list_images(path)
    for image in images:
        try:
            with Image.open(image) as opened:
                check_size(path, len(images), opened.height, opened.width)
                frame = over_black(np.asarray(opened.convert("RGBA")))
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            raise VideoError(image, f"it is no image that can be decoded ({error})", "save it as PNG") from error
        if pictures and frame.shape != pictures[0].shape:
            height, width = pictures[0].shape[:2]
            raise VideoError(
                image,
                f"it is {frame.shape[1]}×{frame.shape[0]}, the first frame {width}×{height}",
                "write all frames at one size",
            )
        pictures.append(frame)
    if not pictures:
        raise VideoError(path, "the folder holds no images", f"put frames in it ({', '.join(IMAGE_SUFFIXES)})")
    return np.stack(pictures)


def read_clips(
    path: Path | str, first_frames: Sequence[int], *, offsets: Sequence[int], size: tuple[int, int] | None = None
) -> UInt8[np.ndarray, "clip frame height width 3"]:
    """Clips picked from one long video: clip i is the frames `first_frames[i] + offsets`, resized to (width, height).

    The file is decoded once, in order, and only the frames asked for are converted and kept: exact in every format,
    where seeking is not. Resizing is OpenCV's bilinear. Raises VideoError where the video ends before the last frame.
    """
    import av
    import cv2

    wanted = np.asarray(first_frames, dtype=np.int64)[:, None] + np.asarray(offsets, dtype=np.int64)
    if wanted.size == 0 or wanted.min() < 0:
        raise VideoError(path, f"frames asked for: {wanted.tolist()}", "name at least one clip, frames from 0 on")
    places: dict[int, list[tuple[int, int]]] = {}
    for (clip, position), number in np.ndenumerate(wanted):
        places.setdefault(int(number), []).append((clip, position))
    last, clips, count = int(wanted.max()), None, 0
    try:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            for index, frame in enumerate(container.decode(video=0)):
                count = index + 1
                if index in places:
                    picture: np.ndarray = frame.to_ndarray(format="rgb24")
                    if size is not None and picture.shape[1::-1] != tuple(size):
                        picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
                    if clips is None:
                        clips = np.zeros((*wanted.shape, *picture.shape), np.uint8)
                    for clip, position in places[index]:
                        clips[clip, position] = picture
                if index == last:
                    break
    except (av.FFmpegError, EOFError, IndexError) as error:
        raise undecodable(path, error) from error
    if clips is None or count <= last:
        raise VideoError(path, f"it has {count} frames, frame {last} is needed", "fetch it again, or check its timing")
    return clips


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


def decode(content: bytes, name: str, *, shape: Sequence[int] | None = None, kind: str = "mp4") -> Video:
    """The frames of an mp4, or another kind, in memory (PyAV, one thread: the fastest for small clips).

    Of this `shape` or less: decoding stops where it is passed. Raises VideoError.
    """
    import av

    try:
        with av.open(io.BytesIO(content), "r", format=kind) as container:  # not guessed: playlists open other files
            context = container.streams.video[0].codec_context
            context.thread_count = 1
            if shape is not None:  # the decoder pads pictures to whole blocks
                context.options = {"max_pixels": str((shape[1] + 64) * (shape[2] + 64))}
            return stack(name, container.decode(video=0), shape)
    except (av.FFmpegError, EOFError, IndexError) as error:
        raise undecodable(name, error) from error


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

    Raises VideoError for a folder that does not exist and for two videos of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise VideoError(folder, "there is no such folder", "name the folder that holds the videos")
    videos: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=natural_order):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            name = path.name
            if not list_images(path):
                continue
        else:
            name = path.stem
            if path.suffix.lower() not in VIDEO_SUFFIXES:
                continue
        if name in videos:
            raise VideoError(path, f"{videos[name].name} has the same name", "keep one video a clip")
        videos[name] = path
    return videos


def natural_order(path: Path) -> tuple[tuple[int, int, str], ...]:
    """A sorting key by which image2 comes before image10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", path.name)
    return tuple((0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts)


def list_images(folder: Path) -> list[Path]:
    images = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    return sorted(images, key=natural_order)


def stack(path: Path | str, frames: Iterator[Any], shape: Sequence[int] | None = None) -> Video:
    """The decoded frames as one array. Raises VideoError where their size changes or there are too many."""
    pictures: list[np.ndarray] = []
    for frame in frames:
        check_size(path, len(pictures) + 1, frame.height, frame.width, shape)  # before its pixels are converted
        if frame.format.name in ALPHA_FORMATS:
            picture = over_black(frame.to_ndarray(format="rgba"))
        else:
            picture = frame.to_ndarray(format="rgb24")
        if pictures and picture.shape != pictures[0].shape:
            raise VideoError(path, "its frames change size", "write it again at one size")
        pictures.append(picture)
    return np.stack(pictures) if pictures else np.zeros((0, 0, 0, 3), np.uint8)


def over_black(picture: UInt8[np.ndarray, "height width 4"]) -> UInt8[np.ndarray, "height width 3"]:
    """RGBA over a black ground; opaque pixels keep their values exactly."""
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + 127) // 255).astype(np.uint8)


def check_size(path: Path | str, frames: int, height: int, width: int, shape: Sequence[int] | None = None) -> None:
    """Raises VideoError for more pixels than `LARGEST`; with `shape`, for more frames or another size than its."""
    seen = f"{frames} frames of {width}×{height} are"
    if shape is not None and (frames > shape[0] or (height, width) != tuple(shape[1:3])):
        raise VideoError(path, f"{seen} not the {shape[0]} of {shape[2]}×{shape[1]} promised", "write it again")
    if frames * height * width * 3 > LARGEST:
        raise VideoError(path, f"{seen} more than {LARGEST // 2**30} GiB of pixels", "cut it into clips")


def undecodable(path: Path | str, error: Exception) -> VideoError:
    why = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    return VideoError(
        path, f"it cannot be decoded ({why[0] if why else type(error).__name__})", "write or fetch it again"
    )
