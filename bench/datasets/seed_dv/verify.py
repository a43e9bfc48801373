"""Checks a folder in SEED-DV's layout, file by file, without stopping at the first problem."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from bench.core.errors import DatasetError
from bench.core.progress import track
from bench.datasets.copies import Row, tabulate_copies
from bench.datasets.duplicates import complete, find_duplicates
from bench.datasets.manifest import read_manifest
from bench.datasets.seed_dv.geometry import BLOCK_NAMES, CHANNELS, Geometry, read_geometry
from bench.datasets.seed_dv.layout import (
    APPLY,
    SeedDV,
    caption_files,
    find_recordings,
    open_recording,
    read_caption_file,
    video_files,
)
from bench.store.contents import hash_file
from bench.store.video import VideoError, count_frames

META_COLUMNS = ("color", "face_apperance", "human_apperance", "obj_number", "optical_flow_score")

Check = tuple[str, str]  # status and detail


def verify_seed_dv(root: Path | str) -> pd.DataFrame:
    """A row a file with `file`, `status` and `detail`, and a row a pair of recordings that are one.

    `status` is "ok"; "absent" for recordings, videos and captions that are not there, which what is there can do
    without until a verb asks for them; "missing" for a file that a phantom's manifest lists; "malformed"; "duplicate".

    Checked are shape, type, length and NaN of recordings and meta-info, blocks in which nothing was recorded, that the
    videos decode to their end with the right number of frames, the number of captions, the official order of concepts
    and, for phantoms, the hashes. The second session of subject 1 is optional. Where something is absent, the last row
    says where to apply for it. Raises DatasetError where the folder itself is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}; name the folder that holds EEG/ and Video/, or {APPLY}")
    geometry = read_geometry(root)
    hashes: dict[str, str] = {}
    if (root / "manifest.json").is_file():
        hashes = read_manifest(root)["files"]
    rows: list[Row] = []
    expected = expected_files(root, geometry)
    for path in track(expected, "verifying"):
        name = path.relative_to(root).as_posix()
        status, detail = check_file(path, geometry)
        if status == "absent" and name in hashes:
            status, detail = "missing", "the manifest lists it; make the phantom again"
        if status == "ok" and name in hashes and hash_file(path) != hashes[name]:
            status, detail = "malformed", "its content is not what the manifest says; make the phantom again"
        rows.append((name, status, detail))
    for name, recorded in hashes.items():
        path = root / name
        if path in expected:
            continue
        if not path.is_file():
            rows.append((name, "missing", "the manifest lists it; make the phantom again"))
        elif hash_file(path) != recorded:
            rows.append((name, "malformed", "its content is not what the manifest says; make the phantom again"))
        else:
            rows.append((name, "ok", "as the manifest says"))
    rows += check_copies(root)
    if not find_recordings(root):
        rows.append(("SEED-DV", "missing", f"no recording is here, as EEG/sub1.npy would be; {APPLY}"))
    elif any(status == "absent" for _, status, _ in rows):
        rows.append(("SEED-DV", "absent", f"not all of the release is here; {APPLY}"))
    return pd.DataFrame(rows, columns=["file", "status", "detail"])


def check_copies(root: Path) -> list[Row]:
    """Recordings that are in the folder twice, among those that can be read."""
    import datasets

    if not any(is_readable(path, read_geometry(root)) for path in find_recordings(root).values()):
        return []
    try:
        view = SeedDV(root, cache=root)  # nothing is cached: its table of trials is made here
    except DatasetError:  # a phantom that is not whole: said already
        return []
    view.recordings = {key: path for key, path in view.recordings.items() if is_readable(path, view.geometry)}
    columns = view.trial_columns()
    view.trials = datasets.Dataset.from_dict(columns)
    trials = complete(pd.DataFrame(columns).assign(block=view.blocks[columns["clip"]]))
    return tabulate_copies(
        find_duplicates(view, trials),
        lambda subject, session: view.recordings[subject, session].relative_to(root).as_posix(),
    )


def is_readable(path: Path, geometry: Geometry) -> bool:
    try:
        open_recording(path, geometry)
    except DatasetError:
        return False
    return True


def expected_files(root: Path, geometry: Geometry) -> list[Path]:
    video = root / "Video"
    recordings = [root / "EEG" / f"sub{subject}.npy" for subject in range(1, geometry.subjects + 1)]
    return [
        *dict.fromkeys([*recordings, *find_recordings(root).values()]),
        *video_files(root),
        *caption_files(root),
        *(video / "meta-info" / f"All_video_{column}.npy" for column in ("label", *META_COLUMNS)),
    ]


def check_file(path: Path, geometry: Geometry) -> Check:
    if not path.is_file():
        return "absent", f"not there: {describe_need(path)}"
    if path.parent.name == "EEG":
        return check_recording(path, geometry)
    if path.suffix == ".mp4":
        return check_video(path, geometry)
    if path.suffix == ".txt":
        return check_captions(path, geometry)
    return check_meta(path, geometry)


def describe_need(path: Path) -> str:
    """Who asks for a file that is not there."""
    if path.parent.name == "EEG":
        return "this subject is no part of the data set"
    if path.parent.name == "meta-info":
        return "nothing here needs it"
    return "`run`, `audit` and figures of its clips ask for it"


def check_recording(path: Path, geometry: Geometry) -> Check:
    try:
        recording = open_recording(path, geometry)
    except DatasetError as error:
        return "malformed", str(error)
    broken = []
    for block, signal in enumerate(recording, start=1):
        bad = ~np.isfinite(signal)
        if bad.any():
            channel, sample = np.argwhere(bad)[0]
            broken.append(
                f"{int(bad.sum())} values of block {block} are NaN or infinite, the first in channel "
                f"{CHANNELS[channel]} at sample {sample}"
            )
        elif (signal == signal[:, :1]).all():
            broken.append(f"block {block} is constant in every channel")
    if broken:
        return "malformed", f"{'; '.join(broken)}; fetch it again"
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
