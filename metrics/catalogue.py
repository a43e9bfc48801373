"""The metrics as the protocols name them: which function of which views, in which direction, with which floor.

The arithmetic is in the modules next door (`semantic`, `pixel`, `colour`, `consistency`, `motion`, `retrieval`,
`frechet`), whose docstrings say what a metric's source is and what fools it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from metrics import colour, consistency, frechet, motion, pixel, retrieval, semantic
from metrics.specs import Compute, MetricSpec, Scored

Array = npt.NDArray[np.float64]

# Semantic


def video_accuracy(prediction: Scored, target: Scored, *, n_way: int, right: int) -> Array:
    """N-way accuracy of the video judge; the judge's `right` best classes of the true clip are right. f64 [n]."""
    return _accuracy(prediction["video"], target["video"], n_way=n_way, right=right)


def frame_accuracy(prediction: Scored, target: Scored, *, n_way: int, right: int) -> Array:
    """The same of the frame judge, each frame against the true frame of its time, the mean over frames. f64 [n]."""
    n, frames, classes = prediction["frame"].shape
    flat = (scored["frame"].reshape(-1, classes) for scored in (prediction, target))
    return _accuracy(*flat, n_way=n_way, right=right).reshape(n, frames).mean(axis=1)


def _accuracy(predicted: npt.NDArray, true: npt.NDArray, *, n_way: int, right: int) -> Array:
    targets = semantic.top_classes(true, right)
    accuracy = semantic.n_way_accuracy(predicted, targets, n_way=n_way, top_k=1)
    return np.where(np.isnan(true).any(axis=1), np.nan, accuracy)


def concept_accuracy(prediction: Scored, target: Scored, *, n_way: int) -> Array:
    """N-way accuracy over the benchmark's own concepts, named to CLIP in words; the true concept is right. f64 [n]."""
    assert target.concept is not None, "needs the true concepts"
    return semantic.n_way_accuracy(prediction["concept"], target.concept, n_way=n_way, top_k=1)


def gallery_accuracy(prediction: Scored, target: Scored, *, k: int) -> Array:
    """Whether the true clip is among the k of all true clips that CLIP finds most alike the prediction. f64 [n]."""
    assert target.clip is not None, "needs the place of each true clip in the gallery"
    return retrieval.retrieval_accuracy(prediction["gallery"], target.clip, k)


def accuracy_spec(judge: str, n_way: int, right: int) -> MetricSpec:
    compute = partial(video_accuracy if judge == "video" else frame_accuracy, n_way=n_way, right=right)
    classes = "best class" if right == 1 else f"{right} best classes"
    return MetricSpec(
        name=f"{judge}_{n_way}way",
        compute=compute,
        summary=f"{n_way}-way accuracy of the {judge} judge, its {classes} of the true clip count as right",
        views=(judge,),
        chance=semantic.chance(n_way, targets_per_clip=right),
    )


def concept_spec(n_way: int) -> MetricSpec:
    return MetricSpec(
        name=f"concept_{n_way}way",
        compute=partial(concept_accuracy, n_way=n_way),
        summary=f"{n_way}-way accuracy over the benchmark's own concepts, named to CLIP in words",
        views=("concept",),
        chance=semantic.chance(n_way),
    )


def gallery_spec(k: int) -> MetricSpec:
    return MetricSpec(
        name=f"retrieval_top{k}",
        compute=partial(gallery_accuracy, k=k),
        summary=f"share of clips whose true clip is among the {k} most alike of all true clips, by CLIP",
        views=("gallery",),
    )


def normalise(spec: MetricSpec) -> MetricSpec:
    """The same accuracy as (accuracy − chance) / (1 − chance)."""
    assert spec.chance != "measured", "only an exact chance level normalises"
    level = spec.chance
    worst = float(semantic.normalise_by_chance(0.0, level))
    return replace(
        spec,
        name=f"{spec.name}_normalised",
        summary=f"{spec.name}, 0 at chance and 1 when always right",
        compute=lambda prediction, target: semantic.normalise_by_chance(spec.compute(prediction, target), level),
        lo=worst,
        worst=worst,
        chance=0.0,
    )


# Pixels


