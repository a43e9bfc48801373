"""Mutated media and bundles, seeded: what becomes of each, in how many seconds and megabytes.

    python tests/doors/mutate_media.py --count 10000 --bundles 300

Every container and codec that can be written here is changed in the ways of `MUTATIONS` and handed to the second door
as a prediction beside a true clip. Counted are the outcomes (read, or refused with a reason), tracebacks, ends of the
process that asked, and reads of another file: a secret clip lies beside the files, whose pixels must never come back,
and the kernel is asked (inotify) whether anybody opened it or anything else in its folder. The script ends with 1 where
there is a traceback, an end, such a read, or a file that took more than 2 s of processor time or 500 MB.
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import io
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from bench.core.errors import BenchError
from bench.doors.video_pairs import Pairs, find_pairs
from bench.store.decoder import DECODER
from bench.store.video import encode_lossless, read_file
from metrics.protocols import PROTOCOLS

SHAPE = (6, 48, 64, 3)
SLICE = 500
SECONDS, MEGABYTES = 2.0, 500.0
os.environ["SVT_LOG"] = "0"
ASKED = 0x20 | 0x1  # IN_OPEN, IN_ACCESS

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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one file."""

    name: str
    mutation: str
    end: str  # read, refused, traceback
    why: str
    seconds: float  # of processor time, of both processes
    wall: float
    megabytes: float  # of both processes, beyond what they hold before
    secret: bool  # whether pixels of another file came back
    other: bool = False  # whether it is read, and not as the whole file is


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


# One after the other


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


class Watch:
    """Asks the kernel whether a folder, or a file in it, is opened."""

    def __init__(self, folder: Path) -> None:
        self.library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.library.inotify_init1(os.O_NONBLOCK)
        assert self.library.inotify_add_watch(self.descriptor, str(folder).encode(), ASKED) >= 0

    def opened(self) -> bool:
        try:
            return bool(os.read(self.descriptor, 65536))
        except BlockingIOError:
            return False


def high_water(process: int) -> float:
    """Megabytes that a process held at most since `reset_water`."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return float(status.split("VmHWM:")[1].split()[0]) / 1024 if "VmHWM:" in status else 0.0


def reset_water(process: int) -> None:
    with open(f"/proc/{process}/clear_refs", "w") as file:  # noqa: PTH123
        file.write("5")


def try_files(root: Path, count: int, seed: int) -> list[Outcome]:
    """Hand `count` mutated files to the second door."""
    folder, secrets = root / "predictions", root / "secrets"
    for place in (folder, secrets):
        place.mkdir(parents=True)
    secret = np.tile(np.array([13, 201, 77], np.uint8), (*SHAPE[:3], 1))
    (secrets / "secret.mp4").write_bytes(encode_lossless(secret, fps=6))
    os.environ["SECRET"] = str(secrets / "secret.mp4")
    mutations = dict(make_files(folder, count, seed))
    np.save(root / "true.npy", draw_film(np.random.default_rng(1)))
    whole = {}
    for source, content in make_seeds(seed % 7).items():
        (root / f"whole.{source}").write_bytes(content)
        whole[source.replace(".", "_")] = read_file(root / f"whole.{source}")
    watch, protocol = Watch(secrets), PROTOCOLS["mind_animator"]  # which takes any size
    given = find_pairs(folder, None).predictions
    assert set(given) == set(mutations)
    return [
        try_file(name, given[name], mutation, root / "true.npy", watch, protocol, whole[source_of(name, mutation)])
        for name, mutation in sorted(mutations.items())
    ]


def source_of(name: str, mutation: str) -> str:
    return name[6:].removesuffix(f"_{mutation}")


def try_file(
    name: str, path: Path, mutation: str, truth: Path, watch: Watch, protocol: object, whole: np.ndarray
) -> Outcome:
    """Hand one file to the door, as it stands beside a true clip."""
    pairs = Pairs(predictions={name: path}, targets={name: truth})
    DECODER.ensure()
    child, before_children = DECODER.process.pid, resource.getrusage(resource.RUSAGE_CHILDREN)
    for process in (os.getpid(), child):
        reset_water(process)
    held, held_child = high_water(os.getpid()), high_water(child)
    before, wall, pair = time.process_time(), time.monotonic(), None
    spent = child_seconds(child)
    try:
        (pair,) = pairs.read(protocol)
        end, why = {"ok": "read"}.get(pair.status, "refused"), pair.why
    except BenchError as error:
        end, why = "traceback", f"the door ends: {error}"
    except BaseException:
        end, why = "traceback", traceback.format_exc()
    wall = time.monotonic() - wall
    ended = DECODER.process is None or DECODER.process.pid != child
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended:
        spent = after.ru_utime + after.ru_stime - before_children.ru_utime - before_children.ru_stime - spent
        grown = 0.0  # the limit ended it, or it says that it has grown: its memory is bounded by the limit
    else:
        spent, grown = child_seconds(child) - spent, high_water(child) - held_child
    shown = pair.prediction if pair is not None and pair.prediction is not None else None
    return Outcome(
        name=name,
        mutation=mutation,
        end=end,
        why=why,
        seconds=time.process_time() - before + max(0.0, spent),
        wall=wall,
        megabytes=high_water(os.getpid()) - held + grown,
        secret=watch.opened() or (shown is not None and bool((shown == [13, 201, 77]).all(axis=-1).mean() > 0.5)),
        other=shown is not None and not (shown.shape[1:] == whole.shape[1:] and is_part(shown, whole)),
    )


def is_part(shown: np.ndarray, whole: np.ndarray) -> bool:
    """Whether these are the frames of the whole file, of a picture each of them."""
    if len(whole) == 1:
        return all(np.array_equal(frame, whole[0]) for frame in shown)
    return np.array_equal(shown, whole)


def child_seconds(process: int) -> float:
    """Processor time of a process, by the scheduler's own count."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


