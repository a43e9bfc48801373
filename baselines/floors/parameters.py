"""What `noise_brain` takes. The other floors take no parameters. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.core.errors import BenchError
from bench.core.registry import role_of
from bench.toolbox.parameters import try_parameters

WRAPPED = "retrieval"  # the method that `noise_brain` runs where none is named


def read_noise_brain(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method that is to be fed noise, and its parameters. Raises BenchError for what that method refuses."""
    parameters = dict(given)
    method = parameters.pop("method", WRAPPED)
    if not isinstance(method, str):
        raise BenchError(f"noise_brain: method={method!r} is refused; allowed is a name that --method takes")
    if role_of(method) in ("control", "ceiling"):
        raise BenchError(f"noise_brain: {method} sees no brain, so noise changes nothing; name one that does")
    try_parameters(method, parameters)
    return method, parameters


READERS = {"NoiseBrain": read_noise_brain}
