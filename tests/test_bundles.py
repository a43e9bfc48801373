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

from bench.bundles import BadBundle, open_bundle, pack_cells
from bench.cli import main
from bench.datasets.catalogue import open_dataset
from bench.jury import Jury
from bench.pretrained.suite import load_suite
from bench.runner import Run, plan, run_job
from bench.spec import SpecError, digest
from bench.store import Store
from bench.video import encode_lossless
from leaderboard.results import read_results

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
    with open_bundle(path, open_dataset, load_suite) as verified:
        return verified.report


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


def test_a_submission_is_published_with_its_door(packed, phantom, tmp_path, capsys):
    suite, store = load_suite("mini"), Store(tmp_path / "runs")
    run = Run(method="retrieval", split="cross_subject", dataset="phantom_eeg:tiny", protocols=("corrected",))
    key = run_job(plan(run, phantom, suite.digest)[0], store)
    path, results = tmp_path / "theirs.zip", tmp_path / "results"
    pack_cells([store.find(key)], Jury(suite.judges, phantom.concepts), ("corrected",), path)
    assert main(["publish", "--bundle", str(path), "--results", str(results)]) == 0
    rows = read_results(results)
    assert set(rows["door"]) == {"submitted"} and set(rows["cell"]) == {key}
    assert main(["board", "--results", str(results), "--output", str(tmp_path / "board")]) == 0
    assert "| submitted" in (tmp_path / "board" / "LEADERBOARD.md").read_text()
    path.write_bytes(packed)  # a floor
    assert main(["publish", "--bundle", str(path), "--results", str(results)]) == 1
    assert "holds a control; only methods and baselines are submitted" in capsys.readouterr().err


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


def other_trial(members: Members) -> None:
    retable(members, lambda table: table.assign(trial=[99_999, *table["trial"][1:]]))


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


def remake(**changes: Any) -> Callable[[Members], None]:
    """Change what a manifest says, and its digest with it, as a forger would; `...` takes a part away."""

    def change(members: Members) -> None:
        name = cell_of(members) + "manifest.json"
        manifest = json.loads(members[name])
        manifest.pop("manifest_digest")
        manifest = {key: value for key, value in {**manifest, **changes}.items() if value is not ...}
        try:
            manifest["manifest_digest"] = digest(manifest)
        except SpecError:  # what no digest can be taken of
            manifest["manifest_digest"] = "0" * 64
        members[name] = json.dumps(manifest).encode()

    return change


def respec(**changes: Any) -> Callable[[Members], None]:
    """A cell of another spec, whose key, name and digest agree with one another."""

    def change(members: Members) -> None:
        old = cell_of(members)
        manifest = json.loads(members[old + "manifest.json"])
        spec = {key: value for key, value in {**manifest["spec"], **changes}.items() if value is not ...}
        key = digest(spec)[:16]
        for name in [name for name in members if name.startswith(old)]:
            members[name.replace(old, f"cells/{key}/")] = members.pop(name)
        head = json.loads(members["bundle.json"])
        members["bundle.json"] = json.dumps({**head, "cells": [key]}).encode()
        remake(spec=spec, key=key)(members)

    return change


def with_manifest(content: bytes) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[cell_of(members) + "manifest.json"] = content

    return change


def without_manifest(members: Members) -> None:
    del members[cell_of(members) + "manifest.json"]


def with_head(content: bytes, **changes: Any) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members["bundle.json"] = content or json.dumps({**json.loads(members["bundle.json"]), **changes}).encode()

    return change


def with_table(content: Callable[[pd.DataFrame], bytes]) -> Callable[[Members], None]:
    """The table of trials written in another way, sealed."""

    def change(members: Members) -> None:
        name = cell_of(members) + "predictions/trials.parquet"
        members[name] = content(pd.read_parquet(io.BytesIO(members[name])))
        seal(members, cell_of(members))

    return change


def with_scores(content: Callable[[pd.DataFrame], bytes]) -> Callable[[Members], None]:
    """A file of scores written in another way, with its digest."""

    def change(members: Members) -> None:
        name = next(name for name in members if "/scores/" in name and name.endswith(".parquet"))
        members[name] = content(pd.read_parquet(io.BytesIO(members[name])))
        line = f"{hashlib.sha256(members[name]).hexdigest()}  {name.rpartition('/')[2]}\n"
        members[name + ".sha256"] = line.encode()

    return change


def to_parquet(table: pd.DataFrame, **options: Any) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, **options)
    return buffer.getvalue()


