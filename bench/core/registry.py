"""The registry: names of what can be run, with their roles, and the objects behind them, loaded only when asked for.

A name comes from one of three places: the table of `bench.core.built_in`, an entry point of an installed package in the
group `brain2video_bench.<kind>` (e.g. `brain2video_bench.methods`), or, for a class of your own, `path/file.py:Class`.
Nothing heavy is imported here: `python -m bench list` has to answer at once.

A package whose entry point cannot be used (a name that is taken, no `module:Attribute`, unreadable metadata) stops
nobody else: `problems` says what is wrong in a line each, and whoever asks for such a name is told.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.core.built_in import BUILT_IN, READ_OUT_OF, RETIRED, Entry
from bench.core.errors import BenchError

GROUP = "brain2video_bench."  # of the groups of entry points; the kind follows
FILE = "bench_file_"  # of the name of a module that is known by its file alone
ASKED: dict[str, type] = {}  # what classes of the user's files say about themselves, in their place
HANDED: dict[str, list[str | Path]] = {}  # where the code of such begins, in a worker, which has only their names
LIVE: dict[str, type] = {}  # methods whose class itself was handed over, as in a notebook, by the class's name


class UnknownName(BenchError):
    """A name that nothing is registered under, or behind which nothing can be loaded."""


def names(kind: str) -> list[str]:
    """All names of a kind: the built-in ones in their order, then those of installed packages, sorted."""
    return [*built_in(kind), *sorted(entry_points(kind))]


def describe(kind: str, name: str) -> str:
    """One line about a name, without loading what is behind it."""
    if name in built_in(kind):
        return built_in(kind)[name].summary
    return f"from {target(kind, name)}"


def add_class(method_class: type) -> str:
    """Register a method's class itself and return the name that it is known by in this process: the class's own.

    Raises UnknownName where that is the name of something else.
    """
    name = method_class.__name__
    if name in names("methods"):
        raise UnknownName(f"a method called {name!r} is registered already; give the class another name")
    LIVE[name] = method_class
    return name


def modality_of(kind: str, name: str) -> str:
    """What a method reads ("eeg", "fmri", "any" or "none"), or what a data set holds; empty where it is not known.

    Loads a method of the user's own to ask it, and never a data set.
    """
    entry = BUILT_IN[kind].get(name.partition(":")[0])
    if entry is not None:
        return entry.modality
    return str(getattr(resolve(kind, name), "modality", "")) if kind == "methods" else ""


def role_of(method: str) -> str:
    """What a method is in the tables: "method", "baseline", "control" or "ceiling". Only this table gives a role."""
    entry = BUILT_IN["methods"].get(method)
    return entry.role if entry else RETIRED.get(method, "method")


def what_it_reads(method: str) -> str:
    """The kind of what a method reads from a brain, as the table says it; empty of a method that is not in it."""
    entry = BUILT_IN["methods"].get(method)
    return entry.reads if entry else ""


def takes_read_out(method: str) -> bool:
    """Whether a method gives a generator text, and so takes the parameter `read_out`."""
    return what_it_reads(method) in READ_OUT_OF


def references() -> list[str]:
    """The methods that are run beside every other: floors, then baselines, then ceilings."""
    order = ("control", "baseline", "ceiling")
    beside = [(name, entry.role) for name, entry in BUILT_IN["methods"].items() if entry.beside]
    return [name for name, role in sorted(beside, key=lambda one: order.index(one[1]))]


def resolve(kind: str, name: str) -> Any:
    """The object behind a name of a kind, or behind `path/file.py:Class`.

    Raises UnknownName for names that are not there (with the nearest and all allowed ones), for files and classes
    that do not exist, and for modules that cannot be imported.
    """
    if kind == "methods" and name in LIVE:
        return LIVE[name]
    if kind == "methods" and name in ASKED:
        return ASKED[name]
    module_name, _, attribute = target(kind, name).rpartition(":")
    try:
        module = load_file(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # what is imported is somebody's code, and may do anything
        raise UnknownName(
            f"{name!r} cannot be loaded from {module_name}: {describe_error(error)}; install or repair what is missing"
        ) from error
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            defined = [one for one in vars(found) if not one.startswith("_")]
            raise UnknownName(f"{module_name} has no {attribute!r}{suggest(part, defined)}")
        found = getattr(found, part)
    if kind in ("methods", "datasets") and not isinstance(found, type):
        raise UnknownName(
            f"{name!r} of {kind} is {type(found).__name__} in {module_name}; it must be a class: name the class itself"
        )
    return found


def describe_error(error: BaseException) -> str:
    """What was raised, in one line, and where in the code that was imported."""
    words = " ".join(str(error).split())
    said = words if isinstance(error, (ImportError, SyntaxError)) and words else f"{type(error).__name__}: {words}"
    frames = traceback.extract_tb(error.__traceback__)
    where = frames[-1] if frames and not isinstance(error, SyntaxError) else None
    return f"{said} ({where.filename}, line {where.lineno})" if where and "importlib" not in where.filename else said


def target(kind: str, name: str) -> str:
    """Where the object behind a name is: `package.module:Attribute` or `/absolute/file.py:Class`. Loads nothing."""
    if name in built_in(kind):
        return built_in(kind)[name].target
    if kind == "methods" and name in LIVE:
        return f"{LIVE[name].__module__}:{name}"
    path, _, attribute = name.rpartition(":")
    if path.endswith(".py"):
        if not Path(path).is_file():
            raise UnknownName(f"{name!r} of {kind}: there is no file {path}; name it from here or in full")
        if not attribute.isidentifier():
            raise UnknownName(f"{name!r} of {kind}: after the colon comes the name of a class, as in file.py:Class")
        return f"{Path(path).resolve()}:{attribute}"
    if name.endswith(".py"):
        raise UnknownName(f"{name!r} of {kind} lacks the class; write {name}:Class")
    if name in entry_points(kind):
        return entry_points(kind)[name]
    if reasons := [problem.text for problem in problems(kind) if problem.name == name]:
        raise UnknownName("; ".join(reasons))
    known = names(kind)
    raise UnknownName(
        f"unknown name {name!r} of {kind}{suggest(name, known)}; there are {', '.join(known)}, or path/file.py:Class"
    )


def find_roots(kind: str, name: str) -> list[str | Path]:
    """Where the code behind a name begins: modules and files for `bench.core.sources.trace`.

    Empty for a class without a file, as of a notebook: `digest_class` tells such a one.
    """
    if kind == "methods" and name in HANDED:
        return HANDED[name]
    if kind == "methods" and name in LIVE:
        module = LIVE[name].__module__
        source = inspect.getsourcefile(LIVE[name]) if module != "__main__" else main_file()
        return [Path(source)] if source is not None and Path(source).is_file() else []
    module = target(kind, name).rpartition(":")[0]
    if module.endswith(".py"):
        return [Path(module)]
    return [module, *find_home(resolve(kind, name))]


def find_home(thing: Any) -> list[str | Path]:
    """The module that an object, or its class, was written in; its file where it is known by a file alone."""
    name = getattr(thing, "__module__", None) or type(thing).__module__
    file = getattr(sys.modules.get(name), "__file__", None)
    return [Path(file)] if file and (name.startswith(FILE) or name == "__main__") else [name]


def digest_class(method: str) -> str:
    """sha256 of the pickled form of a class without a file, which holds the functions that it uses: the same in this
    session, another in the next."""
    import cloudpickle

    _ = LIVE[method].__annotations__  # which Python adds to a class only when someone first asks for them
    return hashlib.sha256(cloudpickle.dumps(LIVE[method])).hexdigest()


def main_file() -> str | None:
    """The script that is run, None in a notebook or at a prompt."""
    return getattr(sys.modules["__main__"], "__file__", None)


def built_in(kind: str) -> Mapping[str, Entry]:
    if kind not in BUILT_IN:
        raise UnknownName(f"unknown kind {kind!r}{suggest(kind, BUILT_IN)}; there are {', '.join(BUILT_IN)}")
    return BUILT_IN[kind]


class Problem(NamedTuple):
    """An entry point that is left out, and why."""

    kind: str  # empty where it is of no kind, or of all
    name: str
    text: str


def entry_points(kind: str) -> Mapping[str, str]:
    """Names that installed packages add to a kind, and where the objects behind them are."""
    return {name: where for (one, name), where in find_plugins()[0].items() if one == kind}


def problems(kind: str | None = None) -> list[Problem]:
    """Entry points that are left out: of a kind, with those of no kind at all, or all of them."""
    return [one for one in find_plugins()[1] if kind is None or one.kind in (kind, "")]


@functools.cache
def find_plugins() -> tuple[dict[tuple[str, str], str], tuple[Problem, ...]]:
    """The entry points of all installed packages by kind and name, and those that cannot be used. Imports none."""
    claims: dict[tuple[str, str], dict[str, str]] = {}  # (kind, name) -> where -> owner
    wrong: list[Problem] = []
    for place, distribution in enumerate(find_distributions()):
        try:
            points = [point for point in distribution.entry_points if point.group.startswith(GROUP)]
        except Exception as error:  # metadata that was edited or half deleted
            owner = owner_of(distribution) or f"package {place}"
            wrong.append(Problem("", owner, f"{owner}: its entry points cannot be read ({describe_error(error)})"))
            continue
        owner = name_package(distribution) if points else ""
        for point in points:
            kind, where = point.group.removeprefix(GROUP), point.value.partition("[")[0].strip()
            says = f"{owner} registers {point.name!r} of {point.group}"
            if kind not in BUILT_IN:
                text = f"{says}: there is no such kind{suggest(kind, BUILT_IN)}; there are {', '.join(BUILT_IN)}"
                wrong.append(Problem("", point.name, text))
            elif point.name in BUILT_IN[kind]:
                wrong.append(Problem(kind, point.name, f"{says}, a name that is taken; ours is used, rename the other"))
            elif not re.fullmatch(r"[\w-]+", point.name):
                wrong.append(Problem(kind, point.name, f"{says}: a name has letters, digits, _ and - only"))
            elif not re.fullmatch(r"[\w.]+:[\w.]+", where) or where.partition(":")[0].endswith(".py"):
                text = f"{says} as {point.value!r}; it must have the form module:Attribute"
                wrong.append(Problem(kind, point.name, text))
            else:
                claims.setdefault((kind, point.name), {})[where] = owner
    plugins = {}
    for (kind, name), places in claims.items():
        if len(places) == 1:
            plugins[kind, name] = next(iter(places))
            continue
        owners = " and ".join(sorted(set(places.values())))
        text = f"{owners} register {name!r} of {GROUP}{kind} differently ({', '.join(sorted(places))}); uninstall one"
        wrong.append(Problem(kind, name, text))
    return plugins, tuple(wrong)


def find_distributions() -> Iterator[importlib.metadata.Distribution]:
    """Installed packages; the search ends where the folders of packages cannot be read."""
    with contextlib.suppress(OSError):
        yield from importlib.metadata.distributions()


def name_package(distribution: importlib.metadata.Distribution) -> str:
    """What a package calls itself.

    A library that is imported may have put its own reader of metadata in Python's place, which raises where it is gone.
    """
    name = None
    with contextlib.suppress(Exception):
        name = distribution.metadata["Name"]
    return name or "a package without a name"


def owner_of(distribution: importlib.metadata.Distribution) -> str:
    """The folder of a package's metadata, which stays readable when its content is not."""
    return Path(str(getattr(distribution, "_path", ""))).name


def load_file(path: Path) -> Any:
    """Import a file by its path, once a process; its module name is made of the path, so two files never collide."""
    name = f"{FILE}{path.stem}_{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UnknownName(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def suggest(name: str, known: Iterable[str]) -> str:
    """', did you mean …?' for what is nearest, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f", did you mean {' or '.join(near)}?" if near else ""
