"""Bundles of embeddings: packed, verified, scored again and published; careless and hostile ones are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from forgery import cell_of, read_members, remake, respec, retable, seal, with_extra, write_members
from safetensors.numpy import save

import bench
from bench.core.spec import CHOSEN, SUBMITTED, CellSpec
from bench.core.splits import make_folds
from bench.datasets.catalogue import open_dataset
from bench.doors.bundles import BadBundle, open_bundle, pack_cells, verify_embeddings
from bench.harness.inputs import describe_trials
from bench.pretrained.suite import load_suite
from bench.scoring.embeddings import place_clips
from bench.scoring.score_cell import score_cell
from bench.scoring.views import Viewer
from bench.store.cells import EMBEDDINGS, Store
from bench.store.predictions import write_embeddings
from leaderboard.results import read_results

TOLD = {"space": "words", "width": 48, "concepts": 10}


@pytest.fixture(scope="module")
def packed(phantom, tmp_path_factory) -> bytes:
    """The bundle of one cell of somebody's method, which reads every other clip right: 30 trials of the phantom."""
    folder, suite = tmp_path_factory.mktemp("embedded"), load_suite("mini")
    (fold,) = make_folds(phantom, "cross_subject")
    spec = CellSpec(
        dataset="phantom_eeg:tiny", data_digest=phantom.digest, split="cross_subject", fold=fold.name, classes=40,
        method="glow", method_version=1, parameters={}, suite="mini", suite_digest=suite.digest, seed=0,
        settings={"of": "theirs"}, rules={"of": "theirs"}, output="embedding",
    )  # fmt: skip
    trials = describe_trials(phantom, fold.test, spec)
    right = place_clips("words", trials["clip"].to_numpy(), phantom, suite)
    vectors = np.where(np.arange(len(right))[:, None] % 2, right, -right)
    store = Store(folder)
    with store.publishing(spec.key) as draft:
        write_embeddings(draft, trials, vectors, "words")
        draft.manifest.update(spec=spec.as_dict(), variant="base", role="method", phantom=True, parameter_count=9)
    cell = store.find(spec.key)
    score_cell(cell, store, phantom, suite, protocols=("embedding",))
    pack_cells([cell], Viewer(suite.judges, phantom.concepts), ("embedding",), folder / "glow.zip")
    return (folder / "glow.zip").read_bytes()


def verify(content, folder):
    (folder / "bundle.zip").write_bytes(content)
    with open_bundle(folder / "bundle.zip", open_dataset, load_suite) as verified:
        return verified.report


def test_what_is_packed_verifies_and_is_published(packed, tmp_path):
    (row,) = verify(packed, tmp_path).to_dict("records")
    assert row["method"] == "glow" and row["trials"] == 30 and row["scores"] >= 3 and row["largest_difference"] < 1e-6
    assert bench.verify(tmp_path / "bundle.zip")["flags"].tolist() == [""]
    written = bench.publish_bundle(tmp_path / "bundle.zip", results=tmp_path / "results", submitter="A")
    assert [path.name for path in written] == ["glow.base.40.embedding.json", "glow.base.40.embedding.parquet"]
    rows = read_results(tmp_path / "results")
    assert set(rows["protocol"]) == {"embedding"} and set(rows["door"]) == {"submitted"}
    at = rows[rows["metric"] == "embedding_top1"].set_index("clip")["value"]
    assert sorted(at) == [0.0] * 15 + [1.0] * 15
    shown = bench.table(dataset="phantom_eeg:tiny", protocol="embedding", results=tmp_path / "results")
    assert set(shown["method"]) == {"glow"} and len(shown) == row["scores"]


def refile(change):
    """The file of embeddings written in another way, and the manifest sealed over it."""

    def apply(members):
        name = cell_of(members) + EMBEDDINGS
        members[name] = change(members[name])
        seal(members, cell_of(members))

    return apply


def revector(change):
    """The vectors changed, f32 [30, 48] as they were."""

    def write(content):
        head = int.from_bytes(content[:8], "little")
        vectors = np.frombuffer(content[8 + head :], np.float32).reshape(30, -1).copy()
        changed = change(vectors)
        return save(changed if isinstance(changed, dict) else {"embedding": np.ascontiguousarray(changed)})

    return refile(write)


def set_first(value):
    def change(vectors):
        vectors[0] = value
        return vectors

    return revector(change)


def without_file(members):
    del members[cell_of(members) + EMBEDDINGS]


def sealed_without_file(members):
    without_file(members)
    seal(members, cell_of(members))


def beside_a_video(members):
    members[cell_of(members) + "predictions/sub01/clip0001.mp4"] = b"x"
    seal(members, cell_of(members))


