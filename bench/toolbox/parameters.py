"""Parameters of methods: a frozen dataclass each, filled from keywords, every value checked by one rule.

A method's folder has a module `parameters` that imports no torch. It holds the dataclass `Parameters` and the function
`read_parameters(given)`, which makes every check that needs neither data nor a suite, so that a wrong value is refused
before anything is read, made or run (`try_parameters`).

The rule reads a field's annotation and its default:

- `int` takes whole numbers, at least 1 where the default is at least 1, else at least 0;
- `float` takes finite numbers, at least 0 where the default is;
- `bool`, `str` and `Literal[...]` take what they say, and `X | None` takes None too;
- `tuple[X, ...]` takes a list or a tuple of X, `tuple[X, X]` one of that length.

`limited` declares a field's limits where they are others.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bench.core.errors import BenchError
from bench.core.registry import resolve, suggest, target

ReadOut = Literal["nearest_concept", "nearest_caption", "regressed"]  # see `bench.toolbox.read_outs`
Filled = TypeVar("Filled")
Reader = Callable[[Mapping[str, Any]], Any]
Limits = Mapping[str, float | None]

HARNESS = ("suite", "seed")  # keywords of a constructor that the harness gives
OPTIONS = ("device", "precision", "memory", "threads")  # of `run`, and of nothing else: two places would contradict
WORDS = {"least": "at least", "above": "above", "most": "at most", "below": "below"}


def limited(default: Any, **limits: float | None) -> Any:
    """A field with limits of its own: `least` and `most` are allowed themselves, `above` and `below` are not.

    `least=None` takes the lower limit away.
    """
    if unknown := set(limits) - set(WORDS):
        raise ValueError(f"limits {sorted(unknown)} do not exist; there are {', '.join(WORDS)}")
    return dataclasses.field(default=default, metadata=limits)


def read_given(Parameters: type[Filled], given: Mapping[str, Any], *, method: str) -> Filled:
    """The dataclass from keywords, lists as tuples.

    Raises BenchError for a name that it does not have and for a value that its field does not take.
    """
    fields = {field.name: field for field in dataclasses.fields(Parameters)}  # type: ignore[arg-type]
    check_names(method, given, fields)
    kinds = get_type_hints(Parameters)
    for name, value in given.items():
        kind, limits = kinds[name], find_limits(kinds[name], fields[name])
        if not fits(value, kind, limits):
            raise BenchError(f"{method}: {name}={value!r} is refused; allowed is {describe(kind, limits)}")
    return Parameters(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def check_names(method: str, given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raises BenchError for the first name that is not known, with the nearest that is, and with all of them."""
    for name in given:
        if name not in known:
            there = f"it has {', '.join(sorted(known))}" if known else "it takes none"
            meant = f"; --{name} is an option of `run`" if name in OPTIONS else suggest(name, known)
            raise BenchError(f"{method} has no parameter {name}{meant}; {there}")


def find_limits(kind: Any, field: dataclasses.Field) -> Limits:
    """The limits of a number: as declared, and from the default where no lower one is."""
    declared: Limits = field.metadata
    if "least" in declared or "above" in declared:
        return declared
    values = field.default if isinstance(field.default, tuple) else (field.default,)
    numbers = [value for value in values if isinstance(value, int | float)]
    if int in (kind, *get_args(kind)) and all(number >= 1 for number in numbers):
        return {"least": 1, **declared}
    return {"least": 0, **declared} if all(number >= 0 for number in numbers) else declared


def fits(value: Any, kind: Any, limits: Limits) -> bool:
    """Whether a value is of the annotated kind and, a number, within the limits."""
    if kind in (int, float):
        number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and within(value, limits)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (Union, UnionType):
        return any(fits(value, part, limits) for part in inner)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        parts = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return len(value) == len(parts) and all(fits(*pair, limits) for pair in zip(value, parts, strict=True))
    return isinstance(value, kind)


def within(value: float, limits: Limits) -> bool:
    least, above, most, below = (limits.get(name) for name in WORDS)
    return (
        (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )


def describe(kind: Any, limits: Limits) -> str:
    """What `fits` allows, in words."""
    if kind in (int, float):
        bounds = [f"{WORDS[name]} {bound:g}" for name, bound in limits.items() if bound is not None]
        return " ".join(["a whole number" if kind is int else "a finite number", " and ".join(bounds)]).strip()
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return " or ".join(describe(part, limits) for part in inner)
    if origin is tuple:
        count = "" if inner[-1] is Ellipsis else f" of {len(inner)}"
        return f"a list{count}, each item {describe(inner[0], limits)}"
    return {bool: "true or false", str: "text", NoneType: "None"}[kind]


def try_parameters(method: str, given: Mapping[str, Any]) -> None:
    """Raises BenchError for parameters that the method refuses, before anything is read, made or run.

    A method whose folder has no module `parameters` is asked for the keywords of its constructor alone.
    """
    read = find_reader(method)
    if read is not None:
        read(given)
        return
    if not given:
        return
    keywords = inspect.signature(resolve("methods", method)).parameters
    if all(keyword.kind is not keyword.VAR_KEYWORD for keyword in keywords.values()):
        check_names(method, given, {name: keyword for name, keyword in keywords.items() if name not in HARNESS})


def find_reader(method: str) -> Reader | None:
    """The function that reads a method's parameters, from the module `parameters` of its package; None without one.

    A module that serves several classes names the functions of the others in `READERS`, by class.
    """
    module, _, attribute = target("methods", method).rpartition(":")
    if module.endswith(".py"):
        return None
    try:
        spec = importlib.util.find_spec(module)
        package = module if spec and spec.submodule_search_locations else module.rpartition(".")[0]
        if not package or importlib.util.find_spec(f"{package}.parameters") is None:
            return None
        parameters = importlib.import_module(f"{package}.parameters")
    except ImportError:  # of a package above, which `resolve` reports in words
        return None
    except ValueError:  # a script or a notebook, whose classes have no package
        return None
    readers: Mapping[str, Reader] = getattr(parameters, "READERS", {})
    return readers.get(attribute, getattr(parameters, "read_parameters", None))


def take_fields(Taken: type[Filled], parameters: Any) -> Filled:
    """The dataclass whose fields are some of the parameters, as a recipe of training is."""
    return Taken(**{field.name: getattr(parameters, field.name) for field in dataclasses.fields(Taken)})  # type: ignore[arg-type]


def check_heads(parameters: Any, *widths: str) -> None:
    """The parameter `heads` divides those that are named. Raises BenchError."""
    for name in widths:
        width = getattr(parameters, name)
        if width % parameters.heads:
            raise BenchError(f"{parameters.heads} heads do not divide a {name} of {width}; change heads or {name}")
