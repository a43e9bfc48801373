"""Submissions in one file: `pack` puts cells of a store into a zip, `verify` takes nothing in it on trust.

    bundle.json                                   schema, keys of the cells
    cells/<key>/manifest.json                     as in the store
    cells/<key>/predictions/trials.parquet        as in the store, with one lossless mp4 a trial
    cells/<key>/scores/<score key>.parquet        with its digest beside it (.sha256)

`verify` looks at the list of members before it opens one: only these names, regular files, no link, no absolute path,
no `..`, bounded in number, size and compression. Members are copied into a temporary folder, no more bytes than they
declare, and read there as a store, which checks every digest. Then the trials must be those of the fold (each once,
none extra, none without its video), every video must decode to the frames and size of the data set and to the pixels
that were promised, and the scores, made again here, must be those that came along. There is no pickle in a bundle, and
a parquet file is parsed only after its digest agreed. Whoever made the bundle could have made the videos by any means:
`verify` says that the scores are those of the videos, not where the videos came from.
"""

from __future__ import annotations

import json
import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import BenchError
from bench.jury import Jury
from bench.registry import names
from bench.runner import describe_trials
from bench.scoring import list_scores, score_cell
from bench.spec import CellSpec
from bench.splits import make_folds
from bench.store import Cell, Store, StoreError, digest_file
from bench.video import VideoError

SCHEMA = 1
MEMBER = re.compile(
    r"cells/[0-9a-z_]{1,64}/(manifest\.json|predictions/trials\.parquet"
    r"|predictions/sub\d{2,4}/clip\d{4,6}(_trial\d{6})?\.mp4|scores/[0-9a-z_]{1,64}\.parquet(\.sha256)?)"
)
MOST_MEMBERS = 200_000
MOST_BYTES = 32 * 2**30  # of all members
MOST_MEMBER = 512 * 2**20
MOST_RATIO = 200  # of size to compressed size: parquet and JSON reach 30, a bomb 1,000
TOLERANCE = 1e-3  # of a score: judges round differently on another processor


class BadBundle(BenchError):
    """A bundle that is refused, with the reason."""


def pack_cells(cells: Sequence[Cell], jury: Jury, protocols: Sequence[str], path: Path) -> None:
    """Write the cells with their scores into a zip, whole or not at all. Raises BadBundle where a score is missing."""
    if not cells:
        raise BadBundle("no cells to pack; run the method first, and name the split and variant that were run")
    draft = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            head = {"schema": SCHEMA, "cells": sorted(cell.key for cell in cells), "protocols": list(protocols)}
            add_member(archive, "bundle.json", json.dumps(head, indent=1, sort_keys=True).encode())
            for cell in sorted(cells, key=lambda one: one.key):
                for name in ("manifest.json", *sorted(cell.manifest["files"])):
                    add_member(archive, f"cells/{cell.key}/{name}", (cell.path / name).read_bytes())
                for _, metric, key in list_scores(cell, jury, protocols):
                    content, file = cell.read_scores(key), cell.score_file(key)
                    if content is None:
                        raise BadBundle(f"cell {cell.key} has no score of {metric.name}; run it again, then pack")
                    add_member(archive, f"cells/{cell.key}/scores/{file.name}", content)
                    name = digest_file(file).name
                    add_member(archive, f"cells/{cell.key}/scores/{name}", digest_file(file).read_bytes())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def add_member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """A regular file with a fixed date: the same cells give the same bundle."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".mp4") else zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


def verify_bundle(path: Path, open_data: Callable[[str], Any], load_suite: Callable[[str], Any]) -> pd.DataFrame:
    """A row a cell: key, method, variant, fold, trials, scores compared, largest difference.

    `open_data` and `load_suite` give the data set and the suite of a name. Raises BadBundle with the reason for the
    first thing that is wrong; nothing is written outside a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        head = unpack(path, Path(folder))
        store = Store(Path(folder) / "cells")
        return pd.DataFrame([verify_cell(store, key, head, open_data, load_suite) for key in head["cells"]])


