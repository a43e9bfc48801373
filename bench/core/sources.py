"""Sources: the files whose code a result runs through, found by following their imports, and the digest of each.

What is followed is the project's own code and the user's: a method's file, the helpers that it imports, theirs in turn.
The standard library and installed libraries are not: their versions stand in manifests and are compared there. Files
are read and never run. A digest is of the code alone, so a comment, a docstring or another layout of the lines makes no
result again; it is the same under every Python that can read the file.

An import whose module is only known while it runs cannot be followed; `untraced` finds, in the process that ran it, the
files that were loaded all the same.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

OURS = ("bench", "methods", "baselines", "metrics")
# They name, find and report things and compute nothing: a new name in the registry must not orphan every cell.
LEFT_OUT = (
    *("bench", "bench.core", "bench.core.built_in", "bench.core.registry", "bench.core.variants"),
    *("bench.core.errors", "bench.core.progress", "bench.core.sources", "bench.core.spec", "bench.core.version"),
    *("bench.store.cache", "bench.store.contents", "bench.store.disk", "bench.store.provenance", "bench.store.reads"),
    "bench.core.paths",
    *("bench.datasets.catalogue", "bench.datasets.manifest", "metrics.protocols"),
    *("bench.scoring.identity", "bench.scoring.lookup", "bench.scoring.stored"),
)
POSITIONS = ("ctx", "kind", "type_comment", "type_ignores", "type_params")  # of the tree: differ between Pythons
INSTALLED = tuple(
    Path(place).resolve()
    for place in {
        *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        site.getusersitepackages(),
    }
)


def trace(*roots: str | Path, leave: Collection[str] = LEFT_OUT) -> dict[str, str]:
    """Digest of each file that the roots come to by their imports, by the name that it is imported under, sorted.

    A root is a module ("methods.sam_net.method") or a file. The modules in `leave` are neither listed nor followed.
    The whole package folder of a method of ours counts, whatever of it is imported by name. A root that is no file on
    this machine (a module that was built in or typed at a prompt) is left out.
    """
    waiting: list[tuple[str, Path]] = []
    for root in roots:
        place = Path(root) if isinstance(root, Path) else locate(root, None, root.partition(".")[0])
        if place is not None:
            waiting.append((place.stem if isinstance(root, Path) else root, place))
            waiting += list_package(root) if isinstance(root, str) else []
    owners = {name.partition(".")[0] for name, _ in waiting}
    sources: dict[str, str] = {}
    find_top.cache_clear()  # what is installed or lies beside a file may have changed since
    while waiting:
        name, path = waiting.pop()
        if name in sources or name in leave:
            continue
        is_package = path.name == "__init__.py"
        sources[name], imports = read_code(path.read_bytes(), name if is_package else name.rpartition(".")[0])
        beside = path.parents[name.count(".") + is_package]  # the folder that its top-level package lies in
        for imported in imports:
            for module in list_parents(imported):
                if module not in sources and module not in leave:
                    place = locate(module, beside, *owners)
                    if place is not None:
                        waiting.append((module, place))
    return dict(sorted(sources.items()))


def list_package(module: str) -> list[tuple[str, Path]]:
    """The files beside a method of ours, which its package may load by a name that no import statement has."""
    parts = module.split(".")
    if parts[0] not in ("methods", "baselines") or len(parts) < 2:
        return []
    place = locate(".".join(parts[:2]), None)
    if place is None or place.name != "__init__.py":
        return []
    return [(".".join([*parts[:2], path.stem]), path) for path in sorted(place.parent.glob("*.py")) if path != place]


def list_parents(module: str) -> list[str]:
    """`a.b.c` runs `a` and `a.b` too.

    >>> list_parents("a.b.c")
    ['a', 'a.b', 'a.b.c']
    """
    parts = module.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def locate(module: str, beside: Path | None, *owners: str) -> Path | None:
    """The file of a module that is the project's or the user's own, or one of the packages `owners`; None for others.

    A user's module is looked for beside the file that imports it, then where Python would. Nothing is imported.
    """
    top, *rest = module.split(".")
    if top in sys.stdlib_module_names:
        return None
    place = find_top(top, None if beside is None or top in OURS else str(beside))
    if place is None or (top not in (*OURS, *owners) and is_installed(place)):
        return None
    if not rest:
        place = place / "__init__.py" if place.is_dir() else place
        return place if place.is_file() else None
    if not place.is_dir():
        return None
    inside = place.joinpath(*rest)
    return next((path for path in (inside.with_suffix(".py"), inside / "__init__.py") if path.is_file()), None)


@functools.cache
def find_top(top: str, beside: str | None) -> Path | None:
    """The folder of a top-level package, or the file of a module that is in none."""
    spec = PathFinder.find_spec(top, [beside]) if beside else None
    if spec is None and top in sys.modules:
        spec = getattr(sys.modules[top], "__spec__", None)
    if spec is None:
        spec = PathFinder.find_spec(top, None) or find_editable(top)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or [])
    return Path(folders[0]) if folders else Path(spec.origin) if spec.origin and spec.has_location else None


def find_editable(top: str) -> Any:
    """What `PathFinder` does not know: packages that an editable installation maps to their sources."""
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None


def is_installed(place: Path) -> bool:
    """Whether a package manager put it there: into this environment, or into another that this one looks into."""
    return is_library((place.resolve() if place.is_symlink() else place).parent)


@functools.cache
def is_library(folder: Path) -> bool:
    """The same of all that lies in a folder and is no link: thousands of files are asked about in each cell."""
    whole = folder.resolve()
    known = {"site-packages", "dist-packages"} & set(whole.parts) or any(map(whole.is_relative_to, INSTALLED))
    return bool(known) or any(map(holds_installed, (whole, *whole.parents)))


@functools.cache
def holds_installed(folder: Path) -> bool:
    """Whether packages were installed into a folder, whatever its name: `pip install --target` makes such ones."""
    return next(folder.glob("*.dist-info"), None) is not None


@functools.lru_cache(maxsize=4096)
def read_code(content: bytes, package: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a file's code, and the modules that it may import; of a file that is no Python, of its bytes."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return hashlib.sha256(content).hexdigest(), ()
    imports = tuple(dict.fromkeys(list_imports(tree, package)))
    for node in ast.walk(tree):
        drop_docstring(node)
    return hashlib.sha256(" ".join(write_tree(tree)).encode(errors="surrogatepass")).hexdigest(), imports


def list_imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Modules named by import statements, wherever they stand, and by `import_module` of a constant.

    `from a import b` may mean a module b of a: both are named.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")
                base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])]).strip(".")
            if base:
                yield base
            yield from (f"{base}.{alias.name}".strip(".") for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value.lstrip(".")


def drop_docstring(node: ast.AST) -> None:
    body = getattr(node, "body", None)
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
        first = body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            node.body = body[1:]


def write_tree(node: Any) -> Iterator[str]:
    """The words of a syntax tree without what is empty and without places in the file."""
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name in node._fields:
            value = getattr(node, name, None)
            if name not in POSITIONS and value is not None and value != []:
                yield name
                yield from write_tree(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from write_tree(item)
        yield "]"
    else:
        yield repr(node)


def untraced(sources: Mapping[str, str], *, roots: Collection[Path] = ()) -> list[Path]:
    """Files of the user's own that this process has loaded and that are not among the traced `sources`, sorted.

    `roots` are files that were traced under their own name. The project's own files and the script that was started are
    not looked at: the one is followed by the rule that imports in it are statements, the other starts everything.
    """
    known = {hashlib.sha256(path.read_bytes()).hexdigest() for path in roots if path.is_file()}
    strange = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name == "__main__" or name in sources or name.partition(".")[0] in OURS:
            continue
        path = Path(file)
        if path.suffix != ".py" or not path.is_file() or is_installed(path) or name in sys.stdlib_module_names:
            continue
        if hashlib.sha256(path.read_bytes()).hexdigest() not in known:
            strange.add(path)
    return sorted(strange)
