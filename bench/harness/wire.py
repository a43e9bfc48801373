"""Messages between the harness and a method's process, over sockets.

What the harness sends is pickled, with open files beside it. What a method's process sends is never unpickled: it is
JSON of bounded length and plain numbers, whose type and shape are looked at before they are read.
"""

from __future__ import annotations

import json
import math
import pickle
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

LENGTH = struct.Struct("!QB")  # bytes of a pickled object, open files beside it
JSON_LENGTH = struct.Struct("!I")
ASKED = struct.Struct("!iQ")  # what is asked for, and how many rows of it
TRUTH = -1  # what is asked for: not the rows of that number, but the phantom's likelihood
MOST_JSON = 1 << 20  # bytes
MOST_FILES = 16
MOST_ROWS = 256  # asked for at once, and fewer where these are more bytes (`bench.toolbox.rows.rows_at_once`)


class InFile(NamedTuple):
    """Clips in an open file that goes beside a message."""

    place: int  # among the open files
    shape: tuple[int, ...]


class Lent(NamedTuple):
    """Signals or clips that stay where they are, and the number to ask for rows of them with."""

    number: int
    shape: tuple[int, ...]
    dtype: str
    at_once: int  # rows that are given at once


class Closed(Exception):
    """The other side has ended, or has closed its end."""


class Garbled(Exception):
    """The other side sent what it never sends."""


class TimeUp(Exception):
    """The time limit has passed."""


class Clock:
    """How much time is left until a limit, in seconds; always some without one."""

    def __init__(self, limit: float | None = None) -> None:
        self.end = None if limit is None else time.monotonic() + limit

    def left(self) -> float | None:
        """Raises TimeUp where none is left."""
        if self.end is None:
            return None
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeUp
        return left


UNLIMITED = Clock()


def read(line: socket.socket, view: memoryview, clock: Clock = UNLIMITED) -> None:
    """Fill the view."""
    while len(view):
        line.settimeout(clock.left())
        try:
            count = line.recv_into(view)
        except TimeoutError:
            continue
        except ConnectionError as error:
            raise Closed from error
        if count == 0:
            raise Closed
        view = view[count:]


def read_bytes(line: socket.socket, count: int, clock: Clock = UNLIMITED) -> bytes:
    content = bytearray(count)
    read(line, memoryview(content), clock)
    return bytes(content)


def write(line: socket.socket, content: bytes | memoryview, clock: Clock = UNLIMITED) -> None:
    view = memoryview(content).cast("B") if len(content) else memoryview(b"")
    while len(view):
        line.settimeout(clock.left())
        try:
            view = view[line.send(view) :]
        except TimeoutError:
            continue
        except ConnectionError as error:
            raise Closed from error


def send_object(line: socket.socket, thing: Any, files: Sequence[int] = (), clock: Clock = UNLIMITED) -> None:
    """Pickle a thing and send it with open files. Only the harness sends objects."""
    content = pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)
    line.settimeout(clock.left())
    try:
        socket.send_fds(line, [LENGTH.pack(len(content), len(files))], list(files))
    except ConnectionError as error:
        raise Closed from error
    write(line, content, clock)


def receive_object(line: socket.socket) -> tuple[Any, list[int]]:
    """What `send_object` sent."""
    line.settimeout(None)
    head, files, _, _ = socket.recv_fds(line, LENGTH.size, MOST_FILES)
    if len(head) < LENGTH.size:
        raise Closed
    length, _ = LENGTH.unpack(head)
    return pickle.loads(read_bytes(line, length)), files


def send_answer(
    line: socket.socket, about: Mapping[str, Any], array: np.ndarray | None = None, clock: Clock = UNLIMITED
) -> None:
    """JSON, with an array of plain numbers after it."""
    if array is not None:
        about = {**about, "dtype": array.dtype.str, "shape": array.shape}
    content = json.dumps(about).encode()
    write(line, JSON_LENGTH.pack(len(content)) + content, clock)
    if array is not None and array.size and not array.dtype.hasobject:
        write(line, as_bytes(np.ascontiguousarray(array)), clock)


def receive_answer(line: socket.socket, clock: Clock = UNLIMITED) -> dict[str, Any]:
    """The JSON of an answer. Where it has "dtype" and "shape", `receive_array` reads what comes after."""
    (length,) = JSON_LENGTH.unpack(read_bytes(line, JSON_LENGTH.size, clock))
    if length > MOST_JSON:
        raise Garbled
    try:
        about = json.loads(read_bytes(line, length, clock))
    except ValueError as error:
        raise Garbled from error
    if not isinstance(about, dict):
        raise Garbled
    return about


def receive_array(line: socket.socket, dtype: np.dtype, shape: tuple[int, ...], clock: Clock = UNLIMITED) -> np.ndarray:
    """The numbers of an answer, whose type and shape have been found to be these."""
    array = np.empty(shape, dtype)
    if math.prod(shape):
        read(line, as_bytes(array), clock)
    return array


def as_bytes(array: np.ndarray) -> memoryview:
    content: Any = array.reshape(-1).view(np.uint8)
    return memoryview(content)
