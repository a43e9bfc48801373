"""Bundles: what is packed verifies; a corpus of hostile and careless ones is refused, each with its reason."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.bundles import BadBundle, pack_cells, verify_bundle
from bench.datasets.catalogue import open_dataset
from bench.jury import Jury
from bench.pretrained.suite import load_suite
from bench.runner import Run, plan, run_job
from bench.spec import digest
from bench.store import Store
from bench.video import encode_lossless

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def packed(phantom, tmp_path_factory) -> bytes:
    """The bundle of one cell on the tiny phantom."""
    folder = tmp_path_factory.mktemp("pack")
    suite = load_suite("mini")
    run = Run(method="random_clip", split="cross_subject", dataset="phantom_eeg:tiny", protocols=("eeg2video",))
    store = Store(folder / "runs")
    key = run_job(plan(run, phantom, suite.digest)[0], store)
    path = folder / "random_clip.zip"
    made = []
    for _ in range(2):
        pack_cells([store.find(key)], Jury(suite.judges, phantom.concepts), ("eeg2video",), path)
        made.append(path.read_bytes())
    assert made[0] == made[1]
    return made[0]


def verify(content: bytes, folder: Path) -> pd.DataFrame:
    path = folder / "bundle.zip"
    path.write_bytes(content)
    return verify_bundle(path, open_dataset, load_suite)


def read_members(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_what_is_packed_verifies(packed, phantom, tmp_path):
    (row,) = verify(packed, tmp_path).to_dict("records")
    assert row["method"] == "random_clip" and row["trials"] == 10 and row["scores"] > 3
    assert row["largest_difference"] < 1e-6


def cell_of(members: Members) -> str:
    (key,) = json.loads(members["bundle.json"])["cells"]
    return f"cells/{key}/"


def seal(members: Members, cell: str) -> None:
    """Make the manifest agree with changed files, as a forger would."""
    manifest = json.loads(members[cell + "manifest.json"])
    names = [name.removeprefix(cell) for name in members if name.startswith(cell + "predictions/")]
    manifest["files"] = {
        name: {"sha256": hashlib.sha256(members[cell + name]).hexdigest(), "bytes": len(members[cell + name])}
        for name in sorted(names)
    }
    manifest.pop("manifest_digest")
    manifest["manifest_digest"] = digest(manifest)
    members[cell + "manifest.json"] = json.dumps(manifest).encode()


def first_video(members: Members) -> str:
    return next(name for name in members if name.endswith(".mp4"))


def retable(members: Members, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the table of trials and seal."""
    cell = cell_of(members)
    name = cell + "predictions/trials.parquet"
    table = change(pd.read_parquet(io.BytesIO(members[name])))
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    members[name] = buffer.getvalue()
    seal(members, cell)


def with_extra(name: str, content: bytes = b"x") -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[name] = content

    return change


def altered_video(members: Members) -> None:
    name = first_video(members)
    members[name] = members[name][:-1] + b"\0"


def missing_video(members: Members) -> None:
    del members[first_video(members)]


def forged_missing_video(members: Members) -> None:
    del members[first_video(members)]
    seal(members, cell_of(members))


def extra_video(members: Members) -> None:
    cell = cell_of(members)
    members[cell + "predictions/sub00/clip9999.mp4"] = members[first_video(members)]


def wrong_frames(members: Members) -> None:
    name = first_video(members)
    members[name] = encode_lossless(np.zeros((3, 64, 64, 3), np.uint8), fps=3)
    seal(members, cell_of(members))


def nan_trial(members: Members) -> None:
    retable(members, lambda table: table.assign(status=["invalid", *table["status"][1:]]))


def lacking_trial(members: Members) -> None:
    retable(members, lambda table: table.iloc[1:])


def extra_trial(members: Members) -> None:
    retable(members, lambda table: pd.concat([table, table.iloc[:1].assign(trial=99_999)]))


def outside_file(members: Members) -> None:
    retable(members, lambda table: table.assign(file=["../../../../etc/passwd", *table["file"][1:]]))


def altered_manifest(members: Members) -> None:
    name = cell_of(members) + "manifest.json"
    members[name] = members[name].replace(b'"random_clip"', b'"best_method"')


