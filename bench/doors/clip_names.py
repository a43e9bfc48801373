"""Which clip a submitted video shows, told by the number in its name and never guessed.

Releases number the tested clips in more than one way: from 0 or from 1, in the order in which they were shown, concept
by concept (as EEG2Video's script evaluates SEED-DV), or by the stimulus's own number (CineBrain). Nothing in a name
tells which, so the submitter does (`Naming`), and every name has to fit: one that no clip has, two of one clip, another
script's digits or a number too high are refused, because each is most likely a video of another clip.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from bench.core.errors import BenchError

Order = Literal["shown", "concept", "file"]
ORDERS: tuple[str, ...] = get_args(Order)
DIGITS = "([0-9]{1,6})"  # a cell's files have room for six
SHOWN = 5  # names in a message


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How videos are named: a pattern with {} for the clip's number, the first number, and what is counted.

    A * in the pattern stands for any text. `order` "shown" counts the tested clips in the order of the data set,
    "concept" concept by concept, and "file" takes the number for that of the stimulus itself, which needs no `base`.
    """

    pattern: str = "{}"
    base: int | None = None
    order: Order = "shown"

    def __post_init__(self) -> None:
        """Raises BenchError for a pattern without exactly one {}, for a base and an order that mean nothing."""
        if self.pattern.count("{}") != 1 or "/" in self.pattern or not self.pattern.isprintable():
            raise BenchError(f"names {self.pattern!r}: it needs {{}} once, for the clip's number, such as test{{}}")
        if self.order not in ORDERS:
            raise BenchError(f"order {self.order!r}: allowed are {', '.join(ORDERS)}")
        if self.base is not None and self.base not in (0, 1):
            raise BenchError(f"base {self.base}: the first tested clip is numbered 0 or 1")
        if self.order == "file" and self.base is not None:
            raise BenchError("base: with --order file the number is the stimulus's own, so leave --base out")

    @property
    def normal(self) -> str:
        """The pattern in the form of Unicode that names are read in."""
        return unicodedata.normalize("NFC", self.pattern)

    def read_numbers(self, names: Iterable[str]) -> dict[int, str]:
        """The name of each number. Raises BenchError for a name that does not fit, and for two of one number."""
        before, after = (re.escape(part).replace(r"\*", ".*") for part in self.normal.split("{}"))
        pattern = re.compile(before + DIGITS + after)
        found: dict[int, str] = {}
        strange = []
        for name in names:
            match = pattern.fullmatch(name)
            if match is None:
                strange.append(name)
                continue
            first = found.setdefault(int(match[1]), name)
            if first != name:
                raise BenchError(f"{first} and {name} are both of clip {int(match[1])}; keep one video a clip")
        if strange:
            raise BenchError(
                f"{len(strange)} videos are not named {self.pattern!r} with a clip's number in place of {{}}: "
                f"{', '.join(map(repr, strange[:SHOWN]))}; name the pattern with --names, or take them away"
            )
        return found


def match_clips(videos: Mapping[str, Path], numbers: Mapping[int, int], naming: Naming) -> dict[int, Path]:
    """The video of each clip; `numbers` has the clip of each number that there is.

    Raises BenchError for a number that no clip has: its video would be scored nowhere, or is another's.
    """
    named = naming.read_numbers(videos)
    if strange := sorted(set(named) - set(numbers)):
        raise BenchError(
            f"{len(strange)} videos are of no tested clip: {', '.join(named[one] for one in strange[:SHOWN])}; numbers "
            f"go from {min(numbers)} to {max(numbers)}{advise(strange, numbers, naming)}"
        )
    return {numbers[number]: videos[name] for number, name in named.items()}


def advise(strange: list[int], numbers: Mapping[int, int], naming: Naming) -> str:
    """What was most likely meant."""
    if naming.base is None:
        return ""
    if strange == ([max(numbers) + 1] if naming.base == 0 else [0]):
        return f"; are they counted from {1 - naming.base} (--base {1 - naming.base})?"
    return f" (--base {naming.base}, --order {naming.order})"


def number_clips(dataset: Any, clips: np.ndarray, naming: Naming) -> dict[int, int]:
    """The clip of each number, of the clips that a fold tests a subject on.

    Raises BenchError without a base, and for an order that the data set has not.
    """
    stimuli = dataset.stimuli.to_pandas().set_index("clip").loc[np.unique(clips)]
    if naming.order == "file":
        if "number" not in stimuli:
            raise BenchError(f"order file: stimuli of {dataset.name} have no numbers of their own; use --order shown")
        return {int(number): int(clip) for clip, number in stimuli["number"].items()}
    if naming.base is None:
        raise BenchError(
            "say with --base whether the first tested clip is numbered 0 (NeuroClips, NEURONS, EEG2Video) or 1 "
            "(MinD-Video, Mind-Animator): nothing in a name tells"
        )
    if naming.order == "concept":
        if stimuli["concept"].nunique() < 2:
            raise BenchError(f"order concept: clips of {dataset.name} have no labels; use --order shown")
        stimuli = stimuli.sort_values("concept", kind="stable")
    return {place + naming.base: int(clip) for place, clip in enumerate(stimuli.index)}
