"""The house: which room may import which, and that no two files import each other.

Imports are read from the files as text, those inside functions and under TYPE_CHECKING too, so that nothing is hidden
by being late. `bench` itself, the Python door, is above all rooms: only the command line imports it.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "methods", "baselines", "metrics", "leaderboard")

BELOW = {  # a room: the rooms that its files may import, beside its own
    "metrics": (),
    "bench.core": (),
    "bench.store": ("bench.core",),
    "bench.toolbox": ("bench.core", "bench.store"),
    "bench.datasets": ("bench.core", "bench.store", "bench.toolbox"),
    "bench.pretrained": ("bench.core", "bench.store", "bench.toolbox", "bench.datasets"),
    "bench.scoring": (
        *("bench.core", "bench.store", "bench.toolbox.resize", "bench.toolbox.average", "bench.toolbox.rows"),
        "bench.datasets",
        *("bench.pretrained", "metrics"),
    ),
    "bench.harness": (
        "bench.core",
        "bench.store",
        "bench.toolbox",
        "bench.datasets",
        "bench.pretrained",
        "bench.scoring",
    ),
    "bench.doors": (
        *("bench.core", "bench.store", "bench.toolbox.average", "bench.datasets", "bench.scoring", "bench.harness"),
        "metrics",
    ),
    "bench.audit": (
        *("bench.core", "bench.store", "bench.toolbox", "bench.datasets", "bench.pretrained", "bench.scoring"),
        *("bench.harness", "bench.doors", "metrics"),
    ),
    "leaderboard": ("bench.core", "bench.store", "bench.toolbox.plotting", "metrics"),
    "methods": ("bench.core", "bench.toolbox", "bench.pretrained"),
    "baselines": ("bench.core", "bench.toolbox", "bench.pretrained", "metrics"),
    "analysis": (  # of a method: what runs the harness to look at it
        *("bench.core", "bench.toolbox", "bench.datasets", "bench.pretrained", "bench.harness", "methods"),
    ),
    "bench.api": (
        *("bench.core", "bench.store", "bench.toolbox", "bench.datasets", "bench.pretrained", "bench.scoring"),
        *("bench.harness", "bench.doors", "bench.audit", "leaderboard", "metrics", "analysis"),
    ),
    "bench.cli": ("bench.core", "bench.api", "bench.scoring.lookup", "leaderboard", "bench"),
    "bench": ("bench.core", "bench.api", "bench.cli"),
}


def read_modules() -> dict[str, Path]:
    """Every file of the project by its module's name."""
    files = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


MODULES = read_modules()


def read_imports(path: Path) -> set[str]:
    """The project's modules that a file names in its imports, wherever in it they stand."""
    named = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write the whole name"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            named |= {name for name in whole if name in MODULES} or {str(node.module)}
    return {name for name in named if name in MODULES}


def room_of(module: str) -> str:
    """The room of a module: `bench.<room>`, a top-level package, or "analysis"."""
    parts = module.split(".")
    if parts[0] in ("methods", "baselines") and "analysis" in parts:
        return "analysis"
    return ".".join(parts[:2]) if parts[0] == "bench" and f"bench.{parts[-1]}" != "bench.__main__" else parts[0]


IMPORTS = {module: read_imports(path) for module, path in MODULES.items()}


def is_allowed(module: str, imported: str) -> bool:
    room = room_of(module)
    if room_of(imported) == room:
        return True
    return any(
        room_of(imported) == below or imported == below or (below not in BELOW and imported.startswith(f"{below}."))
        for below in BELOW[room]
    )


def test_every_room_is_known():
    assert {room_of(module) for module in MODULES} == set(BELOW)


@pytest.mark.parametrize("room", list(BELOW))
def test_no_import_runs_back_up(room):
    wrong = [
        f"{module} imports {imported}"
        for module, imports in IMPORTS.items()
        if room_of(module) == room
        for imported in sorted(imports)
        if not is_allowed(module, imported)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_two_files_import_each_other():
    """Not directly, and not by way of others."""
    try:
        TopologicalSorter({module: imports - {module} for module, imports in IMPORTS.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_layouts_know_no_phantom():
    for layout in ("seed_dv", "cc2017", "cinebrain"):
        for module, imports in IMPORTS.items():
            if module.startswith(f"bench.datasets.{layout}"):
                assert not [name for name in imports if ".phantom" in name], module


def test_only_the_door_reads_what_builds_the_mini_suite():
    builders = "bench.pretrained.mini_build"
    readers = {
        module
        for module, imports in IMPORTS.items()
        if any(name.startswith(builders) for name in imports) and not module.startswith(builders)
    }
    assert readers <= {"bench.api.data"}, readers
