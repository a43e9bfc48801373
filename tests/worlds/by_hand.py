"""Every metric of every protocol from its definition, for one prediction and one truth of `planted_cell`.

Written from the papers and from `metrics/protocols.py`'s prose with numpy, scipy, scikit-image and OpenCV's flow; no
line is shared with the product. `FORMULAS[protocol, metric]` takes two `Planted`; `WORST` and `SHUFFLES` say again what
a missing clip scores and over how many permutations a floor is averaged, and `LOWER` which metrics are best when low.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import comb

import cv2
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from planted_cell import CLIPS, CONCEPT, TRUTH, WORDS, Planted
from scipy.linalg import sqrtm
from scipy.ndimage import map_coordinates
from skimage.color import rgb2hsv

Formula = Callable[[Planted, Planted], float]


def clip_of(truth: Planted) -> int:
    return next(clip for clip, one in TRUTH.items() if one is truth)


# Accuracies


def n_way(scores: np.ndarray, right: np.ndarray, n: int) -> float:
    """Chance that no drawn class beats the best right one, when n − 1 of the classes that are not right are drawn."""
    if np.isnan(scores).any():
        return np.nan
    if np.ptp(scores) == 0:  # all orders are as likely: the first of n − 1 drawn and the right ones
        return len(right) / (n - 1 + len(right))
    others = len(scores) - len(right)
    above = int((scores > scores[right].max()).sum())
    return comb(others - above, n - 1) / comb(others, n - 1)


def video_accuracy(p: Planted, t: Planted, n: int, right: int) -> float:
    if np.isnan(t.views["video"]).any():
        return np.nan
    return n_way(p.views["video"], np.argsort(t.views["video"])[-right:], n)


def frame_accuracy(p: Planted, t: Planted, n: int, right: int) -> float:
    frames = zip(p.views["frame"], t.views["frame"], strict=True)
    return float(np.mean([n_way(ours, np.argsort(true)[-right:], n) for ours, true in frames]))


def normalised(accuracy: Formula, n: int) -> Formula:
    return lambda p, t: (n * accuracy(p, t) - 1) / (n - 1)


def unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.sqrt((vectors**2).sum(axis=-1, keepdims=True))


def gist(one: Planted) -> np.ndarray:
    return unit(unit(one.views["clip"]).mean(axis=0))


def concept_accuracy(p: Planted, t: Planted, n: int) -> float:
    return n_way(unit(WORDS) @ gist(p), np.array([CONCEPT[clip_of(t)]]), n)


def retrieval(p: Planted, t: Planted, k: int) -> float:
    likeness = {clip: gist(p) @ gist(one) for clip, one in TRUTH.items()}
    return float(sorted(CLIPS, key=lambda clip: -likeness[clip]).index(clip_of(t)) < k)


def retrieval_by_frames(p: Planted, t: Planted, k: int) -> float:
    ours, *true = (unit(unit(one.views["frame_features"]).mean(axis=0)) for one in (p, *TRUTH.values()))
    likeness = {clip: ours @ one for clip, one in zip(TRUTH, true, strict=True)}
    return float(sorted(CLIPS, key=lambda clip: -likeness[clip]).index(clip_of(t)) < k)


# Pixels


def similarity(a: np.ndarray, b: np.ndarray, weights: np.ndarray, unbias: float, peak: float) -> float:
    """Wang et al. (2004), equation (13), over windows [..., place in the window]."""
    mean_a, mean_b = (a * weights).sum(-1), (b * weights).sum(-1)
    off_a, off_b = a - mean_a[..., None], b - mean_b[..., None]
    cov = unbias * (off_a * off_b * weights).sum(-1)
    spread = unbias * ((off_a**2 + off_b**2) * weights).sum(-1)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float(np.mean(luminance * (2 * cov + c2) / (spread + c2)))


def ssim(p: Planted, t: Planted) -> float:
    """7 × 7 pixels alike, sample covariance, each colour alone, only whole windows."""
    ours, true = (sliding_window_view(v.video.astype(float), (7, 7), axis=(1, 2)) for v in (p, t))
    ours, true = (windows.reshape(*windows.shape[:-2], 49) for windows in (ours, true))
    return similarity(ours, true, np.full(49, 1 / 49), 49 / 48, 255)


def ssim_columns(p: Planted, t: Planted) -> float:
    """Grey; eleven pixels of one column under a Gaussian of 1.5 pixels, population covariance."""
    grey = np.array([0.2125, 0.7154, 0.0721]) / 255
    ours, true = (sliding_window_view(v.video @ grey, 11, axis=1) for v in (p, t))
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    return similarity(ours, true, weights / weights.sum(), 1, 1)


def psnr(p: Planted, t: Planted) -> float:
    errors = [np.mean((a.astype(float) - b) ** 2) for a, b in zip(p.video, t.video, strict=True)]
    return float(np.mean([100 if error == 0 else min(100, 10 * np.log10(255**2 / error)) for error in errors]))


def pixcorr(p: Planted, t: Planted) -> float:
    """Over 425 × 425 × 3 values; frames of one grey value have none."""
    enlarged = [
        torch.nn.functional.interpolate(
            torch.from_numpy(one.video).double().permute(0, 3, 1, 2), (425, 425), mode="bilinear", align_corners=False
        ).flatten(1)
        for one in (p, t)
    ]
    kept = [np.corrcoef(a, b)[0, 1] for a, b in zip(*enlarged, strict=True) if np.ptp(a) > 0 and np.ptp(b) > 0]
    return float(np.mean(kept)) if kept else 0.0


def hue_cosine(p: Planted, t: Planted) -> float:
    """Whole hues of 0 to 179 with red and blue exchanged."""
    values = []
    for a, b in zip(p.video, t.video, strict=True):
        x, y = (np.round(180 * rgb2hsv(frame[..., ::-1])[..., 0].ravel()) % 180 for frame in (a, b))
        values.append(x @ y / np.sqrt(x @ x * (y @ y)) if x.any() and y.any() else 0.0)
    return float(np.mean(values))


def hue_correlation(p: Planted, t: Planted) -> float:
    """Jammalamadaka and SenGupta (2001), §8.2; grey pixels have the mean hue."""
    values = []
    for pair in zip(p.video, t.video, strict=True):
        sines = []
        for frame in pair:
            hue, saturation, _ = np.moveaxis(rgb2hsv(frame), -1, 0)
            angles = 2 * np.pi * hue[saturation > 0]
            mean = np.angle(np.exp(1j * angles).sum()) if len(angles) else 0.0
            sines.append(np.where(saturation > 0, np.sin(2 * np.pi * hue - mean), 0.0).ravel())
        spread = [np.sqrt(np.mean(one**2)) for one in sines]
        values.append(np.mean(sines[0] * sines[1]) / np.prod(spread) if min(spread) > 1e-5 else 0.0)
    return float(np.mean(values))


def flickering(p: Planted, t: Planted) -> float:
    return float(1 - np.abs(np.diff(p.video.astype(float), axis=0)).mean() / 255)


# Consistency


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(unit(a) @ unit(b))


def adjacent(p: Planted, t: Planted, view: str) -> float:
    seen = p.views[view]
    return float(np.mean([cosine(seen[i], seen[i + 1]) for i in range(len(seen) - 1)]))


def all_pairs(p: Planted, t: Planted) -> float:
    seen = p.views["clip_large_neurons"]
    return float(np.mean([cosine(a, b) for i, a in enumerate(seen) for j, b in enumerate(seen) if i != j]))


def vifi(p: Planted, t: Planted) -> float:
    """Of six frames the first two count twice: eight are taken of each clip."""
    ours, true = (one.views["vifi_mind_animator"][[0, 1, 2, 3, 4, 5, 0, 1]].mean(axis=0) for one in (p, t))
    return cosine(ours, true)


def gated(p: Planted, t: Planted) -> float:
    return adjacent(p, t, "clip") if vifi(p, t) > 0.6 else 0.0


def to_previous_and_first(p: Planted, t: Planted, view: str) -> float:
    seen = p.views[view]
    pairs = [(cosine(seen[i], seen[i - 1]), cosine(seen[i], seen[0])) for i in range(1, len(seen))]
    return float(np.mean([max(0, previous) / 2 + max(0, first) / 2 for previous, first in pairs]))


# Motion


def dis(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b))
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)


def farneback(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    grey = (cv2.cvtColor(np.ascontiguousarray(frame[..., ::-1]), cv2.COLOR_RGB2GRAY) for frame in (a, b))
    return cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def flows(one: Planted, estimate: Callable) -> np.ndarray:
    return np.stack([estimate(a, b) for a, b in zip(one.video[:-1], one.video[1:], strict=True)])


def end_point_error(p: Planted, t: Planted, estimate: Callable) -> float:
    return float(np.linalg.norm(flows(p, estimate) - flows(t, estimate), axis=-1).mean())


def top_speeds(flow: np.ndarray) -> np.ndarray:
    """Of each pair of frames the mean of the 12 fastest of 256 pixels (5 %), as if frames were 256 high."""
    return np.sort(np.linalg.norm(flow, axis=-1).reshape(len(flow), -1), axis=1)[:, -12:].mean(axis=1) * 256 / 16


def magnitude(p: Planted, t: Planted) -> float:
    return float(top_speeds(flows(p, dis)).mean())


def magnitude_difference(p: Planted, t: Planted) -> float:
    return abs(magnitude(p, t) - magnitude(t, p))


def moves(flow: np.ndarray) -> float:
    """VBench: a quarter of six frames, rounded, is two pairs of more than 6 pixels."""
    return float((top_speeds(flow) > 6).sum() >= 2)


def wrongly_moving(p: Planted, t: Planted, flow: Callable[[Planted], np.ndarray]) -> float:
    """1 where the one moves and the other stands still."""
    return float(moves(flow(p)) != moves(flow(t)))


def smoothness(p: Planted, t: Planted, middle: Callable) -> float:
    """Frames 1 and 3 against what is drawn between 0 and 2, and 2 and 4; frame 5 has no neighbour behind it."""
    video = p.video
    off = [np.abs(middle(video[i - 1], video[i + 1]).astype(float) - video[i]).mean() for i in (1, 3)]
    return float(1 - np.mean(off) / 255)


def halfway(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Both frames moved half the way along DIS' flow, and their mean."""
    flow = (dis(b, a) - dis(a, b)) / 4
    rows, columns = np.mgrid[:16, :16]

    def take(frame: np.ndarray, sign: int) -> np.ndarray:
        places = [rows + sign * flow[..., 1], columns + sign * flow[..., 0]]
        colours = np.moveaxis(frame.astype(float), -1, 0)
        return np.stack([map_coordinates(one, places, order=1, mode="nearest") for one in colours], axis=-1)

    return (take(a, 1) + take(b, -1)) / 2


