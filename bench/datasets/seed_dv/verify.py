"""Checks a folder in SEED-DV's layout, file by file, without stopping at the first problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.errors import DatasetError
from bench.core.progress import track
from bench.datasets.manifest import read_manifest
from bench.datasets.seed_dv.geometry import BLOCK_NAMES, CHANNELS, Geometry, read_geometry
from bench.datasets.seed_dv.layout import APPLY, caption_files, open_recording, read_caption_file
from bench.store.contents import hash_file
from bench.store.video import VideoError, count_frames

META_COLUMNS = ("color", "face_apperance", "human_apperance", "obj_number", "optical_flow_score")

Check = tuple[str, str]  # status and detail


def verify_seed_dv(root: Path | str) -> pd.DataFrame:
    """What is there, missing or malformed: a row a file with `file`, `status` (ok, missing, malformed) and `detail`.

    Checked are shape, type, length and NaN of recordings and meta-info, that the videos decode to their end with the
    right number of frames, the number of captions, the official order of concepts and, for phantoms, the hashes.
    The second session of subject 1 is optional. Where something is missing, the last row says where to apply for it.
    Raises DatasetError where the folder itself is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}; name the folder that holds EEG/ and Video/, or {APPLY}")
    geometry = read_geometry(root)
    hashes: dict[str, str] = {}
    if (root / "manifest.json").is_file():
        hashes = read_manifest(root)["files"]
    rows = []
    for path in track(expected_files(root, geometry), "verifying"):
        name = path.relative_to(root).as_posix()
        status, detail = check_file(path, geometry)
        if status == "ok" and name in hashes and hash_file(path) != hashes.pop(name):
            status, detail = "malformed", "its content is not what the manifest says; make the phantom again"
        rows.append((name, status, detail))
    for name, expected in hashes.items():
        path = root / name
        if (root / name) in expected_files(root, geometry):
            continue
        if not path.is_file():
            rows.append((name, "missing", "the manifest lists it; make the phantom again"))
        elif hash_file(path) != expected:
            rows.append((name, "malformed", "its content is not what the manifest says; make the phantom again"))
        else:
            rows.append((name, "ok", "as the manifest says"))
    if any(status == "missing" for _, status, _ in rows) and not (root / "manifest.json").is_file():
        rows.append(("SEED-DV", "missing", f"not all of the release is here; {APPLY}"))
    return pd.DataFrame(rows, columns=["file", "status", "detail"])


def expected_files(root: Path, geometry: Geometry) -> list[Path]:
    video = root / "Video"
    again = root / "EEG" / "sub1_session2.npy"
    return [
        *(root / "EEG" / f"sub{subject}.npy" for subject in range(1, geometry.subjects + 1)),
        *([again] if again.exists() else []),
        *(video / f"{name}.mp4" for name in BLOCK_NAMES),
        *caption_files(root),
        *(video / "meta-info" / f"All_video_{column}.npy" for column in ("label", *META_COLUMNS)),
    ]


def check_file(path: Path, geometry: Geometry) -> Check:
    if not path.is_file():
        return "missing", "not there"
    if path.parent.name == "EEG":
        return check_recording(path, geometry)
    if path.suffix == ".mp4":
        return check_video(path, geometry)
    if path.suffix == ".txt":
        return check_captions(path, geometry)
    return check_meta(path, geometry)


def check_recording(path: Path, geometry: Geometry) -> Check:
    try:
        recording = open_recording(path, geometry)
    except DatasetError as error:
        return "malformed", str(error)
    for block, signal in enumerate(recording):
        bad = ~np.isfinite(signal)
        if bad.any():
            channel, sample = np.argwhere(bad)[0]
            return "malformed", (
                f"{int(bad.sum())} values of block {block + 1} are NaN or infinite, the first in channel "
                f"{CHANNELS[channel]} at sample {sample}; fetch it again"
            )
    return "ok", f"{recording.dtype} {list(recording.shape)}"


def check_video(path: Path, geometry: Geometry) -> Check:
    """Decode to the end: a truncated file may announce frames that are not there."""
    import av

    try:
        count = count_frames(path)
    except VideoError as error:
        return "malformed", f"{error.why}; fetch it again"
    with av.open(str(path), format="mov") as container:  # which is whole, and has one film
        stream = max(container.streams.video, key=lambda one: one.frames)
        rate = float(stream.average_rate or 0)
        size = f"{stream.codec_context.width}×{stream.codec_context.height}"
    if count != geometry.block_frames:
        return "malformed", f"{count} frames, expected {geometry.block_frames}; fetch it again"
    if abs(rate - geometry.fps) > 0.01:
        return "malformed", f"{rate:.2f} frames a second, expected {geometry.fps}; fetch it again"
    return "ok", f"{count} frames {size} at {rate:g} a second"


def check_captions(path: Path, geometry: Geometry) -> Check:
    try:
        lines = read_caption_file(path)
    except DatasetError as error:
        return "malformed", str(error)
    if len(lines) != geometry.block_clips:
        return "malformed", f"{len(lines)} captions, expected {geometry.block_clips}, one a clip; fetch it again"
    empty = [number for number, line in enumerate(lines, start=1) if not line.strip()]
    if empty:
        return "malformed", f"line {empty[0]} is empty; fetch it again"
    return "ok", f"{len(lines)} captions"


def check_meta(path: Path, geometry: Geometry) -> Check:
    label = path.stem == "All_video_label"
    shape = (len(BLOCK_NAMES), len(geometry.concepts) if label else geometry.block_clips)
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        return "malformed", f"no whole .npy array ({error}); fetch it again"
    if values.shape != shape or values.dtype.kind not in "iuf":
        return "malformed", f"{values.dtype} {list(values.shape)}, expected numbers {list(shape)}; fetch it again"
    if not np.isfinite(values).all():
        return "malformed", "it holds NaN or infinity; fetch it again"
    if label and not np.array_equal(values, np.asarray(geometry.concepts)[geometry.order] + 1):
        return "malformed", "the order of the concepts is not the official one; fetch it again"
    return "ok", f"{values.dtype} {list(values.shape)}"