def on_videos(function: Callable[[npt.NDArray, npt.NDArray], Array]) -> Compute:
    """A function of two videos as one of two scored sets."""

    def compute(prediction: Scored, target: Scored) -> Array:
        assert prediction.video is not None and target.video is not None, "needs the videos"
        return function(prediction.video, target.video)

    return compute


def on_video(function: Callable[[npt.NDArray], Array]) -> Compute:
    """A function of the predicted video alone."""

    def compute(prediction: Scored, target: Scored) -> Array:
        assert prediction.video is not None, "needs the video"
        return function(prediction.video)

    return compute


def on_view(function: Callable[[npt.NDArray], Array], view: str) -> Compute:
    """A function of one view of the prediction alone."""
    return lambda prediction, target: function(prediction[view])


SSIM = MetricSpec(
    name="ssim",
    compute=on_videos(pixel.ssim),
    summary="structural similarity of RGB frames, 7×7 uniform window",
    lo=-1.0,
    worst=-1.0,
    pixels=True,
)
SSIM_GREY_COLUMNS = MetricSpec(
    name="ssim",
    compute=on_videos(pixel.ssim_grey_columns),
    summary="structural similarity of grey frames taken column by column, Gaussian window",
    lo=-1.0,
    worst=-1.0,
    pixels=True,
)
SSIM_GREY = MetricSpec(
    name="ssim_grey",
    compute=on_videos(pixel.ssim_grey),
    summary="structural similarity of grey frames",
    lo=-1.0,
    worst=-1.0,
    pixels=True,
)
PSNR = MetricSpec(
    name="psnr",
    compute=on_videos(pixel.psnr),
    summary="peak signal-to-noise ratio in dB, mean over frames, 100 at most",
    hi=pixel.PSNR_CAP,
    pixels=True,
)
PIXCORR = MetricSpec(
    name="pixcorr",
    compute=on_videos(pixel.pixcorr),
    summary="Pearson correlation of all RGB values of a frame, its shorter side at 425",
    lo=-1.0,
    worst=-1.0,
    pixels=True,
    shuffles=1,
)
HUE_COSINE = MetricSpec(
    name="hue_pcc",
    compute=on_videos(colour.hue_cosine),
    summary="cosine of the hue planes with red and blue exchanged, as published (no correlation)",
    pixels=True,
)
HUE_CORRELATION = MetricSpec(
    name="hue_correlation",
    compute=on_videos(colour.hue_correlation),
    summary="circular correlation of hue",
    lo=-1.0,
    worst=-1.0,
    chance=0.0,
    pixels=True,
)


# Consistency


def adjacent_spec(name: str, view: str) -> MetricSpec:
    return MetricSpec(
        name=name,
        compute=on_view(consistency.adjacent_cosine, view),
        summary=f"cosine of adjacent frames' {view} embeddings; a still video scores 1",
        lo=-1.0,
        worst=-1.0,
        views=(view,),
        paired=False,
    )


def gated_adjacent(prediction: Scored, target: Scored) -> Array:
    """Mind-Animator's CLIP-pcc: adjacent cosine, 0 for a clip whose VIFI similarity to the truth is 0.6 or less."""
    similarity = consistency.clip_similarity(prediction["vifi"], target["vifi"])
    return consistency.gated(consistency.adjacent_cosine(prediction["clip"]), similarity)


ALL_PAIRS = MetricSpec(
    name="clip_pcc",
    compute=on_view(consistency.all_pairs_cosine, "clip_large"),
    summary="mean cosine of all pairs of frames, CLIP ViT-L/14; a still video scores 1",
    lo=-1.0,
    worst=-1.0,
    views=("clip_large",),
    paired=False,
)
GATED = MetricSpec(
    name="clip_pcc",
    compute=gated_adjacent,
    summary="cosine of adjacent frames, CLIP ViT-B/32; 0 unless ViFi-CLIP finds prediction and truth alike (> 0.6)",
    lo=-1.0,
    worst=-1.0,
    views=("clip", "vifi"),
)
VIFI = MetricSpec(
    name="vifi_score",
    compute=lambda prediction, target: consistency.clip_similarity(prediction["vifi"], target["vifi"]),
    summary="cosine of the clips' mean ViFi-CLIP embeddings",
    lo=-1.0,
    worst=-1.0,
    views=("vifi",),
)
SUBJECT_CONSISTENCY = MetricSpec(
    name="subject_consistency",
    compute=on_view(consistency.subject_consistency, "dino"),
    summary="half the cosine to the previous and half to the first frame, DINO; a still video scores 1",
    views=("dino",),
    paired=False,
)
BACKGROUND_CONSISTENCY = replace(
    SUBJECT_CONSISTENCY,
    name="background_consistency",
    views=("clip",),
    compute=on_view(consistency.subject_consistency, "clip"),
    summary="the same formula with CLIP ViT-B/32",
)
FLICKERING = MetricSpec(
    name="temporal_flickering",
    compute=on_video(consistency.temporal_flickering),
    summary="255 − mean difference of adjacent frames, over 255; a still video scores 1",
    pixels=True,
    paired=False,
)


