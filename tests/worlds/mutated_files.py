"""Mutated media: every container and codec that can be written here, and the ways in which its bytes are changed."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

SHAPE = (6, 48, 64, 3)
os.environ["SVT_LOG"] = "0"

FILMS = {  # suffix: what FFmpeg calls its container, and the codecs that are written into it
    "mp4": ("mp4", ("libx264", "libx264rgb", "libx265", "mpeg4", "libsvtav1", "libvpx-vp9", "mjpeg", "png")),
    "mov": ("mov", ("libx264", "mpeg4", "mjpeg", "png", "prores_ks", "rawvideo", "qtrle")),
    "mkv": (
        "matroska",
        ("libx264", "libx265", "mpeg4", "ffv1", "libvpx", "libsvtav1", "rawvideo", "huffyuv", "mpeg2video"),
    ),
    "webm": ("webm", ("libvpx", "libvpx-vp9", "libsvtav1")),
    "avi": ("avi", ("libx264", "mpeg4", "mjpeg", "ffv1", "rawvideo", "huffyuv", "msmpeg4v3", "zlib", "png")),
}
PIXELS = {
    "png": "rgb24", "libx264rgb": "rgb24", "mjpeg": "yuvj420p", "prores_ks": "yuv422p10le", "qtrle": "rgb24",
    "zlib": "bgr24", "huffyuv": "yuv422p", "rawvideo": "bgr24", "ffv1": "yuv444p10le",
}  # fmt: skip


# The files that are changed


def draw_film(generator: np.random.Generator) -> np.ndarray:
    coarse = generator.integers(0, 256, (SHAPE[0], 6, 8, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 8, axis=1), 8, axis=2)


def write_film(video: np.ndarray, container: str, codec: str) -> bytes | None:
    """The film in that form; None where this PyAV cannot write it."""
    buffer = io.BytesIO()
    try:
        with av.open(buffer, "w", format=container) as out:
            stream = out.add_stream(codec, rate=6, options={"x265-params": "log-level=0"} if "265" in codec else {})
            stream.height, stream.width = video.shape[1:3]
            stream.pix_fmt = PIXELS.get(codec, "yuv420p")
            stream.codec_context.thread_count = 1  # x264 writes other files with more
            for frame in video:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode())
    except (av.FFmpegError, ValueError, TypeError):
        return None
    return buffer.getvalue()


def write_pictures(video: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    first, *rest = [Image.fromarray(frame) for frame in video]
    first.save(buffer, kind, save_all=bool(options.pop("all", True)), append_images=rest, **options)
    return buffer.getvalue()


def make_seeds(seed: int) -> dict[str, bytes]:
    """A whole file of each form by `codec.suffix`; pictures are those of a folder."""
    video = draw_film(np.random.default_rng(seed))
    seeds = {}
    for suffix, (container, codecs) in FILMS.items():
        for codec in codecs:
            content = write_film(video, container, codec)
            if content:
                seeds[f"{codec}.{suffix}"] = content
    for suffix, kind, options in (("gif", "GIF", {}), ("webp", "WEBP", {"lossless": True}), ("apng", "PNG", {})):
        seeds[f"animation.{suffix}"] = write_pictures(video, kind, **options)
    for name, array in (("rows.npy", video), ("columns.npy", np.asfortranarray(video))):
        buffer = io.BytesIO()
        np.save(buffer, array)
        seeds[name] = buffer.getvalue()
    for suffix, kind in (("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP"), ("tif", "TIFF")):
        buffer = io.BytesIO()
        Image.fromarray(video[0]).save(buffer, kind)
        seeds[f"picture.{suffix}"] = buffer.getvalue()
    return seeds


# The changes

Change = Callable[[bytes, random.Random, dict[str, bytes]], bytes]


def flip(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 2, 8, 64))):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_head(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice((1, 4, 16))):
        changed[draw.randrange(min(256, len(changed)))] = draw.randrange(256)
    return bytes(changed)


def cut(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    return content[: draw.randrange(len(content))]


def cut_middle(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    start, end = sorted(draw.randrange(len(content)) for _ in range(2))
    return content[:start] + content[end:]


def zero_page(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    size = draw.choice((16, 256, 4096))
    start = draw.randrange(len(content))
    return content[:start] + bytes(min(size, len(content) - start)) + content[start + size :]


def splice(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    other = draw.choice(list(seeds.values()))
    return content[: draw.randrange(len(content))] + other[draw.randrange(len(other)) :]


def repeat(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    start, end = sorted(draw.randrange(len(content)) for _ in range(2))
    return content[:end] + content[start:end] * draw.choice((1, 3, 50)) + content[end:]


def append(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    return content + draw.choice((draw.choice(list(seeds.values())), bytes(draw.randrange(1, 9999)), content))


def inflate(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    """The film's own height, width or number of frames, somewhere in the file, made huge."""
    forms = [(order + kind, value) for order in "<>" for kind in "HI" for value in SHAPE[:3]]
    places = [
        (place, form)
        for form, value in forms
        for place in find_all(content[:65536], struct.pack(form, value))
        if struct.calcsize(form) > 1
    ]
    if not places:
        return flip_head(content, draw, seeds)
    place, form = draw.choice(places)
    size = struct.calcsize(form)
    huge = draw.choice((0xFFFF, 0x7FFF, 9999) if size == 2 else (0xFFFFFFFF, 0x7FFFFFFF, 65535, 16384, 10**6))
    return content[:place] + struct.pack(form, huge) + content[place + size :]