def unpack(path: Path, folder: Path) -> dict[str, Any]:
    """Copy the checked members below `folder` and return the head of the bundle. Raises BadBundle."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_members(members)
            for member in members:
                place = folder / member.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source:
                    content = source.read(member.file_size + 1)
                if len(content) != member.file_size:
                    raise BadBundle(f"{member.filename} unpacks to another size than it declares")
                place.write_bytes(content)
            head = json.loads((folder / "bundle.json").read_bytes())
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadBundle(f"{path} cannot be read as a bundle: {why}; `python -m bench pack` makes one") from error
    if not isinstance(head, dict) or head.get("schema") != SCHEMA:
        raise BadBundle(f"bundle.json has no schema {SCHEMA}; pack it again with this version")
    keys, protocols = head.get("cells"), head.get("protocols")
    there = sorted({member.filename.split("/")[1] for member in members if member.filename != "bundle.json"})
    if keys != there or not keys:
        raise BadBundle(f"bundle.json names the cells {keys}, the bundle holds {there}")
    for key in keys:
        check_files(json.loads((folder / "cells" / key / "manifest.json").read_bytes()), key, members)
    if not isinstance(protocols, list) or not all(one in names("protocols") for one in protocols):
        allowed = ", ".join(names("protocols"))  # never a file, which would be run
        raise BadBundle(f"bundle.json names the protocols {protocols!r}; a list of these is needed: {allowed}")
    return head


def check_files(manifest: Any, key: str, members: Sequence[zipfile.ZipInfo]) -> None:
    """The files that a manifest names are the members of its cell, so that nothing else is ever read for it."""
    head = f"cells/{key}/"
    names = {member.filename.removeprefix(head) for member in members if member.filename.startswith(head)}
    named = set(manifest.get("files", ())) if isinstance(manifest, dict) else set()
    there = {name for name in names if name.startswith("predictions/")}
    if named != there:
        odd = sorted(named ^ there)[0]
        raise BadBundle(f"cell {key}: {odd!r} is {'missing' if odd in named else 'not named in its manifest'}")


def check_members(members: Sequence[zipfile.ZipInfo]) -> None:
    """Names, kinds, numbers and sizes, before anything is unpacked. Raises BadBundle."""
    if len(members) > MOST_MEMBERS:
        raise BadBundle(f"{len(members)} members; allowed are {MOST_MEMBERS}")
    seen: set[str] = set()
    total = 0
    for member in members:
        name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise BadBundle(f"member {name!r} points outside the bundle")
        if kind not in (0, stat.S_IFREG):
            raise BadBundle(f"member {name!r} is a link or special file; allowed are regular files")
        if name != "bundle.json" and not MEMBER.fullmatch(name):
            raise BadBundle(
                f"member {name!r} does not belong in a bundle; allowed are manifests, parquet and mp4 files"
            )
        if name in seen:
            raise BadBundle(f"member {name!r} is there twice")
        seen.add(name)
        total += member.file_size
        if member.file_size > MOST_MEMBER or total > MOST_BYTES:
            raise BadBundle(f"member {name!r} of {member.file_size} bytes: too large (a member, or all together)")
        if member.file_size > MOST_RATIO * max(1, member.compress_size) and member.file_size > 2**20:
            raise BadBundle(f"member {name!r} unpacks {member.file_size // max(1, member.compress_size)}-fold: a bomb")
    if "bundle.json" not in seen:
        raise BadBundle("there is no bundle.json; `python -m bench pack` makes bundles")


def verify_cell(
    store: Store, key: str, head: dict[str, Any], open_data: Callable[[str], Any], load_suite: Callable[[str], Any]
) -> dict[str, Any]:
    cell = store.find(key)
    if cell is None:
        raise BadBundle(f"cell {key}: {read_reason(store)}")
    spec = read_spec(cell)
    dataset, suite = open_data(spec.dataset), load_suite(spec.suite)
    if dataset.digest != spec.data_digest:
        raise BadBundle(f"cell {key} was made from other {spec.dataset} data than lies here; verify it where that lies")
    verify_trials(cell, spec, dataset)
    jury = Jury(suite.judges, dataset.concepts)
    wanted = list(list_scores(cell, jury, head["protocols"]))
    brought = [cell.scores(score) for _, _, score in wanted]
    if missing := [metric.name for (_, metric, _), rows in zip(wanted, brought, strict=True) if rows is None]:
        raise BadBundle(f"cell {key} brings no valid score of {missing[0]}; pack it again with this version and suite")
    for _, _, score in wanted:
        cell.score_file(score).unlink()
    score_cell(cell, store, dataset, suite, protocols=tuple(head["protocols"]))
    far = 0.0
    for (protocol, metric, score), theirs in zip(wanted, brought, strict=True):
        ours = cell.scores(score)
        far = max(far, compare_scores(ours, theirs, f"{protocol}/{metric.name} of cell {key}"))
    about = {"cell": key, "method": spec.method, "variant": cell.manifest["variant"], "split": spec.split}
    return {**about, "fold": spec.fold, "trials": len(cell.trials()), "scores": len(wanted), "largest_difference": far}


def read_spec(cell: Cell) -> CellSpec:
    """The cell's spec, whose digest must be its key."""
    try:
        spec = CellSpec(**cell.manifest["spec"])
    except (KeyError, TypeError) as error:
        raise BadBundle(f"cell {cell.key}: its manifest has no spec of this version ({error})") from error
    if spec.key != cell.key:
        raise BadBundle(f"cell {cell.key} is not the cell of its own spec ({spec.key})")
    if str(spec.dataset).partition(":")[0] not in names("datasets"):  # never a file, which would be run
        raise BadBundle(f"cell {cell.key} is of data set {spec.dataset!r}; there are {', '.join(names('datasets'))}")
    return spec


