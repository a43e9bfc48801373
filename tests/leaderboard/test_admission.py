"""What may stand among the committed results: each kind of forgery is refused, with its reason."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.core.built_in import BUILT_IN
from leaderboard.admission import (
    REPRODUCED,
    SUBMITTED,
    ResultsError,
    admit,
    admit_group,
    admit_records,
    admit_scores,
    alike,
    canonical_dataset,
    check_owner,
    check_variant,
)
from leaderboard.results import RESULTS, read_manifests


def make_manifest(**changes: Any) -> dict[str, Any]:
    """A cell of a submitted method; `spec.x` changes its spec."""
    manifest: dict[str, Any] = {
        "key": "0123456789abcdef",
        "spec": {
            "dataset": "phantom_eeg", "data_digest": "d" * 64, "split": "single_subject", "fold": "sub01",
            "classes": 40, "method": "glow", "method_version": 1, "parameters": {}, "suite": "mini",
            "suite_digest": "e" * 64, "seed": 0, "source": "",
        },
        "variant": "base", "role": "method", "parameter_count": 7, "phantom": True, "trial_count": 40,
        "prediction_digest": "f" * 64, "video_shape": [6, 64, 64, 3], "started": 1e9, "phases": {"fit": 2.5},
    }  # fmt: skip
    manifest = copy.deepcopy(manifest)
    for name, value in changes.items():
        place = manifest["spec"] if name.startswith("spec_") else manifest
        place[name.removeprefix("spec_")] = value
    return manifest


EMBEDDED = {"space": "words", "width": 64, "concepts": 40}


def embedded(**changes: Any) -> dict[str, Any]:
    """The changes that make of a cell one of embeddings, these about them changed too."""
    return {"spec_output": "embedding", "embedding": {**EMBEDDED, **changes}}


def test_an_honest_cell_is_admitted():
    admit(make_manifest(), door=SUBMITTED, folds=["sub01", "sub02"])
    admit(make_manifest(**embedded()), door=SUBMITTED, folds=["sub01", "sub02"])


FORGED = {
    "split clips": ({"spec_split": "clips", "spec_fold": "clips"}, "`clips` is for floors"),
    "no split": ({"spec_split": "my_split"}, "is of split 'my_split'"),
    "a control's name": ({"spec_method": "train_mean"}, "calls itself a 'method'; train_mean is a control"),
    "a control's name and role": ({"spec_method": "train_mean", "role": "control"}, "holds a control"),
    "a ceiling's name": ({"spec_method": "codec"}, "codec is a ceiling"),
    "role of a ceiling": ({"role": "ceiling"}, "calls itself a 'ceiling'; glow is a method"),
    "role of a baseline": ({"role": "baseline"}, "glow is a method here"),
    "no role": ({"role": "winner"}, "calls itself a 'winner'"),
    "a suite's name": ({"spec_method": "mini"}, "called as 'mini'"),
    "a data set's name": ({"spec_method": "phantom_eeg"}, "called as 'phantom_eeg'"),
    "a word of the table": ({"spec_method": "shuffled_brain"}, "called as 'shuffled_brain'"),
    "another case": ({"spec_method": "SAM_Net"}, "called as 'sam_net'"),
    "another dash": ({"spec_method": "sam-net"}, "called as 'sam_net'"),
    "no dash": ({"spec_method": "samnet"}, "called as 'sam_net'"),
    "a digit for a letter": ({"spec_method": "c0dec"}, "called as 'codec'"),
    "l for i": ({"spec_method": "retr1eval"}, "called as 'retrieval'"),
    "rn for m": ({"spec_method": "sarn_net"}, "called as 'sam_net'"),
    "letters of another script": ({"spec_method": "s\u0430m_net"}, "cannot be committed"),
    "full-width letters": ({"spec_method": "\uff53am_net"}, "cannot be committed"),
    "markup": ({"spec_method": "<b>glow</b>"}, "cannot be committed"),
    "a path": ({"spec_method": "../glow"}, "cannot be committed"),
    "a file's class": ({"spec_method": "glow.py:Glow"}, "cannot be committed"),
    "no name": ({"spec_method": ""}, "cannot be committed"),
    "a long name": ({"spec_method": "g" * 65}, "cannot be committed"),
    "variant with markup": ({"variant": "base</td><script>"}, "cannot be committed"),
    "changed variant": ({"variant": "base[epochs=5]"}, "cannot be committed"),
    "variant nearly base": ({"variant": "Base"}, "nearly as 'base'"),
    "fold with markup": ({"spec_fold": "<i>"}, "cannot be committed"),
    "fold of another split": ({"spec_fold": "sub99"}, "has no fold 'sub99'"),
    "data set with markup": ({"spec_dataset": "phantom_eeg\x1b[2J"}, "no plain name of a data set"),
    "data set alike": ({"spec_dataset": "phantorn_eeg"}, "nearly as 'phantom_eeg'"),
    "many parameters": ({"parameter_count": 10**30}, "parameter_count holds the number 1e[+]30"),
    "negative parameters": ({"parameter_count": -1}, "parameter_count is -1"),
    "half a parameter": ({"parameter_count": 7.5}, "'parameter_count' is 7.5; it must be int"),
    "parameters a flag": ({"parameter_count": True}, "it must be int"),
    "parameters NaN": ({"parameter_count": float("nan")}, "no plain JSON"),
    "code of no commit": ({"provenance": {"dirty": True}}, "changed since its commit"),
    "another output": ({"spec_output": "weights"}, "holds its 'weights'; a cell holds videos, or embeddings"),
    "embeddings of nowhere": ({"spec_output": "embedding"}, "says nothing of its embeddings"),
    "embeddings beside videos": ({"embedding": EMBEDDED}, "holds videos, and tells of embeddings"),
    "embeddings a list": ({"spec_output": "embedding", "embedding": []}, "'embedding' is ..; it must be dict"),
    "no space": ({"spec_output": "embedding", "embedding": {"width": 8, "concepts": 9}}, "lacks 'space'"),
    "space of one's own": (embedded(space="mine"), "embeds in 'mine'; there are image, text, words, action"),
    "width of nothing": (embedded(width=0), "width is 0; allowed is 1 to 65536"),
    "width beyond all": (embedded(width=2**40), "width is 1099511627776; allowed is 1 to 65536"),
    "width a flag": (embedded(width=True), "'width' is True; it must be int"),
    "more concepts than classes": (embedded(concepts=41), "concepts is 41; allowed is 1 to 40"),
    "negative seed": ({"spec_seed": -1}, "seed is -1"),
    "seed out of the rules": ({"spec_seed": 10**9}, "seed is 1e[+]09"),
    "seed a text": ({"spec_seed": "0"}, "'seed' is '0'; it must be int"),
    "classes of one's own": ({"spec_classes": 3}, "is of 3 classes"),
    "no phantom": ({"phantom": False}, "whether phantom_eeg is a phantom"),
    "phantom for real": ({"spec_dataset": "seed_dv"}, "whether seed_dv is a phantom"),
    "phantom a number": ({"phantom": 1}, "it must be bool"),
    "negative time": ({"phases": {"fit": -3.0}}, "phases.'fit'. is -3.0"),
    "time a text": ({"started": "now"}, "started is 'now'"),
    "infinite time": ({"started": float("inf")}, "no plain JSON"),
    "memory below zero": ({"peak_memory_bytes": -1}, "peak_memory_bytes is -1"),
    "number beyond all formats": ({"extra": [2**70]}, "holds the number"),
    "a long text": ({"extra": "x" * 10**5}, "holds a text of 100000 characters"),
    "a large manifest": ({"extra": ["x" * 4000] * 5000}, "allowed are 16777216"),
    "files a list": ({"files": []}, "'files' is ..; it must be dict"),
    "shape a text": ({"video_shape": "6x64x64x3"}, "it must be list"),
    "spec a list": ({"spec": []}, "'spec' is"),
    "parameters a list": ({"spec_parameters": []}, "it must be dict"),
    "key a number": ({"key": 5}, "'key' is 5"),
    "many trials": ({"trial_count": 10**9}, "trial_count"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_cells_are_refused(name):
    changes, words = FORGED[name]
    manifest = make_manifest(**changes) if name != "spec a list" else {**make_manifest(), "spec": []}
    with pytest.raises(ResultsError, match=words):
        admit(manifest, door=SUBMITTED, folds=["sub01"])


@pytest.mark.parametrize("what", [None, [], "text", {}, {"spec": {}}])
def test_what_is_no_manifest_is_refused(what):
    with pytest.raises(ResultsError):
        admit(what, door=REPRODUCED)


def test_all_that_is_committed_is_admitted_and_no_two_names_of_the_project_are_alike():
    for manifest in read_manifests(RESULTS):
        admit({name: value for name, value in manifest.items() if name != "manifest_digest"}, door=REPRODUCED)
        check_variant(manifest)
    project = [name for kind in BUILT_IN for name in BUILT_IN[kind]]
    assert len({alike(name) for name in project}) == len(set(project))


def test_a_method_of_the_project_has_its_own_parameters():
    check_variant(make_manifest(spec_method="sam_net"))
    with pytest.raises(ResultsError, match="its parameters are others"):
        check_variant(make_manifest(spec_method="sam_net", spec_parameters={"epochs": 10**6}))


@pytest.mark.parametrize("seeds", [(7, 113, 29), (1,), (0, 2), (0, 1, 3)])
def test_seeds_are_those_that_the_rules_fix(seeds):
    with pytest.raises(ResultsError, match="the rules fix them"):
        admit_group([make_manifest(spec_seed=seed) for seed in seeds], "glow")
    admit_group([make_manifest(spec_seed=seed) for seed in range(len(seeds))], "glow")


def test_a_fold_and_seed_is_claimed_once_and_cells_are_bounded():
    with pytest.raises(ResultsError, match="2 cells of fold sub01 with seed 0"):
        admit_group([make_manifest(), make_manifest(key="another")], "glow")
    with pytest.raises(ResultsError, match="has 10000 cells"):
        admit_group([make_manifest()] * 10_000, "glow")


def make_record(method: str = "glow", owner: str = "", door: str = SUBMITTED, **spec: Any) -> dict[str, Any]:
    spec = {f"spec_{name}": value for name, value in {"method": method, **spec}.items()}
    return {"door": door, "owner": owner, "cells": [make_manifest(**spec)]}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"owner": "B"}, "belongs to who published it first"),
        ({"owner": "B", "dataset": "phantom_fmri", "data_digest": "a" * 64}, "belongs to who published it first"),
        ({"door": REPRODUCED}, "belongs to who published it first"),
        ({"method": "G-low", "owner": "B"}, "'G-low' is called nearly as 'glow'"),
        ({"method": "gl0w", "owner": "A"}, "'gl0w' is called nearly as 'glow'"),
        ({"method": "two", "data_digest": "a" * 64}, "different phantom_eeg data"),
        ({"method": "two", "suite_digest": "a" * 64}, "different phantom_eeg data or mini networks"),
        ({"method": "two", "dataset": "my_phantom"}, "is the same data as phantom_eeg"),
    ],
)
def test_files_do_not_contradict_each_other(other, words):
    mine = make_record(owner="A")
    with pytest.raises(ResultsError, match=words):
        admit_records({Path("a"): mine, Path("b"): make_record(**other)})


def test_a_name_stays_with_its_owner_and_aliases_are_one_data_set():
    admit_records({Path("a"): make_record(owner="A"), Path("b"): make_record(owner="A", dataset="phantom_eeg:small")})
    assert canonical_dataset("phantom_eeg:small") == canonical_dataset("phantom_eeg:") == "phantom_eeg"
    assert canonical_dataset("phantom_eeg:tiny") == "phantom_eeg:tiny" and canonical_dataset("seed_dv") == "seed_dv"


@pytest.mark.parametrize("owner", ["", "  ", "x" * 129, "a\x1b[2J"])
def test_an_owner_is_a_short_line(owner):
    with pytest.raises(ResultsError, match="submitter"):
        check_owner(owner)
    assert check_owner("  A.\u00a0Author   <a@x.org> ") == "A. Author <a@x.org>"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": np.nan}, "corrected/ssim"),
        ({"shuffled": np.inf}, "corrected/ssim"),
        ({"value": 1.1}, "no number of -1 to 1"),
        ({"value": -1.1}, "no number of -1 to 1"),
        ({"metric": "mine"}, "no metric of the project"),
        ({"protocol": "mine"}, "no metric of the project"),
        ({"status": "great"}, "status 'great'"),
    ],
)
def test_scores_are_numbers_within_their_bounds(change, words):
    rows = pd.DataFrame([{"protocol": "corrected", "metric": "ssim", "status": "ok", "value": 0.5, "shuffled": 0.1}])
    admit_scores(rows, "glow")
    with pytest.raises(ResultsError, match=words):
        admit_scores(rows.assign(**change), "glow")
