"""Checks a folder in cc2017's layout, file by file, without stopping at the first problem."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.core.errors import DatasetError
from bench.core.progress import track
from bench.datasets.cc2017 import captions, films
from bench.datasets.cc2017 import layout as cc2017
from bench.datasets.cc2017.layout import PARTS, read_fmri_geometry
from bench.datasets.copies import Row, tabulate_copies
from bench.datasets.duplicates import complete, find_duplicates
from bench.datasets.manifest import read_manifest
from bench.datasets.seed_dv.verify import Check
from bench.store.contents import hash_file

CHUNK = 64  # clips looked at together


def verify_cc2017(root: Path | str) -> pd.DataFrame:
    """A row a file with `file`, `status` and `detail`, and a row a pair of recordings that are one.

    `status` is "ok"; "absent" for a subject, videos or captions that are not there, which what is there can do without
    until a verb asks for them; "missing" for the second tensor of a subject and what a phantom's manifest lists;
    "malformed"; "duplicate". Every number is looked at: a repeat that is NaN throughout is named as not measured, a
    single NaN is malformed. Raises DatasetError where the folder itself is missing.
    """
    root = existing(root, captions.FETCH)
    geometry = read_fmri_geometry(root, cc2017.OFFICIAL)
    subjects = sorted({1, 2, 3, *cc2017.find_subjects(root)})
    rows: list[Row] = []
    names = [f"subj{subject:02d}_{part}_fmri.pt" for subject in subjects for part in PARTS]
    for name in track([*names, *(f"GT_{part}_3fps.pt" for part in PARTS)], "verifying"):
        part = "train" if "train" in name else "test"
        rows.append((name, *check_tensor(root / name, geometry["clips"][part])))
    held = cc2017.find_subjects(root)
    halves = {f"subj{subject:02d}_{part}_fmri.pt" for subject in held for part in PARTS}
    rows = [(name, "missing" if status == "absent" and name in halves else status, text) for name, status, text in rows]
    for subject in subjects:
        rows += check_voxels(root, subject, geometry)
    for part in PARTS:
        try:
            path = captions.caption_path(root, part)
        except DatasetError as error:
            rows.append((f"GT_{part}_caption.pt", "absent", str(error)))
            continue
        rows.append((path.relative_to(root).as_posix(), *check_captions(root, part, geometry["clips"][part])))
    if (root / films.FOLDER).is_dir():  # whoever has none reads NeuroClips' tensors
        rows += films.check_films(root, geometry)
    malformed = {name for name, status, _ in rows if status not in ("ok", "absent")}
    whole = [s for s in held if not malformed & {f"subj{s:02d}_{part}_fmri.pt" for part in PARTS}]
    return finish(root, [*rows, *check_copies(root, whole)], "cc2017", captions.FETCH)


def check_copies(root: Path, subjects: Sequence[int]) -> list[Row]:
    """Recordings that are in the folder twice, every repeat by itself, among subjects whose files can be read."""
    import datasets

    if not subjects:
        return []
    # nothing is cached: its table of trials is made here
    view = cc2017.CC2017(root, cache=root, average="none", subjects=subjects)
    columns = view.trial_columns()
    view.trials = datasets.Dataset.from_dict(columns)
    trials = complete(pd.DataFrame(columns).assign(block=view.blocks[columns["clip"]]))
    return tabulate_copies(find_duplicates(view, trials), lambda subject, _: f"subj{subject:02d}_*_fmri.pt")


def check_tensor(path: Path, clips: int) -> Check:
    """Shape, type and every value of a recording or of frames."""
    if not path.is_file():
        return "absent", "not there"
    frames = path.name.startswith("GT")
    names = "clip, frame, 3, height, width" if frames else "clip, repeat, voxel"
    try:
        tensor = cc2017.open_tensor(path, names, clips=clips, axes=5 if frames else 3)
        if frames:
            for clip in range(0, clips, max(1, clips // 16)):
                cc2017.to_pixels(tensor[clip], path)
            return "ok", f"{tensor.dtype} {list(tensor.shape)}"
    except DatasetError as error:
        return "malformed", str(error)
    absent = 0
    for first in range(0, clips, CHUNK):
        part = tensor[first : first + CHUNK]
        whole = np.isnan(part).all(axis=2)
        absent += int(whole.sum())
        bad = ~np.isfinite(part) & ~whole[:, :, None]
        if bad.any():
            clip, repeat, voxel = np.argwhere(bad)[0]
            return "malformed", (
                f"NaN or infinity in clip {first + clip}, repeat {repeat + 1}, voxel {voxel}; fetch it again"
            )
        if whole.all(axis=1).any():
            clip = first + int(np.argmax(whole.all(axis=1)))
            return "malformed", f"no repeat of clip {clip} was measured; fetch it again"
        flat = ~whole & (part == part[:, :, :1]).all(axis=2)
        if flat.any():
            clip, repeat = np.argwhere(flat)[0]
            return "malformed", f"clip {first + clip}, repeat {repeat + 1} is constant in all voxels; fetch it again"
    missing = f", {absent} repeats not measured (NaN), left out" if absent else ""
    return "ok", f"{tensor.dtype} {list(tensor.shape)}{missing}"


def check_voxels(root: Path, subject: int, geometry: dict[str, Any]) -> list[Row]:
    """Whether a subject's tensors, and the names of its regions, agree on the number of voxels."""
    counts = {}
    for part in PARTS:
        path = root / f"subj{subject:02d}_{part}_fmri.pt"
        try:
            counts[part] = cc2017.open_tensor(path, "clip, repeat, voxel", clips=geometry["clips"][part], axes=3).shape[
                2
            ]
        except DatasetError:
            return []  # said already
    if len(set(counts.values())) > 1:
        detail = f"{counts['train']} voxels in the training tensor, {counts['test']} in this one; fetch both again"
        return [(f"subj{subject:02d}_test_fmri.pt", "malformed", detail)]
    return check_rois(root, f"subj{subject:02d}_rois.txt", counts["train"])


