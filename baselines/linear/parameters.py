"""What `lda` and `ridge` take. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.toolbox.parameters import read_given


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Whose trials a subject's reader is fitted on.

    subjects: "own", the subject's alone (a new subject's calibration trials); "pooled", all subjects' together (and a
    new one's calibration trials with them). None: pooled where channels are the same in all heads, as electrodes are,
    and own where they are voxels, which do not correspond.
    """

    subjects: Literal["own", "pooled"] | None = None


def read_parameters(given: Mapping[str, Any]) -> Parameters:
    """Raises BenchError for names and values that are refused."""
    return read_given(Parameters, given, method="a linear reader")


READERS = {"Lda": read_parameters, "Ridge": read_parameters}
