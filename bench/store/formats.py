"""What a file is: by its first bytes, which must agree with its name, and whether all of it is there.

A decoder is never left to guess. FFmpeg's guess takes a text for a playlist (`ffconcat`, m3u8, sdp) and opens what it
names; two programs may guess differently. So the kind decides which one demuxer or plugin may read the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# kind: the endings of its names
SUFFIXES = {
    "mp4": (".mp4", ".m4v", ".mov"),
    "matroska": (".mkv", ".webm"),
    "avi": (".avi",),
    "gif": (".gif",),
    "webp": (".webp",),
    "png": (".png", ".apng"),
    "npy": (".npy",),
    "jpeg": (".jpg", ".jpeg"),
    "bmp": (".bmp",),
    "tiff": (".tif", ".tiff"),
}
KIND_OF = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes}
FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # of an mp4 or mov
OUTER_BOXES = (*FIRST_BOXES, b"moof", b"mfra", b"sidx", b"styp", b"meta", b"udta", b"uuid")
SEGMENT = 0x18538067  # Matroska's element that holds all but the head
TRACKS, TRACK, FILM, CROPS = 0x1654AE6B, 0xAE, 0xE0, (0x54AA, 0x54BB, 0x54CC, 0x54DD)
MOST_BOX = 2**20  # bytes of an edit list or another box that is looked at
CUT_OFF = "its container cuts off the edges of its picture"
NORMAL_SPEED = 0x10000
HEAD = 16  # bytes that tell the kind


class Refused(Exception):
    """A file that is not read: why, and what to do. It becomes a `VideoError` where the file has a name."""

    def __init__(self, why: str, next_step: str = "write or fetch it again") -> None:
        super().__init__(why, next_step)
        self.why, self.next_step = why, next_step


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What may be decoded: so many bytes of pixels, and, where `shape` is given, so many frames of that size."""

    pixels: int
    shape: tuple[int, int, int] | None = None  # frames, height, width
    first: int | None = None  # frames that are wanted: decoding stops after them
    threads: int = 1

    def check(self, frames: int, height: int, width: int) -> None:
        """Raises Refused for more frames or pixels than may be decoded, or another size."""
        seen = f"{frames} frames of {width}×{height} are"
        if self.shape is not None and (frames > self.shape[0] or (height, width) != self.shape[1:]):
            count, tall, wide = self.shape
            raise Refused(f"{seen} not the {count} of {wide}×{tall} promised", "write it again")
        if min(height, width) < 1:
            raise Refused(f"its frames are {width}×{height}", "write it with pixels in it")
        if frames * height * width * 3 > self.pixels:
            raise Refused(
                f"{seen} {frames * height * width * 3 / 10**6:.1f} MB of pixels, allowed are {self.pixels / 10**6:.1f}",
                "cut it into clips, or raise BENCH_VIDEO_MEGABYTES",
            )


def recognise(head: bytes) -> str | None:
    """The kind of a file by its first bytes; None for what is no video or picture that is read here.

    >>> recognise(b"GIF89a" + bytes(10)), recognise(b"ffconcat version 1.0")
    ('gif', None)
    """
    if head[4:8] in FIRST_BOXES:
        return "mp4"
    if head[:4] == b"RIFF":
        return {b"AVI ": "avi", b"WEBP": "webp"}.get(head[8:12])
    starts = {
        b"\x1aE\xdf\xa3": "matroska",
        b"GIF87a": "gif",
        b"GIF89a": "gif",
        b"\x89PNG\r\n\x1a\n": "png",
        b"\x93NUMPY": "npy",
        b"\xff\xd8\xff": "jpeg",
        b"BM": "bmp",
        b"II*\0": "tiff",
        b"MM\0*": "tiff",
    }
    return next((kind for start, kind in starts.items() if head.startswith(start)), None)


def check_kind(head: bytes, suffix: str) -> str:
    """The kind that first bytes and name agree on. Raises Refused."""
    named, found = KIND_OF.get(suffix.lower()), recognise(head)
    if not head:
        raise Refused("the file is empty")
    if named is None:
        raise Refused(f"files named {suffix!r} are not read", f"use one of {', '.join(KIND_OF)}")
    if found is None:
        raise Refused(f"it cannot be decoded (no {named} file begins like it)")
    if found != named:
        raise Refused(f"its name says {named}, its first bytes {found}", f"name it {SUFFIXES[found][0]}")
    return named


def check_whole(file: BinaryIO, kind: str, size: int) -> None:
    """Raises Refused where the file is shorter than its outermost parts say: something was cut off."""
    if kind == "gif":
        file.seek(max(0, size - 64))
        if not file.read(64).rstrip(b"\0").endswith(b";"):
            raise Refused("it ends before its end mark: a part is missing")
    needed = {"mp4": measure_boxes, "matroska": measure_segment, "avi": measure_riff, "webp": measure_riff}
    if kind in needed and (end := needed[kind](file, size)) > size:
        raise Refused(f"it cannot be decoded whole ({end - size} of its {end} bytes are missing)")
    if kind == "mp4":
        check_movie(file, size)
    elif kind == "matroska":
        check_crop(file, size)
    file.seek(0)