def frechet(predictions: list[Planted], truths: list[Planted]) -> float:
    ours, true = (np.stack([one.views["features"] for one in side]).astype(float) for side in (predictions, truths))
    a, b = np.cov(ours.T), np.cov(true.T)
    return float(((ours.mean(0) - true.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


def frame_frechet(predictions: list[Planted], truths: list[Planted]) -> float:
    """Of the mean over each clip's frames."""
    ours, true = (
        np.stack([one.views["frame_features"].astype(float).mean(axis=0) for one in side])
        for side in (predictions, truths)
    )
    a, b = np.cov(ours.T), np.cov(true.T)
    return float(((ours.mean(0) - true.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(sqrtm(a @ b))))


# Protocols


def accuracies(ways: tuple[int, ...], right: int) -> dict[str, Formula]:
    judges = {"video": video_accuracy, "frame": frame_accuracy}
    return {f"{name}_{n}way": partial(f, n=n, right=right) for name, f in judges.items() for n in ways}


TOP_ONE = accuracies((2, 40), 1)
OF_FRAMES = {name: f for name, f in accuracies((2, 40, 50), 1).items() if name.startswith("frame")}
PROTOCOL_FORMULAS: dict[str, dict[str, Formula]] = {
    "eeg2video": accuracies((2, 40), 3) | {"ssim": ssim, "psnr": psnr},
    "neuroclips": accuracies((2, 50), 3)
    | {"ssim": ssim_columns, "psnr": psnr, "pixcorr": pixcorr, "clip_pcc": partial(adjacent, view="clip")},
    "neurons": accuracies((2, 50), 3) | {"ssim": ssim_columns, "psnr": psnr, "clip_pcc": all_pairs},
    "mind_animator": accuracies((2,), 3)
    | {"ssim": ssim, "psnr": psnr, "hue_pcc": hue_cosine, "clip_pcc": gated, "vifi_score": vifi}
    | {"epe": partial(end_point_error, estimate=farneback)},
    "cinebrain": accuracies((2, 50), 3)
    | {"ssim": ssim, "psnr": psnr, "dtc": partial(adjacent, view="dinov2_dynamind")}
    | {"ctc": partial(adjacent, view="clip_dynamind")},
    "cine_neuron": {
        "dynamic_degree": lambda p, t: moves(p.views["raft_vbench"]),
        "dynamic_degree_dis": lambda p, t: moves(flows(p, dis)),
        "dynamic_degree_error": partial(wrongly_moving, flow=lambda one: one.views["raft_vbench"]),
        "dynamic_degree_error_dis": partial(wrongly_moving, flow=lambda one: flows(one, dis)),
    },
    "vbench": {
        "subject_consistency": partial(to_previous_and_first, view="dino_vbench"),
        "background_consistency": partial(to_previous_and_first, view="clip_vbench"),
        "temporal_flickering": flickering,
        "motion_smoothness": partial(smoothness, middle=lambda a, b: a),
        "motion_smoothness_dis": partial(smoothness, middle=halfway),
        "dynamic_degree": lambda p, t: moves(p.views["raft_vbench"]),
        "dynamic_degree_dis": lambda p, t: moves(flows(p, dis)),
    },
    "corrected": TOP_ONE
    | accuracies((50,), 1)
    | {f"{name}_normalised": normalised(f, int(name.split("_")[1][:-3])) for name, f in TOP_ONE.items()}
    | {f"concept_{n}way": partial(concept_accuracy, n=n) for n in (2, 40)}
    | {f"retrieval_top{k}": partial(retrieval, k=k) for k in (1, 5)}
    | {"ssim": ssim, "psnr": psnr, "hue_correlation": hue_correlation}
    | {"clip_consistency": partial(adjacent, view="clip"), "dtc": partial(adjacent, view="dinov2")}
    | {"motion_smoothness_dis": partial(smoothness, middle=halfway), "dynamic_magnitude": magnitude}
    | {"dynamic_difference": magnitude_difference, "epe_dis": partial(end_point_error, estimate=dis)},
    "real": OF_FRAMES
    | {f"{name}_normalised": normalised(f, int(name.split("_")[1][:-3])) for name, f in OF_FRAMES.items()}
    | {f"frame_retrieval_top{k}": partial(retrieval_by_frames, k=k) for k in (1, 5)}
    | {"ssim": ssim, "psnr": psnr, "hue_correlation": hue_correlation}
    | {"motion_smoothness_dis": partial(smoothness, middle=halfway), "dynamic_magnitude": magnitude}
    | {"dynamic_difference": magnitude_difference, "epe_dis": partial(end_point_error, estimate=dis)},
}
FORMULAS = {(protocol, name): f for protocol, named in PROTOCOL_FORMULAS.items() for name, f in named.items()}
SETS = {("cinebrain", "fvd"): frechet, ("corrected", "fvd"): frechet, ("real", "frame_frechet"): frame_frechet}

UNPAIRED = {  # look at the prediction alone
    *("dtc", "ctc", "clip_consistency", "subject_consistency", "background_consistency", "temporal_flickering"),
    *("motion_smoothness", "motion_smoothness_dis", "dynamic_degree", "dynamic_degree_dis", "dynamic_magnitude"),
    *(("neuroclips", "clip_pcc"), ("neurons", "clip_pcc")),
}
DEGREES = ("dynamic_degree_error", "dynamic_degree_error_dis")
LOWER = {"epe", "epe_dis", "dynamic_difference", "fvd", "frame_frechet", *DEGREES}
SHUFFLES = dict.fromkeys(("pixcorr", "epe", "epe_dis", "dynamic_difference", *DEGREES), 1)  # the others over all ten
COSINES = {
    "ssim", "pixcorr", "hue_correlation", "clip_consistency", "dtc", "ctc", "clip_pcc", "vifi_score"
}  # fmt: skip
WORST = {
    **dict.fromkeys(COSINES, -1.0),
    **{f"{judge}_{n}way_normalised": -1 / (n - 1) for judge in ("video", "frame") for n in (2, 40, 50)},
    **dict.fromkeys(("epe", "epe_dis", "dynamic_difference"), 100.0),
    **dict.fromkeys(("fvd", "frame_frechet"), 1e6),
    **dict.fromkeys(DEGREES, 1.0),
}  # all others: 0
BEST = {"psnr": 100.0, "dynamic_magnitude": np.inf}  # all others: 1, or 0 where less is better
# Fixed-point hues and warps of OpenCV; the rest are rounding errors of float32
TOLERANCE = {"hue_pcc": 3e-3, "hue_correlation": 1e-4, "motion_smoothness_dis": 5e-3}


def ends(metric: str) -> tuple[float, float]:
    """The least and the most that a mean can be: an interval ends there."""
    worst, best = WORST.get(metric, 0.0), BEST.get(metric, 0.0 if metric in LOWER else 1.0)
    return min(worst, best), max(worst, best)


def is_paired(protocol: str, metric: str) -> bool:
    return metric not in UNPAIRED and (protocol, metric) not in UNPAIRED
