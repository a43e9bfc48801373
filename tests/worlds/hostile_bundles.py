"""A corpus of hostile and careless bundles: what is done to the members of a good one, and why it is refused."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pandas as pd
from forgery import (
    Members,
    cell_of,
    first_video,
    remake,
    respec,
    retable,
    seal,
    to_parquet,
    with_extra,
    with_head,
    with_manifest,
    with_scores,
    with_table,
)

from bench.store.video import encode_lossless


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


def other_seed(members: Members) -> None:
    retable(members, lambda table: table.assign(seed=[table["seed"][0] + 1, *table["seed"][1:]]))


def swapped_clips(members: Members) -> None:
    """Two trials that say of each other's clip that they show it: their scores would be of other videos."""
    retable(members, lambda table: table.assign(clip=table["clip"].iloc[[1, 0, *range(2, len(table))]].to_numpy()))


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


def without_manifest(members: Members) -> None:
    del members[cell_of(members) + "manifest.json"]


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
    members["bundle.json"] = b'{"schema": 2, "cells": ["0123456789abcdef"], "protocols": []}'


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
    "other seed": (other_seed, "another clip, subject or seed"),
    "swapped clips": (swapped_clips, "another clip, subject or seed"),
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
    "suite a folder": (respec(suite="/tmp/evil"), "of suite '/tmp/evil'; there are mini, light, paper"),
    "other suite": (respec(suite_digest="0" * 64), "other networks than the suite mini has here"),
    "data set a list": (respec(dataset=["phantom_eeg"]), "'dataset' is .*; it must be str"),
    "data set a file": (respec(dataset="phantom_eeg:evil.py:X"), "of data set 'phantom_eeg:evil.py:X'; there are"),
    "data set of no size": (respec(dataset="phantom_eeg:huge"), "of data set 'phantom_eeg:huge'; there are"),
    "classes a flag": (respec(classes=True), "'classes' is True; it must be int"),
    "other classes": (respec(classes=7), "no class subset of 7"),
    "no seed": (respec(seed=...), "lacks 'seed'"),
    "spec of another version": (respec(more=1), "no spec of this version"),
    "many small members": (many_small, "-fold: a bomb"),
    "long video": (long_video, "500 frames of 64×64 are not the 6 of 64×64"),
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