# Bundles


def try_bundles(root: Path, count: int, seed: int) -> list[Outcome]:
    """Hand `count` mutated bundles to `verify`: bytes of the zip, and members changed with digests that agree again."""
    from forgery import cell_of, read_members, seal, write_members

    from bench.core.job import Run
    from bench.datasets.catalogue import open_dataset
    from bench.doors.bundles import open_bundle, pack_cells
    from bench.harness.plan import plan
    from bench.harness.run_cell import run_job
    from bench.pretrained.suite import load_suite
    from bench.scoring.views import Viewer
    from bench.store.cells import Store

    dataset, suite, store = open_dataset("phantom_eeg:tiny"), load_suite("mini"), Store(root / "runs")
    run = Run(method="random_clip", split="cross_subject", dataset="phantom_eeg:tiny", protocols=("eeg2video",))
    key = run_job(plan(run, dataset, suite)[0], store)
    pack_cells([store.find(key)], Viewer(suite.judges, dataset.concepts), ("eeg2video",), root / "whole.zip")
    whole, seeds, draw = (root / "whole.zip").read_bytes(), make_seeds(0), random.Random(seed)
    (root / "secrets").mkdir()
    (root / "secrets" / "secret.mp4").write_bytes(encode_lossless(np.zeros(SHAPE, np.uint8), fps=6))
    os.environ["SECRET"] = str(root / "secrets" / "secret.mp4")
    watch, outcomes = Watch(root / "secrets"), []
    for number in range(count):
        mutation = draw.choice([one for one in MUTATIONS if one not in ("array_head", "other_name")])
        if draw.random() < 0.5:
            content, where = MUTATIONS[mutation](whole, draw, seeds), "zip"
        else:
            members = read_members(whole)
            where = draw.choice([name for name in members if name.endswith((".mp4", ".parquet", ".json"))])
            members[where] = MUTATIONS[mutation](members[where], draw, seeds)
            if where.endswith(".mp4"):
                seal(members, cell_of(members))
            content = write_members(members)
        (root / "bundle.zip").write_bytes(content)
        before, wall = sum(os.times()[:4]), time.monotonic()
        reset_water(os.getpid())
        held = high_water(os.getpid())
        try:
            with open_bundle(root / "bundle.zip", open_dataset, load_suite):
                end, why = "read", ""
        except BenchError as error:
            end, why = "refused", str(error)
        except BaseException:
            end, why = "traceback", traceback.format_exc()
        outcomes.append(
            Outcome(
                name=f"bundle {number} {where.rpartition('/')[2]}",
                mutation=f"{mutation}, {where.rpartition('.')[2]} of a bundle",
                end=end,
                why=why,
                seconds=sum(os.times()[:4]) - before,
                wall=time.monotonic() - wall,
                megabytes=high_water(os.getpid()) - held,
                secret=watch.opened(),
            )
        )
    return outcomes


