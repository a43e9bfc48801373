"""The nursery: a process that has imported what cells need and started nothing, and forks a process for each of them.

Importing torch and the suite's libraries takes longer than a small cell, so it is done once. The nursery computes
nothing, starts no thread and never asks whether there is a GPU, so that what it forks may do all of that.

    command ── nursery ── keeper ── worker     opens the data, serves signals, scores; one for each of --jobs
                       ── keeper ── method     one for each cell: has what a method may see, and nothing else

A *keeper* stands between the nursery and each process. It takes what the process prints into a log of bounded length,
ends the process and all that it started when whoever asked for it says so or is gone, however that came, and tells how
it ended. Each process leads a session of its own, so that no Ctrl-C reaches it by itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.core.sources import trace
from bench.store import disk

PRELOADED = (  # what a cell loads anyway; a module that is not there is missed by whoever needs it
    "torch",
    "pandas",
    "pyarrow.parquet",
    "datasets",
    "scipy.signal",
    "scipy.stats",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "diffusers.pipelines.animatediff.pipeline_animatediff",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img",
    "diffusers.models.controlnets.controlnet_sparsectrl",
    "bench.pretrained.generators.pipelines",
    "bench.pretrained.judges.observe",
    "bench.harness.executor",
    "bench.harness.inside",
)
HEAD, TAIL = 1 << 20, 1 << 16  # bytes kept of what a process prints: the first and the last
PATIENCE = 3.0  # seconds that an interrupted process has to put things away
FILES = {  # that come with a request; "alive" is held by each keeper, so that who waits for all knows when all are gone
    "worker": ("talk", "life", "errors", "requests", "alive"),
    "method": ("talk", "ask", "life", "log", "alive"),
}
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

Life = tuple[Callable[..., None], tuple[Any, ...]]  # what a forked process does, called with no frame of ours below


def run(requests: int) -> None:
    """The life of a nursery, and of every process that it forks: called as the first and last thing of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it decides when it ends
    control_process(PR_SET_PDEATHSIG, signal.SIGKILL)  # while it imports it does not see standard input end
    life = serve(socket.socket(fileno=requests))
    if life is not None:
        act, arguments = life
        del life
        try:
            act(*arguments)
        finally:
            flush_and_exit(1)
        flush_and_exit(0)


def serve(requests: socket.socket) -> Life | None:
    """Fork a process for each request, until standard input ends, as it does with whoever started the nursery.

    Returns None in the nursery, and what to do in a process that it forked.
    """
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    trace("bench.harness.run_cell", "bench.harness.inside")  # is kept: each cell asks whether its code is still this
    disk.remove_leftovers(Path(tempfile.gettempdir()))
    warnings.filterwarnings("ignore", "This process", DeprecationWarning)  # the thread is jemalloc's, which forks well
    gc.collect()
    gc.freeze()  # what all share is not written to by a collection
    while True:
        readable, _, _ = select.select([requests, sys.stdin.fileno()], [], [], 1.0)
        reap()
        if requests in readable:
            asked, files, _, _ = socket.recv_fds(requests, 64, len(FILES["worker"]))
            if os.fork() == 0:
                requests.detach()  # closed below with all others; no object shall close its number later
                return keep_or_end(asked.decode(), files)
            for file in files:
                os.close(file)
        elif readable:
            return None


def reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def keep_or_end(kind: str, files: list[int]) -> Life:
    try:
        return keep(kind, dict(zip(FILES[kind], files, strict=True)))
    except BaseException:  # of a keeper: nothing of it may go on as a second nursery
        flush_and_exit(1)
        raise


def keep(kind: str, files: dict[str, int]) -> Life:
    """The life of a keeper. Returns in the process that it keeps, with what that is to do."""
    os.setsid()
    control_process(PR_SET_CHILD_SUBREAPER, 1)  # what loses its parent becomes the keeper's, which ends it
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    printed, out = os.pipe()
    folder = Path(tempfile.gettempdir()) / disk.temporary_name("cell")
    if kind == "method":
        folder.mkdir(0o700)
    process = os.fork()
    if process == 0:
        return prepare(kind, files, out, folder)
    for file in (out, *(files[name] for name in files if name not in ("life", "log", "alive"))):
        os.close(file)
    try:
        watch(process, socket.socket(fileno=files["life"]), printed, Log(files.get("log")), wake)
    finally:
        disk.remove(folder)
        os._exit(0)


