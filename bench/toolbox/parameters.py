"""Parameters of methods: a frozen dataclass each, filled from keywords; and the checks of values that methods share.

A method adds the checks that are its own. Imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from bench.core.errors import BenchError
from bench.core.registry import resolve

PRECISIONS = ("fp32", "bf16")

Made = TypeVar("Made")


def read_given(Parameters: type[Made], given: Mapping[str, Any], *, method: str) -> Made:
    """The dataclass from keywords, lists as tuples. Raises BenchError for a name that it does not have."""
    known = {field.name for field in dataclasses.fields(Parameters)}  # type: ignore[arg-type]
    if unknown := sorted(set(given) - known):
        raise BenchError(f"{method} has no parameter {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return Parameters(**{name: tuple(one) if isinstance(one, list) else one for name, one in given.items()})


def try_parameters(method: str, given: Mapping[str, Any], suite: Any) -> None:
    """Raises BenchError for parameters that the method refuses: before anything is run, floors included."""
    if not given:
        return
    try:
        resolve("methods", method)(suite=suite, seed=0, **given)
    except (TypeError, ValueError) as error:
        settings = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise BenchError(f"{method} does not take the parameters {settings}: {error}") from error


def take_fields(Taken: type[Made], parameters: Any) -> Made:
    """The dataclass whose fields are some of the parameters, as a recipe of training is."""
    return Taken(**{field.name: getattr(parameters, field.name) for field in dataclasses.fields(Taken)})  # type: ignore[arg-type]


def check_choices(parameters: Any, **allowed: Collection[str]) -> None:
    """Each named parameter is one of its values, as in `check_choices(own, start=STARTS)`. Raises BenchError."""
    for name, values in allowed.items():
        if getattr(parameters, name) not in values:
            raise BenchError(f"{name} {getattr(parameters, name)!r} is none of {', '.join(values)}")


def check_heads(parameters: Any, *widths: str) -> None:
    """The parameter `heads` divides those that are named. Raises BenchError."""
    for name in widths:
        width = getattr(parameters, name)
        if width % parameters.heads:
            raise BenchError(f"{parameters.heads} heads do not divide a {name} of {width}; change heads or {name}")


def check_strength(parameters: Any) -> None:
    """The parameter `strength` is within (0, 1]. Raises BenchError."""
    if not 0 < parameters.strength <= 1:
        raise BenchError(
            f"strength={parameters.strength} is outside (0, 1]; it is the share of the video's denoising that is run"
        )
