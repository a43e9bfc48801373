"""Decoding one file: its pictures as a player shows them, u8 RGB (height, width, 3), one after the other.

`bench.store.decoder` runs this in a process that can open nothing; so it imports little and opens nothing itself.
**What a player shows is what is read**, whatever the codec, from one decoder (PyAV for films, Pillow for pictures,
GIF and WebP: PyAV was seen to lose the first of a GIF's frames where they carry no duration, and does not read
animated WebP):

- Edit lists cut and repeat frames as they say. A pause before the first frame (an empty edit) shows no frame.
- Display matrices and EXIF orientations turn and mirror frames; an angle that is no quarter turn is refused.
- A cover picture is no film; a file of several films is refused, because players choose differently among them.
- Transparency stands over black, whatever colour a decoder gives to pixels that have none.
- Containers that cut off the edges of the picture (`clap`, PixelCrop) are refused: only some players follow them.
- Any bit depth is scaled to 8 bits. Pictures whose range is not known (floats, 32-bit numbers) are refused, and films
  in HDR, which players map to a screen's range each in its own way.
- The colour matrix and range are those that the file names; where it names none, BT.601 and 16 to 235, as FFmpeg has
  it. Colour profiles are not applied.
- **Pixels are not stretched**: where a file says that its pixels are not square, players widen the picture on the
  screen. ffmpeg writes such a mark whenever it squashes a film to a square, as this field does; metrics compare pixels
  of a grid, and that is the grid as stored.

Damage is not shown but refused: an error of the demuxer or decoder, a corrupt packet or frame, fewer frames than the
file lists. Sizes are checked before pixels are made.
"""

from __future__ import annotations

import importlib
import pkgutil
import struct
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import av
import av.logging
import numpy as np
from av.sidedata.sidedata import Type as SideData

from bench.store.formats import Bounds, Refused, check_whole
from bench.store.pictures import Picture, is_animated, over_black, show_animation, show_picture

DEMUXERS = {"mp4": "mov", "matroska": "matroska", "avi": "avi", "apng": "apng"}
STILL = ("attached_pic", "still_image", "timed_thumbnails")  # dispositions of streams that are no film
TRANSPARENT = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics (ITU-T H.273)
HIDDEN_ERRORS = (  # of H.264 that starts where an edit list cuts: frames that are not shown lack what they refer to
    "mmco: unref short failure",
    "co located POCs unavailable",
    "reference picture missing",
    "Missing reference picture",
)
# titles and comments that are no text are no reason to refuse a film; PyAV 19, of Python 3.12 on, does not ask
TEXTS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
WHOLE_ARRAY = 128 * 2**20  # bytes of an array in Fortran order, which is held whole

for part in pkgutil.walk_packages(av.__path__, "av."):  # PyAV imports the classes of streams when it meets them
    if part.name != "av.__main__":
        importlib.import_module(part.name)
warnings.simplefilter("ignore")
av.logging.set_level(av.logging.ERROR)


def show(file: BinaryIO, kind: str, size: int, bounds: Bounds) -> Iterator[Picture]:
    """The pictures of a file of `kind` and so many bytes. Raises Refused; of what libraries raise, anything."""
    check_whole(file, kind, size)
    if kind == "npy":
        yield from show_array(file, size, bounds)
    elif kind in ("gif", "webp"):
        yield from show_animation(file, kind, bounds)
    elif kind in ("mp4", "matroska", "avi"):
        yield from show_film(file, kind, bounds)
    elif kind == "png" and is_animated(file):
        yield from show_film(file, "apng", bounds)
    else:
        yield show_picture(file, kind, bounds)


# Films


def show_film(file: BinaryIO, kind: str, bounds: Bounds) -> Iterator[Picture]:
    """The frames of the one film of a container."""
    options = {"protocol_whitelist": "none", "max_streams": "64"}
    with (
        av.logging.Capture() as log,
        av.open(file, "r", format=DEMUXERS[kind], options=options, **TEXTS) as container,
    ):
        stream = choose_film(container)
        context = choose_decoder(stream)
        bounds.check(
            min(max(1, stream.frames), bounds.first or 2**62), stream.codec_context.height, stream.codec_context.width
        )
        context.thread_count = bounds.threads
        if bounds.threads != 1:
            context.thread_type = "AUTO"
        most = bounds.pixels // 3
        if bounds.shape is not None:  # the decoder pads pictures to whole blocks
            most = min(most, (bounds.shape[1] + 64) * (bounds.shape[2] + 64))
        context.options = {"max_pixels": str(min(most, 2**31 - 1))}
        yield from decode_stream(container, stream, context, bounds, log)


