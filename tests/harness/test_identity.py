"""Keys that cannot forget: a change of whatever determines an output changes the key of the cell or of its scores.

The changes are made to a copy of the project's sources, on disk, as an author makes them; one process there tells the
keys before and after each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BenchError
from bench.core.job import Run
from bench.harness.plan import plan
from bench.harness.run_cell import run_job
from bench.pretrained.suite import load_suite
from bench.scoring.stored import compare_makings
from bench.scoring.views import Viewer
from bench.store.cells import Store

ROOT = Path(__file__).parents[2]
MINE = """
import helper
class Mine:
    modality, version = "eeg", 1
"""
PROTOCOL = """
from metrics.protocols import Protocol
from metrics.specs import MetricSpec, on_video
from brightness import measure
BRIGHT = Protocol(name="bright", summary="", differs="", metrics=(
    MetricSpec(name="bright", compute=on_video(measure), summary="", hi=255.0),
))
"""
OURS = {  # a change of the project: file, a text in it, another text; and what it must change
    "the method's network": ("methods/sam_net/hrt.py", "torch.nn", "torch . nn", "nothing"),  # layout alone
    "a file that the method alone imports": ("methods/sam_net/heads.py", "", "\nMORE = 1\n", "sam_net"),
    "another file of its package": ("methods/sam_net/subjects.py", "", "\nMORE = 1\n", "sam_net"),
    "a default of its parameters": ("methods/sam_net/parameters.py", "", "\nMORE = 1\n", "sam_net"),
    "the toolbox that it builds on": ("bench/toolbox/training.py", "", "\nMORE = 1\n", "sam_net"),
    "the method that another wraps": ("baselines/retrieval/features.py", "", "\nMORE = 1\n", "noise_brain retrieval"),
    "the layout of the data set": ("bench/datasets/seed_dv/layout.py", "", "\nMORE = 1\n", "cells"),
    "the layout of another data set": ("bench/datasets/cinebrain/layout.py", "", "\nMORE = 1\n", "nothing"),
    "the normalisation": ("bench/harness/normalise.py", "", "\nMORE = 1\n", "cells"),
    "what a method is handed": ("bench/harness/inputs.py", "", "\nMORE = 1\n", "cells"),
    "the splits' code": ("bench/core/splits.py", "", "\nMORE = 1\n", "cells scores"),
    "the seeds' code": ("bench/core/seeds.py", "", "\nMORE = 1\n", "cells scores"),
    "the generators' code": ("bench/pretrained/generators/pipelines.py", "", "\nMORE = 1\n", "cells"),
    "the judges' preparation": ("bench/pretrained/judges/preparation.py", "", "\nMORE = 1\n", "judged"),
    "how videos are decoded": ("bench/store/video.py", "", "\nMORE = 1\n", "cells scores"),
    "how a cell is scored": ("bench/scoring/score_cell.py", "", "\nMORE = 1\n", "scores"),
    "how views are made": ("bench/scoring/views.py", "", "\nMORE = 1\n", "scores"),
    # the blur of the floor `train_mean`, beside which `noise_brain` lives, is chosen by SSIM
    "a metric": ("metrics/ssim.py", "", "\nMORE = 1\n", "ssim noise_brain"),
    "another name in the registry": ("bench/core/built_in.py", "", "\nMORE = 1\n", "nothing"),
    "a comment": ("methods/sam_net/hrt.py", "", "\n# more\n", "nothing"),
}
TELL = """
import json, sys
from pathlib import Path

from bench.core import seeds, splits
from bench.datasets.catalogue import open_dataset
from bench.harness.identity import identify, list_sources
from bench.pretrained.suite import load_suite
from bench.scoring import identity
from bench.scoring.lookup import find_protocol
from bench.scoring.views import Viewer

ours, root, mine, protocol = json.loads(sys.argv[1])
dataset, suite = open_dataset("phantom_eeg:tiny"), load_suite("mini")
SETTING = {"dataset_name": dataset.name, "suite_name": "mini", "split": "new_subject", "fold": "new", "classes": 40}

def tell():
    identity.digest_code.cache_clear()
    viewer = Viewer(suite.judges, dataset.concepts)
    keys = {
        method: identify(
            dataset, suite, method=method, parameters={}, seed=0,
            sources=list_sources(method, {}, dataset, suite), **SETTING,
        ).key
        for method in ("sam_net", "noise_brain", "retrieval", "cine_neuron", mine)
    }
    for protocol_name, names in (("corrected", ("ssim", "psnr", "video_40way")), (protocol, ("bright",))):
        found = find_protocol(protocol_name)
        keys |= {name: identity.identify_score("p", found, found[name], viewer).key for name in names}
    return keys