def check_movie(file: BinaryIO, size: int) -> None:
    """Raises Refused for what players follow differently in the films of an mp4: some edit lists, and cut edges."""
    movie = next((inside for name, inside in read_boxes(file, 0, size) if name == b"moov"), None)
    for name, track in read_boxes(file, *movie) if movie else ():
        if name == b"trak" and read_inside(file, track, b"mdia", b"hdlr")[8:12] == b"vide":
            check_edit_list(read_inside(file, track, b"edts", b"elst"))
            check_aperture(read_inside(file, track, b"mdia", b"minf", b"stbl", b"stsd"))


def read_inside(file: BinaryIO, place: tuple[int, int], *path: bytes) -> bytes:
    """The content of the box of that path, its first megabyte; empty where there is none."""
    for name in path:
        found = next((inside for one, inside in read_boxes(file, *place) if one == name), None)
        if found is None:
            return b""
        place = found
    file.seek(place[0])
    return file.read(min(place[1] - place[0], MOST_BOX))


def check_aperture(content: bytes) -> None:
    """Of a table of sample descriptions: the aperture of the first shows all of the picture (ISO/IEC 14496-12)."""
    place = content.find(b"clap")
    if place < 0 or len(content) < place + 36:
        return
    height_and_width = struct.unpack_from(">HH", content, 8 + 32)
    wide, wide_of, high, high_of, *_ = struct.unpack_from(">8I", content, place + 4)
    if (wide, high) != (height_and_width[0] * wide_of, height_and_width[1] * high_of):
        raise Refused(f"{CUT_OFF} (clap)", "render it anew")


def check_edit_list(content: bytes) -> None:
    """Pauses between frames, and other speeds, are shown differently."""
    wide = content[:1] == b"\1"
    entry = struct.Struct(">qqI" if wide else ">iiI")
    starts = []
    for place in range(8, len(content) - entry.size + 1, entry.size):
        _, start, speed = entry.unpack_from(content, place)
        starts.append(start)
        if speed != NORMAL_SPEED:
            raise Refused(f"its edit list plays a part at {speed / NORMAL_SPEED:.2f} times its speed", "render it anew")
    shown = [number for number, start in enumerate(starts) if start != -1]
    if shown and -1 in starts[shown[0] :]:
        raise Refused("its edit list pauses after frames were shown, which players show differently", "render it anew")


def read_boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """The boxes of an mp4 that lie side by side from `start` on: their names, and from where to where they reach."""
    for _ in range(10_000):
        if start >= end:
            return
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            return
        length, skip = int.from_bytes(head[:4], "big"), 8
        if length == 1:  # a long box
            length, skip = int.from_bytes(head[8:16], "big"), 16
        if length < skip:  # 0: to the end
            length = end - start
        yield head[4:8], (start + skip, start + length)
        start += length


def measure_boxes(file: BinaryIO, size: int) -> int:
    """Where the last outermost box of an mp4 ends; what was appended to it is none."""
    return max((end for name, (_, end) in read_boxes(file, 0, size) if name in OUTER_BOXES), default=0)


def measure_riff(file: BinaryIO, size: int) -> int:
    """Where the first RIFF list of an avi or webp ends; 0 where its size was never filled in."""
    file.seek(4)
    length = int.from_bytes(file.read(4), "little")
    return 8 + length if length else 0


def measure_segment(file: BinaryIO, size: int) -> int:
    """Where the segment of a Matroska file ends; 0 where it does not say (a live recording)."""
    return max((end for name, _, end in read_elements(file, 0, 2**62) if name == SEGMENT and end < 2**62), default=0)


def check_crop(file: BinaryIO, size: int) -> None:
    """Raises Refused for a Matroska film whose edges are not to be shown, as only some players do."""

    def inside(place: tuple[int, int], wanted: int) -> list[tuple[int, int]]:
        return [(start, min(end, size)) for name, start, end in read_elements(file, *place) if name == wanted]

    for segment in inside((0, size), SEGMENT):
        for tracks in inside(segment, TRACKS)[:1]:
            for track in inside(tracks, TRACK):
                for film in inside(track, FILM):
                    for name, start, end in list(read_elements(file, *film)):
                        file.seek(start)
                        if name in CROPS and any(file.read(min(8, end - start))):
                            raise Refused(f"{CUT_OFF} (PixelCrop)", "render it anew")


def read_elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The EBML elements that lie side by side from `start` on: numbers, where their contents start, and where they end.

    One that does not say how long it is (a live recording) reaches to `end`.
    """
    for _ in range(10_000):
        if start >= end:
            return
        file.seek(start)
        name, length = read_number(file, keep_mark=True), read_number(file, keep_mark=False)
        if name is None:
            return
        start = file.tell()
        after = end if length is None else start + length
        yield name, start, after
        start = after


def read_number(file: BinaryIO, *, keep_mark: bool) -> int | None:
    """An EBML number, whose first byte says by its leading zeros how many bytes follow; None for "unknown"."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(first + file.read(more), "big")
    mark = 1 << (7 * (more + 1))
    if keep_mark:
        return value
    return None if value == 2 * mark - 1 else value - mark
