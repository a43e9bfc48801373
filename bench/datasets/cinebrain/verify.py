"""Checks a folder in CineBrain's layout, file by file, without stopping at the first problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import DatasetError
from bench.core.progress import track
from bench.datasets.cc2017.layout import PARTS, read_fmri_geometry
from bench.datasets.cc2017.verify import check_rois, existing, finish
from bench.datasets.cinebrain import layout as cinebrain
from bench.datasets.copies import Row, tabulate_copies
from bench.datasets.duplicates import complete, find_duplicates
from bench.datasets.seed_dv.verify import Check
from bench.store.video import VideoError, count_frames


def verify_cinebrain(root: Path | str) -> pd.DataFrame:
    """As `verify_cc2017`, of lists, of every file that they name (fMRI, EEG and videos), and of the split they make.

    A subject without lists, and fMRI, EEG or videos of which there is nothing at all, are "absent"; one list of two, or
    some of the files, are "missing". Files of one kind and folder share a row: how many are there, and the first that
    is missing or malformed.
    """
    root = existing(root, cinebrain.FETCH)
    geometry = read_fmri_geometry(root, cinebrain.OFFICIAL)
    subjects = cinebrain.find_subjects(root)
    expected = subjects if (root / "manifest.json").is_file() else tuple(sorted({*range(1, 7), *subjects}))
    rows: list[Row] = []
    items: dict[int, list[dict[str, Any]]] = {}
    for subject in expected:
        paths = cinebrain.list_paths(root, subject)
        absent = [path for path in paths if not path.is_file()]
        status = "absent" if len(absent) == len(paths) else "missing"
        rows += [(path.name, status, "not there") for path in absent]
        if absent:
            continue
        try:
            items[subject] = cinebrain.read_items(root, subject)
        except DatasetError as error:
            rows.append((paths[0].name, "malformed", str(error)))
            continue
        rows += [
            (path.name, "ok", f"{sum(item['part'] == part for item in items[subject])} items")
            for part, path in zip(PARTS, paths, strict=True)
        ]
    if not items:
        return finish(root, rows, "cinebrain", cinebrain.FETCH)
    try:
        blocks = {block for block, _ in cinebrain.place_clips(items, geometry["episode_clips"]).values()}
        rows.append(("split", "ok", f"{len(blocks)} blocks, the last tested"))
    except DatasetError as error:
        rows.append(("split", "malformed", str(error)))
    for kind in ("fmri", "eeg"):
        view = cinebrain.CineBrain(root, cache=root, kind=kind)  # nothing is cached: no table is asked for
        view.subjects, view.items = tuple(items), dict(items)  # whose lists can be read
        for subject, table in track(items.items(), f"verifying {kind}"):
            files = [view.locate(name) for item in table for name in item[kind]]
            name = f"sub-{subject:04d} {kind}"
            rows.append((name, *check_volumes(view, files)))
            if kind == "fmri" and rows[-1][1] == "ok":
                rows += check_rois(root, f"sub-{subject:04d}_rois.txt", view.voxels[subject])
        whole = [subject for subject in items if (f"sub-{subject:04d} {kind}", "ok") in {row[:2] for row in rows}]
        rows += check_copies(view, whole)
    videos = {item["number"]: view.locate(item["video"]) for table in items.values() for item in table}
    rows.append(("videos", *check_videos(list(videos.values()), geometry["frames"])))
    return finish(root, rows, "cinebrain", cinebrain.FETCH)


def check_copies(view: cinebrain.CineBrain, subjects: list[int]) -> list[Row]:
    """Recordings that are in the folder twice, among subjects whose files are all there and can be read."""
    if not subjects:
        return []
    view.subjects = tuple(subjects)
    view.items = {subject: view.items[subject] for subject in subjects}
    columns = view.trial_columns()
    trials = pd.DataFrame(columns).assign(block=np.asarray(view.stimulus_columns()["block"])[columns["clip"]])
    kind = view.modality
    rows = tabulate_copies(find_duplicates(view, complete(trials)), lambda subject, _: f"sub-{subject:04d} {kind}")
    return [(f"{name} of {kind}" if name == "duplicates" else name, status, detail) for name, status, detail in rows]


def check_volumes(view: cinebrain.CineBrain, files: list[Path]) -> Check:
    missing = [path for path in files if not path.is_file()]
    if missing:
        return describe_missing(missing, files)
    shape: tuple[int, ...] = ()
    for path in files:
        try:
            values = view.read(path)
        except DatasetError as error:
            return "malformed", str(error)
        shape = shape or values.shape
        if values.shape != shape or not np.isfinite(values).all():
            what = (
                f"is {list(values.shape)}, others {list(shape)}" if values.shape != shape else "holds NaN or infinity"
            )
            return "malformed", f"{path} {what}; fetch it again"
        if values.size > 1 and (values == values.flat[0]).all():
            return "malformed", f"{path} is constant; fetch it again"
    return "ok", f"{len(files)} files {list(shape)}"


def describe_missing(missing: list[Path], files: list[Path]) -> Check:
    status = "absent" if len(missing) == len(files) else "missing"
    return status, f"{len(missing)} of {len(files)} files are not there, the first {missing[0]}"


def check_videos(files: list[Path], frames: int) -> Check:
    missing = [path for path in files if not path.is_file()]
    if missing:
        return describe_missing(missing, files)
    for path in track(files, "verifying videos"):
        try:
            count = count_frames(path)
        except VideoError as error:
            return "malformed", str(error)
        if count < frames:
            return "malformed", f"{path} has {count} frames, expected {frames} at least; fetch it again"
    return "ok", f"{len(files)} files"
