"""The process that decodes what strangers send: it is handed open files and gives back pictures.

    python -m bench.store.decoder_process CHANNEL

It takes one request at a time from a socket: the length and JSON of what is asked for, and with it two descriptors, of
the file and of memory to write pixels into (more than four times as fast as sending them). It answers in JSON lines:
number, height and width of the pictures written, the seconds of processor time, and why the file is refused, where it
is. Of a long film it writes one picture at a time, says so, and waits until it has been taken.

Before it takes the first request it gives up all that it does not need (`lock`): it may have two descriptors open
beside those that lead nowhere and its channel, so while it holds the two that it was handed neither Python nor FFmpeg
can open another file or a connection. Memory is bounded. Time is bounded by the system's timer of processor time,
whose signal ends the process: a busy machine makes no file slow. `bench.store.decoder` starts it and judges what it
says.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bench.store.formats import Bounds, Refused

CHANNEL = 3  # descriptor of the socket; 0, 1 and 2 lead nowhere
HANDED = 2  # the only other descriptors there can be
LENGTH = struct.Struct(">I")
GROWN = 64 * 2**20  # bytes of memory kept after a file: a process that holds more is replaced


def main() -> None:
    place_channel(int(sys.argv[1]))
    from bench.store import decoding  # its libraries are opened before nothing can be any more

    channel = socket.socket(fileno=CHANNEL)
    start = lock()
    say(channel, {})
    while (request := receive(channel)) is not None:
        about, (source, memory) = request
        set_memory(start, about["memory"])
        signal.setitimer(signal.ITIMER_PROF, about["seconds"])
        before = time.process_time()
        refused: dict[str, Any] = {}
        try:
            with io.FileIO(source) as file:
                refused = answer(channel, file, memory, about, decoding)
        except Refused as error:
            refused = {"why": error.why, "next_step": error.next_step}
        except MemoryError:
            refused = {"memory": True}
        except Exception as error:  # whatever a library raises of a broken file
            refused = {"memory": True} if getattr(error, "errno", 0) == errno.ENOMEM else {"error": describe(error)}
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.close(memory)
        used = time.process_time() - before
        say(channel, {"used": used, "tired": memory_size() > start + GROWN, **refused})


def place_channel(descriptor: int) -> None:
    """Only the channel and three descriptors that lead nowhere stay open."""
    if descriptor != CHANNEL:
        os.dup2(descriptor, CHANNEL)
        os.close(descriptor)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nowhere, standard)
    os.closerange(CHANNEL + 1, 256)


def lock() -> int:
    """Give up files, connections and core dumps; return the bytes of memory at the start."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # what went wrong before stood on standard error
    os.closerange(CHANNEL + 1, 256)
    most = CHANNEL + 1 + HANDED
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.freeze()  # what is there stays: looking for garbage is then quick
    return memory_size()


def memory_size() -> int:
    """Bytes of address space; 0 where the system does not say (its limit is then not set)."""
    with contextlib.suppress(OSError), Path("/proc/self/statm").open("rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
    return 0


def set_memory(start: int, more: int) -> None:
    if start:
        resource.setrlimit(resource.RLIMIT_AS, (start + more, resource.getrlimit(resource.RLIMIT_AS)[1]))


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """What is asked for, the file and the memory; None where nobody asks any more."""
    head, descriptors, _, _ = socket.recv_fds(channel, LENGTH.size, HANDED)
    if len(head) < LENGTH.size or len(descriptors) < HANDED:
        return None
    content = bytearray()
    while len(content) < LENGTH.unpack(head)[0]:
        part = channel.recv(LENGTH.unpack(head)[0] - len(content))
        if not part:
            return None
        content += part
    return json.loads(content), descriptors


def answer(
    channel: socket.socket, file: io.FileIO, memory: int, about: dict[str, Any], decoding: Any
) -> dict[str, int]:
    """Write the pictures that are asked for; how many there are, and their size."""
    shape, wanted = about["shape"], about["wanted"]
    bounds = Bounds(
        pixels=about["pixels"],
        shape=None if shape is None else tuple(shape),
        first=about["first"],
        threads=about["threads"],
    )
    decoded, count, height, width = 0, 0, 0, 0

    def counted() -> Generator[Any, None, None]:
        nonlocal decoded
        for picture in decoding.show(file, about["kind"], about["size"], bounds):
            decoded += 1
            yield picture
            gc.collect()  # PyAV's frames whose side data were looked at refer to themselves, with all their pixels

    pictures = counted()
    with contextlib.closing(pictures):  # and with them the decoder
        for picture in decoding.pick(pictures, wanted):
            height, width = picture.shape[:2]
            place = count * picture.nbytes if wanted is None else 0
            write(memory, picture if picture.flags.c_contiguous else picture.copy(), place)
            count += 1
            if wanted is not None:
                say(channel, {"height": height, "width": width})
                channel.recv(1)
    return {"decoded": decoded, "count": count, "height": height, "width": width}


def write(memory: int, picture: Any, place: int) -> None:
    content, done = memoryview(picture).cast("B"), 0
    while done < len(content):
        done += os.pwrite(memory, content[done:], place + done)


def say(channel: socket.socket, said: dict[str, Any]) -> None:
    channel.sendall(json.dumps(said).encode() + b"\n")


def describe(error: Exception) -> str:
    """The first line of what a library says of a file."""
    if getattr(error, "errno", 0) == errno.EMFILE:
        return "it asks for another file"
    lines = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]


if __name__ == "__main__":
    main()
