"""Submissions in one file: `pack` puts cells of a store into a zip, `verify` takes nothing in it on trust.

    bundle.json                                   schema, keys of the cells
    cells/<key>/manifest.json                     as in the store
    cells/<key>/predictions/trials.parquet        as in the store, with one lossless mp4 a trial, or
    cells/<key>/predictions/embeddings.safetensors  with the embeddings of all trials, and no video
    cells/<key>/scores/<score key>.parquet        with its digest beside it (.sha256)

`verify` looks at the list of members before it opens one: only these names, regular files, no link, no absolute path,
no `..`, bounded in number, size and compression. Members are copied into a temporary folder, no more bytes than they
declare, and read there as a store, which checks every digest; what a manifest must hold is checked before
(`bench.doors.unpacking`). Then the trials must be those of the fold (each once, none extra, none without its video),
every video must decode to the frames and size of the data set, where decoding stops, and to the pixels that were
promised, or every embedding be finite and as wide as its space, and the scores, made again here, must be those that
came along. There is no pickle in a bundle, and a parquet
file is parsed only after its digest agreed and its rows and columns were those of the fold. Whoever made the bundle
could have made the videos by any means: `verify` says that the scores are those of the videos, not where the videos
came from. Of submitted videos (`bench.doors.submission`) clips may be missing, which are counted; chosen sets of them
(`bench.doors.chosen`) bring no scores: these are made here, against a truth that is named again.
"""

from __future__ import annotations

import json
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy

from bench.core.registry import names
from bench.core.spec import CHOSEN, CellSpec, is_submitted
from bench.core.splits import SplitError, make_folds
from bench.datasets.catalogue import dataset_names, film_shape
from bench.doors.chosen import Truth, check_chosen, check_told, flag_chosen, pair_up
from bench.doors.recalled import digest_looked, keep, recall
from bench.doors.unpacking import SCHEMA, TABLE, BadBundle, check_tables, read_json, unpack
from bench.doors.videos import score_videos
from bench.harness.inputs import describe_trials
from bench.scoring.embeddings import SPACES, place_clips
from bench.scoring.lookup import find_protocol
from bench.scoring.score_cell import score_cell
from bench.scoring.stored import list_scores
from bench.scoring.views import Viewer
from bench.store import disk
from bench.store.cells import EMBEDDINGS, Cell, Store, StoreError, digest_file
from bench.store.video import VideoError

WITHOUT_TRUTH = "vbench"  # the protocol that asks for no true videos
MOST_HEAD = 4096  # bytes of a file of embeddings before its vectors; 100 are usual
TOLERANCE = 1e-3  # of a score: judges round differently on another processor