def many_rows(table: pd.DataFrame) -> bytes:
    """A million rows of the same: some kilobytes."""
    return to_parquet(table.iloc[np.zeros(1_000_000, np.int64)])


def many_lists(table: pd.DataFrame) -> bytes:
    """A row of a million numbers in one column."""
    return to_parquet(table.assign(trial=[np.zeros(1_000_000, np.int64), *[[0]] * (len(table) - 1)]))


def no_codec(table: pd.DataFrame) -> bytes:
    """A codec that does not exist, in the footer: pyarrow ends its process for it."""
    written = to_parquet(table)
    made = written.replace(b"\x05trial\x15\x02", b"\x05trial\x15\x6c")
    assert made != written
    return made


def many_small(members: Members) -> None:
    for number in range(200):
        members[f"cells/abc/predictions/sub00/clip{number:04d}.mp4"] = b"\0" * 2**20


def long_video(members: Members) -> None:
    """Frames without end, in a cell that promises the right ones."""
    members[first_video(members)] = encode_lossless(np.zeros((500, 64, 64, 3), np.uint8), fps=3)
    seal(members, cell_of(members))


def large_video(members: Members) -> None:
    members[first_video(members)] = encode_lossless(np.zeros((6, 1024, 1024, 3), np.uint8), fps=3)
    seal(members, cell_of(members))


