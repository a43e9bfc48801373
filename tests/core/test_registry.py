"""The registry: three sources of names, nothing loaded before it is asked for, errors that help."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.core import registry
from bench.core.registry import BUILT_IN, UnknownName, describe, names, resolve, target


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package with entry points, as pip would leave it."""

    def install(entry_points: str) -> None:
        info = tmp_path / "plugged-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        (tmp_path / "plugged_method.py").write_text("class Theirs:\n    version = 1\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        registry.entry_points.cache_clear()

    yield install
    registry.entry_points.cache_clear()


def test_entry_points_are_listed_and_loaded_when_asked(plugin):
    plugin("[brain2video_bench.methods]\ntheirs = plugged_method:Theirs\n")
    assert names("methods")[-1] == "theirs"
    assert "plugged_method" in describe("methods", "theirs")
    assert "plugged_method" not in sys.modules
    assert resolve("methods", "theirs").version == 1
    del sys.modules["plugged_method"]


def test_an_entry_point_may_not_take_a_name(plugin):
    plugin("[brain2video_bench.methods]\nsam_net = plugged_method:Theirs\n")
    with pytest.raises(UnknownName, match="plugged registers 'sam_net'"):
        names("methods")


def test_an_entry_point_that_cannot_be_loaded_says_why(plugin):
    plugin("[brain2video_bench.methods]\ntheirs = no_such_module:Theirs\n")
    with pytest.raises(UnknownName, match="no_such_module"):
        resolve("methods", "theirs")


def test_a_class_in_a_file(tmp_path, monkeypatch):
    for folder, number in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            f"from dataclasses import dataclass\n@dataclass\nclass Mine:\n    version: int = {number}\n"
        )
    first = resolve("methods", f"{tmp_path}/a/mine.py:Mine")
    assert first().version == 1
    assert resolve("methods", f"{tmp_path}/b/mine.py:Mine")().version == 2  # same file name, another module
    monkeypatch.chdir(tmp_path)
    assert resolve("methods", "a/mine.py:Mine") is first  # one import, however it is named


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (None, "mine.py:Mine", "there is no file"),
        ("class Mine: pass", "mine.py", "write .*mine.py:Class"),
        ("class Mine: pass", "mine.py:", "name of a class"),
        ("class Mine: pass", "mine.py:Mein", "did you mean Mine"),
        ("class Mine:", "mine.py:Mine", "cannot be loaded"),
        ("import no_such_module", "mine.py:Mine", "no_such_module"),
    ],
)
def test_unusable_files_say_why(tmp_path, text, name, words):
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UnknownName, match=words):
        resolve("methods", f"{tmp_path}/{name}")


def test_a_file_that_failed_can_be_repaired(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import no_such_module")
    with pytest.raises(UnknownName):
        resolve("methods", f"{path}:Mine")
    path.write_text("class Mine: repaired = True  # longer than before")
    assert resolve("methods", f"{path}:Mine").repaired


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("methods", "samnet", "sam_net"),
        ("protocols", "correct", "corrected"),
        ("splits", "new_subjects", "new_subject"),
    ],
)
def test_unknown_names_say_what_is_near_and_allowed(kind, name, near):
    with pytest.raises(UnknownName) as error:
        resolve(kind, name)
    said = str(error.value)
    assert repr(name) in said
    assert f"did you mean {near}" in said
    for allowed in BUILT_IN[kind]:
        assert allowed in said


def test_unknown_kinds():
    with pytest.raises(UnknownName, match="did you mean methods"):
        names("method")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in BUILT_IN for name in BUILT_IN[kind]])
def test_every_built_in_name_leads_somewhere(kind, name):
    assert callable(resolve(kind, name)) or kind == "protocols"
    assert describe(kind, name)
    assert target(kind, name) == BUILT_IN[kind][name][0]


def test_listing_loads_nothing_heavy():
    code = (
        "import sys, bench, bench.core.registry as r, bench.core.spec\n"
        "[r.describe(k, n) for k in r.BUILT_IN for n in r.names(k)]\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)\n"
        "import bench.store.cells\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
