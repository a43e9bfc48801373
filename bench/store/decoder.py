"""The bounded decoder: files of strangers are decoded in a process that can do no harm, and die alone.

One process serves all files one after the other, because starting one takes longer than most clips; it is started when
it is needed, by `exec` (never forked from a process with threads), and replaced when a file ends it, when it
misbehaves, and when it has grown. It is handed an open descriptor and can open nothing (`bench.store.decoder_process`).
A crash, an abort, a SIGKILL, too much memory or time is a reason why that one file is refused.

What a file may take, unless more is asked for:

- memory: BENCH_VIDEO_MEGABYTES (500), of which 60 % are pixels (48 frames of 1920×1080) and 40 % the decoder's, beside
  the 60 that its process holds when it does nothing;
- processor time: 1.5 s, more in proportion where more than 500 megabytes are asked for, and a second for every 4 MiB
  that lie on the disk: what a file says of its length buys no time, what a stranger had to send does;
- wall-clock time: twenty times that, which only a disk that does not answer can take.

The films of data sets, which their user chose, are decoded by the same process to the same rule, a frame at a time:
however long they are, in 2 GiB, and in a minute of processor time and one for every MiB.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import mmap
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BenchError
from bench.store.decoder_process import LENGTH
from bench.store.formats import HEAD, Refused, check_kind

MEGABYTES = 500  # a file, by default
PIXEL_SHARE, DECODER_SHARE = 0.6, 0.4
SECONDS = 1.5  # of processor time a file of up to so many megabytes: with the start of another process it stays below 2
LEAST_MEMORY = 64 * 2**20
BYTES_A_SECOND = 4 * 2**20
WALL = 20  # times the processor time
START = 60.0  # seconds: a process that does not start by then never will
FILM_MEMORY = 2 * 2**30
FILM_SECONDS = 60.0
FILM_PICTURE = 256 * 2**20  # bytes of one picture of a film
LONGEST_LINE = 2**16  # bytes of what the process says
MORE = "raise BENCH_VIDEO_MEGABYTES for large clips"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What decoding one file may take: bytes of pixels, bytes of memory beside them, seconds of processor time."""

    pixels: int
    memory: int
    seconds: float
    threads: int = 1


def limits_of(size: int) -> Limits:
    """The limits of a file of `size` bytes. Raises BenchError for a BENCH_VIDEO_MEGABYTES that is no number."""
    text = os.environ.get("BENCH_VIDEO_MEGABYTES", str(MEGABYTES))
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 2**20):
        raise BenchError(f"BENCH_VIDEO_MEGABYTES is {text!r}: give whole megabytes, {MEGABYTES} by default")
    megabytes = int(text)
    pixels, memory = (int(megabytes * 10**6 * share) for share in (PIXEL_SHARE, DECODER_SHARE))
    seconds = SECONDS * max(1.0, megabytes / MEGABYTES) + size / BYTES_A_SECOND  # less room does not make it faster
    return Limits(pixels=pixels, memory=max(LEAST_MEMORY, memory), seconds=seconds)


def film_limits(size: int) -> Limits:
    """The limits of a data set's film of `size` bytes, of which few frames are kept."""
    return Limits(pixels=2**62, memory=FILM_MEMORY, seconds=FILM_SECONDS * (1 + size / 2**20), threads=0)


class Ended(Exception):
    """The process ended, or does not keep to what was agreed."""