def playlist(members: Members) -> None:
    """What a guess of the format would follow to another file."""
    members[first_video(members)] = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    seal(members, cell_of(members))


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
    "wrong frames": (wrong_frames, "does not decode to the pixels"),
    "NaN": (nan_trial, "no valid video of 1 trials"),
    "lacking trial": (lacking_trial, "lacks 1 trials"),
    "extra trial": (extra_trial, "has 11 rows; the fold has 10"),
    "other trial": (other_trial, "1 trials that the fold has not"),
    "file outside": (outside_file, "points to"),
    "altered manifest": (altered_manifest, "not what its own digest says"),
    "other spec": (other_spec, "not the cell of its own spec"),
    "better scores": (better_scores, "differs by 0.5"),
    "altered scores": (altered_scores, "no valid score"),
    "no head": (no_head, "no bundle.json"),
    "other head": (other_head, "names the cells"),
    "head no JSON": (with_head(b"{"), "bundle.json is no JSON"),
    "head a list": (with_head(b"[]"), "bundle.json is list"),
    "head deep": (with_head(b"[" * 100_000), "bundle.json is no JSON"),
    "head of a file": (with_head(b"", protocols=["evil.py:X"]), "names the protocols"),
    "head of lists": (with_head(b"", protocols=[["eeg2video"]]), "names the protocols"),
    "head without protocols": (with_head(b"", protocols=[]), "names the protocols"),
    "head of one twice": (with_head(b"", protocols=["eeg2video"] * 2), "names the protocols"),
    "no manifest": (without_manifest, "manifest.json is missing"),
    "manifest no JSON": (with_manifest(b"{"), "manifest.json is no JSON"),
    "manifest no text": (with_manifest(b"\xff\xfe\xfd"), "manifest.json is no JSON"),
    "manifest too deep to read": (with_manifest(b"[" * 100_000), "manifest.json is no JSON"),
    "manifest deep": (remake(deep=json.loads("[" * 200 + "]" * 200)), "nested deeper than 32"),
    "manifest a list": (with_manifest(b"[1]"), "is list, no JSON object"),
    "manifest of NaN": (remake(started=float("nan")), "is nan"),
    "manifest too large": (with_manifest(b" " * (17 * 2**20)), "too large"),
    "files a number": (remake(files=5), "'files' is 5; it must be dict"),
    "files a list": (remake(files=[[1]]), "it must be dict"),
    "file a number": (remake(files={"predictions/trials.parquet": 1}), "is int; it must hold bytes, sha256"),
    "file without bytes": (remake(files={"predictions/trials.parquet": {"sha256": ""}}), "lacks 'bytes'"),
    "no key": (remake(key=...), "lacks 'key'"),
    "another key": (remake(key="0" * 16), "is of the cell '0000"),
    "no variant": (remake(variant=...), "lacks 'variant'"),
    "variant a list": (remake(variant=["base"]), "'variant' is .*; it must be str"),
    "variant of a terminal's codes": (remake(variant="\x1b[2J"), "'variant' is .*; it must be str"),
    "no prediction digest": (remake(prediction_digest=...), "lacks 'prediction_digest'"),
    "shape of texts": (remake(video_shape=["6", 64, 64, 3]), "video_shape"),
    "shape larger": (remake(video_shape=[6000, 64, 64, 3]), "has videos of"),
    "spec a text": (remake(spec="base"), "'spec' is 'base'; it must be dict"),
    "suite a list": (respec(suite=["mini"]), "'suite' is .*; it must be str"),
    "suite a folder": (respec(suite="/tmp/evil"), "of suite '/tmp/evil'; there are mini, paper"),
    "other suite": (respec(suite_digest="0" * 64), "other networks than the suite mini has here"),
    "data set a list": (respec(dataset=["phantom_eeg"]), "'dataset' is .*; it must be str"),
    "data set a file": (respec(dataset="phantom_eeg:evil.py:X"), "of data set 'phantom_eeg:evil.py:X'; there are"),
    "data set of no size": (respec(dataset="phantom_eeg:huge"), "of data set 'phantom_eeg:huge'; there are"),
    "classes a flag": (respec(classes=True), "'classes' is True; it must be int"),
    "other classes": (respec(classes=7), "no class subset of 7"),
    "no seed": (respec(seed=...), "lacks 'seed'"),
    "spec of another version": (respec(more=1), "no spec of this version"),
    "many small members": (many_small, "-fold: a bomb"),
    "long video": (long_video, "7 frames of 64×64 are not the 6 of 64×64"),
    "large video": (large_video, "cannot be decoded|not the 6 of 64×64"),
    "playlist": (playlist, "cannot be decoded"),
    "trials no parquet": (with_table(lambda table: b"garbage"), "trials.parquet is no parquet file"),
    "trials half a parquet": (with_table(lambda table: b"PAR1garbagePAR1"), "trials.parquet is no parquet file"),
    "no file column": (with_table(lambda table: to_parquet(table.drop(columns="file"))), "has the columns"),
    "no status column": (with_table(lambda table: to_parquet(table.drop(columns="status"))), "has the columns"),
    "extra column": (with_table(lambda table: to_parquet(table.assign(more=1))), "has the columns"),
    "trials of texts": (with_table(lambda table: to_parquet(table.astype({"clip": str}))), "clip is .*string"),
    "trials of lists": (with_table(many_lists), "bytes; 10 rows take|trial is list"),
    "empty places": (with_table(lambda table: to_parquet(table.assign(file=[None, *table["file"][1:]]))), "1 empty"),
    "many rows": (with_table(many_rows), "has 1000000 rows; the fold has 10"),
    "another codec": (with_table(lambda table: to_parquet(table, compression="gzip")), "compressed by GZIP"),
    "no codec": (with_table(no_codec), "trials.parquet ends the parser"),
    "long texts": (with_table(lambda table: to_parquet(table.assign(pixels="0" * 1000))), "longer than 256"),
    "longer texts": (with_table(lambda table: to_parquet(table.assign(pixels="0" * 10**6))), "bytes; 10 rows take"),
    "lists": (with_table(lambda table: to_parquet(table.assign(trial=[[0] * 9] * 10))), "trial is list"),
    "scores no parquet": (with_scores(lambda table: b"garbage"), "is no parquet file"),
    "scores of many rows": (with_scores(many_rows), "has 1000000 rows; the fold has 10"),
    "scores without values": (with_scores(lambda table: to_parquet(table.drop(columns="value"))), "has the columns"),
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


def test_a_damaged_member_is_refused(packed, tmp_path):
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        member = next(one for one in archive.infolist() if one.filename.endswith("manifest.json"))
    start = member.header_offset + 30 + len(member.filename)
    with pytest.raises(BadBundle, match="cannot be read"):
        verify(packed[:start] + b"\xff" * 200 + packed[start + 200 :], tmp_path)


def test_another_compression_is_refused(packed, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in read_members(packed).items():
            archive.writestr(name, content)
    with pytest.raises(BadBundle, match="compressed by method 14"):
        verify(buffer.getvalue(), tmp_path)


def test_what_a_table_tells_pandas_is_ignored(packed, tmp_path):
    members = read_members(packed)
    cell = cell_of(members)
    name = cell + "predictions/trials.parquet"
    buffer = io.BytesIO()
    pd.read_parquet(io.BytesIO(members[name])).set_index("file").to_parquet(buffer)  # an index is no column to pandas
    members[name] = buffer.getvalue()
    seal(members, cell)
    assert len(verify(write_members(members), tmp_path)) == 1


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