def pack_cells(cells: Sequence[Cell], viewer: Viewer | None, protocols: Sequence[str], path: Path) -> None:
    """Write the cells with their scores into a zip, whole or not at all. Raises BadBundle where a score is missing.

    Chosen sets have no scores, and need no viewer.
    """
    if not cells:
        raise BadBundle("no cells to pack; run the method first, and name the split and variant that were run")
    with disk.new_file(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        head = {"schema": SCHEMA, "cells": sorted(cell.key for cell in cells), "protocols": list(protocols)}
        add_member(archive, "bundle.json", json.dumps(head, indent=1, sort_keys=True).encode())
        for cell in sorted(cells, key=lambda one: one.key):
            for name in ("manifest.json", *sorted(cell.manifest["files"])):
                add_member(archive, f"cells/{cell.key}/{name}", (cell.path / name).read_bytes())
            for _, metric, key in () if viewer is None else list_scores(cell, viewer, protocols):
                content, file = cell.read_scores(key), cell.score_file(key)
                if content is None:
                    raise BadBundle(f"cell {cell.key} has no score of {metric.name}; run it again, then pack")
                add_member(archive, f"cells/{cell.key}/scores/{file.name}", content)
                name = digest_file(file).name
                add_member(archive, f"cells/{cell.key}/scores/{name}", digest_file(file).read_bytes())


def add_member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """A regular file with a fixed date: the same cells give the same bundle."""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    info.compress_type = zipfile.ZIP_STORED if name.endswith(".mp4") else zipfile.ZIP_DEFLATED
    archive.writestr(info, content)


class Verified(NamedTuple):
    """What a bundle holds, once all of it is verified; the scores are those made again here."""

    store: Store
    cells: list[Cell]
    protocols: tuple[str, ...]
    report: pd.DataFrame  # a row a cell: key, method, variant, fold, trials, scores compared, largest difference
    scored: Mapping[str, pd.DataFrame] = {}  # of each chosen set what `bench.score` gives


FindTruth = Callable[[Mapping[str, Any]], Truth]  # of a chosen set's manifest: where its true clips are


def find_no_truth(manifest: Mapping[str, Any]) -> Truth:
    return Truth()


@contextmanager
def open_bundle(
    path: Path,
    open_data: Callable[[str], Any],
    load_suite: Callable[[str], Any],
    *,
    check: Callable[[Sequence[Mapping[str, Any]]], None] = lambda manifests: None,
    find_truth: FindTruth = find_no_truth,
) -> Iterator[Verified]:
    """The bundle, verified and unpacked for as long as the block lasts.

    `open_data` and `load_suite` give the data set and the suite of a name; `check` is shown the manifests of all cells
    before anything dear is done with them, and may raise. `find_truth` says where the truth of a chosen set lies.
    Raises BadBundle with the reason for the first thing that is wrong; nothing is written outside a temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        head = unpack(path, Path(folder))
        store = Store(Path(folder) / "cells")
        manifests = [read_json(store.root / key / "manifest.json", key) for key in head["cells"]]
        check(manifests)
        chosen = [one["spec"]["split"] == CHOSEN for one in manifests]
        if any(chosen) and not all(chosen):
            raise BadBundle(f"{path} holds chosen sets and whole ones; pack one of both")
        scored: dict[str, pd.DataFrame] = {}
        if any(chosen):
            rows = []
            for key in head["cells"]:
                row, scored[key] = verify_chosen(store, key, head, find_truth, load_suite)
                rows.append(row)
        else:
            rows = [verify_cell(store, key, head, open_data, load_suite) for key in head["cells"]]
        yield Verified(store, list(store.cells()), tuple(head["protocols"]), pd.DataFrame(rows), scored)


def verify_chosen(
    store: Store, key: str, head: dict[str, Any], find_truth: FindTruth, load_suite: Callable[[str], Any]
) -> tuple[dict[str, Any], pd.DataFrame]:
    """A row of the report, and the scores of a chosen set, made here under the protocols that its truth allows."""
    cell = store.find(key)
    if cell is None:
        raise BadBundle(f"cell {key}: {read_reason(store)}")
    spec = check_chosen(cell)
    check_names(spec)
    suite = load_suite(spec.suite)
    pairs = pair_up(cell, find_truth(cell.manifest))
    protocols = head["protocols"] if pairs.has_truth else [WITHOUT_TRUTH]
    viewer = Viewer(suite.judges)
    scored = pd.concat(
        [score_videos(pairs, viewer, protocol=protocol) for protocol in protocols],
        ignore_index=True,
    )
    flags = flag_chosen(pairs, find_protocol("corrected"))
    about: dict[str, Any] = {"cell": key, "method": spec.method, "variant": "base"}
    about |= {"split": spec.split, "fold": spec.fold}
    about |= {"trials": len(pairs.names), "scores": scored.groupby(["protocol", "metric"]).ngroups}
    told = "; ".join(f"{flag}: {reason}" for flag, reason in flags.items())
    return {**about, "largest_difference": float("nan"), "flags": told}, scored


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
    if suite.digest != spec.suite_digest:
        raise BadBundle(
            f"cell {key} was made with other networks than the suite {spec.suite} has here ({spec.suite_digest[:12]}, "
            f"not {suite.digest[:12]}); verify it where those lie, or run and pack it again"
        )
    wanted = list(list_scores(cell, Viewer(suite.judges, dataset.concepts), head["protocols"]))
    drop_others(cell, [score for _, _, score in wanted])
    count = verify_trials(cell, spec, dataset, suite, [score for _, _, score in wanted])
    brought = [cell.scores(score) for _, _, score in wanted]
    if missing := [metric.name for (_, metric, _), rows in zip(wanted, brought, strict=True) if rows is None]:
        raise BadBundle(f"cell {key} brings no valid score of {missing[0]}; pack it again with this version and suite")
    for _, _, score in wanted:
        cell.score_file(score).unlink()
    looked, keys = digest_looked(cell, dataset, suite), [score for _, _, score in wanted]
    if missing := recall(cell, keys, looked):
        score_cell(cell, store, dataset, suite, protocols=tuple(head["protocols"]))
        keep(cell, missing, looked)
    far = 0.0
    for (protocol, metric, score), theirs in zip(wanted, brought, strict=True):
        ours = cell.scores(score)
        far = max(far, compare_scores(ours, theirs, f"{protocol}/{metric.name} of cell {key}"))
    about = {"cell": key, "method": spec.method, "variant": cell.manifest["variant"], "split": spec.split}
    return {**about, "fold": spec.fold, "trials": count, "scores": len(wanted), "largest_difference": far}


def drop_others(cell: Cell, scores: Sequence[str]) -> None:
    """Remove what came along as scores and is none that was asked for: flags are looked for here, and never brought."""
    names = {path.name for score in scores for path in (cell.score_file(score), digest_file(cell.score_file(score)))}
    for path in (cell.path / "scores").glob("*"):
        if path.name not in names:
            path.unlink()


def read_spec(cell: Cell) -> CellSpec:
    """The cell's spec, whose digest must be its key."""
    try:
        spec = CellSpec(**cell.manifest["spec"])
    except (KeyError, TypeError) as error:
        raise BadBundle(f"cell {cell.key}: its manifest has no spec of this version ({error})") from error
    if spec.key != cell.key:
        raise BadBundle(f"cell {cell.key} is not the cell of its own spec ({spec.key})")
    check_names(spec)
    return spec


def check_names(spec: CellSpec) -> None:
    """The data set and the suite are registered ones. Raises BadBundle."""
    datasets, suites = {*dataset_names(), *names("datasets")}, names("suites")  # never a file, which would be run
    if not isinstance(spec.dataset, str) or (spec.dataset not in datasets and film_shape(spec.dataset) is None):
        raise BadBundle(f"cell {spec.key} is of data set {spec.dataset!r}; there are {', '.join(sorted(datasets))}")
    if not isinstance(spec.suite, str) or spec.suite not in suites:
        raise BadBundle(f"cell {spec.key} is of suite {spec.suite!r}; there are {', '.join(suites)}")


def verify_trials(cell: Cell, spec: CellSpec, dataset: Any, suite: Any, scores: Sequence[str]) -> int:
    """The number of trials: those of the fold, each once, each with what was predicted of it."""
    try:
        folds = [fold for fold in make_folds(dataset, spec.split, classes=spec.classes) if fold.name == spec.fold]
    except SplitError as error:
        raise BadBundle(f"cell {cell.key}: {error}") from error
    if not folds:
        raise BadBundle(f"cell {cell.key}: {dataset.name} has no fold {spec.split}/{spec.fold}")
    expected = describe_trials(dataset, folds[0].test, spec)
    tables = {TABLE: "trials" if cell.shows_videos else "embedded"}
    tables |= {f"scores/{score}.parquet": "scores" for score in scores if cell.has_scores(score)}
    check_tables(cell.path, tables, len(expected), f"cell {cell.key}")  # scores are a row a trial, or one a subject
    trials = cell.trials()
    same = trials[list(expected.columns)].sort_values("trial", ignore_index=True)
    wanted = expected.astype("int64").sort_values("trial", ignore_index=True)
    if extra := sorted(set(same["trial"]) - set(wanted["trial"])):
        raise BadBundle(f"cell {cell.key} has {len(extra)} trials that the fold has not, the first {extra[0]}")
    if absent := sorted(set(wanted["trial"]) - set(same["trial"])):
        raise BadBundle(f"cell {cell.key} lacks {len(absent)} trials of the fold, the first {absent[0]}")
    if not same.equals(wanted):
        raise BadBundle(
            f"cell {cell.key}: trials are named twice or with another clip, subject or seed than the fold's"
        )
    if cell.shows_videos:
        verify_videos(cell, spec, trials, dataset.video(wanted["clip"].to_numpy()[:1]).shape[1:])
    else:
        verify_embeddings(cell, trials, dataset, suite)
    return len(trials)


def verify_videos(cell: Cell, spec: CellSpec, trials: pd.DataFrame, shape: tuple[int, ...]) -> None:
    """Raises BadBundle unless each trial has a video of this shape and of the promised pixels."""
    if strange := sorted(set(trials["file"]) - {""} - set(cell.manifest["files"])):
        raise BadBundle(f"cell {cell.key}: its table of trials points to {strange[0]!r}, no file of the cell")
    lacking = trials.index[trials["status"] != "ok"].tolist()
    if lacking and not is_submitted(cell.manifest["spec"]):
        row = trials.loc[lacking[0]]
        raise BadBundle(
            f"cell {cell.key} has no valid video of {len(lacking)} trials, the first of trial {row['trial']} "
            f"({row['status']}: missing, or NaN, or no u8 video); such a run can be shown, not submitted"
        )
    if is_submitted(cell.manifest["spec"]):
        check_told(cell, spec)
    if tuple(cell.manifest["video_shape"]) != shape:  # where the store stops decoding
        raise BadBundle(f"cell {cell.key} has videos of {cell.manifest['video_shape']}; clips here are {shape}")
    for row in np.flatnonzero(trials["status"] == "ok"):
        try:
            video = cell.read(np.array([row]))[0]
        except (StoreError, VideoError, FileNotFoundError) as error:
            raise BadBundle(f"cell {cell.key}, {trials['file'].iloc[row]}: {error}") from error
        if video.shape != shape:
            raise BadBundle(f"cell {cell.key}, {trials['file'].iloc[row]} is {video.shape}; clips here are {shape}")


def verify_embeddings(cell: Cell, trials: pd.DataFrame, dataset: Any, suite: Any) -> None:
    """Raises BadBundle unless each trial has a finite vector, as wide as the clips' in the space that is named.

    The file is parsed only where it has the size that so many vectors take.
    """
    about, path = cell.manifest["embedding"], cell.path / EMBEDDINGS
    if about["space"] not in SPACES:
        raise BadBundle(f"cell {cell.key} embeds in {about['space']!r:.80}; there are {', '.join(SPACES)}")
    concepts = trials["concept"].nunique()
    if about["concepts"] != concepts:
        raise BadBundle(f"cell {cell.key} tells of {about['concepts']} concepts; its trials are of {concepts}")
    width = place_clips(about["space"], np.unique(trials["clip"]), dataset, suite).shape[1]  # as scoring asks for them
    if about["width"] != width:
        raise BadBundle(f"cell {cell.key} has embeddings {about['width']} wide; {about['space']} is {width} wide here")
    vectors = 4 * width * len(trials)  # bytes of float32
    if not 0 <= path.stat().st_size - vectors <= MOST_HEAD:
        raise BadBundle(f"cell {cell.key}: {EMBEDDINGS} is of {path.stat().st_size} bytes; its vectors take {vectors}")
    try:
        tensors = safetensors.numpy.load(path.read_bytes())
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise BadBundle(f"cell {cell.key}: {EMBEDDINGS} cannot be read ({error}); pack it again") from error
    held = {name: (str(one.dtype), one.shape) for name, one in tensors.items()}
    if held != {"embedding": ("float32", (len(trials), width))}:
        raise BadBundle(
            f"cell {cell.key}: {EMBEDDINGS} holds {held!r:.200}; it must hold 'embedding', float32 [{len(trials)}, "
            f"{width}] alone"
        )
    lacking = trials.index[(trials["status"] != "ok") | ~np.isfinite(tensors["embedding"]).all(axis=1)].tolist()
    if lacking:
        raise BadBundle(
            f"cell {cell.key} has no finite embedding of {len(lacking)} trials, the first of trial "
            f"{trials.loc[lacking[0], 'trial']}; such a run can be shown, not submitted"
        )


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
    reasons = sorted((store.root / "quarantine").glob("*/reason.txt"))
    return reasons[-1].read_text(encoding="utf-8").strip().rpartition(": ")[2] if reasons else "it is not there"