class Decoder:
    """A process that decodes, started anew whenever it is not there."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self.parent = os.getpid()
        self.lock = threading.Lock()
        self.used = 0.0  # seconds of processor time of the last file

    def clip(
        self,
        descriptor: int,
        suffix: str,
        limits: Limits,
        *,
        shape: Sequence[int] | None = None,
        first: int | None = None,
    ) -> np.ndarray:
        """The pictures of an open file, u8 (frame, height, width, 3): all, or the `first` so many.

        Of this `shape` (frames, height, width) or less. Raises Refused, whatever happens to the process.
        """
        with new_memory(limits.pixels) as memory:
            ask = {"first": first, "shape": None if shape is None else [int(one) for one in shape[:3]], "wanted": None}
            *_, said = self.exchange(descriptor, memory, suffix, limits, ask)
            frames, height, width = (read_count(said, name) for name in ("count", "height", "width"))
            size = frames * height * width * 3
            if size > limits.pixels:
                raise Refused("it cannot be decoded (its decoder made more pixels than were allowed)")
            if not size:
                return np.zeros((0, 0, 0, 3), np.uint8)
            return np.frombuffer(mmap.mmap(memory, size), np.uint8).reshape(frames, height, width, 3)

    def film(
        self, descriptor: int, suffix: str, limits: Limits, wanted: Sequence[int], *, first: int | None = None
    ) -> Generator[np.ndarray, None, int]:
        """Of the pictures of an open film those of the sorted numbers `wanted`; it returns how many it decoded.

        Decoded is all of it, or the `first` so many. Raises Refused.
        """
        with new_memory(FILM_PICTURE) as memory:
            ask = {"first": first, "shape": None, "wanted": [int(one) for one in wanted]}
            with contextlib.closing(self.exchange(descriptor, memory, suffix, limits, ask)) as exchange:
                for said in exchange:
                    if "used" in said:
                        return read_count(said, "decoded")
                    height, width = read_count(said, "height"), read_count(said, "width")
                    if height * width * 3 > FILM_PICTURE:
                        raise Refused(f"its pictures are {width}×{height}", "make them smaller")
                    content = os.pread(memory, height * width * 3, 0)
                    yield np.frombuffer(content, np.uint8).reshape(height, width, 3)
        raise AssertionError("an exchange ends with what was used")

    def exchange(
        self, descriptor: int, memory: int, suffix: str, limits: Limits, ask: dict[str, Any]
    ) -> Generator[dict[str, Any], None, None]:
        """Ask for a file's pictures; what the process says of each, and in the end. Raises Refused."""
        about = {
            **ask,
            **asdict(limits),
            "kind": check_kind(os.pread(descriptor, HEAD, 0), suffix),
            "size": os.fstat(descriptor).st_size,
        }
        content = json.dumps(about).encode()
        with self.lock:
            channel, done = self.ensure(), False
            deadline = time.monotonic() + WALL * limits.seconds
            try:
                socket.send_fds(channel, [LENGTH.pack(len(content))], [descriptor, memory])
                channel.sendall(content)
                while "used" not in (said := receive_line(channel, deadline)):
                    yield said
                    channel.sendall(b"+")
                done = not said.get("tired")
            except (Ended, OSError) as error:
                raise Refused(f"it cannot be decoded ({self.explain(error, limits)})") from None
            finally:
                if not done:
                    self.stop()
        self.used = float(said["used"])
        if "memory" in said:
            raise Refused(f"it cannot be decoded in {limits.memory / 10**6:.0f} MB of memory", MORE)
        if "why" in said:
            raise Refused(show(said["why"]), show(said.get("next_step", "")))
        if "error" in said:
            raise Refused(f"it cannot be decoded ({show(said['error'])})")
        yield said

    def ensure(self) -> socket.socket:
        """The channel to a process that lives. Raises BenchError where none can be started."""
        if self.parent != os.getpid():  # this is a fork: the process belongs to its parent
            self.channel, self.process, self.parent = None, None, os.getpid()
        if self.process is not None and self.process.poll() is not None:
            self.stop()
        if self.channel is None:
            self.start()
        assert self.channel is not None
        return self.channel

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        ones = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX")
        with theirs, tempfile.TemporaryFile() as errors:
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "bench.store.decoder_process", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    pass_fds=[theirs.fileno()],
                    env={**os.environ, **dict.fromkeys(ones, "1"), "PYTHONPATH": os.pathsep.join(filter(None, paths))},
                    start_new_session=True,  # Ctrl-C ends it with its parent, not before
                )
                theirs.close()
                receive_line(ours, time.monotonic() + START)
            except (OSError, Ended) as error:
                ours.close()
                self.stop()
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines() or [str(error)]
                raise BenchError(
                    f"the process that decodes videos does not start ({lines[-1]}); `python -m bench doctor` looks at "
                    "the installation"
                ) from None
        self.channel = ours

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self.channel is not None:
            self.channel.close()
        process, self.channel, self.process = self.process, None, None
        if process is not None and self.parent == os.getpid():
            process.kill()
            process.wait()

    def explain(self, error: Exception, limits: Limits) -> str:
        """Why the process ended, in words."""
        assert self.process is not None
        if not isinstance(error, Late):  # it may still be dying while its channel is closed already
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
        status = self.process.poll()
        if status == -signal.SIGPROF:
            return f"it takes more than {limits.seconds:.1f} s of processor time; {MORE}"
        if status is not None and status < 0:
            return f"its decoder was ended by {signal.Signals(-status).name}"
        return str(error) if status is None else f"its decoder ended with status {status}"


class Late(Ended):
    """The process lives and does not answer in time."""


def receive_line(channel: socket.socket, deadline: float) -> dict[str, Any]:
    """A JSON object in a line. Raises Ended where none comes in time, or something else."""
    line = bytearray()
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or len(line) > LONGEST_LINE:
            raise Late("its decoder does not come to an end")
        channel.settimeout(left)
        try:
            part = channel.recv(LONGEST_LINE)
        except TimeoutError:
            raise Late("its decoder does not answer") from None
        if not part:
            raise Ended("its decoder ended")
        line += part
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("used", 0.0), float):
        raise Late("its decoder answers with what is no answer")
    return said


def read_count(said: dict[str, Any], name: str) -> int:
    """A whole number that the process says. Raises Refused for anything else."""
    value = said.get(name)
    if type(value) is not int or not 0 <= value < 2**31:
        raise Refused("it cannot be decoded (its decoder answers with what is no answer)")
    return value


def show(text: Any) -> str:
    """A text of the process, which a stranger's file may have written, fit to be shown."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:400]).strip()


@contextlib.contextmanager
def new_memory(size: int) -> Iterator[int]:
    """A descriptor of so many bytes of memory, none of it used yet, which whoever else holds it cannot make smaller."""
    if hasattr(os, "memfd_create"):
        memory = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    else:
        with tempfile.TemporaryFile() as file:
            memory = os.dup(file.fileno())
    try:
        os.ftruncate(memory, size)
        if hasattr(fcntl, "F_ADD_SEALS"):
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        yield memory
    finally:
        os.close(memory)


@contextlib.contextmanager
def open_file(path: Path | str) -> Iterator[int]:
    """The descriptor of a regular file: not of a folder, a pipe or a device, which might never end. Raises Refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"it cannot be opened ({why})", "check its name and rights") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused("it is no regular file", "name a video file or a folder of frames")
        yield descriptor
    finally:
        os.close(descriptor)


DECODER = Decoder()
atexit.register(DECODER.stop)
