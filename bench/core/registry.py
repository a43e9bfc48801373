"""The registry: names of what can be run, with their roles, and the objects behind them, loaded only when asked for.

A name comes from one of three places: the table of `bench.core.built_in`, an entry point of an installed package in the
group `brain2video_bench.<kind>` (e.g. `brain2video_bench.methods`), or, for a class of your own, `path/file.py:Class`.
Nothing heavy is imported here: `python -m bench list` has to answer at once.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.core.built_in import BUILT_IN, Entry
from bench.core.errors import BenchError

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
    return entry.role if entry else "method"


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
    except (ImportError, SyntaxError) as error:
        raise UnknownName(
            f"{name!r} cannot be loaded from {module_name}: {error}; install or repair what is missing"
        ) from error
    if not hasattr(module, attribute):
        defined = [one for one in vars(module) if not one.startswith("_")]
        raise UnknownName(f"{module_name} has no {attribute!r}{suggest(attribute, defined)}")
    return getattr(module, attribute)


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


@functools.cache
def entry_points(kind: str) -> dict[str, str]:
    """Names that installed packages add to a kind; raises UnknownName where one takes a name that is taken."""
    group = f"brain2video_bench.{kind}"
    targets: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=group):
        owner = point.dist.name if point.dist else "an installed package"
        if point.name in BUILT_IN[kind] or targets.get(point.name, point.value) != point.value:
            raise UnknownName(
                f"{owner} registers {point.name!r} of {group}, a name that is taken; uninstall one of them"
            )
        if ":" not in point.value:
            raise UnknownName(f"{owner} registers {point.value!r} of {group}; it must have the form module:Attribute")
        targets[point.name] = point.value
    return targets


def load_file(path: Path) -> Any:
    """Import a file by its path, once a process; its module name is made of the path, so two files never collide."""
    name = f"{FILE}{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
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
