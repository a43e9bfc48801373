"""What a class in a file of the user's says about itself, asked in a process of its own.

Importing a file runs it, and a file may do anything. The command therefore never imports it: what it needs to know to
plan cells (modality, version, parameters) comes from a process that ends when it has told, and stands in the registry
in the class's place. The file is imported again in the process of each of its cells.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.core.registry import ASKED, UnknownName, resolve, target
from bench.harness.inside import describe_error

PATIENCE = 600  # seconds for importing a file and what it imports
ASK = "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); from bench.harness.facts import tell; tell({!r}, {})"
PLAIN = ("modality", "version", "wraps", "uses", "asks", "embeds")
CALLED = ("fit", "adapt", "reconstruct", "embed")
MOST_SHOWN, MOST_TOLD = 2000, 1 << 20  # bytes of what the file printed, the last, and of what its class says


def ask_files(values: Iterable[Any]) -> None:
    """Of these names and parameters, ask those that are `path/file.py:Class`; the registry then has what they say.

    Raises UnknownName for a file that cannot be imported, however that ends, and for a class that is not in it.
    """
    for name in values:
        if isinstance(name, str) and ".py:" in name and Path(name.rpartition(":")[0]).is_file():
            ASKED.pop(name, None)
            ASKED[name] = make_stand_in(name, ask_file(name))


def ask_file(name: str) -> dict[str, Any]:
    """What the class says, in plain values."""
    path = target("methods", name)
    places = json.dumps([str(Path(place).absolute()) for place in sys.path])
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            [sys.executable, "-B", "-c", ASK.format(path, told.fileno()), places],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=printed,
            pass_fds=(told.fileno(),),
            start_new_session=True,
        )
        try:
            how = f"ended the process with exit code {process.wait(PATIENCE)}"
            if process.returncode < 0:
                how = f"ended the process by {signal.Signals(-process.returncode).name}"
        except subprocess.TimeoutExpired:
            how = f"took more than {PATIENCE} s"
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        told.seek(0)
        printed.seek(max(0, os.fstat(printed.fileno()).st_size - MOST_SHOWN))
        said, shown = told.read(MOST_TOLD), printed.read(MOST_SHOWN).decode("utf-8", "replace").strip()
    try:
        facts: dict[str, Any] = json.loads(said)
    except ValueError:
        raise UnknownName(f"{name!r} cannot be loaded: importing it {how}" + (f"\n{shown}" if shown else "")) from None
    if facts.get("ours"):
        raise UnknownName(facts["text"])
    if "raised" in facts:
        raised = ": ".join(filter(None, (facts["raised"], facts["text"])))
        raise UnknownName(f"{name!r} cannot be loaded: {raised} ({facts['place']}); repair what it says")
    return facts


def tell(path: str, file: int) -> None:
    """In the process that was started for it: import the file, write what its class says, and end."""
    try:
        told = read_facts(resolve("methods", path))
    except BaseException as error:  # a SystemExit too
        told = describe_error(error)
    os.write(file, json.dumps(told).encode())
    os._exit(0)


def read_facts(method_class: Any) -> dict[str, Any]:
    """Values as JSON has them; what is no plain value as its text, which no check takes for one."""
    facts: dict[str, Any] = {"name": str(getattr(method_class, "__name__", "")), "plain": {}}
    for name in PLAIN:
        if hasattr(method_class, name):
            value = getattr(method_class, name)
            plain = isinstance(value, str | int | float | type(None) | tuple | list)
            facts["plain"][name] = value if plain else repr(value)[:100]
    facts["called"] = [name for name in CALLED if callable(getattr(method_class, name, None))]
    facts["keywords"] = [(one.name, int(one.kind)) for one in inspect.signature(method_class).parameters.values()]
    return facts


def make_stand_in(name: str, facts: dict[str, Any]) -> type:
    """A class that says what the file's class says, and can do nothing."""
    plain = {one: tuple(value) if isinstance(value, list) else value for one, value in facts["plain"].items()}
    kinds = {int(kind): kind for kind in inspect._ParameterKind}
    keywords = [inspect.Parameter(one, kinds[kind]) for one, kind in facts["keywords"]]
    called = dict.fromkeys(facts["called"], refuse)
    return type(
        facts["name"], (), {**plain, **called, "__signature__": inspect.Signature(keywords), "__init__": refuse}
    )


def refuse(*_: Any, **__: Any) -> None:
    raise TypeError("this stands for a method that only its own process imports (bench.harness.facts)")
