"""The README's examples of a method, a metric and a data set, taken out of its text and run as it says."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.cli import main
from bench.core import registry
from bench.store.cells import Store
from bench.store.video import write_lossless

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LONGEST = 60  # lines of the method


def read_section(title: str) -> tuple[dict[str, str], list[str]]:
    """The files of a section, each a block that begins with `# its name`, and the lines of its commands."""
    text = README.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    files, commands = {}, []
    for language, content in BLOCK.findall(text):
        first, _, rest = content.partition("\n")
        if language == "bash":
            commands += content.splitlines()
        else:
            files[first.removeprefix("# ")] = rest
    assert files and commands, title
    return files, commands


def follow(title: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Write the section's files, run its commands, and return what each printed, by its verb."""
    files, commands = read_section(title)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    said = {}
    for command in commands:
        words = shlex.split(command, comments=True)
        if words[:2] == ["pip", "install"]:
            install(folder / words[-1], folder / "installed")
            continue
        assert words[:3] == ["python", "-m", "bench"], command
        capsys.readouterr()
        code = main(words[3:] + (["--jobs", "1"] if words[3] == "run" else []))
        out = capsys.readouterr()
        assert code == 0, f"{command}\n{out.out}\n{out.err}"
        said[words[3]] = out.out
    return said


def install(package: Path, target: Path) -> None:
    """As pip does it, offline, into a folder that this process and those it starts look into."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(target), str(package)],
        check=True,
    )  # fmt: skip
    importlib.invalidate_caches()
    registry.entry_points.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all sections, in which the commands run: `run` finds there what an earlier one made."""
    place = tmp_path_factory.mktemp("readme")
    patch = pytest.MonkeyPatch()
    patch.chdir(place)
    patch.syspath_prepend(str(place / "installed"))
    patch.setenv("PYTHONPATH", str(place / "installed"), prepend=os.pathsep)
    yield place
    patch.undo()
    registry.entry_points.cache_clear()


@pytest.fixture
def few_references(monkeypatch):
    """One floor and one ceiling beside `retrieval`: the others take most of a minute, and other tests run them."""
    monkeypatch.setattr("bench.harness.plan.references", lambda: ["train_mean", "retrieval", "codec"])


@pytest.mark.usefixtures("few_references", "phantom")
def test_a_method_of_one_file_is_found_checked_run_and_on_the_board(folder, capsys):
    files, _ = read_section("Add a method")
    (method,) = [content for name, content in files.items() if name.endswith(".py")]
    assert len(method.splitlines()) <= LONGEST
    said = follow("Add a method", folder, capsys)
    assert "nearest_concept" in said["list"]
    assert "bad" not in said["check"] and said["check"].count("| ok ") == 7
    assert "nearest_concept" in said["run"]
    board = (folder / "board" / "LEADERBOARD.md").read_text()
    assert re.search(r"\| [123] \([\d–]+\) *\| nearest_concept ", board)  # ranked, with a tier
    assert "nearest_concept" in (folder / "board" / "board.csv").read_text()
    listed = subprocess.run(
        [sys.executable, "-m", "bench", "list", "methods"], capture_output=True, text=True, check=True
    )
    assert "nearest_concept    from nearest_concept:NearestConcept" in listed.stdout


@pytest.mark.usefixtures("few_references", "phantom")
def test_a_metric_and_a_protocol_in_a_file(folder, capsys):
    generator = np.random.default_rng(0)
    for number in range(3):
        clip = generator.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
        for name, video in (("truth", clip), ("videos", clip if number else 255 - clip)):
            (folder / name).mkdir(exist_ok=True)
            write_lossless(folder / name / f"{number}.mp4", video, fps=3)
    said = follow("Add a metric", folder, capsys)
    assert re.search(r"edge_correlation ↑ \| +1\.00 \[1\.00, 1\.00\]", said["score"])  # inverted, and the same
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
    said = follow("Add a data set", folder, capsys)
    assert said["data"].count("| ok ") == 6 and "CC-BY-4.0" in said["data"] and "test trials 9" in said["data"]
    assert "retrieval" in said["run"]
    cells = [cell.manifest for cell in Store(folder / "runs").cells()]
    mine = [cell for cell in cells if cell["spec"]["dataset"] == "my_study.py:MyStudy"]
    assert {"retrieval", "train_mean", "codec", "caption"} <= {cell["spec"]["method"] for cell in mine}
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
