"""The lock, the container file and the workflow of submissions: pinned, linted, and of commands that there are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from documents import parse
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "submission.yml"


def test_the_lock_pins_all_that_is_asked_for_and_names_no_place() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert len(pinned) == len(lines) and not any("/" in line for line in lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        wanted = Requirement(text)
        assert pinned[canonicalize_name(wanted.name)] in wanted.specifier, text


def test_the_container_file_is_linted_and_copies_what_is_there() -> None:
    if shutil.which("hadolint"):
        done = subprocess.run(["hadolint", str(ROOT / "Containerfile")], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    else:
        pytest.skip("hadolint is not installed")
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "Containerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name


def test_a_submission_brings_data_and_no_code_that_runs() -> None:
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["verify"]["steps"]
    assert steps[0]["with"]["ref"] == "${{ github.event.repository.default_branch }}"
    script = "\n".join(step.get("run", "") for step in steps)
    assert "github.event" not in script  # what others write is no part of a command
    (taken,) = re.findall(r"for path in (.*); do", script)
    for path in taken.split():
        assert not path.endswith(".py") and not list((ROOT / path).glob("**/*.py")), path
        assert (ROOT / path).exists() or path == "submissions"
    lines = re.findall(r"python -m bench ([^;\n]+)", script)
    assert [parse(shlex.split(line)) for line in lines] == ["verify", "board"]