def compare():
    after = tell()
    return [name for name in before if before[name] != after[name]]

before = tell()
told = {}
for what, (file, old, new, _) in ours.items():
    path = Path(root, file)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new) if old else text + new, encoding="utf-8")
    told[what] = compare()
    path.write_text(text, encoding="utf-8")
assert compare() == []

def change(what, holder, name, value):
    kept = holder[name] if isinstance(holder, dict) else getattr(holder, name)
    put = holder.__setitem__ if isinstance(holder, dict) else lambda name, value: setattr(holder, name, value)
    put(name, value)
    told[what] = compare()
    put(name, kept)

for name in ("steps", "guidance", "strength", "wan_steps", "wan_guidance", "fps"):
    change(f"the suite's {name}", suite.settings, name, suite.settings[name] + 1)
change("the version of the splits", splits, "VERSION", 99)
change("the calibration share", splits, "CALIBRATION_SHARE", 0.3)
change("the share of known subjects", splits, "KNOWN_SHARE", 0.5)
change("the number of permutations", identity, "PERMUTATIONS", 3)
spec = find_protocol("corrected")["ssim"]
for name, value in (("worst", -0.5), ("version", 99), ("shuffles", 2)):
    kept = getattr(spec, name)
    object.__setattr__(spec, name, value)
    told[f"a metric's {name}"] = compare()
    object.__setattr__(spec, name, kept)
assert compare() == []
print("TOLD" + json.dumps(told))
"""
DRAWING = ("steps", "guidance", "strength", "wan_steps", "wan_guidance", "fps")
CELLS = ["sam_net", "noise_brain", "retrieval", "cine_neuron", "mine"]
SCORES = ["ssim", "psnr", "video_40way", "bright"]
SETTINGS = {
    **{f"the suite's {name}": "cells" for name in DRAWING},
    **{f"the {name}": "cells" for name in ("version of the splits", "calibration share", "share of known subjects")},
    "the number of permutations": "scores",
    **{f"a metric's {name}": "ssim" for name in ("worst", "version", "shuffles")},
}
USERS = {
    "the user's helper": ("helper.py", "mine"),
    "the user's protocol's helper": ("brightness.py", "bright"),
}


@pytest.fixture(scope="module")
def told(phantom, bench_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The keys that each change changed."""
    root, user = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("user")
    for package in ("bench", "methods", "baselines", "metrics"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    for weights in (ROOT / "bench" / "pretrained" / "mini").rglob("*.safetensors"):
        (root / weights.relative_to(ROOT)).symlink_to(weights)
    (user / "mine.py").write_text(MINE)
    (user / "bright.py").write_text(PROTOCOL)
    (user / "helper.py").write_text("level = 1\n")
    (user / "brightness.py").write_text("def measure(video):\n    return video.mean(axis=(1, 2, 3, 4))\n")
    users = {
        what: (os.path.relpath(user / file, root), "", "\nMORE = 1\n", changes)
        for what, (file, changes) in USERS.items()
    }
    names = [{**OURS, **users}, str(root), f"{user / 'mine.py'}:Mine", f"{user / 'bright.py'}:BRIGHT"]
    done = subprocess.run(
        [sys.executable, "-c", TELL, json.dumps(names)],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(user)]), "BENCH_HOME": str(bench_home)},
    )
    assert done.returncode == 0, done.stderr
    answer = done.stdout.rpartition("TOLD")[2].replace(str(user / "mine.py") + ":Mine", "mine")
    return dict(json.loads(answer))


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        *((what, change[3]) for what, change in OURS.items()),
        *SETTINGS.items(),
        *((what, changes) for what, (_, changes) in USERS.items()),
    ],
)
def test_a_change_changes_the_keys_of_what_it_determines(told: dict[str, list[str]], what: str, changes: str) -> None:
    judged = ["video_40way", "sam_net", "noise_brain", "retrieval", "cine_neuron", "mine"]  # CLIP is a method's too
    groups = {"cells": CELLS, "scores": SCORES, "judged": judged, "nothing": []}
    wanted = {name for group in changes.split() for name in groups.get(group, [group])}
    if what == "the toolbox that it builds on":
        assert "sam_net" in told[what] and not set(told[what]) & {*SCORES, "mine"}
        return
    assert set(told[what]) == wanted


