"""Forged submissions are refused by `publish`, each with its reason, and the board is built from the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from forgery import Members, cell_of, read_members, remake, respec, write_members

import bench
from bench.cli import main
from bench.core.spec import CellSpec
from bench.core.splits import make_folds
from bench.doors.bundles import pack_cells
from bench.harness.inputs import describe_trials
from bench.pretrained.suite import load_suite
from bench.scoring.flags import COPIES, FINDERS, NO_GENERATOR, flag_key
from bench.scoring.score_cell import score_cell
from bench.scoring.views import Viewer
from bench.store.cache import Cache
from bench.store.cells import Cell, Store
from bench.store.predictions import write_predictions
from leaderboard.results import read_results


def make_bundle(phantom, folder: Path, method: str, video: np.ndarray | None = None) -> bytes:
    """A submission of one cell: another true clip for each trial (of the training clips), or these videos."""
    suite, store = load_suite("mini"), Store(folder / "runs")
    (fold,) = make_folds(phantom, "cross_subject")
    spec = CellSpec(
        dataset="phantom_eeg:tiny", data_digest=phantom.digest, split="cross_subject", fold=fold.name, classes=40,
        method=method, method_version=1, parameters={}, suite="mini", suite_digest=suite.digest, seed=0,
        settings={"of": "theirs"}, rules={"of": "theirs"},
    )  # fmt: skip
    trials = describe_trials(phantom, fold.test, spec)
    if video is None:
        learned = np.asarray(phantom.trials["clip"])[fold.train]
        video = phantom.video(learned[: len(trials)])
    with store.publishing(spec.key) as draft:
        write_predictions(draft, trials, video)
        draft.manifest.update(spec=spec.as_dict(), variant="base", role="method", phantom=True, parameter_count=9)
    cell = store.find(spec.key)
    assert cell is not None
    score_cell(cell, store, phantom, suite, protocols=("corrected",))
    path = folder / "bundle.zip"
    pack_cells([cell], Viewer(suite.judges, phantom.concepts), ("corrected",), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def honest(phantom, tmp_path_factory) -> bytes:
    return make_bundle(phantom, tmp_path_factory.mktemp("honest"), "glow")


@pytest.fixture(scope="module")
def results(honest, tmp_path_factory) -> Path:
    """Results that hold the honest submission, whose name is A's."""
    folder = tmp_path_factory.mktemp("published")
    assert publish(honest, folder, "--submitter", "A") == 0
    return folder / "results"


def publish(content: bytes, folder: Path, *more: str) -> int:
    path = folder / "theirs.zip"
    path.write_bytes(content)
    return main(["publish", "--bundle", str(path), "--results", str(folder / "results"), *more])


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def many_cells(members: Members) -> None:
    """The same cell under ten thousand keys."""
    cell = cell_of(members)
    manifest = members[cell + "manifest.json"]
    keys = [f"{number:016x}" for number in range(10_000)]
    members.update({f"cells/{key}/manifest.json": manifest for key in keys})
    head = json.loads(members["bundle.json"])
    members["bundle.json"] = json.dumps({**head, "cells": sorted([*keys, cell.split("/")[1]])}).encode()