def find_all(content: bytes, part: bytes) -> Iterator[int]:
    place = content.find(part)
    while place >= 0:
        yield place
        place = content.find(part, place + 1)


def random_numbers(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    """Whole numbers of four or eight bytes where containers keep their lengths and counts."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 3))):
        size = draw.choice((2, 4, 8))
        place = draw.randrange(max(1, min(2048, len(content)) - size))
        value = draw.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, draw.getrandbits(8 * size)))
        changed[place : place + size] = (value % 2 ** (8 * size)).to_bytes(size, draw.choice(("big", "little")))
    return bytes(changed)


def playlist(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    """Texts that name the secret clip, for whoever believes them; some behind the first bytes of a film."""
    secret = os.environ["SECRET"]
    text = draw.choice(
        (
            f"ffconcat version 1.0\nfile '{secret}'\nduration 1\n",
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/{Path(secret).name}\n",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
            f'<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{secret}</BaseURL>'
            "</Representation></AdaptationSet></Period></MPD>",
            f"<svg xmlns='http://www.w3.org/2000/svg'><image href='file://{secret}'/></svg>",
            f"{secret}\n",
            f"#!/bin/sh\ncat {secret}\n",
            f"RTSPtext\r\nrtsp://127.0.0.1:9/{secret}\r\n",
        )
    )
    return draw.choice((b"", b"", content[:16], content[:64])) + text.encode()


def data_reference(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    """An mp4 whose pixels lie in another file, by the reference that says "in this one"."""
    secret = os.environ["SECRET"].encode()
    place = content.find(b"url \0\0\0\1")
    if place < 0:
        return playlist(content, draw, seeds)
    name = draw.choice((secret, b"file://" + secret, b"secret.mp4", b"../secrets/secret.mp4"))
    return content[: place + 4] + b"\0\0\0\0" + name[: len(content) - place - 8] + content[place + 8 + len(name) :]


def array_head(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    """The head of an array, which is Python text."""
    head = draw.choice(
        (
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 48, 64, 3), }",
            "{'descr': '|u1', 'fortran_order': True, 'shape': (9999999999999, 48, 64, 3), }",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 48, 64, 3), }",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 0, 0, 3), }",
            "{'descr': '|O', 'fortran_order': False, 'shape': (6, 48, 64, 3), }",
            "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (6, 48, 64, 3), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (6, 48, 64, 3), }",
            "(" * 4000,
            "{'descr': '|u1', 'fortran_order': False, 'shape': (" + "9," * 40 + "), }",
            "__import__('os').system('true')",
            "\x00" * 80,
        )
    )
    text = head.encode("latin1")[: 2**16 - 1]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content[128:]


def bomb(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    """A few bytes that say that they are very many pixels."""
    width, height = (draw.choice((16, 999, 4000, 10000, 32767, 65535)) for _ in range(2))
    if content.startswith(b"GIF"):
        frame = b"\x21\xf9\x04\x08\x01\0\0\0\x2c" + bytes(4) + b"\1\0\1\0\0\2\2\x44\1\0"
        head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
        return head + frame * draw.choice((1, 50, 3000)) + b";"
    if content.startswith(b"\x89PNG"):
        row = zlib.compressobj(9)
        packed = row.compress(bytes(min((width // 8 + 2) * height, 2**26))) + row.flush()
        chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", packed), (b"IEND", b"")]
        return content[:8] + b"".join(
            struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
            for name, part in chunks
        )
    if content.startswith(b"BM"):
        return content[:18] + struct.pack("<ii", width, height) + content[26:]
    return inflate(content, draw, seeds)


def other_name(content: bytes, draw: random.Random, seeds: dict[str, bytes]) -> bytes:
    return content  # `name_of` gives it another suffix


MUTATIONS: dict[str, Change] = {
    change.__name__: change
    for change in (
        *(flip, flip_head, cut, cut_middle, zero_page, splice, repeat, append, inflate, random_numbers),
        *(playlist, data_reference, array_head, bomb, other_name),
    )
}


def make_files(folder: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """Write so many mutated predictions; the names of clips, and what was done to each."""
    seeds, draw = make_seeds(seed % 7), random.Random(seed)
    made = []
    for number in range(count):
        mutation = draw.choice(list(MUTATIONS))
        ends = {"array_head": (".npy",), "bomb": (".gif", ".png", ".bmp", ".apng", ".mp4")}.get(mutation, ("",))
        source = draw.choice([name for name in seeds if name.endswith(ends)])
        content = MUTATIONS[mutation](seeds[source], draw, seeds)
        suffix = source.rpartition(".")[2]
        if mutation == "other_name":
            suffix = draw.choice(sorted({*FILMS, "gif", "webp", "apng", "npy"} - {suffix}))
        name = f"{number:05d}_{source.replace('.', '_')}_{mutation}"
        if source.startswith("picture") and mutation != "other_name":
            (folder / name).mkdir()
            for place in range(SHAPE[0]):
                whole = content if place == 2 else seeds[source]
                (folder / name / f"{place}.{suffix}").write_bytes(whole)
        else:
            (folder / f"{name}.{suffix}").write_bytes(content)
        made.append((name, mutation))
    return made
