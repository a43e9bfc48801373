"""Sources: which files a result's code comes to, what changes their digest, and what does not."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.sources import OURS, holds_installed, is_library, read_code, trace, untraced

METHOD = '''
"""A method."""
import numpy as np
import json
from helper import level          # beside it
import tools.deep as deep         # a package beside it
def late():
    import lately
    from importlib import import_module
    return import_module("by_name")
'''
FILES = {
    "mine.py": METHOD,
    "helper.py": "from other import level\n",
    "other.py": "level = 3\n",
    "lately.py": "x = 1\n",
    "by_name.py": "x = 2\n",
    "tools/__init__.py": "",
    "tools/deep.py": "from . import shallow\nfrom .sub.leaf import leaf\n",
    "tools/shallow.py": "",
    "tools/sub/__init__.py": "from .. import shallow\n",
    "tools/sub/leaf.py": "leaf = 1\n",
    "tools/unused.py": "",
    "unused.py": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_all_files_that_imports_come_to_are_named(folder: Path) -> None:
    """Late imports, packages, relative imports, imports of a constant name; not the libraries, not what lies by."""
    assert set(trace(folder / "mine.py")) == {
        *("mine", "helper", "other", "lately", "by_name"),
        *("tools", "tools.deep", "tools.shallow", "tools.sub", "tools.sub.leaf"),
    }


@pytest.mark.parametrize("changed", ["mine.py", "helper.py", "other.py", "tools/sub/leaf.py", "tools/sub/__init__.py"])
def test_a_change_of_any_of_them_is_seen_at_once(folder: Path, changed: str) -> None:
    before = trace(folder / "mine.py")
    (folder / changed).write_text(FILES[changed] + "\nmore = 1\n")
    after = trace(folder / "mine.py")
    different = [name for name in before if before[name] != after[name]]
    assert different == [changed.removesuffix(".py").removesuffix("/__init__").replace("/", ".")]


def test_a_file_that_nothing_imports_changes_nothing(folder: Path) -> None:
    before = trace(folder / "mine.py")
    (folder / "unused.py").write_text("x = 1")
    (folder / "tools" / "unused.py").write_text("x = 1")
    assert trace(folder / "mine.py") == before


def test_a_helper_where_python_looks_for_modules_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = folder / "lib"
    lib.mkdir()
    (lib / "elsewhere_helper.py").write_text("x = 1\n")
    (folder / "mine.py").write_text("import elsewhere_helper\n")
    assert set(trace(folder / "mine.py")) == {"mine"}
    monkeypatch.syspath_prepend(str(lib))
    assert set(trace(folder / "mine.py")) == {"mine", "elsewhere_helper"}


def test_libraries_in_a_folder_of_any_name_are_libraries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install --target DIR` leaves a `.dist-info` beside what it installs."""
    place = folder / "carried"
    (place / "a_library").mkdir(parents=True)
    (place / "a_library" / "__init__.py").write_text("x = 1\n")
    (folder / "far.py").write_text("import a_library\n")
    monkeypatch.syspath_prepend(str(place))
    assert "a_library" in trace(folder / "far.py")
    (place / "a_library-1.0.dist-info").mkdir()
    holds_installed.cache_clear()
    is_library.cache_clear()
    assert "a_library" not in trace(folder / "far.py")


def test_libraries_of_another_environment_are_libraries(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an environment looks into another's packages: they are not followed, however many they are."""
    library = folder / "other" / "lib" / "python3" / "site-packages"
    library.mkdir(parents=True)
    (library / "large_library.py").write_text("x = 1\n")
    (folder / "mine.py").write_text("import large_library\n")
    monkeypatch.syspath_prepend(str(library))
    assert set(trace(folder / "mine.py")) == {"mine"}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def f(x):\n    return x + 1\n", True),
        ("def f( x ):  # adds one\n\n    return (x +\n      1)\n", True),
        ('"""Words."""\ndef f(x):\n    """More."""\n    return x + 1\n', True),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(x):\n    return x + 1.0\n", False),
        ("def f(y):\n    return y + 1\n", False),
        ("def f(x):\n    return 'x' + 1\n", False),
        ("def f(x):\n    'kept'.join(x)\n    return x + 1\n", False),
        ("async def f(x):\n    return x + 1\n", False),
        ("def f(x, /):\n    return x + 1\n", False),
        ("def f(x):\n    return x - 1\n", False),
    ],
)
def test_comments_docstrings_and_layout_are_no_code(text: str, same: bool) -> None:
    first = read_code(b"def f(x):\n    return x + 1\n", "")[0]
    assert (read_code(text.encode(), "")[0] == first) is same


def test_a_file_that_is_no_python_counts_by_its_bytes() -> None:
    assert read_code(b"def (", "")[0] != read_code(b"def ((", "")[0]


def test_the_digest_of_ours_is_the_same_in_another_process_and_folder(tmp_path: Path) -> None:
    code = "from bench.core.sources import trace; print(sorted(trace('methods.sam_net.method').items()))"
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": "7"}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert told.stdout.strip() == str(sorted(trace("methods.sam_net.method").items()))


def test_what_runs_is_what_was_traced() -> None:
    """Against Python itself: all modules of ours that importing a method loads are traced, but for what only names."""
    from bench.core.sources import LEFT_OUT

    code = """
import sys
before = set(sys.modules)
import methods.sam_net.method
print(" ".join(sorted(set(sys.modules) - before)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in told.stdout.split() if name.partition(".")[0] in OURS}
    assert "methods.sam_net.hrt" in loaded
    assert loaded - set(trace("methods.sam_net.method")) <= set(LEFT_OUT)


def test_a_file_that_was_loaded_untraced_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    (folder / "unlisted_helper.py").write_text("x = 1\n")
    sources = trace(folder / "mine.py")
    known = untraced(sources, roots=[folder / "mine.py"])
    importlib.import_module("unlisted" + "_helper")
    assert [path for path in untraced(sources) if path not in known] == [folder / "unlisted_helper.py"]
    sys.modules.pop("unlisted_helper")