def altered(members):
    name = cell_of(members) + EMBEDDINGS
    members[name] = members[name][:-1] + b"\1"


def long_head(content):
    """As many bytes of head as the file can name, which a parser would have to hold."""
    return (2**40).to_bytes(8, "little") + content[8:]


UNPACKED = {  # told by names, manifest and list of files
    "missing": (without_file, "'predictions/embeddings.safetensors' is missing"),
    "missing and sealed": (sealed_without_file, "embeddings.safetensors' is odd"),
    "a video beside": (beside_a_video, "clip0001.mp4' is odd"),
    "another file": (with_extra("cells/abc/predictions/embeddings.npy"), "does not belong"),
    "no space": (remake(embedding={"width": 48, "concepts": 10}), "embedding lacks 'space'"),
    "about a list": (remake(embedding=[1]), "'embedding' is .1.; it must be dict"),
    "no about": (remake(embedding=...), "lacks 'embedding'"),
    "output of one's own": (respec(output="weights"), "has the output 'weights'"),
    "output a list": (respec(output=[]), "has the output .."),
    "called videos": (respec(output=...), "lacks 'video_shape'"),
    "videos made elsewhere": (respec(source=SUBMITTED), "never embeddings"),
    "a chosen set": (respec(split=CHOSEN), "never embeddings"),
    "altered": (altered, "has changed since"),
}
READ = {  # told by the vectors
    "no safetensors": (refile(lambda content: b"\x93NUMPY" + content[6:]), "cannot be read"),
    "a pickle": (refile(lambda content: b"\x80\x04." + content[3:]), "cannot be read"),
    "a head of a terabyte": (refile(long_head), "cannot be read"),
    "longer": (refile(lambda content: content + bytes(5000)), "its vectors take 5760"),
    "shorter": (refile(lambda content: content[:5700]), "its vectors take 5760"),
    "in doubles": (revector(lambda vectors: vectors[:, :24].astype(np.float64)), "holds .*float64"),
    "of another shape": (revector(lambda vectors: vectors.reshape(60, 24)), r"holds .*\(60, 24\)"),
    "of another name": (revector(lambda vectors: {"vectors": vectors}), "holds .*'vectors'"),
    "two": (revector(lambda vectors: {"embedding": vectors[:15], "more": vectors[15:]}), "holds .*'more'"),
    "NaN": (set_first(np.nan), "no finite embedding of 1 trials"),
    "infinite": (set_first(np.inf), "no finite embedding of 1 trials"),
    "status": (lambda m: retable(m, lambda table: table.assign(status="invalid")), "no finite embedding of 30 trials"),
    "space of one's own": (remake(embedding={**TOLD, "space": "evil.py:X"}), "embeds in 'evil.py:X'; there are image"),
    "another width": (remake(embedding={**TOLD, "width": 2**40}), "wide; words is 48 wide here"),
    "fewer concepts": (remake(embedding={**TOLD, "concepts": 2}), "tells of 2 concepts; its trials are of 10"),
}
SCORED = {
    "columns of videos": (lambda m: retable(m, lambda table: table.assign(file="x", pixels="")), "has the columns"),
    "better": (
        revector(lambda vectors: vectors * np.where(np.arange(30)[:, None], 1, -1).astype(np.float32)),
        "differs by 1",
    ),
}


@pytest.mark.parametrize("name", [*UNPACKED, *SCORED])
def test_hostile_bundles_are_refused(name, packed, tmp_path):
    change, words = {**UNPACKED, **SCORED}[name]
    members = read_members(packed)
    change(members)
    with pytest.raises(BadBundle, match=words):
        verify(write_members(members), tmp_path)


@pytest.mark.parametrize("name", READ)
def test_hostile_vectors_are_refused(name, packed, phantom, tmp_path):
    """As `verify` asks once the table of trials is known to be the fold's."""
    change, words = READ[name]
    members = read_members(packed)
    change(members)
    for member, content in members.items():
        (tmp_path / member).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / member).write_bytes(content)
    (key,) = json.loads(members["bundle.json"])["cells"]
    cell = Store(tmp_path / "cells").find(key)
    with pytest.raises(BadBundle, match=words):
        verify_embeddings(cell, cell.trials(), phantom, load_suite("mini"))


def test_it_holds_no_video_and_says_where_its_vectors_lie(packed):
    members = read_members(packed)
    manifest = json.loads(members[cell_of(members) + "manifest.json"])
    assert manifest["embedding"] == TOLD and "video_shape" not in manifest
    assert not [name for name in members if name.endswith(".mp4")]
