"""Standard output and error as they may be: closed, on a full disk, in an encoding that lacks our characters."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO


def open_streams() -> None:
    """See to it that there are three standard streams, and that every text can be written to them.

    A stream that was closed leads nowhere from now on; left closed, its number would be given to the next file that is
    opened, and what is printed would be written into it. A character that the encoding lacks is shown by its number,
    as \\u2191, and so is a byte of a file's name that is no text.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:  # not where a test or a notebook catches what is printed
            reconfigure(errors="backslashreplace")


def close_output() -> str:
    """Write out what is still to be written; what kept it from being written, or nothing.

    After a failure a stream leads nowhere, or the interpreter would try again as it ends and print a traceback.
    """
    drop_unless_written(sys.stderr)
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        drop(sys.stdout)
        return "" if isinstance(error, BrokenPipeError) else f"standard output cannot be written ({error})"
    return ""


def drop_unless_written(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        drop(stream)


def drop(stream: TextIO) -> None:
    """From now on what is written to a stream goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