STRAY = """
import importlib.util
import numpy as np
from pathlib import Path
class Base:
    modality, version, parameter_count = "eeg", 1, 0
    def __init__(self, *, suite, seed=0):
        self.suite = suite
    def fit(self, train, validation):
        self.shape = train.video.shape[1:]
        self.learn(train)
    def adapt(self, calibration):
        pass
    def reconstruct(self, brain):
        return np.zeros((len(brain.subject), *self.shape), np.uint8)
class LoadsByPath(Base):
    def learn(self, train):
        spec = importlib.util.spec_from_file_location("unlisted", Path(__file__).with_name("unlisted.py"))
        module = importlib.util.module_from_spec(spec)
        import sys
        sys.modules["unlisted"] = module
        spec.loader.exec_module(module)
class ReadsAFile(Base):
    def learn(self, train):
        np.load(Path(__file__).with_name("gain.npy"))
        Path("notes.txt").write_text("of its own")
        Path("notes.txt").read_text()
class AsksUndeclared(Base):
    def learn(self, train):
        self.suite.embed_images(train.video[:1, 0])
class AsksDeclared(AsksUndeclared):
    asks = ("clip_large",)
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LoadsByPath", r"unlisted\.py, which no import statement .* write `import unlisted`"),
        ("AsksUndeclared", r"clip_large.* add it to the class's uses = \('clip_large',\), or .* asks"),
        ("AsksDeclared", None),
    ],
)
def test_a_method_cannot_use_what_its_key_does_not_know(phantom, tmp_path: Path, name: str, words: str | None) -> None:
    (tmp_path / "strays.py").write_text(STRAY)
    (tmp_path / "unlisted.py").write_text("x = 1\n")
    store = Store(tmp_path / "runs")
    run = Run(
        method=f"{tmp_path / 'strays.py'}:{name}", split="cross_subject", dataset="phantom_eeg:tiny", protocols=()
    )
    (job,) = [job for job in plan(run, phantom, load_suite("mini")) if job.spec.method == run.method]
    if words is None:
        run_job(job, store)
        assert store.find(job.spec.key).manifest["sources"]["view clip_large"]
        return
    with pytest.raises(BenchError, match=words):
        run_job(job, store)
    assert store.find(job.spec.key) is None


def test_code_that_changes_while_a_cell_is_made_makes_no_cell(phantom, tmp_path: Path) -> None:
    (tmp_path / "strays.py").write_text(STRAY)
    store = Store(tmp_path / "runs")
    run = Run(
        method=f"{tmp_path / 'strays.py'}:AsksDeclared", split="cross_subject", dataset="phantom_eeg:tiny", protocols=()
    )
    (job,) = [job for job in plan(run, phantom, load_suite("mini")) if job.spec.method == run.method]
    (tmp_path / "strays.py").write_text(STRAY + "MORE = 1\n")
    with pytest.raises(BenchError, match="strays changed while"):
        run_job(job, store)
    assert store.find(job.spec.key) is None


def test_a_data_file_that_a_method_read_is_told_where_it_has_changed(phantom, tmp_path: Path) -> None:
    (tmp_path / "strays.py").write_text(STRAY)
    gain = tmp_path / "gain.npy"
    np.save(gain, np.ones(3))
    suite = load_suite("mini")
    viewer = Viewer(suite.judges, phantom.concepts)
    store = Store(tmp_path / "runs")
    run = Run(
        method=f"{tmp_path / 'strays.py'}:ReadsAFile", split="cross_subject", dataset="phantom_eeg:tiny", protocols=()
    )
    (job,) = [job for job in plan(run, phantom, suite) if job.spec.method == run.method]
    cell = store.find(run_job(job, store))
    assert cell.manifest["reads"] == {str(gain): hashlib.sha256(gain.read_bytes()).hexdigest()}
    assert compare_makings([cell], viewer, ()) == []
    np.save(gain, np.zeros(3))
    (line,) = compare_makings([cell], viewer, ())
    assert line.startswith(f"{run.method} was made with {gain}, which has changed since")
    gain.unlink()
    (line,) = compare_makings([cell], viewer, ())
    assert "which is not there now" in line
