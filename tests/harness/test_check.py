"""`check` passes what keeps the contracts and names the one that is broken; `new` writes what passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.errors import BenchError
from bench.harness.check import check_method
from bench.harness.scaffold import write_method
from bench.pretrained.suite import load_suite


@pytest.fixture(scope="module")
def suite():
    return load_suite("mini")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    write_method("my_method", folder)
    return folder / "my_method.py"


def verdicts(path: Path, suite, name: str = "MyMethod") -> dict[str, tuple[str, str]]:
    report = check_method(f"{path}:{name}", suite)
    return {row["check"]: (row["status"], row["detail"]) for row in report.to_dict("records")}


def test_a_new_method_passes_and_fits_a_screen(written, suite):
    assert len(written.read_text().splitlines()) <= 60
    found = verdicts(written, suite)
    assert {status for status, _ in found.values()} == {"ok"}, found


EMBEDS = (
    "    @property\n",
    "    embeds = 'words'\n\n    def embed(self, brain):\n        signal = self.describe(brain.brain)\n"
    "        vectors = np.random.default_rng(0).normal(size=(signal.shape[1], self.suite.geometry.text_width))\n"
    "        return (signal @ vectors).astype(np.float32){}\n\n    @property\n",
)


def test_embeddings_are_tried_where_there_are_some(written, suite, tmp_path):
    for name, change in (("right", ""), ("batch", " / len(signal)"), ("lost", " + np.array(np.nan)")):
        (tmp_path / f"{name}.py").write_text(written.read_text().replace(EMBEDS[0], EMBEDS[1].format(change), 1))
    found = verdicts(tmp_path / "right.py", suite)
    assert {status for status, _ in found.values()} == {"ok"} and "in the space 'words'" in found["embeds"][1], found
    assert "trials beside it" in verdicts(tmp_path / "batch.py", suite)["embeds"][1]
    assert "NaN or infinite numbers for" in verdicts(tmp_path / "lost.py", suite)["embeds"][1]


BREAKS = {  # a line of the new method, what it is changed to, the check that has to notice, and its words
    "batch": (
        "return self.video[distance.argmin(axis=1)]",
        "return self.video[distance.argmin(axis=1)] // (1 + len(signal) // 20)",
        "a trial depends on itself alone",
        "trials beside it",
    ),
    "shape": ("return self.video[distance.argmin(axis=1)]", "return self.video[:1]", "fits and reconstructs", "uint8"),
    "blind": (
        "return self.video[distance.argmin(axis=1)]",
        "return self.video[brain.seed % len(self.video)]",
        "finds a planted signal",
        "no nearer",
    ),
    "global": (
        "self.video = np.stack(mean).round().astype(np.uint8)",
        "self.video = (np.stack(mean) + np.random.randint(0, 9)).clip(0, 255).astype(np.uint8)",
        "same seed, same videos; no test data",
        "global generator",
    ),
    "peeks": (
        "self.video = np.stack(mean).round().astype(np.uint8)",
        "self.video = np.stack(mean).round().astype(np.uint8)\n"
        "        other = train.brain.dataset.video(range(len(train.brain.dataset.stimuli)))",
        "fits and reconstructs",
        "no attribute 'dataset'",
    ),
    "adapts by chance": (
        '"""On `new_subject` only: a few trials of new subjects, as `train` in `fit`."""',
        "self.video = (self.video // 2 + np.random.randint(0, 99)).astype(np.uint8)",
        "adapts to new subjects",
        "`adapt` looked at",
    ),
    "goes on from what was interrupted": (  # the sixth fit, which is the one after the interruption, finds a file
        "self.video = np.stack(mean).round().astype(np.uint8)\n",
        "self.video = np.stack(mean).round().astype(np.uint8)\n"
        "        import pathlib\n"
        "        place = pathlib.Path(__file__).with_name('fits')\n"
        "        fits = place.read_text() if place.exists() else ''\n"
        "        if len(fits) == 5:\n"
        "            self.video[:] = 255 - self.video\n"
        "        place.write_text(fits + '.')\n",
        "resumes after an interruption",
        "something was kept of the run before",
    ),
    "crash": (
        "self.concepts = np.unique(shown)",
        "raise ZeroDivisionError('oh')",
        "fits and reconstructs",
        "my_method",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_contract_is_named(written, suite, tmp_path, name):
    line, instead, check, words = BREAKS[name]
    text = written.read_text()
    assert line in text
    path = tmp_path / "my_method.py"
    text = text.replace(line, instead)
    path.write_text(text)
    found = verdicts(path, suite)
    status, detail = found[check]
    assert status == "bad" and words in detail, found
    earlier = list(found)[: list(found).index(check)]
    assert all(found[one][0] == "ok" for one in earlier)


def test_a_draft_that_stays_is_named(written, suite, monkeypatch):
    monkeypatch.setattr("bench.store.disk.remove", lambda path: None)
    status, detail = verdicts(written, suite)["resumes after an interruption"]
    assert status == "bad" and "left .tmp-" in detail


def test_what_is_no_method_is_told_what_it_lacks(tmp_path, suite):
    path = tmp_path / "empty.py"
    path.write_text("class Empty:\n    modality = 'meg'\n    version = 1\n")
    found = verdicts(path, suite, "Empty")
    assert "allowed are 'eeg'" in found["declares what it is"][1]
    assert {status for status, _ in found.values()} == {"bad", "not tried"}


@pytest.mark.parametrize("name", ["My", "1st", "a-b", "../up", "class", "none", "true", "false", "none_", ""])
def test_bad_names_are_refused(tmp_path, name):
    with pytest.raises(BenchError, match="no name for a method"):
        write_method(name, tmp_path / "in")
    assert not (tmp_path / "in").exists()


def test_a_file_that_is_there_is_not_overwritten(written):
    with pytest.raises(BenchError, match="there already"):
        write_method("my_method", written.parent)