def prepare(kind: str, files: dict[str, int], out: int, folder: Path) -> Life:
    """Make the forked process what it is to be: its own session and files, none of the nursery's."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    printed = out if kind == "method" else files["errors"]
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    kept: tuple[str, ...] = ("talk", "requests", "alive")
    if kind == "method":
        kept = ("talk", "ask")
        os.chdir(folder)
        with contextlib.suppress(OSError):  # where memory runs out, it is the method that ends, not the harness
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")
    lines = [socket.socket(fileno=os.dup(files[name])) for name in kept]
    close_all_but({0, 1, 2, *(line.fileno() for line in lines)})
    module = importlib.import_module("bench.harness.inside" if kind == "method" else "bench.harness.executor")
    return module.live, tuple(lines)


def close_all_but(kept: set[int]) -> None:
    for file in [int(path.name) for path in Path("/dev/fd").iterdir()]:
        if file not in kept:
            with contextlib.suppress(OSError):
                os.close(file)


def flush_and_exit(code: int) -> None:
    """End this process at once: no threads are waited for, nothing that was registered to run at the end runs."""
    if sys.exc_info()[0] is not None:
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


class Log:
    """What a process prints: the first `HEAD` bytes as they come, of the rest the last `TAIL`."""

    def __init__(self, file: int | None) -> None:
        self.file, self.room, self.tail, self.left_out = file, HEAD, bytearray(), 0

    def add(self, content: bytes) -> None:
        self.write(content[: self.room])
        self.tail += content[self.room :]
        self.room -= min(self.room, len(content))
        if len(self.tail) > 2 * TAIL:
            self.left_out += len(self.tail) - TAIL
            del self.tail[:-TAIL]

    def close(self) -> None:
        if self.left_out:
            self.write(f"\n… {self.left_out} bytes left out …\n".encode())
        self.write(bytes(self.tail))

    def write(self, content: bytes) -> None:
        if self.file is not None and content:
            with contextlib.suppress(OSError):  # a full disk: the method goes on
                os.write(self.file, content)


def watch(process: int, life: socket.socket, printed: int, log: Log, wake: int) -> None:
    """Log what the process prints until it ends, or until it shall; then end all that it started and tell how it ended.

    Over `life` come b"i" to interrupt the process, b"k" to end it, or nothing more where whoever asked is gone.
    """
    until: float | None = None
    ended = None
    watched: list[Any] = [life, printed, wake]
    while ended is None:
        patience = None if until is None else until - time.monotonic()
        if patience is not None and patience <= 0:
            break
        readable, _, _ = select.select(watched, [], [], patience)
        if printed in readable:
            if content := os.read(printed, 1 << 16):
                log.add(content)
            else:  # the process has closed what it prints to
                watched.remove(printed)
        if wake in readable:
            os.read(wake, 1 << 10)
            ended = ended_process(process, os.WNOHANG)
        if life in readable and ended is None:
            if life.recv(1) != b"i":
                break
            os.kill(process, signal.SIGINT)
            until = time.monotonic() + PATIENCE
    end_group(process)
    status, peak = ended or ended_process(process, 0) or (0, 0)
    end_descendants()
    os.set_blocking(printed, False)
    with contextlib.suppress(BlockingIOError):
        while content := os.read(printed, 1 << 16):
            log.add(content)
    log.close()
    with contextlib.suppress(OSError):
        life.sendall(json.dumps({"status": status, "peak": peak}).encode())


def ended_process(process: int, options: int) -> tuple[int, int] | None:
    """The status and the most memory, in bytes, of a process that has ended; None while it has not."""
    found, status, usage = os.wait4(process, options)
    return (status, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)) if found else None


def end_group(process: int) -> None:
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            end(process, signal.SIGKILL)


def end_descendants() -> None:
    """End what processes left behind, until there is none: where /proc shows them, in sessions of their own too."""
    while True:
        for child in list_children(os.getpid()):
            end_group(child)
        try:
            found, _ = os.waitpid(-1, 0 if list_children(os.getpid()) else os.WNOHANG)
        except ChildProcessError:
            return
        if found == 0:
            return


def list_children(process: int) -> list[int]:
    """Processes whose parent this is; none where the system has no /proc."""
    children = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == process:
                children.append(int(folder.name))
    return children


def control_process(option: int, value: int) -> None:
    """`prctl` of Linux; nothing elsewhere."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
