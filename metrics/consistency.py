"""Consistency of a video's frames with each other, by the embeddings of any judge (CLIP, DINO) or by its pixels.

The prediction is looked at alone, so **a still video scores 1 in everything here**, and a model that collapses to one
picture beats every honest one. Read these beside `motion.dynamic_degree`, as VBench asks.

"CLIP-pcc", which is no Pearson correlation, is published in three definitions: `adjacent_cosine`, `all_pairs_cosine`
(NEURONS) and `gated(adjacent_cosine(…), clip_similarity(…))` (Mind-Animator); alike videos score 0.40 to 0.93 in them.
DTC and CTC are `adjacent_cosine` of DINO and CLIP.

Embeddings are f [n, f, d] of any length; they are normalised here. A clip with a NaN in its embeddings scores NaN,
which the scorer counts as the worst value. A zero vector has cosine 0 with everything.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

GATE = 0.6  # Mind-Animator's: below it a clip counts as unlike its truth

Embeddings = npt.NDArray[np.floating]  # [n, f, d]
Array = npt.NDArray[np.float64]


def adjacent_cosine(embeddings: Embeddings) -> Array:
    """Mean cosine of each frame's embedding with the next one's.

    f [n, f, d], at least 2 frames. Returns f64 [n] in −1..1, 1 for a still video. Raises ValueError for other shapes.
    Source: Mind-Animator's `CLIP_consist.py` before its gate; DynaMind's `ctc_dtc.py`.
    """
    _check(embeddings, frames=2)
    return np.array([np.mean((unit[1:] * unit[:-1]).sum(axis=-1)) for unit in map(_unit, embeddings)])


def all_pairs_cosine(embeddings: Embeddings) -> Array:
    """Mean cosine of all pairs of different frames.

    f [n, f, d], at least 2 frames. Returns f64 [n] in −1/(f−1)..1, 1 for a still video. Raises ValueError for other
    shapes. Source: NEURONS' `eval_metrics.py`. The order of the frames does not matter to it.
    """
    _check(embeddings, frames=2)
    frames = embeddings.shape[1]
    values = np.empty(len(embeddings))
    for i, unit in enumerate(map(_unit, embeddings)):
        cosines = unit @ unit.T
        values[i] = (cosines.sum() - np.trace(cosines)) / (frames * (frames - 1))
    return values


def gated(values: Array, similarity: Array, threshold: float = GATE) -> Array:
    """`values` where `similarity` exceeds the threshold, 0 where it does not; NaN where either is NaN.

    Both f [n]. Returns f64 [n]. Raises ValueError for unequal shapes. Source: Mind-Animator's `CLIP_consist.py`, which
    gates by VIFI similarity. The mean over clips is then mostly the share of clips that pass.
    """
    values, similarity = np.asarray(values, np.float64), np.asarray(similarity, np.float64)
    if values.shape != similarity.shape:
        raise ValueError(f"values {values.shape} and similarities {similarity.shape}: both need one number a clip")
    passed = np.where(similarity > threshold, values, 0.0)
    return np.where(np.isnan(values) | np.isnan(similarity), np.nan, passed)


def clip_similarity(predicted: Embeddings, target: Embeddings) -> Array:
    """Cosine of the mean embeddings of two clips: with ViFi-CLIP's features the published VIFI score.

    f [n, f, d] and f [n, g, d]; the numbers of frames may differ. Returns f64 [n] in −1..1, 1 for equal embeddings.
    Raises ValueError for other shapes. Means are taken before vectors are normalised, as ViFi-CLIP does. CLIP-like
    embeddings of unrelated clips have cosines of 0.4 to 0.6: compare with the shuffled floor.
    """
    _check(predicted, frames=1)
    _check(target, frames=1)
    if len(predicted) != len(target) or predicted.shape[2] != target.shape[2]:
        raise ValueError(
            f"embeddings {list(predicted.shape)} and {list(target.shape)}: both need the same clips and the same judge"
        )
    values = np.empty(len(predicted))
    for i, pair in enumerate(zip(predicted, target, strict=True)):
        a, b = (_unit(frames.astype(np.float64).mean(axis=0)) for frames in pair)
        values[i] = a @ b
    return values


def subject_consistency(embeddings: Embeddings) -> Array:
    """VBench's: ½ [max(0, cos to the previous frame) + max(0, cos to the first frame)], the mean over frames from 1 on.

    f [n, f, d], at least 2 frames; VBench takes DINO ViT-B/16, and CLIP ViT-B/32 for its background consistency.
    Returns f64 [n] in 0..1, 1 for a still video. Raises ValueError for other shapes. VBench's total weighs clips by
    their numbers of frames: the same as the mean over clips of one length. Source: `vbench/subject_consistency.py`.
    """
    _check(embeddings, frames=2)
    values = np.empty(len(embeddings))
    for i, unit in enumerate(map(_unit, embeddings)):
        previous = (unit[1:] * unit[:-1]).sum(axis=-1)
        first = unit[1:] @ unit[0]
        values[i] = np.mean((np.maximum(previous, 0) + np.maximum(first, 0)) / 2)
    return values


def temporal_flickering(video: npt.NDArray[np.uint8]) -> Array:
    """VBench's: (255 − mean absolute difference of adjacent frames) / 255.

    u8 [n, f, h, w, 3], at least 2 frames. Returns f64 [n] in 0..1, 1 for a still video. Raises ValueError for other
    types or shapes. VBench computes it on videos that RAFT finds static; here motion counts as flicker.
    Source: `vbench/temporal_flickering.py`.
    """
    if video.dtype != np.uint8 or video.ndim != 5 or video.shape[1] < 2 or 0 in video.shape[1:]:
        raise ValueError(
            f"video is {video.dtype} {list(video.shape)}: allowed is uint8 [clip, frame, height, width, 3] with at "
            "least 2 frames"
        )
    values = np.empty(len(video))
    for i, clip in enumerate(video):
        pairs = [np.abs(b.astype(np.int16) - a).mean() for a, b in pairwise(clip)]
        values[i] = (255 - np.mean(pairs)) / 255
    return values


def _unit(vectors: Embeddings) -> Array:
    """Along the last axis, f64; zero vectors stay zero."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1.0, length)


def _check(embeddings: Embeddings, *, frames: int) -> None:
    if embeddings.ndim != 3 or embeddings.shape[1] < frames or embeddings.shape[2] == 0:
        raise ValueError(
            f"embeddings of shape {list(embeddings.shape)}: allowed is [clip, frame, feature] with at least {frames} "
            f"frame{'s' if frames > 1 else ''}"
        )
