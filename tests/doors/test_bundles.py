"""Bundles: what is packed verifies; a corpus of hostile and careless ones is refused, each with its reason."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from forgery import cell_of, read_members, seal, write_members
from hostile_bundles import HOSTILE

from bench.cli import main
from bench.core.job import Run
from bench.datasets.catalogue import open_dataset
from bench.doors.bundles import BadBundle, open_bundle, pack_cells
from bench.harness.plan import plan
from bench.harness.run_cell import run_job
from bench.pretrained.suite import load_suite
from bench.scoring.views import Viewer
from bench.store.cells import Store
from leaderboard.results import read_results


@pytest.fixture(scope="module")
def packed(phantom, tmp_path_factory) -> bytes:
    """The bundle of one cell on the tiny phantom."""
    folder = tmp_path_factory.mktemp("pack")
    suite = load_suite("mini")
    run = Run(method="random_clip", split="cross_subject", dataset="phantom_eeg:tiny", protocols=("eeg2video",))
    store = Store(folder / "runs")
    key = run_job(plan(run, phantom, suite)[0], store)
    path = folder / "random_clip.zip"
    made = []
    for _ in range(2):
        pack_cells([store.find(key)], Viewer(suite.judges, phantom.concepts), ("eeg2video",), path)
        made.append(path.read_bytes())
    assert made[0] == made[1]
    return made[0]


def verify(content: bytes, folder: Path) -> pd.DataFrame:
    path = folder / "bundle.zip"
    path.write_bytes(content)
    with open_bundle(path, open_dataset, load_suite) as verified:
        return verified.report


def test_what_is_packed_verifies(packed, phantom, tmp_path):
    (row,) = verify(packed, tmp_path).to_dict("records")
    assert row["method"] == "random_clip" and row["trials"] == 10 and row["scores"] > 3
    assert row["largest_difference"] < 1e-6


def test_a_submission_is_published_with_its_door(packed, phantom, tmp_path, capsys):
    suite, store = load_suite("mini"), Store(tmp_path / "runs")
    run = Run(method="retrieval", split="cross_subject", dataset="phantom_eeg:tiny", protocols=("corrected",))
    key = run_job(plan(run, phantom, suite)[0], store)
    path, results = tmp_path / "theirs.zip", tmp_path / "results"
    pack_cells([store.find(key)], Viewer(suite.judges, phantom.concepts), ("corrected",), path)
    assert main(["publish", "--bundle", str(path), "--results", str(results)]) == 0
    rows = read_results(results)
    assert set(rows["door"]) == {"submitted"} and set(rows["cell"]) == {key}
    assert main(["board", "--results", str(results), "--output", str(tmp_path / "board")]) == 0
    assert "| submitted" in (tmp_path / "board" / "LEADERBOARD.md").read_text()
    path.write_bytes(packed)  # a floor
    assert main(["publish", "--bundle", str(path), "--results", str(results)]) == 1
    assert "holds a control; only methods and baselines are submitted" in " ".join(capsys.readouterr().err.split())


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
        pack_cells([], Viewer(load_suite("mini").judges), ("eeg2video",), tmp_path / "x.zip")
    assert not list(tmp_path.iterdir())
