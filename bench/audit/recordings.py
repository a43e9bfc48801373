"""Audits of the recordings: does a signal tell what it should not?

| audit         | asks                                                               | relabelling of the null       |
|---------------|--------------------------------------------------------------------|-------------------------------|
| time in block | are trials at the same moment of *different* blocks alike?         | blocks turned around          |
| run position  | is a block's first half like its second, more than like others'?   | blocks paired in all ways     |
| hint response | does the recording *before* the clips tell the concept?            | concepts shuffled in a block  |
| leaked label  | does what a channel shares with no other tell the concept?         | concepts shuffled in a block  |

All work with pairs of slots (the clips of a slot are averaged: they are one concept in a row). Likeness is the inner
product of whitened features, summed over the subjects. What an audit is not about is taken out twice: its mean is
subtracted (of each concept, each slot, each block), and pairs that share it are left out, because subtracting a mean
makes those pairs unlike. So concepts cannot pass for moments, nor moments for concepts, though each block has one
fixed order. Noise that goes on from one trial to the next (alpha, eyes, slow potentials) stays within its block, and
only pairs of different blocks are compared; run position, which compares within blocks, keeps a distance of two slots.

Why not a decoder with cross-validation: with 70 trials a subject its accuracy is coarse and its null is not the
textbook's (folds share trials); the sum over all pairs uses every trial once and its null is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Complex64, Float32, Float64, Int64

from bench.audit.findings import (
    PERMUTATIONS,
    Finding,
    Tested,
    assess_largest,
    dismiss,
    judge,
    shift_slots,
    shuffle_slots,
)
from bench.core.contracts import Dataset
from bench.core.progress import track
from bench.core.seeds import derive_seed

HIGHEST = 12.5  # Hz, of the cosines that the hint audit reads: what evoked responses hold
WIDTH = 2.5  # Hz, of a band
BANDS = tuple(np.arange(20, 95.1, WIDTH))  # Hz, edges; evoked responses end below the first
SHRINKAGE = 0.1  # of the mean variance, added to a covariance before it is inverted
ROOM = 2  # slots between the halves' pairs

MEANINGS = {
    "time in block": (
        "the recording tells the moment in the block, and the orders of the concepts are fixed: detrend within the "
        "block, and compare every score with position_only",
        "no sign of the moment in the block",
    ),
    "run position": (
        "trials tell which block they come from: never let a block be in training and test at once, and do not tune "
        "on clips of a test block",
        "no sign that blocks can be told apart",
    ),
    "hint response": (
        "the recording before the clips tells the concept: a decoder may read the hint and not the video; cut the "
        "first second after a hint or test on clips that follow no hint",
        "no sign of the concept before its clips",
    ),
    "leaked label": (
        "one channel carries the concept where no brain would: look at its spectrum, leave the channel out and score "
        "again",
        "no sign of the concept in what one channel has alone",
    ),
}


@runtime_checkable
class Hinted(Protocol):
    """A data set that can show the recording of the screens before the clips."""

    def hints(self, subject: int) -> Float32[np.ndarray, "block slot channel time"]: ...


@dataclass(frozen=True)
class Grid:
    """The first session as blocks × slots; every block shows every concept once."""

    trials: dict[int, Int64[np.ndarray, "block slot position"]]  # by subject
    concept: Int64[np.ndarray, "block slot"]

    @property
    def shape(self) -> tuple[int, int]:
        return self.concept.shape[0], self.concept.shape[1]


def audit_recordings(dataset: Dataset) -> list[Finding]:
    """The four audits; "not applicable" where the data set has no blocks of slots, or shows no hints."""
    grid = lay_out(dataset)
    if grid is None:
        why = "the data set has no full grid of blocks and slots with each concept once a block"
        return [dismiss(audit, dataset.name, why) for audit in MEANINGS]
    rng = np.random.default_rng(derive_seed("audit", dataset.digest))
    level, power, bands = [], [], []
    for subject in track(dataset.subjects, "audit: reading recordings"):
        features = measure_slots(dataset, grid.trials[subject])
        level.append(whiten(features[0]))
        power.append(whiten(features[1]))
        bands.append(features[2])
    families = [np.stack(level), np.stack(power)]  # (subject, block, slot, channel)
    moment = report("time in block", dataset.name, assess_moment(families, grid, rng), ("level", "power"))
    run = report("run position", dataset.name, assess_run(families, grid, rng), ("level", "power"))
    places = [f"{channel} {low:g}-{low + WIDTH:g} Hz" for channel in dataset.channels for low in BANDS[:-1]] * 2
    leak = report("leaked label", dataset.name, assess_leak(np.stack(bands), grid, rng), places)
    if not isinstance(dataset, Hinted):
        return [moment, run, dismiss("hint response", dataset.name, "the data set shows no hints"), leak]
    hints = np.stack([read_hints(dataset.hints(s), dataset.sampling_rate) for s in dataset.subjects])
    return [moment, run, report("hint response", dataset.name, assess_hint(hints, grid, rng), ("cosines",)), leak]


def report(audit: str, subject_of: str, tested: Tested, places: Iterable[str]) -> Finding:
    verdict = judge(tested.p_value)
    bad, good = MEANINGS[audit]
    return Finding(
        audit=audit,
        subject_of=f"{subject_of}, {list(places)[tested.place]}",
        statistic="likeness, deviations of the null",
        value=tested.value,
        null=f"at most {tested.limit:.2f} (99 %)",
        p_value=tested.p_value,
        verdict=verdict,
        meaning=bad if verdict == "found" else good,
    )


def lay_out(dataset: Dataset) -> Grid | None:
    """The grid of a data set's first sessions; None where it has none (films, unequal blocks)."""
    if not {"block", "slot", "position", "concept"} <= set(dataset.stimuli.column_names):
        return None
    stimuli = dataset.stimuli.to_pandas().set_index("clip")
    blocks, slots, positions = (stimuli[name].nunique() for name in ("block", "slot", "position"))
    if blocks < 3 or slots < 3 or len(stimuli) != blocks * slots * positions:
        return None
    ordered = stimuli.sort_values(["block", "slot", "position"])
    concept = ordered["concept"].to_numpy(np.int64).reshape(blocks, slots, positions)
    kinds = np.unique(concept)
    if len(kinds) != slots or (concept != concept[..., :1]).any():
        return None
    if (np.sort(concept[..., 0], axis=1) != kinds).any():
        return None
    trials = dataset.trials.to_pandas()
    trials = trials[trials["session"] == trials.groupby("subject")["session"].transform("min")]
    grids = {}
    for subject in dataset.subjects:
        own = trials[trials["subject"] == subject].set_index("clip")["trial"]
        if len(own) != len(stimuli) or not own.index.is_unique:
            return None
        grids[subject] = own.loc[ordered.index].to_numpy(np.int64).reshape(blocks, slots, positions)
    return Grid(grids, concept[..., 0])


