"""Audit of results: does a method give the same output for everything?

A collapsed method can score well (a typical clip is right on average), and no table of means shows it. Three looks:

| statistic      | found where                                                                                      |
|----------------|--------------------------------------------------------------------------------------------------|
| spread         | predictions differ from each other less than `LEAST_SPREAD` of what true clips do                |
| effective rank | predictions vary in fewer ways than a repertoire of a tenth as many clips as there are concepts   |
| judge classes  | a judge names fewer than `LEAST_CLASSES` of the classes that it names for the true clips         |

All look at 8 × 8 colour pictures of three frames, so noise, texture and blur do not pass for variety. What fools it: a
method that repeats training clips at random is varied, and knows nothing; `shuffled_brain` is for that.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, UInt8

from bench.audit.findings import FOUND, NAN, OK, Finding
from bench.core.seeds import derive_seed

LEAST_SPREAD = 0.2
LEAST_CLASSES = 0.25
# Of the concepts, three at least. A quarter was tried first, and cried collapse at results on a phantom in which a
# judge named 50 of 77 classes: what is decoded from a brain is coarse, and a coarse picture varies in few ways.
REPERTOIRE = 0.1
DRAWS = 200
CELLS = 8  # pixels of a picture's side
MOST = 400  # trials looked at

Pictures = Float64[np.ndarray, "clip number"]


def describe(video: UInt8[np.ndarray, "clip frame height width 3"]) -> Pictures:
    """First, middle and last frame of each clip, averaged down to 8 × 8 colours, in [0, 1]."""
    import cv2

    frames = video[:, [0, video.shape[1] // 2, -1]]
    out = np.empty((*frames.shape[:2], CELLS, CELLS, 3))
    for place in np.ndindex(*frames.shape[:2]):
        out[place] = cv2.resize(frames[place], (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    return out.reshape(len(video), -1) / 255


def measure_spread(pictures: Pictures) -> float:
    """Root mean square distance between two different clips, a number; 0 where all are the same."""
    if len(pictures) < 2:
        raise ValueError(f"{len(pictures)} clips: spread needs two at least")
    return float(np.sqrt(2 * pictures.var(axis=0, ddof=1).mean()))


def measure_rank(pictures: Pictures) -> float:
    """Effective rank: exp of the entropy of the normalised singular values' squares (Roy & Vetterli 2007, on powers).

    1 where all clips lie on a line (or are the same), at most min(clips - 1, numbers).
    """
    power = np.linalg.svd(pictures - pictures.mean(axis=0), compute_uv=False) ** 2
    if power.sum() <= 1e-12 * pictures.size:
        return 1.0
    share = power / power.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def repertoire_rank(truth: Pictures, count: int, kinds: int) -> float:
    """Median effective rank of `count` predictions drawn from `kinds` true clips."""
    rng = np.random.default_rng(derive_seed("audit", "repertoire", count, kinds))
    ranks = []
    for _ in range(DRAWS):
        shown = rng.choice(len(truth), size=min(kinds, len(truth)), replace=False)
        ranks.append(measure_rank(truth[rng.choice(shown, size=count)]))
    return float(np.median(ranks))


def audit_collapse(
    prediction: Pictures,
    truth: Pictures,
    *,
    concepts: int,
    subject_of: str,
    classes: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[Finding]:
    """Spread, rank and, where a judge's `classes` of predictions and true clips are given, how many it names.

    All that are too low are returned; where none is, the one that comes nearest to its limit.
    `prediction` and `truth` come from `describe`, row by row of the same trials; `truth` may repeat clips.
    """
    different = np.unique(truth, axis=0)
    spread = measure_spread(prediction) / measure_spread(different)
    rank = measure_rank(prediction)
    least = repertoire_rank(different, len(prediction), max(3, round(REPERTOIRE * concepts)))

    def row(statistic: str, value: float, limit: float) -> Finding:
        low = value < limit
        return Finding(
            audit="output collapse",
            subject_of=subject_of,
            statistic=statistic,
            value=value,
            null=f"at least {limit:.2f}",
            p_value=NAN,
            verdict=FOUND if low else OK,
            meaning="the outputs are nearly the same for all trials: look at them side by side before any score"
            if low
            else "the outputs vary from trial to trial",
        )

    looks = [("spread, of the true clips'", spread, LEAST_SPREAD), ("effective rank", rank, least)]
    if classes is not None:
        named, true = (len(np.unique(one)) for one in classes)
        looks.append(("judge classes", float(named), LEAST_CLASSES * true))
    looks.sort(key=lambda look: look[1] / look[2])
    return [row(*look) for look in looks if look[1] < look[2]] or [row(*looks[0])]


def pick_trials(count: int) -> np.ndarray:
    """At most `MOST` rows, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int))


def describe_rows(read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> Pictures:
    """Pictures of the rows that `read` returns as videos, 64 at a time."""
    return np.concatenate([describe(read(part)) for part in np.array_split(rows, max(1, -(-len(rows) // 64)))])