def decode_stream(container: Any, stream: Any, context: Any, bounds: Bounds, log: list[Any]) -> Iterator[Picture]:
    """The frames of a stream that a player shows; Refused where some of them are damaged or missing."""
    listed = len(stream.index_entries) if stream.frames else 0
    received = hidden = shown = 0
    end, size = 0.0, None
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise Refused("it cannot be decoded (a packet is damaged)")
        if packet.size:
            received += 1
            hidden += packet.is_discard
            if packet.pts is not None and packet.time_base is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        for frame in context.decode(packet):
            shown += 1
            if frame.is_corrupt:
                raise Refused(f"it cannot be decoded (frame {shown} is damaged)")
            matrix = read_matrix(frame)
            height, width = (frame.width, frame.height) if matrix[0] == 0 else (frame.height, frame.width)
            bounds.check(shown, height, width)
            if size not in (None, (height, width)):
                raise Refused("its frames change size", "write it again at one size")
            size = height, width
            yield turn(to_rgb(frame), matrix)
            if shown == bounds.first:
                return
        errors = [line for _, _, line in log if not (hidden and line.startswith(HIDDEN_ERRORS))]
        if errors:  # FFmpeg goes on after one, with frames that nobody wrote
            raise Refused(f"it cannot be decoded ({errors[0].strip()})")
    check_end(container, stream, shown, expected=max(listed, received) - hidden, end=end)


def choose_film(container: Any) -> Any:
    """The one stream of a container that is a film."""
    streams = container.streams.video
    films = [stream for stream in streams if not any(is_marked(stream, mark) for mark in STILL)]
    if not films:
        raise Refused("it holds no film" if streams else "it holds no video", "name a video file")
    if len(films) > 1:
        named = ", ".join(
            f"{one.index}: {one.codec_context.name} {one.codec_context.width}×{one.codec_context.height}"
            for one in films[:8]
        )
        raise Refused(f"it holds several video streams ({named})", "keep one film a file")
    if films[0].codec_context is None:
        raise Refused("no decoder is known for its codec", "write it as H.264")
    return films[0]


def choose_decoder(stream: Any) -> Any:
    """The decoder of a stream: of WebM with transparency libvpx's own, because FFmpeg's leaves it out."""
    codec = TRANSPARENT.get(stream.codec_context.name)
    if codec is None or stream.metadata.get("alpha_mode") != "1":
        return stream.codec_context
    if codec not in av.codecs_available:
        raise Refused("it is transparent, and no decoder for that is here", "write it as mp4")
    return av.CodecContext.create(codec, "r")


def is_marked(stream: Any, disposition: str) -> bool:
    return bool(getattr(type(stream.disposition), disposition, 0) & stream.disposition)


def check_end(container: Any, stream: Any, shown: int, *, expected: int, end: float) -> None:
    """Raises Refused where fewer frames came than the file lists, or where they end long before it says it does."""
    if stream.frames and shown != expected:
        raise Refused(f"{shown} of the {expected} frames that it announces can be decoded")
    announced = (container.duration or 0) / 1_000_000  # microseconds
    if not stream.frames and end and end < 0.9 * announced - 0.5:
        raise Refused(f"it ends at {end:.2f} s of the {announced:.2f} s that it announces", "fetch it again")


def to_rgb(frame: Any) -> Picture:
    """A frame's pixels: of 8 bits, over black, by the matrix and range that it names."""
    if (transfer := getattr(frame, "color_trc", 0)) in HDR:
        raise Refused(f"its brightness is HDR ({HDR[transfer]})", "map it to BT.709, so that it is known what is shown")
    layout = frame.format
    try:
        if layout.has_palette or any(part.is_alpha for part in layout.components):
            return over_black(frame.to_ndarray(format="rgba", threads=1))
        return np.asarray(frame.to_ndarray(format="rgb24", threads=1))
    except (ValueError, av.FFmpegError) as error:
        raise Refused(f"its pixels are {layout.name}, which cannot be shown ({error})", "write it as yuv420p") from None


