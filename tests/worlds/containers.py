"""Containers made by hand: mp4 boxes taken apart and put together again, with edit lists as an editor writes them."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts")
Edit = tuple[float, float]  # seconds of duration, seconds where it starts in the film; −1: nothing is shown


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of the boxes that lie side by side in `content`."""
    place = 0
    while place + 8 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        yield content[place + 4 : place + 8], content[place + 8 : place + length]
        place += length


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def find(content: bytes, *path: bytes) -> bytes:
    """The content of the first box of that path."""
    for name in path:
        content = next(inside for one, inside in boxes(content) if one == name)
    return content


def with_edits(mp4: bytes, edits: Sequence[Edit], *, first: float = 0.0) -> bytes:
    """The same mp4 (whose index lies behind its pixels) with this edit list; `first` is the time of its first frame."""
    movie_scale = struct.unpack(">I", find(mp4, b"moov", b"mvhd")[12:16])[0]
    media_scale = struct.unpack(">I", find(mp4, b"moov", b"trak", b"mdia", b"mdhd")[12:16])[0]
    entries = b"".join(
        struct.pack(
            ">IiI",
            round(duration * movie_scale),
            -1 if start < 0 else round((start + first) * media_scale),
            0x10000,
        )
        for duration, start in edits
    )
    table = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + entries))

    def rebuild(content: bytes, parent: bytes) -> bytes:
        parts = []
        for name, inside in boxes(content):
            if name == b"edts":
                continue
            parts.append(box(name, rebuild(inside, name) if name in (b"moov", b"trak") else inside))
            if parent == b"trak" and name == b"tkhd":
                parts.append(table)
        return b"".join(parts)

    assert [name for name, _ in boxes(mp4)][-1] == b"moov", "pixels behind the index would move"
    return rebuild(mp4, b"")