def check_rois(root: Path, name: str, voxels: int) -> list[Row]:
    if not (root / name).is_file():
        return [(name, "absent", "not there: methods and variants that choose voxels by region ask for it")]
    try:
        regions = cc2017.read_rois(root / name, voxels)
    except DatasetError as error:
        return [(name, "malformed", str(error))]
    return [(name, "ok", f"{len(set(regions))} regions of {voxels} voxels")]


def check_captions(root: Path, part: str, count: int) -> Check:
    try:
        texts = captions.read_captions(root, part, count)
    except DatasetError as error:
        return "malformed", str(error)
    empty = [clip for clip, text in enumerate(texts) if not text.strip()]
    return (
        ("malformed", f"the caption of clip {empty[0]} is empty; fetch it again")
        if empty
        else ("ok", f"{count} captions")
    )


def existing(root: Path | str, fetch: str) -> Path:
    if not Path(root).is_dir():
        raise DatasetError(f"there is no folder {root}; name the folder of the data; {fetch}")
    return Path(root)


def finish(root: Path, rows: Iterable[Row], name: str, fetch: str) -> pd.DataFrame:
    """The table, with what a phantom's manifest says of files that are not as written, or where to get real ones."""
    found = list(rows)
    manifest = root / "manifest.json"
    if manifest.is_file():
        hashes = read_manifest(root)["files"]
        wrong = []
        for file, expected in track(hashes.items(), "hashing", total=len(hashes)):
            if not (root / file).is_file():
                wrong.append((file, "missing", "the manifest lists it; make the phantom again"))
            elif hash_file(root / file) != expected:
                wrong.append((file, "malformed", "its content is not what the manifest says; make the phantom again"))
        found += wrong or [("manifest.json", "ok", f"{len(hashes)} files as it says")]
    elif any(status in ("missing", "absent") and not file.endswith("_rois.txt") for file, status, _ in found):
        found.append((name, "absent", f"not all of the release is here; {fetch}"))
    return pd.DataFrame(found, columns=["file", "status", "detail"])