# Motion

LARGEST_ERROR = 100.0  # pixels: what a missing clip scores in end-point error; far above any reported value

EPE_FARNEBACK = MetricSpec(
    name="epe",
    compute=on_videos(partial(motion.end_point_error, flow=motion.flow_farneback)),
    summary="end-point error in pixels of Farneback's flow, as Mind-Animator calls it; a still video often wins",
    direction="lower",
    hi=LARGEST_ERROR,
    worst=LARGEST_ERROR,
    pixels=True,
    shuffles=1,
)
EPE_DIS = replace(
    EPE_FARNEBACK,
    name="epe_dis",
    compute=on_videos(partial(motion.end_point_error, flow=motion.flow_dis)),
    summary="end-point error in pixels of DIS flow; read it beside dynamic_difference",
)
EPE_RAFT = replace(
    EPE_FARNEBACK,
    name="epe_raft",
    views=("raft",),
    pixels=False,
    compute=lambda prediction, target: motion.flow_difference(prediction["raft"], target["raft"]),
    summary="end-point error in pixels of RAFT's flow",
)
SMOOTHNESS_DIS = MetricSpec(
    name="motion_smoothness_dis",
    compute=on_video(partial(motion.motion_smoothness, interpolate=motion.interpolate_dis)),
    summary="likeness of every second frame to the midpoint of its neighbours by DIS flow; a still video scores 1",
    pixels=True,
    paired=False,
)
MAGNITUDE = MetricSpec(
    name="dynamic_magnitude",
    compute=on_video(partial(motion.dynamic_degree, flow=motion.flow_dis)),
    summary="mean of the 5 % fastest pixels of DIS flow, in pixels a frame at 256; a still video scores 0",
    hi=float("inf"),
    pixels=True,
    paired=False,
)
DIFFERENCE_DIS = MetricSpec(
    name="dynamic_difference",
    compute=on_videos(partial(motion.dynamic_difference, flow=motion.flow_dis)),
    summary="difference of the dynamic magnitude to the true clip's",
    direction="lower",
    hi=LARGEST_ERROR,
    worst=LARGEST_ERROR,
    pixels=True,
    shuffles=1,
)
DYNAMIC_RAFT = MetricSpec(
    name="dynamic_degree",
    compute=lambda prediction, target: motion.is_dynamic(prediction["raft"]),
    summary="whether enough pairs of frames move (RAFT), VBench's rule; a still video scores 0",
    views=("raft",),
    paired=False,
)
DYNAMIC_DIS = MetricSpec(
    name="dynamic_degree_dis",
    compute=on_video(partial(motion.is_dynamic_video, flow=motion.flow_dis)),
    summary="VBench's rule with DIS flow in RAFT's place",
    pixels=True,
    paired=False,
)
SMOOTHNESS_AMT = MetricSpec(
    name="motion_smoothness",
    compute=on_view(lambda view: view.astype(np.float64), "amt"),
    summary="VBench's motion smoothness, frames interpolated by AMT-S; a still video scores about 1",
    views=("amt",),
    paired=False,
)


# Sets

LARGEST_DISTANCE = 1e6  # what a set without predictions scores; far above any reported value

FVD = MetricSpec(
    name="fvd",
    compute=lambda prediction, target: np.array([frechet.frechet_distance(prediction["features"], target["features"])]),
    summary="Fréchet distance of the two sets in the video judge's features; only equal numbers of clips compare",
    direction="lower",
    hi=LARGEST_DISTANCE,
    worst=LARGEST_DISTANCE,
    level="set",
    views=("features",),
    paired=False,
)
