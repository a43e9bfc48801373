"""The workflow that tries submissions: its own lines, by bash, in a clone of a small repository with a pull request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import bench_words, parse, read_sections

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "submission.yml"
PYTHON = f"""#!{sys.executable}
import sys
with open("asked.txt", "a") as file:
    print(*sys.argv[1:], sep="|", file=file)
sys.exit("broken" in " ".join(sys.argv))
"""


def read_steps() -> dict[str, str]:
    """The lines of each step of the workflow, by its name."""
    if not WORKFLOW.is_file():
        pytest.skip("no workflows here: this is a copy of the packages")
    (job,) = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"].values()
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


def git(folder: Path, *words: str) -> None:
    named = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True)


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the default branch, whose origin has pull request 7: data, and a change of the code."""
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q", "-b", "main")
    write(origin, bench__code_dot_py="ours", leaderboard__board_dot_csv="old", leaderboard__results__a_dot_json="a")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "main")
    git(origin, "checkout", "-qb", "theirs")
    write(origin, bench__code_dot_py="theirs", leaderboard__board_dot_csv="new", leaderboard__results__b_dot_json="b")
    (origin / "leaderboard" / "results" / "a.json").unlink()
    (origin / "submissions").mkdir()
    (origin / "submissions" / "two words.zip").write_bytes(b"zip")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "theirs")
    git(origin, "update-ref", "refs/pull/7/head", "theirs")
    git(tmp_path, "clone", "-q", "-b", "main", origin.as_uri(), "clone")
    return tmp_path / "clone"


def run(step: str, clone: Path, **environment: str) -> tuple[int, str]:
    """A step as the workflow's machine runs it; returns its exit code and what `python` was asked, a line each."""
    programs = clone.parent / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "python").write_text(PYTHON, encoding="utf-8")
    (programs / "python").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    done: Any = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step], cwd=clone, check=False, capture_output=True,
        env={**os.environ, "PATH": path, **environment},
    )  # fmt: skip
    asked = clone / "asked.txt"
    return done.returncode, asked.read_text(encoding="utf-8") if asked.exists() else ""


def test_only_data_of_the_pull_request_is_taken_and_every_bundle_is_verified(clone: Path) -> None:
    steps = read_steps()
    code, _ = run(steps["Take the data of the pull request"], clone, NUMBER="7")
    assert code == 0
    assert (clone / "bench" / "code.py").read_text() == "ours"
    assert (clone / "leaderboard" / "board.csv").read_text() == "new"
    assert [path.name for path in (clone / "leaderboard" / "results").iterdir()] == ["b.json"]
    code, asked = run(steps["Verify each bundle"], clone)
    assert (code, asked) == (0, "-m|bench|verify|submissions/two words.zip\n")
    code, asked = run(steps["Is the board what the results make?"], clone)
    assert (code, asked.splitlines()[1:]) == (0, ["-m|bench|board|--check"])
    (clone / "submissions" / "broken.zip").write_bytes(b"")
    (clone / "submissions" / "two words.zip").rename(clone / "submissions" / "zz.zip")
    code, asked = run(steps["Verify each bundle"], clone)
    assert code != 0 and "zz.zip" not in asked  # the first that is wrong ends it


def test_it_asks_what_the_page_for_maintainers_says() -> None:
    page = read_sections()["docs/submit.md: Take a submission in"].commands
    typed = {parse(words).split()[0] for line in page if (words := bench_words(line))}
    lines = [line.strip() for step in read_steps().values() for line in step.replace(";", "\n").splitlines()]
    asked = [words for line in lines if (words := bench_words(line.removeprefix("do ")))]
    assert {words[0] for words in asked} == {"verify", "board"} <= typed
    for words in asked:
        parse(words)
