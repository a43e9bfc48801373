"""`python -m bench new my_method`: a method of one screen that runs, with its test, to start from."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Literal

from bench.core.errors import BenchError

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

METHOD = '''\
"""{title}: the mean training clip of the concept whose mean signal is nearest. Replace this by what yours does.

Try it:   python -m bench check {file}:{title}
Run it:   python -m bench run --method {file}:{title} --split cross_subject
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

from pathlib import Path

from bench.harness.check import check_method
from bench.pretrained.suite import load_suite


def test_contracts():
    report = check_method(f"{{Path(__file__).with_name('{name}.py')}}:{title}", load_suite("mini"))
    assert (report["status"] == "ok").all(), report.to_string()
'''


def write_method(name: str, folder: Path, *, modality: Literal["eeg", "fmri"] = "eeg") -> list[Path]:
    """Write `<name>.py` and `test_<name>.py`; raises BenchError for a bad name or a file that is there already."""
    title = "".join(part.capitalize() for part in name.split("_"))  # none would become the class None
    if not NAME.fullmatch(name) or keyword.iskeyword(name) or keyword.iskeyword(title):
        raise BenchError(
            f"{name!r} is no name for a method: small letters, digits and _, a letter first, and no word that Python "
            "keeps for itself (my_method)"
        )
    files = {folder / f"{name}.py": METHOD, folder / f"test_{name}.py": TEST}
    if there := [path for path in files if path.exists()]:
        raise BenchError(f"{there[0]} is there already; choose another name or --folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        filled = text.format(name=name, title=title, modality=modality, file=folder / f"{name}.py")
        path.write_text(filled, encoding="utf-8")
    return list(files)
