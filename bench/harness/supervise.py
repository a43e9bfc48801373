"""Processes of their own for cells: started by the nursery, watched, and ended with all that they started."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError

START = "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from bench.harness import nursery; nursery.run({})"
THREADS = tuple(f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"))
READ_ONCE = (  # what libraries read of the environment when they are imported: how its names begin
    *("OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "KMP_", "CUDA_", "NVIDIA_", "TORCH", "PYTORCH_", "HF_", "TRANSFORMERS_"),
    *("DIFFUSERS_", "PYTHON", "LD_", "HOME", "TMPDIR", "XDG_"),
)
# What is freed at the heap's end glibc gives back to the system at once, and takes it page by page again: up to a fifth
# of a small computation's time. So up to 512 MiB are kept (with 256, pages were still given back); what is larger than
# 32 MiB goes back as before. What the user set in the environment goes first.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}
GRACE = 10.0  # seconds in which a keeper ends what it keeps


@dataclass(frozen=True)
class Ending:
    """How a process ended: its wait status, and the most memory that it held. Both None where its keeper was lost."""

    status: int | None
    peak: int | None

    def __str__(self) -> str:
        if self.status is None:
            return "was lost with the process that kept it"
        code = os.waitstatus_to_exitcode(self.status)
        if code >= 0:
            return f"ended by itself with exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"was killed by {name}" + (", as where memory runs out" if -code == signal.SIGKILL else "")


class Child:
    """A process that the nursery forked, and what leads to it."""

    def __init__(self, talk: socket.socket, ask: socket.socket, life: socket.socket) -> None:
        self.talk, self.ask, self.life = talk, ask, life
        self.ending: Ending | None = None

    def has_ended(self, wait: float | None = 0.0) -> bool:
        """Whether its process has ended, within so many seconds; `ending` then says how."""
        if self.ending is None and select.select([self.life], [], [], wait)[0]:
            told = b""
            with contextlib.suppress(ConnectionError):
                while part := self.life.recv(1 << 10):
                    told += part
            told = told or b'{"status": null, "peak": null}'
            self.ending = Ending(**json.loads(told))
        return self.ending is not None

    def interrupt(self) -> None:
        """Let it put things away: it is ended where that takes long."""
        self.tell(b"i")

    def end(self) -> Ending:
        """End it and all that it started, unless that has happened, and say how it ended."""
        if self.ending is None:
            self.tell(b"k")
            if not self.has_ended(GRACE):
                self.ending = Ending(None, None)
        for line in (self.talk, self.ask, self.life):
            line.close()
        assert self.ending is not None
        return self.ending

    def tell(self, word: bytes) -> None:
        with contextlib.suppress(OSError):
            self.life.send(word)


class Nursery:
    """The nursery of this process, or, in a worker, that of the command."""

    def __init__(self, requests: socket.socket, process: subprocess.Popen[bytes] | None, setting: Any) -> None:
        self.requests, self.process, self.setting = requests, process, setting
        self.alive: tuple[socket.socket, socket.socket] | None = None
        self.owner = os.getpid()  # a fork of this process has a copy of this object, and no nursery

    def is_there(self) -> bool:
        return self.owner == os.getpid() and (self.process is None or self.process.poll() is None)

    def close(self) -> None:
        """End it, whatever it is at; the processes that it has forked are ended by those who asked for them."""
        self.requests.close()
        if self.owner == os.getpid() and self.process is not None and self.process.stdin is not None:
            self.process.kill()
            self.process.stdin.close()
            self.process.wait()

    def wait_for_all(self) -> None:
        """Wait until every process that was started here, or by a worker that was, has ended, with its keeper."""
        alive, self.alive = self.alive, None
        if alive is not None:
            ours, theirs = alive
            theirs.close()
            with ours:
                select.select([ours], [], [], GRACE)

    def mark(self) -> socket.socket:
        """What each keeper holds while there is something for it to keep."""
        if self.alive is None:
            self.alive = socket.socketpair()
        return self.alive[1]

    def start_method(self, log: Path | None) -> Child:
        """A process for a method; what it prints goes to the end of the log."""
        (talk, its_talk), (life, its_life) = socket.socketpair(), socket.socketpair()
        ask, its_ask = socket.socketpair(type=socket.SOCK_DGRAM)
        file = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            self.request("method", its_talk.fileno(), its_ask.fileno(), its_life.fileno(), file, self.mark().fileno())
        finally:
            os.close(file)
            for line in (its_talk, its_ask, its_life):
                line.close()
        return Child(talk, ask, life)

    def start_worker(self) -> Child:
        """A process that makes cells, and prints where this one prints its errors."""
        (talk, its_talk), (life, its_life) = socket.socketpair(), socket.socketpair()
        try:
            self.request(
                "worker", its_talk.fileno(), its_life.fileno(), 2, self.requests.fileno(), self.mark().fileno()
            )
        finally:
            for line in (its_talk, its_life):
                line.close()
        return Child(talk, socket.socket(), life)

    def request(self, kind: str, *files: int) -> None:
        try:
            socket.send_fds(self.requests, [kind.encode()], list(files))
        except OSError as error:
            raise BenchError(
                f"no process can be started for a cell ({error}); its parent has ended, give the command again"
            ) from error


_nursery: Nursery | None = None


def find_nursery(threads: int) -> Nursery:
    """The nursery whose processes compute with so many threads; started when first asked for."""
    global _nursery
    if _nursery is not None and _nursery.process is None:
        return _nursery
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    setting = {name: value for name, value in environment.items() if name.startswith(READ_ONCE)}
    if _nursery is not None:
        if _nursery.setting == setting and _nursery.is_there():
            return _nursery
        _nursery.close()
    _nursery = Nursery(*start_nursery(environment), setting)
    return _nursery


def use_nursery(requests: socket.socket, alive: socket.socket) -> None:
    """In a worker: ask the nursery that it came from, and have the command wait for what is started."""
    global _nursery
    _nursery = Nursery(requests, None, None)
    _nursery.alive = alive, alive


def start_nursery(environment: dict[str, str]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
    places = [str(Path(place).absolute()) for place in sys.path]  # "" is the folder that this process works in now
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    with theirs:
        process = subprocess.Popen(
            [sys.executable, *flags, "-c", START.format(theirs.fileno()), json.dumps(places)],
            stdin=subprocess.PIPE,  # never written to: it ends when this process does
            stdout=2,  # what a library prints when it is imported is no result
            pass_fds=(theirs.fileno(),),
            # asking for a GPU must not start using it
            env={**ALLOCATOR, **environment, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
        )
    return ours, process


@atexit.register
def close_nursery() -> None:
    """Start nothing more, not even what is being asked for."""
    global _nursery
    if _nursery is not None and _nursery.process is not None:
        _nursery.close()
        _nursery = None
