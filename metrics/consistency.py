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

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from metrics.checks import check_video
from metrics.specs import Array, MetricSpec, Scored, Video, on_video, on_view

SAMPLES, SAMPLED = 32, 8  # how often, and how many frames at a time, Mind-Animator samples for its VIFI score
GATE = 0.6  # Mind-Animator's: a clip whose similarity is not above it counts as unlike its truth

Embeddings = npt.NDArray[np.floating]  # [n, f, d]


def adjacent_cosine(embeddings: Embeddings) -> Array:
    """Mean cosine of each frame's embedding with the next one's.

    embeddings: f [n, f, d], at least 2 frames. Returns f64 [n] in −1..1, 1 for a still video. Raises ValueError for
    other shapes. Source: Mind-Animator's `CLIP_consist.py` before its gate; DynaMind's `ctc_dtc.py`.

    The second frame is the first again, the third is at a right angle to it:

    >>> adjacent_cosine(np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])).tolist()
    [0.5]
    """
    _check(embeddings, frames=2)
    return np.array([np.mean((unit[1:] * unit[:-1]).sum(axis=-1)) for unit in map(_unit, embeddings)])


def all_pairs_cosine(embeddings: Embeddings) -> Array:
    """Mean cosine of all pairs of different frames.

    embeddings: f [n, f, d], at least 2 frames. Returns f64 [n] in −1/(f−1)..1, 1 for a still video. Raises ValueError
    for other shapes. Source: NEURONS' `eval_metrics.py`. The order of the frames does not matter to it.

    Of the three pairs of these frames one is equal and two are at right angles:

    >>> all_pairs_cosine(np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])).round(4).tolist()
    [0.3333]
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

    Both are f [n]. Returns f64 [n]. Raises ValueError for unequal shapes. Source: Mind-Animator's `CLIP_consist.py`,
    which gates by VIFI similarity. The mean over clips is then mostly the share of clips that pass.

    >>> gated(np.array([0.9, 0.9]), np.array([0.7, 0.6])).tolist()
    [0.9, 0.0]
    """
    values, similarity = np.asarray(values, np.float64), np.asarray(similarity, np.float64)
    if values.shape != similarity.shape:
        raise ValueError(f"values {values.shape} and similarities {similarity.shape}: both need one number a clip")
    passed = np.where(similarity > threshold, values, 0.0)
    return np.where(np.isnan(values) | np.isnan(similarity), np.nan, passed)


