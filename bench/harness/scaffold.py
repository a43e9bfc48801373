"""`python -m bench new my_method`: a method of one screen that runs, with its test, to start from.

As two files it is tried at once, by `my_method.py:MyMethod`. As a package it has a name, which every verb knows once it
is installed, and only what has a name can be published.

    my_method/pyproject.toml
    my_method/src/my_method.py           not beside pyproject.toml, where the folder would hide it in Python's path
    my_method/tests/test_my_method.py
"""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Literal

from bench.core.errors import BenchError
from bench.core.registry import names

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

METHOD = '''\
"""{title}: the mean training clip of the concept whose mean signal is nearest. Replace this by what yours does.

Try it:   python -m bench check {called}
Run it:   python -m bench run --method {called} --split cross_subject --quick
"""

from __future__ import annotations

import numpy as np


class {title}:
    modality = "{modality}"  # "eeg", "fmri", or "any"
    version = 1  # raise it whenever the same input gives another output

    def __init__(self, *, suite, seed=0, shrinkage=0.5):  # what follows `seed` are parameters: --set shrinkage=0.3
        self.suite, self.seed, self.shrinkage = suite, seed, shrinkage

    def fit(self, train, validation):
        """train.brain[rows] is f32 (trial, channel, time); .subject and .clip are (trial,); .video is u8 (clip, frame,
        height, width, 3), with .captions and .concepts. Nothing of a test trial is here."""
        shown = train.concepts[train.clip]  # (trial,)
        signal = self.describe(train.brain)
        self.concepts = np.unique(shown)
        self.centres = np.stack([signal[shown == one].mean(axis=0) for one in self.concepts])  # (concept, feature)
        mean = [train.video[train.concepts == one].mean(axis=0) for one in self.concepts]
        self.video = np.stack(mean).round().astype(np.uint8)

    def adapt(self, calibration):
        """On `new_subject` only: a few trials of new subjects, as `train` in `fit`."""

    def reconstruct(self, brain):
        """u8 (trial, frame, height, width, 3). A trial depends on itself and on its own brain.seed alone."""
        signal = self.describe(brain.brain)
        distance = ((signal[:, None] - (1 - self.shrinkage) * self.centres) ** 2).sum(axis=2)  # (trial, concept)
        return self.video[distance.argmin(axis=1)]

    def describe(self, brain):
        """(trial, feature): each channel's mean over time."""
        return brain[np.arange(len(brain))].mean(axis=2)

    @property
    def parameter_count(self):
        return self.centres.size
'''

TEST = '''\
"""{title} keeps every contract of the benchmark."""

{imports}import bench


def test_contracts():
    report = bench.check_method({found})
    assert (report["status"] == "ok").all(), report.to_string()
'''

PACKAGE = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{dashed}"
version = "0.1.0"
description = "{title}, a method of Brain2Video Bench"

[project.entry-points."brain2video_bench.methods"]
{name} = "{name}:{title}"
"""


def write_method(
    name: str, folder: Path, *, modality: Literal["eeg", "fmri"] = "eeg", package: bool = False
) -> list[Path]:
    """Write `<name>.py` with its test, or a package of them. Raises BenchError for a bad name, or for what is there."""
    title = name_class(name)  # none would become the class None
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or keyword.iskeyword(title):
        raise BenchError(
            f"{name!r} is no name for a method: small letters, digits and _, a letter first, and no word that Python "
            "keeps for itself (my_method)"
        )
    if package and name in names("methods"):
        raise BenchError(f"{name} is the name of a method that is here already (`list methods`); choose another")
    called, imports, found = name, "", f'"{name}"'
    if package:
        place = folder / name
        files = {
            place / "pyproject.toml": PACKAGE,
            place / "src" / f"{name}.py": METHOD,
            place / "tests" / f"test_{name}.py": TEST,
        }
    else:
        files = {folder / f"{name}.py": METHOD, folder / f"test_{name}.py": TEST}
        called, imports = f"{folder / name}.py:{title}", "from pathlib import Path\n\n"
        found = f"f\"{{Path(__file__).with_name('{name}.py')}}:{title}\""
    if there := [path for path in files if path.exists()]:
        raise BenchError(f"{there[0]} is there already; choose another name or --folder")
    given = {"name": name, "title": title, "dashed": name.replace("_", "-"), "modality": modality}
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**given, called=called, imports=imports, found=found), encoding="utf-8")
    return list(files)


def name_class(name: str) -> str:
    """
    >>> name_class("my_method")
    'MyMethod'
    """
    return "".join(part.capitalize() for part in name.split("_"))