def verify_trials(cell: Cell, spec: CellSpec, dataset: Any) -> None:
    """The trials of the fold, each once, each with a video of the right shape that decodes as promised."""
    folds = [fold for fold in make_folds(dataset, spec.split, classes=spec.classes) if fold.name == spec.fold]
    if not folds:
        raise BadBundle(f"cell {cell.key}: {dataset.name} has no fold {spec.split}/{spec.fold}")
    expected = describe_trials(dataset, folds[0].test, spec)
    try:
        trials = cell.trials()
        same = trials[list(expected.columns)].astype("int64").sort_values("trial", ignore_index=True)
    except (KeyError, ValueError, TypeError) as error:
        raise BadBundle(f"cell {cell.key}: its table of trials is not one of the store ({error})") from error
    wanted = expected.astype("int64").sort_values("trial", ignore_index=True)
    if strange := sorted(set(trials["file"]) - {""} - set(cell.manifest["files"])):
        raise BadBundle(f"cell {cell.key}: its table of trials points to {strange[0]!r}, no file of the cell")
    if extra := sorted(set(same["trial"]) - set(wanted["trial"])):
        raise BadBundle(f"cell {cell.key} has {len(extra)} trials that the fold has not, the first {extra[0]}")
    if absent := sorted(set(wanted["trial"]) - set(same["trial"])):
        raise BadBundle(f"cell {cell.key} lacks {len(absent)} trials of the fold, the first {absent[0]}")
    if not same.equals(wanted):
        raise BadBundle(
            f"cell {cell.key}: trials are named twice or with another clip, subject or seed than the fold's"
        )
    if broken := trials.index[trials["status"] != "ok"].tolist():
        row = trials.loc[broken[0]]
        raise BadBundle(
            f"cell {cell.key} has no valid video of {len(broken)} trials, the first of trial {row['trial']} "
            f"({row['status']}: missing, or NaN, or no u8 video); such a run can be shown, not submitted"
        )
    shape = dataset.video(wanted["clip"].to_numpy()[:1]).shape[1:]
    for row in range(len(trials)):
        try:
            video = cell.read(np.array([row]))[0]
        except (StoreError, VideoError, FileNotFoundError) as error:
            raise BadBundle(f"cell {cell.key}, {trials['file'].iloc[row]}: {error}") from error
        if video.shape != shape:
            raise BadBundle(f"cell {cell.key}, {trials['file'].iloc[row]} is {video.shape}; clips here are {shape}")


def compare_scores(ours: pd.DataFrame | None, theirs: pd.DataFrame | None, what: str) -> float:
    """The largest difference of a score, relative where scores are above 1. Raises BadBundle above `TOLERANCE`."""
    assert ours is not None and theirs is not None
    place = ["subject", "clip"]
    try:
        both = ours.merge(theirs, on=place, how="outer", suffixes=("", "_theirs"), validate="one_to_one")
        values = both[["value", "value_theirs", "shuffled", "shuffled_theirs"]].to_numpy(np.float64)
    except (KeyError, ValueError) as error:
        raise BadBundle(f"the scores of {what} are no scores of this store ({error})") from error
    if np.isnan(values).any():
        raise BadBundle(f"{what}: scores of other clips, or NaN")
    scale = np.maximum(1.0, np.abs(values[:, [0, 2]]))
    far = float((np.abs(values[:, [0, 2]] - values[:, [1, 3]]) / scale).max(initial=0.0))
    if far > TOLERANCE:
        raise BadBundle(f"{what}: a score differs by {far:.3g} from the one made here; allowed is {TOLERANCE}")
    return far


def read_reason(store: Store) -> str:
    """Why the store moved the cell away."""
    found = sorted((store.root / "quarantine").glob("*/reason.txt"))
    return found[-1].read_text().strip().rpartition(": ")[2] if found else "it is not there"