def clip_similarity(predicted: Embeddings, target: Embeddings) -> Array:
    """Cosine of the mean embeddings of two clips: with ViFi-CLIP's features the published VIFI score.

    predicted: f [n, f, d]; target: f [n, g, d]; the numbers of frames may differ. Returns f64 [n] in −1..1, 1 for equal
    embeddings. Raises ValueError for other shapes. Means are taken before vectors are normalised, as ViFi-CLIP does.
    CLIP-like embeddings of unrelated clips have cosines of 0.4 to 0.6: compare with the shuffled floor.

    The mean of the two frames is (3, 4), whose cosine with (1, 0) is 3 / 5:

    >>> clip_similarity(np.array([[[3.0, 2.0], [3.0, 6.0]]]), np.array([[[1.0, 0.0]]])).round(4).tolist()
    [0.6]
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


def sampled_shares(frames: int) -> Array:
    """How much each frame of a video counts in Mind-Animator's VIFI score: f64 [frames], their sum is 1.

    Its pipeline (mmaction's `SampleFrames`, clip_len 8, num_clips 32 by ViFi-CLIP's `16_16_vifi_clip.yaml`) takes 32
    times 8 adjacent frames, evenly placed, of which ViFi-CLIP takes one mean. Of 8 frames each counts alike; of fewer
    the first ones are taken again; of more the outer ones count less. Raises ValueError for no frames.

    >>> sampled_shares(8).tolist()[:2], sampled_shares(6).tolist()
    ([0.125, 0.125], [0.25, 0.25, 0.125, 0.125, 0.125, 0.125])
    """
    if frames < 1:
        raise ValueError(f"{frames} frames: allowed is 1 or more")
    step = (frames - SAMPLED + 1) / SAMPLES
    starts = (np.arange(SAMPLES) * step + step / 2).astype(int) if frames >= SAMPLED else np.zeros(SAMPLES, int)
    taken = (starts[:, None] + np.arange(SAMPLED)) % frames
    return np.bincount(taken.ravel(), minlength=frames) / taken.size


def subject_consistency(embeddings: Embeddings) -> Array:
    """VBench's: ½ [max(0, cos to the previous frame) + max(0, cos to the first frame)], the mean over frames from 1 on.

    embeddings: f [n, f, d], at least 2 frames; VBench takes DINO ViT-B/16, and CLIP ViT-B/32 for its background
    consistency. Returns f64 [n] in 0..1, 1 for a still video. Raises ValueError for other shapes. VBench's total weighs
    clips by their numbers of frames: the same as the mean over clips of one length. Source:
    `vbench/subject_consistency.py`.

    The second frame is like the first (1 and 1); the third is opposite to both, which counts as 0:

    >>> subject_consistency(np.array([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]])).tolist()
    [0.5]
    """
    _check(embeddings, frames=2)
    values = np.empty(len(embeddings))
    for i, unit in enumerate(map(_unit, embeddings)):
        previous = (unit[1:] * unit[:-1]).sum(axis=-1)
        first = unit[1:] @ unit[0]
        values[i] = np.mean((np.maximum(previous, 0) + np.maximum(first, 0)) / 2)
    return values


def temporal_flickering(video: Video) -> Array:
    """VBench's: (255 − mean absolute difference of adjacent frames) / 255.

    video: u8 [n, f, h, w, 3], at least 2 frames. Returns f64 [n] in 0..1, 1 for a still video. Raises ValueError for
    other types or shapes. VBench computes it on videos that RAFT finds static; here motion counts as flicker. Source:
    `vbench/temporal_flickering.py`.

    A step of 51 = 255 / 5 in every value:

    >>> video = np.zeros((1, 2, 8, 8, 3), np.uint8)
    >>> video[:, 1] = 51
    >>> temporal_flickering(video).tolist()
    [0.8]
    """
    check_video(video, frames=2)
    values = np.empty(len(video))
    for i, clip in enumerate(video):
        pairs = [np.abs(b.astype(np.int16) - a).mean() for a, b in pairwise(clip)]
        values[i] = (255 - np.mean(pairs)) / 255
    return values


def _unit(vectors: Embeddings) -> Array:
    """Vectors of length 1 along the last axis, f64; zero vectors stay zero."""
    vectors = vectors.astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1.0, length)


def _check(embeddings: Embeddings, *, frames: int) -> None:
    if embeddings.ndim != 3 or embeddings.shape[1] < frames or embeddings.shape[2] == 0:
        raise ValueError(
            f"embeddings of shape {list(embeddings.shape)}: allowed is [clip, frame, feature] with at least {frames} "
            f"frame{'s' if frames > 1 else ''}"
        )


# The metrics of the protocols


def vifi_score(prediction: Scored, target: Scored) -> Array:
    """`clip_similarity` of view "vifi_mind_animator" of both, f [n, f, d], frames by their `sampled_shares`.

    Returns f64 [n] in −1..1.

    >>> a, b = (Scored(views={"vifi_mind_animator": np.array([[[3.0, 4.0]]]) * scale}) for scale in (1, 10))
    >>> vifi_score(a, b).round(4).tolist()
    [1.0]
    """
    sides = []
    for side in (prediction, target):
        seen = side["vifi_mind_animator"].astype(np.float64)
        shares = sampled_shares(seen.shape[1])
        sides.append((seen * shares[:, None]).sum(axis=1, keepdims=True))
    return clip_similarity(*sides)


def gated_adjacent(prediction: Scored, target: Scored) -> Array:
    """Mind-Animator's CLIP-pcc: `adjacent_cosine`, 0 for a clip whose VIFI score is 0.6 or less.

    Reads views "clip" of the prediction and "vifi_mind_animator" of both, f [n, f, d]. Returns f64 [n] in −1..1.

    >>> still = Scored(views={"clip": np.ones((1, 2, 4)), "vifi_mind_animator": np.array([[[1.0, 0.0]]])})
    >>> unlike = Scored(views={"vifi_mind_animator": np.array([[[0.0, 1.0]]])})
    >>> gated_adjacent(still, still).tolist(), gated_adjacent(still, unlike).tolist()
    ([1.0], [0.0])
    """
    return gated(adjacent_cosine(prediction["clip"]), vifi_score(prediction, target))


def adjacent_spec(name: str, view: str, *, version: int = 1) -> MetricSpec:
    """The spec of `adjacent_cosine` of a view of embeddings, under a protocol's name for it.

    >>> adjacent_spec("dtc", "dinov2").judge
    'dinov2'
    """
    return MetricSpec(
        name=name,
        compute=on_view(adjacent_cosine, view),
        version=version,
        summary=f"cosine of adjacent frames' {view} embeddings; a still video scores 1",
        lo=-1.0,
        worst=-1.0,
        views=(view,),
        paired=False,
        floor=False,
        least_frames=2,
    )


CLIP_CONSISTENCY = adjacent_spec("clip_consistency", "clip")
CLIP_PCC_ADJACENT = adjacent_spec("clip_pcc", "clip")
DTC = adjacent_spec("dtc", "dinov2")
CTC_DYNAMIND = adjacent_spec("ctc", "clip_dynamind", version=2)  # 1: half of an odd margin rounded to the even number
DTC_DYNAMIND = adjacent_spec("dtc", "dinov2_dynamind", version=2)  # 1: resized by the checkpoint's processor, bicubic
CLIP_PCC_ALL_PAIRS = MetricSpec(
    name="clip_pcc",
    compute=on_view(all_pairs_cosine, "clip_large_neurons"),
    version=2,  # 1: half of an odd margin rounded to the even number
    summary="mean cosine of all pairs of frames, CLIP ViT-L/14; a still video scores 1",
    lo=-1.0,
    worst=-1.0,
    views=("clip_large_neurons",),
    paired=False,
    floor=False,
    least_frames=2,
)
CLIP_PCC_GATED = MetricSpec(
    name="clip_pcc",
    compute=gated_adjacent,
    version=2,  # 1: gate by ViFi-CLIP's view of pixels as CLIP's processor makes them
    summary="cosine of adjacent frames, CLIP ViT-B/32; 0 unless ViFi-CLIP finds prediction and truth alike (> 0.6)",
    lo=-1.0,
    worst=-1.0,
    views=("clip", "vifi_mind_animator"),
    floor=False,
    least_frames=2,
)
VIFI_SCORE = MetricSpec(
    name="vifi_score",
    compute=vifi_score,
    version=2,  # 1: of pixels as CLIP's processor makes them, all frames alike
    summary="cosine of the clips' mean ViFi-CLIP embeddings",
    lo=-1.0,
    worst=-1.0,
    views=("vifi_mind_animator",),
)
SUBJECT_CONSISTENCY = MetricSpec(
    name="subject_consistency",
    compute=on_view(subject_consistency, "dino_vbench"),
    version=2,  # 1: of pixels as the checkpoint's processor makes them, squashed to a square
    summary="half the cosine to the previous and half to the first frame, DINO; a still video scores 1",
    views=("dino_vbench",),
    paired=False,
    floor=False,
    least_frames=2,
)
BACKGROUND_CONSISTENCY = replace(
    SUBJECT_CONSISTENCY,
    name="background_consistency",
    views=("clip_vbench",),
    compute=on_view(subject_consistency, "clip_vbench"),
    version=2,  # 1: of pixels as VBench makes them of folders of pictures, with antialiasing
    summary="the same formula with CLIP ViT-B/32",
)
FLICKERING = MetricSpec(
    name="temporal_flickering",
    compute=on_video(temporal_flickering),
    summary="255 − mean difference of adjacent frames, over 255; a still video scores 1",
    pixels=True,
    paired=False,
    floor=False,
    least_frames=2,
)
