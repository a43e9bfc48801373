"""Progress of long work: a bar with phase and remaining time on a terminal, sparse plain lines elsewhere.

What goes wrong is said in lines of at most 100 columns (`complain`), in a terminal and in a pipe alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

WARNED = "BENCH_WARNED"  # the environment variable by which workers know what has been said

WIDTH = 100  # columns that a message may take
WORD = re.compile(r"(?:[^\s`]*`[^`\n]*`)+[^\s`]*|\S+")  # what stands between backticks is copied, so it stays together
PLAIN_INTERVAL = 10.0  # seconds between plain lines: enough to see life in a log, few enough to read it


def track(items: Iterable[Item], phase: str, *, total: int | None = None, done: int = 0) -> Iterator[Item]:
    """Yield the items, showing how far `phase` has come and how long it may still take.

    `total` defaults to `len(items)` where that is known; so many of them were `done` before.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr is not None and sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, desc=phase, total=total, initial=done, leave=False, file=sys.stderr)
        return
    start = last = time.monotonic()
    for made, item in enumerate(items):
        now = time.monotonic()
        if made and now - last >= PLAIN_INTERVAL:
            last = now
            rest = f", about {(now - start) / made * (total - done - made):.0f} s left" if total else ""
            say(f"{phase}: {done + made}{f'/{total}' if total else ''}{rest}")
        yield item


def warn_once(message: str) -> None:
    """Say a warning, unless this process or the one that started it has said it: many workers have the same reason."""
    mark, said = hashlib.sha256(message.encode()).hexdigest()[:8], os.environ.get(WARNED, "").split()
    if mark not in said:
        os.environ[WARNED] = " ".join([*said, mark])
        complain(f"warning: {message}")


def say(message: str) -> None:
    """A plain line of progress on standard error, where there is one; standard output carries results only."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):  # closed, or on a full disk: no reason to end the work
        print(message, file=sys.stderr, flush=True)


def complain(message: str) -> None:
    """What went wrong, on standard error, in lines of at most 100 columns."""
    say(wrap_message(message))


def wrap_message(message: str, width: int = WIDTH) -> str:
    """The message with its longer lines broken between words, the rest of each indented as it began."""
    lines: list[str] = []
    for line in message.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        lines += [line] if len(line) <= width else wrap_words(line, width, first=indent, rest=indent)
    return "\n".join(lines)


def wrap_words(text: str, width: int = WIDTH, *, first: str = "", rest: str = "") -> list[str]:
    """The words of a text in lines, the first and the others indented; none of an empty text.

    What stands between backticks is broken only where it is longer than a line; a word, as a path is one, never.
    """
    lines: list[str] = []
    for word in (part for one in WORD.findall(text) for part in (one.split() if len(one) > width else [one])):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{rest if lines else first}{word}")
    return lines