FORGED: dict[str, tuple[Any, str]] = {
    "split clips": (respec(split="clips", fold="clips"), "`clips` is for floors"),
    "a control's name": (respec(method="train_mean"), "train_mean is a control"),
    "a ceiling's name and role": (lambda m: (respec(method="codec")(m), remake(role="ceiling")(m)), "holds a ceiling"),
    "a role of its own": (remake(role="baseline"), "calls itself a 'baseline'"),
    "a name nearly as another": (respec(method="sam-net"), "called as 'sam_net'"),
    "letters of another script": (respec(method="gl\u043ew"), "cannot be committed"),
    "a method of the project of another code": (respec(method="sam_net", method_version=99), "not as it is here now"),
    "many parameters": (remake(parameter_count=10**30), "parameter_count"),
    "negative parameters": (remake(parameter_count=-5), "parameter_count is -5"),
    "parameters as a text": (remake(parameter_count="9"), "'parameter_count' is '9'"),
    "a time below zero": (remake(phases={"fit": -1.0}), "phases"),
    "chosen seeds": (respec(seed=113), "the rules fix them"),
    "no fold of the split": (respec(fold="sub01"), "has no fold"),
    "no phantom": (remake(phantom=False), "is a phantom"),
    "markup in the variant": (remake(variant="<img src=x onerror=alert(1)>"), "cannot be committed"),
    "a changed variant": (remake(variant="base[lr=1]"), "cannot be committed"),
    "ten thousand cells": (many_cells, "10001 cells; allowed are 2000"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_bundles_are_refused_and_nothing_changes(name, honest, results, capsys):
    change, words = FORGED[name]
    before, members = read_all(results), read_members(honest)
    change(members)
    assert publish(write_members(members), results.parent, "--submitter", "A") == 1
    assert words in capsys.readouterr().err
    assert read_all(results) == before


def test_the_honest_one_stands_and_its_name_is_its_submitter_s(honest, results, phantom, tmp_path, capsys):
    before = read_all(results)
    rows = read_results(results)
    assert set(rows["door"]) == {"submitted"} and set(rows["flags"]) == {""} and set(rows["folds"]) == {1}
    assert publish(honest, results.parent, "--submitter", "A") == 0 and read_all(results) == before
    assert publish(honest, results.parent) == 1
    assert "belongs to who published it first (submitted by A" in " ".join(capsys.readouterr().err.split())
    assert read_all(results) == before
    assert main(["board", "--results", str(results), "--output", str(tmp_path / "board")]) == 0
    assert "| glow" in (tmp_path / "board" / "LEADERBOARD.md").read_text()


def test_what_was_looked_at_is_recalled_and_nothing_else(honest, phantom, tmp_path, monkeypatch):
    """Verified twice, the judges are asked once; of other pixels under the same cell's name they are asked again."""
    asked: list[str] = []
    monkeypatch.setattr("bench.doors.recalled.open_cache", lambda: Cache(tmp_path / "cache"))

    def counted(function: Any) -> Any:
        return lambda *about, **more: asked.append(function.__name__) or function(*about, **more)

    monkeypatch.setattr("bench.doors.bundles.score_cell", counted(score_cell))
    monkeypatch.setitem(FINDERS, COPIES, counted(FINDERS[COPIES]))

    def verify(content: bytes) -> pd.DataFrame:
        (tmp_path / "one.zip").write_bytes(content)
        asked.clear()
        return bench.verify(tmp_path / "one.zip")

    first = verify(honest)
    assert len(asked) == 2
    pd.testing.assert_frame_equal(verify(honest), first)
    assert asked == []
    (fold,) = make_folds(phantom, "cross_subject")
    learned = np.asarray(phantom.trials["clip"])[fold.train]
    other = make_bundle(phantom, tmp_path, "glow", phantom.video(learned[1 : len(fold.test) + 1]))
    assert cell_of(read_members(other)) == cell_of(read_members(honest))
    verify(other)
    assert len(asked) == 2


def make_copies(phantom, folder: Path) -> bytes:
    """A bundle of true clips under a little noise."""
    (fold,) = make_folds(phantom, "cross_subject")
    true = phantom.video(np.asarray(phantom.trials["clip"])[fold.test])
    noisy = np.clip(true + np.random.default_rng(0).normal(0, 25, true.shape), 0, 255).astype(np.uint8)
    return make_bundle(phantom, folder, "oracle", noisy)


def test_flags_that_a_bundle_brings_are_not_read(phantom, tmp_path, monkeypatch, capsys):
    """It says under the very names of its flags that nothing was found, on a machine that never saw it."""
    monkeypatch.setattr("bench.doors.recalled.open_cache", lambda: Cache(tmp_path / "cache"))
    members = read_members(make_copies(phantom, tmp_path))
    for kind in (COPIES, NO_GENERATOR):
        told = io.BytesIO()
        pd.DataFrame({"flag": [kind], "reason": [""]}).to_parquet(told)
        manifest = json.loads(members[cell_of(members) + "manifest.json"])
        cell = Cell(key="", path=tmp_path, store=Store(tmp_path), manifest=manifest)
        name = f"{flag_key(cell, kind)}.parquet"
        members[f"{cell_of(members)}scores/{name}"] = told.getvalue()
        sealed = f"{hashlib.sha256(told.getvalue()).hexdigest()}  {name}\n"
        members[f"{cell_of(members)}scores/{name}.sha256"] = sealed.encode()
    assert publish(write_members(members), tmp_path) == 1
    assert "near-copies of their true clips" in " ".join(capsys.readouterr().err.split())


def test_a_bundle_of_true_clips_is_flagged_and_refused_unless_accepted(phantom, tmp_path, capsys):
    content = make_copies(phantom, tmp_path)
    assert main(["verify", str(tmp_path / "bundle.zip")]) == 0
    assert "copies: 100% of the 30 predictions" in capsys.readouterr().out
    assert publish(content, tmp_path) == 1
    said = capsys.readouterr().err
    assert "near-copies of their true clips" in said and "--accept-flagged" in said
    assert not (tmp_path / "results").exists()
    assert publish(content, tmp_path, "--accept-flagged") == 0
    assert main(["board", "--results", str(tmp_path / "results"), "--output", str(tmp_path / "board")]) == 0
    page = (tmp_path / "board" / "LEADERBOARD.md").read_text()
    assert "*copies*" in page.partition("| oracle")[2].partition("\n")[0]