def other_spec(members: Members) -> None:
    cell = cell_of(members)
    manifest = json.loads(members[cell + "manifest.json"])
    manifest["spec"]["method"] = "best_method"
    members[cell + "manifest.json"] = json.dumps(manifest).encode()
    seal(members, cell)


def better_scores(members: Members) -> None:
    name = next(name for name in members if "/scores/" in name and name.endswith(".parquet"))
    table = pd.read_parquet(io.BytesIO(members[name]))
    buffer = io.BytesIO()
    table.assign(value=table["value"] + 0.5).to_parquet(buffer, index=False)
    members[name] = buffer.getvalue()
    digest_line = f"{hashlib.sha256(members[name]).hexdigest()}  {name.rpartition('/')[2]}\n"
    members[name + ".sha256"] = digest_line.encode()


def altered_scores(members: Members) -> None:
    name = next(name for name in members if "/scores/" in name and name.endswith(".parquet"))
    members[name] = members[name][:-5] + b"PAR1x"


def no_head(members: Members) -> None:
    del members["bundle.json"]


def other_head(members: Members) -> None:
    members["bundle.json"] = b'{"schema": 1, "cells": ["0123456789abcdef"], "protocols": []}'


HOSTILE = {
    "parent": (with_extra("cells/../../evil.mp4"), "points outside"),
    "absolute": (with_extra("/tmp/evil.mp4"), "points outside"),
    "drive": (with_extra("C:\\evil.mp4"), "points outside"),
    "backslash": (with_extra("cells\\..\\evil.mp4"), "points outside"),
    "pickle": (with_extra("cells/abc/predictions/model.pkl", b"\x80\x04."), "does not belong"),
    "script": (with_extra("cells/abc/run.py"), "does not belong"),
    "bomb": (with_extra("cells/abc/scores/abc.parquet", b"\0" * (64 * 2**20)), "a bomb"),
    "altered video": (altered_video, "has changed since"),
    "missing video": (missing_video, "is missing"),
    "forged missing video": (forged_missing_video, "points to"),
    "extra video": (extra_video, "not named in its manifest"),
    "wrong frames": (wrong_frames, "does not decode to the pixels|clips here are"),
    "NaN": (nan_trial, "no valid video of 1 trials"),
    "lacking trial": (lacking_trial, "lacks 1 trials"),
    "extra trial": (extra_trial, "trials that the fold has not"),
    "file outside": (outside_file, "points to"),
    "altered manifest": (altered_manifest, "not what its own digest says"),
    "other spec": (other_spec, "not the cell of its own spec"),
    "better scores": (better_scores, "differs by 0.5"),
    "altered scores": (altered_scores, "no valid score"),
    "no head": (no_head, "no bundle.json"),
    "other head": (other_head, "names the cells"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bundles_are_refused(packed, phantom, tmp_path, name, monkeypatch):
    change, words = HOSTILE[name]
    members = read_members(packed)
    change(members)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with pytest.raises(BadBundle, match=words):
        verify(write_members(members), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle.zip", "temporary"]
    assert not list(temporary.iterdir())  # nothing stays, nothing is written elsewhere


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO])
def test_links_and_special_files_are_refused(packed, tmp_path, kind):
    buffer = io.BytesIO(packed)
    with zipfile.ZipFile(buffer, "a") as archive:
        info = zipfile.ZipInfo("cells/abc/manifest.json")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(BadBundle, match="link or special"):
        verify(buffer.getvalue(), tmp_path)


def test_a_name_that_is_there_twice_is_refused(packed, tmp_path):
    buffer = io.BytesIO(packed)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("bundle.json", "{}")
    with pytest.raises(BadBundle, match="twice"):
        verify(buffer.getvalue(), tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 40])
def test_what_is_no_zip_is_refused(tmp_path, content):
    with pytest.raises(BadBundle, match="cannot be read"):
        verify(content, tmp_path)


def test_a_cell_without_scores_is_not_packed(tmp_path: Path, phantom: Any):
    with pytest.raises(BadBundle, match="no cells"):
        pack_cells([], Jury(load_suite("mini").judges), ("eeg2video",), tmp_path / "x.zip")
    assert not list(tmp_path.iterdir())
