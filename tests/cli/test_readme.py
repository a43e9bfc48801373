"""Every command of README.md, CONTRIBUTING.md and docs/, run as it is written from the folder where a reader stands.

`documents.INSTEAD` and `documents.OTHERS` name those that are not run so, with the reason and what is run instead. The
examples of a method, a metric and a data set are taken out of the text, and what they come to is looked at.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import os
import re
import shlex
import shutil
import site
import subprocess
import sys
import time
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
STUDENT = "docs/first_method.md: Your method on a board of your own"
REVIEWER = "docs/score.md: A report to attach"
MAINTAINER = "docs/submit.md: Take a submission in"
PATHS = (STUDENT, REVIEWER, MAINTAINER)  # of three people, each from an empty folder to what they came for
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
    write_folders(place)
    return place


def write_folders(place: Path) -> None:
    """Folders of videos as authors give them: true clips by name, with another name, and beside the reconstruction."""
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
    said, took = {}, {}
    for line in section.commands:
        if line not in OTHERS:
            started = time.perf_counter()
            said[line] = run(line, folder, capsys)
            took[line] = time.perf_counter() - started
    if where in PATHS:  # how long a person waits, here and now: nothing rests on it
        with capsys.disabled():
            print(f"\n{where}: {sum(took.values()):.0f} s in all")
            print("\n".join(f"{seconds:6.1f} s  {line}" for line, seconds in took.items()))
    return said


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
    for name in {one for one in sys.modules if one.startswith(("nearest_concept", "my_method"))} - before[2]:
        del sys.modules[name]
    registry.find_plugins.cache_clear()


@pytest.mark.parametrize("where", [name for name in SECTIONS if name not in (METHOD, METRIC, DATASET, *PATHS)])
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


def test_a_method_of_one_file_is_found_and_checked(folder, forgetting, capsys):
    (method,) = [content for name, content in SECTIONS[METHOD].files.items() if name.endswith(".py")]
    assert len(method.splitlines()) <= LONGEST
    said = {words[0]: out for line, out in follow(METHOD, folder, capsys).items() if (words := bench_words(line))}
    assert ["nearest_concept", "from", "nearest_concept:NearestConcept"] in map(str.split, said["list"].splitlines())
    assert "bad" not in said["check"] and said["check"].count("  ok  ") == 7
    assert "to do" in said["run"] and "nearest_concept" in said["run"]
    find_in_clean_process("nearest_concept", "NearestConcept", folder)


def find_in_clean_process(name: str, class_name: str, folder: Path) -> None:
    """The installed package is found by `list`, and its class by Python, where nothing is in Python's path."""
    python = folder / "environment" / "bin" / "python"
    clean = {variable: value for variable, value in os.environ.items() if variable != "PYTHONPATH"}
    listed, _ = (
        subprocess.run([str(python), *words], cwd=folder, env=clean, check=True, capture_output=True, text=True)
        for words in (["-m", "bench", "list", "methods"], ["-c", f"import {name}; {name}.{class_name}"])
    )
    assert f"from {name}:{class_name}" in listed.stdout


def test_a_student_comes_from_an_empty_folder_to_a_row_of_a_board(phantom, tmp_path, monkeypatch, forgetting, capsys):
    monkeypatch.chdir(tmp_path)
    said = {words[0]: out for line, out in follow(STUDENT, tmp_path, capsys).items() if (words := bench_words(line))}
    assert "bad" not in said["check"] and said["check"].count("  ok  ") == 7
    assert "my_method" in said["run"] and "retrieval" in said["table"] and "my_method" in said["table"]
    assert "my_method" in said["compare"]
    board = (tmp_path / "board" / "LEADERBOARD.md").read_text(encoding="utf-8")
    assert re.search(r"\| [123] \([\d–]+\) *\| my_method ", board)  # ranked, with a tier
    row = pd.read_csv(tmp_path / "board" / "board.csv").set_index("method").loc["my_method"]
    assert row["door"] == "reproduced" and row["coverage"] == 1
    assert "my_method" in (tmp_path / "board" / "site" / "index.html").read_text(encoding="utf-8")
    find_in_clean_process("my_method", "MyMethod", tmp_path)


def test_a_reviewer_comes_from_two_folders_to_a_report(tmp_path, monkeypatch, capsys):
    write_folders(tmp_path)
    monkeypatch.chdir(tmp_path)
    judge, shown, _ = follow(REVIEWER, tmp_path, capsys).values()
    assert "networks of light are here." in judge
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page) and "<script" not in page  # opens anywhere
    command = next(line for line in SECTIONS[REVIEWER].commands if "--report" in line)
    assert command in page and "SSIM" in page and "SSIM" in shown
    with (tmp_path / "scores.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["clip"] for row in rows} == {"0", "1", "2", "(all clips)"}
    assert {row["protocol"] for row in rows} == {"real"}
    ssim = {row["clip"]: float(row["value"]) for row in rows if row["metric"] == "ssim"}
    assert ssim["1"] == ssim["2"] == 1 > ssim["0"]  # clip 0 is its truth inverted


def test_a_maintainer_takes_a_submission_in(made, tmp_path, monkeypatch, capsys):
    """In a checkout that has no results yet: what is published there is the submission alone."""
    (tmp_path / "submissions").mkdir()
    shutil.copyfile(made / "theirs.base.zip", tmp_path / "submissions" / "theirs.base.zip")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.api.publishing.find_checkout", lambda: tmp_path)
    monkeypatch.setattr("leaderboard.results.RESULTS", tmp_path / "leaderboard" / "results")
    said = list(follow(MAINTAINER, tmp_path, capsys).values())
    assert "theirs.base.zip is whole and can be published" in said[0]
    board = pd.read_csv(tmp_path / "leaderboard" / "board.csv").set_index("method")
    assert board.loc["retrieval", "door"] == "submitted"
    page = tmp_path / "leaderboard" / "LEADERBOARD.md"
    page.write_text(page.read_text(encoding="utf-8").replace("submitted", "reproduced"), encoding="utf-8")
    assert main(["board", "--check"]) == 1  # a page that somebody wrote by hand is noticed
    assert "LEADERBOARD.md" in capsys.readouterr().err


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
