"""The members of a bundle, and ways to change them; most make the digests agree again, as a forger would."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pandas as pd

from bench.core.spec import SpecError, digest

Members = dict[str, bytes]


def read_members(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def cell_of(members: Members) -> str:
    (key,) = json.loads(members["bundle.json"])["cells"]
    return f"cells/{key}/"


def first_video(members: Members) -> str:
    return next(name for name in members if name.endswith(".mp4"))


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


def retable(members: Members, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the table of trials and seal."""
    cell = cell_of(members)
    name = cell + "predictions/trials.parquet"
    table = change(pd.read_parquet(io.BytesIO(members[name])))
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    members[name] = buffer.getvalue()
    seal(members, cell)


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


def with_extra(name: str, content: bytes = b"x") -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[name] = content

    return change


def with_manifest(content: bytes) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members[cell_of(members) + "manifest.json"] = content

    return change


def with_head(content: bytes, **changes: Any) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        members["bundle.json"] = content or json.dumps({**json.loads(members["bundle.json"]), **changes}).encode()

    return change


def to_parquet(table: pd.DataFrame, **options: Any) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, **options)
    return buffer.getvalue()


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