def measure_slots(
    dataset: Dataset, trials: Int64[np.ndarray, "block slot position"]
) -> tuple[Float64[np.ndarray, "block slot channel"], ...]:
    """Level and log power of each channel, and log power in `BANDS` of what a channel does not share with others.

    The last is (block, slot, channel · band): the part of a channel that a regression on all other channels leaves.
    A brain reaches every electrode through the same head, so what one electrode has alone is seldom brain.
    """
    level, power, spectra = [], [], []
    shape = (*trials.shape[1:], -1)
    for block in trials:  # one block in memory: 20 MB at SEED-DV's size
        signals = dataset.signals(block.ravel())
        frequency = np.fft.rfftfreq(signals.shape[2], 1 / dataset.sampling_rate)
        edges = np.searchsorted(frequency, BANDS)
        level.append(signals.mean(axis=2, dtype=np.float64).reshape(shape).mean(axis=1))
        power.append(log(signals.var(axis=2, dtype=np.float64)).reshape(shape).mean(axis=1))
        spectrum = np.fft.rfft(signals * np.hanning(signals.shape[2]).astype(np.float32), axis=2)
        spectra.append(spectrum[:, :, edges[0] : edges[-1]].astype(np.complex64))
    alone = unshared(spectra)
    bands = [np.add.reduceat(np.abs(alone @ part) ** 2, edges[:-1] - edges[0], axis=2) for part in spectra]
    return np.stack(level), np.stack(power), np.stack([log(part).reshape(shape).mean(axis=1) for part in bands])


def unshared(spectra: list[Complex64[np.ndarray, "trial channel frequency"]]) -> Float32[np.ndarray, "channel channel"]:
    """The matrix that leaves of each channel what a ridge regression on the others does not explain.

    Its covariances are those of the frequencies in `BANDS` alone: slow waves and eyes would drown what matters there.
    """
    sums = [np.einsum("ncf,ndf->cd", part, part.conj(), optimize=True).real for part in spectra]
    covariance = np.mean(sums, axis=0, dtype=np.float64)
    scale = np.sqrt(np.maximum(np.diag(covariance), np.finfo(float).tiny))
    inverse = np.linalg.inv(covariance / np.outer(scale, scale) + 1e-3 * np.eye(len(scale)))
    return (inverse / np.diag(inverse)[:, None] / scale).astype(np.float32)