# The table


def run_slice(kind: str, count: int, seed: int) -> list[Outcome] | int:
    """Outcomes of a slice, tried in a process of its own; that process's exit status where it ended."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "outcomes.json"
        asked = [kind, str(count), str(seed), str(Path(folder) / "work"), str(place)]
        done = subprocess.run([sys.executable, __file__, "--slice", *asked], check=False)
        if done.returncode or not place.is_file():
            return done.returncode or 1
        return [Outcome(**one) for one in json.loads(place.read_text())]


def print_table(outcomes: list[Outcome], ends: list[int]) -> bool:
    """The table; whether nothing is in it that must not be."""
    heads = ("mutation", "files", "read", "of other pixels", "refused", "tracebacks", "s (processor)", "s (wall)", "MB")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    groups = collections.defaultdict(list)
    for one in outcomes:
        groups[one.mutation].append(one)
    for name, group in [*sorted(groups.items()), ("all", outcomes)]:
        ends_of = collections.Counter(one.end for one in group)
        cells = [name, len(group), ends_of["read"], sum(one.other for one in group), ends_of["refused"]]
        most = [f"{max(getattr(one, what) for one in group):.2f}" for what in ("seconds", "wall", "megabytes")]
        print("| " + " | ".join(map(str, [*cells, ends_of["traceback"], *most])) + " |")
    media = [one for one in outcomes if "bundle" not in one.mutation]
    slow = [one for one in media if one.seconds > SECONDS or one.megabytes > MEGABYTES]
    bad = [one for one in outcomes if one.end == "traceback" or one.secret]
    for one in [*bad, *slow][:20]:
        print(f"{one.name}: {one.end}, {one.seconds:.2f} s, {one.megabytes:.0f} MB, other file {one.secret}\n{one.why}")
    if os.environ.get("VERBOSE"):
        for one in outcomes:
            if one.other:
                print("other pixels:", one.name)
    print(
        f"{len(outcomes)} files: {sum(one.end == 'traceback' for one in outcomes)} tracebacks, {len(ends)} ends of the "
        f"process that asked, {sum(one.secret for one in outcomes)} reads of another file, {len(slow)} beyond "
        f"{SECONDS:g} s or {MEGABYTES:g} MB"
    )
    return not bad and not slow and not ends


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--bundles", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slice", nargs=5)
    asked = parser.parse_args()
    if asked.slice:
        kind, count, seed, work, place = asked.slice
        attempt = {"files": try_files, "bundles": try_bundles}[kind]
        Path(work).mkdir()
        Path(place).write_text(json.dumps([asdict(one) for one in attempt(Path(work), int(count), int(seed))]))
        return 0
    outcomes: list[Outcome] = []
    ends: list[int] = []
    slices = [("files", min(SLICE, asked.count - start), asked.seed + start) for start in range(0, asked.count, SLICE)]
    for kind, count, seed in [*slices, *([("bundles", asked.bundles, asked.seed)] if asked.bundles else [])]:
        part = run_slice(kind, count, seed)
        if isinstance(part, int):
            ends.append(part)
        else:
            outcomes += part
    return 0 if print_table(outcomes, ends) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
    sys.exit(main())
