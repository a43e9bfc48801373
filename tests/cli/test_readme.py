"""Every command of README.md, CONTRIBUTING.md and docs/, run as it is written from the folder where a reader stands.

`documents.INSTEAD` and `documents.OTHERS` name those that are not run so, with the reason and what is run instead. The
examples of a method, a metric and a data set are taken out of the text, and what they come to is looked at.
"""

from __future__ import annotations

import importlib
import itertools
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from documents import INSTEAD, OTHERS, ROOT, bench_words, parse, read_sections

from bench.cli import main
from bench.core import registry
from bench.store.cells import Store
from bench.store.video import write_lossless

SECTIONS = read_sections()
METHOD, METRIC, DATASET = (
    f"docs/add_{kind.replace(' ', '_')}.md: Add a {kind}" for kind in ("method", "metric", "data set")
)
LONGEST = 60  # lines of the method
ENDS = {"python -m bench data verify seed_dv --root DIR": 1}  # with 1, since nothing of it is in DIR


@pytest.fixture(scope="module", autouse=True)
def few_references():
    """One floor and one ceiling beside `retrieval`: the others take most of a minute, and other tests run them.

    And any disk is large enough for `doctor`: how full that of the tests is says nothing of the README.
    """
    patch = pytest.MonkeyPatch()
    patch.setattr("bench.harness.plan.references", lambda: ["train_mean", "retrieval", "codec"])
    patch.setattr("bench.audit.doctor.ROOM", 0)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def made(phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has who ran `retrieval --quick` and has videos: a store, a submission, folders of videos."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(["run", "--method", "retrieval", "--quick", "--jobs", "1"]) == 0
        asked = ("--method", "retrieval", "--dataset", "phantom_eeg:tiny")
        assert main(["pack", *asked, "--bundle", "retrieval.base.zip"]) == 0
    shutil.copyfile(place / "retrieval.base.zip", place / "theirs.base.zip")
    for folder in ("videos", "truth", "named", "gifs", "DIR"):
        (place / folder).mkdir()
    generator = np.random.default_rng(0)
    for number in range(3):
        true = generator.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
        ours = true if number else 255 - true
        write_lossless(place / "truth" / f"{number}.mp4", true, fps=3)
        write_lossless(place / "named" / f"gt_{number}.mp4", true, fps=3)
        write_lossless(place / "videos" / f"{number}.mp4", ours, fps=3)
        write_lossless(place / "gifs" / f"{number}.mp4", np.concatenate([true, ours], axis=2), fps=3)
    return place


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader stands, with what was made before; first in Python's path, as under `python -m`."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def follow(where: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Write the section's files, run its commands in their order, and return what each printed."""
    section = SECTIONS[where]
    for name, content in section.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return {line: run(line, folder, capsys) for line in section.commands if line not in OTHERS}


def run(line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a line as it is written, or what stands for it."""
    if line.startswith("pip install -e ./"):
        install(folder / line.removeprefix("pip install -e "), folder)
        return ""
    if bench_words(line) is None:
        return run_shell(line, folder)
    _, instead = INSTEAD.get(line, ("", line))
    if instead is None:
        return parse(bench_words(line) or [])
    words = bench_words(instead) or []
    if words[0] == "run":
        assert words[-1] == "--dry-run" or "--quick" in words or "my_study.py:MyStudy" in words, f"too long: {line}"
        words += ["--jobs", "1"]  # in this process, whose references are few
    capsys.readouterr()
    code = main(words)
    out = capsys.readouterr()
    assert code == ENDS.get(line, 0), f"{line}\n{out.out}\n{out.err}"
    assert out.out.strip() or out.err.strip(), line
    written = [value for option, value in itertools.pairwise(words) if option in ("--output", "--hub")]
    assert all((folder / value).exists() for value in written), line
    return out.out


def run_shell(line: str, folder: Path) -> str:
    """Any other line, by bash, which finds the command `bench` as an installation makes it."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "bench").write_text(f"#!{sys.executable}\nimport sys\nfrom bench.cli import main\nsys.exit(main())\n")
    (programs / "bench").chmod(0o755)
    paths = {"PATH": programs, "PYTHONPATH": ROOT}
    environment = {name: f"{path}{os.pathsep}{os.environ.get(name, '')}" for name, path in paths.items()}
    done = subprocess.run(
        ["bash", "-euc", f"{line}\ncomplete -p"], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def install(package: Path, folder: Path) -> None:
    """As pip does it, offline, into a new environment, whose packages this process then has too."""
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    outer = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "outer.pth").write_text("\n".join([str(ROOT), *outer]) + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install", "--quiet",
         "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-e", str(package)],
        check=True,
    )  # fmt: skip
    site.addsitedir(str(packages))
    importlib.invalidate_caches()
    registry.find_plugins.cache_clear()


@pytest.fixture
def forgetting():
    """What an installed package leaves in this process goes again."""
    before = sys.path.copy(), sys.meta_path.copy(), set(sys.modules)
    yield
    sys.path[:], sys.meta_path[:] = before[:2]
    for name in {one for one in sys.modules if one.startswith("nearest_concept")} - before[2]:
        del sys.modules[name]
    registry.find_plugins.cache_clear()


@pytest.mark.parametrize("where", [name for name in SECTIONS if name not in (METHOD, METRIC, DATASET)])
def test_commands_run_as_they_are_written(where, folder, capsys):
    path = folder / "path" / "to" / "nearest_concept.py"
    path.parent.mkdir(parents=True)
    (method,) = [content for name, content in SECTIONS[METHOD].files.items() if name.endswith(".py")]
    path.write_text(method)
    said = follow(where, folder, capsys)
    for content in SECTIONS[where].python:
        exec(compile(content, where, "exec"), {"__name__": "__main__"})
    if page := said.get("python -m bench table --paper all --published"):
        assert page.rstrip("\n") == (ROOT / "leaderboard" / "PAPERS.md").read_text().rstrip("\n")


def test_the_tables_name_commands_that_are_there_and_read_alike():
    commands = {line for section in SECTIONS.values() for line in section.commands}
    assert not (set(INSTEAD) | set(OTHERS)) - commands, "no longer in the documents"
    for line, (reason, instead) in INSTEAD.items():
        verb = parse(bench_words(line) or [])
        assert reason and (instead is None or parse(bench_words(instead) or []) == verb), line
    words = {word for line in OTHERS for word in shlex.split(line)} - {".venv/bin/activate"}
    assert all((ROOT / word).is_file() for word in words if "/" in word)


def test_an_analysis_has_the_options_that_the_readme_gives_it(capsys, monkeypatch):
    from methods.cine_neuron.analysis import interpretation

    (line,) = [line for line in OTHERS if "interpretation" in line]
    assert shlex.split(line)[2] == interpretation.__name__
    monkeypatch.setattr(sys, "argv", ["interpretation", "--help"])
    with pytest.raises(SystemExit):
        interpretation.main()
    assert "--output DIR" in capsys.readouterr().out


def test_a_method_of_one_file_is_found_checked_run_and_on_the_board(folder, forgetting, capsys):
    (method,) = [content for name, content in SECTIONS[METHOD].files.items() if name.endswith(".py")]
    assert len(method.splitlines()) <= LONGEST
    shutil.rmtree(folder / "runs")  # a store of its own: what is published below is what is run here
    said = {words[0]: out for line, out in follow(METHOD, folder, capsys).items() if (words := bench_words(line))}
    assert "nearest_concept    from nearest_concept:NearestConcept" in said["list"]
    assert "bad" not in said["check"] and said["check"].count("  ok  ") == 7
    assert "nearest_concept" in said["run"]
    board = (folder / "board" / "LEADERBOARD.md").read_text()
    assert re.search(r"\| [123] \([\d–]+\) *\| nearest_concept ", board)  # ranked, with a tier
    assert "nearest_concept" in (folder / "board" / "board.csv").read_text()
    python = folder / "environment" / "bin" / "python"
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for words in (["-m", "bench", "list", "methods"], ["-c", "import nearest_concept; nearest_concept.NearestConcept"]):
        subprocess.run([str(python), *words], cwd=folder, env=clean, check=True)  # in processes of their own too


def test_a_metric_and_a_protocol_in_a_file(folder, capsys):
    said = {words[0]: out for line, out in follow(METRIC, folder, capsys).items() if (words := bench_words(line))}
    assert re.search(r"edge_correlation ↑ +1\.00 \[1\.00, 1\.00\]", said["score"])  # inverted, and the same
    assert "edge_correlation" in said["run"] and "edge_correlation" in said["table"]
    scored = {
        cell.manifest["spec"]["method"]
        for cell in Store(folder / "runs").cells()
        for path in (folder / "runs" / cell.key / "scores").glob("*.parquet")
        if "edge_correlation" in set(pd.read_parquet(path)["metric"])
    }
    assert {"retrieval", "train_mean", "codec"} <= scored  # floors and ceilings too


def test_a_data_set_in_a_file(folder, capsys):
    write_study(folder / "study")
    said = {words[0]: out for line, out in follow(DATASET, folder, capsys).items() if (words := bench_words(line))}
    assert said["data"].count("  ok  ") == 6 and "CC-BY-4.0" in said["data"]
    assert "test trials 9" in " ".join(said["data"].split())
    assert "retrieval" in said["run"]
    cells = [cell.manifest for cell in Store(folder / "runs").cells()]
    mine = [cell for cell in cells if cell["spec"]["dataset"] == "my_study.py:MyStudy"]
    assert {"retrieval", "train_mean", "codec"} <= {cell["spec"]["method"] for cell in mine}
    assert not any(cell["phantom"] for cell in mine)


def write_study(folder: Path) -> None:
    """Four subjects (three of them known), three blocks of three clips; the signals carry the concept."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for block in (1, 2, 3):
        for name in ("cat", "car", "tree"):
            file = f"{block}_{name}.mp4"
            write_lossless(folder / file, generator.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8), fps=3)
            rows.append({"file": file, "block": block, "concept": name, "caption": f"a {name}"})
    pd.DataFrame(rows).to_csv(folder / "clips.csv", index=False)
    pattern = generator.standard_normal((3, 8, 1))
    for subject in (1, 2, 3, 4):
        signal = np.tile(pattern, (3, 1, 1)) + generator.standard_normal((9, 8, 40))
        np.save(folder / f"sub{subject}.npy", signal.astype(np.float32), allow_pickle=False)