def log(values: np.ndarray) -> np.ndarray:
    """Logarithm of powers; a dead channel has the smallest that there is."""
    return np.log(np.maximum(values, np.finfo(np.float64).tiny ** 0.5))


def whiten(features: Float64[np.ndarray, "block slot channel"]) -> Float64[np.ndarray, "block slot channel"]:
    """Channels of unit variance, then uncorrelated as far as `SHRINKAGE` lets them be.

    The covariance is that of all slots of all blocks, whatever they are labelled. Within-block covariances would find
    directions in which a block varies little by chance, and in these block means, which chance made no smaller, stand
    out: on clean phantoms run position was then found every time.
    """
    flat = features.reshape(-1, features.shape[2])
    deviation = flat.std(axis=0)
    flat = (flat - flat.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    values, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
    mixing = (vectors / np.sqrt(np.maximum(values, 0) + SHRINKAGE)) @ vectors.T
    return (flat @ mixing).reshape(features.shape)


def read_hints(
    hints: Float32[np.ndarray, "block slot channel time"], rate: float
) -> Float64[np.ndarray, "block slot number"]:
    """Cosines of the hints up to `HIGHEST`, channels whitened, each cosine scaled to unit power."""
    from scipy.fft import dct

    samples = hints.shape[3]
    cosines = dct(hints.astype(np.float64), axis=3, norm="ortho")[..., : int(2 * HIGHEST * samples / rate)]
    cosines = cosines - cosines.mean(axis=1, keepdims=True)
    covariance = np.einsum("bsct,bsdt->cd", cosines, cosines, optimize=True)
    covariance /= cosines.size / len(covariance)
    values, vectors = np.linalg.eigh(covariance)
    mixing = (vectors / np.sqrt(np.maximum(values, 0) + 1e-3 * values.mean())) @ vectors.T
    white = np.einsum("dc,bsct->bsdt", mixing, cosines, optimize=True)
    white /= np.sqrt((white**2).mean(axis=(0, 1, 2))) + 1e-12
    return white.reshape(*hints.shape[:2], -1)


def centre(
    features: Float64[np.ndarray, "subject block slot number"], labels: Int64[np.ndarray, "block slot"]
) -> Float64[np.ndarray, "subject block slot number"]:
    """Features without the mean of each block and of each label."""
    return without_labels(features - features.mean(axis=2, keepdims=True), labels)


def without_labels(features: np.ndarray, labels: Int64[np.ndarray, "block slot"]) -> np.ndarray:
    """Features without the mean of each label."""
    features = features.copy()
    for label in np.unique(labels):
        features[:, labels == label] -= features[:, labels == label].mean(axis=1, keepdims=True)
    return features


def likeness(features: Float64[np.ndarray, "subject block slot number"]) -> Float64[np.ndarray, "unit unit"]:
    """Inner products between all slots of all blocks, summed over subjects and features."""
    subjects, blocks, slots, _ = features.shape
    flat = features.reshape(subjects, blocks * slots, -1)
    return np.einsum("iuf,ivf->uv", flat, flat, optimize=True)


def assess_pairs(
    products: list[Float64[np.ndarray, "unit unit"]],
    allowed: np.ndarray,  # bool (unit, unit)
    weigh: Callable[[np.ndarray], Float64[np.ndarray, "unit unit"]],
    labels: Iterable[np.ndarray],  # (block, slot); the true ones first
) -> Tested:
    """Mean likeness of the pairs that the labels join, over that of all allowed pairs."""
    upper = np.triu(allowed, k=1)
    first, second = np.nonzero(upper)
    stacked = np.stack([product[first, second] for product in products], axis=1)  # (pair, family)
    stacked = stacked - stacked.mean(axis=0)
    rows = []
    for own in labels:
        weight = weigh(own.ravel())[first, second]
        rows.append(weight @ stacked / weight.sum())
    return assess_largest(np.stack(rows))


def assess_moment(families: list[np.ndarray], grid: Grid, rng: np.random.Generator) -> Tested:
    """Time in block: pairs of different blocks and concepts, near in slot (a Gaussian of a fortieth of the block)."""
    blocks, slots = grid.shape
    products = [likeness(centre(features, grid.concept)) for features in families]
    block, concept = np.repeat(np.arange(blocks), slots), grid.concept.ravel()
    allowed = (block[:, None] != block) & (concept[:, None] != concept)
    width = max(0.5, slots / 40)
    near = np.exp(-((np.arange(slots)[:, None] - np.arange(slots)) ** 2) / (2 * width**2))
    true = np.tile(np.arange(slots), (blocks, 1))
    turned = shift_slots(rng, blocks, slots)
    return assess_pairs(products, allowed, lambda slot: near[np.ix_(slot, slot)], (true, *turned))


def assess_hint(
    hints: Float64[np.ndarray, "subject block slot number"], grid: Grid, rng: np.random.Generator
) -> Tested:
    """Hint response: pairs of different blocks and slots that name the same concept.

    Pairs that follow the same concept are left out: what its last clip evoked still goes on when the hint appears.
    """
    blocks, slots = grid.shape
    true = np.tile(np.arange(slots), (blocks, 1))
    product = likeness(centre(hints, true))
    block, slot = np.repeat(np.arange(blocks), slots), true.ravel()
    before = np.column_stack([np.full(blocks, -1), grid.concept[:, :-1]]).ravel()
    allowed = (block[:, None] != block) & (slot[:, None] != slot) & (before[:, None] != before)
    shuffled = shuffle_slots(rng, grid.concept)
    return assess_pairs(
        [product], allowed, lambda concept: (concept[:, None] == concept).astype(float), (grid.concept, *shuffled)
    )


def assess_run(families: list[np.ndarray], grid: Grid, rng: np.random.Generator) -> Tested:
    """Run position: likeness of a block's first half to its own second half, against halves paired otherwise.

    Pairs count that are `ROOM` slots apart, and whose concepts are too in either block: subtracting a concept's mean
    moves a little of every block, with what went on around it there, into all others.
    """
    blocks, slots = grid.shape
    half = slots // 2
    early, late = np.arange(half), np.arange(half, slots)
    apart = (late - early[:, None]) >= ROOM  # (early, late)
    rank = np.searchsorted(np.unique(grid.concept), grid.concept)
    slot_of = np.argsort(rank, axis=1)  # (block, concept)
    likes = np.zeros((len(families), blocks, blocks))
    for family, features in enumerate(families):
        own = without_labels(features, grid.concept)
        for one in range(blocks):
            for other in range(blocks):
                far = np.abs(slot_of[one, rank[other, late]] - early[:, None]) >= ROOM
                far &= np.abs(slot_of[other, rank[one, early]][:, None] - late) >= ROOM
                fits = apart & far
                pairs = np.einsum("icf,idf->cd", own[:, one, early], own[:, other, late], optimize=True)
                likes[family, one, other] = pairs[fits].mean()
    pairings = list_pairings(blocks, rng)
    return assess_largest(likes[:, np.arange(blocks), pairings].sum(axis=2).T)


def list_pairings(blocks: int, rng: np.random.Generator) -> Int64[np.ndarray, "pairing block"]:
    """All ways to pair blocks, the true one first; for more than seven blocks a sample."""
    if factorial(blocks) <= 5040:
        return np.array(list(permutations(range(blocks))))
    return np.array([np.arange(blocks), *(rng.permutation(blocks) for _ in range(PERMUTATIONS))])


def assess_leak(
    bands: Float64[np.ndarray, "subject block slot number"], grid: Grid, rng: np.random.Generator
) -> Tested:
    """Leaked label: variance between concepts of each channel's own power in each band; largest over all of them.

    Both the sum of the subjects' variances and the variance of their mean: a leak may be one recording's or all alike.
    """
    centred = bands - bands.mean(axis=2, keepdims=True)
    centred /= np.sqrt((centred**2).mean(axis=(1, 2), keepdims=True)) + 1e-12
    subjects, blocks, slots, numbers = centred.shape
    flat = centred.transpose(1, 2, 0, 3).reshape(blocks * slots, subjects * numbers).astype(np.float32)
    kinds = np.arange(slots)
    rank = np.searchsorted(np.unique(grid.concept), grid.concept)
    rows = []
    for concept in (rank, *shuffle_slots(rng, rank)):
        sums = (concept.ravel() == kinds[:, None]).astype(np.float32) @ flat  # (concept, subject · number)
        sums = sums.astype(np.float64).reshape(slots, subjects, numbers)
        rows.append(np.concatenate([(sums**2).sum(axis=(0, 1)), (sums.sum(axis=1) ** 2).sum(axis=0)]))
    return assess_largest(np.stack(rows))
