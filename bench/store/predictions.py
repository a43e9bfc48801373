"""The predictions of a cell as files: a lossless video a trial, and the table that says which trial is where; or the
embeddings of all trials in one file.

The digest covers decoded pixels and trial rows, so another encoder version does not change it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from jaxtyping import Float32

from bench.core.spec import digest
from bench.store.cells import EMBEDDINGS, Draft, StoreError, digest_pixels
from bench.store.video import encode_lossless

if TYPE_CHECKING:
    import pandas as pd

TRIAL_COLUMNS = ("trial", "subject", "clip", "concept", "block", "seed")
FRAMES_PER_SECOND = 3  # of the written files, for whoever watches them; pixels are what counts


def write_predictions(draft: Draft, trials: pd.DataFrame, video: Iterable[np.ndarray | None]) -> None:
    """Write one lossless video a trial, the table of trials, and the digest of both into the manifest.

    `trials` has the columns trial, subject, clip, concept, block, seed. `video` gives u8 (frame, height, width, 3) for
    each of them, or None for a trial without a prediction; each is written as it comes, so all need never be in memory.
    A missing prediction, and one that is no u8 video of the others' shape (NaN, floats, …), keeps its row, with status
    "missing" or "invalid" and no file. Raises StoreError for a table that lacks columns or has another number of rows.
    """
    check_table(trials, len(video) if isinstance(video, Sized) else len(trials), "videos")
    shape: tuple[int, ...] = (0, 0, 0, 3)
    files, status, pixels, names = [], [], [], set()
    for subject, clip_number, trial, clip in zip(
        trials["subject"], trials["clip"], trials["trial"], video, strict=True
    ):
        if is_video(clip) and not shape[0]:
            shape = clip.shape
            draft.expected_bytes += clip.nbytes * len(trials)
        whole = clip if is_video(clip) and clip.shape == shape else None
        status.append("ok" if whole is not None else "missing" if clip is None else "invalid")
        name = f"predictions/sub{subject:02d}/clip{clip_number:04d}.mp4"
        if name in names:  # the same clip again for this subject, e.g. in another session
            name = f"predictions/sub{subject:02d}/clip{clip_number:04d}_trial{trial:06d}.mp4"
        names.add(name)
        files.append("" if whole is None else name)
        pixels.append("" if whole is None else digest_pixels(whole))
        if whole is not None:
            draft.write(name, encode_lossless(np.ascontiguousarray(whole), fps=FRAMES_PER_SECOND))
    rows = trials[list(TRIAL_COLUMNS)].astype("int64").assign(status=status, pixels=pixels)
    write_table(draft, rows.assign(file=files))
    draft.manifest.update(
        prediction_digest=digest({name: rows[name].tolist() for name in rows.columns}),
        trial_count=len(rows),
        status_counts={name: status.count(name) for name in sorted(set(status))},
        video_shape=list(shape),
    )


def write_embeddings(draft: Draft, trials: pd.DataFrame, vectors: Float32[np.ndarray, "trial d"], space: str) -> None:
    """Write the embeddings of the trials, their table, and the digest of both into the manifest.

    `space` is where the vectors lie (`bench.core.contracts.Embedder`). One that is not finite keeps its row, with
    status "invalid". Raises StoreError for a table that lacks columns or has another number of rows.
    """
    from safetensors.numpy import save

    check_table(trials, len(vectors), "embeddings")
    status = ["ok" if whole else "invalid" for whole in np.isfinite(vectors).all(axis=1)]
    content = save({"embedding": np.ascontiguousarray(vectors, np.float32)})
    draft.expected_bytes += len(content)
    draft.write(EMBEDDINGS, content)
    rows = trials[list(TRIAL_COLUMNS)].astype("int64").assign(status=status)
    write_table(draft, rows)
    told = {name: rows[name].tolist() for name in rows.columns}
    draft.manifest.update(
        prediction_digest=digest({**told, "embedding": hashlib.sha256(content).hexdigest(), "space": space}),
        trial_count=len(rows),
        status_counts={name: status.count(name) for name in sorted(set(status))},
        embedding={"space": space, "width": vectors.shape[1], "concepts": int(rows["concept"].nunique())},
    )


def check_table(trials: pd.DataFrame, count: int, what: str) -> None:
    if absent := [name for name in TRIAL_COLUMNS if name not in trials.columns]:
        raise StoreError(f"the table of trials lacks {', '.join(absent)}; it needs {', '.join(TRIAL_COLUMNS)}")
    if len(trials) != count:
        raise StoreError(f"{count} {what} for {len(trials)} trials; give one a trial (None for a missing one)")


def write_table(draft: Draft, rows: pd.DataFrame) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), buffer)
    draft.write("predictions/trials.parquet", buffer.getvalue().to_pybytes())


def is_video(clip: np.ndarray | None) -> TypeGuard[np.ndarray]:
    return clip is not None and clip.dtype.str == "|u1" and clip.ndim == 4 and clip.shape[-1] == 3 and clip.size > 0