def read_matrix(frame: Any) -> tuple[int, int, int, int]:
    """How a frame is turned and mirrored: (a, b, c, d), where its point (x, y) is shown at (a x + c y, b x + d y).

    Each is −1, 0 or 1. Raises Refused for an angle that is no quarter turn.
    """
    data = frame.side_data.get(SideData.DISPLAYMATRIX)
    if data is None:
        return 1, 0, 0, 1
    values = struct.unpack("=9i", bytes(data)[:36])
    entries = (values[0], values[1], values[3], values[4])
    largest = max(map(abs, entries))
    a, b, c, d = (round(entry / largest) if largest else 0 for entry in entries)
    straight = all(abs(entry) < 0.01 * largest or abs(entry) > 0.99 * largest for entry in entries)
    if not straight or abs(a) != abs(d) or abs(b) != abs(c) or abs(a) + abs(b) != 1:
        raise Refused(f"it is shown turned or bent by {entries}, no quarter turn", "write it as it is to be seen")
    return a, b, c, d


def turn(picture: Picture, matrix: tuple[int, int, int, int]) -> Picture:
    a, b, c, d = matrix
    if a == 0:
        picture = picture.swapaxes(0, 1)
    if a + c < 0:  # x runs backwards
        picture = picture[:, ::-1]
    if b + d < 0:
        picture = picture[::-1]
    return picture


# Arrays


def show_array(file: BinaryIO, size: int, bounds: Bounds) -> Iterator[Picture]:
    """The frames of an `.npy`, whose head must say exactly what the file holds."""
    try:
        version = np.lib.format.read_magic(file)
        read_head = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, by_columns, kind = read_head(file)
    except Exception as error:  # the head is Python text: whatever a parser may raise
        raise Refused(
            f"it is no whole .npy array ({type(error).__name__}: {error})", "write it with numpy.save"
        ) from error
    start = file.tell()
    if kind != np.uint8 or len(shape) != 4 or shape[-1] != 3:
        nan = " with NaN in it" if kind.kind == "f" and holds_nan(file, kind) else ""
        what = f"it is {kind} {list(shape)}{nan}"
        if kind.hasobject:
            what = "it is no whole .npy array (it holds pickled objects)"
        raise Refused(what, "save uint8 RGB [frame, height, width, 3]")
    frames, height, width, _ = shape
    if min(shape) < 0 or start + frames * height * width * 3 != size:
        raise Refused(
            f"it is no whole .npy array ({list(shape)} are {frames * height * width * 3} bytes, it holds "
            f"{size - start})",
            "write it with numpy.save",
        )
    if frames:
        bounds.check(min(frames, bounds.first or frames), height, width)
    if by_columns:
        if size > WHOLE_ARRAY:
            raise Refused("it is in Fortran order and too large for that", "save numpy.ascontiguousarray of it")
        whole = np.frombuffer(file.read(size - start), np.uint8).reshape(shape[::-1]).T
        yield from whole[: bounds.first]
        return
    for _ in range(min(frames, bounds.first or frames)):
        yield np.frombuffer(file.read(height * width * 3), np.uint8).reshape(height, width, 3)


def holds_nan(file: BinaryIO, kind: np.dtype) -> bool:
    """Whether one of the first million numbers is NaN."""
    content = file.read(min(kind.itemsize * 2**20, 2**23))
    return bool(np.isnan(np.frombuffer(content[: len(content) // kind.itemsize * kind.itemsize], kind)).any())


def pick(pictures: Iterator[Picture], wanted: Sequence[int] | None) -> Iterator[Picture]:
    """Of the pictures those with the numbers `wanted`, which are sorted and different; all for None."""
    if wanted is None:
        yield from pictures
        return
    places = iter(wanted)
    following = next(places, None)
    for number, picture in enumerate(pictures):
        if number == following:
            yield picture
            following = next(places, None)
