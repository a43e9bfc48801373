"""The registry: three sources of names, nothing loaded before it is asked for, errors that help."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.api.names import name_of
from bench.cli import main
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
        registry.find_plugins.cache_clear()

    yield install
    registry.find_plugins.cache_clear()


def test_entry_points_are_listed_and_loaded_when_asked(plugin):
    plugin("[brain2video_bench.methods]\ntheirs = plugged_method:Theirs\n")
    assert names("methods")[-1] == "theirs"
    assert "plugged_method" in describe("methods", "theirs")
    assert "plugged_method" not in sys.modules
    assert resolve("methods", "theirs").version == 1
    del sys.modules["plugged_method"]


BROKEN = {
    "a name that is taken": ("sam_net = plugged_method:Theirs", "sam_net", "a name that is taken"),
    "no attribute": ("theirs = plugged_method", "theirs", "form module:Attribute"),
    "nothing": ("theirs =", "theirs", "form module:Attribute"),
    "a file": ("theirs = plugged_method.py:Theirs", "theirs", "form module:Attribute"),
    "a strange name": ("the irs = plugged_method:Theirs", "the irs", "letters, digits"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_entry_point_that_cannot_be_used_is_left_out_and_named(case, plugin, capsys):
    line, name, words = BROKEN[case]
    plugin(f"[brain2video_bench.methods]\n{line}\nother = plugged_method:Theirs\n")
    assert names("methods") == [*BUILT_IN["methods"], "other"]  # the rest is there
    (problem,) = registry.problems("methods")
    assert problem.name == name and f"plugged registers {name!r}" in problem.text and words in problem.text
    assert not registry.problems("datasets")
    assert main(["list", "methods"]) == 0
    said = capsys.readouterr()
    assert said.err.split() == ["warning:", "left", "out:", *problem.text.split()] and "other" in said.out
    if name != "sam_net":
        with pytest.raises(UnknownName, match=words):
            resolve("methods", name)
    else:
        assert resolve("methods", name).__name__ == "SamNet"  # ours, and whoever runs it is told
        assert name_of("sam_net") == "sam_net" and words in " ".join(capsys.readouterr().err.split())


def test_two_packages_with_one_name_are_both_left_out(plugin, tmp_path):
    plugin("[brain2video_bench.methods]\ntheirs = plugged_method:Theirs\n")
    second = tmp_path / "second-1.0.dist-info"
    second.mkdir()
    (second / "METADATA").write_text("Metadata-Version: 2.1\nName: second\nVersion: 1.0\n")
    (second / "entry_points.txt").write_text("[brain2video_bench.methods]\ntheirs = another:Theirs\n")
    registry.find_plugins.cache_clear()
    assert "theirs" not in names("methods")
    with pytest.raises(UnknownName, match=r"plugged and second register 'theirs'.*uninstall one"):
        resolve("methods", "theirs")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe[brain", "its entry points cannot be read"),
        (b"[brain2video_bench.metods]\na = b:C\n", "no such kind, did you mean methods"),
        (b"[brain2video_bench.methods]\na = plugged_method:Theirs\n", ""),  # and its METADATA was deleted
        (b"no section at all\n[[[\n= =\n", ""),
    ],
)
def test_packages_with_broken_metadata_stop_nobody(plugin, tmp_path, content, words, capsys):
    plugin("")
    folder = tmp_path / "plugged-1.0.dist-info"
    (folder / "entry_points.txt").write_bytes(content)
    if b"plugged_method" in content:
        (folder / "METADATA").unlink()
    registry.find_plugins.cache_clear()
    assert main(["list"]) == 0
    said = capsys.readouterr()
    assert "sam_net" in said.out and "Traceback" not in said.err
    assert words in " ".join(said.err.split()) and ("plugged" in said.err) == bool(words)


LOADED = {
    "no such module": ("import no_such_module", "No module named 'no_such_module'"),
    "a syntax error": ("class Theirs(:", "plugged_method.py"),
    "an error": ("raise RuntimeError('it is Tuesday\\n and late')", "RuntimeError: it is Tuesday and late"),
    "an exit": ("import sys\nsys.exit(3)", "SystemExit: 3"),
    "a value of the wrong type": ("Theirs = 3", "is int in plugged_method; it must be a class"),
    "no such class": ("class Their: pass", "did you mean Their"),
}


@pytest.mark.parametrize("case", LOADED)
def test_a_plug_in_that_cannot_be_loaded_says_why_in_a_line_and_only_to_who_needs_it(case, plugin, tmp_path, capsys):
    text, words = LOADED[case]
    plugin("[brain2video_bench.methods]\ntheirs = plugged_method:Theirs\n")
    (tmp_path / "plugged_method.py").write_text(text)
    assert main(["list"]) == 0 and "theirs" in capsys.readouterr().out
    assert resolve("methods", "retrieval")
    assert main(["run", "--method", "theirs", "--runs", str(tmp_path / "runs")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert words in said and "Traceback" not in said and said.startswith("error: ")
    assert main(["table", "--ablation", "hrt", "--runs", str(tmp_path / "none"), "--dataset", "phantom_eeg:tiny"]) == 1
    assert "theirs" not in capsys.readouterr().err
    sys.modules.pop("plugged_method", None)


def test_a_class_that_is_no_method_is_named_before_anything_is_made(plugin, tmp_path, capsys):
    plugin("[brain2video_bench.methods]\ntheirs = plugged_method:Theirs\n")
    assert main(["run", "--method", "theirs", "--quick", "--runs", str(tmp_path / "runs")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "theirs is no method: the class lacks modality, fit, reconstruct" in said
    sys.modules.pop("plugged_method", None)


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
